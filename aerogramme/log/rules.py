"""What has to be said before a client is told anything: the rules that make an order-free log safe for IMAP.

    read      the store is read first (Journal.refresh)
    confirm   what was read is told only when every later read shows it (journal.py)
    look      numbers are told only after a read that began when all claims of them were durable (journal.py)
    numbers   a message without a valid UID, or that appeared below the UIDNEXT told here, claims another UID;
              mailboxes with one UIDVALIDITY get others
    once      a letter that two servers have put into two mailboxes is removed from all but one
    unknown   messages with facts that somebody was told a later clock without are touched (history.py)
    fold      only a state in which nothing is left to do goes into a checkpoint (Journal.fold)

A state is *settled* when the rules ask for nothing. On a store that serializes appends it always is, and
asking costs nothing: tables and history note what breaks a rule as they take in entries.

Invariant: no client, whichever servers it talks to, ever knows one UID as two messages, and none misses
a change by asking for what is above the UIDNEXT and the HIGHESTMODSEQ that it was told.
"""

from aerogramme.log.entry import MAX_UID, Add, Again, Claim, Entry, MailboxOp, Op, Remove, Touch
from aerogramme.log.ids import Runs
from aerogramme.log.state import State, again
from aerogramme.log.table import Table


def settled(state: State) -> bool:
    """Whether the rules ask for nothing (a true answer may take `due` first)."""
    return not (
        state.history.late
        or state.history.unknown
        or state.contested
        or state.repeated
        or any(t.hidden or t.below for t in state.tables.values())
    )


def claims(entry: Entry) -> bool:
    """Whether an entry says which message, or mailbox, a number names (or says such an entry again)."""
    return any(
        op.uidvalidity is not None if isinstance(op, MailboxOp) else isinstance(op, Add | Claim | Again)
        for op in entry.ops
    )


def disputes(state: State, entry: Entry) -> bool:
    """Whether an entry may claim numbers that this state has for others: those that are not above all."""
    for op in entry.ops:
        match op:
            case Add() | Claim():
                table = state.tables.get(op.mailbox)
                lowest = min((first for first, _ in Runs.of(op.uids).runs), default=MAX_UID + 1)
                if table is not None and lowest <= table.top:
                    return True
            case MailboxOp() if op.uidvalidity is not None and op.uidvalidity <= state.last_uidvalidity:
                return True
            case Again():
                return True
    return False


def due(state: State) -> list[Op]:
    """The operations that the rules ask for."""
    ops = again(list(state.history.late.values()))
    for n, mailbox in enumerate(state.contested, 1):
        ops.append(MailboxOp(mailbox, uidvalidity=state.last_uidvalidity + n))
    ops += once(state)
    claimed: dict[int, Runs] = {}
    for table in state.tables.values():
        claim = numbers(table)
        if claim is not None:
            ops.append(claim)
            claimed[table.mailbox] = Runs.of(claim.ids)
    for mailbox, messages in unknown(state).items():
        rest = messages.difference(claimed.get(mailbox, ()))
        if rest:
            ops.append(Touch(mailbox, Runs.of(sorted(rest))))
    return ops


def numbers(table: Table) -> Claim | None:
    """New UIDs for the messages that need one."""
    if not (table.hidden or table.below):
        return None
    # Sorted, so that two servers that settle the same conflict at once mostly agree.
    ids = sorted(table.below.union(table.hidden))
    first = table.uidnext
    return Claim(table.mailbox, ids, range(first, first + len(ids)))


def once(state: State) -> list[Remove]:
    """Where a letter must go again: two servers drained it, one of which did not know yet of the mailbox that
    it asked for.

    It stays in the mailbox with the highest id, whatever else is known of them. So the choice between some of
    its mailboxes, by a server that has not heard of all, never removes it from the one that is chosen
    between all.
    """
    places: dict[int, list[int]] = {}
    for mailbox, table in sorted(state.tables.items()):
        for message in state.repeated:
            if table.row_of_id(message) is not None:
                places.setdefault(message, []).append(mailbox)
    gone: dict[int, list[int]] = {}
    for message, mailboxes in sorted(places.items()):
        for mailbox in mailboxes[:-1]:
            gone.setdefault(mailbox, []).append(message)
    return [Remove(mailbox, messages) for mailbox, messages in gone.items()]


def unknown(state: State) -> dict[int, set[int]]:
    """The messages to touch, by mailbox."""
    found: dict[int, set[int]] = {}
    for mailbox, ids, low, upto in state.history.unknown:
        table = state.table(mailbox)
        if ids is None:
            messages = set(table.touched_between(low, upto))
        else:
            messages = {message for message in ids if table.modseq_of(message) <= upto}
        found.setdefault(mailbox, set()).update(messages)
    return found


def mark_told(state: State) -> None:
    """All that is visible now may be told: from here on nothing may appear below the UIDNEXT of now."""
    assert not any(table.hidden or table.below for table in state.tables.values())
    assert not state.history.late and not state.contested
    state.history.unknown.clear()
    state.repeated.clear()
    for table in state.tables.values():
        table.told = table.uidnext
