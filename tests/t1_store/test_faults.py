"""The faults of the store in memory: each of them happens, each from its seed, and they end."""

from collections.abc import Sequence
from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from aerogramme.errors import Behind, Unavailable
from aerogramme.store import Crash, CrashAt, Faults, MemoryStores, Row
from aerogramme.store.port import LATE
from tests.helpers.clocks import jumping_clock

ACCOUNT = "a" * 32
NONE = {"latency": 0.0, "refused": 0.0, "lost": 0.0, "limbo": 0.0, "torn": 0.0, "again": 0.0}


def rows(*keys: str) -> list[Row]:
    return [Row(key, key.encode()) for key in keys]


async def keys_of(stores: MemoryStores, partition: str = "log") -> list[str]:
    store = await stores.another().open(ACCOUNT)  # a process without faults
    return [row.key for row in (await store.read(partition))[0]]


def schedule(seed: int) -> list[object]:
    """What three writers and a reader see, with all faults on."""
    seen: list[object] = []

    async def main() -> None:
        stores = MemoryStores(Faults(Random(seed)))

        async def writer(name: str) -> None:
            store = await stores.open(ACCOUNT, create=True)
            for n in range(20):
                try:
                    await store.append("log", rows(f"{name}{n:02}"), objects=[(f"{name}{n}", b"x")])
                except Unavailable:
                    seen.append(("unavailable", name, n, trio.current_time()))

        async def reader() -> None:
            store = await stores.open(ACCOUNT, create=True)
            cursor = None
            for _ in range(40):
                try:
                    new, cursor = await store.read("log", cursor)
                except Unavailable:
                    continue
                seen.append([row.key for row in new])

        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(writer, name)
            nursery.start_soon(reader)
        assert stores.faults is not None
        seen.append(await keys_of(stores))

    trio._core._run._r.seed(seed)
    trio.run(main, clock=jumping_clock())
    return seen


def test_a_seed_gives_the_same_schedule_and_another_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    # Trio shuffles its tasks from a random generator of its own; under hypothesis both are set
    # (`random_module`).
    monkeypatch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)
    assert schedule(1) == schedule(1)
    assert schedule(1) != schedule(2)


@pytest.mark.parametrize(("fault", "happens"), [("refused", []), ("lost", ["a", "b"])])
async def test_a_failed_write_has_happened_or_not(fault: str, happens: list[str]) -> None:
    stores = MemoryStores(Faults(Random(0), **{**NONE, fault: 1.0}))
    store = await stores.open(ACCOUNT, create=True)
    with pytest.raises(Unavailable):
        await store.append("log", rows("a", "b"))
    assert await keys_of(stores) == happens


async def test_what_is_in_limbo_comes_late_and_healing_brings_it() -> None:
    faults = Faults(Random(0), **{**NONE, "limbo": 1.0})
    stores = MemoryStores(faults)
    store = await stores.open(ACCOUNT, create=True)
    healthy = await stores.another().open(ACCOUNT)
    for n in range(8):
        with pytest.raises(Unavailable):
            await store.append("log", rows(f"a{n}", f"b{n}"))
    _, cursor = await healthy.read("log")
    there = await keys_of(stores)
    assert 0 < len(there) < 16
    faults.reliable = True
    late = {row.key for row in (await healthy.read("log", cursor))[0]}
    assert late == {f"{name}{n}" for name in "ab" for n in range(8)} - set(there)
    await store.append("log", rows("c"))


async def test_a_torn_row_is_shown_by_chance_until_it_is_confirmed_or_comes() -> None:
    faults = Faults(Random(0), **{**NONE, "torn": 1.0})
    stores = MemoryStores(faults)
    store = await stores.open(ACCOUNT, create=True)
    healthy = await stores.another(Faults(Random(1), **NONE)).open(ACCOUNT)
    _, start = await healthy.read("log")
    for key in "ab":
        with pytest.raises(Unavailable):
            await store.append("log", rows(key), objects=[(key, b"x")], delete=[("log", "none")])
    assert await healthy.get("a") == b"x", "objects come before rows"
    for cursor in (None, start):
        reads = [(await healthy.read("log", cursor))[0] for _ in range(40)]
        assert {tuple(row.key for row in read) for read in reads} == {(), ("a",), ("b",), ("a", "b")}
    await healthy.confirm("log", rows("a"))
    for _ in range(20):
        assert rows("a")[0] in (await healthy.read("log", start))[0]
    faults.reliable = True
    assert (await healthy.read("log", start))[0] == rows("a", "b")
    assert await keys_of(stores) == ["a", "b"]


async def test_a_row_that_comes_too_late_is_not_found_with_a_cursor() -> None:
    """A store that lists keys looks no further back than LATE."""
    stores = MemoryStores()
    store = await stores.open(ACCOUNT, create=True)
    clocks = [LATE, 3 * LATE, 2 * LATE, 2 * LATE - 1]
    newest, next_to, latest, too_late = (rows(f"{clock:016x}-x") for clock in clocks)
    await store.append("log", newest)
    _, cursor = await store.read("log")
    await store.append("log", next_to)
    _, cursor = await store.read("log", cursor)
    await store.append("log", too_late)
    await store.append("log", latest)
    assert (await store.read("log", cursor))[0] == latest


async def test_a_late_write_to_a_serialized_store_does_not_happen_behind() -> None:
    faults = Faults(Random(3), **{**NONE, "limbo": 1.0})
    stores = MemoryStores(faults, serial=True)
    store = await stores.open(ACCOUNT, create=True)
    healthy = await stores.another().open(ACCOUNT)
    _, cursor = await healthy.read("log")
    for n in range(6):
        with pytest.raises((Unavailable, Behind)):
            await store.append("log", rows(f"a{n}"), read=cursor)
    before = await keys_of(stores)
    assert len(before) <= 1
    await healthy.append("log", rows("b"))
    faults.reliable = True
    assert await keys_of(stores) == [*before, "b"]


async def test_a_read_may_give_rows_again() -> None:
    stores = MemoryStores(Faults(Random(0), **{**NONE, "again": 1.0}))
    store = await stores.open(ACCOUNT, create=True)
    await store.append("log", rows("a"))
    _, cursor = await store.read("log")
    assert (await store.read("log", cursor))[0] == rows("a")


async def test_a_cut_network_reaches_nothing_until_it_is_healed() -> None:
    faults = Faults(Random(0), **NONE)
    stores = MemoryStores(faults)
    store = await stores.open(ACCOUNT, create=True)
    other = await stores.another().open(ACCOUNT)
    _, cursor = await store.read("log")

    async def watcher() -> None:
        with pytest.raises(Unavailable):
            await store.watch("log", cursor)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher)
        await wait_all_tasks_blocked(0.001)
        faults.reachable = False
        await other.append("log", rows("a"))
    with pytest.raises(Unavailable):
        await store.read("log")
    with pytest.raises(Unavailable):
        await store.append("log", rows("b"))
    faults.reliable = True
    assert (await store.read("log", cursor))[0] == rows("a")


async def fill(stores: MemoryStores) -> None:
    """Four calls."""
    store = await stores.open(ACCOUNT, create=True)
    await store.append("log", rows("a"))
    await store.append("log", rows("b"), objects=[("o", b"")], delete=[("log", "a")])
    await store.read("log")
    await store.delete(["o"])


@pytest.mark.parametrize(
    ("n", "steps", "left"),
    [
        (1, 0, []),
        (1, 1, ["a"]),
        (2, 0, ["a"]),
        (2, 1, ["a"]),
        (2, 2, ["a", "b"]),
        (2, 3, ["b"]),
        (3, 0, ["b"]),
        (4, 0, ["b"]),
    ],
)
async def test_a_crash_at_the_nth_call(n: int, steps: int, left: Sequence[str]) -> None:
    crash = CrashAt(n, steps=steps)
    stores = MemoryStores(crash)
    with pytest.raises(Crash):
        await fill(stores)
    assert await keys_of(stores) == left
    assert crash.calls == n
    with pytest.raises(Crash):  # a dead process does nothing more
        await (await stores.open(ACCOUNT)).append("log", rows("z"))
    assert await keys_of(stores) == left


async def test_a_run_without_a_crash_counts_its_calls() -> None:
    crash = CrashAt(0)
    await fill(MemoryStores(crash))
    assert crash.calls == 4


async def test_an_error_at_the_nth_call_alone() -> None:
    stores = MemoryStores(CrashAt(2, steps=2, error=Unavailable()))
    store = await stores.open(ACCOUNT, create=True)
    await store.append("log", rows("a"))
    with pytest.raises(Unavailable):
        await store.append("log", rows("b", "c", "d"))
    await store.append("log", rows("e"))
    assert await keys_of(stores) == ["a", "b", "c", "e"]
