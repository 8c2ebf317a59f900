"""What files must keep besides the promise of port.py: modes, leftovers, limits, failures, threads."""

import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from aerogramme.errors import BadConfiguration, Behind, Damaged, NoSuchUser, Unavailable
from aerogramme.store import MemoryStores, Row, SqliteStores, open_stores, sqlite, sqlite_file
from aerogramme.store.sqlite import SqliteStore

ACCOUNT = "a" * 32


def rows(*keys: str) -> list[Row]:
    return [Row(key, key.encode()) for key in keys]


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[SqliteStores]:
    stores = SqliteStores(tmp_path / "accounts")
    yield stores
    await stores.aclose()


@pytest.fixture
async def store(stores: SqliteStores) -> AsyncIterator[SqliteStore]:
    store = await stores.open(ACCOUNT, create=True)
    yield store
    await store.aclose()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "sqlite writer"]


def execute(sql: str) -> Callable[[sqlite3.Connection], object]:
    return lambda connection: connection.execute(sql).fetchall()


async def blocked(store: SqliteStore) -> threading.Event:
    """Keep the writer at work until the event is set, so that what is written meanwhile waits together."""
    begun, end = threading.Event(), threading.Event()

    def work(_: sqlite3.Connection) -> None:
        begun.set()
        end.wait()

    store._file.post(work)
    await trio.to_thread.run_sync(begun.wait)
    return end


def change(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql)


# --- the file


async def test_nobody_else_may_read_the_files(store: SqliteStore, stores: SqliteStores) -> None:
    await store.put("o", b"body")
    paths = sorted(await trio.Path(stores.folder).iterdir())
    assert [path.name for path in paths] == [f"{ACCOUNT}.sqlite{end}" for end in ("", "-shm", "-wal")]
    for path in paths:
        assert stat.S_IMODE((await path.stat()).st_mode) == 0o600
    assert stat.S_IMODE((await trio.Path(stores.folder).stat()).st_mode) == 0o700


async def test_a_closed_account_is_one_file(store: SqliteStore, stores: SqliteStores) -> None:
    await store.put("o", b"body")
    await store.aclose()
    assert [path.name for path in await trio.Path(stores.folder).iterdir()] == [f"{ACCOUNT}.sqlite"]


async def test_opening_what_is_not_there_makes_nothing(stores: SqliteStores) -> None:
    with pytest.raises(NoSuchUser):
        await stores.open(ACCOUNT)
    await stores.erase(ACCOUNT)
    assert not await trio.Path(stores.folder).exists()


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 7",
        "PRAGMA application_id = 0; PRAGMA user_version = 0",
    ],
)
async def test_a_file_of_another_kind_or_version_is_not_touched(
    store: SqliteStore, stores: SqliteStores, sql: str
) -> None:
    await store.aclose()
    path = stores.folder / f"{ACCOUNT}.sqlite"
    change(path, sql)
    before = await trio.Path(path).read_bytes()
    with pytest.raises(Damaged):
        await stores.open(ACCOUNT)
    assert await trio.Path(path).read_bytes() == before


async def test_a_file_that_is_no_database_is_damaged(stores: SqliteStores) -> None:
    path = trio.Path(stores.folder / f"{ACCOUNT}.sqlite")
    await path.parent.mkdir()
    await path.write_bytes(b"This is no database. " * 500)
    with pytest.raises(Damaged):
        await stores.open(ACCOUNT)
    with pytest.raises(Damaged):
        await stores.open(ACCOUNT, create=True)


async def test_an_object_without_one_of_its_chunks_is_damaged(
    store: SqliteStore, stores: SqliteStores
) -> None:
    await store.put("o", bytes(200_000))
    await store.put("p", b"whole")
    await store.aclose()
    change(stores.folder / f"{ACCOUNT}.sqlite", "DELETE FROM chunks WHERE id = (1 << 20) + 1")
    store = await stores.open(ACCOUNT)
    with pytest.raises(Damaged):
        await store.get("o")
    with pytest.raises(Damaged):
        await store.get("o", 60_000, 70_000)
    assert await store.get("o", 0, 60_000) == bytes(60_000)
    assert await store.get("p") == b"whole"
    assert await store.get_many(["p", "o", "none", "p"]) == [b"whole", b"", None, b"whole"]
    await store.aclose()


async def test_an_erasure_that_stops_halfway_has_erased(
    store: SqliteStore, stores: SqliteStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SqliteStores(
        stores.folder
    )  # as another process, it keeps the log from being folded into the file
    reader = await other.open(ACCOUNT)
    await store.append("log", rows("a"))

    def stop(file: sqlite_file.File) -> None:
        for end in ("-wal", "-shm"):
            Path(f"{file.path}{end}").unlink()
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_file.File, "_unlink", stop)
        with pytest.raises(InterruptedError):
            await stores.erase(ACCOUNT)
    header = await trio.Path(stores.folder / f"{ACCOUNT}.sqlite").read_bytes()
    assert header[60:64] == bytes(4)  # the user version: the file alone says that it was erased
    with pytest.raises(NoSuchUser):
        await reader.read("log")
    await other.aclose()
    with pytest.raises(NoSuchUser):
        await stores.open(ACCOUNT)
    await stores.erase(ACCOUNT)
    assert await stores.list() == []


async def test_what_a_crash_left_of_an_erasure_goes_with_the_next(
    store: SqliteStore, stores: SqliteStores
) -> None:
    await store.aclose()
    change(
        stores.folder / f"{ACCOUNT}.sqlite", "ALTER TABLE rows RENAME TO erased_rows; PRAGMA user_version = 0"
    )
    with pytest.raises(NoSuchUser):
        await stores.open(ACCOUNT)
    await stores.erase(ACCOUNT)
    assert await stores.list() == []


async def test_what_a_crash_left_of_a_creation_goes_with_the_next(
    stores: SqliteStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = trio.Path(stores.folder / f".{ACCOUNT}.sqlite.0123{sqlite_file.NEW}")
    await left.parent.mkdir()
    await left.write_bytes(b"half")
    assert await stores.list() == []
    store = await stores.open(ACCOUNT, create=True)
    assert await left.exists()  # another process may be at it
    await store.aclose()
    monkeypatch.setattr(sqlite_file, "LEFT_SECONDS", -60)
    store = await stores.open(ACCOUNT, create=True)
    assert not await left.exists()
    await store.aclose()


async def test_an_object_that_nobody_finishes_is_cleaned_after_a_day(
    store: SqliteStore, stores: SqliteStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stores.folder / f"{ACCOUNT}.sqlite"
    await store.put("o", b"body")
    for number, age in ((2, 60), (3, 90_000)):
        work = partial(sqlite._add, number=None, stored=0, data=b"abc")
        assert await store._file.write(work) == number
        aged = f"UPDATE objects SET touched = touched - {age} WHERE id = {number}"
        await store._file.write(execute(aged))
    await store.aclose()
    await (await stores.open(ACCOUNT)).aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id, name FROM objects ORDER BY id").fetchall() == [
            (1, "o"),
            (2, None),
        ]
        assert connection.execute("SELECT id >> 20 FROM chunks ORDER BY id").fetchall() == [(1,), (2,)]


async def test_a_put_that_was_cleaned_away_fails_whole(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LEFT_SECONDS", -60)

    async def body() -> AsyncIterator[bytes]:
        yield bytes(2 * sqlite.PIECE)
        await store._file.write(sqlite_file._clean)
        yield bytes(sqlite.PIECE)

    with pytest.raises(Unavailable):
        await store.put("o", body())
    assert await store.list("") == []
    count = "SELECT (SELECT count(*) FROM objects) + (SELECT count(*) FROM chunks)"
    assert await store._file.write(execute(count)) == [(0,)]


# --- the writer


async def test_those_who_wait_together_are_committed_together(store: SqliteStore) -> None:
    _, cursor = await store.read("log")
    await store.append("other", [])  # what opening the file asks for is done
    commits: list[str] = []
    store._file._connections[0].set_trace_callback(
        lambda sql: commits.append(sql) if sql == "COMMIT" else None
    )
    block = await blocked(store)

    async def late() -> None:
        with pytest.raises(Behind):
            await store.append("log", rows("late"), objects=[("o", b"")], read=cursor)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.append, "log", rows("first"))
        await wait_all_tasks_blocked()
        for n in range(5):
            nursery.start_soon(store.append, "log", rows(str(n)))
            nursery.start_soon(late)
        await wait_all_tasks_blocked()
        block.set()
    assert len(commits) == 2  # the one that blocked, and one for all who waited
    assert (await store.read("log"))[0] == rows("0", "1", "2", "3", "4", "first")
    assert await store.list("") == []


async def test_one_that_fails_does_not_harm_those_it_shares_a_transaction_with(store: SqliteStore) -> None:
    block = await blocked(store)

    async def wrong() -> None:
        with pytest.raises(sqlite3.IntegrityError):
            await store.append("log", [Row("x", b""), Row("y", None)], objects=[("wrong", b"")])  # type: ignore[arg-type] # what a bug would do

    async with trio.open_nursery() as nursery:
        for n in range(3):
            nursery.start_soon(store.append, "log", rows(f"a{n}"))
        nursery.start_soon(wrong)
        await wait_all_tasks_blocked()
        block.set()
    assert (await store.read("log"))[0] == rows("a0", "a1", "a2")
    assert await store.list("") == []


async def test_a_cancelled_waiter_leaves_the_others_alone(store: SqliteStore) -> None:
    block = await blocked(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.append, "log", rows("b"))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(store.append, "log", rows("a"))
                inner.start_soon(store.put, "o", b"body")
                await wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        block.set()
    assert (await store.read("log"))[0] == rows("a", "b")  # it was asked for, and happened
    assert await store.get("o") == b"body"


async def test_a_full_disk_fails_what_does_not_fit_and_nothing_else(store: SqliteStore) -> None:
    await store.append("log", rows("a"))
    await store._file.write(lambda c: None)
    store._file._connections[0].execute("PRAGMA max_page_count = 40")
    with pytest.raises(Unavailable):
        await store.append("log", rows("b"), objects=[("o", bytes(500_000))])
    with pytest.raises(Unavailable):
        await store.put("p", bytes(3_000_000))
    await store.append("log", rows("c"))
    assert (await store.read("log"))[0] == rows("a", "c")
    store._file._connections[0].execute("PRAGMA max_page_count = 100000")
    await store.put("p", bytes(3_000_000))
    assert await store.list("") == ["p"]


async def test_a_file_locked_by_another_program_is_unavailable(
    store: SqliteStore, stores: SqliteStores
) -> None:
    store._file._connections[0].execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(stores.folder / f"{ACCOUNT}.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await store.append("log", rows("a"))
        assert (await store.read("log"))[0] == []
    await store.append("log", rows("b"))
    assert (await store.read("log"))[0] == rows("b")


async def test_a_folder_that_cannot_be_is_unavailable(tmp_path: Path) -> None:
    await trio.Path(tmp_path / "file").write_bytes(b"")
    stores = SqliteStores(tmp_path / "file")
    with pytest.raises(Unavailable) as caught:
        await stores.open(ACCOUNT, create=True)
    assert "folder of the accounts" in caught.value.hint
    with pytest.raises(NoSuchUser):
        await stores.open(ACCOUNT)
    assert await stores.list() == []


async def test_a_write_in_this_process_wakes_watchers_at_once(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PAUSE_MIN", 3600.0)
    _, cursor = await store.read("log")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.watch, "log", cursor)
        await wait_all_tasks_blocked()
        await store.append("log", rows("a"))


# --- open and closed


async def test_a_closed_store_opens_nothing(store: SqliteStore, stores: SqliteStores) -> None:
    _, cursor = await store.read("log")
    await store.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await store.read("log", cursor)
    with pytest.raises(trio.ClosedResourceError):
        await store.append("log", rows("a"))
    assert threads() == []


async def test_no_thread_outlives_its_store(stores: SqliteStores) -> None:
    assert threads() == []
    store, second = [await stores.open(ACCOUNT, create=True) for _ in range(2)]
    await store.append("log", rows("a"))
    assert threads() == ["sqlite writer"]
    await store.aclose()
    await store.aclose()
    assert threads() == ["sqlite writer"]
    with trio.CancelScope() as scope:  # not even if the closing is cancelled
        scope.cancel()
        await second.aclose()
    assert threads() == []


async def test_closing_finishes_what_was_asked_for(store: SqliteStore, stores: SqliteStores) -> None:
    block = await blocked(store)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.append, "log", rows("a"))
            await wait_all_tasks_blocked()
            scope.cancel()
    block.set()
    await store.aclose()
    store = await stores.open(ACCOUNT)
    assert (await store.read("log"))[0] == rows("a")
    await store.aclose()


async def test_only_so_many_files_are_open_at_once(
    stores: SqliteStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "OPEN_MAX", 3)
    opened = [await stores.open(f"{n:032x}", create=True) for n in range(10)]
    cursors = []
    for round_number in range(2):
        for n, store in enumerate(opened):
            await store.append("log", rows(f"{round_number}-{n}"))
            assert len(threads()) <= 3
    for n, store in enumerate(opened):
        there, cursor = await store.read("log")
        assert there == rows(f"0-{n}", f"1-{n}")
        cursors.append(cursor)
    async with trio.open_nursery() as nursery:  # who watches holds no file open
        for store, cursor in zip(opened, cursors, strict=True):
            nursery.start_soon(store.watch, "log", cursor)
        await wait_all_tasks_blocked()
        for store in opened:
            await store.append("log", rows("2"))
            assert len(threads()) <= 3
    for store in opened:
        await store.aclose()
    assert threads() == []


async def test_a_file_that_somebody_waits_for_is_not_closed_for_another(
    stores: SqliteStores, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He would hold it while he waits for room, and who makes room would wait for it."""
    monkeypatch.setattr(sqlite_file, "OPEN_MAX", 1)
    await (await stores.open("b" * 32, create=True)).aclose()
    _, cursor = await store.read("log")
    end = await blocked(store)
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store._file.close)
            await wait_all_tasks_blocked()
            nursery.start_soon(store.read, "log", cursor)
            await wait_all_tasks_blocked()
            nursery.start_soon(stores.open, "b" * 32)
            await wait_all_tasks_blocked()
            end.set()


async def test_a_file_that_cannot_be_opened_again_is_told_in_our_words(
    stores: SqliteStores, store: SqliteStore
) -> None:
    _, cursor = await store.read("log")
    await store._file.close()
    path = stores.folder / f"{ACCOUNT}.sqlite"
    path.write_bytes(b"no database" * 1000)
    for call in (store.read, store.watch):
        with pytest.raises(Damaged):
            await call("log", cursor)
    path.unlink()
    path.mkdir()
    for call in (store.read, store.watch):
        with pytest.raises(Unavailable):
            await call("log", cursor)


async def test_opening_and_closing_alone_do_not_look_like_writing(
    store: SqliteStore, stores: SqliteStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "TICK_NS", -(10**12))  # no stamp is too fresh
    await store.append("log", rows("a"))
    written = store._file.stamp()
    await store._file.close()
    closed = store._file.stamp()  # its log was folded into the file
    assert written != closed
    assert (await store.read("log"))[0] == rows("a")
    assert store._file.stamp() == closed
    await store._file.close()
    assert store._file.stamp() == closed
    await store.append("log", rows("b"))
    assert store._file.stamp() != closed


async def test_many_at_once_do_not_fight_over_files(
    stores: SqliteStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "OPEN_MAX", 2)
    opened = [await stores.open(f"{n:032x}", create=True) for n in range(6)]

    async def work(store: SqliteStore) -> None:
        _, cursor = await store.read("log")
        for n in range(5):
            await store.append("log", rows(str(n)))
            new, cursor = await store.read("log", cursor)
            assert new == rows(str(n))

    async with trio.open_nursery() as nursery:
        for store in opened:
            nursery.start_soon(work, store)
    for store in opened:
        await store.aclose()
    assert threads() == []


async def test_reading_what_was_read_runs_no_other_task_and_no_thread(store: SqliteStore) -> None:
    _, cursor = await store.read("log")
    with trio.CancelScope() as scope:
        scope.cancel()
        for _ in range(3):  # a checkpoint, or a hop to a thread, would be cancelled
            assert await store.read("log", cursor) == ([], cursor)
    assert not scope.cancelled_caught


# --- choosing the kind


def test_the_kind_is_chosen_by_the_name_of_the_place(tmp_path: Path) -> None:
    for where in (tmp_path, str(tmp_path), f"sqlite:{tmp_path}"):
        stores = open_stores(where)
        assert isinstance(stores, SqliteStores)
        assert stores.folder == tmp_path
    assert isinstance(open_stores("memory:"), MemoryStores)
    for where in ("sqlite:", "memory:x", "mysql:there", "s3://bucket"):
        with pytest.raises(BadConfiguration):
            open_stores(where)


async def test_the_disk_gets_back_what_was_deleted(store: SqliteStore, monkeypatch) -> None:
    monkeypatch.setattr(sqlite, "FREE_MIN", 8)
    names = [f"body/{n:016x}" for n in range(200)]
    for name in names:
        await store.put(name, bytes(20_000))

    async def pages() -> tuple[int, int]:
        return await store._file.read(
            lambda connection: (
                connection.execute("PRAGMA page_count").fetchone()[0],
                connection.execute("PRAGMA freelist_count").fetchone()[0],
            )
        )

    before, _ = await pages()
    await store.delete(names[10:])
    await store.append("log", rows("1"))  # after what is posted
    after, free = await pages()
    assert after < before // 8 and free <= max(8, after // 8)
    assert await store.get(names[3]) == bytes(20_000)
