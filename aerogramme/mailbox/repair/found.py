"""Mail that no message has any more, because what said so is lost: it comes to the mailbox Recovered.

Its flags and its mailbox are lost with the entry, or the piece of an index, that told them. What is in
Recovered already is not looked for again: its content has a message.
"""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress

import trio

from aerogramme.errors import AlreadyExists
from aerogramme.log.clock import COUNTER_BITS, wall_ms
from aerogramme.log.entry import MAX_UID, Add, SegmentRef
from aerogramme.log.journal import Draft
from aerogramme.log.state import State
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.elsewhere import Digest, lost_mail, own_digests, record_of, with_bodies
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.history import letting_go
from aerogramme.mailbox.history.survey import survey
from aerogramme.mailbox.repair.names import RECOVERED
from aerogramme.mailbox.repair.placeholder import DAY

BATCH = 1000  # messages of one entry
# Seconds from when the objects of an append are there until its row is, where that is not at once: the stores
# promise a minute (store/port.py).
LAG = 90.0


async def mend(account: Account, faults: list[Fault], lag: float | None = None) -> AsyncGenerator[str, None]:
    names = {fault.segment for fault in faults if fault.kind in (Kind.FOUND, Kind.UNFINISHED)}
    if not names:
        return
    if lag is None:
        lag = 0.0 if account.store.serialized else LAG
    if lag:
        yield f"waiting for {lag:.0f} seconds: what others are just writing is not lost"
        await trio.sleep(lag)
        await account.refresh()
    lost = await lost_mail(account, await survey(account, wall_ms()))
    lost = [each for each in lost if each.name in names]
    if any(not each.needless for each in lost):
        with suppress(AlreadyExists):
            await account.create_mailbox(RECOVERED)
    for n, each in enumerate(lost):
        yield f"recovering mail: {n + 1} of {len(lost)}"
        if each.needless:  # deleted in a day, by the next compaction, if nothing needs it by then
            await account.journal.records.fresh()
            row = letting_go.row(account.keyring, wall_ms() << COUNTER_BITS, each.names())
            await account.store.append(letting_go.PARTITION, [row])
        # What messages have already is in the segment, and in no message: that is nothing unusual.
        contents = sorted(each.digests.keys() - each.again)
        await _bring(account, each.digests, contents, each.segment)


async def mend_missing(account: Account, faults: list[Fault]) -> AsyncGenerator[str, None]:
    """Brings back what a lost piece of an index told of. Which letters those were nobody can tell: so all
    that are there come that no message has, those among them that were deleted lately."""
    if not any(fault.kind == Kind.MISSING for fault in faults):
        return
    state = account.state
    live = {content for table in state.tables.values() for content in table.contents}
    live.update(hidden.content for table in state.tables.values() for hidden in table.hidden.values())
    indices = sorted(state.named_segments())
    for n, index in enumerate(indices):
        yield f"looking for letters that are in no mailbox: {n + 1} of {len(indices)}"
        contents = [content for content in state.segments[index].contents if content not in live]
        digests = await own_digests(account, contents, ("digest",))
        there = await with_bodies(account, digests)
        if there:
            with suppress(AlreadyExists):
                await account.create_mailbox(RECOVERED)
            await _bring(account, there, sorted(there), None)
    state.missing.clear()  # a checkpoint can be written now, and is, by parts.py


async def _bring(
    account: Account, digests: Mapping[int, Digest], contents: Sequence[int], segment: SegmentRef | None
) -> None:
    """Messages with these contents, of one segment, in Recovered. One entry for each BATCH of them."""
    for start in range(0, len(contents), BATCH):
        await _bring_some(account, digests, contents[start : start + BATCH], segment)


async def _bring_some(
    account: Account, digests: Mapping[int, Digest], contents: Sequence[int], segment: SegmentRef | None
) -> None:
    ids = account.journal.new_ids(len(contents))
    sizes, dates, now = [], [], int(time.time())
    for content in contents:
        record = record_of(digests[content])
        assert record is not None  # else it would not be among them
        sent = digests[content].get("sent", b"")
        sizes.append(record.size)
        dates.append(int(sent) * DAY if sent.isdigit() else now)

    def build(state: State) -> Draft:
        table = state.tables[state.names[RECOVERED]]
        first = table.uidnext
        assert first + len(contents) <= MAX_UID
        uids = range(first, first + len(contents))
        flags: list[tuple[str, ...]] = [()] * len(contents)
        return Draft([Add(table.mailbox, ids, uids, dates, sizes, flags, contents, segment)])

    await account.journal.commit(build)
