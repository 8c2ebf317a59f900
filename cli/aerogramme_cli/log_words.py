"""Entries of the log as programs read them (JSON), and as people do (plain words)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aerogramme.errors import Damaged
    from aerogramme.log.entry import Entry, Op

SPANS = 4  # runs of UIDs that are shown; an entry may be about any number of messages
SHORT = 6  # hex digits of a replica that are shown: enough to tell those of a week apart

NameOf = Callable[[int], str | None]
"""The name that a mailbox has at the moment of an entry."""
UidOf = Callable[[int, int], int | None]
"""Mailbox, message -> its UID, as far as it is known."""

ROLES = {
    "\\All": "shows all messages",
    "\\Archive": "is the archive",
    "\\Drafts": "is for drafts",
    "\\Flagged": "shows flagged messages",
    "\\Junk": "is for junk",
    "\\Sent": "is for sent mail",
    "\\Trash": "is the trash",
}
"""RFC 6154 §2."""


def key_parts(key: str) -> dict[str, Any]:
    """What the row key of an entry tells, as JSON has it. Raises Damaged."""
    from aerogramme.log.clock import ms_of
    from aerogramme.log.entry import parse_key
    from aerogramme_cli.common import instant

    clock, replica, seq = parse_key(key)
    time = instant(ms_of(clock) / 1000)
    return {"key": key, "time": time, "replica": f"{replica:010x}", "seq": seq, "modseq": clock}


def entry_as_json(
    key: str, entry: "Entry | Damaged", operations: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """An entry as JSON has it, with these of its operations."""
    from aerogramme.errors import Damaged

    try:
        found = key_parts(key)
    except Damaged as damage:
        return {"key": key, "time": None, "replica": None, "seq": None, "operations": []} | {
            "damaged": str(damage)
        }
    if isinstance(entry, Damaged):
        return found | {"operations": [], "damaged": str(entry)}
    return found | {"operations": list(operations)}


def op_as_json(op: "Op", name_of: NameOf, uid_of: UidOf) -> dict[str, Any]:
    """An operation as JSON has it. Names are those of the moment, UIDs those claimed then, or known now."""
    from aerogramme.log.entry import Add, Again, Claim, Flags, MailboxOp, Subscribe

    match op:
        case Subscribe():
            return {"op": "subscribe", "name": op.name, "on": op.on}
        case Again():
            return {"op": "again", "key": op.key}
    of = {"mailbox": name_of(op.mailbox), "mailbox_id": f"{op.mailbox:x}"}
    if isinstance(op, MailboxOp):
        attributes = ("name", "role", "deleted", "uidvalidity", "imported")
        changed = {what: getattr(op, what) for what in attributes}
        return {"op": "mailbox"} | of | {what: value for what, value in changed.items() if value is not None}
    found: dict[str, Any] = {"op": type(op).__name__.lower()} | of | {"messages": len(op.ids)}
    if isinstance(op, Add | Claim):
        found |= {"uids": list(op.uids)}
    else:
        found |= {"uids": [uid for message in op.ids if (uid := uid_of(op.mailbox, message)) is not None]}
    match op:
        case Add():
            found |= {"octets": sum(op.sizes), "new": op.segment is not None}
        case Flags():
            found |= {"set": list(op.add), "cleared": list(op.remove)}
    return found | {"ids": [f"{message:x}" for message in op.ids]}


def words(
    operations: Sequence[Mapping[str, Any]],
    before: Mapping[str, str],
    beside: Sequence[Mapping[str, Any]] = (),
) -> Iterator[str]:
    """The operations of one entry in plain words, a line each. `before`, `beside`: as in log_show.Shown."""
    removed = [op for op in (*operations, *beside) if op["op"] == "remove"]
    for op in (*operations, *beside):
        if op["op"] == "add" and not op["new"]:
            # What is put elsewhere and taken away in one entry was moved (RFC 6851).
            source = next((gone for gone in removed if gone["messages"] == op["messages"]), None)
            if source is not None:
                removed.remove(source)
                if op in operations or source in operations:
                    yield (
                        f"{_messages(op)} moved from {_mailbox(source)}{_uids(source)} to "
                        f"{_mailbox(op)}{_uids(op)}"
                    )
            elif op in operations:
                yield f"{_messages(op)} copied to {_mailbox(op)}{_uids(op)}"
        elif op["op"] != "remove" and op in operations:
            yield _words(op, before)
    for op in removed:
        if op in operations:
            yield f"{_messages(op)} removed from {_mailbox(op)}{_uids(op)}"


def _words(op: Mapping[str, Any], before: Mapping[str, str]) -> str:
    match op["op"]:
        case "add":
            return f"{_messages(op)} added to {_mailbox(op)}{_uids(op, _bytes(op))}"
        case "claim":
            return f"{_messages(op)} of {_mailbox(op)} numbered anew{_uids(op)}"
        case "flags":
            changes = [f"+{flag}" for flag in op["set"]] + [f"-{flag}" for flag in op["cleared"]]
            return f"{_messages(op)} of {_mailbox(op)}: {' '.join(changes)}{_uids(op)}"
        case "touch":
            return f"{_messages(op)} of {_mailbox(op)} told anew to clients{_uids(op)}"
        case "subscribe":
            return f"{op['name']} {'subscribed' if op['on'] else 'unsubscribed'}"
        case "mailbox":
            return f"mailbox {_mailbox_words(op, before)}"
        case _:
            return f"entry {op['key']} said again, because it came late"


def _mailbox_words(op: Mapping[str, Any], before: Mapping[str, str]) -> str:
    had = before.get(op["mailbox_id"])
    made = had is None and "uidvalidity" in op  # it gets both at once
    name, said = _mailbox(op), []
    if "name" in op and had != op["name"]:
        name = had or op["name"]
        said.append("made" if made else "named" if had is None else f"renamed to {op['name']}")
    if "deleted" in op and not made:
        said.append("deleted" if op["deleted"] else "no longer deleted")
    if "role" in op:
        other = f"has the special use {op['role']}" if op["role"] else "has no special use"
        said.append(ROLES.get(op["role"], other))
    if "imported" in op:
        said.append(f"imported up to UID {op['imported'] - 1}")
    numbered = f"(UIDVALIDITY {op['uidvalidity']})" if "uidvalidity" in op else ""
    return " ".join(filter(None, (name, ", ".join(said), numbered)))


def _mailbox(op: Mapping[str, Any]) -> str:
    return op["mailbox"] or f"a mailbox whose name is not known ({op['mailbox_id']})"


def _messages(op: Mapping[str, Any]) -> str:
    count = op["messages"]
    return f"{count:,} message{'' if count == 1 else 's'}"


def _bytes(op: Mapping[str, Any]) -> str:
    return f"{op['octets']:,} bytes"


def _uids(op: Mapping[str, Any], *more: str) -> str:
    """In brackets, as far as there is something to tell."""
    told = [f"UID {spans(op['uids'])}"] if op["uids"] else []
    told += more
    return f" ({', '.join(told)})" if told else ""


def spans(uids: Iterable[int]) -> str:
    """`5`, `5-9`, or `5, 8-12, 20, 22, …`."""
    from aerogramme.log.ids import Runs

    runs = Runs.of(sorted(uids)).runs
    shown = [f"{first}" if count == 1 else f"{first}-{first + count - 1}" for first, count in runs[:SPANS]]
    return ", ".join(shown + ["…"] * (len(runs) > SPANS))
