"""The store as it stood at a clock: what it shows, what it hides, and that nothing reaches the real one."""

import inspect
from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from aerogramme.log import checkpoint
from aerogramme.log.clock import COUNTER_BITS, MAX_CLOCK
from aerogramme.log.entry import MailboxOp, Remove
from aerogramme.log.journal import Draft, Journal
from aerogramme.log.past import Past, clock_at
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row
from tests.helpers.log_facts import facts_of
from tests.t1_store import test_contract
from tests.t2_log.test_checkpoint import ACCOUNT, HOUR, KEYRING, Time, a_store, add, digest, flag, opened

CONTRACT = [
    function
    for name, function in vars(test_contract).items()
    if name.startswith("test_") and [*inspect.signature(function).parameters] == ["store"]
]


@pytest.mark.parametrize("promise", CONTRACT, ids=lambda function: function.__name__)
async def test_it_keeps_the_promise_of_stores(promise) -> None:
    """Of what is written to it; the real store, which has the same names, gets and loses nothing."""
    stores = MemoryStores()
    real = await stores.open("0" * 32, create=True)
    await promise(Past(real, MAX_CLOCK, empty=()))
    assert await real.list("") == []
    for partition in ("log", "incoming", "keys"):
        assert await real.read(partition) == await (await MemoryStores().open("0" * 32, create=True)).read(
            partition
        )


async def past_at(store, clock):
    """The journal of the account as it stood."""
    return await Journal.open(Past(store, clock, shared=True), KEYRING, ACCOUNT, rng=Random(7))


async def a_life(store, now, rng, steps=40):
    """An account to which things happen, some of them folded. What it was after each: clock -> facts."""
    journal = await opened(store, now)
    await journal.commit(lambda _: Draft([MailboxOp(1, name="INBOX", deleted=False, uidvalidity=1)]))
    known, was = [], {}
    for _ in range(steps):
        now.ms += rng.choice([0, 1, 400, 60_000, HOUR])
        what = rng.random()
        if what < 0.5 or not known:
            known += await add(journal, rng.randint(1, 400), rng.choice([1, 2]))
        elif what < 0.7:
            box = rng.choice([1, 2])
            ids = [i for i in rng.sample(known, min(len(known), 30)) if journal.state.table(box).modseq_of(i)]
            if ids:
                await journal.commit(flag(box, ids, rng.choice(["\\Seen", "work"])))
        elif what < 0.85:
            box = rng.choice([1, 2])
            await journal.commit(remove(box, rng.sample(known, min(len(known), 20))))
        else:
            await journal.fold(force=True)
        was[journal.state.clock] = facts_of(journal.state)
    return journal, was


def remove(box, ids):
    return lambda state: Draft([Remove(box, [i for i in ids if state.table(box).modseq_of(i)] or ids[:1])])


@pytest.mark.parametrize("serial", [True, False])
@pytest.mark.parametrize("seed", range(3))
async def test_at_every_clock_the_account_is_what_it_was(seed, serial) -> None:
    now = Time()
    store = await a_store(MemoryStores(serial=serial))
    journal, was = await a_life(store, now, Random(seed))
    assert len(await store.list(checkpoint.PREFIX)) > 1
    for clock, facts in was.items():
        past = await past_at(store, clock)
        assert facts_of(past.state) == facts
        for table in past.state.tables.values():
            for content in table.contents[:1]:
                assert await digest(past, content) == b"%d" % content
    between = sorted(was)[5] + 1
    assert facts_of((await past_at(store, between)).state) == was[between - 1]
    assert facts_of((await past_at(store, MAX_CLOCK)).state) == facts_of(journal.state)


async def test_what_is_written_to_the_past_is_not_written() -> None:
    now = Time()
    stores = MemoryStores(serial=True)
    store = await a_store(stores)
    journal, was = await a_life(store, now, Random(1), steps=10)
    rows, names = await store.read("log"), await store.list("")
    past_store = Past(store, sorted(was)[3], shared=True)
    one = await Journal.open(past_store, KEYRING, ACCOUNT, now_ms=now, rng=Random(1))
    two = await Journal.open(past_store, KEYRING, ACCOUNT, now_ms=now, rng=Random(2))
    ids = await add(one, 300)
    await two.commit(flag(1, ids[:1], "\\Seen"))  # it is behind, and hears of them first
    await one.refresh()
    assert facts_of(one.state) == facts_of(two.state)
    await one.fold(force=True)
    await past_store.delete([names[0]])
    assert names[0] not in await past_store.list("") and names[0] not in dict(await past_store.sizes(""))
    three = await Journal.open(past_store, KEYRING, ACCOUNT, now_ms=now, rng=Random(3))
    assert facts_of(three.state) == facts_of(one.state)
    assert (rows, names) == (await store.read("log"), await store.list(""))
    await journal.refresh()
    assert facts_of(journal.state) == was[max(was)]


async def test_what_happens_now_does_not_happen_then() -> None:
    """Neither to who reads on, nor to who watches; what is written there is heard of there."""
    now = Time()
    store = await a_store(MemoryStores(serial=True))
    journal, was = await a_life(store, now, Random(2), steps=5)
    then = await past_at(store, max(was))
    _, cursor = await then._store.read("log")
    heard = trio.Event()

    async def watch():
        await then._store.watch("log", cursor)
        heard.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await add(journal)
        await store.append("incoming", [Row("a-letter", b"x")])
        await wait_all_tasks_blocked()
        await then.refresh()
        assert facts_of(then.state) == was[max(was)] and not heard.is_set()
        assert (await then._store.read("incoming"))[0] == []
        await then.commit(flag(1, [1], "x"))
        await wait_all_tasks_blocked()
        assert heard.is_set()


async def test_keys_are_those_of_now() -> None:
    """A cursor of the store itself goes on being good, and a change is noticed."""
    store = await a_store(MemoryStores(serial=True))
    await store.append("keys", [Row("a", b"1")])
    _, cursor = await store.read("keys")
    past = Past(store, 1)
    assert (await past.read("keys"))[0] == [Row("a", b"1")]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(past.watch, "keys", cursor)
        await wait_all_tasks_blocked()
        await store.append("keys", [Row("b", b"2")])
    rows, cursor = await past.read("keys", cursor)
    assert rows == [Row("b", b"2")]
    await past.append("keys", [Row("c", b"3")], delete=[("keys", "a")])
    assert [row.key for row in (await past.read("keys", cursor))[0]] == ["c"]
    assert [row.key for row in (await past.read("keys"))[0]] == ["b", "c"]
    assert [row.key for row in await past.page("keys", "", 1)] == ["b"]
    assert [row.key for row in (await store.read("keys"))[0]] == ["a", "b"]


async def test_closing_what_is_shared_closes_nothing() -> None:
    class Closed(Exception):
        pass

    store = await a_store(MemoryStores())

    async def aclose():
        raise Closed

    store.aclose = aclose
    await Past(store, 1, shared=True).aclose()
    with pytest.raises(Closed):
        await Past(store, 1).aclose()


def test_the_clock_of_a_moment_is_above_all_entries_of_its_millisecond() -> None:
    assert clock_at(1.5) == (1501 << COUNTER_BITS) - 1
    assert clock_at(0.0) == (1 << COUNTER_BITS) - 1
    assert (clock_at(-1e9), clock_at(1e30)) == (0, MAX_CLOCK)
