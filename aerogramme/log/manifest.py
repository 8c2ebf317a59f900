"""Manifests: what a checkpoint says, as it is stored.

How a state becomes one, and comes from one, is in checkpoint.py. Which parts a manifest names is asked by
others too: those who let go of what nothing names (needed.py), and those who take over what another server
has written (adopting.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]  # it ships no types

from aerogramme.errors import Damaged, UnknownGeneration
from aerogramme.log import bundle, segment
from aerogramme.log.columns import column_from
from aerogramme.log.entry import SegmentRef
from aerogramme.log.ids import Runs
from aerogramme.log.packing import compress, decompress
from aerogramme.log.records import Records

KIND = "checkpoint"  # of the sealed record; its name is that of the object
VERSION = 3


class StoredTrail(NamedTuple):
    """The entries of one replica: those before `first` are old, and all known."""

    replica: int
    first: int
    clocks: bytes  # column "Q": of first, first + 1, …; 0 for one that was not seen
    floor: int
    seen: list[int] | None  # replica, seq, …; None of one that is silent

    @property
    def last(self) -> int:
        """The seq of the last entry that is covered."""
        return self.first + len(column_from("Q", self.clocks)) - 1


class StoredTable(NamedTuple):
    """One mailbox."""

    mailbox: int
    attributes: list[list[Any]]  # name, clock, value
    top: int
    highestmodseq: int
    forgotten: int
    forgotten_uid: int
    pieces: list[Any]  # number, name, …
    inline: bytes | None  # the rows of a mailbox that has no pieces
    tombs: list[bytes]
    claims: list[list[Any]]
    early: list[list[int]]
    facts: list[list[Any]]

    @property
    def names(self) -> dict[int, str]:
        """The names of its pieces, by number, in their order."""
        return dict(zip(self.pieces[::2], self.pieces[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint says.

    clock, floor, trails   which entries it covers
    bundles    those that have the contents of segments, with the names of these; of one that was not read, or
               cannot be, with none
    cut        replica -> seq up to which entries have been deleted: what compaction has left is whole from
               there on
    lost       (replica, seq) of entries that are missing, or cannot be read, and that repair has given up
    """

    clock: int
    floor: int
    trails: Sequence[StoredTrail]
    tables: Sequence[StoredTable]
    subscriptions: Sequence[tuple[str, int]] = ()
    flags: Sequence[tuple[str, int]] = ()
    last_uidvalidity: int = 0
    segments: Sequence[SegmentRef] = ()
    bundles: bundle.Bundled = field(default_factory=dict)
    damaged: Sequence[tuple[str, str]] = ()
    cut: Mapping[int, int] = field(default_factory=dict)
    lost: frozenset[tuple[int, int]] = frozenset()

    @property
    def vector(self) -> dict[int, int]:
        """replica -> seq of its last entry that is covered; of none that has been silent for long."""
        return {trail.replica: trail.last for trail in self.trails}

    @property
    def bases(self) -> dict[int, int]:
        """mailbox -> HIGHESTMODSEQ."""
        return {table.mailbox: table.highestmodseq for table in self.tables}

    @property
    def pieces(self) -> dict[int, dict[int, str]]:
        """mailbox -> number -> name of the piece."""
        return {table.mailbox: table.names for table in self.tables}

    def covers(self, clock: int, replica: int, seq: int, vector: Mapping[int, int]) -> bool:
        """Whether an entry is covered, as far as is still known. `vector`: that of this manifest."""
        last = vector.get(replica)
        return clock <= self.floor if last is None else seq <= last

    def encode(self) -> bytes:
        """The plain bytes."""
        bundled = {segment for of in self.bundles.values() for segment in of}
        packed: bytes = msgpack.packb(
            [
                VERSION,
                self.clock,
                self.floor,
                self.trails,
                self.tables,
                self.subscriptions,
                self.flags,
                self.last_uidvalidity,
                [_encode_segment(ref, ref.name in bundled) for ref in self.segments],
                list(self.bundles),
                self.damaged,
                [n for item in sorted(self.cut.items()) for n in item],
                [n for item in sorted(self.lost) for n in item],
            ]
        )
        return compress(packed)

    @classmethod
    def decode(cls, plain: bytes) -> "Manifest":
        """Raises Damaged for anything that `encode` does not write."""
        try:
            version, *fields = msgpack.unpackb(decompress(plain), strict_map_key=True)
            if version != VERSION:
                raise Damaged("a checkpoint of an unknown version")
            clock, floor, trails, tables, subscriptions, flags, last, segments, *fields = fields
            bundles, damaged, cut, lost = fields
            if type(bundles) is not list:
                raise Damaged("a checkpoint does not decode")
            manifest = cls(
                clock,
                floor,
                [StoredTrail(*each) for each in trails],
                [StoredTable(*each) for each in tables],
                [(name, fact) for name, fact in subscriptions],
                [(spelling, first_use) for spelling, first_use in flags],
                last,
                [_decode_segment(*each) for each in segments],
                dict.fromkeys(bundles, ()),
                [(key, why) for key, why in damaged],
                dict(zip(cut[::2], cut[1::2], strict=True)),
                frozenset(zip(lost[::2], lost[1::2], strict=True)),
            )
            _check(manifest)
        except (ValueError, TypeError, IndexError, AttributeError, msgpack.UnpackException) as e:
            raise Damaged("a checkpoint does not decode") from e
        return manifest


def _check(manifest: Manifest) -> None:
    """What is asked of it later must not fail then. Raises what a wrong type raises."""
    names = [name for numbers in manifest.pieces.values() for name in numbers.values()]
    names += manifest.bundles
    numbers = [manifest.clock, manifest.floor, *manifest.bases.values(), *manifest.vector.values()]
    if any(type(name) is not str for name in names) or any(type(number) is not int for number in numbers):
        raise Damaged("a checkpoint does not decode")


async def read(records: Records, name: str) -> Manifest:
    """The manifest that is this object. Raises Damaged, Unavailable."""
    return await completed(records, await read_alone(records, name))


async def read_alone(records: Records, name: str) -> Manifest:
    """The same, but segments whose contents are in bundles have none yet: with one object read, for all
    questions but those about contents. Raises Damaged, Unavailable."""
    [plain] = await records.read(KIND, [name])
    if isinstance(plain, Damaged):
        raise plain
    return Manifest.decode(plain)


async def completed(records: Records, manifest: Manifest, *, as_far_as_known: bool = False) -> Manifest:
    """One that was read alone, with all contents. Raises Unavailable, and Damaged if nothing tells those of a
    segment, or with `as_far_as_known` leaves it without: none of its digests can be read then."""
    known: dict[str, Runs] = {}
    bundles: dict[str, Sequence[str]] = {}
    reason = Damaged("nothing says of which contents a segment is")
    names = list(manifest.bundles)
    for name, packed in zip(names, await records.read(bundle.KIND, names), strict=True):
        try:
            if isinstance(packed, Damaged):
                raise packed
            listed = bundle.decode(packed)
        except UnknownGeneration:
            raise
        except Damaged as why:
            reason, listed = why, {}
        known |= listed
        bundles[name] = tuple(listed)
    segments = []
    for ref in manifest.segments:
        if not ref.contents:
            contents = known.get(ref.name) or await _contents_of_another(records, ref)
            if contents is None and not as_far_as_known:
                raise reason
            ref = replace(ref, contents=contents or ref.contents)
        segments.append(ref)
    return replace(manifest, segments=segments, bundles=bundles)


async def _contents_of_another(records: Records, ref: SegmentRef) -> Runs | None:
    """Each group says what it is of: one that can be read is enough. Raises Unavailable."""
    for group in ref.groups:  # one by one: they are large
        name = segment.object_name(ref.name, group, ref.sealed)
        [packed] = await records.read(segment.KIND, [name])
        try:
            return _contents(packed)
        except Damaged:
            continue
    return None


def _contents(packed: bytes | Damaged) -> Runs:
    if isinstance(packed, Damaged):
        raise packed
    contents, _ = segment.read_group(packed)
    if not contents:
        raise Damaged("a segment is of nothing")
    return contents


def _encode_segment(ref: SegmentRef, bundled: bool) -> list[Any]:
    groups = ref.groups if ref.inline is None else dict(ref.inline)
    packs = ref.packs and [[bytes.fromhex(pack), octets] for pack, octets in sorted(ref.packs.items())]
    more = [packs, Runs.of(ref.loose).wire(), ref.sealed] if ref.packs is not None or ref.sealed else []
    contents = None if bundled else Runs.of(ref.contents).wire()
    return [bytes.fromhex(ref.name), contents, groups, *more]


def _decode_segment(
    name: bytes,
    contents: Any,
    groups: list[str] | dict[str, bytes],
    packs: list[tuple[bytes, int]] | None = None,
    loose: list[int] | None = None,
    sealed: int = 0,
) -> SegmentRef:
    inline = groups if isinstance(groups, dict) else None
    named = None if packs is None else {pack.hex(): octets for pack, octets in packs}
    of, single = Runs.from_wire([] if contents is None else contents), Runs.from_wire(loose or [])
    return SegmentRef(name.hex(), of, tuple(groups), inline, named, single, sealed)
