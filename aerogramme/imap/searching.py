"""SEARCH and UID SEARCH (RFC 3501 §6.4.4)."""

from aerogramme.imap.commands import Search
from aerogramme.imap.context import Context, Done, Handlers
from aerogramme.mailbox.search import search as run_search
from aerogramme.mailbox.search_keys import ModSeq, Seqs, walk


async def search(context: Context, command: Search) -> Done:
    """Writes one SEARCH line, also when nothing was found (RFC 3501 §7.2.5: clients wait for it)."""
    by_modseq = False
    for key in walk(command.key):
        if isinstance(key, Seqs):
            context.seqs(key.numbers, uid=False)  # raises BadSyntax for numbers that are not there
        elif isinstance(key, ModSeq):
            by_modseq = True
    if by_modseq:
        context.enable_condstore()  # RFC 7162 §3.1.5
    found = await run_search(context.account, context.view, command.key)
    numbers = context.view.uids_of(found.seqs) if command.uid else found.seqs
    line = " ".join(["* SEARCH", *map(str, numbers)]).encode("ascii")
    if by_modseq and numbers:
        line += b" (MODSEQ %d)" % found.modseq
    context.out.write(line + b"\r\n")
    return Done("SEARCH completed")


HANDLERS: Handlers = {Search: search}
