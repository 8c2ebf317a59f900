"""What a mailbox of 100,000 messages costs: who changes a flag, who opens it, and memory while it is open.

Octets and calls, no times. `python -m benchmarks.large` has the same of an account in all kinds of stores.
"""

import gc
import tracemalloc
from random import Random

import pytest
import trio

from aerogramme.log.entry import Add, Flags, MailboxOp, SegmentRef
from aerogramme.log.journal import Draft, Journal
from aerogramme.seal import Keyring
from aerogramme.store.memory import MemoryStores
from tests.helpers.counting import CountingStores

ACCOUNT = bytes(range(16))
KEYRING = Keyring.create(ACCOUNT)
INBOX, MESSAGES, AT_ONCE, READINGS = 1 << 24 | 1, 100_000, 1000, 500


class Time:
    ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


async def opened(stores) -> Journal:
    store = await stores.open(ACCOUNT.hex(), create=True)
    return await Journal.open(store, KEYRING, ACCOUNT, now_ms=Time(), rng=Random(6))


async def fill(stores) -> None:
    """A mailbox that was moved in, and then read, some at a time."""
    random, journal = Random(6), await opened(stores)
    name = MailboxOp(INBOX, name="INBOX", deleted=False, uidvalidity=1)
    await journal.commit(lambda _: Draft([name]))
    for first in range(1, MESSAGES, AT_ONCE):
        Time.ms += 60_000
        ids, uids = journal.new_ids(AT_ONCE), range(first, first + AT_ONCE)
        dates = [1_500_000_000 + 900 * uid + random.randrange(900) for uid in uids]
        sizes = [int(random.lognormvariate(9, 1)) for _ in uids]
        segment = SegmentRef(f"{random.getrandbits(128):032x}", ids, ("list", "text", "parts"))
        added = Add(INBOX, ids, uids, dates, sizes, [()] * AT_ONCE, ids, segment)
        await journal.commit(lambda _, added=added: Draft([added]))
    unread = list(journal.state.tables[INBOX].ids)
    random.shuffle(unread)
    for first in range(0, len(unread) * 95 // 100, len(unread) // READINGS):
        Time.ms += random.randrange(3_000_000)
        read = Flags(INBOX, sorted(unread[first : first + len(unread) // READINGS]), ("\\Seen",))
        await journal.commit(lambda _, read=read: Draft([read]))
    await journal.fold(force=True)


@pytest.fixture(scope="module")
def filled() -> CountingStores:
    stores = CountingStores(MemoryStores(serial=True))
    trio.run(fill, stores)
    return stores


async def test_a_flag_and_a_checkpoint_write_less_than_100_kb(filled) -> None:
    journal = await opened(filled)
    Time.ms += 60_000
    for message in journal.state.tables[INBOX].ids[50_000], journal.state.tables[INBOX].ids[7]:
        filled.given, filled.calls = 0, []
        await journal.commit(lambda _, message=message: Draft([Flags(INBOX, [message], ("\\Flagged",))]))
        assert await journal.fold(force=True)
        assert filled.calls.count("append") == 1 and filled.calls.count("put") == 2  # a piece, a manifest
        assert filled.given < 70_000


async def test_who_opens_it_reads_less_than_two_megabytes(filled) -> None:
    filled.taken, filled.calls = 0, []
    journal = await opened(filled)
    assert len(journal.state.tables[INBOX]) == MESSAGES
    assert filled.taken < 2_000_000
    assert sorted(filled.calls) == [
        "get_many",
        "get_many",
        "list",
        "read",
    ]  # of which the read waits for none


async def test_a_message_takes_less_than_64_octets(filled) -> None:
    await opened(filled)  # what is kept once, whatever is opened
    gc.collect()
    tracemalloc.start()
    journal = await opened(filled)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(journal.state.tables[INBOX]) == MESSAGES
    assert size < 64 * MESSAGES
