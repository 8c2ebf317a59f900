"""Checkpoints: nothing is lost by a crash, by damage or by time; what comes late or out of order is found."""

from random import Random

import pytest

from aerogramme.errors import Damaged, Unavailable
from aerogramme.log import bundle, folding, piece, segment
from aerogramme.log.clock import COUNTER_BITS
from aerogramme.log.entry import KIND, NO_LINK, PARTITION, Add, Entry, Flags, MailboxOp, Remove, Subscribe
from aerogramme.log.entry_bytes import encode
from aerogramme.log.journal import Draft, Journal
from aerogramme.log.manifest import read
from aerogramme.log.segment import pack
from aerogramme.log.state import again
from aerogramme.seal import Keyring
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row
from tests.helpers.log_facts import facts_of

ACCOUNT = bytes(range(16))
KEYRING = Keyring.create(ACCOUNT)
MINUTE, HOUR = 60_000, 3_600_000


class Time:
    def __init__(self):
        self.ms = 1_700_000_000_000

    def __call__(self):
        return self.ms


@pytest.fixture
def now():
    return Time()


@pytest.fixture
def stores():
    return MemoryStores()


async def a_store(stores):
    return await stores.open(ACCOUNT.hex(), create=True)


async def opened(store, now, seed=1):
    return await Journal.open(store, KEYRING, ACCOUNT, now_ms=now, rng=Random(seed))


async def add(journal, n=1, box=1, flags=(), uid=None):
    """New messages with digests; their ids."""
    ids = journal.new_ids(n)
    packed = pack(KEYRING, ids, {"digest": {"d": [b"%d" % i for i in ids]}})

    def build(state):
        first = uid or state.table(box).uidnext
        uids = range(first, first + n)
        return Draft([Add(box, ids, uids, [1] * n, [2] * n, [flags] * n, ids, packed.ref)], packed.objects)

    await journal.commit(build)
    return list(ids)


def flag(box, ids, *names):
    return lambda state: Draft([Flags(box, ids, names)])


async def digest(journal, content):
    segment, position = journal.state.contents.find(content)
    [columns] = await journal.segments.load([segment], "digest")
    return columns["d"][position]


async def test_digests_are_found_before_and_after_folds(stores, now):
    one = await opened(await a_store(stores), now)
    ids = [i for n in (3, 1, 600, 2) for i in await add(one, n)]
    index = one.state.contents.find(ids[0])[0]
    for _ in range(3):
        await one.fold(force=True)
        two = await opened(await a_store(stores), now, seed=2)
        for journal in one, two:
            for content in ids[0], ids[3], ids[-1]:
                assert await digest(journal, content) == b"%d" % content
        assert facts_of(one.state) == facts_of(two.state)
        ids += await add(one, 2)
    assert one.state.contents.find(ids[0])[0] != index
    assert len(one.state.named_segments()) <= 3


async def test_a_segment_that_cannot_be_read_keeps_no_other_from_being_merged(stores, now, caplog):
    store = await a_store(stores)
    one = await opened(store, now)
    ids = [i for _ in range(20) for i in await add_scattered(one, 2)]
    [lost] = [ref.name for ref in one.state.segments if ids[13] in ref.contents]
    for ref in one.state.segments:
        if ref.name == lost:
            object.__setattr__(ref, "inline", {"digest": b"no", "text": b"no"})
    for _ in range(2):
        assert await one.fold(force=True)
    assert len(one.state.named_segments()) <= 5 and one.state.inline_size == 4
    assert [record.getMessage().count(lost) for record in caplog.records] == [1]
    there = [i for i in ids if i not in ids[12:14]]
    assert [await digest(one, content) for content in there] == [b"%d" % content for content in there]


async def test_large_digests_are_merged_as_far_as_memory_goes(stores, now, monkeypatch):
    monkeypatch.setattr(segment, "MERGED_MAX", 5000)  # a digest here counts some 120 octets
    monkeypatch.setattr(segment, "MERGE_STEP", 3)
    one = await opened(await a_store(stores), now)
    ids = [i for _ in range(100) for i in await add(one)]
    held = []
    load = one.segments.load
    monkeypatch.setattr(one.segments, "load", lambda *asked: held.append(len(asked[0])) or load(*asked))
    assert await one.fold(force=True)
    assert max(held) <= 3
    two = await opened(await a_store(stores), now, seed=2)
    assert [await digest(two, content) for content in ids] == [b"%d" % content for content in ids]
    assert 3 <= len(two.state.named_segments()) <= 8


def scattered(journal, n):
    """Ids of which no two follow one another, as letters get them from a process that many accounts use."""
    return list(journal.new_ids(2 * n))[::2]


async def add_scattered(journal, n):
    ids = scattered(journal, n)
    packed = pack(KEYRING, ids, {group: {"d": [b"%d" % i for i in ids]} for group in ("digest", "text")})

    def build(state):
        first = state.table(1).uidnext
        added = Add(1, ids, range(first, first + n), [1] * n, [2] * n, [()] * n, ids, packed.ref)
        return Draft([added], packed.objects)

    await journal.commit(build)
    return ids


@pytest.fixture
def bundles(monkeypatch):
    """Also where few segments have long lists of contents."""
    monkeypatch.setattr(bundle, "FEW", 0)


async def test_a_long_list_of_contents_is_not_written_with_each_checkpoint(stores, now, bundles):
    store = await a_store(stores)
    one = await opened(store, now)
    ids = [i for _ in range(5) for i in await add_scattered(one, 900)]
    await one.fold(force=True)
    await one.commit(flag(1, ids[:1], "\\Seen"))
    await one.fold(force=True)
    [newest, *_] = await store.sizes("checkpoint/")
    assert newest[1] < 2000  # 4,500 contents have 20,000 octets
    two = await opened(store, now, seed=2)
    assert facts_of(two.state) == facts_of(one.state)
    assert await digest(two, ids[0]) == b"%d" % ids[0]
    assert await digest(two, ids[-1]) == b"%d" % ids[-1]
    await two.commit(flag(1, ids[:2], "\\Flagged"))
    await two.fold(force=True)  # the names again, without the contents
    assert facts_of((await opened(store, now, seed=3)).state) == facts_of(two.state)


async def test_many_long_lists_are_few_objects(stores, now, monkeypatch):
    monkeypatch.setattr(folding, "SEGMENT", 70)  # so that it takes no 150,000 messages
    monkeypatch.setattr(bundle, "FULL", 16)
    store = await a_store(stores)
    one, written = await opened(store, now), []
    for _ in range(60):
        await add_scattered(one, 70)
        before = {name for name, _ in await store.sizes("bundle/")}
        await one.fold(force=True)
        written += [octets for name, octets in await store.sizes("bundle/") if name not in before]
    assert len(one.state.named_segments()) == 60 and 2 <= len(one.state.bundles) <= 6
    assert len(written) <= 60 / bundle.FEW and max(written) < 20_000
    two = await opened(store, now, seed=2)
    assert facts_of(two.state) == facts_of(one.state) and two.state.bundles == one.state.bundles


@pytest.mark.parametrize("left", [3, 2, 1])
async def test_each_group_of_a_segment_tells_its_contents(stores, now, left, bundles):
    store = await a_store(stores)
    one = await opened(store, now)
    ids = await add_scattered(one, 900)
    await one.fold(force=True)
    names = [*await store.list("bundle/"), *await store.list("segment/")]
    assert [name.rpartition("/")[2] for name in names[1:]] == ["digest", "text"]
    for name in names[: 3 - left]:
        await store.delete([name])
        await store.put(name, b"damaged")
    two = await opened(store, now, seed=2)
    assert facts_of(two.state) == facts_of(one.state) and not two.state.damaged
    assert all(content in two.state.contents for content in ids)


async def test_a_segment_of_which_nothing_can_be_read_takes_no_message_with_it(stores, now, bundles):
    store = await a_store(stores)
    one = await opened(store, now)
    ids = await add_scattered(one, 900)
    await one.fold(force=True)
    await store.delete(await store.list("bundle/") + await store.list("segment/"))
    two = await opened(store, now, seed=2)
    assert list(two.state.tables[1].ids) == ids
    assert two.state.contents.find(ids[0]) is None
    with pytest.raises(Damaged):  # but who deletes what is not needed goes by nothing that is not known
        await read(two.records, two.state.checkpoint)


async def test_a_fold_that_dies_at_any_call_loses_nothing(now):
    for call in range(1, 30):
        stores = MemoryStores()
        one = await opened(await a_store(stores), now)
        ids = await add(one, 300)
        await one.fold(force=True)
        await one.commit(flag(1, ids[:5], "\\Seen"))
        ids += await add(one, 2)
        expected = facts_of(one.state)
        dying = CrashAt(0)
        two = await opened(await a_store(stores.another(dying)), now, seed=2)
        dying.n = dying.calls + call
        try:
            await two.fold(force=True)
        except Crash:
            ended = False
        else:
            ended = True
        three = await opened(await a_store(stores), now, seed=3)
        assert facts_of(three.state) == expected
        assert await digest(three, ids[-1]) == b"%d" % ids[-1]
        if ended:
            assert call > 4
            return
    pytest.fail("a fold has no end")


async def test_a_fold_that_fails_can_be_done_again(now):
    stores = MemoryStores()
    failing = CrashAt(0, error=Unavailable())
    one = await opened(await a_store(stores.another(failing)), now)
    ids = await add(one, 300)
    await one.fold(force=True)
    await one.commit(flag(1, ids[:1], "\\Seen"))
    failing.n = failing.calls + 2  # a read, then the first object
    with pytest.raises(Unavailable):
        await one.fold(force=True)
    assert await one.fold(force=True)
    two = await opened(await a_store(stores), now, seed=2)
    assert facts_of(one.state) == facts_of(two.state)


async def test_a_state_that_cannot_be_encoded_now_is_whole_in_the_next_checkpoint(stores, now, monkeypatch):
    store = await a_store(stores)
    one = await opened(store, now)
    ids = {box: await add(one, 300, box) for box in (1, 2)}
    await one.fold(force=True)
    for box in ids:
        await one.commit(flag(box, ids[box][:1], "\\Seen"))

    def full(table, start, stop):
        if table.mailbox == 2:
            raise MemoryError
        return encode_rows(table, start, stop)

    with monkeypatch.context() as patch:
        encode_rows = piece.encode_rows
        patch.setattr(piece, "encode_rows", full)
        with pytest.raises(MemoryError):
            await one.fold(force=True)
    await one.fold(force=True)
    await store.delete_range(PARTITION, "0", "g")
    assert facts_of((await opened(store, now, 2)).state) == facts_of(one.state)


async def test_a_damaged_checkpoint_is_passed_over(stores, now):
    store = await a_store(stores)
    one = await opened(store, now)
    ids = await add(one, 300)
    await one.fold(force=True)
    await one.commit(flag(1, ids[:5], "\\Seen"))
    await one.fold(force=True)
    [newest, oldest] = await store.list("checkpoint/")
    body = await store.get(newest)
    await store.delete([newest])
    await store.put(newest, body[:-1])
    two = await opened(await a_store(stores), now, seed=2)
    assert facts_of(one.state) == facts_of(two.state) and set(two.damaged) == {newest}
    await store.delete(await store.list("piece/"))  # what is left is the log itself
    three = await opened(await a_store(stores), now, seed=3)
    assert set(three.damaged) == {newest, oldest}
    assert facts_of(one.state) == facts_of(three.state)


async def test_a_damaged_entry_is_left_out_and_the_rest_is_read(stores, now):
    store = await a_store(stores)
    one = await opened(store, now)
    await add(one, 2)
    [bad] = await add(one)
    await add(one, 2)
    rows, _ = await store.read(PARTITION)
    broken = rows[1].value[:-1] + bytes([rows[1].value[-1] ^ 1])
    await store.delete_rows(PARTITION, [rows[1].key])
    await store.append(PARTITION, [Row(rows[1].key, broken), Row("nonsense", b"x")])
    two = await opened(await a_store(stores), now, seed=2)
    assert set(two.damaged) == {rows[1].key, "nonsense"}
    assert list(two.state.table(1).uids) == [1, 2, 4, 5] and bad not in two.state.table(1).ids
    await add(two)
    await two.fold(force=True)
    three = await opened(await a_store(stores), now, seed=3)
    assert rows[1].key in three.damaged and list(three.state.table(1).uids) == [1, 2, 4, 5, 6]


async def test_what_comes_much_later_is_said_again(stores, now):
    store = await a_store(stores)
    one = await opened(store, now)
    await add(one, 3)
    two = await opened(await a_store(stores), now, seed=2)
    [late] = await add(two, flags=("Work",))
    row = (await store.read(PARTITION))[0][-1]
    await store.delete_rows(PARTITION, [row.key])
    now.ms += HOUR
    await add(one, 1)
    await one.fold(force=True)
    await store.append(PARTITION, [row])
    three = await opened(await a_store(stores), now, seed=3)
    await one.refresh()
    for journal in one, three:
        assert late not in journal.state.table(1).ids  # nobody looks for it
    # But who can read no checkpoint reads all there is.
    damaged = await a_store(stores.another())
    damaged.list = lambda *_, **__: _none()
    four = await opened(damaged, now, seed=4)
    for journal in [three, four, one] * 2:
        await journal.refresh()
    for journal in one, three, four:
        assert late in journal.state.table(1).ids and journal.settled
        assert facts_of(journal.state) == facts_of(one.state)


async def _none():
    return []


async def test_an_entry_brings_what_it_says_again_and_what_that_does(stores, now):
    """Whoever starts from a checkpoint finds the rows of neither: it must not wait for them."""
    late = Entry(5, 5, 1, NO_LINK, (Subscribe("late", True),))
    one = Entry(6, 6, 1, NO_LINK, tuple(again([late])), {5: 1})
    other = Entry(now.ms << COUNTER_BITS, 7, 1, NO_LINK, tuple(again([one])), {5: 1, 6: 1})
    store = await a_store(stores)
    await store.append(PARTITION, [Row(other.key, KEYRING.seal(KIND, other.key, encode(other)))])
    journal = await opened(store, now)
    await journal.refresh()
    assert journal.state.subscribed == {"late"} and journal.state.vector == {5: 1, 6: 1, 7: 1}


async def test_an_entry_waits_for_what_its_writer_had_seen(stores, now):
    one = await opened(await a_store(stores), now)
    await add(one)
    two = await opened(await a_store(stores), now, seed=2)
    await two.commit(flag(1, two.state.table(1).ids[:], "\\Seen"))

    class Pages:
        """A store whose read has seen the last row and not the first."""

        missing = 1

        def __init__(self, store):
            self._store = store

        def __getattr__(self, name):
            return getattr(self._store, name)

        async def read(self, partition, cursor=None, after=""):
            rows, cursor = await self._store.read(partition, None, "")
            if self.missing and partition == PARTITION:
                self.missing -= 1
                rows = rows[1:]
            return rows, cursor

    three = await opened(Pages(await a_store(stores)), now, seed=3)
    assert facts_of(three.state) == facts_of(two.state)
    store = Pages(await a_store(stores))
    store.missing = 1000
    with pytest.raises(Unavailable):
        await opened(store, now, seed=4)
    now.ms += 11 * MINUTE  # now it counts as lost
    assert (await opened(store, now, seed=5)).state.table(1).early


async def test_a_message_that_appears_below_uidnext_gets_another_uid(stores, now):
    one = await opened(await a_store(stores), now)
    await add(one, 2)
    two = await opened(await a_store(stores), now, seed=2)
    await add(two, uid=9)
    await one.refresh()
    assert one.state.table(1).uidnext == 10
    three = await opened(await a_store(stores), now, seed=3)
    [message] = await add(three, uid=5)
    await one.refresh()
    assert message in one.state.table(1).ids
    assert list(one.state.table(1).uids) == [1, 2, 9, 10]


async def test_a_silent_replica_goes_on_under_another_name(stores, now):
    one = await opened(await a_store(stores), now)
    await add(one)
    replica = one.replica
    now.ms += 50 * MINUTE
    await add(one)
    assert one.replica == replica
    now.ms += 61 * MINUTE
    await add(one)
    assert one.replica != replica
    now.ms += 26 * HOUR
    await add(one)
    await one.fold(force=True)
    assert len(one.state.vector) == 1  # those who are silent for a day are forgotten
    two = await opened(await a_store(stores), now, seed=2)
    assert facts_of(one.state) == facts_of(two.state)


async def test_tombstones_are_forgotten_after_their_time(stores, now):
    one = await opened(await a_store(stores), now)
    ids = await add(one, 4)
    await one.commit(
        lambda s: Draft([MailboxOp(2, "Gone", "", False, 5), MailboxOp(1, "INBOX", "", False, 4)])
    )
    start = one.state.table(1).highestmodseq
    await one.commit(lambda s: Draft([Remove(1, ids[1:3]), MailboxOp(2, deleted=True)]))
    await one.fold(force=True)
    assert list(one.state.table(1).removed_since(start)) == [2, 3]
    now.ms += 8 * 24 * HOUR
    await add(one)
    await one.fold(force=True)
    two = await opened(await a_store(stores), now, seed=2)
    for journal in one, two:
        table = journal.state.table(1)
        assert not table.tombs.ids and 2 not in journal.state.tables
        assert list(table.removed_since(start)) == [2, 3]  # all UIDs that are not there
        assert list(table.removed_since(table.highestmodseq - 1)) == []
        assert journal.state.last_uidvalidity == 5
    await add(two, uid=2)  # a UID that has been forgotten
    assert list(two.state.table(1).uids) == [1, 4, 5, 6]


async def test_a_checkpoint_is_written_when_it_is_worth_it(stores, now):
    one = await opened(await a_store(stores), now)
    assert not await one.fold()
    ids = await add(one)
    for _ in range(255):
        await one.commit(flag(1, ids, "\\Seen"))
    assert await one.fold()
    assert not await one.fold()


@pytest.mark.parametrize("serial", [False, True])
async def test_an_append_that_dies_anywhere_leaves_a_log_that_goes_on(now, serial):
    for call in range(1, 12):
        for steps in range(3):
            stores = MemoryStores(serial=serial)
            one = await opened(await a_store(stores), now)
            ids = await add(one, 2)
            dying = CrashAt(0, steps=steps)
            two = await opened(await a_store(stores.another(dying)), now, seed=2)
            dying.n = dying.calls + call
            acknowledged = []
            try:
                for n in range(8):
                    acknowledged += await add(two)
                    await two.commit(flag(1, ids[:1], f"f{n}"))
            except Crash:
                pass
            three = await opened(await a_store(stores), now, seed=3)
            await add(three)
            await one.refresh()
            await three.refresh()
            for journal in one, three:
                assert set(acknowledged) <= set(journal.state.table(1).ids) and not journal.damaged
            assert facts_of(one.state) == facts_of(three.state)


async def test_a_cause_that_is_behind_the_cursor_is_found(stores, now):
    """A row whose append failed, and that others have confirmed since, may be older than a cursor looks."""
    two = await opened(await a_store(stores), now, seed=2)
    cause = []

    class Short:
        def __init__(self, store):
            self._store = store

        def __getattr__(self, name):
            return getattr(self._store, name)

        async def read(self, partition, cursor=None, after=""):
            rows, moved = await self._store.read(partition, cursor, after)
            return [row for row in rows if cursor is None or row.key not in cause], moved

    one = await opened(Short(await a_store(stores)), now)
    ids = await add(two)
    cause += [row.key for row in (await (await a_store(stores)).read(PARTITION))[0]]
    three = await opened(await a_store(stores), now, seed=3)
    await three.commit(flag(1, ids, "\\Seen"))
    await one.refresh()
    await three.refresh()
    assert facts_of(one.state) == facts_of(three.state) and list(one.state.table(1).ids) == ids
