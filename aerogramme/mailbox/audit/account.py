"""The audit: every invariant of an account as a check. It reads everything, changes nothing, and says what is
wrong.

For tests (at the end of each that wrote mail), for `aerogramme check`, and for whoever doubts a disk. What
can be done about each fault is in faults.py, and is done in repair/.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from aerogramme.errors import Refused
from aerogramme.log.journal import Journal
from aerogramme.log.state import State
from aerogramme.log.table import Table
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit import contents as audit_contents
from aerogramme.mailbox.audit import keys as audit_keys
from aerogramme.mailbox.audit import store as audit_store
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.names import INBOX, check

COLUMNS = ("uids", "ids", "modseqs", "flags", "sizes", "dates", "contents")


async def audit(account: Account) -> list[str]:
    """What is wrong with an account, one line each; empty when all is well. Raises Unavailable.

    Lines name mailboxes, and nothing else of what is in the mail: they are for the account's owner.
    """
    return [fault.what for fault in await examine(account, unfinished=False)]


async def examine(
    account: Account, *, unfinished: bool = True, told: Callable[[str], None] = lambda _: None
) -> list[Fault]:
    """What is wrong with an account, each thing once; with `unfinished`, what is harmless too. `told` hears
    what is being looked at. Raises Unavailable."""
    await account.refresh()
    faults = audit_store.left_out(account.journal.damaged)
    faults += audit_store.missing(account.state)
    faults += _hierarchy(account.state)
    for name, mailbox in account.state.names.items():
        faults += [
            Fault(Kind.TABLE, f"mailbox {name}: {what}", mailbox=mailbox)
            for what in _table(account.state.tables[mailbox])
        ]
    faults += await audit_contents.contents(account, told)
    told("looking at keys and at what waits")
    faults += await audit_keys.letters(account)
    faults += await audit_keys.key_rows(account)
    faults += await audit_keys.use_rows(account)
    told("looking at objects")
    faults += await audit_store.strange(account)
    faults += await audit_store.objects(account)
    told("looking at the log")
    faults += await audit_store.log(account)
    faults += await _replayed(account)
    found, past = await audit_store.surveyed(account)
    faults += past
    missing = bool(account.state.lost) or any(fault.kind in (Kind.ENTRY, Kind.GAP) for fault in faults)
    if found is not None and (missing or unfinished):
        faults += await audit_store.lost_mail(account, found, missing=missing)
    if faults:
        faults += await audit_store.newer_keys(account)
    return list({fault.what: fault for fault in faults}.values())


def _hierarchy(state: State) -> Iterator[Fault]:
    if INBOX not in state.names:
        yield Fault(Kind.NAME, "there is no INBOX")
    for name, mailbox in state.names.items():
        why = _wrong_name(name)
        if why:
            yield Fault(Kind.NAME, f"mailbox {name}: {why}", mailbox=mailbox)
    for mailbox, table in state.tables.items():
        if len(table) and state.attribute(mailbox, "name") is None:
            what = f"{len(table)} messages are in a mailbox that has no name ({mailbox:x})"
            yield Fault(Kind.NAMELESS, what, mailbox=mailbox)
    own = (m for m in state.names.values() if state.attribute(m, "imported") is None)
    validities = [state.tables[mailbox].uidvalidity for mailbox in own]
    if len(set(validities)) != len(validities):
        yield Fault(Kind.TABLE, "two mailboxes have one UIDVALIDITY")
    if len(set(state.roles.values())) != len(state.roles):
        yield Fault(Kind.TABLE, "two mailboxes have one special use")


def _wrong_name(name: str) -> str:
    """Why no mailbox can be called so, if that is so."""
    try:
        if check(name) != name:
            return "the name is not in its canonical form"
    except Refused as why:
        return f"no mailbox can have this name: {why}"
    return ""


def wrong_table(table: Table) -> list[str]:
    """What is wrong with the columns of a mailbox."""
    return list(_table(table))


def _table(table: Table) -> Iterator[str]:
    lengths = {name: len(getattr(table, name)) for name in COLUMNS}
    if len(set(lengths.values())) != 1:
        yield f"the columns differ in length: {lengths}"
        return
    if not 0 < table.uidvalidity < 1 << 32:
        yield f"UIDVALIDITY is {table.uidvalidity}, which is not 1 to 32 bits"
    if any(a >= b for a, b in pairwise(table.uids)):
        yield "the UIDs are not unique and ascending"
    if table.uids and table.uids[0] == 0:
        yield "a UID is 0"
    if table.uids and table.uidnext <= table.uids[-1]:
        yield f"UIDNEXT {table.uidnext} is not above the UID {table.uids[-1]}"
    if len(set(table.ids)) != len(table.ids):
        yield "a message is there twice"
    if any(not 0 < modseq <= table.highestmodseq for modseq in table.modseqs):
        yield "a MODSEQ is 0 or above HIGHESTMODSEQ"
    if table.highestmodseq >= 1 << 63:
        yield "HIGHESTMODSEQ has more than 63 bits"
    if any(number >= len(table.flagsets.sets) for number in table.flags):
        yield "a message has a flagset that does not exist"
    else:
        for number in set(table.flags):
            flags = table.flagsets.sets[number]
            if len({flag.casefold() for flag in flags}) != len(flags):
                yield f"a message has a flag twice: {flags}"
    gone = set(table.removed_since(table.forgotten))
    if gone.intersection(table.uids):
        yield "a UID is there and gone"
    if any(uid >= table.uidnext for uid in gone):
        yield "a UID that is gone is not below UIDNEXT"


async def _replayed(account: Account) -> list[Fault]:
    """Whoever opens the account anew has the same account."""
    other = await Journal.open(
        account.store, account.keyring, account.keyring.account, renew=account.holding.renew
    )
    await account.refresh()
    await other.refresh()
    mine, theirs = account.state, other.state
    problems = [
        f"opened anew, the {what} differ"
        for what, a, b in (
            ("names", mine.names, theirs.names),
            ("special uses", mine.roles, theirs.roles),
            ("subscriptions", mine.subscribed, theirs.subscribed),
        )
        if a != b
    ]
    for name, mailbox in mine.names.items():
        if mailbox in theirs.tables:
            a, b = mine.tables[mailbox], theirs.tables[mailbox]
            problems += [f"mailbox {name}: opened anew, {what} differs" for what in _differences(a, b)]
    return [
        *audit_store.left_out(other.damaged),
        *(Fault(Kind.REOPENED, what) for what in problems),
    ]


def _differences(a: Table, b: Table) -> Iterator[str]:
    for column in COLUMNS:
        if column != "flags" and getattr(a, column) != getattr(b, column):
            yield f"the column {column}"
    if _flags(a) != _flags(b):
        yield "the column flags"
    for number in ("uidvalidity", "highestmodseq"):
        if getattr(a, number) != getattr(b, number):
            yield number
    if b.uidnext > a.uidnext:
        yield "UIDNEXT"


def _flags(table: Table) -> Sequence[tuple[str, ...] | None]:
    sets = dict(enumerate(table.flagsets.sets))
    return [sets.get(number) for number in table.flags]
