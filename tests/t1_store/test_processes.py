"""SQLite files and other processes: killed in the middle of writing, or writing beside this one."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from aerogramme.errors import NoSuchUser
from aerogramme.store import SqliteStores, sqlite_file

ACCOUNT = "a" * 32
PROGRAM = Path(__file__).with_name("writer.py")
ROOT = PROGRAM.parents[2]


@contextmanager
def writer(folder: Path, *args: str) -> Iterator["subprocess.Popen[str]"]:
    """writer.py, running."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def body_of(name: str, size: int) -> bytes:
    return (name.encode() * (size // len(name) + 1))[:size]


def killed(folder: Path, kind: str, prefix: str, after: int) -> list[str]:
    """Run a writer and kill it (SIGKILL) while it writes on after so many answers; what it called durable."""
    with writer(folder, kind, prefix) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(after)]
        process.kill()
        said += process.stdout.readlines()
    return [line.strip() for line in said if line.endswith("\n")]


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    durable: list[str] = []
    for round_number, after in enumerate([1, 40, 7]):
        durable += killed(tmp_path, "append", f"{round_number}-", after)
        stores = SqliteStores(tmp_path)
        store = await stores.open(ACCOUNT)
        rows, _ = await store.read("log")
        there = [row.key for row in rows]
        # All that was acknowledged, and of each round at most the one that was not any more.
        assert set(durable) <= set(there)
        assert len(there) - len(durable) <= round_number + 1
        assert await store.list("") == there
        for row, body in zip(rows, await store.get_many(there), strict=True):
            assert row.value == body_of(row.key, 400)
            assert body == body_of(row.key, 70_000)
        await stores.aclose()


async def test_a_long_object_is_whole_or_not_there_after_kill_9(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable = killed(tmp_path, "stream", "s", 3)
    stores = SqliteStores(tmp_path)
    store = await stores.open(ACCOUNT)
    there = await store.list("")
    assert set(durable) <= set(there)
    assert len(there) - len(durable) <= 1
    for name in there:
        assert await store.get(name) == body_of(name, 5_000_000)
    await stores.aclose()

    # What was left of the one in work goes when the file is opened after a day: here at once.
    monkeypatch.setattr(sqlite_file, "LEFT_SECONDS", -60)
    store = await stores.open(ACCOUNT)
    await store.append("log", [])  # the cleaning was asked for before this
    numbers = "SELECT count(*), count(name), (SELECT count(*) FROM chunks) FROM objects"
    file = store._file
    assert await file.read(lambda c: c.execute(numbers).fetchone()) == (
        len(there),
        len(there),
        77 * len(there),
    )
    await stores.aclose()


async def test_another_process_wakes_a_watcher(tmp_path: Path) -> None:
    stores = SqliteStores(tmp_path)
    store = await stores.open(ACCOUNT, create=True)
    with writer(tmp_path, "say") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert await trio.to_thread.run_sync(process.stdout.readline) == "ready\n"
        _, cursor = await store.read("log")
        for word in ("c", "a", "b"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.watch, "log", cursor)
                await trio.testing.wait_all_tasks_blocked()
                process.stdin.write(word + "\n")
                process.stdin.flush()
            rows, cursor = await store.read("log", cursor)
            assert [row.key for row in rows] == [word]
    await stores.aclose()


async def test_processes_that_write_at_once_serialize(tmp_path: Path) -> None:
    stores = SqliteStores(tmp_path)
    store = await stores.open(ACCOUNT, create=True)
    with writer(tmp_path, "count", "x", "150") as one, writer(tmp_path, "count", "y", "150") as two:
        assert await trio.to_thread.run_sync(one.wait) == 0
        assert await trio.to_thread.run_sync(two.wait) == 0
    rows, _ = await store.read("log")
    assert sorted(int(row.value) for row in rows) == [*range(300)]
    await stores.aclose()


async def test_another_process_erases_the_account(tmp_path: Path) -> None:
    stores = SqliteStores(tmp_path)
    store = await stores.open(ACCOUNT, create=True)
    await store.put("o", b"body")
    _, cursor = await store.read("log")
    with writer(tmp_path, "erase") as process:
        with pytest.raises(NoSuchUser):
            await store.watch("log", cursor)
        assert await trio.to_thread.run_sync(process.wait) == 0
    with pytest.raises(NoSuchUser):
        await store.put("p", b"late")
    with pytest.raises(NoSuchUser):
        await store.get("o")
    await store.aclose()
    assert list(await trio.Path(tmp_path).iterdir()) == []
    await stores.aclose()
