"""Slots: a password, stretched with Argon2id, opens the private key to which the keyring is sealed.

    slot    = magic (3 bytes), version (1), kind (1), read-only (1), created (8, seconds since 1970),
              memory (4, KiB), passes (4), lanes (4), salt (16), public key (1216),
              nonce (12), ciphertext of payload, tag (16)
    payload = strict msgpack [seed (32 bytes), label]

All in front of the nonce is associated data. The label is for the owner of the account, so it is not in
clear.
"""

import contextlib
import os
import struct
import time
import unicodedata
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from aerogramme.errors import AuthenticationFailed, Damaged, Refused
from aerogramme.seal.hybrid import PUBLIC_SIZE, HybridPrivate, HybridPublic
from aerogramme.seal.record import KEY_SIZE, NONCE_SIZE, TAG_SIZE, KeyBytes, open_record, seal_record
from aerogramme.seal.secrets import Secret
from aerogramme.seal.strict import pack, unpack

MAGIC = b"AGS\x01"
SALT_SIZE = 16  # RFC 9106 §3.1
MAX_LABEL = 200  # characters; a name for an app, not a text

# A slot comes from the store, and it decides how much a login costs. These are far above what a server would
# choose, and still no way to take it down: about 10 s and 1 GiB at the most.
MAX_MEMORY = 1024 * 1024  # KiB
MAX_PASSES = 16
MAX_LANES = 16

Kind = Literal["password", "app", "recovery"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # the number of a kind is its place

_fixed = struct.Struct(f">4sBBQIII{SALT_SIZE}s{PUBLIC_SIZE}s")


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


@dataclass(frozen=True, eq=False)
class SlotPrivate:
    """An opened slot: its private key, and what the keyring keeps about it."""

    key: HybridPrivate
    kind: Kind
    label: str
    read_only: bool
    created: int

    @property
    def public(self) -> HybridPublic:
        """The key to which the keyring is sealed."""
        return self.key.public


@dataclass(frozen=True)
class Slot:
    """A slot as it is stored. Nothing in it is secret; changed in any way, it does not open."""

    kind: Kind
    read_only: bool
    created: int  # seconds since 1970
    params: Argon2Params
    salt: bytes = field(repr=False)
    public: HybridPublic = field(repr=False, compare=False)
    _stored: bytes = field(repr=False)

    @classmethod
    def create(
        cls,
        secret: Secret,
        kind: Kind = "password",
        label: str = "",
        params: Argon2Params | None = None,
        *,
        read_only: bool = False,
        created: int | None = None,
    ) -> tuple[Self, SlotPrivate]:
        """A new slot with a new private key. `created` is now, unless given. Takes as long as an unlock."""
        params = params or Argon2Params()
        created = int(time.time()) if created is None else created
        if not secret:
            raise Refused("an empty password protects nothing")
        if len(label) > MAX_LABEL:
            raise Refused(f"a label has at most {MAX_LABEL} characters")
        if not params.check():
            raise Refused("these Argon2id parameters are out of bounds")
        key = HybridPrivate.generate()
        salt = os.urandom(SALT_SIZE)
        head = _fixed.pack(
            MAGIC,
            KINDS.index(kind),
            read_only,
            created,
            params.memory,
            params.passes,
            params.lanes,
            salt,
            key.public.raw,
        )
        stored = seal_record(_stretch(secret, salt, params), head, pack([key.seed, label]), b"")
        slot = cls(kind, read_only, created, params, salt, key.public, stored)
        return slot, SlotPrivate(key, kind, label, read_only, created)

    def unlock(self, secret: Secret) -> SlotPrivate:
        """Open the slot; `AuthenticationFailed` if this is not its password (or the slot was changed)."""
        try:
            payload = open_record(
                _stretch(secret, self.salt, self.params), self._stored[: _fixed.size], self._stored, b""
            )
        except Damaged as e:
            raise AuthenticationFailed() from e
        match unpack(payload):
            case [bytes(seed), str(label)]:
                key = HybridPrivate(seed)
            case _:
                raise Damaged("a slot does not decode")
        if key.public.raw != self.public.raw:
            raise Damaged("a slot has the public key of another")
        return SlotPrivate(key, self.kind, label, self.read_only, self.created)

    def to_bytes(self) -> bytes:
        """The slot as it is stored."""
        return self._stored

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """A stored slot, or `Damaged`."""
        if stored[: len(MAGIC)] != MAGIC or len(stored) < _fixed.size + NONCE_SIZE + TAG_SIZE:
            raise Damaged("this is not a slot")
        _, kind, read_only, created, memory, passes, lanes, salt, public = _fixed.unpack_from(stored)
        params = Argon2Params(memory, passes, lanes)
        if kind >= len(KINDS) or read_only > 1 or not params.check():
            raise Damaged("a slot does not decode")
        return cls(KINDS[kind], bool(read_only), created, params, salt, HybridPublic(public), stored)


def _stretch(secret: Secret, salt: bytes, params: Argon2Params) -> AESGCM:
    """The cipher made of a password. RFC 9106: tag length 32, no secret value, no associated data."""
    password = secret.reveal()
    with contextlib.suppress(UnicodeDecodeError):  # what is not text is taken as it is
        # RFC 8265 §4.2 (OpaqueString): keyboards and systems differ in how they compose an é, people do not.
        password = unicodedata.normalize("NFC", password.decode()).encode()
    argon2 = Argon2id(
        salt=salt, length=KEY_SIZE, iterations=params.passes, lanes=params.lanes, memory_cost=params.memory
    )
    return KeyBytes(argon2.derive(password)).aead
