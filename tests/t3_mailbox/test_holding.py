"""Keys that others change while an account is open: nothing counts as damaged, nothing gets old keys."""

import gc
import weakref
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from aerogramme.errors import AuthenticationFailed
from aerogramme.log.suffix import sealed_for
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.accounts import Accounts
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.incoming.incoming import LetterBox
from aerogramme.mailbox.keys import keys, passwords
from aerogramme.mailbox.opened import KEYS_SECONDS
from aerogramme.seal import Keyring
from aerogramme.store.port import Row
from tests.t3_mailbox.conftest import PASSWORD, World, public_key, put

ID = "00" * 16
MAIL = b"Subject: one\r\n\r\nbody\r\n"


async def rotate(account: Account) -> None:
    """As another process would."""
    stored = await keys.StoredKeys.read(account.store)
    unlocked = await stored.unlock(ID, PASSWORD)
    account.keyring.adopt(await passwords.add_generation(account.store, ID, stored, unlocked.slot))


@pytest.fixture(params=[True, False], ids=["serial", "not serial"])
async def two(world: World, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Account, Account]]:
    """One account, opened by two, each with a keyring of its own."""
    world.stores.serial = request.param
    await world.create()
    store = await world.stores.open(ID)
    world.unlocked[ID] = await keys.unlock(store, ID, PASSWORD)
    one = await world.open()
    store = await world.stores.open(ID)
    world.unlocked[ID] = await keys.unlock(store, ID, PASSWORD)
    yield one, await world.open()


async def test_who_reads_an_entry_of_new_keys_learns_them(two: tuple[Account, Account]) -> None:
    one, other = two
    await rotate(one)
    await put(one, "INBOX", MAIL)
    assert other.keyring.current != one.keyring.current
    await other.refresh()
    assert other.keyring.current == one.keyring.current
    [content] = other.find("INBOX").contents
    assert await other.body(content) == MAIL and not other.journal.damaged
    assert await audit(other) == []


async def test_a_letter_that_is_sealed_to_new_keys_is_drained_with_them(two: tuple[Account, Account]) -> None:
    one, other = two
    await rotate(one)
    async with trio.open_nursery() as nursery:
        public = await public_key(one.store, ID)
        letter = LetterBox(one.store, ID, public, nursery).letter("bob@example.net", "alice@example.org")
        await letter.write(MAIL)
        await letter.send()
    assert await other.drain.all_waiting() == 1 and not other.drain.unreadable
    [content] = other.find("INBOX").contents
    assert await other.body(content) == MAIL


async def test_who_has_stale_keys_reads_them_before_sealing(
    two: tuple[Account, Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    await rotate(one)
    await put(other, "INBOX", MAIL)  # within a minute: under the old keys
    rows, _ = await other.store.read("log")
    assert other.keyring.generation_of(rows[-1].value) < one.keyring.current
    monkeypatch.setattr(other.holding, "_now_ms", lambda: other.holding._read_at + 61_000)
    await put(other, "INBOX", MAIL)
    rows, _ = await other.store.read("log")
    assert other.keyring.generation_of(rows[-1].value) == one.keyring.current


async def seal_again(account: Account, keyring: Keyring, *prefixes: str) -> None:
    """All that lies there for the current generation, under its other name."""
    for kind in prefixes:
        for name in await account.store.list(kind + "/"):
            plain = keyring.open(kind, name, await account.store.get(name))
            new = sealed_for(name, keyring.current)
            await account.store.put(new, keyring.seal(kind, new, plain))
            await account.store.delete([name])
    rows, cursor = await account.store.read("log")
    for key, value in rows:
        if value:
            new = sealed_for(key, keyring.current)
            sealed = keyring.seal("entry", new, keyring.open("entry", key, value))
            cursor = await account.store.append("log", [Row(new, sealed)], read=cursor) or cursor
            await account.store.delete_rows("log", [key])


async def test_what_was_sealed_again_is_found_by_all(two: tuple[Account, Account], world: World) -> None:
    one, other = two
    for n in range(300):
        await put(one, "INBOX", b"Subject: %d\r\n\r\n%d\r\n" % (n, n))
    await one.fold(force=True)
    await put(one, "INBOX", b"Subject: last\r\n\r\n" + b"x" * 100_000)
    await other.refresh()
    early = list(other.find("INBOX").contents)
    await rotate(one)
    await seal_again(one, one.keyring, "segment", "piece", "checkpoint")
    assert await one.store.list("piece/"), "the mailbox is in pieces"
    store = await world.stores.open(ID)
    for account in (one, other, await Account.open(store, ID, await keys.unlock(store, ID, PASSWORD))):
        await account.refresh()
        assert list(account.find("INBOX").contents) == early and not account.journal.damaged
        [subjects] = await account.digests(early, ["subject"])
        assert subjects == [*(b"%d" % n for n in range(300)), b"last"]
        assert await audit(account) == []
    await account.aclose()


async def test_an_entry_that_is_there_twice_is_one(two: tuple[Account, Account]) -> None:
    one, _ = two
    await put(one, "INBOX", MAIL)
    rows, cursor = await one.store.read("log")
    await rotate(one)
    key, value = rows[-1]
    new = sealed_for(key, one.keyring.current)
    sealed = one.keyring.seal("entry", new, one.keyring.open("entry", key, value))
    await one.store.append("log", [Row(new, sealed)], read=cursor)
    for account in two:
        await account.refresh()
        assert len(account.find("INBOX").uids) == 1 and await audit(account) == []


async def test_old_keys_open_an_account_that_new_ones_have_folded(
    two: tuple[Account, Account], world: World
) -> None:
    one, _ = two
    store = await world.stores.open(ID)
    unlocked = await keys.unlock(store, ID, PASSWORD)  # and then somebody else was faster
    await rotate(one)
    for n in range(300):
        await put(one, "INBOX", b"Subject: %d\r\n\r\n%d\r\n" % (n, n))
    await one.fold(force=True)
    account = await Account.open(store, ID, unlocked)
    assert account.keyring.current == one.keyring.current and not account.journal.damaged
    assert len(account.find("INBOX").uids) == 300 and await audit(account) == []
    await account.aclose()


# --- sessions ---------------------------------------------------------------------------------------------


async def test_sessions_of_a_revoked_secret_end_and_others_go_on(
    world: World, autojump_clock: MockClock
) -> None:
    await world.create()
    store = await world.stores.open(ID)
    app = await passwords.create_app_password(store, ID, PASSWORD, "phone")
    async with trio.open_nursery() as nursery:
        pool = Accounts(world.stores)
        await nursery.start(pool.run)
        mine, phone = [await pool.login(ID, secret, None) for secret in (PASSWORD, app.secret)]
        lost: list[str] = []
        mine.when_lost, phone.when_lost = (lambda: lost.append("mine")), (lambda: lost.append("phone"))
        await passwords.revoke(store, ID, PASSWORD, "phone")
        await trio.sleep(KEYS_SECONDS)
        assert lost == ["phone"] and len(pool.opened()) == 1
        with pytest.raises(AuthenticationFailed):
            await pool.login(ID, app.secret, None)
        [used] = [slot for slot in await passwords.list_slots(store, ID, PASSWORD) if slot.kind == "password"]
        assert used.label == ""
        nursery.cancel_scope.cancel()


async def test_the_use_of_an_app_password_is_noted_once_a_day(
    world: World, autojump_clock: MockClock
) -> None:
    await world.create()
    store = await world.stores.open(ID)
    app = await passwords.create_app_password(store, ID, PASSWORD, "phone")
    async with trio.open_nursery() as nursery:
        pool = Accounts(world.stores)
        await nursery.start(pool.run)
        for _ in range(3):
            (await pool.login(ID, app.secret, None)).release()
        await trio.testing.wait_all_tasks_blocked()
        assert len((await store.read("uses"))[0]) == 1
        slots = await passwords.list_slots(store, ID, PASSWORD)
        assert [slot.label for slot in slots if slot.last_used is not None] == ["phone"]
        nursery.cancel_scope.cancel()


async def test_no_key_is_held_once_an_account_is_closed(world: World, autojump_clock: MockClock) -> None:
    await world.create()
    del world.unlocked[ID]
    async with trio.open_nursery() as nursery:
        pool = Accounts(world.stores, linger=5)
        await nursery.start(pool.run)
        login = await pool.login(ID, PASSWORD, None)
        held = [weakref.ref(login.account.keyring), weakref.ref(login.account.holding)]
        login.release()
        del login
        await trio.sleep(6)
        assert not pool.opened()
        gc.collect()
        assert [ref() for ref in held] == [None, None]
        nursery.cancel_scope.cancel()
