"""The files of a mailbox, listed once and then kept up to date: after a change only the part of it that is
not as it was is made anew.

A part (`Chunk`) is the messages of a range of UIDs. It remembers a hash of all that its names and attributes
come from; it never changes, but is replaced: who lists a folder holds those that he began with.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import compress, repeat
from operator import add, sub

from aerogramme.log.clock import COUNTER_BITS
from aerogramme.log.columns import compressed
from aerogramme.log.table import Table
from aerogramme.maildir import base_name

LISTED = ("cur", "new")  # the folders of messages
CHUNK_BITS = 9  # 512 UIDs a chunk: naming them takes about a millisecond

LettersOf = Callable[[int], str]
"""The letters of a flagset number."""


@dataclass(slots=True)
class Files:
    """Files of one folder, in the order of UIDs: for each its name and what stat(2) tells, times in
    nanoseconds since 1970."""

    names: list[str] = field(default_factory=list)
    inodes: "array[int]" = field(default_factory=lambda: array("Q"))
    sizes: "array[int]" = field(default_factory=lambda: array("I"))
    mtimes: "array[int]" = field(default_factory=lambda: array("q"))
    ctimes: "array[int]" = field(default_factory=lambda: array("q"))

    def rows(self, start: int) -> Iterator[tuple[str, int, int, int, int]]:
        """Those from a place on: name, inode, size, mtime, ctime."""
        names, inodes, sizes = self.names[start:], self.inodes[start:], self.sizes[start:]
        return zip(names, inodes, sizes, self.mtimes[start:], self.ctimes[start:], strict=True)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The files of a range of UIDs, by their folder."""

    made_of: bytes
    files: dict[str, Files]


@dataclass(slots=True)
class Listing:
    """The files of cur/ and new/ of a mailbox, as they were at a version of it."""

    version: tuple[int | str, ...]  # all that names come from
    chunks: dict[int, Chunk] = field(default_factory=dict)

    def files(self, part: str) -> list[Files]:
        """Those of cur or new, in the order of UIDs."""
        return [chunk.files[part] for chunk in self.chunks.values() if chunk.files[part].names]

    def since(self, before: "Listing", part: str) -> tuple[set[str], bool]:
        """The names that are there no more, and whether anything has changed."""
        gone: set[str] = set()
        changed = False
        for number in before.chunks.keys() | self.chunks.keys():
            one, other = before.chunks.get(number), self.chunks.get(number)
            if one is other:
                continue
            was = one.files[part].names if one else []
            now = other.files[part].names if other else []
            if was != now:
                gone.update(set(was).difference(now))
                changed = True
        return gone, changed


def spans_of(table: Table) -> Iterator[tuple[int, int, int]]:
    """The chunks of a mailbox: number, and its rows as start, stop."""
    start = 0
    while start < len(table):
        number = table.uids[start] >> CHUNK_BITS
        stop = bisect_left(table.uids, (number + 1) << CHUNK_BITS, start)
        yield number, start, stop
        start = stop


def made_of(table: Table, start: int, stop: int, moved: set[int]) -> bytes:
    """A hash of what some rows look like. `moved`: messages without flags that are in cur/ all the same."""
    seen = blake2b(digest_size=16)
    for column in columns_of(table):
        seen.update(column[start:stop].tobytes())
    if moved:
        seen.update(array("Q", sorted(moved.intersection(table.ids[start:stop]))).tobytes())
    return seen.digest()


def chunk_of(
    table: Table,
    start: int,
    stop: int,
    lines: Sequence[int],
    bare: Mapping[int, int],
    host: str,
    letters_of: LettersOf,
    moved: set[int],
) -> Chunk:
    """The files of some rows. `lines` of their contents, and `bare` by content: see Digest. Column by column:
    it is what the first listing of a mailbox takes its time for."""
    ids, uids, flags, sizes, dates, contents, modseqs = (column[start:stop] for column in columns_of(table))
    octets = array("I", map(sub, sizes, lines))
    wide: Sequence[int] = sizes
    if not bare.keys().isdisjoint(contents):
        wide = [size + bare.get(content, 0) for size, content in zip(sizes, contents, strict=True)]
    names = list(map(base_name, dates, ids, repeat(host), octets, wide, uids))
    in_new = [not number and message not in moved for number, message in zip(flags, ids, strict=True)]
    if not all(in_new):
        info = {number: f":2,{letters_of(number)}" for number in set(flags)}
        ends = ["" if new else info[number] for new, number in zip(in_new, flags, strict=True)]
        names = list(map(add, names, ends))
    mtimes = array("q", [date * 1_000_000_000 for date in dates])
    ctimes = array("q", [(modseq >> COUNTER_BITS) * 1_000_000 for modseq in modseqs])
    files = {}
    for part, there in ("cur", [not new for new in in_new]), ("new", in_new):
        files[part] = Files(
            list(compress(names, there)),
            *(compressed(column, there) for column in (ids, octets, mtimes, ctimes)),
        )
    return Chunk(made_of(table, start, stop, moved), files)


def columns_of(table: Table) -> tuple["array[int]", ...]:
    """All that names and attributes come from, but for what the letters have in them."""
    return table.ids, table.uids, table.flags, table.sizes, table.dates, table.contents, table.modseqs
