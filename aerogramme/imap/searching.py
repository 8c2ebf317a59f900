"""SEARCH and UID SEARCH (RFC 3501 §6.4.4)."""

from aerogramme.imap.commands import Search
from aerogramme.imap.context import BATCH, Context, Done, Handlers
from aerogramme.mailbox.search import search as run_search
from aerogramme.mailbox.search_keys import ModSeq, Seqs, walk


async def search(context: Context, command: Search) -> Done:
    """Writes one SEARCH line, also when nothing was found (RFC 3501 §7.2.5: clients wait for it)."""
    by_modseq = False
    for key in walk(command.key):
        if isinstance(key, Seqs):
            context.view.spans(key.numbers)  # raises BadSyntax for numbers that are not there
        elif isinstance(key, ModSeq):
            by_modseq = True
    if by_modseq:
        await context.enable_condstore()  # RFC 7162 §3.1.5
    found = await run_search(context.account, context.view, command.key)
    numbers = context.view.uids_of(found.seqs) if command.uid else found.seqs
    out = context.out
    out.write(b"* SEARCH")
    for start in range(0, len(numbers), BATCH):
        out.write(b" " + " ".join(map(str, numbers[start : start + BATCH])).encode("ascii"))
        if out.full:
            await out.flush()
    out.write(b" (MODSEQ %d)\r\n" % found.modseq if by_modseq and numbers else b"\r\n")
    return Done("SEARCH completed")


HANDLERS: Handlers = {Search: search}
