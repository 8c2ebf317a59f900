"""The journal on stores that work: what is committed is there for everyone, in the same state."""

import pytest
import trio

from aerogramme.errors import Unavailable
from aerogramme.log.entry import PARTITION, Add, Flags, MailboxOp, Remove, Subscribe
from aerogramme.log.journal import Draft, Journal
from aerogramme.log.suffix import sealed_for
from aerogramme.seal import Keyring
from aerogramme.store.faults import CrashAt
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row
from aerogramme.store.sqlite import SqliteStores
from tests.helpers.log_facts import facts_of

ACCOUNT = bytes(range(16))


@pytest.fixture(params=["memory", "serial", "sqlite"])
async def stores(request, tmp_path):
    if request.param == "sqlite":
        made = SqliteStores(tmp_path)
    else:
        made = MemoryStores(serial=request.param == "serial")
    yield made
    await made.aclose()


@pytest.fixture(scope="module")
def keyring():
    return Keyring.create(ACCOUNT)


async def new_store(stores):
    return await stores.open(ACCOUNT.hex(), create=True)


def add(journal, mailbox, n, flags=()):
    table = journal.state.table(mailbox)
    ids = journal.new_ids(n)
    uids = range(table.uidnext, table.uidnext + n)
    return Add(mailbox, ids, uids, [1] * n, [2] * n, [flags] * n, ids)


async def test_two_journals_see_the_same(stores, keyring):
    one = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    two = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    [box] = one.new_ids(1)
    await one.commit(lambda s: Draft([MailboxOp(box, "INBOX", "", False, 7), Subscribe("INBOX", True)]))
    await one.commit(lambda s: Draft([add(one, box, 5, ("\\Seen", "Work"))]))
    await two.refresh()
    assert two.state.names == {"INBOX": box}
    table = two.state.mailboxes[box]
    assert (list(table.uids), table.uidvalidity, table.uidnext) == ([1, 2, 3, 4, 5], 7, 6)
    assert two.state.flagsets.sets[table.flags[0]] == ("\\Seen", "Work")
    entry = await two.commit(lambda s: Draft([Flags(box, table.ids[:3], ("\\Flagged",), ("work",))]))
    assert table.highestmodseq == entry.clock and list(table.changed_since(entry.clock - 1)) == [0, 1, 2]
    await two.commit(lambda s: Draft([Remove(box, table.ids[1:3])]))
    await one.refresh()
    table = one.state.mailboxes[box]
    assert list(table.uids) == [1, 4, 5]
    assert one.state.flagsets.sets[table.flags[0]] == ("\\Flagged", "\\Seen")
    assert list(table.removed_since(entry.clock)) == [2, 3]
    assert one.state.vector == two.state.vector
    three = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    assert list(three.state.mailboxes[box].uids) == [1, 4, 5]
    for journal in one, two, three:
        await journal.refresh()
        assert journal.settled and journal.version == journal.state.version


async def test_follow_wakes_who_waits(stores, keyring):
    one = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    two = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(two.follow)
            version = two.version
            await one.commit(lambda s: Draft([Subscribe("a", True)]))
            assert await two.wait_changed(version) > version
            assert two.state.subscribed == {"a"}
            nursery.cancel_scope.cancel()


async def test_commit_builds_on_the_newest_state(stores, keyring):
    one = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    two = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    await one.commit(lambda s: Draft([add(one, 1, 2)]))
    await two.commit(lambda s: Draft([add(two, 1, 2)]))
    await one.refresh()
    await two.refresh()
    await one.refresh()
    uids = list(one.state.table(1).uids)
    assert uids == list(two.state.table(1).uids) and len(uids) == 4
    assert list(one.state.table(1).ids) == list(two.state.table(1).ids)


async def test_rows_that_are_needless_go_with_one_call(keyring):
    stores, calls = MemoryStores(), CrashAt(0)
    store = await new_store(stores)
    rows = [Row(f"{n:02}", b"letter") for n in range(30)]
    await store.append("incoming", rows)
    one = await Journal.open(await stores.another(calls).open(ACCOUNT.hex()), keyring, ACCOUNT)
    before = calls.calls
    assert await one.commit(lambda s: Draft([], delete=[("incoming", row.key) for row in rows[1:]])) is None
    assert (await store.read("incoming"))[0] == rows[:1] and not one.state.vector
    assert calls.calls - before == 1


async def test_a_large_entry_is_spilled(stores, keyring):
    one = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    await one.commit(lambda s: Draft([add(one, 1, 20_000)]))
    every_other = one.state.table(1).ids[::2]
    await one.commit(lambda s: Draft([Flags(1, every_other, ("\\Seen",))]))
    two = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    assert len(two.state.table(1)) == 20_000
    assert two.state.table(1).flags == one.state.table(1).flags


async def test_a_checkpoint_opens_to_the_same_state(stores, keyring):
    store = await new_store(stores)
    one = await Journal.open(store, keyring, ACCOUNT)
    await one.commit(lambda s: Draft([MailboxOp(9, "INBOX", "", False, 7), Subscribe("INBOX", True)]))
    for _ in range(10):
        await one.commit(lambda s: Draft([add(one, 9, 1000, ("Work",))]))
    await one.commit(lambda s: Draft([Flags(9, one.state.table(9).ids[5000:5010], ("\\Seen",), ("work",))]))
    await one.commit(lambda s: Draft([Remove(9, one.state.table(9).ids[:10])]))
    assert await one.fold(force=True)
    first = set(await store.list("piece/"))
    assert len(first) == 3
    await one.commit(lambda s: Draft([Flags(9, one.state.table(9).ids[-2:], ("\\Seen",))]))
    await one.fold(force=True)
    assert len(set(await store.list("piece/")) - first) == 1  # what has not changed is named again
    await one.commit(lambda s: Draft([Flags(9, one.state.table(9).ids[-3:-2], ("\\Seen",))]))
    two = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    assert_same(one.state, two.state)
    await two.commit(lambda s: Draft([Flags(9, two.state.table(9).ids[:2], (), ("WORK",))]))
    await one.refresh()
    assert_same(one.state, two.state)


def assert_same(a, b):
    assert facts_of(a) == facts_of(b)


class Confirming:
    """A store that notes which rows are confirmed, and cannot while it is `away`."""

    def __init__(self, store):
        self._store = store
        self.confirmed = []
        self.away = False

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def confirm(self, partition, rows):
        if self.away:
            raise Unavailable
        self.confirmed += [row.key for row in rows]
        await self._store.confirm(partition, rows)


async def test_what_somebody_has_seen_needs_no_confirmation(keyring):
    stores = MemoryStores()
    writers = [await Journal.open(await new_store(stores), keyring, ACCOUNT) for _ in range(3)]
    for n in range(30):
        await writers[n % 2].commit(lambda s, n=n: Draft([add(writers[n % 2], 1, 1)]))
    apart = await writers[2].commit(lambda s: Draft([Subscribe("a", True)]))
    last = await writers[1].commit(lambda s: Draft([Subscribe("b", True)]))
    store = Confirming(await new_store(stores))
    reader = await Journal.open(store, keyring, ACCOUNT)
    newest = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    assert len(reader.state.table(1)) == 30 and facts_of(reader.state) == facts_of(newest.state)
    assert set(store.confirmed) == {apart.key, last.key}, "of more than thirty"


async def test_what_cannot_be_confirmed_is_not_applied(keyring):
    stores = MemoryStores()
    store = Confirming(await new_store(stores))
    one = await Journal.open(store, keyring, ACCOUNT)
    two = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    await two.commit(lambda s: Draft([Subscribe("a", True)]))
    store.away = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            await one.refresh()
        assert not one.state.subscribed and one.settled
    store.away = False
    await one.refresh()
    assert one.state.subscribed == {"a"}


async def test_of_two_rows_of_an_entry_the_one_that_stays_is_confirmed(keyring):
    stores = MemoryStores()
    newer = keyring.rotate()
    one = await Journal.open(await new_store(stores), keyring, ACCOUNT)
    store = Confirming(await new_store(stores))
    two = await Journal.open(store, newer, ACCOUNT)
    entry = await one.commit(lambda s: Draft([Subscribe("a", True)]))
    store.away = True
    with pytest.raises(Unavailable):
        await two.refresh()  # the row is shown, and waits to be confirmed
    [(key, value)] = (await store.read(PARTITION))[0]
    again = sealed_for(key, newer.current)
    await store.append(PARTITION, [Row(again, newer.seal("entry", again, newer.open("entry", key, value)))])
    await store.delete_rows(PARTITION, [key])
    store.away = False
    await two.refresh()
    assert two.state.subscribed == {"a"} and entry.key == key
    assert store.confirmed == [again]
    assert [row.key for row in (await store.read(PARTITION))[0]] == [again]
