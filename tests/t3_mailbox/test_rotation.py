"""Rotation of an account's keys, with a crash at every step of it, and others at work meanwhile."""

from collections.abc import AsyncIterator

import pytest
import trio

from aerogramme.errors import AuthenticationFailed, Damaged
from aerogramme.log import bundle, checkpoint, resealing, segment
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.history import letting_go
from aerogramme.mailbox.incoming.incoming import LetterBox
from aerogramme.mailbox.keys import keys, passwords, rotation, uses
from aerogramme.mailbox.keys.keys import StoredKeys, Unlocked
from aerogramme.seal import Keyring, Secret
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStore, MemoryStores
from tests.helpers.stored import copied
from tests.t3_mailbox.conftest import CHEAP, PASSWORD, public_key, put

ID = "00112233445566778899aabbccddeeff"
LARGE = b"Subject: large\r\n\r\n" + bytes(range(32, 127)) * 800


def mail(n: int) -> bytes:
    return b"From: a@example.org\r\nSubject: mail %d\r\n\r\nbody %d\r\n" % (n, n)


async def unlock(stores: MemoryStores, secret: Secret = PASSWORD) -> tuple[MemoryStore, Unlocked]:
    store = await stores.open(ID)
    return store, await keys.unlock(store, ID, secret)


async def opened(stores: MemoryStores) -> Account:
    store, unlocked = await unlock(stores)
    return await Account.open(store, ID, unlocked)


async def rotate(stores: MemoryStores, **options) -> rotation.Report:
    store, unlocked = await unlock(stores)
    account = await Account.open(store, ID, unlocked)
    return await rotation.rotate(account, unlocked.slot, **{"lag": 0.0} | options)


async def letter(stores: MemoryStores, n: int) -> None:
    store = await stores.open(ID)
    public = await public_key(store, ID)
    async with trio.open_nursery() as nursery:
        incoming = LetterBox(store, ID, public, nursery).letter("a@example.org", "b@example.org")
        await incoming.write(mail(n))
        await incoming.send()


async def contents(account: Account) -> dict[str, list[bytes]]:
    """Every letter of every mailbox."""
    return {
        name: [await account.body(content) for content in account.find(name).contents]
        for name in account.state.names
    }


async def fill(stores: MemoryStores, monkeypatch) -> dict[str, list[bytes]]:
    """An account with everything that can be sealed: rows, pieces, segments, bundles, large entries, letters,
    uses."""
    monkeypatch.setattr(bundle, "LONG", 0)
    monkeypatch.setattr(bundle, "FEW", 0)
    monkeypatch.setattr(checkpoint, "INLINE_ROWS", 1)
    monkeypatch.setattr(segment, "INLINE_MAX", 2000)
    await Account.create(stores, ID, PASSWORD, params=CHEAP)
    account = await opened(stores)
    for n in range(3):
        await put(account, "INBOX", mail(n), mail(n + 10))
    await put(account, "Archive", LARGE, mail(20))
    await account.fold(force=True)
    with monkeypatch.context() as patch:
        patch.setattr("aerogramme.log.journal.ROW_MAX", 100)
        await put(account, "INBOX", mail(30), flags=("\\Seen",))
    await account.store_flags(account.find("INBOX"), [1, 2], "+", ["\\Flagged"])
    await uses.note(account.store, account.keyring, bytes(16), now=1_700_000_000)
    let_go = letting_go.row(account.keyring, account.state.clock, ["piece/00"])
    await account.store.append(letting_go.PARTITION, [let_go])
    await letter(stores, 40)
    return await contents(account) | {"letters": [mail(40)]}


async def check(stores: MemoryStores, before: dict[str, list[bytes]], old: Keyring | None = None) -> None:
    """All mail is there, the audit finds nothing, and (when `old` is given) that opens nothing."""
    account = await opened(stores)
    await account.refresh()
    await account.drain.all_waiting()
    letters = before["letters"]
    now = await contents(account)
    assert now["INBOX"] == [*before["INBOX"], *letters]
    assert now["Archive"] == before["Archive"]
    assert await audit(account) == []
    assert list(await uses.last(account.store, account.keyring)) == [bytes(16)]
    if old is not None:
        assert await openable(account.store, old) == []


async def openable(store: MemoryStore, keyring: Keyring) -> list[str]:
    """All rows and objects that a keyring opens: whatever its kind, and whatever name it was sealed with."""
    found = []
    sealed = [(name, await store.get(name)) for name in await store.list("")]
    for partition in rotation.PARTITIONS:
        sealed += (await store.read(partition))[0]
    kinds = [*resealing.OBJECTS.values(), *rotation.PARTITIONS.values()]
    for name, value in sealed:
        for kind in kinds:
            try:
                keyring.open(kind, name, value)
            except Damaged:
                continue
            found.append(name)
    return found


@pytest.fixture(params=["serial", "listed", "bucket"])
def make_stores(request):
    def make() -> MemoryStores:
        return MemoryStores(serial=request.param == "serial", object_costs_request=request.param == "bucket")

    return make


async def test_a_rotation_leaves_nothing_that_the_old_keyring_opens(make_stores, monkeypatch) -> None:
    stores = make_stores()
    before = await fill(stores, monkeypatch)
    store, unlocked = await unlock(stores)
    old = unlocked.keyring
    assert len(await openable(store, old)) > 15
    report = await rotate(stores)
    assert (report.ordinal, report.resumed, report.left, report.letters) == (2, False, {}, 1)
    assert all(tally.count > 0 for tally in report.again.values())
    assert report.octets > report.count * 36
    await check(stores, before, old)
    found = await rotation.scan(store)
    now = (await unlock(stores))[1].keyring
    assert found.older(now.current) == 0 and not found.unreadable
    stored = await StoredKeys.read(store)
    assert not stored.rotating and len(stored.keyrings) == 1 and len(stored.public) == 2


async def test_rotating_twice_goes_on_from_what_was_sealed_again(make_stores, monkeypatch) -> None:
    stores = make_stores()
    before = await fill(stores, monkeypatch)
    await rotate(stores)
    second = (await unlock(stores))[1].keyring
    report = await rotate(stores)
    assert report.ordinal == 3
    await check(stores, before | {"letters": [mail(40)]}, second)
    names = await (await stores.open(ID)).list("")
    assert all(name.count(".") <= 1 for name in names)


async def test_a_rotated_account_opens_with_as_many_calls(make_stores, monkeypatch) -> None:
    stores = make_stores()
    await fill(stores, monkeypatch)

    async def calls() -> int:
        counted = CrashAt(0)
        account = await opened(stores.another(counted))
        await account.refresh()
        await contents(account)
        return counted.calls

    account = await opened(stores)
    await account.drain.all_waiting()
    await account.fold(force=True)
    before = await calls()
    await rotate(stores)
    assert await calls() == before


@pytest.mark.parametrize("make_stores", ["serial", "bucket"], indirect=True)
async def test_a_crash_at_any_call_and_the_next_run_finishes(make_stores, monkeypatch) -> None:
    monkeypatch.setattr(resealing, "ROWS_PAGE", 8)
    stores = make_stores()
    before = await fill(stores, monkeypatch)
    stored = stores._accounts[ID]
    old = (await unlock(stores))[1].keyring
    n = crashed = 0
    while crashed == n:
        n += 1
        stores._accounts[ID] = copied(stored)
        try:
            await rotate(stores.another(CrashAt(n, steps=(0, 1, 3)[n % 3])))
        except* Crash:
            crashed = n
        await check(stores, before)
        report = await rotate(stores)
        assert not report.left
        await check(stores, before, old)
        keyring = (await unlock(stores))[1].keyring
        # A crash before there is a generation leaves none, one after the end begins another.
        assert len(keyring.generations) in (2, 3)
        assert not (await StoredKeys.read(await stores.open(ID))).rotating
    assert n > 40


async def test_a_revoked_password_opens_nothing_that_came_later(make_stores, monkeypatch) -> None:
    stores = make_stores()
    before = await fill(stores, monkeypatch)
    store, _ = await unlock(stores)
    code = await passwords.create_app_password(store, ID, PASSWORD, "phone")
    theirs = (await unlock(stores, code.secret))[1]
    await passwords.revoke(store, ID, PASSWORD, "phone")
    await rotate(stores)
    await letter(stores, 41)
    await check(stores, before | {"letters": [mail(40), mail(41)]}, theirs.keyring)
    with pytest.raises(AuthenticationFailed):
        await unlock(stores, code.secret)
    with pytest.raises(AuthenticationFailed):
        (await StoredKeys.read(store)).open_keyring(theirs.slot, bytes.fromhex(ID))


async def test_a_password_revoked_during_a_rotation_asks_for_another(monkeypatch) -> None:
    stores = MemoryStores(serial=True)
    await fill(stores, monkeypatch)
    store, _ = await unlock(stores)
    await passwords.create_app_password(store, ID, PASSWORD, "phone")
    n, first = 0, None
    while first is None or not first.rotating:  # until a rotation dies that has begun
        n += 1
        try:
            await rotate(stores.another(CrashAt(n)))
        except* Crash:
            pass
        first = await StoredKeys.read(store)
    known = (await unlock(stores))[1].keyring.current
    await passwords.revoke(store, ID, PASSWORD, "phone")
    report = await rotate(stores)
    assert not report.resumed and not report.overtaken
    now = (await unlock(stores))[1].keyring
    assert now.current > known and not (await StoredKeys.read(store)).rotating
    assert (await rotation.scan(store)).older(now.current) == 0


async def body_keys(account: Account) -> set[bytes]:
    """The keys that open the bodies of messages, and those of bodies that are in the store."""
    return {
        (await account.bodies.record(content)).key.to_bytes()
        for name in account.state.names
        for content in account.find(name).contents
    }


async def test_bodies_are_written_anew(make_stores, monkeypatch) -> None:
    monkeypatch.setattr("aerogramme.mailbox.keys.reencrypting.LARGE", 1000)
    monkeypatch.setattr("aerogramme.mailbox.packs.LEAST", 2)
    stores = make_stores()
    before = await fill(stores, monkeypatch)
    account = await opened(stores)
    await account.drain.all_waiting()
    await account.copy(account.find("INBOX"), [1, 2], "Archive")
    await account.store_flags(account.find("INBOX"), [3], "+", ["\\Deleted"])
    await account.expunge(account.find("INBOX"))
    await account.fold(force=True)
    before = await contents(account)
    tables = {name: account.find(name) for name in account.state.names}
    uids = {name: (list(t.uids), [account.flags_of(f) for f in t.flags]) for name, t in tables.items()}
    keys_before, stored = await body_keys(account), set(await account.store.list("body/"))
    packs = set(await account.store.list("pack/"))
    assert bool(packs) == account.store.object_costs_request
    report = await rotate(stores, bodies=True)
    assert not report.left and report.bodies.count == len(keys_before) == len(stored) - 1
    assert report.bodies_removed == len(stored)
    now = await opened(stores)
    await now.refresh()
    assert await contents(now) == before
    tables = {name: now.find(name) for name in now.state.names}
    assert uids == {name: (list(t.uids), [now.flags_of(f) for f in t.flags]) for name, t in tables.items()}
    assert not keys_before & await body_keys(now)
    assert not (stored | packs) & set(await now.store.list(""))
    assert len(await now.store.list("body/")) == len(keys_before)
    assert await audit(now) == []
    await account.refresh()  # who had it open goes on
    assert await contents(account) == before


@pytest.mark.parametrize("make_stores", ["serial", "bucket"], indirect=True)
async def test_a_crash_while_bodies_are_written(make_stores, monkeypatch) -> None:
    monkeypatch.setattr("aerogramme.mailbox.keys.reencrypting.LARGE", 1000)
    monkeypatch.setattr("aerogramme.mailbox.keys.reencrypting.BATCH", 3)
    stores = make_stores()
    before = await fill(stores, monkeypatch)
    await rotate(stores)
    before["INBOX"] += before["letters"]
    before["letters"] = []
    stored = stores._accounts[ID]
    old = (await unlock(stores))[1].keyring
    n = crashed = 0
    while crashed == n:
        n += 1
        stores._accounts[ID] = copied(stored)
        try:
            await rotate(stores.another(CrashAt(n, steps=n % 3)), bodies=True)
        except* Crash:
            crashed = n
        await check(stores, before)
        keys_then = await body_keys(await opened(stores))
        report = await rotate(stores, bodies=True)
        assert not report.left
        await check(stores, before, old)
        assert not keys_then & await body_keys(await opened(stores))
    assert n > 40


async def test_a_body_that_does_not_open_stays_and_is_named(monkeypatch) -> None:
    stores = MemoryStores(serial=True)
    before = await fill(stores, monkeypatch)
    account = await opened(stores)
    lost = account.find("INBOX").contents[1]
    objects, name = stores._accounts[ID].objects, f"body/{lost:016x}"
    objects[name] = objects[name][:-1] + bytes([objects[name][-1] ^ 1])
    report = await rotate(stores, bodies=True)
    assert set(report.left) == {name} and name in objects
    now = await opened(stores)
    rest = [content for content in now.find("INBOX").contents if content != lost]
    expected = [letter for n, letter in enumerate(before["INBOX"]) if n != 1]
    assert [await now.body(content) for content in rest] == [*expected, *before["letters"]]


@pytest.fixture
async def served(make_stores, monkeypatch) -> AsyncIterator[tuple[MemoryStores, Account]]:
    """An account that is open elsewhere, with its tasks."""
    stores = make_stores()
    await fill(stores, monkeypatch)
    account = await opened(stores)
    async with trio.open_nursery() as nursery:
        await nursery.start(account.run)
        yield stores, account
        nursery.cancel_scope.cancel()


async def test_those_who_have_the_account_open_go_on(served, autojump_clock) -> None:
    stores, account = served
    await account.drain.all_waiting()
    before = await contents(account)
    old = (await unlock(stores))[1].keyring
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: rotate(stores, lag=rotation.LAG))
        for n in range(50, 60):
            await put(account, "INBOX", mail(n))
            await letter(stores, n + 10)
            await trio.sleep(20)
    await account.refresh()
    await account.drain.all_waiting()
    now = await contents(account)
    assert now["Archive"] == before["Archive"]
    assert sorted(now["INBOX"]) == sorted([*before["INBOX"], *(mail(n) for n in range(50, 70))])
    assert await audit(account) == []
    assert await openable(account.store, old) == []


async def test_two_rotations_at_once(make_stores, monkeypatch, autojump_clock) -> None:
    stores = make_stores()
    before = await fill(stores, monkeypatch)
    old = (await unlock(stores))[1].keyring
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(lambda: rotate(stores, lag=60.0))
    await check(stores, before, old)
    keyring = (await unlock(stores))[1].keyring
    store = await stores.open(ID)
    assert (await rotation.scan(store)).older(keyring.current) == 0
    assert not (await StoredKeys.read(store)).rotating


async def test_what_is_damaged_stays_and_is_named(monkeypatch) -> None:
    stores = MemoryStores(serial=True)
    await fill(stores, monkeypatch)
    objects = stores._accounts[ID].objects
    name = next(name for name in objects if name.startswith("segment/") and name.endswith("/text"))
    objects[name] = objects[name][:-1] + bytes([objects[name][-1] ^ 1])
    report = await rotate(stores)
    assert set(report.left) == {name}
    assert name in objects
    account = await opened(stores)
    assert any("group text" in line for line in await audit(account))
