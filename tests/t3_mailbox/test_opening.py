"""What it costs to open an account where each call to the store is a request: how many calls and waits."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from aerogramme.log.checkpoint import INLINE_ROWS
from aerogramme.mailbox.accounts import Accounts
from aerogramme.store.memory import MemoryStores
from tests.helpers.counting import CountingStores
from tests.t3_mailbox.conftest import PASSWORD, World, put

ID = "00" * 16


def take(stores: CountingStores) -> list[str]:
    """What was called since the last time."""
    calls, stores.calls = sorted(stores.calls), []
    return calls


@pytest.fixture
async def far() -> AsyncIterator[World]:
    world = World()
    world.stores = CountingStores(MemoryStores(object_costs_request=True))
    yield world
    world.stores.seconds = 0
    assert await world.audit() == []


KEYS, CHECKPOINT, TAIL = ["read"], ["list", "get_many"], ["read"]


@pytest.mark.parametrize(
    ("mails", "later", "calls", "seconds"),
    [
        (0, 0, [*KEYS, *CHECKPOINT, *TAIL], 3),
        # The newest entry: nobody is known to have seen it.
        (3, 1, [*KEYS, *CHECKPOINT, *TAIL, "confirm"], 4),
        # A large mailbox is not in the manifest itself.
        (INLINE_ROWS + 1, 100, [*KEYS, *CHECKPOINT, "get_many", *TAIL, "confirm"], 5),
    ],
)
async def test_a_login_to_an_account_that_nobody_has_open(
    far: World,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    mails: int,
    later: int,
    calls: list[str],
    seconds: int,
) -> None:
    writer = await far.open()
    if mails:
        await put(writer, "INBOX", *[b"x"] * mails)
    await writer.fold(force=True)
    for _ in range(later):
        await put(writer, "INBOX", b"x")
    pool = Accounts(far.stores)
    await nursery.start(pool.run)
    take(far.stores)
    far.stores.seconds, began = 1.0, trio.current_time()
    login = await pool.login(ID, PASSWORD, None)
    assert (take(far.stores), trio.current_time() - began) == (sorted(calls), seconds)
    await trio.sleep(5)
    assert take(far.stores) == ["read"], "the drain looks once, and nobody reads anything twice"
    began = trio.current_time()
    view = await login.account.open_mailbox("INBOX")
    assert len(view) == mails + later
    assert (take(far.stores), trio.current_time() - began) == (["read", "read"], 1)
    nursery.cancel_scope.cancel()


async def test_what_others_write_is_read_once_and_told_after_a_look(
    far: World, autojump_clock: MockClock
) -> None:
    one, other = await far.open(), await far.open()
    await one.refresh()
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await wait_all_tasks_blocked()
        take(far.stores)
        far.stores.seconds = 1.0
        version = one.version
        nursery.start_soon(put, other, "INBOX", b"x")
        await one.wait_changed(version)
        assert len(one.find("INBOX")) == 1
        # Who appends looks once; who hears of it reads, confirms, and looks.
        assert take(far.stores) == ["append", "confirm", "read", "read", "read"]
        nursery.cancel_scope.cancel()
