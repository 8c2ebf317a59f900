"""How full an account is, as far as is known without its keys: what is noted and what is delivered count
once, whoever writes it down when, and whoever dies meanwhile."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from aerogramme.errors import NoSuchUser
from aerogramme.mailbox.incoming import tally
from aerogramme.mailbox.incoming.rooms import FRESH, FRESH_IF_FULL, MANY, PATIENCE, Rooms
from aerogramme.mailbox.incoming.tally import DELIVERED, NOTED, PARTITION, SLACK, Tally
from aerogramme.mailbox.usage import Usage
from aerogramme.seal.strict import pack
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row, Store
from tests.helpers.clocks import jumping_clock

ACCOUNT = "ab" * 16
MB = 1024 * 1024
QUOTA = 1000


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = await MemoryStores(serial=True).open(ACCOUNT, create=True)
    yield store
    await store.aclose()


def row(clock: int, writer: int, *values: int) -> Row:
    return Row(f"{clock:016x}-{writer:016x}", pack([1, *values]))


def test_what_was_noted_last_and_what_was_delivered_since():
    rows = [
        row(1, 7, NOTED, 100, 2, 50),
        row(2, 9, DELIVERED, 30, 1, 50 + SLACK),  # drained before the note, or at that very moment
        row(3, 8, DELIVERED, 5, 1, 60 + SLACK),
        row(4, 8, DELIVERED, 7, 2, 70 + SLACK),  # takes the place of the one before
    ]
    assert Tally.of(rows).total() == Usage(107, 4)
    assert Tally.of(rows).total(without=8) == Usage(100, 2)
    assert Tally.of(rows).total(until=65 + SLACK) == Usage(100, 2)
    assert Tally.of([*rows, row(5, 7, NOTED, 150, 5, 70)]).total() == Usage(150, 5)
    assert Tally.of([]).total() == Usage()


@pytest.mark.parametrize(
    "wrong",
    [
        Row("x", b""),
        Row("f" * 16 + "-" + "0" * 16, pack([1, NOTED, 5, 1, 1])),
        row(9, 1, NOTED, -5, 1, 1),
        row(9, 1, 2, 5, 1, 1),
        row(9, 1, NOTED, 5, 1),
        Row(f"{9:016x}-{1:016x}", pack([2, NOTED, 5, 1, 1])),
        Row(f"{9:016x}-{1:016x}", pack([1, NOTED, 5, 1, 1]) + b"\0"),
    ],
)
async def test_what_cannot_be_read_is_nothing_and_goes_with_the_next_note(store, wrong: Row):
    await store.append(PARTITION, [row(1, 7, NOTED, 100, 2, 50), wrong])
    assert (await tally.read(store)).total() == Usage(100, 2)
    assert await tally.note(store, Usage(5 * MB, 3), 60, None)
    [left], _ = await store.read(PARTITION)
    assert Tally.of([left]).total() == Usage(5 * MB, 3)


async def test_a_note_is_written_when_it_makes_a_difference(store):
    assert await tally.note(store, Usage(), 1, None), "the first one always"
    assert not await tally.note(store, Usage(MB - 1, 9), 2, None)
    assert await tally.note(store, Usage(MB, 10), 3, None)
    assert await tally.note(store, Usage(200 * MB, 10), 4, None)
    assert not await tally.note(store, Usage(203 * MB, 10), 5, None)
    # The nearer to the quota, the smaller the difference.
    assert not await tally.note(store, Usage(203 * MB, 10), 6, 600 * MB)
    assert await tally.note(store, Usage(203 * MB, 10), 7, 204 * MB)
    assert await tally.note(store, Usage(204 * MB - 1, 10), 8, 204 * MB)
    assert await tally.note(store, Usage(204 * MB, 10), 9, 204 * MB)
    assert await tally.note(store, Usage(204 * MB - 1, 10), 10, 204 * MB)
    assert len((await store.read(PARTITION))[0]) == 1


async def test_a_note_leaves_what_was_delivered_after_it(store):
    await tally.deliver(store, 8, Usage(10, 1), 100)
    await tally.deliver(store, 9, Usage(20, 1), 200 + SLACK)
    assert await tally.note(store, Usage(500, 5), 150, QUOTA)
    assert (await tally.read(store)).total() == Usage(520, 6)
    assert not await tally.note(store, Usage(500, 5), 150, QUOTA), "what is not drained yet is no difference"
    assert not await tally.note(store, Usage(520, 6), 200, QUOTA), "nor is what was delivered and is drained"


async def test_many_rows_of_servers_that_are_gone_are_noted_away(store):
    await tally.note(store, Usage(MB, 1), 1, None)
    for writer in range(1, tally.MANY + 1):
        await tally.deliver(store, writer, Usage(1, 1), 10 + SLACK)
    assert await tally.note(store, Usage(MB + 32, 33), 11, None)
    assert len((await store.read(PARTITION))[0]) == 1


async def test_commands_add_to_what_commands_have_delivered(store):
    for _ in range(3):
        await tally.add(store, 10)
    assert (await tally.read(store)).total() == Usage(30, 3)
    assert len((await store.read(PARTITION))[0]) == 1


async def test_a_clock_that_runs_behind_writes_later_rows_all_the_same(store):
    await store.append(PARTITION, [row(1 << 61, 7, NOTED, 100, 2, 1)])
    assert await tally.note(store, Usage(900, 3), 2, QUOTA)
    assert (await tally.read(store)).total() == Usage(900, 3)


@given(st.lists(st.tuples(st.text("0123456789abcdef-", max_size=40), st.binary(max_size=12))))
def test_whatever_stands_there_can_be_read(rows):
    assert Tally.of([Row(*each) for each in rows]).total() == Usage()


@pytest.mark.parametrize("steps", range(4))
async def test_a_crash_while_noting_leaves_what_was_there_or_what_is(steps):
    stores = MemoryStores(serial=True)
    await (await stores.open(ACCOUNT, create=True)).aclose()
    store = await stores.another(CrashAt(6, steps=steps)).open(ACCOUNT)
    await tally.note(store, Usage(100, 1), 1, QUOTA)
    await tally.deliver(store, 8, Usage(10, 1), 10 * SLACK)
    with pytest.raises(Crash):
        await tally.note(store, Usage(205, 2), 20 * SLACK, QUOTA)
    survivor = await stores.open(ACCOUNT)
    assert (await tally.read(survivor)).total() == (Usage(205, 2) if steps else Usage(110, 2))
    await tally.note(survivor, Usage(900, 5), 30 * SLACK, QUOTA)
    [left], _ = await survivor.read(PARTITION)
    assert Tally.of([left]).total() == Usage(900, 5)


# --- the server's side


@dataclass
class Server:
    """A server without keys."""

    store: Store
    away: bool = False
    opened: int = 0
    rooms: Rooms = field(init=False)

    def __post_init__(self) -> None:
        self.rooms = Rooms(self.open)

    async def open(self, account_id: str) -> Store:
        assert account_id == ACCOUNT
        self.opened += 1
        if self.away:
            await trio.sleep_forever()
        return self.store

    async def left(self, wanted: int = 1) -> int:
        return await self.rooms.left(ACCOUNT, QUOTA, wanted)


async def test_the_store_is_asked_once_a_minute_or_when_it_would_be_full(store, autojump_clock: MockClock):
    server = Server(store)
    await tally.note(store, Usage(100, 1), 1, QUOTA)
    assert await server.left() == await server.left() == QUOTA - 100
    assert server.opened == 1
    await tally.note(store, Usage(QUOTA, 1), 2, QUOTA)
    assert await server.left() == QUOTA - 100
    await trio.sleep(FRESH)
    assert await server.left() == 0
    assert server.opened == 2
    await tally.note(store, Usage(0, 0), 3, QUOTA)
    assert await server.left() == 0
    await trio.sleep(FRESH_IF_FULL)
    assert await server.left() == QUOTA
    assert server.opened == 3


async def test_a_store_that_does_not_answer_is_not_waited_for_long(store, autojump_clock: MockClock):
    server = Server(store)
    await tally.note(store, Usage(100, 1), 1, QUOTA)
    assert await server.left() == QUOTA - 100
    server.away = True
    await trio.sleep(FRESH)
    before = trio.current_time()
    for _ in range(5):
        assert await server.left() == QUOTA - 100, "what was known last"
    assert trio.current_time() - before == PATIENCE
    server.rooms.delivered(ACCOUNT, 10, 5.0)
    await server.rooms.aclose()
    server.away = False
    await server.rooms.write()
    assert (await tally.read(store)).total() == Usage(110, 2)


async def test_an_account_that_is_gone_is_forgotten(store):
    async def gone(_: str) -> Store:
        raise NoSuchUser

    rooms = Rooms(gone)
    assert await rooms.left(ACCOUNT, QUOTA, 1) == QUOTA
    rooms.delivered(ACCOUNT, 10, 5.0)
    await rooms.write()
    assert await rooms.left(ACCOUNT, QUOTA, 1) == QUOTA


async def test_many_deliveries_are_remembered_together(store):
    server = Server(store)
    for seconds in range(1, 5 * MANY):
        server.rooms.delivered(ACCOUNT, 1, seconds)
    assert await server.left() == QUOTA - 5 * MANY + 1
    await server.rooms.write()
    assert (await tally.read(store)).total() == Usage(5 * MANY - 1, 5 * MANY - 1)


events = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.integers(0, 2), st.integers(1, 200)),
        st.tuples(st.just("write"), st.integers(0, 2)),
        st.tuples(st.just("restart"), st.integers(0, 2)),
        st.tuples(st.just("command"), st.integers(1, 200)),
        st.tuples(st.just("drain")),
        st.tuples(st.just("note")),
        st.tuples(st.just("expunge"), st.integers(0, 300)),
    ),
    max_size=30,
)


@given(events)
@settings(max_examples=200, deadline=None)
def test_whatever_happens_in_whatever_order_all_is_counted_once(story):
    """One event after another, so nothing is in flight: nothing is ever left out, and once all is drained,
    all is known exactly."""

    async def play() -> None:
        store = await MemoryStores(serial=True).open(ACCOUNT, create=True)
        servers = [Server(store) for _ in range(3)]
        used = Usage()  # by what is drained
        waiting: list[tuple[int, int]] = []  # octets, millisecond
        until = 0
        for at, (event, *arguments) in enumerate(story, 1):
            ms = at * 2 * SLACK
            match event, arguments:
                case "deliver", [who, octets]:
                    servers[who].rooms.delivered(ACCOUNT, octets, ms / 1000)
                    waiting.append((octets, ms))
                case "write", [who]:
                    await servers[who].rooms.write()
                case "restart", [who]:
                    await servers[who].rooms.aclose()
                    servers[who] = Server(store)
                case "command", [octets]:
                    [before] = [(await tally.read(store)).by(tally.COMMANDS)]
                    sofar = Usage() if before is None else before.usage
                    together = Usage(sofar.octets + octets, sofar.messages + 1)
                    await tally.deliver(store, tally.COMMANDS, together, ms)
                    waiting.append((octets, ms))
                case "drain", []:
                    until = ms
                    octets = used.octets + sum(each for each, _ in waiting)
                    used = Usage(octets, used.messages + len(waiting))
                    waiting.clear()
                case "expunge", [octets]:
                    gone = min(octets, used.octets)
                    used = Usage(used.octets - gone, used.messages)
                case "note", [] if until:
                    await tally.note(store, used, until, None)
        for server in servers:
            await server.rooms.write()
        truth = used.octets + sum(octets for octets, _ in waiting)
        assert (await tally.read(store)).total().octets >= truth
        await tally.note(store, Usage(truth, 0), (len(story) + 1) * 2 * SLACK, truth)
        for server in [*servers, Server(store)]:
            await trio.sleep(FRESH)
            assert await server.left() == QUOTA - truth
        await store.aclose()

    trio.run(play, clock=jumping_clock())
