"""Letters that programs are reading, as their files have them: in memory while they are open, within a
budget.

Who reads one letter after the other, as grep and backup programs do, gets the next ones in the same trip to
the store; who reads one gets one.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import aclosing

import trio

from aerogramme.errors import Damaged
from aerogramme.log.table import Table
from aerogramme.mailbox.account import Account

BUDGET = 64 * 1024 * 1024  # octets of all letters that are held; one that is larger is held alone
STREAK = 3  # letters read one after the other, from which on the next ones are read ahead
AHEAD = 32  # letters at most that are read ahead, and
AHEAD_OCTETS = 1024 * 1024
NEAR = 8  # rows that may lie between two: a program reads cur/ and new/ by turns, or leaves some out


class Bodies:
    """The letters of one account."""

    def __init__(self, account: Account, *, budget: int = BUDGET) -> None:
        self._account = account
        self._budget = budget
        self._octets = 0
        self._held: OrderedDict[int, bytes] = OrderedDict()  # content -> file, the last used at the end
        self._coming: dict[int, trio.Event] = {}
        self._open: Counter[int] = Counter()  # content -> how many have it open
        self._last: tuple[int, int] | None = None  # mailbox and UID of the letter that was asked for last
        self._streak = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def octets(self) -> int:
        """How much is held."""
        return self._octets

    async def get(self, content: int, table: Table, uid: int) -> bytes:
        """A letter with lines that end with LF. `table`, `uid`: where it is, or was when it was opened.
        Raises Damaged, Unavailable."""
        following = self._following(table, uid)
        while content not in self._held and content in self._coming:
            await self._coming[content].wait()
        if content in self._held:
            self._held.move_to_end(content)
            return self._held[content]
        wanted = [content, *(c for c in following if c not in self._held and c not in self._coming)]
        wanted = list(dict.fromkeys(wanted))
        return await self._fetch(wanted)

    def open(self, content: int) -> None:
        """Somebody may ask for it, until as many have called `close`."""
        self._open[content] += 1

    def close(self, content: int) -> None:
        """When nobody has it open any more, it is let go of."""
        self._open[content] -= 1
        if not self._open[content]:
            del self._open[content]
            self._forget(content)

    def _forget(self, content: int) -> None:
        gone = self._held.pop(content, None)
        if gone is not None:
            self._octets -= len(gone)

    async def _fetch(self, wanted: list[int]) -> bytes:
        """The first one of these; the others are held for those who ask for them next."""
        came = trio.Event()
        self._coming |= dict.fromkeys(wanted, came)
        try:
            first: bytes | Damaged | None = None
            async with aclosing(self._account.read_bodies(wanted)) as reading:
                contents = iter(wanted)
                async for letter in reading:
                    content = next(contents)
                    plain = letter if isinstance(letter, Damaged) else letter.replace(b"\r\n", b"\n")
                    if first is None:
                        first = plain
                    if isinstance(plain, bytes):
                        self._hold(content, plain)
        finally:
            for content in wanted:
                del self._coming[content]
            came.set()
        assert first is not None, "a letter asked for is answered"
        if isinstance(first, Damaged):
            raise first
        return first

    def _hold(self, content: int, plain: bytes) -> None:
        self._forget(content)
        self._held[content] = plain
        self._octets += len(plain)
        while self._octets > self._budget and len(self._held) > 1:
            self._forget(next(iter(self._held)))

    def _following(self, table: Table, uid: int) -> list[int]:
        """What is probably asked for next, if this one follows those that were asked for before."""
        if self._last == (table.mailbox, uid):
            return []  # another part of the same letter
        row = table.row_of_uid(uid)
        before, self._last = self._last, (table.mailbox, uid)
        if row is None or before is None or before[0] != table.mailbox:
            self._streak = 0
            return []
        near = table.uids[max(0, row - NEAR) : row]
        self._streak = self._streak + 1 if before[1] in near else 0
        return list(self._next(table, row)) if self._streak >= STREAK else []

    @staticmethod
    def _next(table: Table, row: int) -> Iterator[int]:
        octets = 0
        for following in range(row + 1, min(len(table), row + 1 + AHEAD)):
            octets += table.sizes[following]
            if octets > AHEAD_OCTETS:
                return
            yield table.contents[following]
