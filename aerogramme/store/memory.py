"""A store in memory, without threads: the same calls give the same schedule, a test is replayed from its
seed.

What is stored belongs to the `MemoryStores`, not to the stores opened from it, so it survives crashes;
`another` gives the same data as another process sees it, with faults of its own (faults.py). By default it
promises no more than Garage does, with the cursors of stores that list keys (tail.py); with `serial=True`
appends are checked as on sqlite (`Behind`), and nothing comes late.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import trio

from aerogramme.errors import Behind, NoSuchUser, NotStored
from aerogramme.store.faults import CrashAt, Faults, Show, Step
from aerogramme.store.port import Body, Cursor, Part, Row, always, check_account
from aerogramme.store.tail import Seen


@dataclass(slots=True)
class _Partition:
    """Rows by key, those that some reads show and others do not, and the keys in the order in which they
    became visible (where appends are serialized, a cursor is an index into that)."""

    rows: dict[str, bytes] = field(default_factory=dict)
    torn: dict[str, bytes] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    watchers: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    def show(self, row: Row) -> None:
        self.torn.pop(row.key, None)
        if row.key not in self.rows:
            self.rows[row.key] = row.value
            self.order.append(row.key)
            self.watchers.unpark_all()

    def tear(self, row: Row) -> None:
        if row.key not in self.rows:
            self.torn[row.key] = row.value

    def is_torn(self, row: Row) -> bool:
        return row.key in self.torn

    def remove(self, key: str) -> None:
        self.rows.pop(key, None)
        self.torn.pop(key, None)

    def since(self, cursor: int) -> list[Row]:
        keys = {key for key in self.order[cursor:] if key in self.rows}
        return [Row(key, self.rows[key]) for key in sorted(keys)]


class _Data:
    """What one account holds."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.partitions: defaultdict[str, _Partition] = defaultdict(_Partition)
        self.erased = False


class MemoryStore:
    """One account's store, opened. See `port.Store` for what the methods promise."""

    def __init__(
        self, data: _Data, faults: Faults | CrashAt | None, serial: bool, object_costs_request: bool
    ) -> None:
        self._data, self._faults = data, faults
        self.serialized, self.object_costs_request = serial, object_costs_request

    async def put(self, name: str, body: Body) -> None:
        if not isinstance(body, bytes):
            body = b"".join([bytes(piece) async for piece in body])
        await self._write([self._object(name, body)])

    async def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        await self._look()
        if name not in self._data.objects:
            raise NotStored
        return self._data.objects[name][start:stop]

    async def get_many(self, wanted: Sequence[str | Part]) -> list[bytes | None]:
        await self._look()
        found: list[bytes | None] = []
        for each in wanted:
            name, start, stop = each if isinstance(each, Part) else Part(each)
            body = self._data.objects.get(name)
            found.append(None if body is None else body[start:stop])
        return found

    async def delete(self, names: Iterable[str]) -> None:
        await self._write([partial(self._data.objects.pop, name, None) for name in names])

    async def append(
        self,
        partition: str,
        rows: Sequence[Row],
        *,
        objects: Sequence[tuple[str, bytes]] = (),
        read: Cursor | None = None,
        delete: Sequence[tuple[str, str]] = (),
    ) -> Cursor | None:
        at = self._data.partitions[partition]
        steps = [self._object(name, body) for name, body in objects]
        steps += [
            Show(partial(at.show, row), partial(at.tear, row), partial(at.is_torn, row)) for row in rows
        ]
        steps += [self._row_removed(*pair) for pair in delete]
        if not self.serialized:
            await self._write(steps)
            return read
        moved = read

        def all_or_nothing() -> None:
            nonlocal moved
            if read is not None and at.since(cast("int", read)):
                raise Behind
            for step in steps:
                step()
            moved = None if read is None else Cursor(len(at.order))

        await self._write([all_or_nothing])
        return moved

    async def read(
        self, partition: str, cursor: Cursor | None = None, after: str = ""
    ) -> tuple[list[Row], Cursor]:
        again = await self._look()
        at = self._data.partitions[partition]
        if not self.serialized:
            seen = Seen.before(after) if cursor is None else cast("Seen", cursor)
            return self._listed(at, seen, after if cursor is None else "", again)
        if cursor is None:
            rows = [Row(key, at.rows[key]) for key in sorted(at.rows) if key > after]
        else:
            rows = at.since(max(cast("int", cursor) - again, 0))
        return rows, Cursor(len(at.order))

    async def page(self, partition: str, after: str, limit: int) -> Sequence[Row]:
        rows, _ = await self.read(partition, None, after)
        return rows[:limit]

    def _listed(self, at: _Partition, seen: Seen, after: str, again: int) -> tuple[list[Row], Cursor]:
        """What a store that can only list keys gives."""
        shown = at.rows
        if at.torn:
            shown = at.rows | {key: at.torn[key] for key in at.torn if self._faults and self._faults.shows()}
        listed = [key for key in shown if key > seen.floor]
        if again:
            seen = Seen(seen.floor, frozenset(sorted(seen.keys)[:-again]))
        rows = [Row(key, shown[key]) for key in seen.new(listed) if key > after]
        return rows, Cursor(seen.after(listed))

    async def confirm(self, partition: str, rows: Sequence[Row]) -> None:
        if not self.serialized:
            at = self._data.partitions[partition]
            await self._write([partial(at.show, row) for row in rows])

    async def delete_rows(self, partition: str, keys: Sequence[str]) -> None:
        await self._write([self._row_removed(partition, key) for key in keys])

    async def delete_range(self, partition: str, first: str, last: str) -> None:
        rows = self._data.partitions[partition].rows
        await self._write([self._row_removed(partition, key) for key in sorted(rows) if first <= key <= last])

    async def watch(
        self,
        partition: str,
        cursor: Cursor,
        *,
        eager: Callable[[], bool] = always,  # noqa: ARG002 - it is told of what comes, and does not ask
    ) -> None:
        await self._look()
        at = self._data.partitions[partition]
        while not self._news(at, cursor):
            self._check()  # erased while the look took its time: nobody would wake who parks now
            await at.watchers.park()
            await self._look()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def sizes(self, prefix: str, after: str = "", limit: int | None = None) -> list[tuple[str, int]]:
        names = await self.list(prefix, after, limit)
        return [(name, len(self._data.objects[name])) for name in names]

    async def list(self, prefix: str, after: str = "", limit: int | None = None) -> list[str]:
        await self._look()
        names = sorted(name for name in self._data.objects if name.startswith(prefix) and name > after)
        return names[:limit]

    def _object(self, name: str, body: bytes) -> Step:
        return partial(self._data.objects.setdefault, name, body)

    def _row_removed(self, partition: str, key: str) -> Step:
        return partial(self._data.partitions[partition].remove, key)

    def _news(self, at: _Partition, cursor: Cursor) -> bool:
        """Whether a read with this cursor gives something."""
        if self.serialized:
            return bool(at.since(cast("int", cursor)))
        return bool(cast("Seen", cursor).new(at.rows))

    def _check(self) -> None:
        if self._data.erased:
            raise NoSuchUser("The account was erased")

    async def _look(self) -> int:
        """What every read begins with. How many rows it gives again (a fault)."""
        self._check()
        if self._faults is not None:
            return await self._faults.read()
        await trio.lowlevel.checkpoint()
        return 0

    async def _write(self, steps: Sequence[Step]) -> None:
        """Do the steps in their order: all of them, unless a fault is injected."""
        self._check()
        if self._faults is not None:
            await self._faults.write(steps)
            return
        await trio.lowlevel.checkpoint()
        for step in steps:
            step()


class MemoryStores:
    """Accounts in memory. `faults`: what goes wrong; `serial`: appends are checked, as on sqlite;
    `object_costs_request`: bodies are packed, as on S3."""

    def __init__(
        self,
        faults: Faults | CrashAt | None = None,
        *,
        serial: bool = False,
        object_costs_request: bool = False,
    ) -> None:
        self.faults, self.serial, self.object_costs_request = faults, serial, object_costs_request
        self._accounts: dict[str, _Data] = {}

    def another(self, faults: Faults | CrashAt | None = None) -> "MemoryStores":
        """The same accounts, as another process sees them."""
        other = MemoryStores(faults, serial=self.serial, object_costs_request=self.object_costs_request)
        other._accounts = self._accounts
        return other

    async def open(self, account: str, *, create: bool = False) -> MemoryStore:
        await trio.lowlevel.checkpoint()
        if check_account(account) not in self._accounts:
            if not create:
                raise NoSuchUser
            self._accounts[account] = _Data()
        return MemoryStore(self._accounts[account], self.faults, self.serial, self.object_costs_request)

    async def erase(self, account: str) -> None:
        await trio.lowlevel.checkpoint()
        data = self._accounts.pop(check_account(account), None)
        if data is not None:
            data.erased = True
            for partition in data.partitions.values():
                partition.watchers.unpark_all()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def list(self) -> list[str]:
        await trio.lowlevel.checkpoint()
        return sorted(self._accounts)
