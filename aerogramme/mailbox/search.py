"""Which messages of a view match a search key: cheap keys by columns, the others by what was rendered for
search.

Every key is a filter: it takes the candidates that are still possible and gives those that match. An `And`
runs its cheapest keys first, so that text is only looked at in messages which all else has left. Texts match
as RFC 3501 §6.4.4 says: a substring of the decoded text, without regard to case.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, assert_never

import trio

from aerogramme.mail.header import unfold
from aerogramme.mail.text import decode_header, fold
from aerogramme.mailbox.bodies import at_once
from aerogramme.mailbox.search_keys import (
    All,
    And,
    Arrived,
    Body,
    Field,
    Flag,
    Header,
    Larger,
    ModSeq,
    Not,
    Or,
    Recent,
    SearchKey,
    Sent,
    Seqs,
    Smaller,
    Text,
    Uids,
    walk,
)
from aerogramme.mailbox.view import View

if TYPE_CHECKING:
    from aerogramme.mailbox.account import Account

DAY = 86_400  # seconds

_FIELDS = {"from": "from_", "to": "to", "cc": "cc", "bcc": "bcc", "subject": "subject"}
_FIELD_NAME = re.compile(rb"[!-9;-~]+")  # RFC 5322 §2.2
# RFC 5322 §2.2.3: a line that begins with white space goes on with a field.
_FIELD_END = re.compile(rb"\n(?![ \t])|\Z")

# How dear a key is, in relative terms: columns in memory, a short field of the digest, headers, texts.
_COLUMN, _DIGEST, _HEADER, _TEXT = range(4)

BATCH = 1_000  # messages whose texts are looked at in one go, at most: about a segment


@dataclass(frozen=True, slots=True)
class Found:
    """The sequence numbers that match, ascending, and the highest MODSEQ among them (0 if none)."""

    seqs: list[int]
    modseq: int


async def search(account: "Account", view: View, key: SearchKey) -> Found:
    """Evaluates a key over what the session was told of; messages that are gone do not match.

    Raises BadSyntax for sequence numbers that do not exist.
    """
    run = _Search(account, view)
    matches = await run.filter(key, range(len(run.seqs)))
    seqs = list(map(run.seqs.__getitem__, matches))
    return Found(seqs, max(map(run.modseqs.__getitem__, matches), default=0))


class _Search:
    """One search. Candidates are positions in the columns copied here: the table may change while texts are
    read.
    """

    def __init__(self, account: "Account", view: View) -> None:
        self._account = account
        self._view = view
        table = view.table
        self._flagsets = table.flagsets
        self.seqs: Sequence[int] = range(1, len(view) + 1)
        if view.in_step:
            self.uids, self.flags, self.sizes = table.uids[:], table.flags[:], table.sizes[:]
            self.dates, self.modseqs, self.contents = table.dates[:], table.modseqs[:], table.contents[:]
        else:
            rows = view.rows(self.seqs)
            self.seqs = [seq for seq, row in zip(self.seqs, rows, strict=True) if row >= 0]
            rows = [row for row in rows if row >= 0]
            columns = (table.uids, table.flags, table.sizes, table.dates, table.modseqs, table.contents)
            self.uids, self.flags, self.sizes, self.dates, self.modseqs, self.contents = (
                type(column)(column.typecode, (column[row] for row in rows)) for column in columns
            )

    async def filter(self, key: SearchKey, at: Sequence[int]) -> Sequence[int]:
        """Those of the candidates that match, ascending."""
        if not at:
            return at
        await _others()
        match key:
            case All():
                return at
            case And(keys):
                for part in sorted(keys, key=_cost):
                    at = await self.filter(part, at)
                return at
            case Or(keys):
                found: list[int] = []
                for part in sorted(keys, key=_cost):
                    hits = await self.filter(part, at)
                    found.extend(hits)
                    at = _without(at, hits)
                return sorted(found)
            case Not(Flag(name)):
                return self._by_flags(set(self.flags) - self._flagsets.numbers_with(name), at)
            case Not(inner):
                return _without(at, await self.filter(inner, at))
            case Flag(name):
                return self._by_flags(self._flagsets.numbers_with(name), at)
            case Recent():
                is_recent, uids = self._view.is_recent, self.uids
                return [i for i in at if is_recent(uids[i])]
            case Seqs(numbers):
                return self._among(self._view.by_seq(numbers), at)
            case Uids(numbers):
                return self._among(self._view.by_uid(numbers), at)
            case Arrived(start, stop):
                low = -(1 << 62) if start is None else start * DAY
                high = 1 << 62 if stop is None else stop * DAY
                dates = self.dates
                return [i for i in at if low <= dates[i] < high]
            case Larger(octets):
                sizes = self.sizes
                return [i for i in at if sizes[i] > octets]
            case Smaller(octets):
                sizes = self.sizes
                return [i for i in at if sizes[i] < octets]
            case ModSeq(least):
                modseqs = self.modseqs
                return [i for i in at if modseqs[i] >= least]
            case Sent(start, stop):
                low = 0 if start is None else start
                high = 1 << 62 if stop is None else stop
                return await self._by_digest(
                    at, ("sent",), lambda sent: [low <= int(day or b"-1") < high for day in sent]
                )
            case Field(field, text):
                return await self._containing(at, (_FIELDS[field],), fold(text))
            case Header(name, text):
                wanted, needle = name.encode(), fold(text)
                if not _FIELD_NAME.fullmatch(wanted):
                    return []  # no field has such a name, but lines that go on with a field may look like it
                return await self._by_digest(
                    at, ("header",), lambda headers: [header_contains(h, wanted, needle) for h in headers]
                )
            case Body(text):
                return await self._containing(at, ("text",), fold(text))
            case Text(text):
                return await self._containing(at, ("headtext", "text"), fold(text))
            case _:
                assert_never(key)

    def _by_flags(self, flagsets: AbstractSet[int], at: Sequence[int]) -> Sequence[int]:
        """The candidates with one of these flagsets. What clients ask most: no Python for each row."""
        flags: Iterable[int] = self.flags if len(at) == len(self.flags) else map(self.flags.__getitem__, at)
        return list(compress(at, map(flagsets.__contains__, flags)))

    def _among(self, wanted: Sequence[int], at: Sequence[int]) -> Sequence[int]:
        """The candidates whose sequence number is wanted; a range answers `in` by itself."""
        inside = wanted if isinstance(wanted, range) else set(wanted)
        seqs = self.seqs
        return [i for i in at if seqs[i] in inside]

    def _portions(self, at: Sequence[int]) -> Iterator[Sequence[int]]:
        """The candidates, as many at a time as may be in memory."""
        start = 0
        while start < len(at):
            some = at[start : start + BATCH]
            some = some[: at_once([self.sizes[i] for i in some])]
            yield some
            start += len(some)

    async def _containing(self, at: Sequence[int], fields: Sequence[str], needle: bytes) -> Sequence[int]:
        """The candidates that have the needle in one of the fields."""
        found: list[int] = []
        for some in self._portions(at):
            await _others()
            hits: list[int] = []
            for field in fields:
                left = _without(some, hits)
                contents = [self.contents[i] for i in left]
                hits.extend(compress(left, await self._account.bodies.matching(contents, field, needle)))
            found.extend(sorted(hits))
        return found

    async def _by_digest(
        self, at: Sequence[int], fields: Sequence[str], matches: Callable[..., list[bool]]
    ) -> Sequence[int]:
        found: list[int] = []
        for some in self._portions(at):
            await _others()
            columns = await self._account.digests([self.contents[i] for i in some], fields)
            found.extend(compress(some, matches(*columns)))
        return found


async def _others() -> None:
    """Lets other tasks have their turn: what was loaded before comes without waiting, and there may be much
    of it, and many keys."""
    await trio.lowlevel.checkpoint()


def header_contains(header: bytes, name: bytes, needle: bytes) -> bool:
    """Whether a header block has a field of this name (lower case) whose decoded, folded text contains the
    needle.
    """
    lower = b"\n" + header.lower()  # one byte longer: a position here is one less in `header`
    mark = b"\n" + name
    at = lower.find(mark)
    while at >= 0:
        start = at + len(mark)
        colon = lower.find(b":", start, start + 80)  # RFC 5322 §4.5: old mail has blanks before the colon
        if colon >= 0 and not lower[start:colon].strip(b" \t"):
            if not needle:
                return True
            end = _FIELD_END.search(lower, colon)
            value = header[colon : end.start() - 1 if end else None]
            if needle in fold(decode_header(unfold(value))):
                return True
        at = lower.find(mark, start)
    return False


def _without(at: Sequence[int], hits: Sequence[int]) -> Sequence[int]:
    if not hits:
        return at
    gone = set(hits)
    return [i for i in at if i not in gone]


def _cost(key: SearchKey) -> int:
    return max(_own_cost(part) for part in walk(key))


def _own_cost(key: SearchKey) -> int:
    match key:
        case Field() | Sent():
            return _DIGEST
        case Header():
            return _HEADER
        case Body() | Text():
            return _TEXT
        case _:
            return _COLUMN
