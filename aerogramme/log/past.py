"""An account's store as it stood at a moment: for whoever wants to look at the past with the eyes of now.

Theory of operation. Objects and entries never change: so an account at a clock is its newest checkpoint that
is not later, and the entries after that which are not later. A store that shows no later ones is all that it
takes; the journal and everything above it work on it as they do on any.

Nothing is written to the real store. A journal may have something to append even to the past (what the rules
ask for, where the entries of several servers lie side by side); that, and whatever else is written, stays in
this process and is gone with it.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import NamedTuple, TypeVar

import trio

from aerogramme.errors import Behind, NotStored
from aerogramme.log.checkpoint import PREFIX
from aerogramme.log.clock import COUNTER_BITS, MAX_CLOCK
from aerogramme.log.entry import PARTITION
from aerogramme.store.port import Body, Cursor, Part, Row, Store, always

PAGE = 1000  # rows of the log read at a time
LETTERS = "incoming"  # the partition of letters that wait: those of now were not there then

T = TypeVar("T")


def clock_at(seconds: float) -> int:
    """The last clock that an entry of this moment (unix seconds, to the millisecond) can have."""
    return max(0, min((round(seconds * 1e6) // 1000 + 1 << COUNTER_BITS) - 1, MAX_CLOCK))


Asking = Callable[[str, str, int | None], Awaitable[list[T]]]


class _Position(NamedTuple):
    """A cursor: how far the real store was read, and what was written here."""

    real: Cursor | None
    own: int


def _position(cursor: Cursor | None) -> _Position:
    """A cursor of the real store, from a read before this one was made, is good here too."""
    return cursor if isinstance(cursor, _Position) else _Position(cursor, 0)


class Past:
    """The store of an account as it stood at a clock. See `port.Store` for what the methods promise; what
    they write is durable only as long as this object.

    `empty`: partitions that count as empty then. `shared`: closing it does not close the store.
    """

    serialized = True  # nobody else ever writes here

    def __init__(
        self, store: Store, clock: int, *, empty: Collection[str] = (LETTERS,), shared: bool = False
    ) -> None:
        self.clock = clock
        self.object_costs_request = store.object_costs_request
        self._store, self._shared = store, shared
        self._empty = frozenset(empty)
        self._later_rows = f"{clock + 1:016x}"  # keys from here on are later
        self._first_checkpoint = f"{PREFIX}{MAX_CLOCK - clock:016x}"  # names up to here are of later ones
        self._objects: dict[str, bytes] = {}
        self._gone: set[str] = set()  # objects of the real store that were deleted here
        self._rows: dict[str, dict[str, bytes]] = {}
        self._removed: set[tuple[str, str]] = set()  # and rows
        self._order: list[tuple[str, str]] = []  # rows as they were written: a cursor is an index into that
        self._watchers = trio.lowlevel.ParkingLot()

    # --- objects

    async def put(self, name: str, body: Body) -> None:
        if not isinstance(body, bytes):
            body = b"".join([bytes(piece) async for piece in body])
        else:
            await trio.lowlevel.checkpoint()
        self._put(name, body)

    def _put(self, name: str, body: bytes) -> None:
        self._objects.setdefault(name, body)
        self._gone.discard(name)

    async def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        [body] = await self.get_many([Part(name, start, stop)])
        if body is None:
            raise NotStored
        return body

    async def get_many(self, wanted: Sequence[str | Part]) -> list[bytes | None]:
        found: list[bytes | None] = []
        real: dict[int, str | Part] = {}
        for at, each in enumerate(wanted):
            name, start, stop = each if isinstance(each, Part) else Part(each)
            own = self._objects.get(name)
            found.append(None if own is None else own[start:stop])
            if own is None and name not in self._gone:
                real[at] = each
        if not real:
            await trio.lowlevel.checkpoint()
            return found
        for at, body in zip(real, await self._store.get_many([*real.values()]), strict=True):
            found[at] = body
        return found

    async def delete(self, names: Iterable[str]) -> None:
        await trio.lowlevel.checkpoint()
        for name in names:
            self._objects.pop(name, None)
            self._gone.add(name)

    # --- rows

    async def append(
        self,
        partition: str,
        rows: Sequence[Row],
        *,
        objects: Sequence[tuple[str, bytes]] = (),
        read: Cursor | None = None,
        delete: Sequence[tuple[str, str]] = (),
    ) -> Cursor | None:
        await trio.lowlevel.checkpoint()
        position = None if read is None else _position(read)
        if position is not None and self._since(partition, position.own):
            raise Behind
        for name, body in objects:
            self._put(name, body)
        own = self._rows.setdefault(partition, {})
        for key, value in rows:
            if key not in own:
                own[key] = value
                self._order.append((partition, key))
            self._removed.discard((partition, key))
        for its_partition, key in delete:
            self._remove(its_partition, key)
        self._watchers.unpark_all()
        return None if position is None else Cursor(position._replace(own=len(self._order)))

    async def read(
        self, partition: str, cursor: Cursor | None = None, after: str = ""
    ) -> tuple[list[Row], Cursor]:
        position = _position(cursor)
        rows: list[Row] = []
        real = position.real
        if partition == PARTITION or partition in self._empty:  # nothing is added to the past
            if cursor is None and partition == PARTITION:
                rows = await self._entries(after)
        else:
            rows, real = await self._store.read(partition, real, after)
        own = self._since(partition, position.own)
        found = {row.key: row for row in rows if (partition, row.key) not in self._removed}
        found.update((row.key, row) for row in own if cursor is not None or row.key > after)
        return [found[key] for key in sorted(found)], Cursor(_Position(real, len(self._order)))

    async def _entries(self, after: str) -> list[Row]:
        """The rows of the log as they were; nothing is read of the later ones, of which there may be many."""
        rows: list[Row] = []
        while True:
            page = await self._store.page(PARTITION, after, PAGE)
            rows += [row for row in page if row.key < self._later_rows]
            if len(page) < PAGE or page[-1].key >= self._later_rows:
                return rows
            after = page[-1].key

    async def page(self, partition: str, after: str, limit: int) -> Sequence[Row]:
        rows: Sequence[Row] = ()
        if partition not in self._empty:
            removed = sum(its == partition for its, _ in self._removed)
            rows = await self._store.page(partition, after, limit + removed)
        if partition == PARTITION:
            rows = [row for row in rows if row.key < self._later_rows]
        found = {row.key: row for row in rows if (partition, row.key) not in self._removed}
        found.update((row.key, row) for row in self._since(partition, 0) if row.key > after)
        return [found[key] for key in sorted(found)][:limit]

    async def confirm(self, partition: str, rows: Sequence[Row]) -> None:
        """What is past is certain."""

    async def delete_rows(self, partition: str, keys: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        for key in keys:
            self._remove(partition, key)

    async def delete_range(self, partition: str, first: str, last: str) -> None:
        rows, _ = await self.read(partition)
        await self.delete_rows(partition, [key for key, _ in rows if first <= key <= last])

    async def watch(self, partition: str, cursor: Cursor, *, eager: Callable[[], bool] = always) -> None:
        position = _position(cursor)
        if partition == PARTITION or partition in self._empty or position.real is None:
            await self._watch_own(partition, position.own)
            return
        real = position.real
        async with trio.open_nursery() as nursery:

            async def watch_real() -> None:
                await self._store.watch(partition, real, eager=eager)
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch_real)
            await self._watch_own(partition, position.own)
            nursery.cancel_scope.cancel()

    async def _watch_own(self, partition: str, own: int) -> None:
        await trio.lowlevel.checkpoint()
        while not self._since(partition, own):
            await self._watchers.park()

    def _since(self, partition: str, own: int) -> list[Row]:
        """The rows that were written here since."""
        rows = self._rows.get(partition, {})
        return [Row(key, rows[key]) for its, key in self._order[own:] if its == partition and key in rows]

    def _remove(self, partition: str, key: str) -> None:
        self._rows.get(partition, {}).pop(key, None)
        self._removed.add((partition, key))

    async def aclose(self) -> None:
        if self._shared:
            await trio.lowlevel.checkpoint()
        else:
            await self._store.aclose()

    # --- names

    async def _listed(
        self,
        ask: Asking[T],
        own: list[T],
        name_of: Callable[[T], str],
        prefix: str,
        after: str,
        limit: int | None,
    ) -> list[T]:
        """What there is of the real store and of what was written here, without later checkpoints."""
        begin, asked = after, None if limit is None else limit + len(self._gone)
        if prefix.startswith(PREFIX):
            begin = max(after, self._first_checkpoint)
        elif PREFIX.startswith(prefix):  # later ones are among them
            asked = None
        found = {name_of(each): each for each in await ask(prefix, begin, asked)}
        found = {n: each for n, each in found.items() if n not in self._gone and not self._is_later(n)}
        for each in own:
            name = name_of(each)
            if name.startswith(prefix) and name > after:
                found[name] = each
        return [found[name] for name in sorted(found)][:limit]

    def _is_later(self, name: str) -> bool:
        return name.startswith(PREFIX) and name <= self._first_checkpoint

    async def sizes(self, prefix: str, after: str = "", limit: int | None = None) -> list[tuple[str, int]]:
        own = [(name, len(body)) for name, body in self._objects.items()]
        return await self._listed(self._store.sizes, own, lambda each: each[0], prefix, after, limit)

    # Last in its class, because from here on `list` is not the builtin.
    async def list(self, prefix: str, after: str = "", limit: int | None = None) -> list[str]:
        return await self._listed(self._store.list, [*self._objects], lambda name: name, prefix, after, limit)
