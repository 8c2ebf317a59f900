"""One poll for all who watch a partition; keys that no read gives send nobody to read again and again."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from aerogramme.errors import NoSuchUser, Unavailable
from aerogramme.store.k2v import Item
from aerogramme.store.polling import FIRST_PAUSE, LONGEST_PAUSE, POLL_SECONDS, SOON_SECONDS, Poll
from aerogramme.store.tail import Seen

Answer = tuple[list[Item], str] | None


class Garage:
    """Answers polls as Garage does: at once without a marker, else when something comes or the time is up."""

    def __init__(self) -> None:
        self.items: list[Item] = []  # as they were written
        self.asked: list[tuple[str, str | None, int]] = []
        self.polling = 0
        self.fault: Exception | None = None
        self.checked: Exception | None = None
        self._news = trio.Event()

    def write(self, *keys: str, there: bool = True) -> None:
        self.items += [Item(key, "token", [b""] if there else []) for key in keys]
        self._news.set()
        self._news = trio.Event()

    def fail(self, fault: Exception) -> None:
        self.fault = fault
        self._news.set()
        self._news = trio.Event()

    def check(self) -> None:
        if self.checked is not None:
            raise self.checked

    async def ask(self, floor: str, marker: str | None, seconds: int) -> Answer:
        assert self.polling == 0
        self.asked.append((floor, marker, seconds))
        self.polling += 1
        try:
            await trio.lowlevel.checkpoint()
            seen = int(marker or 0)
            while self.fault is None:
                new = [item for item in self.items[seen:] if item.key > floor]
                if new or marker is None:
                    return new, str(len(self.items))
                with trio.move_on_after(seconds) as time:
                    await self._news.wait()
                if time.cancelled_caught:
                    return None
            raise self.fault
        finally:
            self.polling -= 1


@pytest.fixture
def garage() -> Garage:
    return Garage()


@pytest.fixture
def poll(garage: Garage) -> Poll:
    return Poll(garage.ask, garage.check)


async def test_all_who_watch_share_one_poll(garage: Garage, poll: Poll) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(poll.watch, Seen())
        await wait_all_tasks_blocked()
        garage.write("a")
    assert garage.asked == [("", None, POLL_SECONDS), ("", "0", POLL_SECONDS)]
    await poll.watch(Seen())  # it is known already
    assert len(garage.asked) == 2


async def test_what_came_between_the_read_and_the_poll_is_news(garage: Garage, poll: Poll) -> None:
    garage.write("a", "b")
    await poll.watch(Seen("", frozenset("a")))
    assert garage.asked == [("", None, POLL_SECONDS)]


async def test_rows_that_were_had_or_are_gone_are_no_news(garage: Garage, poll: Poll) -> None:
    garage.write("a", "b")
    garage.write("b", there=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll.watch, Seen("", frozenset("a")))
        await wait_all_tasks_blocked()
        garage.write("a", there=False)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        garage.write("b")
    assert poll.known() == {"b"}


async def test_a_poll_without_news_is_followed_by_another(
    garage: Garage, poll: Poll, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll.watch, Seen())
        await trio.sleep(3.5 * POLL_SECONDS)
        assert garage.asked == [("", None, POLL_SECONDS)] + 4 * [("", "0", POLL_SECONDS)]
        garage.write("a")


async def test_when_who_polls_leaves_another_goes_on(garage: Garage, poll: Poll) -> None:
    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()
        nursery.start_soon(watch_until, poll, first)
        await wait_all_tasks_blocked()
        nursery.start_soon(poll.watch, Seen())
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        assert garage.polling == 1
        garage.write("a")


async def watch_until(poll: Poll, scope: trio.CancelScope) -> None:
    with scope:
        await poll.watch(Seen())


async def test_a_fault_is_raised_to_all(garage: Garage, poll: Poll) -> None:
    async def watcher() -> None:
        with pytest.raises(Unavailable):
            await poll.watch(Seen())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(watcher)
        await wait_all_tasks_blocked()
        garage.fail(Unavailable())
    garage.fault = None
    garage.write("a")
    await poll.watch(Seen())


async def test_the_end_of_the_account_reaches_all(garage: Garage, poll: Poll) -> None:
    async def watcher() -> None:
        with pytest.raises(NoSuchUser):
            await poll.watch(Seen())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(watcher)
        await wait_all_tasks_blocked()
        garage.checked = NoSuchUser()
        poll.interrupt()


async def test_who_has_read_less_is_polled_for_too(garage: Garage, poll: Poll) -> None:
    """Their poll begins below those of the others, and so sees what they did not."""
    garage.write("b", "m")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll.watch, Seen("k", frozenset("m")))
        await wait_all_tasks_blocked()
        assert garage.asked == [("k", None, POLL_SECONDS), ("k", "2", SOON_SECONDS)]
        await poll.watch(Seen("a", frozenset("m")))
        assert garage.asked[2] == ("a", None, SOON_SECONDS)
        await wait_all_tasks_blocked()
        garage.write("n")
        await wait_all_tasks_blocked()
    assert poll.known() == {"b", "m", "n"}


async def test_who_has_no_news_keeps_nobody_waiting_who_has(garage: Garage, poll: Poll) -> None:
    garage.write("a")
    done: list[str] = []

    async def watcher(had: str) -> None:
        await poll.watch(Seen("", frozenset(had)))
        done.append(had)

    async with trio.open_nursery() as nursery:
        for had in ("ab", "ab", "a", "ab"):
            nursery.start_soon(watcher, had)
        await wait_all_tasks_blocked()
        garage.write("b")
        await wait_all_tasks_blocked()
        assert done == ["a"]
        garage.write("c")
    assert done == ["a", "ab", "ab", "ab"]


@pytest.fixture
def reader(garage: Garage, poll: Poll) -> Callable[[str], Seen]:
    """Reads, and is given no key but those said."""

    def read(given: str) -> Seen:
        known = poll.known()
        seen = Seen().after(list(given))
        poll.not_given(set(seen.new(known)))
        return seen

    return read


async def test_keys_in_doubt_are_read_again_after_pauses_that_grow(
    garage: Garage, poll: Poll, reader: Callable[[str], Seen], autojump_clock: MockClock
) -> None:
    garage.write("a", "b")
    await poll.watch(Seen())
    pauses = []
    for _ in range(8):
        seen, begun = reader("a"), trio.current_time()
        await poll.watch(seen)
        pauses.append(trio.current_time() - begun)
    assert pauses == [FIRST_PAUSE, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert len(garage.asked) == 9


async def test_keys_in_doubt_hide_no_news(
    garage: Garage, poll: Poll, reader: Callable[[str], Seen], autojump_clock: MockClock
) -> None:
    garage.write("a", "b")
    await poll.watch(Seen())
    seen = reader("a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll.watch, seen)
        await trio.sleep(FIRST_PAUSE / 2)
        garage.write("c")
    assert trio.current_time() - FIRST_PAUSE / 2 < FIRST_PAUSE / 2
    seen = reader("ac")
    async with trio.open_nursery() as nursery:  # written again, "b" is no longer in doubt
        nursery.start_soon(poll.watch, seen)
        await trio.sleep(0.1)
        garage.write("b")
    await poll.watch(seen)
    assert trio.current_time() < FIRST_PAUSE


async def test_a_key_in_doubt_that_is_gone_is_waited_for_no_longer(
    garage: Garage, poll: Poll, reader: Callable[[str], Seen], autojump_clock: MockClock
) -> None:
    garage.write("a", "b")
    await poll.watch(Seen())
    garage.write("b", there=False)
    seen = reader("a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll.watch, seen)
        await trio.sleep(10 * POLL_SECONDS)
        assert len(nursery.child_tasks) == 1
        garage.write("c")


async def test_what_garage_has_not_told_of_is_found_soon(
    garage: Garage, poll: Poll, mock_clock: MockClock
) -> None:
    """An item is told of before it is committed, and a poll that begins in between misses it."""
    garage.write("a")
    await poll.watch(Seen())
    seen = Seen().after(["a"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll.watch, seen)
        await wait_all_tasks_blocked()
        garage.items.append(Item("b", "token", [b""]))  # nobody is told
        mock_clock.jump(SOON_SECONDS)
    assert garage.asked[1:] == [("", "1", SOON_SECONDS), ("", "1", POLL_SECONDS)]
