"""What was expunged in a span of time: found by going through the log once more, from a checkpoint before it.

The state is what it was just before each entry, so what the entry removes can still be looked at: where it
was, with which flags. A message that the same entry puts somewhere else was moved, and is not gone.
"""

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple

from aerogramme.errors import Damaged
from aerogramme.log import checkpoint
from aerogramme.log.entry import Add, Again, Entry, MailboxOp, Remove, parse_key
from aerogramme.log.entry_bytes import decode
from aerogramme.log.ids import Ids, Runs
from aerogramme.log.past import Past
from aerogramme.log.reading import entries
from aerogramme.log.records import Records
from aerogramme.log.segment import Segments
from aerogramme.log.state import State
from aerogramme.log.table import Table


class Expunged(NamedTuple):
    """A message that was removed, as it was then."""

    id: int
    mailbox: int
    name: str  # of the mailbox
    whole: bool  # the mailbox was deleted with it
    uid: int
    flags: tuple[str, ...]
    size: int
    date: int
    content: int


class Deleted(NamedTuple):
    """A mailbox that was deleted, as it was then."""

    name: str
    role: str | None


@dataclass(slots=True)
class Found:
    """What was expunged.

    start       the clock of the checkpoint from which the log was read; None for none
    messages    in the order in which they were removed
    mailboxes   by their ids
    state       that of now, with all tombstones since; knows where the digests of the messages are, and
                `segments` loads them
    unreadable  how many entries of that time cannot be read: what they removed is not known
    """

    state: State
    segments: Segments
    start: int | None
    messages: list[Expunged] = field(default_factory=list)
    mailboxes: dict[int, Deleted] = field(default_factory=dict)
    unreadable: int = 0


async def find_expunged(records: Records, since: int, until: int) -> Found:
    """What was expunged by entries with since < clock <= until, of a history that goes back to `since`
    (reach.py). Raises Unavailable."""
    then = Past(records.store, since, shared=True)
    state = await checkpoint.load(records, await checkpoint.newest(then))
    start = checkpoint.clock_of(state.checkpoint)
    found = Found(state, Segments(records, records.keyring, state.segments), start)
    async with aclosing(entries(records, after=checkpoint.horizon(state))) as every:
        async for key, entry in every:
            if isinstance(entry, Entry):
                _take_in(found, entry, since, until)
            elif since < _clock(key) <= until:
                found.unreadable += 1
    return found


def _clock(key: str) -> int:
    try:
        return parse_key(key)[0]
    except Damaged:
        return 0  # the name of nothing


def _take_in(found: Found, entry: Entry, since: int, until: int) -> None:
    """The next entry: what it removes is looked at, and then it is applied."""
    state, history = found.state, found.state.history
    forgotten = entry.replica not in history.trails and entry.clock <= history.floor  # as all of it is known
    if forgotten or (entry.clock, entry.replica, entry.seq) in history:
        return
    for op in entry.ops:
        if isinstance(op, Again):  # one that came late; its own row may be gone
            _take_in(found, decode(op.key, op.plain), since, until)
    removed: list[Expunged] = []
    if since < entry.clock <= until:
        removed = list(_removed(state, entry))
        for mailbox, deleted in _deleted(state, entry):
            found.mailboxes[mailbox] = deleted
    state.apply(entry)
    found.messages += [message for message in removed if not _is_elsewhere(state, message)]


def _removed(state: State, entry: Entry) -> Iterator[Expunged]:
    """The messages that an entry removes, but for those that it moves."""
    removes = [op for op in entry.ops if isinstance(op, Remove)]
    if not removes:
        return
    moved = {content for op in entry.ops if isinstance(op, Add) for content in op.contents}
    deleted = {op.mailbox for op in entry.ops if isinstance(op, MailboxOp) and op.deleted}
    names = {mailbox: name for name, mailbox in state.names.items()}
    for op in removes:
        table = state.tables.get(op.mailbox)
        name = names.get(op.mailbox) or state.attribute(op.mailbox, "name")
        if table is None or name is None:
            continue
        for message, uid, data in _data(table, op.ids):
            number, size, date, content = data
            if content not in moved:
                flags = state.flagsets.sets[number]
                whole = op.mailbox in deleted
                yield Expunged(message, op.mailbox, name, whole, uid, flags, size, date, content)


def _data(table: Table, ids: Ids) -> Iterator[tuple[int, int, tuple[int, int, int, int]]]:
    """Message, UID (0 for one without), and flagset, size, date, content of those that are there."""
    spans, missing = table.locate(Runs.of(ids))
    for start, stop in spans:
        for row in range(start, stop):
            data = table.flags[row], table.sizes[row], table.dates[row], table.contents[row]
            yield table.ids[row], table.uids[row], data
    for message in missing:
        hidden = table.hidden.get(message)
        if hidden is not None:
            yield message, 0, (hidden.flags, hidden.size, hidden.date, hidden.content)


def _deleted(state: State, entry: Entry) -> Iterator[tuple[int, Deleted]]:
    """The mailboxes that an entry deletes."""
    names = {mailbox: name for name, mailbox in state.names.items()}
    for op in entry.ops:
        if isinstance(op, MailboxOp) and op.deleted and op.mailbox in names:
            yield op.mailbox, Deleted(names[op.mailbox], state.roles.get(op.mailbox))


def _is_elsewhere(state: State, message: Expunged) -> bool:
    """Whether a letter that two servers had put into two mailboxes is still in one (rules.once)."""
    return message.id == message.content and any(
        table.row_of_id(message.id) is not None for table in state.tables.values()
    )
