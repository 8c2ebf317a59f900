"""What other servers keep of a password: how it was hashed, so that a lock can be made of it (HashedLock).

A *setting* is all of it but the digest: the method, the salt, the cost. Like the salt of our own locks it is
not secret. Its text, with all binary in base64:

    plain                           the password itself
    md5, sha1, sha256, sha512       of the password; with `:SALT` behind it, of the password and the salt
    pbkdf2-sha1:ROUNDS:SALT         RFC 8018, 20 bytes
    scram-sha-1:ROUNDS:SALT         StoredKey, RFC 5802 §3; scram-sha-256: RFC 7677
    argon2id:MEMORY:PASSES:LANES:LENGTH:SALT    RFC 9106, memory in KiB; argon2i too
    crypt:PREFIX                    crypt(5): $1$, $2a$, $2b$, $2y$, $5$, $6$, or the two characters of DES,
                                    as far as the salt goes; the digest is the text that follows
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.hazmat.primitives.kdf.argon2 import Argon2i, Argon2id

from aerogramme.errors import AuthenticationFailed, Damaged

MAX_SETTING = 191  # octets of its text: what servers make has 100 at most
# What is kept decides how much a login costs. These are beyond what servers choose: about two seconds each.
MAX_ROUNDS = 1_000_000  # of PBKDF2, SCRAM, and SHA-crypt
MAX_BCRYPT = 15  # as a power of two
MAX_MEMORY, MAX_PASSES, MAX_LANES = 1024 * 1024, 16, 16  # of Argon2, as for our own
MAX_PASSWORD = 4096  # octets: libpass takes no more
MAX_BCRYPT_PASSWORD = 72  # octets that bcrypt looks at; crypt() leaves the rest away

_Digest = Callable[[re.Match[str], bytes], bytes]


@dataclass(frozen=True)
class Setting:
    """How a password was hashed."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises Damaged for a method that is not known, and for a cost that is out of bounds."""
        if len(text.encode()) > MAX_SETTING or _find(text) is None:
            raise Damaged("a password is hashed in a way that is not known here")
        return cls(text)

    def digest(self, password: bytes) -> bytes:
        """What the method makes of a password: a matter of milliseconds, or seconds. AuthenticationFailed for
        what can be no password there (C texts end at a NUL)."""
        if b"\0" in password or len(password) > MAX_PASSWORD:
            raise AuthenticationFailed
        found = _find(self.text)
        assert found is not None, "parse has looked"
        match, method = found
        return method.digest(match, password)

    @property
    def weak(self) -> bool:
        """Whether passwords are guessed quickly by whoever has the digest too."""
        found = _find(self.text)
        assert found is not None
        return found[1].weak


@dataclass(frozen=True)
class PasswordHash:
    """A setting, and what it made of the password. The digest is as good as the password where it opens
    something."""

    setting: Setting
    digest: bytes = field(repr=False)


def b64(data: bytes) -> str:
    """Base64 as it stands in settings."""
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# --- the methods ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Method:
    pattern: re.Pattern[str]
    digest: _Digest
    bounds: Callable[[re.Match[str]], bool] = lambda _: True
    weak: bool = False


def _hash(match: re.Match[str], password: bytes) -> bytes:
    # Nobody chooses these today: they are what the other server has.
    return hashlib.new(match["name"], password + _unb64(match["salt"] or ""), usedforsecurity=False).digest()


def _pbkdf2(match: re.Match[str], password: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha1", password, _unb64(match["salt"]), int(match["rounds"]))


def _scram(match: re.Match[str], password: bytes) -> bytes:
    name = match["name"].replace("-", "")
    salted = hashlib.pbkdf2_hmac(name, password, _unb64(match["salt"]), int(match["rounds"]))
    return hashlib.new(name, hmac.digest(salted, b"Client Key", name)).digest()


def _argon2(match: re.Match[str], password: bytes) -> bytes:
    argon2 = Argon2id if match["name"] == "argon2id" else Argon2i
    return argon2(
        salt=_unb64(match["salt"]),
        length=int(match["length"]),
        iterations=int(match["passes"]),
        lanes=int(match["lanes"]),
        memory_cost=int(match["memory"]),
    ).derive(password)


def _argon2_bounds(match: re.Match[str]) -> bool:
    memory, passes, lanes = int(match["memory"]), int(match["passes"]), int(match["lanes"])
    return (
        1 <= passes <= MAX_PASSES
        and 1 <= lanes <= MAX_LANES
        and 8 * lanes <= memory <= MAX_MEMORY
        and 16 <= int(match["length"]) <= 64
        and len(_unb64(match["salt"])) >= 8
    )


def _bcrypt(match: re.Match[str], password: bytes) -> bytes:
    import bcrypt  # here and below: a server that nobody has moved to needs none of it

    setting = match[0].removeprefix("crypt:")
    hashed = bcrypt.hashpw(password[:MAX_BCRYPT_PASSWORD], setting.encode())
    return hashed[len(setting) :]


def _sha_crypt(match: re.Match[str], password: bytes) -> bytes:
    from passlib.hash import sha256_crypt, sha512_crypt

    kind = sha256_crypt if match["name"] == "5" else sha512_crypt
    hashed = kind.using(salt=match["salt"], rounds=int(match["rounds"] or 5000)).hash(password)
    return _checksum(hashed)


def _md5_crypt(match: re.Match[str], password: bytes) -> bytes:
    from passlib.hash import md5_crypt

    return _checksum(md5_crypt.using(salt=match["salt"]).hash(password))


def _des_crypt(match: re.Match[str], password: bytes) -> bytes:
    from passlib.hash import des_crypt

    hashed: str = des_crypt.using(salt=match["salt"]).hash(password)
    return hashed[2:].encode()


def _checksum(hashed: str) -> bytes:
    return hashed.rpartition("$")[2].encode()


def _rounds(least: int) -> Callable[[re.Match[str]], bool]:
    return lambda match: least <= int(match["rounds"] or least) <= MAX_ROUNDS


_SALT = r"(?P<salt>(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)"
_NUMBER = r"[1-9][0-9]{0,8}"

_METHODS: Final = (
    _Method(re.compile("plain"), lambda _, password: password, weak=True),
    _Method(re.compile(f"(?P<name>md5|sha1|sha256|sha512)(?::{_SALT})?"), _hash, weak=True),
    _Method(re.compile(f"pbkdf2-sha1:(?P<rounds>{_NUMBER}):{_SALT}"), _pbkdf2, _rounds(1)),
    _Method(re.compile(f"scram-(?P<name>sha-1|sha-256):(?P<rounds>{_NUMBER}):{_SALT}"), _scram, _rounds(1)),
    _Method(
        re.compile(
            f"(?P<name>argon2id?):(?P<memory>{_NUMBER}):(?P<passes>{_NUMBER}):(?P<lanes>{_NUMBER})"
            f":(?P<length>{_NUMBER}):{_SALT}"
        ),
        _argon2,
        _argon2_bounds,
    ),
    _Method(
        # 22 characters are 132 bits, and a salt has 128: crypt() takes four for the last one
        re.compile(r"crypt:\$2[aby]\$(?P<cost>0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu]"),
        _bcrypt,
        lambda match: int(match["cost"]) <= MAX_BCRYPT,
    ),
    _Method(
        re.compile(
            rf"crypt:\$(?P<name>[56])\$(?:rounds=(?P<rounds>{_NUMBER})\$)?(?P<salt>[./A-Za-z0-9]{{0,16}})\$"
        ),
        _sha_crypt,
        _rounds(1000),
    ),
    _Method(re.compile(r"crypt:\$1\$(?P<salt>[./A-Za-z0-9]{0,8})\$"), _md5_crypt, weak=True),
    _Method(re.compile("crypt:(?P<salt>[./A-Za-z0-9]{2})"), _des_crypt, weak=True),
)


def _find(text: str) -> tuple[re.Match[str], _Method] | None:
    for method in _METHODS:
        match = method.pattern.fullmatch(text)
        if match is not None:
            try:
                return (match, method) if method.bounds(match) else None
            except binascii.Error:
                return None
    return None
