"""The keyring: generations of keys, sealed to every slot of the account.

A generation is a number and a 32-byte secret. A key for each kind of record, and the key pair for what comes
in, are derived from it. New records take the newest generation and say so in their head; older ones stay
readable.

Theory of operation. The keyring is sealed under a new random file key each time. That key is sealed for each
slot twice: with HPKE to the slot's public key, so that only the slot's password opens it, not that of a slot
that has been dismissed; and inside that, with the slot's *vouching key*, which is derived from the slot's
private key and kept in the keyring beside the public one. So whoever holds one password can seal the keyring
for all the others, and whoever holds none can seal one for nobody: to know a public key is not enough to slip
a user another keyring.
"""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from aerogramme.errors import AuthenticationFailed, Damaged, Refused
from aerogramme.seal.hybrid import (
    FINGERPRINT_SIZE,
    OVERHEAD,
    PUBLIC_SIZE,
    HybridPrivate,
    HybridPublic,
    fingerprint_of,
)
from aerogramme.seal.incoming import IncomingPublic, open_incoming, sealed_generation
from aerogramme.seal.record import (
    ACCOUNT_SIZE,
    KEY_SIZE,
    Binding,
    Key,
    binding_prefix,
    open_record,
    seal_record,
)
from aerogramme.seal.slots import KINDS, Kind, SlotPrivate
from aerogramme.seal.strict import pack, unpack

MAGIC = b"AGK\x01"
RECORD_MAGIC = b"AGG\x01"
RECORD_HEAD = 8  # magic, version, generation
MAX_SLOTS = 256  # nobody has as many apps; it bounds what a keyring from the store can ask for
MAX_GENERATIONS = 65536  # one a day for 179 years

_SEALED_KEY = OVERHEAD + 32 + KEY_SIZE  # HPKE around a record (record.py) around a key
_head = struct.Struct(">4sIH")


@dataclass(frozen=True)
class Member:
    """What the keyring knows about a slot it is sealed to."""

    public: bytes = field(repr=False)
    vouching: bytes = field(repr=False)
    kind: Kind
    label: str
    read_only: bool
    created: int  # seconds since 1970

    @property
    def fingerprint(self) -> bytes:
        """Which slot this is: the fingerprint of its public key."""
        return fingerprint_of(self.public)


class Keyring:
    """All keys of an account, for those who opened a slot. Never changed: each verb gives a new one."""

    def __init__(
        self, account: bytes, secrets: Mapping[int, bytes], members: tuple[Member, ...], version: int
    ) -> None:
        """Use `create` or `unlock`."""
        self.account = account
        self.version = version
        self.members = members
        self.current = max(secrets)
        self._secrets = secrets
        self._ciphers: dict[tuple[int, str], tuple[AESGCM, bytes, bytes]] = {}
        self._incoming: dict[int, HybridPrivate] = {}

    def __repr__(self) -> str:
        return f"<Keyring of {self.account.hex()}, generation {self.current}>"

    # -- life of a keyring

    @classmethod
    def create(cls, account: bytes) -> Self:
        """The keyring of a new account (16 random bytes), with one generation and no slot yet."""
        if len(account) != ACCOUNT_SIZE:
            raise ValueError(f"an account id has {ACCOUNT_SIZE} bytes")
        return cls(account, {1: os.urandom(KEY_SIZE)}, (), 0)

    @property
    def generations(self) -> tuple[int, ...]:
        """The numbers of the generations that can be read, ascending."""
        return tuple(self._secrets)

    def rotate(self) -> Self:
        """One more generation, which is the current one from now on."""
        if len(self._secrets) >= MAX_GENERATIONS:
            raise Refused("forget old generations before there are more")
        return self._with(secrets={**self._secrets, self.current + 1: os.urandom(KEY_SIZE)})

    def forget(self, generation: int) -> Self:
        """Without an old generation: what is still sealed with it is lost. Not the current one."""
        if generation == self.current or generation not in self._secrets:
            raise Refused("only an old generation can be forgotten")
        return self._with(secrets={n: s for n, s in self._secrets.items() if n != generation})

    def admit(self, slot: SlotPrivate) -> Self:
        """Sealed to this slot too from now on."""
        member = Member(
            slot.public.raw, _vouching(slot).export(), slot.kind, slot.label, slot.read_only, slot.created
        )
        if len(self.members) >= MAX_SLOTS:
            raise Refused(f"an account has at most {MAX_SLOTS} passwords")
        return self._with(members=(*(m for m in self.members if m.public != member.public), member))

    def dismiss(self, fingerprint: bytes) -> Self:
        """No longer sealed to this slot. Its password still opens older keyrings: rotate, delete those."""
        return self._with(members=tuple(m for m in self.members if m.fingerprint != fingerprint))

    def _with(self, **changes: Any) -> Self:
        secrets = changes.get("secrets", self._secrets)
        return type(self)(self.account, secrets, changes.get("members", self.members), self.version)

    # -- stored form

    def to_bytes(self, version: int) -> bytes:
        """Sealed to every slot that was admitted. The version (it must grow) is part of what is bound."""
        if not self.members:
            raise Refused("a keyring that is sealed to no slot is lost")
        binding = Binding(self.account, "keyring", str(version))
        file_key = Key.generate()
        head = _head.pack(MAGIC, version, len(self.members))
        info = head + binding.encoded()
        for member in self.members:
            public = HybridPublic(member.public)
            vouched = Key(member.vouching).seal(file_key.export(), binding)
            head += public.fingerprint + public.seal(vouched, info)
        content = [
            [list(item) for item in self._secrets.items()],
            [[m.public, m.vouching, m.kind, m.label, m.read_only, m.created] for m in self.members],
        ]
        return seal_record(file_key.aead, head, pack(content), binding.encoded())

    @classmethod
    def unlock(cls, sealed: bytes, slot: SlotPrivate, account: bytes) -> Self:
        """The keyring that this slot opens.

        `AuthenticationFailed` if it is not sealed to the slot, `Damaged` if it is not what a holder of a
        password of this account has sealed.
        """
        if len(sealed) < _head.size or sealed[: len(MAGIC)] != MAGIC:
            raise Damaged("this is not a keyring")
        _, version, count = _head.unpack_from(sealed)
        end = _head.size + count * (FINGERPRINT_SIZE + _SEALED_KEY)
        if not 0 < count <= MAX_SLOTS or len(sealed) < end:
            raise Damaged("a keyring is cut")
        binding = Binding(account, "keyring", str(version))
        places = range(_head.size, end, FINGERPRINT_SIZE + _SEALED_KEY)
        fingerprints = [sealed[at : at + FINGERPRINT_SIZE] for at in places]
        if slot.public.fingerprint not in fingerprints:
            raise AuthenticationFailed("this password has been revoked")
        mine = places[fingerprints.index(slot.public.fingerprint)] + FINGERPRINT_SIZE
        vouched = slot.key.open(sealed[mine : mine + _SEALED_KEY], sealed[: _head.size] + binding.encoded())
        file_key = Key(_vouching(slot).open(vouched, binding))
        content = unpack(open_record(file_key.aead, sealed[:end], sealed, binding.encoded()))
        secrets, members = _decode(content)
        if [m.fingerprint for m in members] != fingerprints:
            raise Damaged("a keyring is sealed to other slots than it says")
        return cls(account, secrets, members, version)

    # -- records: what log/ and mailbox/ seal and open

    def seal(self, kind: str, name: str, plain: bytes) -> bytes:
        """A record sealed with the current generation, 36 bytes longer than the plain bytes."""
        aead, head, prefix = self._cipher(self.current, kind)
        return seal_record(aead, head, plain, prefix + name.encode())

    def open(self, kind: str, name: str, sealed: bytes) -> bytes:
        """The plain bytes of a record of any generation; `Damaged` if it is not the record of this name."""
        aead, head, prefix = self._cipher(self.generation_of(sealed), kind)
        return open_record(aead, head, sealed, prefix + name.encode())

    def generation_of(self, sealed: bytes) -> int:
        """Which generation a record says it is sealed with; `Damaged` if there is no such one."""
        generation = int.from_bytes(sealed[4:RECORD_HEAD], "big")
        if sealed[:4] != RECORD_MAGIC or generation not in self._secrets:
            raise Damaged("this is not a record of this keyring")
        return generation

    def key(self, kind: str, generation: int | None = None) -> Key:
        """The key of a kind of record. HKDF-SHA256 (RFC 5869) of the generation's secret."""
        return Key(self._derive(self.current if generation is None else generation, "record " + kind))

    def _cipher(self, generation: int, kind: str) -> tuple[AESGCM, bytes, bytes]:
        cipher = self._ciphers.get((generation, kind))
        if cipher is None:
            head = RECORD_MAGIC + generation.to_bytes(4, "big")
            cipher = self.key(kind, generation).aead, head, binding_prefix(self.account, kind)
            self._ciphers[generation, kind] = cipher
        return cipher

    def _derive(self, generation: int, label: str) -> bytes:
        info = b"aerogramme 1 " + label.encode()
        return HKDF(hashes.SHA256(), KEY_SIZE, self.account, info).derive(self._secrets[generation])

    # -- what comes in, sealed by those who hold no secret

    def incoming_public(self) -> IncomingPublic:
        """The current key for what comes in. Not secret."""
        return IncomingPublic(self.account, self.current, self._incoming_private(self.current).public)

    def open_incoming(self, sealed: bytes, binding: Binding) -> bytes:
        """What was sealed to an incoming key of this account and this binding, or `Damaged`."""
        generation = sealed_generation(sealed)
        if generation not in self._secrets:
            raise Damaged("this is not sealed to an incoming key of this keyring")
        return open_incoming(self._incoming_private(generation), generation, sealed, binding)

    def _incoming_private(self, generation: int) -> HybridPrivate:
        private = self._incoming.get(generation)
        if private is None:
            private = self._incoming[generation] = HybridPrivate(self._derive(generation, "incoming"))
        return private


def _vouching(slot: SlotPrivate) -> Key:
    return Key(HKDF(hashes.SHA256(), KEY_SIZE, b"", b"aerogramme 1 vouching key").derive(slot.key.seed))


def _decode(content: Any) -> tuple[dict[int, bytes], tuple[Member, ...]]:
    """Generations and members. They were authenticated, but a newer or broken writer may have made them."""
    match content:
        case [list(generations), list(listed)]:
            members = tuple(_member(fields) for fields in listed)
            secrets = dict(_generation(item) for item in generations)
            numbers = list(secrets)
            if 0 < len(generations) == len(numbers) <= MAX_GENERATIONS and numbers == sorted(numbers):
                return secrets, members
    raise Damaged("a keyring does not decode")


def _generation(item: Any) -> tuple[int, bytes]:
    match item:
        case [int(number), bytes(secret)] if 0 < number < 2**32 and len(secret) == KEY_SIZE:
            return number, secret
    raise Damaged("a generation of a keyring does not decode")


def _member(fields: Any) -> Member:
    match fields:
        case [bytes(public), bytes(vouching), kind, str(label), bool(read_only), int(created)] if (
            kind in KINDS and len(public) == PUBLIC_SIZE and len(vouching) == KEY_SIZE
        ):
            return Member(public, vouching, kind, label, read_only, created)
    raise Damaged("a slot of a keyring does not decode")
