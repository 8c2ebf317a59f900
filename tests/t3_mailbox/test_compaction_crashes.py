"""Compaction that dies at every step of it: nothing is lost, and the next run finishes."""

from collections import Counter
from collections.abc import Iterator

import pytest

from aerogramme.log import checkpoint, folding, segment
from aerogramme.log.clock import wall_ms
from aerogramme.log.suffix import base_of
from aerogramme.mailbox import packs
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.history.compaction import compact
from aerogramme.mailbox.history.survey import Survey, survey
from aerogramme.mailbox.keys import keys
from aerogramme.mailbox.policy import DAY
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStores
from tests.helpers.life import Calendar, calendar
from tests.helpers.stored import copied
from tests.t3_mailbox.conftest import CHEAP, PASSWORD, put

ID = "00112233445566778899aabbccddeeff"
Contents = dict[str, dict[int, tuple[bytes, tuple[str, ...]]]]


def mail(n: int) -> bytes:
    return b"From: a@example.org\r\nSubject: mail %d\r\n\r\nbody %d\r\n" % (n, n)


@pytest.fixture
def time() -> Iterator[Calendar]:
    with calendar() as time:
        yield time


@pytest.fixture(params=["serial", "bucket"])
def stores(request) -> MemoryStores:
    return MemoryStores(serial=request.param == "serial", object_costs_request=request.param == "bucket")


async def opened(stores: MemoryStores) -> Account:
    store = await stores.open(ID)
    return await Account.open(store, ID, await keys.unlock(store, ID, PASSWORD))


async def contents(account: Account) -> Contents:
    """Mailbox → UID → letter and flags."""
    found: Contents = {}
    for name in account.state.names:
        table = account.find(name)
        letters = [await account.body(content) for content in table.contents]
        flags = [account.flags_of(number) for number in table.flags]
        found[name] = dict(zip(table.uids, zip(letters, flags, strict=True), strict=True))
    return found


async def remove(account: Account, name: str, uids: list[int]) -> None:
    await account.store_flags(account.find(name), uids, "+", ["\\Deleted"])
    assert await account.expunge(account.find(name), uids) == uids


async def live(stores: MemoryStores, time: Calendar, monkeypatch) -> None:
    """Two weeks of an account, in which all that compaction does becomes due."""
    for where, name, value in (
        (checkpoint, "INLINE_ROWS", 1),
        (segment, "INLINE_MAX", 2000),
        (folding, "SEGMENT", 8),
        (packs, "LEAST", 2),
    ):
        monkeypatch.setattr(where, name, value)
    await Account.create(stores, ID, PASSWORD, params=CHEAP)
    account = await opened(stores)
    for day in range(14):
        await put(account, "INBOX", *(mail(10 * day + n) for n in range(3)))
        await account.move(account.find("INBOX"), [3 * day + 1], "Archive")
        await account.copy(account.find("INBOX"), [3 * day + 2], "Drafts")
        if day % 2:
            await remove(account, "INBOX", [3 * day, 3 * day + 3])
            await remove(account, "Archive", [day])
        with monkeypatch.context() as patch:
            patch.setattr("aerogramme.log.journal.ROW_MAX", 100 if day % 3 == 0 else 48 * 1024)
            await account.store_flags(account.find("INBOX"), [3 * day + 2], "+", ["\\Seen"])
        await account.fold(force=True)
        time.now += DAY / 2
        if day in (9, 12):
            await compact(account)
        time.now += DAY / 2
    # What crashes leave behind.
    body, piece = (
        f"body/{account.journal.new_ids(1)[0]:016x}",
        f"piece/{checkpoint.new_name(account.state.clock)}",
    )
    await account.store.put(body, b"never named")
    await account.store.put(piece, account.keyring.seal(checkpoint.PIECE_KIND, piece, b"never named"))


async def check(stores: MemoryStores, before: Contents) -> None:
    """All mail is there, and all that is needed."""
    account = await opened(stores)
    await account.refresh()
    assert await contents(account) == before
    assert await audit(account) == []
    found = await survey(account, wall_ms())
    there = {base_of(name) for name in found.stored}
    assert not found.damaged and not found.needed - there
    await account.aclose()


async def compacted(stores: MemoryStores, time: Calendar, days: float) -> Survey:
    """After so many days with a run every three days, in which nobody does anything else."""
    until = time.now + days * DAY
    while time.now < until:
        report = await compact(await opened(stores))
        assert not report.damaged
        time.now += 3 * DAY
    return await survey(await opened(stores), wall_ms())


def standings(found: Survey) -> Counter[str]:
    return Counter(f"{name.partition('/')[0]} {found.standing(name)}" for name in found.stored)


async def test_in_the_end_nothing_is_left_but_what_is_there_now(stores, time, monkeypatch) -> None:
    await live(stores, time, monkeypatch)
    before = await contents(await opened(stores))
    found = await compacted(stores, time, 1)
    assert {"live", "history"} <= {found.standing(name) for name in found.stored}
    await check(stores, before)
    found = await compacted(stores, time, 20)
    await check(stores, before)
    wrong = {name: found.standing(name) for name in found.stored if found.standing(name) != "live"}
    # A second manifest that says the same is kept in case that the newest gets damaged.
    assert list(wrong.values()) == ["history"] and next(iter(wrong)).startswith("checkpoint/")
    assert not found.old and len(found.stored) < 60


async def test_a_crash_at_any_call_and_the_next_run_finishes(stores, time, monkeypatch) -> None:
    monkeypatch.setattr("aerogramme.mailbox.history.letting_go.MOST", 4)
    await live(stores, time, monkeypatch)
    before = await contents(await opened(stores))
    data, now = stores._accounts[ID], time.now
    stores._accounts[ID] = copied(data)
    wanted = standings(await compacted(stores, time, 20))
    n = crashed = 0
    while crashed == n:
        n += 1
        time.now, stores._accounts[ID] = now, copied(data)
        fault = CrashAt(0, steps=(0, 1, 3)[n % 3])
        account = await opened(stores.another(fault))
        fault.n = fault.calls + n
        try:
            await compact(account)
        except Crash:
            crashed = n
        await check(stores, before)
        time.now += 60
        found = await compacted(stores, time, 20)
        await check(stores, before)
        assert standings(found) == wanted
    assert n > 40
