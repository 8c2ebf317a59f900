"""`aerogramme restore`: brings back what was expunged, and mailboxes that were deleted."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.errors import Damaged
from aerogramme.units import shown_size
from aerogramme_cli import common, terminal, times
from aerogramme_cli.common import Login
from aerogramme_cli.options import Json, LocalOption, Opening, grouped
from aerogramme_cli.terminal import counted, printable

if TYPE_CHECKING:
    from aerogramme.mailbox.history.undo import Report, Wanted


@grouped
def restore(
    asked: Opening,
    since: Annotated[
        str, typer.Option(metavar="TIME", help=f"What was expunged since then, such as {times.FORMS}.")
    ],
    until: Annotated[str, typer.Option(metavar="TIME", help="And up to then.", show_default="now")] = "now",
    mailbox: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only what was in this mailbox, by the name it had; may be repeated."
        ),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Put all of it into this mailbox, which is made if there is none."),
    ] = None,
    copies: Annotated[
        bool, typer.Option("--copies", help="Also messages that another mailbox still has.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Remove again what the same command has brought back.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    local: LocalOption = False,
    as_json: Json = False,
) -> None:
    """Bring back mail that was expunged, and deleted mailboxes. Asks for the password.

    Messages come back where they were, with flags and dates, under new UIDs. What was moved was not
    expunged; what another mailbox still has is left out, unless its own mailbox was deleted. A second run
    brings nothing twice. It may be done while servers run, and mail programs see it at once.

    How far back it goes is the retention of the account, a week if nothing else is set; `aerogramme log at`
    shows what there was.

    \b
    Examples:
      aerogramme restore alice@example.org --data ./mail --since "2 hours ago" --dry-run
      aerogramme restore alice@example.org --data ./mail --since yesterday --until 08:00 --mailbox Work
      aerogramme restore alice@example.org --data ./mail --since 3d --into "Brought back"
    """
    from aerogramme.mailbox.history.undo import Wanted

    zone, now = None if local else UTC, time.time()
    begin, end = times.parse_between(since, until, now, zone)
    assert begin is not None
    assert end is not None
    wanted = Wanted(begin, end, tuple(mailbox or ()), into, copies)
    login = asked.login()
    with common.resumable("what has come back stays"):
        report = common.run(_restore, login, wanted, undo, dry_run)
    if as_json:
        fields = {"since": common.instant(begin), "until": common.instant(end), "dry_run": dry_run}
        typer.echo(json.dumps(fields | {"undo": undo} | asdict(report), ensure_ascii=False))
    else:
        _show(report, undo=undo, dry_run=dry_run, into=into is not None)
        if report.messages and not (undo or dry_run):
            span = f"--since {_typed(begin)} --until {_typed(end)}"
            typer.echo(f"to take it back: the same command with {span} --undo", err=True)
    if report.lost:
        raise Damaged(
            f"{counted(report.lost, 'message')} cannot be brought back: the mail is not there any more",
            hint="`aerogramme check` tells more; `key rotate --bodies` erases what was expunged before it",
        )


async def _restore(login: Login, wanted: "Wanted", undo: bool, dry_run: bool) -> "Report":
    from aerogramme.mailbox.history.undo import Undo

    with _progress() as (total, told):
        async with common.open_account(*login) as account:
            run = Undo(account, wanted, told)
            await run.plan()
            total(run.total)
            do = run.take_back if undo else run.bring_back
            return await do(dry_run=dry_run)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A bar on the terminal: what sets how many messages there are, and how many of them are done."""
    with terminal.bars() as progress:
        task = progress.add_task("messages", total=None, words="")
        yield (
            lambda total: progress.update(task, total=total),
            lambda done: progress.update(task, completed=done),
        )


def _show(report: "Report", *, undo: bool, dry_run: bool, into: bool) -> None:
    """A table on standard output, and what there is to say besides on standard error."""
    from rich.table import Table

    from aerogramme_cli.log_words import spans

    if report.mailboxes:
        table = Table("mailbox", box=None)
        for column in ("messages", "size"):
            table.add_column(column, justify="right")
        table.add_column("" if undo or dry_run else "UIDs")
        for name, line in report.mailboxes.items():
            counts = f"{line.messages:,}", shown_size(line.octets)
            title = printable(name) + ((" (made)" if into else " (made again)") if line.made else "")
            table.add_row(title, *counts, spans(line.uids))
        terminal.console().print(table)
    elif not (report.there or report.elsewhere or report.lost):
        typer.echo("nothing was expunged in that time" if not undo else "nothing is there of it", err=True)
    verb = "removed again" if undo else "brought back"
    would = "would be " if dry_run else ""
    typer.echo(f"{counted(report.messages, 'message')} {would}{verb}", err=True)
    for count, what in (
        (report.there, "brought back before"),
        (report.elsewhere, "left out, as other mailboxes have the mail: --copies brings it back, too"),
    ):
        if count:
            typer.echo(f"{counted(count, 'message')} {what}", err=True)
    if report.unreadable:
        typer.echo(
            f"{report.unreadable:,} entries of the log cannot be read: what they removed is not known",
            err=True,
        )


def _typed(seconds: float) -> str:
    """A time as this command takes it, to the millisecond."""
    return common.instant(int(seconds * 1000) / 1000)
