"""Mail that no message has any more, because what said so is lost: it comes to the mailbox Recovered.

Its flags and its mailbox are lost with the entry, or the piece of an index, that told them. What is in
Recovered already is not looked for again: its content has a message.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import suppress

from aerogramme.errors import AlreadyExists
from aerogramme.log.clock import COUNTER_BITS, wall_ms
from aerogramme.log.entry import MAX_UID, Add
from aerogramme.log.journal import Draft
from aerogramme.log.state import State
from aerogramme.mailbox import letting_go
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.elsewhere import LostMail, lost_mail, record_of
from aerogramme.mailbox.faults import Fault, Kind
from aerogramme.mailbox.repair.names import RECOVERED
from aerogramme.mailbox.repair.placeholder import DAY
from aerogramme.mailbox.survey import survey

BATCH = 1000  # messages of one entry


async def mend(account: Account, faults: list[Fault]) -> AsyncGenerator[str, None]:
    if not any(fault.kind in (Kind.FOUND, Kind.UNFINISHED) for fault in faults):
        return
    lost = await lost_mail(account, await survey(account, wall_ms()))
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
        for start in range(0, len(contents), BATCH):
            await _bring(account, each, contents[start : start + BATCH])


async def _bring(account: Account, lost: LostMail, contents: list[int]) -> None:
    ids = account.journal.new_ids(len(contents))
    sizes, dates, now = [], [], int(time.time())
    for content in contents:
        record = record_of(lost.digests[content])
        assert record is not None  # else it would not be among them
        sent = lost.digests[content].get("sent", b"")
        sizes.append(record.size)
        dates.append(int(sent) * DAY if sent.isdigit() else now)

    def build(state: State) -> Draft:
        table = state.tables[state.names[RECOVERED]]
        first = table.uidnext
        assert first + len(contents) <= MAX_UID
        uids = range(first, first + len(contents))
        flags: list[tuple[str, ...]] = [()] * len(contents)
        return Draft([Add(table.mailbox, ids, uids, dates, sizes, flags, contents, lost.segment)])

    await account.journal.commit(build)
