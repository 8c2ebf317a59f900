"""Keys that others change while an account is open: nothing counts as damaged, nothing gets old keys."""

import gc
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
import trio
from trio.testing import MockClock

from aerogramme.errors import AuthenticationFailed, Damaged
from aerogramme.log.segment import Column, Columns
from aerogramme.log.suffix import sealed_for
from aerogramme.mailbox import keys, passwords
from aerogramme.mailbox.account import KEYS_SECONDS, Account
from aerogramme.mailbox.accounts import Accounts
from aerogramme.mailbox.audit import audit
from aerogramme.mailbox.contents import LARGE, BodyRecord, Place, body_binding, body_name, pack_name
from aerogramme.mailbox.incoming import LetterBox
from aerogramme.seal import ContentKey, Keyring, open_body, seal_body
from aerogramme.store.port import Row
from tests.helpers.counting import CountingStores
from tests.t3_mailbox.conftest import PASSWORD, World, put

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
        public, _ = await keys.public_key(one.store, ID)
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


async def move_bodies(account: Account) -> None:
    """Every body under a new key in one pack, and digests that say so, as a server does that rotates bodies
    too; what was there before is gone."""
    state, store = account.state, account.store
    before = await store.list("")

    async def moved(
        contents: Sequence[int], groups: Mapping[str, Columns]
    ) -> tuple[Mapping[str, Columns], Sequence[str]]:
        pack, sealed, values = "ab" * 16, b"", []
        for content, value in zip(contents, groups["digest"]["record"], strict=True):
            record, key = BodyRecord.from_bytes(value), ContentKey.generate()
            binding = body_binding(bytes.fromhex(ID), content)
            body = seal_body(
                key, binding, open_body(record.key, binding, await store.get(body_name(content)))
            )
            values.append(BodyRecord(key, len(body), record.size, Place(pack, len(sealed))).to_bytes())
            sealed += body
        await store.put(pack_name(pack), sealed)
        return {**groups, "digest": {**groups["digest"], "record": Column.of(values)}}, [pack]

    old = sorted(state.named_segments())
    packed = await account.journal.segments.merge(old, moved)
    for name, sealed in packed.objects:
        await store.put(name, sealed)
    state.replace_segments(old, [packed.ref])
    await account.fold(force=True)
    await store.delete([name for name in before if name.startswith(("body/", "segment/", "checkpoint/"))])


@pytest.mark.parametrize("loaded", [True, False])
async def test_bodies_that_another_server_has_moved_are_found(
    two: tuple[Account, Account], loaded: bool
) -> None:
    one, other = two
    letters = [b"Subject: %d\r\n\r\n%d\r\n" % (n, n) for n in range(40)]
    letters.append(b"Subject: large\r\n\r\n" + b"x" * (LARGE + 1))
    for n in range(0, len(letters), 10):
        await put(one, "INBOX", *letters[n : n + 10])
    await one.fold(force=True)
    await other.refresh()
    contents = list(other.find("INBOX").contents)
    if loaded:
        await other.digests(contents, ["record"])  # it knows where the bodies were
    await move_bodies(one)
    found = [body async for body in other.read_bodies(contents[:-1])]
    assert found == letters[:-1]
    assert b"".join([piece async for piece in other.stream_body(contents[-1])]) == letters[-1]
    assert await audit(other) == []


async def test_of_a_body_that_is_nowhere_the_newest_checkpoint_is_asked_once(
    two: tuple[Account, Account], world: World
) -> None:
    one, other = two
    await put(one, "INBOX", MAIL, MAIL)
    await one.fold(force=True)
    await other.refresh()
    contents = list(other.find("INBOX").contents)
    sealed = await other.store.get(body_name(contents[0]))
    await other.store.delete([body_name(contents[0])])
    counting = CountingStores(world.stores)
    other.journal._store = await counting.open(ID)
    other.journal.records._store = await counting.open(ID)
    for _ in range(3):
        with pytest.raises(Damaged):
            await other.body(contents[0])
        assert await other.body(contents[1]) == MAIL
    assert counting.calls == ["list", "get_many", "get_many", "list", "list"]  # then: is there a newer one?
    await other.store.put(body_name(contents[0]), sealed)


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
        assert lost == ["phone"] and pool.open_count == 1
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
        assert pool.open_count == 0
        gc.collect()
        assert [ref() for ref in held] == [None, None]
        nursery.cancel_scope.cancel()
