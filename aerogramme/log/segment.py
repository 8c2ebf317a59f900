"""Segments: the digests of contents, a batch at a time, as columns of bytes.

A segment has groups of fields; each group is packed, stored and loaded by itself, so that a list of
messages is shown without reading their texts. Which groups and fields there are is the business of
mailbox/.
"""

import os
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise, repeat
from operator import add, gt
from typing import NamedTuple, overload

import msgpack  # type: ignore[import-untyped]  # it ships no types
import trio

from aerogramme.errors import Damaged
from aerogramme.log.columns import column_bytes, column_from
from aerogramme.log.entry import SegmentRef
from aerogramme.log.ids import Runs
from aerogramme.log.packing import compress, decompress
from aerogramme.log.records import Records
from aerogramme.log.suffix import sealed_for
from aerogramme.seal import Keyring

KIND = "segment"  # of the sealed record; its name is that of the object
VERSION = 2
INLINE_MAX = 32 * 1024  # packed octets of all groups that ride in the entry; with them it stays a small row
LARGE = 1024 * 1024  # octets of columns that are packed in a thread: it takes some milliseconds
# Levels of zstd. What comes in waits for it, and small segments are merged some day. Of real mails, 60 in a
# segment, 1 takes a third less time than 3 and makes 4 % more; of 1,000 it makes 11 % more.
NEW, MERGED = 1, 3
MAX_UNPACKED = 1 << 31  # a segment is written from memory; what unpacks to more is not one
MERGED_MAX = 8 * 1024 * 1024  # octets of one group that a merge holds
MERGE_STEP = 16  # segments that it loads at a time
BUDGET = 64 * 1024 * 1024  # octets of columns kept in memory for an account


class Column(Sequence[bytes]):
    """Values one after the other: value n is joined[ends[n - 1]:ends[n]] (from 0 for the first)."""

    __slots__ = ("_ends", "joined", "lengths")

    def __init__(self, joined: bytes, lengths: "array[int]") -> None:
        self.joined = joined
        self.lengths = lengths
        self._ends: array[int] | None = None

    @property
    def ends(self) -> "array[int]":
        """Where the values end. Made out when somebody asks: of a group few fields are asked for."""
        if self._ends is None:
            self._ends = array("Q", accumulate(self.lengths))
        return self._ends

    @classmethod
    def of(cls, values: Sequence[bytes]) -> "Column":
        return cls(b"".join(values), array("I", map(len, values)))

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[bytes]:
        joined = self.joined
        return (joined[start:stop] for start, stop in pairwise([0, *self.ends]))

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        if isinstance(at, slice):
            return list(self)[at]
        ends = self.ends
        if at < 0:
            at += len(ends)
        if not 0 <= at < len(ends):
            raise IndexError(at)
        return self.joined[ends[at - 1] if at else 0 : ends[at]]


Columns = Mapping[str, Column]  # one group of a segment: field -> values


class PackedBodies(NamedTuple):
    """The groups of a segment with the places of the bodies; the packs that they name, with their octets; and
    the contents whose bodies are in none."""

    groups: Mapping[str, Columns]
    packs: Mapping[str, int]
    loose: Sequence[int]


Packer = Callable[[Sequence[int], Mapping[str, Columns], Mapping[str, int]], Awaitable[PackedBodies]]
"""Packs the bodies of contents whose digests are merged: given the contents, the groups of their digests, and
the packs that there are."""


def pack_group(contents: Iterable[int], fields: Mapping[str, Sequence[bytes]], level: int = NEW) -> bytes:
    """The stored form of one group, before it is sealed."""
    packed = []
    for name, values in fields.items():
        column = values if isinstance(values, Column) else Column.of(values)
        packed.append([name, column_bytes(column.lengths), column.joined])
    return compress(msgpack.packb([VERSION, Runs.of(contents).wire(), packed]), level)


def unpack_group(packed: bytes, contents: Sequence[int]) -> dict[str, Column]:
    """The columns that `pack_group` was given for these contents. Raises Damaged."""
    found, columns = read_group(packed)
    if found != contents:
        raise Damaged("a segment is not of the contents that it should be of")
    return columns


def read_group(packed: bytes) -> tuple[Runs, dict[str, Column]]:
    """The contents and the columns that `pack_group` was given. Raises Damaged."""
    try:
        version, of, fields = msgpack.unpackb(decompress(packed, MAX_UNPACKED), strict_map_key=True)
        if version != VERSION:
            raise Damaged("a segment of an unknown version")
        contents = Runs.from_wire(of)
        columns = {}
        for name, lengths, joined in fields:
            column = column_from("I", lengths)
            if type(name) is not str or type(joined) is not bytes or len(column) != len(contents):
                raise Damaged("a segment does not decode")
            if sum(column) != len(joined):
                raise Damaged("a segment does not decode")
            columns[name] = Column(joined, column)
        return contents, columns
    except (ValueError, TypeError, msgpack.UnpackException) as e:
        raise Damaged("a segment does not decode") from e


class Bulky(Exception):
    """What is to be merged, of several segments, has too many octets for one."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A segment ready for an entry: `ref` goes into an Add, `objects` are appended with the entry."""

    ref: SegmentRef
    objects: Sequence[tuple[str, bytes]]


def object_name(segment: str, group: str, sealed: int = 0) -> str:
    """The object that holds a group of a segment that is not inline; `sealed` as in SegmentRef."""
    name = f"segment/{segment}/{group}"
    return sealed_for(name, sealed) if sealed else name


def pack(
    keyring: Keyring,
    contents: Iterable[int],
    groups: Mapping[str, Mapping[str, Sequence[bytes]]],
    *,
    inline_max: int = INLINE_MAX,
    level: int = NEW,
    packs: Mapping[str, int] | None = None,
    loose: Sequence[int] = (),
) -> Packed:
    """A segment of the digests of these contents: group -> field -> one value for each content."""
    of = Runs.of(contents)
    packed = {group: pack_group(of, fields, level) for group, fields in groups.items()}
    name = os.urandom(16).hex()
    if sum(map(len, packed.values())) <= inline_max:
        return Packed(SegmentRef(name, of, tuple(packed), packed, packs, loose), ())
    names = {group: object_name(name, group) for group in packed}
    objects = [(names[g], keyring.seal(KIND, names[g], plain)) for g, plain in packed.items()]
    return Packed(SegmentRef(name, of, tuple(packed), None, packs, loose), objects)


class ContentMap:
    """content id -> (segment, position in it), held as runs: contents come, and are folded, in runs."""

    __slots__ = ("_counts", "_firsts", "_named", "_positions", "_segments")

    def __init__(self) -> None:
        self._set([array("Q"), array("I"), array("I"), array("I")])

    def put(self, segment: int, contents: Iterable[int]) -> None:
        """The digests of contents are in a segment, in this order. Contents that have a place keep it."""
        position = 0
        for first, count in Runs.of(contents).runs:
            self._put_run(segment, first, count, position)
            position += count

    def _put_run(self, segment: int, first: int, count: int, position: int) -> None:
        while count:
            at = bisect_right(self._firsts, first) - 1
            step = self._firsts[at] + self._counts[at] - first if at >= 0 else 0  # how many have a place
            if step <= 0:
                step = self._firsts[at + 1] - first if at + 1 < len(self._firsts) else count
                step = min(step, count)
                self._firsts.insert(at + 1, first)
                self._counts.insert(at + 1, step)
                self._segments.insert(at + 1, segment)
                self._positions.insert(at + 1, position)
                self._named.add(segment)
            step = min(step, count)
            first, count, position = first + step, count - step, position + step

    def find(self, content: int) -> tuple[int, int] | None:
        """The segment and the position in it."""
        at = bisect_right(self._firsts, content) - 1
        if at < 0 or content - self._firsts[at] >= self._counts[at]:
            return None
        return self._segments[at], self._positions[at] + content - self._firsts[at]

    def spans(self, contents: Iterable[int]) -> Iterator[tuple[int, int, int]]:
        """Where contents are, in their order: (segment, first position, count); segment -1: nowhere."""
        for first, left in Runs.of(contents).runs:
            while left:
                at = bisect_right(self._firsts, first) - 1
                offset = first - self._firsts[at] if at >= 0 else 0
                if at >= 0 and offset < self._counts[at]:
                    count = min(left, self._counts[at] - offset)
                    yield self._segments[at], self._positions[at] + offset, count
                else:
                    following = self._firsts[at + 1] if at + 1 < len(self._firsts) else first + left
                    count = min(left, following - first)
                    yield -1, 0, count
                first, left = first + count, left - count

    def rebuild(self, refs: Mapping[int, SegmentRef]) -> None:
        """Forget all places, and take those in these segments, by index; the first that has a content has its
        place. All runs are sorted at once: to insert one after the other takes the square of the time."""
        columns = firsts, counts, segments, positions = array("Q"), array("I"), array("I"), array("I")
        for index, ref in refs.items():
            runs = Runs.of(ref.contents).runs
            firsts.extend(first for first, _ in runs)
            counts.extend(count for _, count in runs)
            segments.extend(repeat(index, len(runs)))
            positions.extend(accumulate((count for _, count in runs[:-1]), initial=0) if runs else ())
        order = sorted(range(len(firsts)), key=firsts.__getitem__)
        self._set([array(column.typecode, map(column.__getitem__, order)) for column in columns])
        ends = map(add, self._firsts, self._counts)
        if any(map(gt, ends, self._firsts[1:])):
            self._untangle(order)

    def _columns(self) -> list["array[int]"]:
        return [self._firsts, self._counts, self._segments, self._positions]

    def _set(self, columns: Sequence["array[int]"]) -> None:
        self._firsts, self._counts, self._segments, self._positions = columns
        self._named = set(self._segments)

    def _untangle(self, order: Sequence[int]) -> None:
        """Make runs that overlap such that do not. They are sorted, and stood in this order before: of two
        that have a content, the one that came before has it."""
        firsts, counts, segments, positions = columns = self._columns()
        untangled = [array(column.typecode) for column in columns]
        start = done = 0
        while start < len(firsts):
            stop, end = start + 1, firsts[start] + counts[start]
            while stop < len(firsts) and firsts[stop] < end:
                end = max(end, firsts[stop] + counts[stop])
                stop += 1
            if stop - start > 1:
                some = ContentMap()
                for at in sorted(range(start, stop), key=order.__getitem__):
                    some._put_run(segments[at], firsts[at], counts[at], positions[at])
                for to, column, new in zip(untangled, columns, some._columns(), strict=True):
                    to += column[done:start] + new
                done = stop
            start = stop
        self._set([to + column[done:] for to, column in zip(untangled, columns, strict=True)])

    def segments(self) -> set[int]:
        """The indices of all segments that have a content."""
        return set(self._named)

    def __contains__(self, content: int) -> bool:
        return self.find(content) is not None

    def __len__(self) -> int:
        return sum(self._counts)


class Segments:
    """The segments of an account: loads groups, keeps some, and packs new ones.

    Segments have indices: `State.contents` names them so. A fold merges small segments into new ones; the old
    indices stay good until the fold after that.
    """

    def __init__(
        self, records: Records, keyring: Keyring, refs: Sequence[SegmentRef], budget: int = BUDGET
    ) -> None:
        self._records = records
        self._keyring = keyring
        self._refs = refs  # the state's own list, which grows
        self._budget = budget
        self._kept: OrderedDict[tuple[int, str], Columns] = OrderedDict()
        self._kept_size = 0
        self._loading: dict[tuple[int, str], trio.Event] = {}

    def pack(self, contents: Iterable[int], groups: Mapping[str, Mapping[str, Sequence[bytes]]]) -> Packed:
        """A segment for a new entry."""
        return pack(self._keyring, contents, groups)

    async def merge(
        self, indices: Sequence[int], packer: Packer | None = None, without: Container[int] = ()
    ) -> Packed | None:
        """One new segment, never inline, of the contents of several, but for some; None if none is left. The
        bodies are packed, if there is a packer for that. Raises Damaged, Unavailable; Bulky, of several."""
        refs = [self._refs[index] for index in indices]
        every = [content for ref in refs for content in ref.contents]
        rows = [n for n, content in enumerate(every) if content not in without]
        contents = [every[n] for n in rows]
        if not contents:
            return None
        groups: Mapping[str, Columns] = {}
        for group in sorted({group for ref in refs for group in ref.groups}):
            columns = _joined(await self._load_to_merge(indices, group))
            if len(rows) < len(every):
                columns = {name: Column.of([column[n] for n in rows]) for name, column in columns.items()}
            groups = {**groups, group: columns}
            await trio.lowlevel.checkpoint()  # packing takes some milliseconds: others have their turn
        packs: Mapping[str, int] | None
        packs = {name: octets for ref in refs for name, octets in (ref.packs or {}).items()}
        loose: Sequence[int] = ()
        if packer is not None:
            groups, packs, loose = await packer(contents, groups, packs)
        elif all(ref.packs is None for ref in refs):
            packs = None
        else:
            single = {content for ref in refs for content in ref.single}
            loose = [content for content in contents if content in single]
        work = partial(
            pack, self._keyring, contents, groups, inline_max=-1, level=MERGED, packs=packs, loose=loose
        )
        if sum(map(_size, groups.values())) > LARGE:
            return await trio.to_thread.run_sync(work)
        return work()

    async def _load_to_merge(self, indices: Sequence[int], group: str) -> list[Columns]:
        """Some after the other: whoever sends mail decides how large they are. They are not kept, since who
        reads next has the new segment."""
        found: list[Columns] = []
        size = 0
        for start in range(0, len(indices), MERGE_STEP):
            some = indices[start : start + MERGE_STEP]
            found += await self.load(some, group)
            self._let_go((index, group) for index in some)
            size += sum(map(_size, found[start:]))
            if size > MERGED_MAX and len(indices) > 1:
                raise Bulky
        return found

    async def load(self, indices: Sequence[int], group: str) -> list[Columns]:
        """As `read`, but raises Damaged when one cannot be read."""
        loaded: list[Columns] = []
        for columns in await self.read(indices, group):
            if isinstance(columns, Damaged):
                raise columns
            loaded.append(columns)
        return loaded

    async def read(self, indices: Sequence[int], group: str) -> list[Columns | Damaged]:
        """A group of several segments, in the order asked, with one trip to the store; Damaged in place of
        one that cannot be read. The columns stay good, whatever is kept or not. Raises Unavailable."""
        found: dict[int, Columns | Damaged] = {}
        wanted: dict[int, SegmentRef] = {}
        for index in indices:
            kept = self._kept.get((index, group))
            if kept is not None:
                self._kept.move_to_end((index, group))
                found[index] = kept
            else:
                wanted[index] = self._refs[index]
        for index, ref in wanted.items():  # before anything awaits: a fold may take inline groups away
            if ref.inline is not None:
                found[index] = self._opened(index, group, ref.contents, ref.inline.get(group))
        wanted = {index: ref for index, ref in wanted.items() if index not in found}
        others = [self._loading[index, group] for index in wanted if (index, group) in self._loading]
        await self._fetch(
            {i: ref for i, ref in wanted.items() if (i, group) not in self._loading}, group, found
        )
        for event in others:
            await event.wait()
        left = [index for index in wanted if index not in found]
        if left:  # another task has loaded these; if it failed, or they were let go again, it is our turn
            found.update(zip(left, await self.read(left, group), strict=True))
        return [found[index] for index in indices]

    async def _fetch(
        self, refs: Mapping[int, SegmentRef], group: str, found: dict[int, Columns | Damaged]
    ) -> None:
        if not refs:
            return
        event = trio.Event()
        for index in refs:
            self._loading[index, group] = event
        try:
            names = [object_name(ref.name, group, ref.sealed) for ref in refs.values()]
            read = await self._records.read(KIND, names)
            for (index, ref), packed in zip(refs.items(), read, strict=True):
                found[index] = self._opened(index, group, ref.contents, packed)
                await trio.lowlevel.checkpoint()  # one takes up to ten milliseconds: others have their turn
        finally:
            for index in refs:
                del self._loading[index, group]
            event.set()

    def _let_go(self, keys: Iterable[tuple[int, str]]) -> None:
        for key in keys:
            if (columns := self._kept.pop(key, None)) is not None:
                self._kept_size -= _size(columns)

    def _opened(
        self, index: int, group: str, contents: Sequence[int], packed: bytes | Damaged | None
    ) -> Columns | Damaged:
        """The columns of a group, which are kept: and those used longest ago are let go of when the budget is
        spent."""
        try:
            if packed is None:
                raise Damaged("a segment has no such group")
            if isinstance(packed, Damaged):
                return packed
            columns = unpack_group(packed, contents)
        except Damaged as damage:
            return damage
        if (index, group) not in self._kept:
            self._kept_size += _size(columns)
            self._kept[index, group] = columns
            while self._kept_size > self._budget and len(self._kept) > 1:
                _, old = self._kept.popitem(last=False)
                self._kept_size -= _size(old)
        return columns


def _joined(parts: Sequence[Columns]) -> dict[str, Column]:
    """Columns one below the other."""
    fields = list(parts[0])
    if any(list(part) != fields for part in parts):
        raise Damaged("segments differ in their fields")
    joined = {}
    for field in fields:
        lengths = array("I")
        for part in parts:
            lengths += part[field].lengths
        joined[field] = Column(b"".join([part[field].joined for part in parts]), lengths)
    return joined


def _size(columns: Columns) -> int:
    return sum(len(column.joined) + 12 * len(column) + 100 for column in columns.values())
