"""Reading contents: columns of digests out of segments, and bodies, whole, many at a time, or in part."""

import logging
from bisect import bisect_right
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import cache
from itertools import pairwise, repeat

from aerogramme.errors import Damaged
from aerogramme.log.journal import Journal
from aerogramme.log.segment import Column
from aerogramme.mail.digest import render
from aerogramme.mailbox.body_record import BodyRecord, body_name, open_letter
from aerogramme.mailbox.contents import GROUP_OF, LARGE, Content, digest_field, read_pieces
from aerogramme.mailbox.packs import Trip
from aerogramme.seal import ContentKey
from aerogramme.store.port import Store

log = logging.getLogger(__name__)

BATCH_OCTETS = 4 * 1024 * 1024  # sealed octets of small bodies read in one trip; a little is held twice
BATCH_COUNT = 500  # and how many of them

DIGESTS_OCTETS = 32 * 1024 * 1024  # of digests that are in memory at once, at most
HEAVIEST = 1024 * 1024  # octets of a header, and what a text and a structure hardly ever exceed

Span = tuple[int, int, int]


def at_once(sizes: Sequence[int]) -> int:
    """How many of these messages, the first ones, may have their digests in memory at once: mostly all, and
    at least one. What is known of a digest beforehand is that it grows with its letter, whose size this is.
    """
    count = len(sizes)
    if sum(sizes) <= DIGESTS_OCTETS:
        return count
    while count > 1 and sum(map(min, sizes[:count], repeat(HEAVIEST))) > DIGESTS_OCTETS:
        count //= 2
    return count


class Bodies:
    """The contents of one account. One that is damaged never harms the others: its digest is that of a
    stand-in message that says so, its body raises Damaged."""

    def __init__(self, store: Store, account: bytes, journal: Journal) -> None:
        self._store = store
        self._account = account
        self._journal = journal
        self._reported: set[str] = set()  # segments and packs

    # --- digests

    async def digests(self, contents: Sequence[int], fields: Sequence[str]) -> list[list[bytes]]:
        """For each field the values of these contents, in their order. Fields: see contents.GROUPS.

        Raises Unavailable. Callers with very many contents ask for some at a time (`at_once`): what is loaded
        for one call is in memory at once.
        """
        spans = list(self._journal.state.contents.spans(contents))
        groups = dict.fromkeys(GROUP_OF[field] for field in fields)
        columns = {group: await self._load(spans, group) for group in groups}
        return [self._gather(spans, columns[GROUP_OF[field]], field) for field in fields]

    async def matching(self, contents: Sequence[int], field: str, needle: bytes) -> list[bool]:
        """For each of these contents whether a field of its digest has the needle in it."""
        spans = list(self._journal.state.contents.spans(contents))
        columns = await self._load(spans, GROUP_OF[field])
        found: list[bool] = []
        for segment, start, count in spans:
            column = columns[segment].get(field) if segment in columns else None
            found += [False] * count if column is None else _matches(column, start, count, needle)
        return found

    async def _load(self, spans: Sequence[Span], group: str) -> dict[int, Mapping[str, Column]]:
        """A group of all segments of the spans, but for those that cannot be read, which are reported."""
        indices = list(dict.fromkeys(segment for segment, _, _ in spans if segment >= 0))
        loaded: dict[int, Mapping[str, Column]] = {}
        for index, columns in zip(indices, await self._journal.segments.read(indices, group), strict=True):
            if isinstance(columns, Damaged):
                self._report(f"segment {self._journal.state.segments[index].name}", str(columns))
            else:
                loaded[index] = columns
        return loaded

    def _report(self, what: str, why: str) -> None:
        """Of each segment and pack once."""
        if what not in self._reported:
            self._reported.add(what)
            log.error("account %s: %s: %s", self._account.hex(), what, why)

    def _gather(
        self, spans: Sequence[Span], columns: Mapping[int, Mapping[str, Column]], field: str
    ) -> list[bytes]:
        values: list[bytes] = []
        for segment, start, count in spans:
            column = columns[segment].get(field) if segment in columns else None
            if column is None:
                values += [stand_in(field)] * count
            else:
                joined, ends = column.joined, column.ends
                first = ends[start - 1] if start else 0
                values += [joined[a:b] for a, b in pairwise((first, *ends[start : start + count]))]
        return values

    async def _records(self, contents: Sequence[int]) -> list[BodyRecord | Damaged]:
        [values] = await self.digests(contents, ["record"])
        records: list[BodyRecord | Damaged] = []
        for value in values:
            try:
                if not value:
                    raise Damaged("the digest of a content cannot be read")
                records.append(BodyRecord.from_bytes(value))
            except Damaged as damage:
                records.append(damage)
        return records

    async def record(self, content: int) -> BodyRecord:
        """Size and key of a body. Raises Damaged, Unavailable."""
        [record] = await self._records([content])
        if isinstance(record, Damaged):
            raise record
        return record

    # --- bodies

    async def body(self, content: int) -> bytes:
        """A whole letter. Raises Damaged (also when it is not there), Unavailable."""
        async with aclosing(self.read([content])) as reading:
            async for body in reading:
                if isinstance(body, Damaged):
                    raise body
                return body
        raise AssertionError("a letter asked for is answered")

    async def read(self, contents: Sequence[int]) -> AsyncGenerator[bytes | Damaged, None]:
        """Whole letters in the order asked, many read in one trip; a Damaged in the place of one that cannot
        be read.

        Large letters come whole too, one at a time: `stream` is for those. Raises Unavailable. Close it
        (aclosing).
        """
        for start in range(0, len(contents), BATCH_COUNT):
            some = contents[start : start + BATCH_COUNT]
            records = await self._records(some)
            at = 0
            while at < len(some):
                stop, octets = at, 0
                while stop < len(some) and (stop == at or octets < BATCH_OCTETS):
                    record = records[stop]
                    octets += 0 if isinstance(record, Damaged) else record.sealed_size
                    stop += 1
                bodies = list(zip(some[at:stop], records[at:stop], strict=True))
                trip = Trip(bodies)
                got = await self._store.get_many(trip.wanted) if trip.wanted else []
                singles = await self._not_in_packs(bodies, trip, got)
                for n, (content, record) in enumerate(bodies):
                    if isinstance(record, Damaged):
                        yield record
                    elif n in singles:
                        yield self._try_open(content, record, singles[n])
                    else:
                        yield await self._open_anywhere(content, record, trip.sealed(n, got))
                at = stop

    async def _not_in_packs(
        self, bodies: Sequence[tuple[int, BodyRecord | Damaged]], trip: Trip, got: Sequence[bytes | None]
    ) -> dict[int, bytes | None]:
        """Bodies of which the packs are missing or too short: what else there is of them."""
        lost: dict[int, str] = {}
        for n, (content, record) in enumerate(bodies):
            if isinstance(record, Damaged) or record.place is None or trip.sealed(n, got) is not None:
                continue
            self._report(f"pack {record.place.pack}", "it is missing, or too short")
            lost[n] = body_name(content)
        if not lost:
            return {}
        return dict(zip(lost, await self._store.get_many([*lost.values()]), strict=True))

    async def _open_anywhere(self, content: int, record: BodyRecord, sealed: bytes | None) -> bytes | Damaged:
        """The letter of a sealed body; if that is damaged in its pack, of the single object."""
        letter = self._try_open(content, record, sealed)
        if isinstance(letter, bytes) or record.place is None:
            return letter
        self._report(f"pack {record.place.pack}", str(letter))
        [single] = await self._store.get_many([body_name(content)])
        return letter if single is None else self._try_open(content, record, single)

    async def stream(
        self, content: int, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The octets start to stop of a letter (clipped at its end), in pieces: memory does not grow with it.

        Raises Damaged, perhaps after some pieces; Unavailable. Close it (aclosing).
        """
        record = await self.record(content)
        stop = record.size if stop is None else min(stop, record.size)
        if record.size <= LARGE:
            yield (await self.body(content))[start:stop]
            return
        pieces = read_pieces(self._store, self._account, content, record, start, stop)
        async with aclosing(pieces) as reading:
            async for piece in reading:
                yield piece

    def _try_open(self, content: int, record: BodyRecord, sealed: bytes | None) -> bytes | Damaged:
        try:
            if sealed is None:
                raise Damaged("a body is missing")
            return open_letter(self._account, content, record, sealed)
        except Damaged as damage:
            return damage


def _matches(column: Column, start: int, count: int, needle: bytes) -> list[bool]:
    """Which of the values start to start + count have the needle in them: one search over all, value after
    value.
    """
    if not needle:
        return [True] * count
    joined, ends = column.joined, column.ends
    found = [False] * count
    high = ends[start + count - 1]
    at = joined.find(needle, ends[start - 1] if start else 0, high)
    while at >= 0:
        value = bisect_right(ends, at, start, start + count)
        # If it ends in another value it is no match; nor is any that begins in this one behind it.
        found[value - start] = at + len(needle) <= ends[value]
        at = joined.find(needle, ends[value], high)
    return found


_DAMAGED_MESSAGE = b"Subject: [This message is damaged]\r\n\r\n"


@cache
def stand_in(field: str) -> bytes:
    """The field of the digest that is shown for a message whose own cannot be read."""
    if field == "record":
        return b""
    return digest_field(Content(0, BodyRecord(ContentKey.generate(), 0, 0), render(_DAMAGED_MESSAGE)), field)
