"""Whether sealed bodies are what their records say: opened from the first octet to the last."""

from collections.abc import AsyncGenerator, Iterator, Sequence

import trio

from aerogramme.errors import Damaged, NotStored
from aerogramme.mailbox.body_record import BodyRecord, body_binding, body_name
from aerogramme.mailbox.contents import LARGE, PIECE
from aerogramme.mailbox.packs import Trip
from aerogramme.seal.body import BodyOpener
from aerogramme.store.port import Store

BATCH_OCTETS = 4 * 1024 * 1024  # of bodies that are read in one trip
BATCH_COUNT = 500


class BodyCheck:
    """Opens bodies. However large they are, it takes the memory of a batch of small ones, or of a piece."""

    def __init__(self, store: Store, account: bytes) -> None:
        self._store, self._account = store, account

    async def wrong(self, bodies: Sequence[tuple[int, BodyRecord]]) -> AsyncGenerator[tuple[int, str], None]:
        """Of these contents and how each is opened: those that do not, and why. One that has an object of its
        own, and is not there, counts as sound: there is nothing to open. Raises Unavailable."""
        small = [each for each in bodies if each[1].sealed_size <= LARGE]
        for some in batches(small):
            trip = Trip(some)
            got = await self._store.get_many(trip.wanted)
            for n, (content, record) in enumerate(some):
                sealed = trip.sealed(n, got)
                if sealed is None and record.place is None:
                    continue
                why = "its pack is missing, or too short" if sealed is None else None
                if why := why or self._why(content, record, sealed or b""):
                    yield content, why
                await trio.lowlevel.checkpoint()
        for content, record in bodies:
            if record.sealed_size > LARGE and (why := await self._large(content, record)):
                yield content, why

    def _why(self, content: int, record: BodyRecord, sealed: bytes) -> str:
        opener = BodyOpener(record.key, body_binding(self._account, content))
        try:
            size = sum(map(len, opener.update(sealed)))
            size += sum(map(len, opener.finish()))
        except Damaged as damage:
            return str(damage)
        return _differs(record, len(sealed), size)

    async def _large(self, content: int, record: BodyRecord) -> str:
        opener = BodyOpener(record.key, body_binding(self._account, content))
        size, start = 0, 0
        while True:
            try:
                sealed = await self._store.get(body_name(content), start, start + PIECE)
            except NotStored:
                return ""
            try:
                size += sum(map(len, opener.update(sealed)))
                start += len(sealed)
                if len(sealed) < PIECE:
                    size += sum(map(len, opener.finish()))
                    return _differs(record, start, size)
            except Damaged as damage:
                return str(damage)


def _differs(record: BodyRecord, sealed_size: int, size: int) -> str:
    if sealed_size != record.sealed_size:
        return f"it has {sealed_size} sealed octets, its record says {record.sealed_size}"
    return "" if size == record.size else f"it has {size} octets, its record says {record.size}"


def batches(bodies: Sequence[tuple[int, BodyRecord]]) -> Iterator[Sequence[tuple[int, BodyRecord]]]:
    """The bodies in their order, as many together as may be in memory; one that is larger, alone."""
    start = octets = 0
    for n, (_, record) in enumerate(bodies):
        if n > start and (octets + record.sealed_size > BATCH_OCTETS or n - start == BATCH_COUNT):
            yield bodies[start:n]
            start, octets = n, 0
        octets += record.sealed_size
    if start < len(bodies):
        yield bodies[start:]


async def in_packs(store: Store, bodies: Sequence[tuple[int, BodyRecord]]) -> dict[int, bytes | None]:
    """The sealed bodies of those that lie in packs, by content; None for one that is not there. Raises
    Unavailable."""
    placed = [(content, record) for content, record in bodies if record.place is not None]
    trip = Trip(placed)
    got = await store.get_many(trip.wanted) if placed else []
    return {content: trip.sealed(n, got) for n, (content, _) in enumerate(placed)}
