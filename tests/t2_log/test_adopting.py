"""Adopting: of several servers that write checkpoints each names the parts that the newest one names."""

import pytest

from aerogramme.errors import Outdated
from aerogramme.log import checkpoint, manifest
from aerogramme.log.entry import Remove
from aerogramme.log.journal import Draft
from aerogramme.store.memory import MemoryStores
from tests.helpers.log_facts import facts_of
from tests.t2_log.test_checkpoint import HOUR, Time, a_store, add, digest, flag, opened


async def newest(journal):
    [name, *_] = await checkpoint.newest(journal.records.store)
    return name, await manifest.read(journal.records, name)


async def pieces_of(store):
    return set(await store.list("piece/"))


@pytest.fixture(params=[True, False], ids=["serialized", "not"])
async def two(request):
    """Two servers, and the store."""
    stores, now = MemoryStores(serial=request.param), Time()
    store = await a_store(stores)
    one, other = await opened(store, now), await opened(await a_store(stores), now, seed=2)
    return one, other, store, now


async def test_a_checkpoint_of_another_is_gone_on_from(two):
    one, other, store, _ = two
    ids = await add(one, 9000)
    await one.fold(force=True)
    await other.refresh()
    assert await other.look()
    before = await pieces_of(store)
    assert other.state.checkpoint == one.state.checkpoint and not other.state.history.tail
    await other.commit(flag(1, ids[5000:5001], "\\Seen"))
    await other.fold(force=True)
    assert len(await pieces_of(store) - before) == 1  # of three
    assert await one.look()
    assert one.state.table(1).pieces == other.state.table(1).pieces
    assert facts_of(one.state) == facts_of((await opened(store, two[3], seed=3)).state)


async def test_what_the_other_has_not_seen_is_written(two):
    """The tail of the one who adopts: added, removed and changed since, in pieces and in none."""
    one, other, store, now = two
    ids = await add(one, 9000)
    await one.fold(force=True)
    await other.refresh()
    new = await add(one, 3)
    await one.commit(flag(1, ids[:2], "\\Flagged"))
    await one.commit(lambda state: Draft([Remove(1, ids[4500:4600])]))
    await one.commit(flag(1, [*new, ids[8999]], "\\Seen"))
    await other.fold(force=True)
    more = await add(one, 2, flags=("x",))
    await one.commit(flag(1, ids[1:2], "\\Deleted"))
    assert await one.look()
    assert one.state.checkpoint == other.state.checkpoint and one.state.history.tail == 2
    for content in ids[0], new[0], more[1]:
        assert await digest(one, content) == b"%d" % content
    await one.fold(force=True)
    three = await opened(store, now, seed=3)
    assert facts_of(three.state) == facts_of(one.state) and three.state.checkpoint == one.state.checkpoint
    for content in ids[0], ids[8999], new[0], more[1]:
        assert await digest(three, content) == b"%d" % content


async def test_segments_are_those_of_the_newest_checkpoint(two):
    one, other, _, _ = two
    ids = [content for _ in range(5) for content in await add(one, 100)]
    await other.refresh()
    await one.fold(force=True)  # merges five into one
    more = await add(one, 1)
    await other.refresh()
    assert await other.look()
    _, said = await newest(one)
    named = {other.state.segments[index].name for index in other.state.named_segments()}
    assert {ref.name for ref in said.segments} < named and len(named) == 2
    for content in ids[0], ids[-1], more[0]:
        assert await digest(other, content) == b"%d" % content


async def test_who_folds_again_when_another_just_has_writes_nothing(two):
    one, other, store, _ = two
    for _ in range(260):
        await add(one)
    await other.refresh()
    assert await one.fold()
    names = await store.list("checkpoint/")
    assert not await other.fold()
    assert await store.list("checkpoint/") == names and other.state.history.tail == 0


async def test_a_checkpoint_that_knows_less_is_not_taken_over(two):
    """It has the higher name, and lacks what is in the one of this state."""
    one, other, store, _ = two
    await add(one, 3)
    await other.refresh()
    snapshot = checkpoint.take(other.state, other._keyring)  # taken, and on its way for long
    ids = await add(one, 2)
    await one.fold(force=True)
    name = checkpoint.PREFIX + "0" * 28
    plain = other._keyring.open(manifest.KIND, *snapshot.objects[-1])
    await store.put(name, other._keyring.seal(manifest.KIND, name, plain))
    assert (await newest(one))[0] == name
    assert not await one.look()
    assert await digest(one, ids[0]) == b"%d" % ids[0]
    assert one.state.checkpoint != name


async def test_who_has_been_away_for_long_must_open_anew(two):
    one, other, store, now = two
    await add(one)
    await one.fold(force=True)
    await other.refresh()
    now.ms += 13 * HOUR
    await one.refresh()  # nobody has written a checkpoint since
    with pytest.raises(Outdated):
        await other.refresh()
    three = await opened(store, now, seed=3)
    await three.refresh()
    assert facts_of(three.state) == facts_of(one.state)
