"""What mailboxes there are and how they stand: LIST, LSUB, STATUS, NAMESPACE."""

from collections.abc import Iterable

from aerogramme.errors import NoSuchMailbox
from aerogramme.imap.commands import List, Lsub, Namespace, Status, StatusItem
from aerogramme.imap.context import Context, Done, Handlers
from aerogramme.imap.format import mailbox
from aerogramme.imap.pattern import matcher
from aerogramme.imap.select import count_unseen
from aerogramme.log.table import Table
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.changes import deleted_rows
from aerogramme.mailbox.names import DELIMITER, MailboxInfo, canonical, parents
from aerogramme.mailbox.view import highest_modseq

_DELIMITER = b'"' + DELIMITER.encode("ascii") + b'"'


async def list_mailboxes(context: Context, command: List) -> Done:
    """LIST: RFC 3501 §6.3.8, RFC 3348 (CHILDREN), RFC 5258, RFC 6154 §2, RFC 5819."""
    if not command.extended and command.patterns == ("",):
        # RFC 3501 §6.3.8: an empty name asks for the delimiter and the root of the reference.
        context.out.write(b"* LIST (\\Noselect) " + _DELIMITER + b' ""\r\n')
        return Done("LIST completed")
    await context.refresh()
    # RFC 5258 §3: with options that select, names that are only subscribed are of interest too.
    only_subscribed = "SUBSCRIBED" in command.select
    missing = _missing(context.account) if only_subscribed else {}
    infos = [*context.account.mailboxes(), *missing.values()]
    matched = await _matching(context, command.reference, command.patterns, infos)
    selected = {
        info.name
        for info in infos
        if (info.subscribed or not only_subscribed)
        and (info.role is not None or "SPECIAL-USE" not in command.select)
    }
    above: set[str] = set()
    if "RECURSIVEMATCH" in command.select:
        # RFC 5258 §3.5: the levels above what is selected, and will not be named itself.
        above = _above(selected.difference(info.name for info in matched))
    mark = only_subscribed or "SUBSCRIBED" in command.returns
    for info in matched:
        if info.name not in selected and info.name not in above:
            continue
        attributes = _attributes(info, subscribed=mark, missing=info.name in missing)
        child_info = b' ("CHILDINFO" ("SUBSCRIBED"))' if info.name in above else b""
        context.out.write(_line(b"LIST", attributes, info.name, child_info))
        if command.status and info.selectable:
            if not context.account.journal.settled:  # what came since the LIST began
                await context.refresh()
            _write_status(context, info.name, command.status)
        if context.out.full:
            await context.out.flush()
    return Done("LIST completed")


def _write_status(context: Context, name: str, items: Iterable[StatusItem]) -> None:
    """RFC 5819 §2: STATUS follows the LIST line of each mailbox that can be selected, but for one that has
    gone since the LIST began."""
    try:
        table = context.account.find(name)
    except NoSuchMailbox:
        return
    context.out.write(_status_line(context, name, table, items))


async def lsub(context: Context, command: Lsub) -> Done:
    """LSUB: RFC 3501 §6.3.9. The attributes are those of LIST: Outlook 2013 looks for special uses here, and
    Thunderbird for \\Noselect."""
    if command.pattern == "":
        context.out.write(b"* LSUB (\\Noselect) " + _DELIMITER + b' ""\r\n')
        return Done("LSUB completed")
    await context.refresh()
    infos = [*context.account.mailboxes(), *_missing(context.account).values()]
    # RFC 3501 §6.3.9: "foo" is listed with \\Noselect for "%" when only "foo/bar" is subscribed.
    above = _above(info.name for info in infos if info.subscribed) if command.pattern.endswith("%") else set()
    for info in await _matching(context, command.reference, [command.pattern], infos):
        if info.subscribed:
            context.out.write(_line(b"LSUB", _attributes(info), info.name))
        elif info.name in above:
            context.out.write(_line(b"LSUB", [b"\\Noselect"], info.name))
        if context.out.full:
            await context.out.flush()
    return Done("LSUB completed")


async def _matching(
    context: Context, reference: str, patterns: Iterable[str], infos: Iterable[MailboxInfo]
) -> list[MailboxInfo]:
    """Those of which the name matches one of the patterns. There may be many of both: others have their turn
    meanwhile."""
    matchers = [matcher(reference + pattern) for pattern in patterns]
    found: list[MailboxInfo] = []
    for at, info in enumerate(infos, 1):
        if any(matches(info.name) for matches in matchers):
            found.append(info)
        if at % 16 == 0:
            await context.out.pause()
    return found


async def namespace(context: Context, _command: Namespace) -> Done:
    """RFC 2342 §5: one personal namespace without a prefix (K-9 doubles one, Outlook ignores one)."""
    context.out.write(b'* NAMESPACE (("" ' + _DELIMITER + b")) NIL NIL\r\n")
    return Done("NAMESPACE completed")


async def status(context: Context, command: Status) -> Done:
    """RFC 3501 §6.3.10; HIGHESTMODSEQ: RFC 7162 §3.1.7."""
    if "HIGHESTMODSEQ" in command.items:
        await context.enable_condstore()
    table = await context.account.fresh(command.mailbox)
    context.out.write(_status_line(context, command.mailbox, table, command.items))
    return Done("STATUS completed")


def _status_line(context: Context, name: str, table: Table, items: Iterable[StatusItem]) -> bytes:
    account = context.account
    values: list[bytes] = []
    for item in items:
        if item == "MESSAGES":
            number = len(table.uids)
        elif item == "UIDNEXT":
            number = table.uidnext
        elif item == "UIDVALIDITY":
            number = table.uidvalidity
        elif item == "UNSEEN":
            number = count_unseen(table)
        elif item == "HIGHESTMODSEQ":
            number = highest_modseq(table)
        elif item == "DELETED":
            number = len(deleted_rows(table, None))
        elif item == "DELETED-STORAGE":
            # RFC 9208 §4.1.4: what an EXPUNGE gives back, in octets; here that is what the messages count.
            number = sum(table.sizes[row] for row in deleted_rows(table, None))
        else:
            selected = context.selected
            if selected is not None and selected.table is table:
                number = selected.recent_count
            else:
                number = account.recent_count(table)
        values.append(b"%b %d" % (item.encode("ascii"), number))
    return b"* STATUS %b (%b)\r\n" % (mailbox(name), b" ".join(values))


def _attributes(info: MailboxInfo, *, subscribed: bool = False, missing: bool = False) -> list[bytes]:
    attributes: list[bytes] = []
    if missing:
        attributes.append(b"\\NonExistent")  # RFC 5258 §3.1, implies \Noselect
    elif not info.selectable:
        attributes.append(b"\\Noselect")
    if subscribed and info.subscribed:
        attributes.append(b"\\Subscribed")
    attributes.append(b"\\HasChildren" if info.children else b"\\HasNoChildren")
    if info.role is not None:
        # RFC 6154 §2 leaves it open for a plain LIST; iOS Mail looks for it there.
        attributes.append(info.role.encode("ascii"))
    return attributes


def _line(kind: bytes, attributes: Iterable[bytes], name: str, extra: bytes = b"") -> bytes:
    return b"* %b (%b) %b %b%b\r\n" % (kind, b" ".join(attributes), _DELIMITER, mailbox(name), extra)


def _missing(account: Account) -> dict[str, MailboxInfo]:
    """The subscribed names of which there is no mailbox (RFC 3501 §6.3.6), and the levels above them that are
    not there either."""
    there = {info.name for info in account.mailboxes()}
    subscribed = {canonical(name) for name in account.subscriptions()} - there
    above = _above(subscribed)
    return {
        name: MailboxInfo(None, name, None, name in subscribed, name in above)
        for name in sorted((subscribed | above) - there)
    }


def _above(names: Iterable[str]) -> set[str]:
    """The levels above any of these names."""
    return {parent for name in names for parent in parents(name)}


HANDLERS: Handlers = {List: list_mailboxes, Lsub: lsub, Namespace: namespace, Status: status}
