"""Slots: a secret opens the private key to which the keyring is sealed.

    slot    = magic (3 bytes), version (1), kind (1), read-only (1), created (8, seconds since 1970),
              lock (locks.py), public key (1216), nonce (12), ciphertext of payload, tag (16)
    payload = strict msgpack [seed (32 bytes), label] and, in a slot for SCRAM, ServerKey (32)

All in front of the nonce is associated data. The label is for the owner of the account, so it is not in
clear, nor is ServerKey: who reads the store cannot play the server.
"""

import struct
import time
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aerogramme.errors import AuthenticationFailed, Damaged, Refused
from aerogramme.seal.hashes import PasswordHash
from aerogramme.seal.hybrid import PUBLIC_SIZE, HybridPrivate, HybridPublic
from aerogramme.seal.locks import LOCKS, Argon2Lock, Argon2Params, HashedLock, Lock, ScramLock
from aerogramme.seal.record import NONCE_SIZE, TAG_SIZE, open_record, seal_record
from aerogramme.seal.secrets import Secret
from aerogramme.seal.strict import pack, unpack

MAX_LABEL = 200  # characters; a name for an app, not a text

Kind = Literal["password", "app", "recovery", "invitation"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # the number of a kind is its place

_head = struct.Struct(">4sBBQ")


@dataclass(frozen=True, eq=False)
class SlotPrivate:
    """An opened slot: its private key, and what the keyring keeps about it."""

    key: HybridPrivate
    kind: Kind
    label: str
    read_only: bool
    created: int
    server_key: bytes | None = field(default=None, repr=False)  # of SCRAM, RFC 5802 §3

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
    lock: Lock
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
        created: int | None = None,
    ) -> tuple[Self, SlotPrivate]:
        """A new slot with a new private key, behind Argon2id. `created` is now, unless given. Takes as long
        as an unlock."""
        if not secret:
            raise Refused("an empty password protects nothing")
        lock = Argon2Lock.create(params or Argon2Params())
        return cls._create(lock, lock.cipher(secret), kind, label, False, created, None)

    @classmethod
    def create_app(
        cls,
        secret: Secret,
        account: bytes,
        label: str,
        *,
        read_only: bool = False,
        created: int | None = None,
    ) -> tuple[Self, SlotPrivate]:
        """A new slot for an app password, which must be a generated one: SCRAM opens it too."""
        lock, server_key = ScramLock.create(secret, account)
        return cls._create(lock, lock.cipher(secret), "app", label, read_only, created, server_key)

    @classmethod
    def create_hashed(
        cls, hashed: PasswordHash, params: Argon2Params | None = None, *, created: int | None = None
    ) -> tuple[Self, SlotPrivate]:
        """A new slot that the password opens of which another server has kept this: an invitation."""
        lock = HashedLock.create(hashed.setting, params or Argon2Params())
        cipher = lock.cipher_of_digest(hashed.digest)
        return cls._create(lock, cipher, "invitation", "", False, created, None)

    @classmethod
    def _create(
        cls,
        lock: Lock,
        cipher: AESGCM,
        kind: Kind,
        label: str,
        read_only: bool,
        created: int | None,
        server_key: bytes | None,
    ) -> tuple[Self, SlotPrivate]:
        if len(label) > MAX_LABEL:
            raise Refused(f"a label has at most {MAX_LABEL} characters")
        created = int(time.time()) if created is None else created
        key = HybridPrivate.generate()
        head = (
            _head.pack(lock.magic, KINDS.index(kind), read_only, created) + lock.to_bytes() + key.public.raw
        )
        payload = [key.seed, label] if server_key is None else [key.seed, label, server_key]
        stored = seal_record(cipher, head, pack(payload), b"")
        slot = cls(kind, read_only, created, lock, key.public, stored)
        return slot, SlotPrivate(key, kind, label, read_only, created, server_key)

    def unlock(self, secret: Secret) -> SlotPrivate:
        """Open the slot; `AuthenticationFailed` if this is not its secret (or the slot was changed)."""
        return self._open(self.lock.cipher(secret))

    def unlock_with_client_key(self, client_key: bytes) -> SlotPrivate:
        """Open a slot for SCRAM with what its client has proved to have. Errors as for `unlock`."""
        if not isinstance(self.lock, ScramLock):
            raise AuthenticationFailed
        return self._open(self.lock.cipher_of_client_key(client_key))

    def unlock_with_hash(self, hashed: PasswordHash) -> SlotPrivate:
        """Open a slot with what another server keeps of the password. Errors as for `unlock`; also if the
        password was hashed there in another way."""
        if not isinstance(self.lock, HashedLock) or self.lock.setting != hashed.setting:
            raise AuthenticationFailed
        return self._open(self.lock.cipher_of_digest(hashed.digest))

    @property
    def scram(self) -> ScramLock | None:
        """What a SCRAM exchange needs, if the slot is for that."""
        return self.lock if isinstance(self.lock, ScramLock) else None

    @property
    def hashed(self) -> bool:
        """Whether it is an invitation that the password opens which the user had on another server."""
        return isinstance(self.lock, HashedLock)

    def takes(self, kind: Kind) -> bool:
        """Whether a secret of this kind, as people give them, may open the slot."""
        return kind == ("password" if self.hashed else self.kind)

    def _open(self, cipher: AESGCM) -> SlotPrivate:
        head = self._stored[: _head.size + self.lock.size + PUBLIC_SIZE]
        try:
            payload = open_record(cipher, head, self._stored, b"")
        except Damaged as e:
            raise AuthenticationFailed() from e
        match unpack(payload):
            case [bytes(seed), str(label)] if self.scram is None:
                key, server_key = HybridPrivate(seed), None
            case [bytes(seed), str(label), bytes(server_key)] if self.scram is not None:
                key = HybridPrivate(seed)
            case _:
                raise Damaged("a slot does not decode")
        if key.public.raw != self.public.raw:
            raise Damaged("a slot has the public key of another")
        return SlotPrivate(key, self.kind, label, self.read_only, self.created, server_key)

    def to_bytes(self) -> bytes:
        """The slot as it is stored."""
        return self._stored

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """A stored slot, or `Damaged`."""
        lock = LOCKS.get(stored[:4])
        if lock is None or len(stored) < _head.size + lock.size + PUBLIC_SIZE + NONCE_SIZE + TAG_SIZE:
            raise Damaged("this is not a slot")
        _, kind, read_only, created = _head.unpack_from(stored)
        end = _head.size + lock.size
        if kind >= len(KINDS) or read_only > 1 or (KINDS[kind] == "app") != (lock is ScramLock):
            raise Damaged("a slot does not decode")
        if lock is HashedLock and KINDS[kind] != "invitation":
            raise Damaged("a slot does not decode")
        public = HybridPublic(stored[end : end + PUBLIC_SIZE])
        found = lock.from_bytes(stored[_head.size : end])
        return cls(KINDS[kind], bool(read_only), created, found, public, stored)
