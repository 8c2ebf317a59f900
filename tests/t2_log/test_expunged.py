"""What was expunged, as the log tells it: late entries, letters in two mailboxes, what cannot be read."""

import pytest

from aerogramme.log.entry import KIND, Add, Again, MailboxOp, Remove
from aerogramme.log.entry_bytes import encode
from aerogramme.log.expunged import find_expunged
from aerogramme.log.journal import Draft
from aerogramme.log.segment import PackedBodies, pack
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row
from tests.t2_log.test_checkpoint import KEYRING, MINUTE, Time, a_store, add, digest, flag, opened


@pytest.fixture
def now():
    return Time()


@pytest.fixture
async def journal(now):
    journal = await opened(await a_store(MemoryStores(serial=True)), now)
    for box, name in ((1, "INBOX"), (2, "Other")):
        await journal.commit(
            lambda _, b=box, n=name: Draft([MailboxOp(b, name=n, deleted=False, uidvalidity=b)])
        )
    return journal


def remove(box, *ids):
    return lambda _: Draft([Remove(box, ids)])


async def found_since(journal, since, until=1 << 62):
    found = await find_expunged(journal.records, since, until)
    assert found.state.vector == journal.state.vector
    return found


async def test_a_message_is_told_as_it_was(journal) -> None:
    [one, two] = await add(journal, 2, flags=("\\Seen",))
    await journal.fold(force=True)
    since = journal.state.clock
    await journal.commit(flag(1, [one], "x"))
    await journal.commit(lambda _: Draft([MailboxOp(1, name="Renamed"), Remove(1, [one])]))
    clock = journal.state.clock
    await journal.commit(flag(1, [two], "y"))
    await journal.commit(remove(1, one, two))
    found = await found_since(journal, since)
    told = [(m.id, m.mailbox, m.name, m.whole, m.uid, m.flags, m.content) for m in found.messages]
    assert told == [
        (one, 1, "INBOX", False, 1, ("\\Seen", "x"), one),
        (two, 1, "Renamed", False, 2, ("\\Seen", "y"), two),
    ]
    assert [m.id for m in (await found_since(journal, since, clock)).messages] == [one]
    assert [m.id for m in (await found_since(journal, clock)).messages] == [two]


async def test_deleted_mailboxes(journal) -> None:
    [one] = await add(journal, box=2)
    since = journal.state.clock
    await journal.commit(lambda _: Draft([MailboxOp(2, role="\\Sent")]))
    await journal.commit(lambda _: Draft([Remove(2, [one]), MailboxOp(2, deleted=True)]))
    await journal.commit(lambda _: Draft([MailboxOp(2, deleted=True)]))
    found = await found_since(journal, since)
    assert found.mailboxes == {2: ("Other", "\\Sent")}
    assert [(m.name, m.whole) for m in found.messages] == [("Other", True)]


async def test_a_letter_that_two_servers_have_drained_is_still_there(journal) -> None:
    """It was put into two mailboxes, and is taken out of one (rules.once)."""
    [one] = await add(journal)
    since = journal.state.clock
    await journal.commit(lambda _: Draft([Add(2, [one], [1], [1], [2], [()], [one])]))
    await journal.commit(remove(1, one))
    assert (await found_since(journal, since)).messages == []
    await journal.commit(remove(2, one))
    assert [(m.id, m.name) for m in (await found_since(journal, since)).messages] == [(one, "Other")]


async def test_what_another_entry_says_again_counts(journal, now) -> None:
    """An entry that came late, whose own row is gone: it is told once, as are those whose row is there."""
    [one, two] = await add(journal, 2)
    await journal.fold(force=True)
    since = journal.state.clock
    other = await opened(await a_store(MemoryStores(serial=True)), now, seed=2)
    for n, message in enumerate((one, two)):
        now.ms += MINUTE
        late = await other.commit(remove(1, message))
        if n:
            sealed = KEYRING.seal(KIND, late.key, encode(late))
            await journal.records.store.append("log", [Row(late.key, sealed)])
        await journal.commit(lambda _, e=late: Draft([Again(e.key, encode(e))]))
    found = await found_since(journal, since)
    assert [m.id for m in found.messages] == [one, two]


async def test_entries_that_cannot_be_read_are_counted(journal, now) -> None:
    since = journal.state.clock
    for replica, at in ((1, since - 1), (1, since + 1), (2, since + 2)):
        await journal.records.store.append("log", [Row(f"{at:016x}-{replica:010x}-{at & 7 | 1:08x}", b"?")])
    found = await find_expunged(journal.records, since, since + 1)
    assert found.unreadable == 1


async def test_a_digest_that_is_needed_again_is_not_left_out_of_a_merge(journal, now) -> None:
    """Somebody brings a message back while compaction leaves its digest out."""
    ids = await add(journal, 3)
    await journal.fold(force=True)
    await journal.commit(remove(1, *ids[:2]))
    back = {}

    async def packer(contents, groups, packs):
        packed = pack(KEYRING, [ids[0]], {"digest": {"d": [b"%d" % ids[0]]}})
        draft = Draft([Add(1, [7], [100], [1], [2], [()], [ids[0]], packed.ref)], packed.objects)
        back["entry"] = await journal.commit(lambda _: draft)
        return PackedBodies(groups, packs, list(contents))

    await journal.fold(packer, force=True, without=set(ids[:2]))
    assert back
    again = await opened(journal.records.store, now, seed=3)
    for one in journal, again:
        assert await digest(one, ids[0]) == b"%d" % ids[0]
