"""How large the files of letters are: a letter has lines that end with CR LF, its file such that end with LF.
What is needed for that is learnt of a mailbox at once, and takes twelve octets a letter.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import compress

from aerogramme.log.columns import IdMap
from aerogramme.mailbox.account import Account

BATCH = 5000  # contents that are asked for at a time


class Sizes:
    """Those of the letters of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lines: dict[int, IdMap] = {}  # mailbox -> content -> lines that end with CR LF
        self._bare: dict[int, int] = {}  # content -> see Digest; of those few that have any

    async def learn(self, mailbox: int, contents: Iterable[int]) -> None:
        """Get to know what the other methods tell of some letters. Raises Unavailable."""
        known = self._lines.setdefault(mailbox, IdMap("I"))
        wanted = set(contents)
        unknown = sorted(c for c in wanted if known.find(c) is None) if len(known) else sorted(wanted)
        for at in range(0, len(unknown), BATCH):
            some, before = unknown[at : at + BATCH], len(known)
            lines, bare = await self._account.digests(some, ["lines", "bare"])
            # Somebody else may have asked for the same meanwhile.
            if len(known) != before:
                new = [known.find(content) is None for content in some]
                some = list(compress(some, new))
                lines, bare = list(compress(lines, new)), list(compress(bare, new))
            known.put_new(array("Q", some), array("I", map(int, lines)))
            self._bare |= {c: int(times) for c, times in zip(some, bare, strict=True) if times != b"0"}

    def lines(self, mailbox: int, content: int) -> int:
        """How many octets its file is smaller than a letter."""
        known = self._lines[mailbox]
        at = known.find(content)
        assert at is not None, "lines are learnt before names are made"
        return known.columns[0][at]

    def lines_of(self, mailbox: int, contents: "array[int]") -> Sequence[int]:
        """The same of several. Mail that came in order is in order, too, with nothing between."""
        known, count = self._lines[mailbox], len(contents)
        at = known.find(contents[0]) if count else None
        if at is not None and known.ids[at : at + count] == contents:
            return known.columns[0][at : at + count]
        return [self.lines(mailbox, content) for content in contents]

    def wide(self, content: int, size: int) -> int:
        """The size of a letter, as Dovecot counts it: with a CR at the end of each line."""
        return size + self._bare.get(content, 0)

    def wide_of(self, contents: "array[int]", sizes: "array[int]") -> Sequence[int]:
        """The same of several."""
        if self._bare.keys().isdisjoint(contents):
            return sizes
        return list(map(self.wide, contents, sizes))
