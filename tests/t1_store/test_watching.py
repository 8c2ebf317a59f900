"""One asks for all who watch: when, how often, and who goes on."""

from collections.abc import Collection

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from aerogramme.errors import NoSuchUser, Unavailable
from aerogramme.store.port import LATE, always
from aerogramme.store.tail import Seen
from aerogramme.store.watching import EAGER_PAUSE, FIRST_PAUSE, LONGEST_PAUSE, Watchers


class Asked:
    """A store that is asked: `times` and `floors` of the questions, `keys` that it has."""

    def __init__(self, takes: float = 0.0) -> None:
        self.takes = takes
        self.keys: set[str] = set()
        self.times: list[float] = []
        self.floors: list[str] = []
        self.error: Unavailable | None = None

    async def __call__(self, floor: str) -> Collection[str]:
        self.times.append(trio.current_time())
        self.floors.append(floor)
        keys = sorted(self.keys)  # of now: what comes while the answer is under way is not in it
        await trio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        return keys

    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


def never() -> bool:
    return False


async def test_it_asks_less_and_less_often(autojump_clock: MockClock) -> None:
    store = Asked()
    with trio.move_on_after(200):
        await Watchers(store).watch(Seen(), never)
    assert store.pauses()[0] == FIRST_PAUSE
    assert store.pauses()[:8] == pytest.approx([min(FIRST_PAUSE * 2**n, LONGEST_PAUSE) for n in range(8)])
    assert max(store.pauses()) == pytest.approx(LONGEST_PAUSE)


async def test_it_asks_often_while_somebody_is_eager(autojump_clock: MockClock) -> None:
    store = Asked()
    begun = trio.current_time()
    with trio.move_on_after(400):
        await Watchers(store).watch(Seen(), lambda: trio.current_time() >= begun + 200)
    before = [time for time in store.times if time < begun + 200]
    after = [time for time in store.times if time >= begun + 200]
    assert after[0] <= begun + 200 + EAGER_PAUSE
    assert len(before) < 14
    assert len(after) == pytest.approx(200 / EAGER_PAUSE, abs=2)


async def test_one_eager_watcher_is_enough(autojump_clock: MockClock) -> None:
    store = Asked()
    watchers = Watchers(store)
    with trio.move_on_after(100):
        async with trio.open_nursery() as nursery:
            for eager in (never, always, never):
                nursery.start_soon(watchers.watch, Seen(), eager)
    assert max(store.pauses()) == pytest.approx(EAGER_PAUSE)


async def test_what_is_there_already_is_told_at_once(autojump_clock: MockClock) -> None:
    store = Asked()
    store.keys = {"a", "b"}
    await Watchers(store).watch(Seen("", frozenset("a")), never)
    assert len(store.times) == 1


async def test_all_who_watch_ask_together(autojump_clock: MockClock) -> None:
    store = Asked()
    watchers = Watchers(store)
    done = []

    async def watch(n: int) -> None:
        await watchers.watch(Seen("", frozenset("ab")), always)
        done.append(n)

    async with trio.open_nursery() as nursery:
        for n in range(50):
            nursery.start_soon(watch, n)
        await trio.sleep(60)
        asked = len(store.times)
        store.keys = {"a", "b", "c"}
    assert asked <= 60 / EAGER_PAUSE + 5
    assert sorted(done) == [*range(50)]


async def test_who_knows_all_goes_on_watching(autojump_clock: MockClock) -> None:
    store = Asked()
    watchers = Watchers(store)
    done = []

    async def watch(known: str) -> None:
        await watchers.watch(Seen("", frozenset(known)), always)
        done.append(known)

    async with trio.open_nursery() as nursery:
        for known in ("", "a", "ab"):
            nursery.start_soon(watch, known)
        await trio.sleep(10)
        store.keys = {"a"}
        await trio.sleep(10)
        assert done == [""]
        store.keys = {"a", "b"}
        await trio.sleep(10)
        assert done == ["", "a"]
        nursery.cancel_scope.cancel()


async def test_who_comes_while_a_question_is_under_way_gets_another(autojump_clock: MockClock) -> None:
    """Its answer is about a moment before."""
    store = Asked(takes=1.0)
    watchers = Watchers(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchers.watch, Seen("", frozenset("a")), never)
        await trio.sleep(0.5)
        store.keys = {"a"}
        begun = trio.current_time()
        await watchers.watch(Seen(), never)
        assert trio.current_time() - begun == pytest.approx(1.5)
        nursery.cancel_scope.cancel()


async def test_who_comes_while_it_rests_does_not_wait(autojump_clock: MockClock) -> None:
    store = Asked()
    watchers = Watchers(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchers.watch, Seen("", frozenset("a")), never)
        await trio.sleep(100)
        store.keys = {"a"}
        begun = trio.current_time()
        await watchers.watch(Seen(), never)
        assert trio.current_time() == begun
        nursery.cancel_scope.cancel()


async def test_the_lowest_floor_is_asked_for(autojump_clock: MockClock) -> None:
    store = Asked()
    watchers = Watchers(store)
    high = Seen().after([f"{5 * LATE:016x}-x"])
    low = Seen().after([f"{3 * LATE:016x}-x"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchers.watch, high, never)
        await wait_all_tasks_blocked()
        nursery.start_soon(watchers.watch, low, never)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert store.floors[0] == high.floor > low.floor == store.floors[1]


@pytest.mark.parametrize("asking", [True, False])
async def test_another_goes_on_when_the_one_who_asks_leaves(autojump_clock: MockClock, asking: bool) -> None:
    store = Asked(takes=1.0)
    watchers = Watchers(store)
    done = []

    async def watch(n: int, scope: trio.CancelScope) -> None:
        with scope:
            await watchers.watch(Seen(), never)
            done.append(n)

    scopes = [trio.CancelScope() for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for n, scope in enumerate(scopes):
            nursery.start_soon(watch, n, scope)
            await wait_all_tasks_blocked()
        await trio.sleep(0.5 if asking else 3.2)
        scopes[0].cancel()
        await trio.sleep(10)
        scopes[1].cancel()
        await trio.sleep(10)
        store.keys = {"a"}
    assert done == [2]
    assert max(store.pauses()) < 20


async def test_what_this_process_appends_is_told_without_a_question(autojump_clock: MockClock) -> None:
    store = Asked()
    watchers = Watchers(store)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(watchers.watch, Seen(), never)
        await trio.sleep(100)
        begun, asked = trio.current_time(), len(store.times)
        watchers.show(["a"])
    assert trio.current_time() == begun
    assert len(store.times) == asked


async def test_an_error_is_for_all(autojump_clock: MockClock) -> None:
    store = Asked()
    watchers = Watchers(store)
    errors = []

    async def watch() -> None:
        with pytest.raises(Unavailable) as raised:
            await watchers.watch(Seen(), never)
        errors.append(raised.value)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(watch)
        await trio.sleep(10)
        asked = len(store.times)
        store.error = Unavailable("away", hint="soon back")
    assert [(str(error), error.hint) for error in errors] == [("away", "soon back")] * 3
    assert len({id(error) for error in errors}) == 3
    assert len(store.times) == asked + 1
    store.error = None
    store.keys = {"a"}
    await watchers.watch(Seen(), never)


async def test_an_end_from_outside_is_for_all(autojump_clock: MockClock) -> None:
    watchers = Watchers(Asked())

    async def watch() -> None:
        with pytest.raises(NoSuchUser):
            await watchers.watch(Seen(), never)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(watch)
        await trio.sleep(100)
        begun = trio.current_time()
        watchers.fail(NoSuchUser())
    assert trio.current_time() == begun
