"""How far back the history of an account goes, whatever compaction has left of it."""

from datetime import UTC, datetime
from random import Random

import pytest

from aerogramme.errors import Forgotten
from aerogramme.log import checkpoint
from aerogramme.log.clock import COUNTER_BITS, MAX_CLOCK
from aerogramme.log.entry import parse_key
from aerogramme.mailbox.history import letting_go
from aerogramme.mailbox.history.reach import check_reach
from aerogramme.store.memory import MemoryStores
from tests.t2_log.test_checkpoint import HOUR, KEYRING, Time, a_store, add
from tests.t2_log.test_past import a_life, past_at


def moment_of(error) -> str:
    return str(error.value).partition(" goes back to ")[2][:19]


async def test_before_the_account_was_made() -> None:
    now = Time()
    store = await a_store(MemoryStores(serial=True))
    journal, _ = await a_life(store, now, Random(3), steps=4)
    made = parse_key((await store.read("log"))[0][0].key)[0]
    records = journal.records
    await check_reach(store, records, made)
    await check_reach(store, records, MAX_CLOCK)
    with pytest.raises(Forgotten) as error:
        await check_reach(store, records, made - 1)
    assert moment_of(error) == "2023-11-14 22:13:20"
    empty = await MemoryStores().open("0" * 32, create=True)
    with pytest.raises(Forgotten):
        await check_reach(empty, records, MAX_CLOCK)


@pytest.mark.parametrize("first_stays", [False, True])
@pytest.mark.parametrize("deleted", [False, True])
async def test_what_was_let_go_is_not_told(first_stays, deleted) -> None:
    """Also when the deletion of old entries was cut short after some of them. Checkpoints go later."""
    now = Time()
    store = await a_store(MemoryStores(serial=True))
    journal, _ = await a_life(store, now, Random(4), steps=10)
    records = journal.records
    old = journal.state.clock
    now.ms += HOUR
    await add(journal)
    now.ms += HOUR
    await journal.fold(force=True)
    base = journal.state.clock
    now.ms += HOUR
    await add(journal)
    older = [n for n in await store.list(checkpoint.PREFIX) if checkpoint.clock_of(n) < base]
    assert older
    await store.append(letting_go.PARTITION, [letting_go.row(KEYRING, base, older)])
    if deleted:
        await store.delete(older)
    await check_reach(store, records, old)  # all entries are there
    keys = [row.key for row in (await store.read("log"))[0]]
    gone = [key for key in keys if key < checkpoint.horizon(journal.state)]
    await store.delete_rows("log", gone[first_stays:])
    for clock in base, base + 1, MAX_CLOCK:
        await check_reach(store, records, clock)
        assert len((await past_at(store, clock)).state.tables)
    for clock in old, base - 1:
        with pytest.raises(Forgotten) as error:
            await check_reach(store, records, clock)
    assert moment_of(error) == moment(base)


def moment(clock: int) -> str:
    return datetime.fromtimestamp((clock >> COUNTER_BITS) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
