# ruff: noqa: ARG002 - a store has methods that a snapshot refuses, whatever they are asked
"""A snapshot as a store that can only be read: what copies accounts copies it back, as from any other.

What is damaged in one volume may be there in another: items are looked for by name and hash.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import NoReturn, TypeVar

import trio

from aerogramme.backup import files
from aerogramme.backup.folder import Backup
from aerogramme.backup.snapshot import Named, Snapshot
from aerogramme.backup.volume import Item, Volume, hash_of, row_item, row_of
from aerogramme.errors import Damaged, NoSuchUser, NotStored, Refused
from aerogramme.store.port import Body, Cursor, Part, Row, always

T = TypeVar("T")

Place = tuple[Volume, int]
"""An item: in which volume, and which of its items."""

# Items of up to that many octets are hashed whenever they are read; longer ones once, before the first part.
SHORT = files.READ


class Contents:
    """The items of one snapshot. Everything here waits for a disk.

    `lost`: what of it nobody knows by name, in words, as the index of a volume is not there or damaged.
    """

    def __init__(self, backup: Backup, snapshot: Snapshot) -> None:
        self._backup = backup
        self.lost: list[str] = []
        self._places: dict[str, Place] = {}
        self._elsewhere: dict[Item, list[Place]] | None = None  # looked for once something is damaged
        self._whole: set[tuple[str, int]] = set()  # long ones that were hashed
        for volume_id, runs in snapshot.volumes.items():
            try:
                volume = backup.volumes.load(volume_id)
                numbers = snapshot.items_of(volume_id, len(volume.items))
                self._places.update((volume.items[n].name, (volume, n)) for n in numbers)
            except (Damaged, NotStored) as error:
                self.lost.append(f"{sum(count for _, count in runs)} items of volume {volume_id} ({error})")

    @property
    def items(self) -> Iterator[Item]:
        return (volume.items[n] for volume, n in self._places.values())

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """The octets start to stop of an item, clipped at its end. NotStored; Damaged; Unavailable."""
        if (place := self._places.get(name)) is None:
            raise NotStored(f"{name} is not in the snapshot")
        volume, n = place
        if (found := self._read(volume, n, start, stop)) is not None:
            return found
        for other, m in self._others().get(volume.items[n], ()):
            if (found := self._read(other, m, start, stop)) is not None:
                self._places[name] = other, m
                return found
        raise Damaged(f"{name} is damaged in the backup")

    def _read(self, volume: Volume, n: int, start: int, stop: int | None) -> bytes | None:
        """None when it is damaged there."""
        item, volumes = volume.items[n], self._backup.volumes
        stop = item.octets if stop is None else stop
        try:
            if item.octets <= SHORT:
                whole = volumes.part(volume, n, 0, item.octets)
                return whole[start:stop] if hash_of(whole) == item.hash else None
            if (volume.id, n) not in self._whole:
                if not volumes.sound(volume, n):
                    return None
                self._whole.add((volume.id, n))
            return volumes.part(volume, n, start, stop)
        except (NotStored, Damaged):
            return None

    def _others(self) -> dict[Item, list[Place]]:
        """The items of the snapshot in all volumes: also those that belong to other snapshots."""
        if self._elsewhere is None:
            self._elsewhere = {item: [] for item in self.items}
            for volume_id in self._backup.volumes.ids():
                try:
                    volume = self._backup.volumes.load(volume_id)
                except (Damaged, NotStored):  # one more that cannot be read is not what was asked for
                    continue
                for n, item in enumerate(volume.items):
                    if (places := self._elsewhere.get(item)) is not None:
                        places.append((volume, n))
        return self._elsewhere


class SnapshotStore:
    """One snapshot, with the promise of a store (port.py) as far as it is read. What writes is `Refused`."""

    serialized = False
    object_costs_request = False

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._sizes: list[tuple[str, int]] = []
        self._keys: dict[str, list[str]] = {}  # of rows, by partition
        self._damaged_rows: set[str] = set()
        for item in contents.items:
            if (row := row_of(item.name)) is None:
                self._sizes.append((item.name.removeprefix("o/"), item.octets))
            else:
                self._keys.setdefault(row[0], []).append(row[1])
        self._sizes.sort()
        for keys in self._keys.values():
            keys.sort()

    @property
    def damaged(self) -> list[str]:
        """What is left out: rows (partition/key) that could not be read so far, and what lost its name."""
        return [*self._contents.lost, *sorted(self._damaged_rows)]

    async def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        return await _in_thread(self._contents.read, f"o/{name}", start, stop)

    async def get_many(self, wanted: Sequence[str | Part]) -> list[bytes | None]:
        return await _in_thread(self._get_many, wanted)

    def _get_many(self, wanted: Sequence[str | Part]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for each in wanted:
            name, start, stop = each if isinstance(each, Part) else Part(each)
            try:
                found.append(self._contents.read(f"o/{name}", start, stop))
            except NotStored:
                found.append(None)
        return found

    async def read(
        self, partition: str, cursor: Cursor | None = None, after: str = ""
    ) -> tuple[list[Row], Cursor]:
        rows = await self.page(partition, after) if cursor is None else []
        return rows, Cursor(0)

    async def page(self, partition: str, after: str, limit: int | None = None) -> list[Row]:
        return await _in_thread(self._rows, partition, after, limit)

    def _rows(self, partition: str, after: str, limit: int | None) -> list[Row]:
        keys, rows = self._keys.get(partition, []), list[Row]()
        for key in islice(keys, bisect_right(keys, after), None):
            if len(rows) == limit:
                break
            try:
                rows.append(Row(key, self._contents.read(row_item(partition, key))))
            except Damaged:
                self._damaged_rows.add(f"{partition}/{key}")
        return rows

    async def confirm(self, partition: str, rows: Sequence[Row]) -> None:
        await trio.lowlevel.checkpoint()

    async def watch(self, partition: str, cursor: Cursor, *, eager: Callable[[], bool] = always) -> None:
        await trio.sleep_forever()

    async def put(self, name: str, body: Body) -> None:
        self._refuse()

    async def delete(self, names: Iterable[str]) -> None:
        self._refuse()

    async def append(
        self,
        partition: str,
        rows: Sequence[Row],
        *,
        objects: Sequence[tuple[str, bytes]] = (),
        read: Cursor | None = None,
        delete: Sequence[tuple[str, str]] = (),
    ) -> Cursor | None:
        self._refuse()

    async def delete_rows(self, partition: str, keys: Sequence[str]) -> None:
        self._refuse()

    async def delete_range(self, partition: str, first: str, last: str) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise Refused("a backup is not written to")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def sizes(self, prefix: str, after: str = "", limit: int | None = None) -> list[tuple[str, int]]:
        await trio.lowlevel.checkpoint()
        if after < prefix:
            first = bisect_left(self._sizes, prefix, key=_name)
        else:
            first = bisect_right(self._sizes, after, key=_name)
        found = takewhile(lambda each: each[0].startswith(prefix), islice(self._sizes, first, None))
        return [*islice(found, limit)]

    async def list(self, prefix: str, after: str = "", limit: int | None = None) -> list[str]:
        return [name for name, _ in await self.sizes(prefix, after, limit)]


def _name(sized: tuple[str, int]) -> str:
    return sized[0]


class SnapshotStores:
    """One account as a snapshot has it: what copies accounts between stores takes it for one of them."""

    def __init__(self, store: SnapshotStore, account: str) -> None:
        self._store, self._account = store, account

    async def open(self, account: str, *, create: bool = False) -> SnapshotStore:
        await trio.lowlevel.checkpoint()
        if account != self._account:
            raise NoSuchUser
        return self._store

    async def erase(self, account: str) -> None:
        raise Refused("a backup is not written to")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def list(self) -> list[str]:
        await trio.lowlevel.checkpoint()
        return [self._account]


async def open_snapshot(backup: Backup, named: Named) -> tuple[Snapshot, SnapshotStore]:
    """Raises NotStored, Damaged, Unavailable."""

    def load() -> tuple[Snapshot, Contents]:
        snapshot = backup.snapshots.load(named)
        return snapshot, Contents(backup, snapshot)

    snapshot, contents = await _in_thread(load)
    return snapshot, SnapshotStore(contents)


async def _in_thread(call: Callable[..., T], *args: object) -> T:
    return await trio.to_thread.run_sync(call, *args)
