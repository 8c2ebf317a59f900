"""The keyring: generations of keys, sealed to every slot of the account.

A generation is a number and a 32-byte secret. A key for each kind of record, and the key pair for what comes
in, are derived from it. New records take the newest generation and say so in their head; older ones stay
readable. The upper half of a number counts, the lower half is random: servers that rotate at the same moment
make two generations, never two secrets of one number.

Theory of operation. The keyring is sealed under a new random file key each time. That key is sealed for each
slot twice: with HPKE to the slot's public key, so that only the slot's password opens it, not that of a slot
that has been dismissed; and inside that, with the slot's *vouching key*, which is derived from the slot's
private key and kept in the keyring beside the public one. So whoever holds one password can seal the keyring
for all the others, and whoever holds none can seal one for nobody: to know a public key is not enough to slip
a user another keyring.
"""

import hmac
import os
import secrets
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from aerogramme.errors import AuthenticationFailed, Damaged, Refused, UnknownGeneration
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
    NONCE_SIZE,
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
RANDOM_BITS = 16  # of the number of a generation
MAX_DISMISSED = 1000  # the latest; a keyring that is late by more does not come any more
MAX_GENERATIONS = (1 << 32 - RANDOM_BITS) - 1  # one a day for 179 years

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


@dataclass(frozen=True)
class Generation:
    """One generation of the keys of an account."""

    number: int
    secret: bytes = field(repr=False)
    created: int  # seconds since 1970

    @classmethod
    def after(cls, number: int) -> Self:
        """A new one; `number` is that of the newest there is, 0 if there is none."""
        count = (number >> RANDOM_BITS) + 1
        if count > MAX_GENERATIONS:
            raise Refused("there are no numbers left for another generation")
        number = count << RANDOM_BITS | secrets.randbelow(1 << RANDOM_BITS)
        return cls(number, os.urandom(KEY_SIZE), int(time.time()))


class Keyring:
    """All keys of an account, for those who opened a slot. Each verb gives a new one; `adopt` alone changes
    one, for all that hold it."""

    def __init__(
        self,
        account: bytes,
        generations: Iterable[Generation],
        members: tuple[Member, ...],
        version: int,
        dismissed: tuple[bytes, ...] = (),
    ) -> None:
        """Use `create` or `unlock`."""
        self.account = account
        self.version = version
        self.members = members
        self.dismissed = dismissed  # fingerprints of slots that are gone for good, the latest last
        self._generations = {each.number: each for each in sorted(generations, key=lambda each: each.number)}
        self._ciphers: dict[tuple[int, str], tuple[AESGCM, bytes, bytes]] = {}
        self._incoming: dict[int, HybridPrivate] = {}

    def __repr__(self) -> str:
        return f"<Keyring of {self.account.hex()}, generation {self.current:08x}>"

    # -- life of a keyring

    @classmethod
    def create(cls, account: bytes) -> Self:
        """The keyring of a new account (16 random bytes), with one generation and no slot yet."""
        if len(account) != ACCOUNT_SIZE:
            raise ValueError(f"an account id has {ACCOUNT_SIZE} bytes")
        return cls(account, [Generation.after(0)], (), 0)

    @property
    def generations(self) -> tuple[Generation, ...]:
        """Those that can be read, ascending."""
        return tuple(self._generations.values())

    @property
    def current(self) -> int:
        """The number of the newest generation, which seals."""
        return next(reversed(self._generations))

    def ordinal(self, number: int) -> int:
        """How people call a generation: 1 for the first."""
        return list(self._generations).index(number) + 1

    def rotate(self) -> Self:
        """One more generation, which is the current one from now on."""
        return self.with_generation(Generation.after(self.current))

    def with_generation(self, generation: Generation) -> Self:
        """With this generation, too."""
        return self._with(generations=(*self.generations, generation))

    def united(self, other: "Keyring") -> Self:
        """What this one and another of the account say together, in whatever order: all generations, and all
        slots but those that either has dismissed. A slot that is gone never comes again."""
        dismissed = tuple(dict.fromkeys((*other.dismissed, *self.dismissed)))
        members = {member.public: member for member in (*other.members, *self.members)}
        return self._with(
            generations=(*other.generations, *self.generations),
            members=tuple(m for m in members.values() if m.fingerprint not in dismissed),
            dismissed=dismissed[-MAX_DISMISSED:],
        )

    def adopt(self, newer: "Keyring") -> bool:
        """What a newer keyring of the account says holds here from now on, in place: whoever has this object
        seals with the newest generation. No generation is lost. Whether anything has changed."""
        united = {**self._generations, **newer._generations}
        if (newer.version, newer.members, united) == (self.version, self.members, self._generations):
            return False
        self._generations = dict(sorted(united.items()))
        self.members, self.version, self.dismissed = newer.members, newer.version, newer.dismissed
        return True

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
        dismissed = (*(each for each in self.dismissed if each != fingerprint), fingerprint)
        return self._with(
            members=tuple(m for m in self.members if m.fingerprint != fingerprint),
            dismissed=dismissed[-MAX_DISMISSED:],
        )

    def _with(self, **changes: Any) -> Self:
        kept = {"generations": self.generations, "members": self.members, "dismissed": self.dismissed}
        return type(self)(self.account, version=self.version, **(kept | changes))

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
            [[each.number, each.secret, each.created] for each in self.generations],
            [[m.public, m.vouching, m.kind, m.label, m.read_only, m.created] for m in self.members],
            b"".join(self.dismissed),
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
        generations, members, dismissed = _decode(content)
        if [m.fingerprint for m in members] != fingerprints:
            raise Damaged("a keyring is sealed to other slots than it says")
        return cls(account, generations, members, version, dismissed)

    # -- records: what log/ and mailbox/ seal and open

    def seal(self, kind: str, name: str, plain: bytes) -> bytes:
        """A record sealed with the current generation, 36 bytes longer than the plain bytes."""
        aead, head, prefix = self._cipher(self.current, kind)
        return seal_record(aead, head, plain, prefix + name.encode())

    def seal_again(self, kind: str, name: str, generation: int, plain: bytes) -> bytes:
        """A record of a generation that is the same bytes whoever makes it, and however often.

        What is sealed again may be so by several servers at once, or twice after a crash, under one name; a
        name has one value. The nonce is a PRF of all that is sealed: two different records never share one.
        """
        aead, head, prefix = self._cipher(generation, kind)
        bound = prefix + name.encode()
        mac = hmac.new(self._derive(generation, "again " + kind), len(bound).to_bytes(4, "big"), "sha256")
        mac.update(bound)
        mac.update(plain)
        return seal_record(aead, head, plain, bound, mac.digest()[:NONCE_SIZE])

    def open(self, kind: str, name: str, sealed: bytes) -> bytes:
        """The plain bytes of a record of any generation; `Damaged` if it is not the record of this name."""
        aead, head, prefix = self._cipher(self.generation_of(sealed), kind)
        return open_record(aead, head, sealed, prefix + name.encode())

    def generation_of(self, sealed: bytes) -> int:
        """Which generation a record says it is sealed with; `UnknownGeneration` if it is not here, `Damaged`
        if it is no record. Its first RECORD_HEAD bytes are enough."""
        return self._known(record_generation(sealed))

    def _known(self, generation: int) -> int:
        if generation not in self._generations:
            raise UnknownGeneration
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
        return HKDF(hashes.SHA256(), KEY_SIZE, self.account, info).derive(
            self._generations[generation].secret
        )

    # -- what comes in, sealed by those who hold no secret

    def incoming_public(self, generation: int | None = None) -> IncomingPublic:
        """The key for what comes in, of a generation, by default the current one. Not secret."""
        generation = self.current if generation is None else generation
        return IncomingPublic(self.account, generation, self._incoming_private(generation).public)

    def open_incoming(self, sealed: bytes, binding: Binding) -> bytes:
        """What was sealed to an incoming key of this account and this binding, or `Damaged`, or
        `UnknownGeneration`."""
        generation = self._known(sealed_generation(sealed))
        return open_incoming(self._incoming_private(generation), generation, sealed, binding)

    def _incoming_private(self, generation: int) -> HybridPrivate:
        private = self._incoming.get(generation)
        if private is None:
            private = self._incoming[generation] = HybridPrivate(self._derive(generation, "incoming"))
        return private


def record_generation(sealed: bytes) -> int:
    """Which generation a record says it is sealed with, whether there is such a one or not; or `Damaged`."""
    if sealed[:4] != RECORD_MAGIC or len(sealed) < RECORD_HEAD:
        raise Damaged("this is not a record of a keyring")
    return int.from_bytes(sealed[4:RECORD_HEAD], "big")


def _vouching(slot: SlotPrivate) -> Key:
    return Key(HKDF(hashes.SHA256(), KEY_SIZE, b"", b"aerogramme 1 vouching key").derive(slot.key.seed))


def _decode(content: Any) -> tuple[list[Generation], tuple[Member, ...], tuple[bytes, ...]]:
    """Generations, members, and who was dismissed. They were authenticated, but a newer or broken writer may
    have made them."""
    match content:
        case [list(listed), list(slots), bytes(gone)] if len(gone) % FINGERPRINT_SIZE == 0:
            members = tuple(_member(fields) for fields in slots)
            generations = [_generation(fields) for fields in listed]
            numbers = [each.number for each in generations]
            if numbers and all(a < b for a, b in pairwise(numbers)):
                places = range(0, len(gone), FINGERPRINT_SIZE)
                return generations, members, tuple(gone[at : at + FINGERPRINT_SIZE] for at in places)
    raise Damaged("a keyring does not decode")


def _generation(fields: Any) -> Generation:
    match fields:
        case [int(number), bytes(secret), int(created)] if 0 < number < 2**32 and len(secret) == KEY_SIZE:
            return Generation(number, secret, created)
    raise Damaged("a generation of a keyring does not decode")


def _member(fields: Any) -> Member:
    match fields:
        case [bytes(public), bytes(vouching), kind, str(label), bool(read_only), int(created)] if (
            kind in KINDS and len(public) == PUBLIC_SIZE and len(vouching) == KEY_SIZE
        ):
            return Member(public, vouching, kind, label, read_only, created)
    raise Damaged("a slot of a keyring does not decode")
