"""The clock of the tests: it jumps over what is waited for, and waits for threads."""

import time
from pathlib import Path

import trio
from trio.testing import MockClock

from aerogramme.store.port import Row
from aerogramme.store.sqlite import SqliteStores

LONG = 0.05  # seconds for which a thread is at work


async def time_of_a_thread() -> float:
    with trio.move_on_after(1):
        await trio.to_thread.run_sync(time.sleep, LONG)
    return trio.current_time()


async def test_time_passes_where_all_wait(autojump_clock: MockClock) -> None:
    began = time.monotonic()
    await trio.sleep(24 * 3600)
    assert trio.current_time() >= 24 * 3600 and time.monotonic() - began < 3600


async def test_none_passes_while_a_thread_is_at_work(autojump_clock: MockClock) -> None:
    assert await time_of_a_thread() == 0


def test_it_does_where_the_clock_is_that_of_trio() -> None:
    assert trio.run(time_of_a_thread, clock=MockClock(autojump_threshold=0)) == 1


async def test_none_passes_while_rows_are_written(tmp_path: Path, autojump_clock: MockClock) -> None:
    stores = SqliteStores(tmp_path)
    store = await stores.open("a1" * 16, create=True)
    with trio.fail_after(1):
        for n in range(20):
            await store.append("p", [Row(f"{n}", b"value")])
    assert trio.current_time() == 0
    await store.aclose()
    await stores.aclose()
