"""Packs: where each object costs a request, small bodies lie side by side in larger objects, so that many are
read with one range.

A pack is sealed bodies, end to end, and nothing else; each is bound to its own name as before. Where a body
lies says its record, which is in the segment. A pack is written while segments are merged, and never changed.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import trio

from aerogramme.errors import Damaged
from aerogramme.log.checkpoint import new_name
from aerogramme.log.segment import Column, Columns, PackedBodies
from aerogramme.log.state import State
from aerogramme.mailbox.body_record import BodyRecord, Place, body_name, open_letter, pack_name
from aerogramme.mailbox.contents import LARGE
from aerogramme.store.port import Part, Store
from aerogramme.together import OfRun

log = logging.getLogger(__name__)

SMALL = 64 * 1024  # sealed octets of a body that is packed: to transfer more takes as long as a request costs
PACK = 8 * 1024 * 1024  # octets of a pack at most: while it is made, it is in memory twice
LEAST = 32  # bodies; fewer are not worth an object, and wait until more come to their segment
GAP = 64 * 1024  # octets between bodies that are read along with them, rather than with another request
WASTE = 4 * 1024 * 1024  # and how many of those in one trip
LOOK = 1 << 16  # messages of a mailbox looked at before others have their turn: 1 or 2 ms


class Trip:
    """What to ask a store for, to have the sealed bodies of some contents: `wanted`, for `get_many`.

    Bodies that lie close together in a pack are one part; the parts of a pack are in its order.
    """

    def __init__(self, bodies: Sequence[tuple[int, BodyRecord | Damaged]]) -> None:
        self.wanted: list[str | Part] = []
        self._found: dict[int, tuple[int, int, int]] = {}  # n of bodies -> in which of `wanted`, and where
        placed: list[tuple[Place, int, int]] = []
        for n, (content, record) in enumerate(bodies):
            if isinstance(record, Damaged):
                continue
            if record.place is not None:
                placed.append((record.place, record.sealed_size, n))
            else:
                self._found[n] = len(self.wanted), 0, record.sealed_size
                self.wanted.append(body_name(content))
        room = WASTE
        pack, start, stop = "", 0, 0
        for (its_pack, offset), size, n in sorted(placed):
            gap = max(offset - stop, 0)
            if its_pack == pack and gap <= min(GAP, room):
                room -= gap
                stop = max(stop, offset + size)
                self.wanted[-1] = Part(pack_name(pack), start, stop)
            else:
                pack, start, stop = its_pack, offset, offset + size
                self.wanted.append(Part(pack_name(pack), start, stop))
            self._found[n] = len(self.wanted) - 1, offset - start, offset + size - start

    def sealed(self, n: int, got: Sequence[bytes | None]) -> bytes | None:
        """The sealed body n, out of what the store gave; None if it is not all there."""
        if n not in self._found:
            return None
        which, start, stop = self._found[n]
        part = got[which]
        if part is None or isinstance(self.wanted[which], str):
            return part
        return part[start:stop] if stop <= len(part) else None


class Packing:
    """The packer (see log/segment.py) of an account.

    Bodies that no message has any more stay as they are, as do those that cannot be read: what is in a pack
    has been opened once. A pack of which less than half is still named is written again, without the rest.
    What was packed stays where it was, too, as long as others may not know of the pack.
    """

    def __init__(self, store: Store, account: bytes, state: State) -> None:
        self._store = store
        self._account = account
        self._state = state

    async def __call__(
        self, contents: Sequence[int], groups: Mapping[str, Columns], packs: Mapping[str, int]
    ) -> PackedBodies:
        """Raises Unavailable."""
        values = list(groups["digest"]["record"])
        records = _readable(values)
        wasteful = _wasteful(records.values(), packs)
        asked = {
            contents[n]: record
            for n, record in records.items()
            if (record.place is None or record.place.pack in wasteful)
            and record.sealed_size <= SMALL
            and record.size <= LARGE
        }
        live = await self._live(asked)
        asked = {content: record for content, record in asked.items() if content in live}
        places: dict[int, Place] = {}
        if len(asked) >= LEAST or any(record.place is not None for record in asked.values()):
            for some in _shares(asked):
                async with _one_at_a_time.get():
                    places |= await self._pack(some)
        for n, record in records.items():
            if contents[n] in places:
                records[n] = record._replace(place=places[contents[n]])
                values[n] = records[n].to_bytes()
        digest = {**groups["digest"], "record": Column.of(values)}
        placed = {contents[n]: record.place for n, record in records.items() if record.place is not None}
        named = {place.pack: packs.get(place.pack, 0) for place in placed.values()}  # octets
        for content, place in places.items():
            named[place.pack] = max(named[place.pack], place.offset + asked[content].sealed_size)
        loose = [content for content in contents if content not in placed]
        return PackedBodies({**groups, "digest": digest}, named, loose)

    async def _live(self, contents: Iterable[int]) -> set[int]:
        """Those of the contents that a message has."""
        asked = set(contents)
        live: set[int] = set()
        for table in list(self._state.tables.values()):
            for start in range(0, len(table.contents), LOOK):
                live |= asked.intersection(table.contents[start : start + LOOK])
                await trio.lowlevel.checkpoint()
        return live

    async def _pack(self, bodies: Mapping[int, BodyRecord]) -> dict[int, Place]:
        """One pack of these bodies, stored; and where in it each lies."""
        pack, places = new_name(self._state.clock), dict[int, Place]()
        trip = Trip(list(bodies.items()))
        read = await self._store.get_many(trip.wanted)
        got = [trip.sealed(n, read) for n in range(len(bodies))]
        end = 0
        for n, (content, record) in enumerate(bodies.items()):
            if self._opens(content, record, got[n]):
                places[content] = Place(pack, end)
                end += record.sealed_size
            else:
                got[n] = None
            await trio.lowlevel.checkpoint()  # sessions go on meanwhile
        if places:
            await self._store.put(pack_name(pack), b"".join(sealed for sealed in got if sealed is not None))
        return places

    def _opens(self, content: int, record: BodyRecord, sealed: bytes | None) -> bool:
        try:
            if sealed is None or len(sealed) != record.sealed_size:
                raise Damaged("a body is not what its record says")
            open_letter(self._account, content, record, sealed)
        except Damaged as damage:
            log.error("account %s: body %x is not packed: %s", self._account.hex(), content, damage)
            return False
        return True


def _readable(values: Sequence[bytes]) -> dict[int, BodyRecord]:
    """Those of the values that are records, by their position."""
    records = {}
    for n, value in enumerate(values):
        try:
            records[n] = BodyRecord.from_bytes(value)
        except Damaged:
            continue  # it stays as it is; who reads the message says so
    return records


def _wasteful(records: Iterable[BodyRecord], packs: Mapping[str, int]) -> set[str]:
    """The packs of which these bodies are less than half."""
    used: Counter[str] = Counter()
    for record in records:
        if record.place is not None:
            used[record.place.pack] += record.sealed_size
    return {pack for pack, octets in used.items() if 2 * octets < packs.get(pack, 0)}


def _shares(bodies: Mapping[int, BodyRecord]) -> list[dict[int, BodyRecord]]:
    """The bodies in their order, as few shares of at most PACK octets, about equal."""
    octets = sum(record.sealed_size for record in bodies.values())
    share = octets / max(1, -(-octets // (PACK - SMALL)))
    shares: list[dict[int, BodyRecord]] = []
    before = 0
    for content, record in bodies.items():
        if before >= share * len(shares):
            shares.append({})
        shares[-1][content] = record
        before += record.sealed_size
    return shares


# Packs are made one at a time, of all accounts: the memory they take does not grow with their number.
_one_at_a_time = OfRun("packing", trio.Lock)
