"""An account moved from one store to another: sealed objects and rows as they are, no key needed.

The order is what makes it safe to be cut off anywhere. Rows are looked through first and the objects listed
after that, so whatever such a row names is among the objects. At the other store objects come first, then
these rows, in the order of the partitions: the caller names last the one without which nobody opens the
account. A run that was cut off is done again: what is there already is compared, not copied.

A row that goes at the source before its turn has come is not brought, and the report says that the source has
changed: a log entry that goes is of no use any more, and a letter that was filed comes with the next run.

Both stores may live on. What the source has removed since a run that brought it is removed at the target, but
nothing that the target has by itself; and what the target has removed is not brought again. That needs a note
of what was brought: rows of the partition `copied` at the target (`<partition>-<key>`, empty), written once
what they speak of is there. Partitions of which no note is kept only grow.
"""

import hashlib
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from aerogramme.errors import Damaged, NoSuchUser, NotStored
from aerogramme.store.port import Row, Store, Stores
from aerogramme.store.ranges import PAGE, RANGE, Counted, pages, ranges

COPIED = "copied"
WORKERS = 16  # objects on their way at once: enough for one fsync, or one round trip, to serve many
LONG_AT_ONCE = 4  # objects of more than a range on their way at once: a store may hold 10 MiB of each
BATCH_ROWS, BATCH_OCTETS = 128, 1 << 20  # rows in one append

Rows = dict[str, dict[str, bytes]]
"""Partition to key to a hash of the value: all values together may be large."""


class Partition(NamedTuple):
    """One that is copied. `noted`: what the source removes later is removed at the target too."""

    name: str
    noted: bool


@dataclass(slots=True)
class Report:
    """How far the copy of one account is, and what came out. Names are those of objects, or partition/key."""

    account: str
    objects: int = 0  # at the source
    objects_copied: int = 0
    objects_same: int = 0  # read from both stores and found to be equal
    octets_copied: int = 0
    rows: int = 0
    rows_copied: int = 0
    rows_removed: int = 0
    rows_own: int = 0  # that only the target has
    rows_dropped: int = 0  # that the target has removed since they were brought
    missing: list[str] = field(default_factory=list)  # at the target
    different: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)  # at the source: damaged there
    changed: bool = False  # the source, meanwhile

    @property
    def whole(self) -> bool:
        """Whether the target has, byte for byte, all that the source had when the copy began."""
        return not (self.missing or self.different or self.unreadable)


async def copy_account(
    source: Stores,
    target: Stores,
    report: Report,
    partitions: Sequence[Partition],
    *,
    verify_only: bool = False,
    told: Callable[[], None] = lambda: None,
) -> None:
    """Copies the account that the report is for, and fills in the report; `told` is called whenever it has
    changed. With `verify_only` nothing is written.

    Raises Unavailable (run it again, it goes on), NoSuchUser when the source has no such account.
    """
    there = here = None
    try:
        here = await source.open(report.account)
        try:
            there = await target.open(report.account, create=not verify_only)
        except NoSuchUser:
            report.missing.append("the account")
            return
        await _Copy(here, there, report, partitions, told).run(verify_only)
    finally:
        with trio.CancelScope(shield=True):
            for store in (here, there):
                if store is not None:
                    await store.aclose()


class _Copy:
    def __init__(
        self,
        source: Store,
        target: Store,
        report: Report,
        partitions: Sequence[Partition],
        told: Callable[[], None],
    ) -> None:
        self._source, self._target = source, target
        self._report, self._partitions, self._told = report, partitions, told
        self._long = trio.CapacityLimiter(LONG_AT_ONCE)

    async def run(self, verify_only: bool) -> None:
        report = self._report
        rows = {each.name: await self._rows(each.name) for each in self._partitions}
        census = await _census(self._source)
        report.objects, report.rows = census.objects, sum(map(len, rows.values()))
        self._told()
        await self._objects(verify_only)
        notes = await _keys(self._target, COPIED)
        if verify_only:
            await self._compare(rows, notes)
        elif not (report.missing or report.different):  # else nobody may take the account for whole
            await self._append(rows, notes)
            await self._compare(rows, notes)
            if report.whole:
                await self._follow(rows, notes)
        if not await self._unchanged(rows) or await _census(self._source) != census:
            report.changed = True
        self._told()

    # --- objects

    async def _objects(self, verify_only: bool) -> None:
        work = self._compare_object if verify_only else self._copy_object
        workers = trio.Semaphore(WORKERS)

        async def one(name: str, there: bool) -> None:
            try:
                await (self._compare_object if there else work)(name)
            except NotStored:
                self._report.changed = True  # it went while we looked
            except Damaged:
                self._report.unreadable.append(name)
            finally:
                workers.release()
            self._told()

        try:
            async with trio.open_nursery() as nursery, aclosing(self._names()) as names:
                async for name, there in names:
                    await workers.acquire()
                    nursery.start_soon(one, name, there)
        except BaseExceptionGroup as group:
            raise _cause(group) from group

    async def _names(self) -> AsyncGenerator[tuple[str, bool], None]:
        """The objects of the source, and whether the target has one of that name; a page in memory."""
        async with aclosing(pages(self._source, size=PAGE)) as listing:
            after = ""
            async for page in listing:
                there: set[str] = set()
                while found := await self._target.list("", after, PAGE):
                    there.update(found)
                    after = found[-1]
                    if after >= page[-1]:
                        break
                after = page[-1]
                for name in page:
                    yield name, name in there

    async def _copy_object(self, name: str) -> None:
        first = await self._source.get(name, 0, RANGE)
        stored, back = Counted(), Counted()
        if len(first) < RANGE:
            stored.update(first)
            await self._target.put(name, first)
        else:
            async with self._long, aclosing(ranges(self._source, name, stored, first)) as pieces:
                await self._target.put(name, pieces)
        self._report.objects_copied += 1
        self._report.octets_copied += stored.octets
        self._told()
        try:
            async with aclosing(ranges(self._target, name, back)) as pieces:
                async for _ in pieces:
                    pass
            self._found(name, back.digest() == stored.digest())
        except NotStored:
            self._report.missing.append(name)
        except Damaged:
            self._found(name, False)

    async def _compare_object(self, name: str) -> None:
        same, start = True, 0
        while same:
            piece = await self._source.get(name, start, start + RANGE)
            try:
                same = await self._target.get(name, start, start + RANGE) == piece
            except NotStored:
                self._report.missing.append(name)
                return
            except Damaged:
                same = False
            if len(piece) < RANGE:
                break
            start += RANGE
        self._found(name, same)

    def _found(self, name: str, same: bool) -> None:
        if same:
            self._report.objects_same += 1
        else:
            # It stays: an object is never changed, so one of the two is damaged, and nobody knows which.
            self._report.different.append(name)

    # --- rows

    async def _rows(self, partition: str) -> dict[str, bytes]:
        """Those of the source. To be called in the order of the partitions: what moved on to a later one in
        between is read there again."""
        rows: dict[str, bytes] = {}
        async with aclosing(_row_pages(self._source, partition)) as pages:
            async for page in pages:
                rows.update((key, _hash(value)) for key, value in page)
        return rows

    async def _unchanged(self, rows: Rows) -> bool:
        """Whether the source has these rows and no others."""
        for partition, known in rows.items():
            found = await self._rows(partition)
            if found != known:
                return False
        return True

    async def _append(self, rows: Rows, notes: Collection[str]) -> None:
        """The rows that the target has not, unless it had them and has removed them."""
        for partition, noted in self._partitions:
            known = rows[partition]
            there = await _keys(self._target, partition)
            gone = await self._bring(
                partition, {key for key in known if key not in there and _note(partition, key) not in notes}
            )
            for key in gone:
                del known[key]
            self._report.changed |= bool(gone)
            if noted:
                notices = [Row(_note(partition, key), b"") for key in known]
                for batch in _batches([row for row in notices if row.key not in notes]):
                    await self._target.append(COPIED, batch)

    async def _bring(self, partition: str, wanted: set[str]) -> set[str]:
        """Copies these rows. Those that the source has no more."""
        if not wanted:
            return wanted
        async with aclosing(_row_pages(self._source, partition)) as pages:
            async for page in pages:
                for batch in _batches([row for row in page if row.key in wanted]):
                    await self._target.append(partition, batch)
                    wanted -= {row.key for row in batch}
                    self._report.rows_copied += len(batch)
                    self._told()
        return wanted

    async def _compare(self, rows: Rows, notes: Collection[str]) -> None:
        report = self._report
        for partition, known in rows.items():
            missing = set(known)
            async with aclosing(_row_pages(self._target, partition)) as pages:
                async for page in pages:
                    for key, value in page:
                        if key not in known:
                            report.rows_own += 1
                        elif known[key] != _hash(value):
                            report.different.append(f"{partition}/{key}")
                        missing.discard(key)
            for key in sorted(missing):
                if _note(partition, key) in notes:
                    report.rows_dropped += 1
                else:
                    report.missing.append(f"{partition}/{key}")

    async def _follow(self, rows: Rows, notes: Collection[str]) -> None:
        """Removes at the target what the source has removed. Last of all: what a row turned into, such as a
        letter into a message, is there by now."""
        both = {*notes, *await _keys(self._source, COPIED)}
        for partition, noted in self._partitions:
            if not noted:
                continue
            there = await _keys(self._target, partition)
            gone = sorted(key for key in there - rows[partition].keys() if _note(partition, key) in both)
            if gone:
                await self._target.delete_rows(partition, gone)
            self._report.rows_removed += len(gone)
            self._report.rows_own -= len(gone)
            kept = (there | rows[partition].keys()) - {*gone}
            about = {note for note in notes if note.startswith(_note(partition, ""))}
            if old := about - {_note(partition, key) for key in kept}:
                await self._target.delete_rows(COPIED, sorted(old))


class _Census(NamedTuple):
    """How many objects there are, and a hash of their names."""

    objects: int
    names: bytes


async def _census(store: Store) -> _Census:
    objects, names = 0, hashlib.blake2b()
    async with aclosing(pages(store, size=PAGE)) as listing:
        async for page in listing:
            objects += len(page)
            names.update("\0".join([*page, ""]).encode())
    return _Census(objects, names.digest())


async def _row_pages(store: Store, partition: str) -> AsyncGenerator[Sequence[Row], None]:
    after = ""
    while page := await store.page(partition, after, BATCH_ROWS):
        yield page
        after = page[-1].key


async def _keys(store: Store, partition: str) -> set[str]:
    keys: set[str] = set()
    async with aclosing(_row_pages(store, partition)) as pages:
        async for page in pages:
            keys.update(row.key for row in page)
    return keys


def _hash(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16).digest()


def _note(partition: str, key: str) -> str:
    return f"{partition}-{key}"


def _batches(rows: Sequence[Row]) -> list[list[Row]]:
    batches: list[list[Row]] = []
    octets = 0
    for row in rows:
        octets += len(row.value)
        if not batches or len(batches[-1]) == BATCH_ROWS or octets > BATCH_OCTETS:
            batches.append([])
            octets = len(row.value)
        batches[-1].append(row)
    return batches


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended the work: an interruption before any error, and of errors the first."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting[:0] = error.exceptions
        else:
            found.append(error)
    return next((error for error in found if not isinstance(error, Exception)), found[0])
