"""`aerogramme log`: what happened to an account."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme.config import Config
from aerogramme.errors import Damaged
from aerogramme_cli import common
from aerogramme_cli.asking import PasswordFrom, PasswordStdin, asking
from aerogramme_cli.common import AddressArgument, ConfigOption, DataOption, StoreOption

if TYPE_CHECKING:
    from aerogramme.log.entry import Entry, Op
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at the log of an account.")


@app.callback()
def log() -> None:
    """Look at the log of an account."""


@app.command("show")
def show(
    address: AddressArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, one line an entry.")
    ] = False,
) -> None:
    """Show the decrypted entries of the log: when, by whom, what. Asks for the password.

    \b
    Examples:
      aerogramme log show alice@example.org --data ./mail
      aerogramme log show alice@example.org --data ./mail --json | jq 'select(.operations[].op == "remove")'
    """
    settings = common.settings(config, data, store)
    user = common.user_of(settings, address)
    shown = common.run(_show, settings, user, asking(password_stdin, password_from).password())
    if as_json:
        for entry in shown:
            typer.echo(json.dumps(entry, ensure_ascii=False))
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("time (UTC)", "replica", "entry", "what")
    for entry in shown:
        what = entry.get("damaged") or "\n".join(_words(op) for op in entry["operations"])
        table.add_row(entry["time"], entry["replica"], str(entry["seq"]), Text(what))
    Console().print(table)


async def _show(settings: Config, user: "User", password: "Secret") -> list[dict[str, Any]]:
    from aerogramme.log.reading import entries

    async with common.open_account(settings, user, password) as account:
        names = {info.id: info.name for info in account.mailboxes() if info.id is not None}
        return [_plain(key, entry, names) async for key, entry in entries(account.store, account.keyring)]


def _plain(key: str, entry: "Entry | Damaged", names: Mapping[int, str]) -> dict[str, Any]:
    """An entry as JSON has it."""
    from aerogramme.log.clock import ms_of
    from aerogramme.log.entry import parse_key

    try:
        clock, replica, seq = parse_key(key)
    except Damaged as damage:
        return {"key": key, "time": "", "replica": "", "seq": 0, "operations": [], "damaged": str(damage)}
    found: dict[str, Any] = {
        "key": key,
        "time": datetime.fromtimestamp(ms_of(clock) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        "replica": f"{replica:010x}",
        "seq": seq,
        "modseq": clock,
    }
    if isinstance(entry, Damaged):
        return found | {"operations": [], "damaged": str(entry)}
    return found | {"operations": [_op(op, names) for op in entry.ops]}


def _op(op: "Op", names: Mapping[int, str]) -> dict[str, Any]:
    from aerogramme.log.entry import Add, Again, Claim, Flags, MailboxOp, Remove, Subscribe, Touch

    match op:
        case Subscribe():
            return {"op": "subscribe", "name": op.name, "on": op.on}
        case Again():
            return {"op": "again", "key": op.key}
        case MailboxOp():
            changed = {"name": op.name, "role": op.role, "deleted": op.deleted, "uidvalidity": op.uidvalidity}
            return {"op": "mailbox", "mailbox": _name(op.mailbox, names)} | {
                what: value for what, value in changed.items() if value is not None
            }
    found = {"op": type(op).__name__.lower(), "mailbox": _name(op.mailbox, names), "messages": len(op.ids)}
    match op:
        case Add():
            return found | {"uids": list(op.uids), "bytes": sum(op.sizes)}
        case Claim():
            return found | {"uids": list(op.uids)}
        case Flags():
            return found | {
                "set": list(op.add),
                "cleared": list(op.remove),
                "ids": [f"{i:x}" for i in op.ids],
            }
        case Remove() | Touch():
            return found | {"ids": [f"{i:x}" for i in op.ids]}


def _name(mailbox: int, names: Mapping[int, str]) -> str:
    return names.get(mailbox, f"(deleted, {mailbox:x})")


def _words(op: Mapping[str, Any]) -> str:
    """An operation in plain words."""
    count = op.get("messages", 0)
    messages = f"{count:,} message{'' if count == 1 else 's'}"
    match op["op"]:
        case "add":
            return f"{messages} added to {op['mailbox']} (UID {_span(op['uids'])}, {op['bytes']:,} bytes)"
        case "claim":
            return f"{messages} of {op['mailbox']} numbered anew (UID {_span(op['uids'])})"
        case "remove":
            return f"{messages} removed from {op['mailbox']}"
        case "flags":
            changes = [f"+{flag}" for flag in op["set"]] + [f"-{flag}" for flag in op["cleared"]]
            return f"{messages} of {op['mailbox']}: {' '.join(changes)}"
        case "touch":
            return f"{messages} of {op['mailbox']} touched"
        case "subscribe":
            return f"{op['name']} {'subscribed' if op['on'] else 'unsubscribed'}"
        case "mailbox":
            parts = [f"{what} {op[what]}" for what in ("name", "role", "uidvalidity") if what in op]
            if op.get("deleted"):
                parts.append("deleted")
            return f"mailbox {op['mailbox']}: {', '.join(parts)}"
        case _:
            return f"entry {op.get('key', '')} written again"


def _span(uids: list[int]) -> str:
    """`5`, `5-9`, or `5, 8, …`."""
    if not uids:
        return "none"
    if uids == list(range(uids[0], uids[-1] + 1)):
        return str(uids[0]) if len(uids) == 1 else f"{uids[0]}-{uids[-1]}"
    return ", ".join(map(str, uids[:4])) + (", …" if len(uids) > 4 else "")
