"""Reading the log as it is stored: all of it, a page at a time, and what comes; and the names of a moment."""

from contextlib import aclosing

import pytest
import trio

from aerogramme.errors import Damaged
from aerogramme.log import reading
from aerogramme.log.clock import COUNTER_BITS, ms_of
from aerogramme.log.entry import KIND, PARTITION, MailboxOp, Subscribe
from aerogramme.log.history import MARGIN
from aerogramme.log.journal import Draft, Journal
from aerogramme.log.reading import entries, following, names_at
from aerogramme.log.records import Records
from aerogramme.log.suffix import base_of, sealed_for
from aerogramme.seal import Keyring
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row

ACCOUNT = bytes(range(16))
MINUTE = 60_000


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(reading, "PAGE", 3)


@pytest.fixture
def keyring():
    return Keyring.create(ACCOUNT)


@pytest.fixture(params=[True, False], ids=["serial", "listing"])
async def store(request):
    return await MemoryStores(serial=request.param).open(ACCOUNT.hex(), create=True)


class Now:
    def __init__(self):
        self.ms = 1_700_000_000_000

    def __call__(self):
        return self.ms


@pytest.fixture
def now():
    return Now()


@pytest.fixture
async def journal(store, keyring, now):
    return await Journal.open(store, keyring, ACCOUNT, now_ms=now)


async def subscribe(journal, *names):
    return [await journal.commit(lambda _, name=name: Draft([Subscribe(name, True)])) for name in names]


def told(entry):
    return "?" if isinstance(entry, Damaged) else entry.ops[0].name


async def seal_again(store, keyring, keys):
    """As a rotation does: the new row first, the old one goes then, or stays if it is cut short."""
    newer = keyring.rotate()
    keyring.adopt(newer)
    rows = {row.key: row.value for row in (await store.read(PARTITION))[0]}
    for key in keys:
        again = sealed_for(key, newer.current)
        plain = keyring.open(KIND, key, rows[key])
        await store.append(PARTITION, [Row(again, keyring.seal(KIND, again, plain))])
    return newer.current


async def test_all_entries_in_their_order(store, keyring, journal):
    made = await subscribe(journal, *"abcdefgh")
    found = [(key, told(entry)) async for key, entry in entries(Records(store, keyring))]
    assert found == [(entry.key, name) for entry, name in zip(made, "abcdefgh", strict=True)]
    later = [told(entry) async for _, entry in entries(Records(store, keyring), after=made[4].key)]
    assert later == ["f", "g", "h"]


async def test_one_that_is_there_twice_is_given_once(store, keyring, journal):
    """Also where a page ends between the two."""
    made = await subscribe(journal, *"abcdefgh")
    await seal_again(store, keyring, [entry.key for entry in made])
    assert [told(entry) async for _, entry in entries(Records(store, keyring))] == [*"abcdefgh"]
    await store.delete_rows(PARTITION, [entry.key for entry in made])
    found = [(base_of(key), told(entry)) async for key, entry in entries(Records(store, keyring))]
    assert found == [(entry.key, name) for entry, name in zip(made, "abcdefgh", strict=True)]


async def test_one_that_cannot_be_read_is_given_in_its_place(store, keyring, journal):
    made = await subscribe(journal, *"abcde")
    await store.delete_rows(PARTITION, [made[2].key])
    await store.append(PARTITION, [Row(made[2].key, b"nonsense"), Row("no key", b"at all")])
    assert [told(entry) async for _, entry in entries(Records(store, keyring))] == [*"ab?de?"]


async def test_what_comes_is_followed(store, keyring, journal):
    await subscribe(journal, *"abcdefg")
    async with aclosing(following(Records(store, keyring))) as read:
        assert [told((await anext(read))[1]) for _ in range(7)] == [*"abcdefg"]
        for name in "hijk":
            await subscribe(journal, name)
            assert told((await anext(read))[1]) == name


async def test_what_is_sealed_again_is_not_new(store, keyring, journal, now):
    """Neither what was given just now, nor what is older than any read goes back to."""
    made = await subscribe(journal, *"abcdefg")
    now.ms += 2 * (MARGIN >> COUNTER_BITS)
    made += await subscribe(journal, *"hij")
    async with aclosing(following(Records(store, keyring))) as read:
        assert [told((await anext(read))[1]) for _ in range(10)] == [*"abcdefghij"]
        await subscribe(journal, "k")
        assert told((await anext(read))[1]) == "k"
        await seal_again(store, keyring, [entry.key for entry in made])
        await subscribe(journal, "l")
        assert told((await anext(read))[1]) == "l"


async def test_what_comes_late_is_given_as_it_comes(keyring, now):
    """On a store that is not serialized: by another server, whose clock is behind."""
    stores = MemoryStores(serial=False)
    store = await stores.open(ACCOUNT.hex(), create=True)
    one = await Journal.open(store, keyring, ACCOUNT, now_ms=now)
    other = await Journal.open(store, keyring, ACCOUNT, now_ms=lambda: now.ms - MINUTE)
    await subscribe(one, "a")
    async with aclosing(following(Records(store, keyring))) as read:
        assert told((await anext(read))[1]) == "a"
        [late] = await subscribe(other, "b")
        assert ms_of(late.clock) < now.ms
        assert told((await anext(read))[1]) == "b"
        with trio.move_on_after(0):
            await anext(read)
            raise AssertionError("that was all")


async def test_names_are_those_of_the_moment(store, keyring, journal, now):
    [box, other] = journal.new_ids(2)
    records = Records(store, keyring)

    async def name(mailbox, name):
        entry = await journal.commit(lambda _: Draft([MailboxOp(mailbox, name)]))
        now.ms += 30 * MINUTE
        return entry

    async def at(clock, current):
        """The names at a moment, by the way of those who read on from there."""
        names, after = await names_at(records, clock, current)
        async for _, entry in entries(Records(store, keyring), after=after):
            if entry.clock <= clock:
                for op in entry.ops:
                    names.see(op, entry.clock)
        return names

    steps = [await name(box, "first"), await name(other, "another")]
    await journal.fold(force=True)
    steps.append(await name(box, "second"))
    await journal.fold(force=True)
    steps.append(await name(box, "third"))
    current = {box: "third", other: "another"}
    for without in (0, 1, 2):  # the oldest checkpoints, and what they cover, have been let go
        for step, expected in list(zip(steps, ("first", "first", "second", "third"), strict=True)):
            names = await at(step.clock, current)
            if not without or step in steps[2:]:
                assert names.of(box) == expected, (without, expected)
        assert names.of(other) == "another" and names.of(99) is None
        if without == 0:
            await store.delete_rows(PARTITION, [steps[0].key, steps[1].key])
        elif without == 1:
            oldest = (await store.list("checkpoint/"))[-1]
            await store.delete([oldest])
            await store.delete_rows(PARTITION, [steps[2].key])
