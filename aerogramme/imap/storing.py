"""Changing messages: STORE, COPY, MOVE, EXPUNGE and their UID forms."""

from collections.abc import Container, Sequence

from aerogramme.imap.commands import Copy, Expunge, Move, Store
from aerogramme.imap.context import Context, Done, Handlers, try_create
from aerogramme.imap.format import sequence_set, uid_sets
from aerogramme.mailbox.changes import Placed
from aerogramme.mailbox.view import OwnChange


async def store(context: Context, command: Store) -> Done:
    """STORE and UID STORE (RFC 3501 §6.4.6, RFC 7162 §3.1.3): one entry for all messages."""
    context.may_write_selected()
    if command.unchanged_since is not None:
        await context.enable_condstore()
    view = context.view
    seqs = context.seqs(command.numbers, uid=command.uid)
    uids = view.uids_of(seqs)
    result = await context.account.store_flags(
        view.table, uids, command.mode, command.flags, command.unchanged_since
    )
    # What others changed meanwhile is told as well. Our own change is told below, or with .SILENT not at all.
    own = OwnChange(result.modseq, result.before) if result.changed else None
    besides: Container[int] = () if command.silent else _quickly(seqs)
    await context.tell(expunge=False, own=own, besides=besides)
    failed = set(result.modified)
    if not command.silent:
        context.tell_keywords()
        done = seqs if not failed else [seq for seq, uid in zip(seqs, uids, strict=True) if uid not in failed]
        await context.tell_flags(done, uid=command.uid)
    elif context.condstore:
        changed = [seq for uid in result.changed if (seq := view.seq_of_uid(uid)) is not None]
        await context.tell_modseqs(changed, uid=command.uid)
    if failed:
        # RFC 7162 §3.1.3: MODIFIED names UIDs in answer to UID STORE, else sequence numbers.
        stale = [seq for seq, uid in zip(seqs, uids, strict=True) if uid in failed]
        await context.tell_flags(stale, uid=command.uid)
        named = view.uids_of(stale) if command.uid else stale
        return Done("Conditional STORE left some alone", b"MODIFIED " + sequence_set(named))
    if any(row < 0 for row in view.rows(seqs)):
        return Done("STORE completed, but some messages are gone", b"EXPUNGEISSUED")
    return Done("STORE completed")


async def copy(context: Context, command: Copy) -> Done:
    """COPY and UID COPY (RFC 3501 §6.4.7), COPYUID (RFC 4315 §3)."""
    context.may_write()
    view = context.view
    uids = view.uids_of(context.seqs(command.numbers, uid=command.uid))
    if not uids:
        return Done("No messages to copy")  # UID COPY of UIDs that are gone: RFC 3501 §6.4.8, no error
    with try_create(context.account, command.mailbox):
        placed = await context.account.copy(view.table, uids, command.mailbox)
    return Done("COPY completed", _copyuid(placed))


async def move(context: Context, command: Move) -> Done:
    """MOVE and UID MOVE (RFC 6851): one entry, so no message is ever in both mailboxes or in none."""
    context.may_write_selected()
    view = context.view
    uids = view.uids_of(context.seqs(command.numbers, uid=command.uid))
    if not uids:
        return Done("No messages to move")
    with try_create(context.account, command.mailbox):
        placed = await context.account.move(view.table, uids, command.mailbox)
    code = _copyuid(placed)
    if code is not None:
        # RFC 6851 §4.3: COPYUID in an untagged OK, before the EXPUNGEs.
        context.out.write(b"* OK [" + code + b"] Moved\r\n")
    await context.tell(expunge=True)
    return Done("MOVE completed", _highest(context))


async def expunge(context: Context, command: Expunge) -> Done:
    """EXPUNGE (RFC 3501 §6.4.3), UID EXPUNGE (RFC 4315 §2.1)."""
    context.may_write_selected()
    view = context.view
    if command.uids is None:
        await context.account.expunge(view.table)
    else:
        uids = view.uids_of(context.seqs(command.uids, uid=True))
        if uids:
            await context.account.expunge(view.table, uids)
    await context.tell(expunge=True)
    return Done("EXPUNGE completed", _highest(context))


def _quickly(seqs: Sequence[int]) -> Container[int]:
    """The same, for `in`: a range, which is what 1:* gives, answers that by itself."""
    return seqs if isinstance(seqs, range) else frozenset(seqs)


def _highest(context: Context) -> bytes | None:
    # RFC 7162 §3.2.7: everything up to here has been told, removals too.
    return b"HIGHESTMODSEQ %d" % context.view.safe_modseq if context.condstore else None


def _copyuid(placed: Placed) -> bytes | None:
    if not placed.uids:
        return None
    sources, targets = uid_sets(placed.sources, placed.uids)
    return b"COPYUID %d %b %b" % (placed.uidvalidity, sources, targets)


HANDLERS: Handlers = {Store: store, Copy: copy, Move: move, Expunge: expunge}
