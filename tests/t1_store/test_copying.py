"""Accounts copied between stores: whole, from wherever a run was cut off, and without undoing what either
store did by itself."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
import trio
import trio.testing

from aerogramme.errors import NoSuchUser, Unavailable
from aerogramme.store import (
    Body,
    Crash,
    CrashAt,
    Faults,
    MemoryStores,
    Row,
    SqliteStores,
    Store,
    Stores,
    copying,
)
from aerogramme.store.copying import COPIED, RANGE, WORKERS, Partition, Report, copy_account
from tests.helpers.damage import other_end

ACCOUNT = "0123456789abcdef" * 2
PARTITIONS = [Partition("incoming", noted=True), Partition("log", noted=False), Partition("keys", noted=True)]
SIZES = [0, 1, 1000, RANGE - 1, RANGE, RANGE + 1, 3 * RANGE + 7]


def pattern(size: int) -> bytes:
    return b"".join(n.to_bytes(4, "big") for n in range(size // 4 + 1))[:size]


async def fill(stores: Stores, sizes: Sequence[int] = (10, 20)) -> Store:
    """An account as the copy sees it: objects, and rows in all partitions."""
    store = await stores.open(ACCOUNT, create=True)
    for n, size in enumerate(sizes):
        await store.put(f"body/{n:04}", pattern(size))
    await store.append("incoming", [Row("letter-1", b"1"), Row("letter-2", b"2")])
    await store.append("log", [Row(f"{n:016x}-r-1", bytes([n])) for n in range(1, 6)])
    await store.append("keys", [Row("slot", b"s"), Row("keyring-1", b"k")])
    return store


async def contents(stores: Stores) -> dict[str, bytes]:
    """All that an account has, but the notes of copies."""
    store = await stores.open(ACCOUNT)
    found = {name: await store.get(name) for name in await store.list("")}
    for partition in PARTITIONS:
        found |= {f"{partition.name}/{key}": value for key, value in (await store.read(partition.name))[0]}
    await store.aclose()
    return found


async def copy(source: Stores, target: Stores, **options: bool) -> Report:
    report = Report(ACCOUNT)
    await copy_account(source, target, report, PARTITIONS, **options)
    return report


async def keys_of(store: Store, partition: str) -> list[str]:
    return [key for key, _ in (await store.read(partition))[0]]


@pytest.fixture(params=["memory to sqlite", "sqlite to memory"])
async def two(request: pytest.FixtureRequest, tmp_path: Path):
    memory, sqlite = MemoryStores(), SqliteStores(tmp_path)
    yield (memory, sqlite) if request.param == "memory to sqlite" else (sqlite, memory)
    await sqlite.aclose()


async def test_everything_is_copied_and_a_second_run_copies_nothing(two: tuple[Stores, Stores]) -> None:
    source, target = two
    await (await fill(source, SIZES)).aclose()
    before = await contents(source)
    first = await copy(source, target)
    assert await contents(target) == before == await contents(source)
    assert (first.objects, first.objects_copied, first.objects_same) == (len(SIZES),) * 3
    assert (first.rows, first.rows_copied, first.octets_copied) == (9, 9, sum(SIZES))
    second = await copy(source, target)
    for report in (first, second):
        assert report.whole and not report.changed
        assert (report.rows_own, report.rows_removed, report.rows_dropped) == (0, 0, 0)
    assert (second.objects_copied, second.rows_copied, second.octets_copied) == (0, 0, 0)
    assert second.objects_same == len(SIZES)
    assert (await copy(source, target, verify_only=True)).whole


async def test_many_objects_are_more_than_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "PAGE", 7)
    source, target = MemoryStores(), MemoryStores()
    store = await fill(source, range(30))
    other = await target.open(ACCOUNT, create=True)
    for n in range(100):  # of its own, between those of the source
        await other.put(f"body/0003-{n:03}", b"")
    await other.put("body/0012", pattern(12))
    await store.aclose()
    report = await copy(source, target)
    assert report.whole and (report.objects_copied, report.objects_same) == (29, 30)
    assert len(await other.list("")) == 130


async def test_the_account_must_be_at_the_source() -> None:
    target = MemoryStores()
    with pytest.raises(NoSuchUser):
        await copy(MemoryStores(), target)
    assert await target.list() == []


# --- cut off


async def calls_of_a_copy(serial: bool) -> tuple[int, int]:
    """How many calls a whole copy makes to the source, and to the target."""
    source = MemoryStores()
    await fill(source)
    from_, to = CrashAt(0), CrashAt(0)
    await copy(source.another(from_), MemoryStores(to, serial=serial))
    return from_.calls, to.calls


@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_a_run_that_dies_at_any_call_is_finished_by_the_next(serial: bool, steps: int) -> None:
    source = MemoryStores()
    await fill(source)
    wanted = await contents(source)
    from_source, from_target = await calls_of_a_copy(serial)
    assert from_source > 10 and from_target > 10
    for n in range(1, from_source + from_target + 1):
        target = MemoryStores(serial=serial)
        dying, living = CrashAt(max(n - from_target, 0)), CrashAt(min(n, from_target), steps=steps)
        if n > from_target:
            living = CrashAt(0)
        with pytest.raises(Crash):
            await copy(source.another(dying), target.another(living))
        if await target.list():
            left = await contents(target)
            if "keys/keyring-1" in left:  # then somebody can open it, and it must be whole
                assert left.items() >= {k: v for k, v in wanted.items() if k != "keys/slot"}.items(), n
        report = await copy(source, target)
        assert report.whole and not report.changed and await contents(target) == wanted, n
        store = await target.open(ACCOUNT)
        notes = ["incoming-letter-1", "incoming-letter-2", "keys-keyring-1", "keys-slot"]
        assert await keys_of(store, COPIED) == notes


@pytest.mark.parametrize("seed", range(30))
async def test_faults_of_both_stores_are_outlasted(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    random = Random(seed)
    source = MemoryStores()
    await fill(source, [random.randrange(3000) for _ in range(20)])
    wanted = await contents(source)
    target = MemoryStores(Faults(random, refused=0.01, lost=0.01, limbo=0.02, again=0.1))
    far = source.another(Faults(random, refused=0.01, lost=0, limbo=0))
    for _ in range(1000):
        try:
            if (await copy(far, target)).whole:
                break
        except Unavailable:
            continue
    assert await contents(target.another()) == wanted


async def test_a_cancelled_run_is_finished_by_the_next(tmp_path: Path) -> None:
    source, target = MemoryStores(), SqliteStores(tmp_path)
    await fill(source, SIZES)
    for octets in range(0, sum(SIZES), RANGE):
        report = Report(ACCOUNT)
        with trio.CancelScope() as scope:

            def told(report: Report = report, scope: trio.CancelScope = scope, octets: int = octets) -> None:
                if report.octets_copied >= octets:
                    scope.cancel()

            await copy_account(source, target, report, PARTITIONS, told=told)
    assert (await copy(source, target)).whole
    assert await contents(target) == await contents(source)
    await target.aclose()


async def test_an_error_comes_out_as_it_is() -> None:
    source = MemoryStores()
    await fill(source, [1] * 50)
    with pytest.raises(Unavailable, match="gone for lunch"):
        await copy(source, MemoryStores(CrashAt(9, error=Unavailable("gone for lunch"))))


# --- both live on


async def test_what_changes_at_the_source_meanwhile_is_told_and_comes_with_the_next_run() -> None:
    source, target = MemoryStores(), MemoryStores()
    store = await fill(source, [10] * 40)

    async def change_when_half_is_there(change: Callable[[], object]) -> Report:
        report, half = Report(ACCOUNT), trio.Event()

        def told() -> None:
            if report.objects_same >= 20:
                half.set()

        async def changing() -> None:
            await half.wait()
            await change()  # type: ignore[misc]  # it is an async function

        async with trio.open_nursery() as nursery:
            nursery.start_soon(changing)
            await copy_account(source, target, report, PARTITIONS, told=told)
        return report

    async def deliver() -> None:
        await store.append("incoming", [Row("letter-3", b"3")], objects=[("body/new", b"new")])

    report = await change_when_half_is_there(deliver)
    assert report.changed and report.whole
    left = await contents(target)
    assert "incoming/letter-3" not in left, "its body may not be there"

    async def append() -> None:
        await store.append("log", [Row("00000000000000ff-r-1", b"x")])

    report = await change_when_half_is_there(append)
    assert report.changed and report.whole
    assert await store.get("body/new") == b"new"

    async def compact() -> None:
        await store.delete(["body/0039"])

    report = await change_when_half_is_there(compact)
    assert report.changed and report.whole
    report = await copy(source, target)
    assert report.whole and not report.changed
    here, there = await contents(source), await contents(target)
    assert there == here | {"body/0039": pattern(10)}


async def test_what_goes_at_the_source_meanwhile_comes_as_what_it_became_with_the_next_run() -> None:
    source, target = MemoryStores(), MemoryStores()
    store = await fill(source)

    class Filing(MemoryStores):
        """The letter is filed while the first object is stored."""

        filed = False

        async def open(self, account: str, *, create: bool = False) -> Store:
            opened = await target.open(account, create=create)
            put = opened.put

            async def filing(name: str, body: Body) -> None:
                if not self.filed:
                    self.filed = True
                    row = Row("00000000000000ff-r-1", b"add")
                    await store.append("log", [row], delete=[("incoming", "letter-1")])
                await put(name, body)

            opened.put = filing  # type: ignore[method-assign]
            return opened

    report = await copy(source, Filing())
    assert report.changed and report.whole
    other = await target.open(ACCOUNT)
    assert await keys_of(other, "incoming") == ["letter-2"]
    assert await keys_of(other, COPIED) == ["incoming-letter-2", "keys-keyring-1", "keys-slot"]
    report = await copy(source, target)
    assert report.whole and not report.changed
    assert await contents(target) == await contents(source)


async def test_what_the_source_has_removed_goes_at_the_target_too() -> None:
    source, target = MemoryStores(), MemoryStores()
    store = await fill(source)
    await copy(source, target)
    other = await target.open(ACCOUNT)
    # A letter becomes a message, and the password is changed; at the target a letter comes in as well.
    await store.append("log", [Row("00000000000000ff-r-1", b"add")], delete=[("incoming", "letter-1")])
    await store.append("keys", [Row("keyring-2", b"k")], delete=[("keys", "keyring-1")])
    await other.append("incoming", [Row("letter-9", b"9")])
    report = await copy(source, target)
    assert report.whole and (report.rows_removed, report.rows_own) == (2, 1)
    assert await keys_of(other, "incoming") == ["letter-2", "letter-9"]
    assert await keys_of(other, "keys") == ["keyring-2", "slot"]
    assert await keys_of(other, COPIED) == ["incoming-letter-2", "keys-keyring-2", "keys-slot"]
    # What the source compacts may go at the target in its own time.
    await store.delete_range("log", "0", "0000000000000003-z")
    report = await copy(source, target)
    assert report.whole and report.rows_removed == 0
    assert len(await keys_of(other, "log")) == 6


async def test_what_the_target_has_removed_is_not_brought_again() -> None:
    source, target = MemoryStores(), MemoryStores()
    await fill(source)
    await copy(source, target)
    other = await target.open(ACCOUNT)
    await other.append("log", [Row("00000000000000ff-r-1", b"add")], delete=[("incoming", "letter-1")])
    await other.append("keys", [Row("keyring-2", b"k")], delete=[("keys", "keyring-1")])
    for _ in range(2):
        report = await copy(source, target)
        assert report.whole and (report.rows_copied, report.rows_dropped, report.rows_own) == (0, 2, 2)
        assert await keys_of(other, "incoming") == ["letter-2"]
        assert await keys_of(other, "keys") == ["keyring-2", "slot"]


async def test_there_and_back_again() -> None:
    home, away = MemoryStores(), MemoryStores()
    await fill(home)
    await copy(home, away)
    other = await away.open(ACCOUNT)
    await other.append(
        "log",
        [Row("00000000000000ff-r-1", b"add")],
        objects=[("body/new", b"new")],
        delete=[("incoming", "letter-1")],
    )
    await other.append("keys", [Row("keyring-2", b"k")], delete=[("keys", "keyring-1")])
    report = await copy(away, home)
    assert report.whole and (report.rows_copied, report.rows_removed) == (2, 2)
    assert await contents(home) == await contents(away)
    fresh = MemoryStores()
    assert (await copy(away, fresh)).whole
    assert await contents(fresh) == await contents(away)


# --- damage


async def test_a_difference_is_told_and_nothing_is_overwritten() -> None:
    source, target = MemoryStores(), MemoryStores()
    await fill(source, [10, 2 * RANGE, 30])
    await copy(source, target)
    other = await target.open(ACCOUNT)
    await other.delete(["body/0000", "body/0001"])
    await other.put("body/0001", pattern(2 * RANGE) + b"x")
    await other.delete_rows("log", ["0000000000000002-r-1"])
    await other.append("log", [Row("0000000000000002-r-1", b"?")])
    checked = await copy(source, target, verify_only=True)
    assert not checked.whole
    assert checked.missing == ["body/0000"]
    assert checked.different == ["body/0001", "log/0000000000000002-r-1"]
    await other.append("incoming", [Row("letter-9", b"9")])
    copied = await copy(source, target)
    assert copied.missing == [] and copied.different == ["body/0001"]
    assert await other.get("body/0000") == pattern(10)
    assert (await other.get("body/0001"))[-1:] == b"x"


async def test_verify_only_writes_nothing(tmp_path: Path) -> None:
    source, target = MemoryStores(), SqliteStores(tmp_path / "none")
    store = await fill(source)
    report = await copy(source, target, verify_only=True)
    assert report.missing == ["the account"] and not (tmp_path / "none").exists()
    memory = MemoryStores()
    await memory.open(ACCOUNT, create=True)
    report = await copy(source, memory, verify_only=True)
    assert len(report.missing) == 11
    assert await contents(memory) == {}
    await copy(source, memory)
    await store.delete_rows("incoming", ["letter-1"])
    assert (await copy(source, memory, verify_only=True)).rows_own == 1
    assert "incoming/letter-1" in await contents(memory)


async def test_what_is_damaged_at_the_source_is_told_and_the_rest_is_copied(tmp_path: Path) -> None:
    source, target = SqliteStores(tmp_path), MemoryStores()
    await (await fill(source, [10, 3 * RANGE, 30])).aclose()
    with closing(sqlite3.connect(tmp_path / f"{ACCOUNT}.sqlite")) as connection, connection:
        connection.execute("DELETE FROM chunks WHERE id = (SELECT max(id) FROM chunks WHERE id >> 20 = 2)")
    report = await copy(source, target)
    assert report.unreadable == ["body/0001"] and not report.whole
    await (await target.open(ACCOUNT)).put("body/0001", pattern(3 * RANGE))
    report = await copy(source, target, verify_only=True)
    assert report.unreadable == ["body/0001"] and report.objects_same == 2
    left = await contents(target)
    assert "body/0002" in left and "keys/keyring-1" in left
    await source.aclose()


class Lossy:
    """Stores that keep something else than they were given, and say so to nobody."""

    def __init__(self, keep: Callable[[bytes], bytes | None]) -> None:
        self._stores, self._keep = MemoryStores(), keep

    def __getattr__(self, name: str) -> object:
        return getattr(self._stores, name)

    async def open(self, account: str, *, create: bool = False) -> Store:
        store = await self._stores.open(account, create=create)
        put = store.put

        async def lossy(name: str, body: Body) -> None:
            if not isinstance(body, bytes):
                body = b"".join([piece async for piece in body])
            kept = self._keep(body)
            if kept is not None:
                await put(name, kept)

        store.put = lossy  # type: ignore[method-assign]
        return store


async def test_each_object_is_read_back() -> None:
    source = MemoryStores()
    await fill(source, [10, RANGE + 1])
    target = Lossy(lambda body: other_end(body))
    report = await copy(source, target)
    assert sorted(report.different) == ["body/0000", "body/0001"] and not report.whole
    assert await keys_of(await target.open(ACCOUNT), "keys") == [], "nobody can open it"
    target = Lossy(lambda body: None if len(body) < RANGE else body)
    report = await copy(source, target)
    assert report.missing == ["body/0000"] and report.objects_same == 1
    assert await keys_of(await target.open(ACCOUNT), "keys") == []


# --- bounds


async def test_memory_and_requests_at_once_are_bounded(autojump_clock: trio.testing.MockClock) -> None:
    class Watched(Lossy):
        largest = reading = most = 0

        async def open(self, account: str, *, create: bool = False) -> Store:
            store = await super().open(account, create=create)
            get = store.get

            async def watched(name: str, start: int = 0, stop: int | None = None) -> bytes:
                assert stop is not None
                self.largest = max(self.largest, stop - start)
                self.reading += 1
                self.most = max(self.most, self.reading)
                await trio.sleep(0.01)
                self.reading -= 1
                return await get(name, start, stop)

            store.get = watched  # type: ignore[method-assign]
            return store

    source, target = Watched(lambda body: body), MemoryStores()
    await fill(source, [10] * 100 + [5 * RANGE] * 3)
    report = await copy(source, target)
    assert report.whole and source.largest == RANGE and WORKERS // 2 < source.most <= WORKERS


async def test_rows_are_read_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "BATCH_ROWS", 7)

    class Watched(MemoryStores):
        watching = False

        async def open(self, account: str, *, create: bool = False) -> Store:
            store = await super().open(account, create=create)
            if not self.watching:
                return store
            read = store.read

            async def page(partition: str, after: str, limit: int) -> Sequence[Row]:
                assert limit <= 7
                return (await read(partition, None, after))[0][:limit]

            async def refuse(*_: object) -> None:
                raise AssertionError("all rows at once")

            store.page, store.read = page, refuse  # type: ignore[method-assign,assignment]
            return store

    source, target = Watched(), Watched()
    store = await fill(source)
    await store.append("log", [Row(f"{n:016x}-r-1", b"x" * n) for n in range(6, 60)])
    source.watching = target.watching = True
    for copied in (63, 0):
        report = await copy(source, target)
        assert report.whole and (report.rows, report.rows_copied) == (63, copied)
    await store.delete_rows("incoming", ["letter-1"])
    report = await copy(source, target)
    assert report.whole and (report.rows_removed, report.rows_own) == (1, 0)


def test_rows_go_in_batches_of_bounded_size() -> None:
    small = [Row(f"{n}", b"") for n in range(300)]
    assert [len(batch) for batch in copying._batches(small)] == [128, 128, 44]
    large = [Row(f"{n}", bytes(400_000)) for n in range(5)]
    assert [len(batch) for batch in copying._batches(large)] == [2, 2, 1]
    assert copying._batches([]) == []
