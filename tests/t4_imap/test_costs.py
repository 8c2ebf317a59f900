"""What commands cost on a store where each call is a request: calls that must wait for one another."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from aerogramme.mailbox.incoming.letterboxes import KEY_SECONDS, LetterBoxes
from aerogramme.store import MemoryStores
from tests.helpers.counting import CountingStores
from tests.helpers.imap_world import ACCOUNT, World, imap_world, letter
from tests.helpers.transcript import Client

ANSWER = 1.0  # seconds that each call takes


async def seconds(world: World, clock: MockClock, client: Client, command: bytes) -> float:
    """How long the client waits for its answer, which is OK."""
    assert trio.lowlevel.current_clock() is clock
    await wait_all_tasks_blocked()  # the follower has read what was written before
    world.stores.seconds, began = ANSWER, trio.current_time()
    ended: float | None = None

    async def ask() -> None:
        nonlocal ended
        answer = await client.command(command)
        assert answer[-1].startswith(b"x OK"), answer
        ended = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        while ended is None:
            clock.jump(ANSWER)
            await wait_all_tasks_blocked()
    world.stores.seconds = 0.0
    clock.jump(10 * ANSWER)  # what the background tasks have begun meanwhile
    await wait_all_tasks_blocked()
    assert ended is not None
    return ended - began


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with imap_world(CountingStores(MemoryStores(object_costs_request=True))) as world:
        yield world


@pytest.mark.parametrize(
    ("command", "calls"),
    [
        (b"NOOP", 0),
        (b"CHECK", 0),
        (b"FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE)", 0),
        (b"SEARCH UNSEEN SUBJECT message", 0),
        (b"CLOSE", 0),
        (b"UNSELECT", 0),
        (b'LIST "" *', 1),
        (b"SELECT INBOX", 1),  # log and letters are read at the same time
        (b"STATUS Archive (MESSAGES)", 1),
        (b"FETCH 1:* (BODY.PEEK[])", 1),
        (b"FETCH 1:* (BODY[])", 2),
        (b"STORE 1:* +FLAGS (\\Flagged)", 1),
        # What claims UIDs may look at the store once more before it is told of.
        (b"COPY 1:* Archive", 2),
        (b"MOVE 1:* Archive", 2),
        (b"UID EXPUNGE 1", 1),
        (b"APPEND INBOX {3+}\r\nx\r\n", 2),
        (b"CREATE new", 2),
    ],
)
async def test_a_command_waits_for_the_store_no_more_often_than_it_must(
    world: World, mock_clock: MockClock, command: bytes, calls: int
) -> None:
    await world.mail("INBOX", 20)
    client = await world.client()
    await client.command(b"SELECT INBOX")
    await client.command(b"STORE 1 +FLAGS (\\Deleted)" if b"EXPUNGE" in command else b"NOOP")
    assert await seconds(world, mock_clock, client, command) <= calls * ANSWER


async def test_envelopes_and_headers_are_read_side_by_side(world: World, mock_clock: MockClock) -> None:
    await world.mail("INBOX", 20)
    client = await world.client()
    await client.command(b"SELECT INBOX")
    async with world.account() as account:
        await account.fold(force=True)  # digests are in objects now, and none is kept
        await account.fold(force=True)
        segments = account.journal.segments
        segments._let_go([*segments._kept])
    command = b"FETCH 1:* (ENVELOPE BODY.PEEK[HEADER.FIELDS (SUBJECT)])"
    assert await seconds(world, mock_clock, client, command) == ANSWER


async def test_a_login_to_an_open_account(world: World, mock_clock: MockClock) -> None:
    await world.client()
    client = await world.client(login=False)
    assert await seconds(world, mock_clock, client, b"LOGIN alice secret") == ANSWER


async def test_a_letter_is_one_append(world: World, mock_clock: MockClock) -> None:
    stores = world.stores
    async with trio.open_nursery() as nursery:
        boxes = LetterBoxes(stores, nursery)

        async def deliver(n: int) -> list[str]:
            stores.calls.clear()
            stores.seconds = ANSWER
            async with trio.open_nursery() as delivering:
                delivering.start_soon(deliver_one, n)
                while delivering.child_tasks:
                    await wait_all_tasks_blocked()
                    mock_clock.jump(ANSWER)
            stores.seconds = 0.0
            return list(stores.calls)

        async def deliver_one(n: int) -> None:
            box = await boxes.open(ACCOUNT)
            one = box.letter("me@x.example", "alice@example.org", limit=1000)
            await one.write(letter(n))
            await one.send()

        assert await deliver(1) == ["read", "append"]
        assert await deliver(2) == ["append"]
        mock_clock.jump(KEY_SECONDS)
        assert await deliver(3) == ["read", "append"]
        await boxes.aclose()
    client = await world.client()
    assert b"* 3 EXISTS" in await client.command(b"SELECT INBOX")
