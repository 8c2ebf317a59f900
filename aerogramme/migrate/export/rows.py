"""The messages of a mailbox as they are when its export begins, and their letters."""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing

from aerogramme.errors import Damaged
from aerogramme.log.table import Table
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.contents import LARGE

BATCH_OCTETS = 4 << 20  # of letters that are written in one go
BATCH_COUNT = 500


class Rows:
    """Columns in the order of UIDs: row n of all of them is the same message. They do not change any more.

    flags   numbers, of which `sets` says what they are
    """

    def __init__(self, account: Account, name: str, table: Table) -> None:
        self.name = name
        self.mailbox = table.mailbox
        self.uidvalidity, self.uidnext = table.uidvalidity, table.uidnext
        self.uids, self.ids, self.flags = table.uids[:], table.ids[:], table.flags[:]
        self.dates, self.sizes, self.contents = table.dates[:], table.sizes[:], table.contents[:]
        self.counts = Counter(self.flags)  # number -> messages that have it
        self.sets = {number: account.flags_of(number) for number in self.counts}
        by_id = sorted(range(len(self.ids)), key=self.ids.__getitem__)
        self._ids, self._rows = array("Q", (self.ids[row] for row in by_id)), array("I", by_id)

    def __len__(self) -> int:
        return len(self.uids)

    def row_of(self, message: int) -> int | None:
        """The row of a message id."""
        at = bisect_left(self._ids, message)
        return self._rows[at] if at < len(self._ids) and self._ids[at] == message else None

    def keywords(self) -> list[tuple[str, int]]:
        """Those that messages have, and how many; those that most have first."""
        found: Counter[str] = Counter()
        for number, count in self.counts.items():
            for flag in self.sets[number]:
                if not flag.startswith("\\"):
                    found[flag] += count
        return sorted(found.items(), key=lambda each: (-each[1], each[0].casefold()))

    def uids_with(self, flag: str) -> "array[int]":
        """The UIDs of messages that have a flag, ascending."""
        having = {number for number, flags in self.sets.items() if flag in flags}
        return array("I", (uid for uid, n in zip(self.uids, self.flags, strict=True) if n in having))


def is_atom(keyword: str) -> bool:
    """Whether it can be a word of a line. IMAP knows no others (RFC 3501 §9), but a hostile source may."""
    return keyword.isascii() and keyword.isprintable() and " " not in keyword


def batches(rows: Rows, wanted: Sequence[int]) -> Iterator[Sequence[int]]:
    """Rows whose letters can be in memory together; one that is large comes alone."""
    start = 0
    while start < len(wanted):
        stop, octets = start, 0
        while stop < len(wanted) and stop - start < BATCH_COUNT and octets < BATCH_OCTETS:
            size = rows.sizes[wanted[stop]]
            if size > LARGE and stop > start:
                break
            octets += size if size <= LARGE else BATCH_OCTETS
            stop += 1
        yield wanted[start:stop]
        start = stop


def is_large(rows: Rows, some: Sequence[int]) -> bool:
    """Whether a batch is one letter that is read in pieces."""
    return rows.sizes[some[0]] > LARGE


async def read(account: Account, rows: Rows, some: Sequence[int]) -> list[bytes | Damaged]:
    """The letters of a batch, in its order; a Damaged for one that cannot be read. Raises Unavailable."""
    async with aclosing(account.read_bodies([rows.contents[row] for row in some])) as reading:
        return [letter async for letter in reading]
