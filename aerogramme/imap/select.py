"""Opening and closing a mailbox: SELECT, EXAMINE, CLOSE, UNSELECT, with what RFC 7162 adds."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from aerogramme.errors import BadSyntax
from aerogramme.imap.commands import Close, QResync, Select, Unselect
from aerogramme.imap.context import Context, Done, Handlers
from aerogramme.imap.format import ranges
from aerogramme.log.ids import Runs
from aerogramme.log.table import Table
from aerogramme.mailbox.search_keys import SequenceSet


async def select(context: Context, command: Select) -> Done:
    """SELECT and EXAMINE (RFC 3501 §6.3.1, §6.3.2)."""
    if command.qresync is not None and not context.qresync:
        raise BadSyntax("QRESYNC needs ENABLE QRESYNC first")  # RFC 7162 §3.2.5
    if context.selected is not None:
        # RFC 7162 §3.2.11: what follows is about the mailbox to be opened. RFC 3501 §6.3.1: even if that
        # fails, the old one is closed.
        context.unselect()
        context.out.write(b"* OK [CLOSED] The mailbox before is closed\r\n")
    if command.condstore:
        await context.enable_condstore()
    read_only = command.read_only or context.read_only_login
    view = await context.account.open_mailbox(command.mailbox, read_only=read_only)
    context.select(view)
    table = view.table
    lines = [
        context.flags_lines(),
        b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(view), view.recent_count),
        b"* OK [UIDVALIDITY %d] UIDs are good\r\n" % table.uidvalidity,
        b"* OK [UIDNEXT %d] The next UID\r\n" % table.uidnext,
        # RFC 7162 §3.1.2.1: always, whether the client has asked for it or not.
        b"* OK [HIGHESTMODSEQ %d] The newest change\r\n" % view.modseq,
    ]
    unseen = first_unseen(table)
    if unseen:
        lines.insert(2, b"* OK [UNSEEN %d] The first unseen message\r\n" % unseen)
    context.out.write(b"".join(lines))
    if command.qresync is not None:
        await _resynchronize(context, command.qresync)
    if read_only:
        return Done("EXAMINE completed" if command.read_only else "SELECT completed", b"READ-ONLY")
    return Done("SELECT completed", b"READ-WRITE")


async def close(context: Context, _command: Close) -> Done:
    """RFC 3501 §6.4.2: removes what is \\Deleted, tells nothing of it."""
    view = context.view
    if not view.read_only and _any_deleted(view.table):
        await context.account.expunge(view.table)
    context.unselect()
    return Done("CLOSE completed")


def _any_deleted(table: Table) -> bool:
    """Whether there is anything to remove, as far as is known here: mostly there is not, and the store is not
    asked. What another client marks in this moment may as well be marked in the next."""
    return not table.flagsets.numbers_with("\\Deleted").isdisjoint(table.flags)


async def unselect(context: Context, _command: Unselect) -> Done:
    """RFC 3691 §2: CLOSE without removing anything."""
    context.unselect()
    return Done("UNSELECT completed")


async def _resynchronize(context: Context, known: QResync) -> None:
    """RFC 7162 §3.2.5: what a client that comes back has missed."""
    view = context.view
    table = view.table
    if known.uidvalidity != table.uidvalidity:
        return  # §3.2.5.1: it knows nothing of this mailbox
    # §3.2.5.2: the sequence match data help servers that have forgotten what was removed, to name less; here
    # removals are known exactly.
    tell_vanished(context, known.modseq, known.known_uids)
    rows = table.changed_since(known.modseq)
    seqs = [row + 1 for row in sorted(rows)]
    if known.known_uids is not None:
        wanted = known.known_uids.resolve(table.uidnext - 1)
        seqs = [seq for seq in seqs if within(view.uids[seq - 1], wanted)]
    await context.tell_flags(seqs, uid=True)


def tell_vanished(context: Context, modseq: int, uids: SequenceSet | None) -> None:
    """VANISHED (EARLIER): the messages removed after `modseq` among those that the client may know.

    RFC 7162 §3.2.5.2 lets a server name more than that; Nextcloud's client has emptied inboxes of servers
    that named UIDs which are there, so nothing is named that is there, or was not removed, or was not asked
    about. What the client still has in its sequence numbers is told by VANISHED without EARLIER, which takes
    it out of them (RFC 7162 §3.2.10).
    """
    view, table = context.view, context.view.table
    gone = [(first, first + count - 1) for first, count in Runs.of(table.removed_since(modseq)).runs]
    if uids is not None:
        gone = intersection(gone, uids.resolve(table.uidnext - 1))
    if not view.in_step:
        numbered = sorted(set(view.uids).difference(table.uids))
        between = [(a + 1, b - 1) for a, b in pairwise([0, *numbered, table.uidnext]) if b - a > 1]
        gone = intersection(gone, between)
    if gone:
        context.out.write(b"* VANISHED (EARLIER) %b\r\n" % ranges(gone))


def intersection(a: Sequence[tuple[int, int]], b: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is in both of two sets of sorted, disjoint, inclusive ranges."""
    found: list[tuple[int, int]] = []
    at_a = at_b = 0
    while at_a < len(a) and at_b < len(b):
        first, last = max(a[at_a][0], b[at_b][0]), min(a[at_a][1], b[at_b][1])
        if first <= last:
            found.append((first, last))
        if a[at_a][1] < b[at_b][1]:
            at_a += 1
        else:
            at_b += 1
    return found


def within(number: int, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether a number is in sorted, disjoint, inclusive ranges."""
    at = bisect_right(ranges, (number, 1 << 33)) - 1
    return at >= 0 and number <= ranges[at][1]


def first_unseen(table: Table) -> int:
    """The sequence number of the first message without \\Seen, 0 if there is none (RFC 3501 §7.1 UNSEEN)."""
    unseen = set(table.flags) - table.flagsets.numbers_with("\\Seen")
    return min(map(table.flags.index, unseen), default=-1) + 1


def count_unseen(table: Table) -> int:
    """How many messages are without \\Seen."""
    counts = Counter(table.flags)
    return sum(counts[number] for number in counts.keys() - table.flagsets.numbers_with("\\Seen"))


HANDLERS: Handlers = {Select: select, Close: close, Unselect: unselect}
