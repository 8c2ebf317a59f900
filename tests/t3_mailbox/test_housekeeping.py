"""What a running server does by itself: sessions of deleted accounts end, an hourly purge erases what is due,
and how full accounts are is noted."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from aerogramme.errors import AuthenticationFailed, BadConfiguration, Unavailable
from aerogramme.housekeeping import NOTE, NOTICE, PURGE, end_deleted, note_usage, purge_deleted
from aerogramme.mailbox.accounts import LINGER, Accounts
from aerogramme.mailbox.incoming import tally
from aerogramme.mailbox.policy import DAY, Policy
from aerogramme.mailbox.usage import Usage
from aerogramme.users.deletion import Retention, delete, undelete
from aerogramme.users.directory import User
from aerogramme.users.static import StaticDirectory
from tests.helpers.imap_world import quiet_faults
from tests.t3_mailbox.conftest import PASSWORD, World, put

ALICE, BOB = User("alice@example.org", "00" * 16), User("bob@example.org", "11" * 16)
NOW = 1764072000
HOURS = Retention(1.5 * PURGE)


@pytest.fixture
def directory(tmp_path: Path) -> StaticDirectory:
    directory = StaticDirectory(tmp_path / "users.toml")
    directory.add(ALICE)
    directory.add(BOB)
    return directory


async def test_the_sessions_of_a_deleted_account_end_and_no_others(
    world: World, nursery, directory, autojump_clock
) -> None:
    for user in (ALICE, BOB):
        await world.create(user.account)
    accounts = Accounts(world.stores)
    await nursery.start(accounts.run)
    lost: list[str] = []
    for user in (ALICE, ALICE, BOB):
        login = await accounts.login(user.account, PASSWORD, None)
        login.when_lost = lambda user=user: lost.append(user.address)
    nursery.start_soon(end_deleted, directory, accounts)
    await trio.sleep(3 * NOTICE)
    assert lost == []
    delete(directory, ALICE.address, NOW)
    await trio.sleep(NOTICE + 1)
    assert lost == [ALICE.address] * 2
    assert accounts.opened() == {BOB.account}
    undelete(directory, ALICE.address)
    again = await accounts.login(ALICE.account, PASSWORD, None)
    await trio.sleep(3 * NOTICE)
    assert accounts.opened() == {ALICE.account, BOB.account}
    again.release()
    nursery.cancel_scope.cancel()


async def test_so_do_those_of_an_account_whose_line_has_gone(
    world: World, nursery, directory, autojump_clock
) -> None:
    """Erased at once, with its line, between two looks; or taken out by hand."""
    await world.create(ALICE.account)
    accounts = Accounts(world.stores)
    await nursery.start(accounts.run)
    await accounts.login(ALICE.account, PASSWORD, None)
    nursery.start_soon(end_deleted, directory, accounts)
    directory.remove(ALICE)
    await trio.sleep(NOTICE + 1)
    assert accounts.opened() == set()
    nursery.cancel_scope.cancel()


async def test_a_purge_at_the_start_and_every_hour(world: World, nursery, directory, autojump_clock) -> None:
    began = trio.current_time()

    def clock() -> float:
        return NOW + trio.current_time() - began

    for user in (ALICE, BOB):
        await (await world.stores.open(user.account, create=True)).aclose()
    delete(directory, ALICE.address, int(NOW - HOURS.seconds))
    delete(directory, BOB.address, NOW)
    nursery.start_soon(purge_deleted, directory, world.stores, HOURS, clock)
    await trio.sleep(1)
    assert await world.stores.list() == [BOB.account]
    await trio.sleep(PURGE)
    assert await world.stores.list() == [BOB.account], "half an hour too early"
    await trio.sleep(PURGE)
    assert await world.stores.list() == [] and list(directory.users()) == []
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("away"),
        BadConfiguration("cannot write users.toml"),
        AuthenticationFailed("the store allows no deletion"),
    ],
)
async def test_a_purge_that_fails_is_told_and_tried_again(
    world: World, nursery, directory, autojump_clock, monkeypatch, caplog, error
) -> None:
    await (await world.stores.open(ALICE.account, create=True)).aclose()
    delete(directory, ALICE.address, NOW)
    real, failures = world.stores.erase, [error]

    async def erase(account: str) -> None:
        if failures:
            raise failures.pop()
        await real(account)

    monkeypatch.setattr(world.stores, "erase", erase)
    with caplog.at_level(logging.ERROR):
        nursery.start_soon(purge_deleted, directory, world.stores, Retention(0), lambda: NOW)
        await trio.sleep(1)
        assert await world.stores.list() == [ALICE.account]
        assert [str(error) in record.getMessage() for record in caplog.records] == [True]
        await trio.sleep(PURGE)
    assert await world.stores.list() == [] and len(caplog.records) == 1
    nursery.cancel_scope.cancel()


async def test_how_full_an_account_is_is_noted_soon(world: World, nursery, autojump_clock) -> None:
    await world.create(ALICE.account)
    accounts = Accounts(world.stores, policy_of=lambda _: Policy(quota=10_000), chores=[note_usage])
    await nursery.start(accounts.run)
    login = await accounts.login(ALICE.account, PASSWORD, None)
    account, store = login.account, await world.stores.open(ALICE.account)
    await trio.sleep(2 * NOTE)
    assert (await tally.read(store)).noted is not None
    await put(account, "INBOX", b"x" * 9000)
    await trio.sleep(2 * NOTE)
    noted = await tally.read(store)
    assert noted.total() == Usage(9000, 1)
    await trio.sleep(10 * NOTE)
    assert await tally.read(store) == noted, "nothing has changed, nothing is written"
    login.release()
    await trio.sleep(LINGER + 2 * NOTE)
    assert not accounts.opened()
    await store.aclose()


async def test_another_policy_holds_soon(world: World, nursery, directory, autojump_clock) -> None:
    await world.create(ALICE.account)
    accounts = Accounts(
        world.stores, policy_of=lambda account: directory.by_account(account).policy(Policy(quota=7))
    )
    await nursery.start(accounts.run)
    account = (await accounts.login(ALICE.account, PASSWORD, None)).account
    nursery.start_soon(end_deleted, directory, accounts)
    assert account.policy == Policy(quota=7)
    directory.change(ALICE.address, lambda alice: replace(alice, quota=0, retention=14 * DAY))
    await trio.sleep(2 * NOTICE)
    assert account.policy == Policy(retention=14 * DAY, quota=None)


async def test_a_store_that_is_away_ends_no_noting(world: World, nursery, autojump_clock) -> None:
    faults = quiet_faults()
    await world.create(ALICE.account)
    accounts = Accounts(world.stores.another(faults), chores=[note_usage])
    await nursery.start(accounts.run)
    account = (await accounts.login(ALICE.account, PASSWORD, None)).account
    faults.reachable = False
    await trio.sleep(5 * NOTE)
    faults.reachable = True
    await trio.sleep(3 * NOTE)
    assert (await tally.read(account.store)).noted is not None
