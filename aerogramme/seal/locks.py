"""What closes a slot: a password that is stretched, the ClientKey of a secret that we have generated, or what
another server keeps of a password, stretched too.

    lock in the head of a slot
    AGS 01    memory (4, KiB), passes (4), lanes (4), salt (16)          Argon2id
    AGS 02    iterations (4), salt (16), StoredKey (32)                  SCRAM-SHA-256
    AGS 03    as AGS 01, then length (1) and setting (191)               a hash (hashes.py), then Argon2id

A lock makes a cipher of a secret. Nothing that stands in the head is secret.
"""

import contextlib
import os
import struct
import unicodedata
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import ClassVar, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from aerogramme.errors import AuthenticationFailed, Damaged, Refused
from aerogramme.seal import scram
from aerogramme.seal.hashes import MAX_SETTING, Setting
from aerogramme.seal.record import KEY_SIZE, KeyBytes
from aerogramme.seal.secrets import Secret

SALT_SIZE = 16  # RFC 9106 §3.1; as many for SCRAM

# A slot comes from the store, and it decides how much a login costs. These are far above what a server would
# choose, and still no way to take it down: about 10 s and 1 GiB at the most.
MAX_MEMORY = 1024 * 1024  # KiB
MAX_PASSES = 16
MAX_LANES = 16
MAX_ITERATIONS = 1_000_000  # of PBKDF2: about half a second

# Octets that somebody may have typed. To normalize text may take the square of its length, and strangers say
# how long a password is: of a megabyte it would take an hour.
MAX_TYPED = 4096


@dataclass(frozen=True)
class Argon2Params:
    """The cost of a guess. The default is OWASP's: 19 MiB, 2 passes, 1 lane; about 90 ms."""

    memory: int = 19 * 1024  # KiB
    passes: int = 2
    lanes: int = 1

    def check(self) -> bool:
        """Whether a slot may ask for this (RFC 9106 §3.1: at least 8 KiB a lane)."""
        return (
            1 <= self.passes <= MAX_PASSES
            and 1 <= self.lanes <= MAX_LANES
            and 8 * self.lanes <= self.memory <= MAX_MEMORY
        )


@dataclass(frozen=True)
class Argon2Lock:
    """For what people choose: each guess costs memory and time."""

    params: Argon2Params
    salt: bytes = field(repr=False)

    magic: ClassVar = b"AGS\x01"
    _fields: ClassVar = struct.Struct(f">III{SALT_SIZE}s")
    size: ClassVar = _fields.size

    @classmethod
    def create(cls, params: Argon2Params) -> Self:
        """A lock with a new salt."""
        if not params.check():
            raise Refused("these Argon2id parameters are out of bounds")
        return cls(params, os.urandom(SALT_SIZE))

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """A stored lock, or `Damaged`."""
        memory, passes, lanes, salt = cls._fields.unpack(stored)
        params = Argon2Params(memory, passes, lanes)
        if not params.check():
            raise Damaged("a slot does not decode")
        return cls(params, salt)

    def to_bytes(self) -> bytes:
        """As it stands in the slot."""
        return self._fields.pack(self.params.memory, self.params.passes, self.params.lanes, self.salt)

    def cipher(self, secret: Secret) -> AESGCM:
        """What the secret opens. RFC 9106: tag length 32, no secret value, no associated data."""
        password = secret.reveal()
        if len(password) <= MAX_TYPED:
            with contextlib.suppress(UnicodeDecodeError):  # what is not text is taken as it is
                # RFC 8265 §4.2 (OpaqueString): keyboards differ in how they compose an é, people do not.
                password = unicodedata.normalize("NFC", password.decode()).encode()
        return self.stretched(password)

    def stretched(self, password: bytes) -> AESGCM:
        """What these octets open, as they are."""
        argon2 = Argon2id(
            salt=self.salt,
            length=KEY_SIZE,
            iterations=self.params.passes,
            lanes=self.params.lanes,
            memory_cost=self.params.memory,
        )
        return KeyBytes(argon2.derive(password)).aead


@dataclass(frozen=True)
class ScramLock:
    """For secrets that we have generated: nobody guesses 130 bits, so they need not be stretched, and who
    proves in a SCRAM exchange that he has one shows the ClientKey that opens the slot (RFC 5802 §3)."""

    iterations: int
    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)

    magic: ClassVar = b"AGS\x02"
    _fields: ClassVar = struct.Struct(f">I{SALT_SIZE}s{scram.KEY_SIZE}s")
    size: ClassVar = _fields.size

    @classmethod
    def create(cls, secret: Secret, account: bytes) -> tuple[Self, bytes]:
        """The lock of a secret, and its ServerKey."""
        salt = scram.account_salt(account)
        salted = scram.salted_password(secret, salt, scram.ITERATIONS)
        stored = scram.stored_key(scram.client_key(salted))
        return cls(scram.ITERATIONS, salt, stored), scram.server_key(salted)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """A stored lock, or `Damaged`."""
        iterations, salt, stored_key = cls._fields.unpack(stored)
        if not scram.ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise Damaged("a slot does not decode")
        return cls(iterations, salt, stored_key)

    def to_bytes(self) -> bytes:
        """As it stands in the slot."""
        return self._fields.pack(self.iterations, self.salt, self.stored_key)

    def cipher(self, secret: Secret) -> AESGCM:
        """What the secret opens; `AuthenticationFailed` if it is not the one."""
        salted = scram.salted_password(secret, self.salt, self.iterations)
        return self.cipher_of_client_key(scram.client_key(salted))

    def cipher_of_client_key(self, client_key: bytes) -> AESGCM:
        """What a ClientKey opens; `AuthenticationFailed` if it is not the one."""
        if not compare_digest(scram.stored_key(client_key), self.stored_key):
            raise AuthenticationFailed
        key = HKDF(hashes.SHA256(), KEY_SIZE, self.salt, b"aerogramme 1 scram slot").derive(client_key)
        return KeyBytes(key).aead


@dataclass(frozen=True)
class HashedLock:
    """For a password of which only another server's hash is known: the digest, stretched as a password is.
    So nothing here opens the slot, and a guess costs Argon2id however cheap the hash is. Who has the digest
    needs no guess."""

    argon2: Argon2Lock
    setting: Setting

    magic: ClassVar = b"AGS\x03"
    _fields: ClassVar = struct.Struct(f">{Argon2Lock.size}sB{MAX_SETTING}s")
    size: ClassVar = _fields.size

    @classmethod
    def create(cls, setting: Setting, params: Argon2Params) -> Self:
        """A lock with a new salt."""
        return cls(Argon2Lock.create(params), setting)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """A stored lock, or `Damaged`."""
        argon2, length, padded = cls._fields.unpack(stored)
        text, rest = padded[:length], padded[length:]
        if length > MAX_SETTING or any(rest) or not text.isascii():
            raise Damaged("a slot does not decode")
        return cls(Argon2Lock.from_bytes(argon2), Setting.parse(text.decode()))

    def to_bytes(self) -> bytes:
        """As it stands in the slot."""
        text = self.setting.text.encode()
        return self._fields.pack(self.argon2.to_bytes(), len(text), text)

    def cipher(self, secret: Secret) -> AESGCM:
        """What the password opens. It is taken as it is, as by the server that has made the hash."""
        return self.cipher_of_digest(self.setting.digest(secret.reveal()))

    def cipher_of_digest(self, digest: bytes) -> AESGCM:
        """What the digest opens."""
        return self.argon2.stretched(digest)


Lock = Argon2Lock | ScramLock | HashedLock
LOCKS: dict[bytes, type[Lock]] = {kind.magic: kind for kind in (Argon2Lock, ScramLock, HashedLock)}
