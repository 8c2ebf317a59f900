"""The hashes of passwords as Dovecot writes them: `{SCHEME}…`, and what it takes without a scheme.

{SCHEME}…             in the encoding that the scheme has by itself
{SCHEME.b64}…         also .base64 and .hex
$1$…                  MD5-CRYPT, whatever the scheme would be
…                     in the scheme that is configured, by default CRYPT
"""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from aerogramme.errors import Damaged, Refused
from aerogramme.seal.hashes import PasswordHash, Setting, b64

DEFAULT_SCHEME = "CRYPT"

HINT = "the user is invited then: without a hash there is a code for the first login"

_Reader = Callable[[bytes], tuple[str, bytes]]
"""(what is kept, decoded) -> (the setting, the digest). Raises ValueError."""


def parse_hash(kept: str, scheme: str = DEFAULT_SCHEME) -> PasswordHash:
    """What stands where Dovecot has a password. `scheme` is that of one that names none.

    Raises Refused, with what is wrong and without anything of the hash, for a scheme that is not known or too
    costly, and for what is no hash of its scheme."""
    if kept.startswith("$1$"):
        scheme = "MD5-CRYPT"
        kept = "$".join(kept.split("$")[:4])  # there may be something behind the digest: Dovecot ignores it
    elif kept.startswith("{") and "}" in kept:
        scheme, _, kept = kept[1:].partition("}")
    name, dot, encoding = scheme.upper().partition(".")
    if name in _NOT_HERE:
        raise Refused(f"passwords cannot be checked here that are kept as {name}", hint=HINT)
    if name not in _SCHEMES or (dot and encoding not in ("B64", "BASE64", "HEX")):
        raise Refused(f"the scheme of a password is not known: {scheme[:40]!r}", hint=HINT)
    read, by_itself, size = _SCHEMES[name]
    try:
        raw = _decoded(kept, encoding if dot else by_itself, size, guess=not dot)
        setting, digest = read(raw)
    except (ValueError, binascii.Error):
        raise Refused(f"this is no password in the scheme {name}", hint=HINT) from None
    try:
        return PasswordHash(Setting.parse(setting), digest)
    except Damaged:
        raise Refused(f"a password in the scheme {name} costs too much, or is damaged", hint=HINT) from None


def _decoded(kept: str, encoding: str, size: int, *, guess: bool) -> bytes:
    """Where the size of the digest is known, Dovecot takes hex where it has base64 by itself, and the other
    way round, unless the encoding is written."""
    if guess and encoding and size:
        encoding = "HEX" if len(kept) == size * 2 else "B64"
    match encoding:
        case "":
            raw = kept.encode()
        case "HEX":
            raw = bytes.fromhex(kept)
        case _:
            raw = base64.b64decode(kept + "=" * (-len(kept) % 4), validate=True)
    if size and len(raw) != size:
        raise ValueError("a digest of another size")
    return raw


# --- schemes ----------------------------------------------------------------------------------------------


def _plain(raw: bytes) -> tuple[str, bytes]:
    if not raw:
        raise ValueError("an empty password protects nothing")
    return "plain", raw


def _unsalted(name: str) -> _Reader:
    return lambda raw: (name, raw)


def _salted(name: str, size: int) -> _Reader:
    def read(raw: bytes) -> tuple[str, bytes]:
        if len(raw) <= size:
            raise ValueError("no salt")
        return f"{name}:{b64(raw[size:])}", raw[:size]

    return read


def _pbkdf2(raw: bytes) -> tuple[str, bytes]:
    match = re.fullmatch(r"\$1\$([^$]*)\$([1-9][0-9]*)\$([0-9A-Fa-f]{40})", raw.decode())
    if match is None:
        raise ValueError
    return f"pbkdf2-sha1:{match[2]}:{b64(match[1].encode())}", bytes.fromhex(match[3])


def _scram(name: str, size: int) -> _Reader:
    def read(raw: bytes) -> tuple[str, bytes]:
        rounds, salt, stored_key, _server_key = raw.decode().split(",")
        key = base64.b64decode(stored_key, validate=True)
        if len(key) != size:
            raise ValueError
        return f"scram-{name}:{rounds}:{b64(base64.b64decode(salt, validate=True))}", key

    return read


def _argon2(raw: bytes) -> tuple[str, bytes]:
    match = re.fullmatch(
        r"\$(argon2id?)\$v=19\$m=([0-9]+),t=([0-9]+),p=([0-9]+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)",
        raw.decode(),
    )
    if match is None:
        raise ValueError
    name, memory, passes, lanes = match.groups()[:4]
    salt, digest = (base64.b64decode(text + "=" * (-len(text) % 4)) for text in match.groups()[4:])
    return f"{name}:{memory}:{passes}:{lanes}:{len(digest)}:{b64(salt)}", digest


# What crypt(3) gives: the setting, and the digest behind it.
_CRYPT: Final = re.compile(
    r"(\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{22})([./A-Za-z0-9]{31})"
    r"|(\$5\$(?:rounds=[0-9]+\$)?[^$:]*\$)([./A-Za-z0-9]{43})"
    r"|(\$6\$(?:rounds=[0-9]+\$)?[^$:]*\$)([./A-Za-z0-9]{86})"
    r"|(\$1\$[^$:]*\$)([./A-Za-z0-9]{22})"
    r"|([./A-Za-z0-9]{2})([./A-Za-z0-9]{11})"
)


def _crypt(raw: bytes) -> tuple[str, bytes]:
    if raw.startswith(b"$argon2"):
        return _argon2(raw)
    match = _CRYPT.fullmatch(raw.decode())
    if match is None:
        raise ValueError
    setting, digest = (part for part in match.groups() if part is not None)
    return f"crypt:{setting}", digest.encode()


def _md5(raw: bytes) -> tuple[str, bytes]:
    return _crypt(raw) if raw.startswith(b"$1$") else ("md5", _decoded(raw.decode(), "HEX", 16, guess=True))


# name -> how it is read, the encoding that it has by itself, the size of the digest if it is nothing else
_SCHEMES: Final[dict[str, tuple[_Reader, str, int]]] = {
    **dict.fromkeys(("CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "BLF-CRYPT", "MD5-CRYPT"), (_crypt, "", 0)),
    "DES-CRYPT": (_crypt, "", 0),
    **dict.fromkeys(("ARGON2ID", "ARGON2I"), (_argon2, "", 0)),
    "PBKDF2": (_pbkdf2, "", 0),
    "SCRAM-SHA-1": (_scram("sha-1", 20), "", 0),
    "SCRAM-SHA-256": (_scram("sha-256", 32), "", 0),
    "SSHA": (_salted("sha1", 20), "B64", 0),
    "SSHA256": (_salted("sha256", 32), "B64", 0),
    "SSHA512": (_salted("sha512", 64), "B64", 0),
    "SMD5": (_salted("md5", 16), "B64", 0),
    **dict.fromkeys(("SHA", "SHA1"), (_unsalted("sha1"), "B64", 20)),
    "SHA256": (_unsalted("sha256"), "B64", 32),
    "SHA512": (_unsalted("sha512"), "B64", 64),
    "PLAIN-MD5": (_unsalted("md5"), "HEX", 16),
    "LDAP-MD5": (_unsalted("md5"), "B64", 16),
    "MD5": (_md5, "", 0),
    **dict.fromkeys(("PLAIN", "CLEAR", "CLEARTEXT"), (_plain, "", 0)),
}
# What Dovecot has besides: halves of challenges and answers, and what nobody else can make.
_NOT_HERE: Final = ("CRAM-MD5", "HMAC-MD5", "DIGEST-MD5", "PLAIN-MD4", "PLAIN-TRUNC", "LANMAN", "NTLM", "OTP")
