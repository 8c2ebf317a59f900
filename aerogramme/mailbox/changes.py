"""What the log is told when messages change: functions that look at the newest state and give operations.

They run inside `journal.commit`, again and again until nobody was faster, so they only look and return.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Literal

from aerogramme.errors import NoSuchMailbox, Refused
from aerogramme.log.entry import MAX_UID, Add, Flags, Remove, SegmentRef
from aerogramme.log.expunged import Expunged
from aerogramme.log.state import State
from aerogramme.log.table import Table
from aerogramme.mailbox.contents import Content
from aerogramme.mailbox.flags import check_keywords, normal_flags

LARGE = 1024 * 1024  # octets of a sealed body that goes to the store by itself, not along with its entry

Mode = Literal["+", "-", "="]
NewIds = Callable[[int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where messages went, for APPENDUID and COPYUID (RFC 4315 §3): `sources[i]` became `uids[i]`.

    Only of those that may be told: on a store that is not serialized an append may be durable, and the store
    away before it was looked at (journal.py).
    """

    uidvalidity: int
    uids: Sequence[int]
    sources: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What a STORE did.

    `changed`   UIDs whose flags it changed, ascending
    `modified`  UIDs left alone because they had changed after `unchanged_since` (RFC 7162 §3.1.3), ascending
    `modseq`    the MODSEQ of the changed ones, 0 when nothing changed
    `before`    HIGHESTMODSEQ of the mailbox as the decision found it
    """

    changed: Sequence[int]
    modified: Sequence[int]
    modseq: int
    before: int


def mailbox(state: State, mailbox_id: int) -> Table:
    """A mailbox by its id, or NoSuchMailbox when it was deleted."""
    table = state.tables.get(mailbox_id)
    if table is None or (state.attribute(mailbox_id, "deleted") and not len(table)):
        raise NoSuchMailbox("The mailbox is gone")
    return table


def _claims(table: Table, count: int) -> range:
    """The UIDs that new messages claim."""
    first = table.uidnext
    if first + count > MAX_UID:
        raise Refused("The mailbox has no UIDs left")  # RFC 3501 §2.3.1.1: 32 bits
    return range(first, first + count)


def add(
    table: Table,
    ids: Sequence[int],
    contents: Sequence[Content],
    dates: Sequence[int],
    flags: Sequence[tuple[str, ...]],
    segment: SegmentRef,
) -> Add:
    """New messages with new contents."""
    uids = _claims(table, len(ids))
    sizes = [content.record.size for content in contents]
    return Add(table.mailbox, ids, uids, dates, sizes, flags, [c.id for c in contents], segment)


def bring_back(
    table: Table, ids: Sequence[int], messages: Sequence[Expunged], segment: SegmentRef | None
) -> Add:
    """Messages that were removed, as others, with what they were but for \\Deleted."""
    return Add(
        table.mailbox,
        ids,
        _claims(table, len(ids)),
        [message.date for message in messages],
        [message.size for message in messages],
        [tuple(flag for flag in message.flags if flag != "\\Deleted") for message in messages],
        [message.content for message in messages],
        segment,
    )


def rows_of(table: Table, uids: Iterable[int]) -> list[int]:
    """The rows of those UIDs that are there, ascending, each once."""
    row_of = table.row_of_uid
    return sorted({row for uid in uids if (row := row_of(uid)) is not None})


def copy(source: Table, rows: Sequence[int], target: Table, new_ids: NewIds, date: int | None = None) -> Add:
    """The same contents as new messages elsewhere, with flags and dates (RFC 3501 §6.4.7), or a date."""
    op = _again(source, rows, target.mailbox, _claims(target, len(rows)), new_ids)
    return op if date is None else replace(op, dates=[date] * len(rows))


def placed(table: Table, op: Add, sources: Sequence[int] = ()) -> Placed:
    """The messages of an Add as they are now: under another UID if somebody else has claimed theirs."""
    found = []
    for at, (message, uid) in enumerate(zip(op.ids, op.uids, strict=True)):
        row = table.row_of_uid(uid)
        if row is None or table.ids[row] != message:
            row = table.row_of_id(message)
        if row is not None:
            found.append((at, table.uids[row]))
    return Placed(table.uidvalidity, [uid for _, uid in found], [sources[at] for at, _ in found if sources])


def into_new(source: Table, mailbox_id: int, new_ids: NewIds) -> Add:
    """All messages again in a mailbox that this same entry makes."""
    count = len(source)
    return _again(source, range(count), mailbox_id, range(1, count + 1), new_ids)


def _again(source: Table, rows: Sequence[int], mailbox_id: int, uids: Sequence[int], new_ids: NewIds) -> Add:
    flagsets = source.flagsets.sets
    return Add(
        mailbox_id,
        new_ids(len(rows)),
        uids,
        [source.dates[row] for row in rows],
        [source.sizes[row] for row in rows],
        [flagsets[source.flags[row]] for row in rows],
        [source.contents[row] for row in rows],
        None,
    )


def remove(table: Table, rows: Iterable[int]) -> Remove:
    return Remove(table.mailbox, [table.ids[row] for row in rows])


def store_flags(
    table: Table,
    rows: Iterable[int],
    mode: Mode,
    flags: Sequence[str],
    unchanged_since: int | None,
) -> tuple[list[Flags], StoreResult]:
    """Changes of flags, one operation for all messages that need the same. What is as it shall be is left
    alone.
    """
    given = normal_flags(flags)
    if mode != "-":
        check_keywords(table.flagsets, given)
    modseqs, numbers, uids = table.modseqs, table.flags, table.uids
    modified = []
    if unchanged_since is not None:
        rows = list(rows)
        modified = [uids[row] for row in rows if modseqs[row] > unchanged_since]
        rows = [row for row in rows if modseqs[row] <= unchanged_since]
    by_number: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows:
        by_number[numbers[row]].append(row)
    sets = table.flagsets.sets
    by_change: defaultdict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = defaultdict(list)
    for number, of_number in by_number.items():
        change = _difference(sets[number], mode, given)
        if any(change):
            by_change[change].extend(of_number)
    ops, changed = [], []
    for (on, off), of_change in by_change.items():
        of_change.sort()
        ops.append(Flags(table.mailbox, [table.ids[row] for row in of_change], on, off))
        changed += of_change
    changed.sort()
    return ops, StoreResult([uids[row] for row in changed], modified, 0, table.highestmodseq)


def _difference(
    have: Sequence[str], mode: Mode, given: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which flags go on and which off. Keywords are compared without regard to case (imapsync depends on
    it).
    """
    had = {flag.casefold() for flag in have}
    wanted = {flag.casefold() for flag in given}
    on = () if mode == "-" else tuple(flag for flag in given if flag.casefold() not in had)
    if mode == "+":
        return on, ()
    return on, tuple(flag for flag in have if (flag.casefold() in wanted) == (mode == "-"))


def deleted_rows(table: Table, among: Iterable[int] | None) -> list[int]:
    """The rows of the messages that have \\Deleted, ascending: of all, or of the rows given."""
    flagged = table.flagsets.numbers_with("\\Deleted")
    numbers = table.flags
    if among is None:
        return list(compress(range(len(numbers)), map(flagged.__contains__, numbers)))
    return [row for row in among if numbers[row] in flagged]
