# ruff: noqa: ARG002 - a store has methods that a snapshot refuses, whatever they are asked
"""A snapshot as a store that can only be read: what copies accounts copies it back, as from any other.

What is damaged in one volume may be there in another: items are looked for by name and hash.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import NoReturn, TypeVar

import trio

from aerogramme.backup import files
from aerogramme.backup.folder import Backup
from aerogramme.backup.snapshot import Named, Snapshot
from aerogramme.backup.volume import Item, Volume, hash_of, row_of
from aerogramme.errors import AerogrammeError, Damaged, NoSuchUser, NotStored, Refused
from aerogramme.store.port import Body, Cursor, Part, Row, always
from aerogramme.store.ranges import Counted

T = TypeVar("T")

# Items of up to that many octets are hashed whenever they are read; longer ones once, before the first part.
SHORT = files.READ


class Contents:
    """The items of one snapshot. Everything here waits for a disk.

    `lost`: what of it nobody knows by name, in words, as the index of a volume is not there or damaged.
    """

    def __init__(self, backup: Backup, snapshot: Snapshot) -> None:
        self._backup = backup
        self.lost: list[str] = []
        self.items: dict[str, Item] = {}
        self._places: dict[Item, list[tuple[Volume, int]]] = {}
        self._whole: set[tuple[str, int]] = set()  # long ones that were hashed
        self._others_read = False
        for volume_id, runs in snapshot.volumes.items():
            try:
                volume = backup.volumes.load(volume_id)
                numbers = list(snapshot.items_of(volume))
            except (Damaged, NotStored) as error:
                self.lost.append(f"{sum(count for _, count in runs)} items of volume {volume_id} ({error})")
                continue
            for n in numbers:
                item = volume.items[n]
                self.items[item.name] = item
                self._places.setdefault(item, []).append((volume, n))

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """The octets start to stop of an item, clipped at its end. NotStored; Damaged."""
        item = self.items.get(name)
        if item is None:
            raise NotStored(f"{name} is not in the snapshot")
        for volume, n in self._places[item]:
            if (found := self._read(volume, n, start, stop)) is not None:
                return found
        if not self._others_read:
            self._read_others()
            return self.read(name, start, stop)
        raise Damaged(f"{name} is damaged in the backup")

    def _read(self, volume: Volume, n: int, start: int, stop: int | None) -> bytes | None:
        """None when it is damaged there."""
        item, data = volume.items[n], self._backup.volumes.data(volume.id)
        try:
            if item.octets <= SHORT:
                whole = files.read_part(data, volume.starts[n], item.octets)
                return whole[start:stop] if hash_of(whole) == item.hash else None
            if (volume.id, n) not in self._whole:
                if not self._sound(data, volume.starts[n], item):
                    return None
                self._whole.add((volume.id, n))
            stop = item.octets if stop is None else min(stop, item.octets)
            return files.read_part(data, volume.starts[n] + start, max(stop - start, 0))
        except NotStored:
            return None

    def _sound(self, data: Path, start: int, item: Item) -> bool:
        counted = Counted()
        while counted.octets < item.octets:
            part = files.read_part(
                data, start + counted.octets, min(files.READ, item.octets - counted.octets)
            )
            if not part:
                return False
            counted.update(part)
        return counted.hexdigest() == item.hash

    def _read_others(self) -> None:
        """Something is damaged: the same may be in volumes that belong to other snapshots."""
        self._others_read = True
        wanted = set(self.items.values())
        for volume_id in self._backup.volumes.ids():
            try:
                volume = self._backup.volumes.load(volume_id)
            except AerogrammeError:  # one more that cannot be read is not what was asked for
                continue
            for n, item in enumerate(volume.items):
                if item in wanted and (volume, n) not in self._places[item]:
                    self._places[item].append((volume, n))


class SnapshotStore:
    """One snapshot, with the promise of a store (port.py) as far as it is read. What writes is `Refused`.

    `damaged`: what cannot be read and is left out: rows (partition/key), and what is lost without a name.
    """

    serialized = False
    object_costs_request = False

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._sizes = sorted(
            (name.removeprefix("o/"), item.octets)
            for name, item in contents.items.items()
            if row_of(name) is None
        )
        self._read: dict[str, list[Row]] = {}
        self.damaged = list(contents.lost)

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
        if partition not in self._read:
            self._read[partition] = await _in_thread(self._rows, partition)
        rows = self._read[partition] if cursor is None else []
        return [row for row in rows if row.key > after], Cursor(0)

    def _rows(self, partition: str) -> list[Row]:
        rows = []
        for name in sorted(self._contents.items):
            if (row := row_of(name)) is not None and row[0] == partition:
                try:
                    rows.append(Row(row[1], self._contents.read(name)))
                except Damaged:
                    self.damaged.append(f"{partition}/{row[1]}")
        return rows

    async def page(self, partition: str, after: str, limit: int) -> Sequence[Row]:
        return (await self.read(partition, None, after))[0][:limit]

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
