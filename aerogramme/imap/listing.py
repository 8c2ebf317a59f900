"""What mailboxes there are and how they stand: LIST, LSUB, STATUS, NAMESPACE."""

from collections.abc import Iterable

from aerogramme.imap.commands import List, Lsub, Namespace, Status, StatusItem
from aerogramme.imap.context import Context, Done, Handlers
from aerogramme.imap.format import mailbox
from aerogramme.imap.pattern import matcher
from aerogramme.imap.select import count_unseen
from aerogramme.log.table import Table
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
    infos = {info.name: info for info in context.account.mailboxes()}
    if only_subscribed:
        _add_missing(infos, context.account.subscriptions())
    matchers = [matcher(command.reference + pattern) for pattern in command.patterns]
    for info in infos.values():
        if not any(matches(info.name) for matches in matchers):
            continue
        child_info = b""
        if only_subscribed and not info.subscribed:
            # RFC 5258 §3.5: a name that is not selected itself, but has something selected below it.
            if "RECURSIVEMATCH" not in command.select or not _subscribed_below(info.name, infos.values()):
                continue
            child_info = b' ("CHILDINFO" ("SUBSCRIBED"))'
        if "SPECIAL-USE" in command.select and info.role is None:
            continue
        mark = only_subscribed or "SUBSCRIBED" in command.returns
        missing = not info.selectable and not info.children
        attributes = _attributes(info, subscribed=mark, missing=missing)
        context.out.write(_line(b"LIST", attributes, info.name, child_info))
        if command.status and info.selectable:
            # RFC 5819 §2: STATUS follows the LIST line of each mailbox that can be selected.
            context.out.write(
                _status_line(context, info.name, context.account.find(info.name), command.status)
            )
            if context.out.full:
                await context.out.flush()
    return Done("LIST completed")


async def lsub(context: Context, command: Lsub) -> Done:
    """LSUB: RFC 3501 §6.3.9. The attributes are those of LIST: Outlook 2013 looks for special uses here, and
    Thunderbird for \\Noselect."""
    if command.pattern == "":
        context.out.write(b"* LSUB (\\Noselect) " + _DELIMITER + b' ""\r\n')
        return Done("LSUB completed")
    await context.refresh()
    infos = {info.name: info for info in context.account.mailboxes()}
    _add_missing(infos, context.account.subscriptions())
    matches = matcher(command.reference + command.pattern)
    for info in list(infos.values()):
        if not matches(info.name):
            continue
        if info.subscribed:
            context.out.write(_line(b"LSUB", _attributes(info), info.name))
        elif command.pattern.endswith("%") and _subscribed_below(info.name, infos.values()):
            # RFC 3501 §6.3.9: "foo" is listed with \Noselect for "%" when only "foo/bar" is subscribed.
            context.out.write(_line(b"LSUB", [b"\\Noselect"], info.name))
    return Done("LSUB completed")


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
            number = count_unseen(account, table)
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


def _add_missing(infos: dict[str, MailboxInfo], subscriptions: Iterable[str]) -> None:
    """Adds the subscribed names of which there is no mailbox, and the levels above them (RFC 3501 §6.3.6)."""
    for name in subscriptions:
        name = canonical(name)
        if name not in infos:
            infos[name] = MailboxInfo(None, name, None, True, False)
            for parent in parents(name):
                infos.setdefault(parent, MailboxInfo(None, parent, None, False, True))


def _subscribed_below(name: str, infos: Iterable[MailboxInfo]) -> bool:
    prefix = name + DELIMITER
    return any(info.subscribed and info.name.startswith(prefix) for info in infos)


HANDLERS: Handlers = {List: list_mailboxes, Lsub: lsub, Namespace: namespace, Status: status}
