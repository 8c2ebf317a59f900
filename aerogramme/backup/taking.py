"""A backup of one account is taken: what its store holds now, of which only what is new is copied.

No key is needed: objects and rows are copied as they are. Servers may write, fold, compact and rotate keys
meanwhile. What makes the result whole:

1. Checkpoints are listed, then the rows are read, then all objects are listed. Whatever a row or one of those
   checkpoints names was durable before it, so it is in that listing, unless it went meanwhile.
2. It is all done once more if there is a new checkpoint once the rows were read, as that may have taken the
   place of some; if anything of the listing is gone when it is to be copied, or the keys have changed since
   they were read: a rotation seals things again under other names, and then removes the old ones.
3. A pass that took longer than half of the day for which compaction keeps what was named is done once more.

An object is written once and never changed, so one that the backup has is not read again. A run that was cut
off leaves volumes that no snapshot names; the next one uses them.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from aerogramme.backup.folder import Backup
from aerogramme.backup.snapshot import Named, Snapshot
from aerogramme.backup.volume import NAME, Item, Volume, Writer, hash_of, object_item, row_item, row_of
from aerogramme.errors import Damaged, NotStored, Unavailable
from aerogramme.log.ids import Runs
from aerogramme.mailbox.keys.keys import PARTITION as KEYS
from aerogramme.mailbox.partitions import PARTITIONS
from aerogramme.store.port import Part, Row, Store
from aerogramme.store.ranges import RANGE, Counted, pages, ranges

T = TypeVar("T")

log = logging.getLogger(__name__)

VOLUME = 64 << 20  # octets after which a volume is full: what a run that is cut off does at most once more
SMALL, SMALLS = VOLUME // 8, 32  # volumes below that size are merged once there are so many of them
AT_ONCE = 16  # objects on their way at once; each is a range of memory
PASSES = 20  # how often it is all done once more, before somebody is told that the account never rests
PASS_SECONDS = 12 * 3600.0  # compaction deletes nothing that was needed within the last 24 hours

CHECKPOINT = "checkpoint/"


@dataclass(slots=True)
class Taken:
    """How far a backup is, and what came out."""

    account: str
    objects: int = 0  # in the store
    objects_done: int = 0  # copied, or found in the backup
    octets_copied: int = 0  # of objects and rows that the backup had not
    items_copied: int = 0
    passes: int = 0
    unreadable: list[str] = field(default_factory=list)  # damaged in the store
    mended: int = 0  # items of the backup that were damaged, and are there again
    snapshot: Named | None = None
    snapshots: int = 0  # that the backup has now
    octets_freed: int = 0


async def take(
    store: Store,
    backup: Backup,
    user: str,
    report: Taken,
    *,
    keep: int | None = None,
    verify: bool = False,
    told: Callable[[], None] = lambda: None,
    now: Callable[[], float] = time.time,
) -> None:
    """Takes a snapshot and fills in the report; `told` is called whenever it has changed.

    user     the account's entry of the users file, as text of such a file
    keep     older snapshots are removed, and what only they needed; None: all stay
    verify   what the backup has is read first, and copied again where it is damaged
    now      unix seconds

    Raises Unavailable (run it again, it goes on): the store, the disk, another backup of the account at once.
    """
    await _in_thread(backup.make)
    with backup.locked():
        await _Taking(store, backup, report, told, now).run(user, keep, verify)


class _Taking:
    def __init__(
        self,
        store: Store,
        backup: Backup,
        report: Taken,
        told: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._store, self._backup, self._report = store, backup, report
        self._told, self._now = told, now
        self._writer = Writer(backup.volumes, VOLUME)
        # What the backup has, by item; and of objects, by name: the name says all.
        self._places: dict[Item, tuple[str, int]] = {}
        self._objects: dict[str, Item] = {}
        self._chosen = False  # what of the backup is used
        self._rows_written: set[Item] = set()
        self._lost: set[Item] = set()  # that the backup had, and that are damaged there
        self._volumes: dict[str, Volume] = {}
        self._in_use: set[str] = set()  # volumes of the newest snapshot, and of runs that were cut off

    async def run(self, user: str, keep: int | None, verify: bool) -> None:
        named = await _in_thread(self._backup.snapshots.all)
        try:
            await self._read_backup(named, verify)
            taken, items = await self._settled(thin=keep is not None)
            await _in_thread(self._writer.flush)
        finally:
            self._writer.close()
        self._places |= self._writer.places
        self._report.mended = len(self._lost & self._writer.places.keys())
        snapshot = self._snapshot(named, taken, user, items)
        self._report.snapshot = await _in_thread(self._backup.snapshots.add, snapshot)
        await self._tidy(keep)
        self._told()

    # --- what the backup has

    async def _read_backup(self, named: Sequence[Named], verify: bool) -> None:
        """All volumes that can be read, and which of them the last run left in use."""
        older: set[str] = set()
        newest: set[str] | None = None
        for each in reversed(named):
            try:
                snapshot = await _in_thread(self._backup.snapshots.load, each)
            except Damaged as error:
                log.warning("%s: %s", self._backup.folder, error)
                continue
            if newest is None:
                newest = set(snapshot.volumes)
            older |= snapshot.volumes.keys()
        for volume_id in await _in_thread(self._backup.volumes.ids):
            try:
                volume = await _in_thread(self._backup.volumes.load, volume_id)
            except Damaged as error:
                log.warning("%s: volume %s: %s", self._backup.folder, volume_id, error)
                continue
            self._volumes[volume_id] = volume
            if newest is None or volume_id in newest or volume_id not in older:
                self._in_use.add(volume_id)
            if not self._backup.volumes.has_data(volume):
                log.warning("%s: volume %s has lost its data", self._backup.folder, volume_id)
                self._lost.update(volume.items)
            elif verify:
                self._lost |= await _in_thread(self._damaged, volume)

    def _damaged(self, volume: Volume) -> set[Item]:
        return {volume.items[n] for n, sound in self._backup.volumes.check(volume) if not sound}

    def _use(self, names: set[str], thin: bool) -> None:
        """Decides what of the backup is used, now that it is known which items the account has.

        With `thin`, volumes of which less than half is needed, and small ones when there are many, are given
        up: what is needed of them is copied anew, and they go with the last snapshot that names them.
        """
        given_up: set[str] = set()
        if thin:
            for volume_id, volume in self._volumes.items():
                needed = sum(item.octets for item in volume.items if item.name in names)
                if 2 * needed < volume.octets:
                    given_up.add(volume_id)
            small = {v for v in self._in_use - given_up if self._volumes[v].octets < SMALL}
            if len(small) >= SMALLS:
                given_up |= small
        # Those in use last, as the last one to have an item is where it is taken from.
        for volume_id in sorted(self._volumes.keys() - given_up, key=lambda v: (v in self._in_use, v)):
            for n, item in enumerate(self._volumes[volume_id].items):
                if item not in self._lost:
                    self._places[item] = volume_id, n
                    if row_of(item.name) is None:
                        self._objects[item.name] = item

    # --- what the account has

    async def _settled(self, *, thin: bool) -> tuple[int, list[Item]]:
        """Passes, until one holds. When it began (unix milliseconds), and what belongs to the snapshot."""
        report = self._report
        while report.passes < PASSES:
            report.passes += 1
            began = self._now()
            items = await self._pass(thin=thin)
            if items is not None and self._now() - began <= PASS_SECONDS:
                return round(began * 1000), items
        raise Unavailable(
            f"the account {report.account} changed too much while it was backed up",
            hint="what was copied is kept: run it again, best when no keys are rotated",
        )

    async def _pass(self, *, thin: bool) -> list[Item] | None:
        """Copies what is new. None when it has to be done once more."""
        report, store = self._report, self._store
        checkpoints = {name async for name in _names(store, CHECKPOINT)}
        rows = {each.name: (await store.read(each.name))[0] for each in PARTITIONS}
        if {name async for name in _names(store, CHECKPOINT)} != checkpoints:
            return None
        listed = [
            name async for name in _names(store) if name in checkpoints or not name.startswith(CHECKPOINT)
        ]
        names = {object_item(name) for name in listed if _storable(object_item(name))}
        report.unreadable = [name for name in listed if not _storable(object_item(name))]
        for partition, found in rows.items():
            names.update(row_item(partition, row.key) for row in found)
        if not self._chosen:
            self._use(names, thin)
            self._chosen = True
        items, new = [], []
        for name in listed:
            if (item := self._objects.get(object_item(name))) is not None:
                items.append(item)
            elif _storable(object_item(name)):
                new.append(name)
        report.objects, report.objects_done = len(listed), len(items)
        self._told()
        gone = False
        for first in range(0, len(new), AT_ONCE):
            starts = await self._starts(new[first : first + AT_ONCE])
            items += await _in_thread(self._short, [each for each in starts if len(each[1] or b"") < RANGE])
            for name, start in starts:
                copied: Item | None = self._objects.get(object_item(name))
                if copied is None and start is not None:
                    copied = await self._long(name, start)
                    items += [] if copied is None else [copied]
                gone |= copied is None and name not in report.unreadable
            self._told()
        for partition, found in rows.items():
            items += await _in_thread(self._rows, partition, found)
        keys, _ = await store.read(KEYS)
        return None if gone or keys != rows[KEYS] else items

    async def _starts(self, names: Sequence[str]) -> list[tuple[str, bytes | None]]:
        """The first range of each; None for one that is gone, or damaged (then the report says so)."""
        try:
            found = await self._store.get_many([Part(name, 0, RANGE) for name in names])
            # b"" may stand for one that is damaged: asked for by itself it says so.
            return [
                (name, await self._start(name) if start == b"" else start)
                for name, start in zip(names, found, strict=True)
            ]
        except Damaged:
            return [(name, await self._start(name)) for name in names]

    async def _start(self, name: str) -> bytes | None:
        try:
            return await self._store.get(name, 0, RANGE)
        except NotStored:
            return None
        except Damaged:
            self._report.unreadable.append(name)
            return None

    def _short(self, objects: Sequence[tuple[str, bytes | None]]) -> list[Item]:
        """Copies those that are there, and were read whole."""
        items = []
        for name, body in objects:
            if body is not None:
                items.append(item := self._copied(object_item(name), body))
                self._object_done(item)
        return items

    async def _long(self, name: str, start: bytes) -> Item | None:
        """Copies an object whose first range was read. None when it is gone, or damaged."""
        report = self._report
        await _in_thread(self._writer.begin)
        try:
            async with aclosing(ranges(self._store, name, Counted(), start)) as pieces:
                async for piece in pieces:
                    await _in_thread(self._writer.write, piece)
                    report.octets_copied += len(piece)
                    self._told()
        except (NotStored, Damaged) as error:
            await _in_thread(self._writer.give_up)
            if isinstance(error, Damaged):
                report.unreadable.append(name)
            return None
        item = await _in_thread(self._writer.end, object_item(name))
        report.items_copied += 1
        self._object_done(item)
        return item

    def _object_done(self, item: Item) -> None:
        self._objects[item.name] = item
        self._report.objects_done += 1

    def _rows(self, partition: str, rows: Sequence[Row]) -> list[Item]:
        """Copies those rows that the backup has not."""
        items = []
        for key, value in rows:
            name = row_item(partition, key)
            if not _storable(name):
                self._report.unreadable.append(f"{partition}/{key}")
                continue
            item = Item(name, len(value), hash_of(value))
            if item not in self._places and item not in self._rows_written:
                self._copied(name, value)
                self._rows_written.add(item)
            items.append(item)
        return items

    def _copied(self, name: str, data: bytes) -> Item:
        self._writer.begin()
        self._writer.write(data)
        self._report.octets_copied += len(data)
        self._report.items_copied += 1
        return self._writer.end(name)

    # --- the snapshot

    def _snapshot(self, named: Sequence[Named], taken: int, user: str, items: Sequence[Item]) -> Snapshot:
        numbers: dict[str, list[int]] = {}
        for item in items:
            volume, n = self._places[item]
            numbers.setdefault(volume, []).append(n)
        rows = sum(row_of(item.name) is not None for item in items)
        return Snapshot(
            self._report.account,
            named[-1].number + 1 if named else 1,
            taken,
            named[-1].hash if named else None,
            user,
            len(items) - rows,
            rows,
            sum(item.octets for item in items),
            {volume: Runs.of(sorted(numbers[volume])).runs for volume in numbers},
            tuple(sorted(self._report.unreadable)),
        )

    async def _tidy(self, keep: int | None) -> None:
        """Removes what is not needed any more; nothing while somebody reads the backup, nor when a snapshot
        cannot be read, as nobody knows what that one needs."""
        snapshots = self._backup.snapshots
        with self._backup.unread() as alone:
            left = (
                await _in_thread(snapshots.keep, keep) if keep and alone else await _in_thread(snapshots.all)
            )
            self._report.snapshots = len(left)
            if not alone:
                log.warning("%s: it is read just now; nothing is removed", self._backup.folder)
                return
            wanted: set[str] = set()
            for each in left:
                try:
                    wanted |= (await _in_thread(snapshots.load, each)).volumes.keys()
                except Damaged as error:
                    log.warning("%s: %s; nothing is removed", self._backup.folder, error)
                    return
            await _in_thread(snapshots.tidy)
            self._report.octets_freed = await _in_thread(self._backup.volumes.tidy, wanted)


async def _names(store: Store, prefix: str = "") -> AsyncIterator[str]:
    async with aclosing(pages(store, prefix)) as listing:
        async for page in listing:
            for name in page:
                yield name


def _storable(name: str) -> bool:
    """Whether an index can hold it. Of our own all can (port.py); but anybody may write to a bucket."""
    return NAME.fullmatch(name) is not None


async def _in_thread(call: Callable[..., T], *args: object) -> T:
    return await trio.to_thread.run_sync(call, *args)
