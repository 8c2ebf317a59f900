"""`aerogramme log at`: an account as it stood at a moment: its mailboxes, its messages, a mail."""

import json
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme.units import shown_size
from aerogramme_cli import common, terminal, times
from aerogramme_cli.common import Login
from aerogramme_cli.options import LocalOption, Opening, grouped
from aerogramme_cli.terminal import printable

if TYPE_CHECKING:
    from aerogramme.log.table import Table
    from aerogramme.mailbox.account import Account

BATCH = 500  # messages whose headers are read at a time
FROM_WIDTH = 32  # characters of a sender in a list for people


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be shown."""

    at: float  # unix seconds
    mailbox: str | None
    message: int | None  # UID
    zone: tzinfo | None
    as_json: bool


@grouped
def at(
    asked: Opening,
    moment: Annotated[str, typer.Argument(metavar="TIME", help=f"Such as {times.FORMS}.")],
    mailbox: Annotated[
        str | None, typer.Option(metavar="NAME", help="List the messages that were in this mailbox.")
    ] = None,
    message: Annotated[
        int | None,
        typer.Option(metavar="UID", min=1, help="Print this mail of --mailbox (INBOX if there is none)."),
    ] = None,
    local: LocalOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: a mailbox, or a message; times in UTC.")
    ] = False,
) -> None:
    """Show an account as it stood at a moment. Asks for the password.

    It lists the mailboxes that there were, the messages in one of them, or prints a mail. Nothing is changed.
    How far back it goes is the retention of the account, a week if nothing else is set; `aerogramme restore`
    brings back what was expunged since.

    \b
    Examples:
      aerogramme log at alice@example.org yesterday --data ./mail
      aerogramme log at alice@example.org "3 days ago" --data ./mail --mailbox INBOX
      aerogramme log at alice@example.org 2026-11-29T08:00:00Z --data ./mail --message 17 > mail.eml
    """
    zone, now = None if local else UTC, time.time()
    wanted = _Wanted(times.parse_time(moment, now, zone), mailbox, message, zone, as_json)
    if wanted.at > now:  # who asks for 08:12 in the night means yesterday, and is not to be shown the present
        raise typer.BadParameter(f"{times.shown(wanted.at, zone)} is yet to come")
    if as_json and message is not None:
        raise typer.BadParameter("--message prints the mail as it is: --json does not go with it")
    common.run(_at, asked.login(), wanted)


async def _at(login: Login, wanted: _Wanted) -> None:
    async with common.open_at(login, wanted.at) as past:
        if past.journal.damaged:
            typer.echo(
                f"{len(past.journal.damaged)} entries of the log cannot be read: something may be missing",
                err=True,
            )
        if wanted.message is not None:
            await _print_mail(past, wanted.mailbox or "INBOX", wanted.message)
        elif wanted.mailbox is not None:
            await _list_messages(past, wanted, _find(past, wanted.mailbox))
        else:
            _list_mailboxes(past, wanted)


def _find(past: "Account", mailbox: str) -> "Table":
    from aerogramme.errors import NoSuchMailbox

    try:
        return past.find(mailbox)
    except NoSuchMailbox:
        raise NoSuchMailbox(
            f"there was no mailbox {mailbox} then", hint="without --mailbox those that there were are listed"
        ) from None


def _list_mailboxes(past: "Account", wanted: _Wanted) -> None:
    found: list[dict[str, Any]] = []
    for info in past.mailboxes():
        if info.id is None:
            continue
        table = past.state.tables[info.id]
        read = table.flagsets.numbers_with("\\Seen")
        found.append(
            {
                "name": info.name,
                "role": info.role,
                "subscribed": info.subscribed,
                "uidvalidity": table.uidvalidity,
                "messages": len(table),
                "unseen": sum(number not in read for number in table.flags),
                "octets": sum(table.sizes),
            }
        )
    if wanted.as_json:
        for each in found:
            typer.echo(json.dumps(each, ensure_ascii=False))
        return

    from rich.table import Table as Grid

    grid = Grid("mailbox", box=None)
    for column in ("messages", "unseen", "size"):
        grid.add_column(column, justify="right")
    grid.add_column("use")
    for each in found:
        counts = (f"{each['messages']:,}", f"{each['unseen']:,}", shown_size(each["octets"]))
        grid.add_row(printable(each["name"]), *counts, each["role"] or "")
    terminal.console().print(grid)


async def _list_messages(past: "Account", wanted: _Wanted, table: "Table") -> None:
    async with aclosing(_messages(past, table)) as messages:
        async for message in messages:
            if wanted.as_json:
                message["date"] = common.instant(message["date"])
                typer.echo(json.dumps(message, ensure_ascii=False))
            else:
                date = times.shown(message["date"], wanted.zone)
                sender = printable(message["from"])[:FROM_WIDTH]
                flags = " ".join(message["flags"])
                line = f"{message['uid']:>7}  {date}  {message['octets']:>10,}  {sender:<{FROM_WIDTH}}  "
                line += printable(message["subject"])
                typer.echo(f"{line}  [{printable(flags)}]" if flags else line)


async def _messages(past: "Account", table: "Table") -> AsyncGenerator[dict[str, Any], None]:
    """What is listed of each message; memory does not grow with their number."""
    from aerogramme.mail.header import read_fields
    from aerogramme.mail.text import decode_header

    def text(fields: dict[bytes, bytes], name: bytes) -> str:
        return decode_header(fields.get(name, b"")).strip()

    for start in range(0, len(table), BATCH):
        rows = range(start, min(start + BATCH, len(table)))
        [headers] = await past.digests([table.contents[row] for row in rows], ["header"])
        for row, header in zip(rows, headers, strict=True):
            fields = read_fields(header, 0, len(header))
            yield {
                "uid": table.uids[row],
                "id": f"{table.ids[row]:x}",
                "date": table.dates[row],
                "from": text(fields, b"from"),
                "subject": text(fields, b"subject"),
                "octets": table.sizes[row],
                "flags": list(past.flags_of(table.flags[row])),
            }


async def _print_mail(past: "Account", mailbox: str, uid: int) -> None:
    from aerogramme.errors import NotStored

    table = _find(past, mailbox)
    row = table.row_of_uid(uid)
    if row is None:
        raise NotStored(
            f"there was no message {uid} in {mailbox}", hint=f"`log at … --mailbox {mailbox}` lists them"
        )
    async with aclosing(past.stream_body(table.contents[row])) as pieces:
        async for piece in pieces:
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
