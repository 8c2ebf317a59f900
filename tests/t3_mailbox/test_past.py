"""An account as it stood: everything that works on accounts works on it, and nothing is changed by that."""

import time

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from aerogramme.errors import Forgotten
from aerogramme.log.clock import ms_of
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.history.past import open_past, past_of
from tests.t3_mailbox.conftest import World, put
from tests.t3_mailbox.test_letters import send

LETTER = b"From: a@example.org\r\nSubject: one\r\n\r\ntext\r\n"


def moment(account: Account) -> float:
    """Of its last entry, in unix seconds."""
    return ms_of(account.state.clock) / 1000


def later(account: Account) -> None:
    """What comes is of another millisecond."""
    while int(time.time() * 1000) <= ms_of(account.state.clock):
        pass


async def test_the_account_as_it_stood(world: World) -> None:
    account = await world.open()
    await put(account, "INBOX", LETTER, LETTER.replace(b"one", b"two"), flags=["\\Seen"])
    await account.create_mailbox("Work")
    await account.fold(force=True)
    then = moment(account)
    later(account)
    inbox = account.find("INBOX")
    await account.store_flags(inbox, [1], "+", ["\\Deleted", "work"])
    await account.expunge(inbox)
    await account.delete_mailbox("Work")
    await put(account, "INBOX", LETTER)
    await account.fold(force=True)

    past = await past_of(account, then)
    table = past.find("INBOX")
    assert list(table.uids) == [1, 2] and {past.flags_of(n) for n in table.flags} == {("\\Seen",)}
    assert await past.digests(table.contents, ["subject"]) == [[b"one", b"two"]]
    assert await past.body(table.contents[0]) == LETTER
    assert "Work" in past.subscriptions() and past.find("Work") is not None
    view = await past.open_mailbox("INBOX", read_only=True)
    assert len(view.uids) == 2
    await past.aclose()
    assert list(account.find("INBOX").uids) == [2, 3]  # which goes on
    await account.refresh()


async def test_while_it_runs_nothing_comes_in_and_nothing_is_written(world: World) -> None:
    account = await world.open()
    await put(account, "INBOX", LETTER)
    store = await world.stores.open(account.id)
    past = await open_past(store, account.id, world.unlocked[account.id], moment(account))
    world.opened.append(past)
    async with trio.open_nursery() as nursery:
        await nursery.start(past.run)
        await send(world.stores, LETTER)
        await put(account, "INBOX", LETTER)
        await wait_all_tasks_blocked()
        assert len((await past.fresh("INBOX")).uids) == 1
        before = await account.store.list("")
        await put(past, "INBOX", LETTER)  # who writes to it is served, and keeps nothing
        assert len(past.find("INBOX")) == 2
        nursery.cancel_scope.cancel()
    assert await account.store.list("") == before
    await account.drain.all_waiting()
    assert len(account.find("INBOX")) == 3


async def test_before_there_was_an_account(world: World) -> None:
    account = await world.open()
    with pytest.raises(Forgotten):
        await past_of(account, 1_000_000_000)
    await account.refresh()  # its store is still open
    past = await past_of(account, time.time() + 3600)  # what is to come is not known yet
    assert past.state.vector == account.state.vector
