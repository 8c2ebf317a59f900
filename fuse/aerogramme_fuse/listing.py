"""The files of a mailbox, listed once and then kept up to date: after a change only the part of it that is
not as it was is made anew.

A part (`Chunk`) is the messages of a range of UIDs. It remembers a hash of all that its names and attributes
come from; it never changes, but is replaced: who lists a folder holds those that he began with.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import compress
from operator import sub

from aerogramme.log.columns import compressed
from aerogramme.log.table import Table
from aerogramme.maildir import file_names, letters_of
from aerogramme_fuse.sizes import Sizes

LISTED = ("cur", "new")  # the folders of messages
CHUNK_BITS = 9  # 512 UIDs a chunk: naming them takes about a millisecond

ListingVersion = tuple[int | str, ...]
"""All that the names in a mailbox come from."""
Span = tuple[int, int, int]
"""The number of a chunk, and its rows: start, stop."""


@dataclass(slots=True)
class Files:
    """Files of one folder, in the order of UIDs. `dates`: mtime, in seconds since 1970; `modseqs` have the
    time of the last change (ctime) in them: see clock.ms_of."""

    names: list[bytes] = field(default_factory=list)
    inodes: "array[int]" = field(default_factory=lambda: array("Q"))
    sizes: "array[int]" = field(default_factory=lambda: array("I"))
    dates: "array[int]" = field(default_factory=lambda: array("I"))
    modseqs: "array[int]" = field(default_factory=lambda: array("Q"))

    def rows(self, start: int) -> Iterator[tuple[bytes, int, int, int, int]]:
        """Those from a place on: name, inode, size, date, modseq."""
        names, inodes, sizes = self.names[start:], self.inodes[start:], self.sizes[start:]
        return zip(names, inodes, sizes, self.dates[start:], self.modseqs[start:], strict=True)

    def where(self, there: Sequence[bool]) -> "Files":
        """Some of them."""
        if all(there):
            return self
        columns = self.inodes, self.sizes, self.dates, self.modseqs
        return Files(list(compress(self.names, there)), *(compressed(column, there) for column in columns))


@dataclass(frozen=True, slots=True)
class Chunk:
    """The files of a range of UIDs, by their folder."""

    made_of: bytes
    files: dict[str, Files]


@dataclass(slots=True)
class Listing:
    """The files of cur/ and new/ of a mailbox, as they were at a version of it."""

    version: ListingVersion
    chunks: dict[int, Chunk] = field(default_factory=dict)

    def files(self, part: str) -> list[Files]:
        """Those of cur or new, in the order of UIDs."""
        return [chunk.files[part] for chunk in self.chunks.values() if chunk.files[part].names]

    def since(self, before: "Listing", part: str) -> tuple[set[bytes], bool]:
        """The names that are there no more, and whether anything has changed."""
        gone: set[bytes] = set()
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


def spans_of(table: Table) -> Iterator[Span]:
    """The chunks of a mailbox."""
    start = 0
    while start < len(table):
        number = table.uids[start] >> CHUNK_BITS
        stop = bisect_left(table.uids, (number + 1) << CHUNK_BITS, start)
        yield number, start, stop
        start = stop


def made_of(table: Table, start: int, stop: int, moved: set[int], keywords: Sequence[str]) -> bytes:
    """A hash of what some rows look like. `moved`: messages without flags that are in cur/ all the same;
    `keywords`: those that have letters."""
    seen = blake2b(" ".join(keywords).encode(), digest_size=16)
    for column in columns_of(table):
        seen.update(column[start:stop].tobytes())
    if moved:
        seen.update(array("Q", sorted(moved.intersection(table.ids[start:stop]))).tobytes())
    return seen.digest()


def chunk_of(
    table: Table,
    start: int,
    stop: int,
    known: Sizes,
    host: str,
    moved: set[int],
    keywords: Sequence[str],
) -> Chunk:
    """The files of some rows, of whose letters the sizes are known. Column by column: it is what the first
    listing of a mailbox takes its time for."""
    ids, uids, flags, sizes, dates, contents, modseqs = (column[start:stop] for column in columns_of(table))
    octets = array("I", map(sub, sizes, known.lines_of(table.mailbox, contents)))
    in_new = [not number and message not in moved for number, message in zip(flags, ids, strict=True)]
    letters = {number: letters_of(table.flagsets.sets[number], keywords) for number in set(flags)}
    info = {number: f":2,{those}".encode() for number, those in letters.items()}
    infos = [b"" if new else info[number] for new, number in zip(in_new, flags, strict=True)]
    names = file_names(host, dates, ids, octets, known.wide_of(contents, sizes), uids, infos)
    every = Files(names, ids, octets, dates, modseqs)
    files = {"cur": every.where([not new for new in in_new]), "new": every.where(in_new)}
    return Chunk(made_of(table, start, stop, moved, keywords), files)


def columns_of(table: Table) -> tuple["array[int]", ...]:
    """All that names and attributes come from, but for what the letters have in them."""
    return table.ids, table.uids, table.flags, table.sizes, table.dates, table.contents, table.modseqs
