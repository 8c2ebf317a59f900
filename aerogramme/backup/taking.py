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
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import trio

from aerogramme.backup.folder import Backup
from aerogramme.backup.places import Places, key_of
from aerogramme.backup.snapshot import Named, Snapshot
from aerogramme.backup.volume import NAME, Item, Writer, hash_of, object_item, row_item
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


class _Found(NamedTuple):
    """What belongs to the snapshot, by index (places.py)."""

    objects: Sequence[int]
    rows: Sequence[int]


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
        self._places = Places()
        self._writer = Writer(backup.volumes, VOLUME, self._durable)
        self._volumes: dict[str, int] = {}  # that may be taken from, and their octets
        self._lost: set[str] = set()  # keys of what the backup had, and is damaged there
        self._gone = False  # something that was listed, before it was copied
        self._thin = False  # volumes that are hardly needed any more are still to be given up
        self._dropped: dict[str, int] = {}  # what was in them, key to index

    async def run(self, user: str, keep: int | None, verify: bool) -> None:
        self._thin = keep is not None
        await _in_thread(self._backup.tidy)
        named = await _in_thread(self._backup.snapshots.all)
        await _in_thread(self._read_backup, named, verify)
        try:
            taken, found = await self._settled()
            await _in_thread(self._writer.flush)
        finally:
            self._writer.close()
        snapshot = self._snapshot(named, taken, user, found)
        self._report.snapshot = await _in_thread(self._backup.snapshots.add, snapshot)
        await self._tidy(keep)
        self._told()

    def _durable(self, volume_id: str, items: Sequence[Item]) -> None:
        self._places.put(volume_id, enumerate(items))
        if self._lost:
            self._report.mended += sum(key_of(item) in self._lost for item in items)

    # --- what the backup has

    def _read_backup(self, named: Sequence[Named], verify: bool) -> None:
        """What the newest snapshot has, and what a run wrote that was cut off. Older ones have nothing more
        that the account may still have."""
        newest: Snapshot | None = None
        used: set[str] = set()
        for each in reversed(named):
            try:
                snapshot = self._backup.snapshots.load(each)
            except Damaged as error:
                log.warning("%s: %s", self._backup.folder, error)
                continue
            newest = newest or snapshot
            used |= snapshot.volumes.keys()
        of_newest = newest.volumes if newest else {}
        # Those of the cut off run last, as the last one to have an item is where it is taken from.
        for volume_id in sorted(self._backup.volumes.ids(), key=lambda v: (v not in of_newest, v)):
            if volume_id in of_newest or volume_id not in used:
                self._read_volume(volume_id, newest if volume_id in of_newest else None, verify)
        self._lost = {key for key in self._lost if self._places.get(key) is None}

    def _read_volume(self, volume_id: str, snapshot: Snapshot | None, verify: bool) -> None:
        """Those of its items that the snapshot has; all, if there is none."""
        volumes = self._backup.volumes
        try:
            volume = volumes.load(volume_id)
            count = len(volume.items)
            numbers = [*snapshot.items_of(volume_id, count)] if snapshot else range(count)
        except Damaged as error:
            log.warning("%s: volume %s: %s", self._backup.folder, volume_id, error)
            return
        self._volumes[volume_id] = volume.octets
        if not volumes.has_data(volume):
            log.warning("%s: volume %s has lost its data", self._backup.folder, volume_id)
            sound: set[int] = set()
        else:
            sound = {n for n in numbers if not verify or volumes.sound(volume, n)}
        self._lost.update(key_of(volume.items[n]) for n in numbers if n not in sound)
        self._places.put(volume_id, ((n, volume.items[n]) for n in numbers if n in sound))

    def _hardly_needed(self, needed: Sequence[int]) -> set[str]:
        """Volumes of which less than half is needed, and small ones when there are many: what is needed of
        them is copied anew, and they go with the last snapshot that names them."""
        octets = self._places.octets_in(needed)
        found = {v for v, size in self._volumes.items() if 2 * octets.get(v, 0) < size}
        small = {v for v, size in self._volumes.items() if v not in found and size < SMALL}
        return found | small if len(small) >= SMALLS else found

    # --- what the account has

    async def _settled(self) -> tuple[int, _Found]:
        """Passes, until one holds. When it began (unix milliseconds), and what belongs to the snapshot."""
        report = self._report
        while report.passes < PASSES:
            report.passes += 1
            began = self._now()
            found = await self._pass()
            if found is not None and self._now() - began <= PASS_SECONDS:
                return round(began * 1000), found
        raise Unavailable(
            f"the account {report.account} changed too much while it was backed up",
            hint="what was copied is kept: run it again, best when no keys are rotated",
        )

    async def _pass(self) -> _Found | None:
        """Copies what is new. None when it has to be done once more."""
        report, store = self._report, self._store
        report.unreadable, self._gone = [], False
        checkpoints = {name async for name in _names(store, CHECKPOINT)}
        rows = {each.name: (await store.read(each.name))[0] for each in PARTITIONS}
        if {name async for name in _names(store, CHECKPOINT)} != checkpoints:
            return None
        row_items = await _in_thread(self._row_items, rows)
        objects, new = await self._objects(checkpoints, [item for item, _ in row_items])
        copied, keys = await _in_thread(self._rows, row_items), rows[KEYS]
        del rows, row_items  # all together they may be large, and objects may take hours
        report.objects_done = len(objects)
        self._told()
        for first in range(0, len(new), AT_ONCE):
            some = new[first : first + AT_ONCE]
            starts = await self._starts(some)
            await _in_thread(self._short, [each for each in starts if len(each[1]) < RANGE])
            for name, start in starts:
                if len(start) >= RANGE:
                    await self._long(name, start)
            objects.extend(self._known(object_item(name) for name in some))
            report.objects_done = len(objects)
            self._told()
        if self._gone or (await store.read(KEYS))[0] != keys:
            return None
        return _Found(objects, copied)

    async def _objects(self, checkpoints: set[str], rows: Sequence[Item]) -> tuple["array[int]", list[str]]:
        """Of the objects there are now, those that the backup has (by index), and the names of the others."""
        had, new, listed = array("L"), [], 0
        async for name in _names(self._store):
            if name.startswith(CHECKPOINT) and name not in checkpoints:
                continue
            listed += 1
            if not _storable(object_item(name)):
                self._report.unreadable.append(name)
            elif (index := self._places.get(object_item(name))) is None:
                new.append(name)
            else:
                had.append(index)
        self._report.objects = listed
        if self._thin:
            self._thin = False
            self._dropped = self._places.give_up(self._hardly_needed([*had, *self._known(map(key_of, rows))]))
            again = {*had} & {*self._dropped.values()}
            new += [key.removeprefix("o/") for key, index in self._dropped.items() if index in again]
            had = array("L", (index for index in had if index not in again))
        return had, new

    def _known(self, keys: Iterable[str]) -> Iterator[int]:
        """The indices of those that the backup has."""
        return (index for index in map(self._places.get, keys) if index is not None)

    async def _starts(self, names: Sequence[str]) -> list[tuple[str, bytes]]:
        """The first range of each that is there and sound."""
        try:
            found = await self._store.get_many([Part(name, 0, RANGE) for name in names])
        except Damaged:
            found = [b""] * len(names)
        # b"" may stand for one that is damaged: asked for by itself it says so.
        starts = [
            (name, await self._start(name) if start == b"" else start)
            for name, start in zip(names, found, strict=True)
        ]
        self._gone |= None in found
        return [(name, start) for name, start in starts if start is not None]

    async def _start(self, name: str) -> bytes | None:
        try:
            return await self._store.get(name, 0, RANGE)
        except (NotStored, Damaged) as error:
            self._unread(name, error)
            return None

    def _unread(self, name: str, error: NotStored | Damaged) -> None:
        key = object_item(name)
        if isinstance(error, NotStored):
            self._gone = True
        elif key in self._dropped:
            self._places.recall(key, self._dropped[key])  # the backup has it, from when it was whole
        else:
            self._report.unreadable.append(name)

    def _short(self, objects: Sequence[tuple[str, bytes]]) -> None:
        """Copies those; they were read whole."""
        for name, body in objects:
            self._copy(object_item(name), body)

    async def _long(self, name: str, start: bytes) -> None:
        """Copies an object whose first range was read, if the rest is there and sound."""
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
            self._unread(name, error)
            return
        self._places.expect(await _in_thread(self._writer.end, object_item(name)))
        report.items_copied += 1

    def _row_items(self, rows: Mapping[str, Sequence[Row]]) -> list[tuple[Item, bytes]]:
        """With their values."""
        items = []
        for partition, found in rows.items():
            for key, value in found:
                if _storable(name := row_item(partition, key)):
                    items.append((Item(name, len(value), hash_of(value)), value))
                else:
                    self._report.unreadable.append(f"{partition}/{key}")
        return items

    def _rows(self, rows: Sequence[tuple[Item, bytes]]) -> list[int]:
        """Copies those that the backup has not. The indices of all."""
        found = []
        for item, value in rows:
            index = self._places.get(key_of(item))
            found.append(self._copy(item.name, value) if index is None else index)
        return found

    def _copy(self, name: str, data: bytes) -> int:
        self._writer.begin()
        self._writer.write(data)
        self._report.octets_copied += len(data)
        self._report.items_copied += 1
        return self._places.expect(self._writer.end(name))

    # --- the snapshot

    def _snapshot(self, named: Sequence[Named], taken: int, user: str, found: _Found) -> Snapshot:
        items = [*found.objects, *found.rows]
        return Snapshot(
            self._report.account,
            named[-1].number + 1 if named else 1,
            taken,
            named[-1].hash if named else None,
            user,
            len(found.objects),
            len(found.rows),
            self._places.octets(items),
            {volume: Runs.of(numbers).runs for volume, numbers in self._places.numbers(items).items()},
            tuple(sorted(self._report.unreadable)),
        )

    async def _tidy(self, keep: int | None) -> None:
        """Removes what is not needed any more; nothing while somebody reads the backup, nor when a snapshot
        cannot be read, as nobody knows what that one needs."""
        snapshots = self._backup.snapshots
        with self._backup.unread() as alone:
            left = await (_in_thread(snapshots.keep, keep) if keep and alone else _in_thread(snapshots.all))
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
