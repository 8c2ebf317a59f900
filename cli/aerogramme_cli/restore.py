"""`aerogramme restore`: brings back what was expunged, and mailboxes that were deleted."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme.errors import Damaged, Unavailable
from aerogramme.units import shown_size
from aerogramme_cli import common, times
from aerogramme_cli.asking import PasswordFrom, PasswordStdin, asking
from aerogramme_cli.common import AddressArgument, ConfigOption, DataOption, StoreOption

if TYPE_CHECKING:
    from aerogramme.mailbox.history.undo import Report, Wanted
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User

SPANS_SHOWN = 4  # of UIDs, in a table

AGAIN = "the same command again goes on where it stopped"


def restore(
    address: AddressArgument,
    since: Annotated[
        str, typer.Option(metavar="TIME", help=f"What was expunged since then, such as {times.FORMS}.")
    ],
    until: Annotated[str, typer.Option(metavar="TIME", help="And up to then.", show_default="now")] = "now",
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
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
    local: Annotated[
        bool, typer.Option("--local", help="Times are those of this machine. Else UTC.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output; times in UTC.")] = False,
) -> None:
    """Bring back what was expunged in a span of time, and mailboxes that were deleted. Asks for the password.

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
    settings = common.settings(config, data, store)
    user = common.user_of(settings, address)
    password = asking(password_stdin, password_from).password()
    with _resumable():
        report = common.run(_restore, settings, user, password, wanted, undo, dry_run)
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
            f"{_messages(report.lost)} cannot be brought back: the mail is not there any more",
            hint="`aerogramme check` tells more; `key rotate --bodies` erases what was expunged before it",
        )


async def _restore(
    settings: Config, user: "User", password: "Secret", wanted: "Wanted", undo: bool, dry_run: bool
) -> "Report":
    from aerogramme.mailbox.history.undo import Undo

    with _progress() as (total, told):
        async with common.open_account(settings, user, password) as account:
            run = Undo(account, wanted, told)
            await run.plan()
            total(run.total)
            do = run.take_back if undo else run.bring_back
            return await do(dry_run=dry_run)


@contextmanager
def _resumable() -> Iterator[None]:
    """A run that is cut short says that nothing is lost."""
    try:
        with common.interruptible(f"interrupted; what has come back stays: {AGAIN}"):
            yield
    except Unavailable as error:
        raise Unavailable(str(error), hint=f"{error.hint}; {AGAIN}" if error.hint else AGAIN) from error


@contextmanager
def _progress() -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A bar on the terminal: what sets how many messages there are, and how many of them are done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("messages", total=None)
        yield (
            lambda total: progress.update(task, total=total),
            lambda done: progress.update(task, completed=done),
        )


def _show(report: "Report", *, undo: bool, dry_run: bool, into: bool) -> None:
    """A table on standard output, and what there is to say besides on standard error."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from aerogramme_cli.log_at import printable

    if report.mailboxes:
        table = Table("mailbox", box=None)
        for column in ("messages", "size"):
            table.add_column(column, justify="right")
        table.add_column("" if undo or dry_run else "UIDs")
        for name, line in report.mailboxes.items():
            counts = f"{line.messages:,}", shown_size(line.octets)
            title = printable(name) + ((" (made)" if into else " (made again)") if line.made else "")
            table.add_row(Text(title), *counts, _spans(line.uids))
        Console().print(table)
    elif not (report.there or report.elsewhere or report.lost):
        typer.echo("nothing was expunged in that time" if not undo else "nothing is there of it", err=True)
    verb = "removed again" if undo else "brought back"
    would = "would be " if dry_run else ""
    typer.echo(f"{_messages(report.messages)} {would}{verb}", err=True)
    for count, what in (
        (report.there, "brought back before"),
        (report.elsewhere, "left out, as other mailboxes have the mail: --copies brings it back, too"),
    ):
        if count:
            typer.echo(f"{_messages(count)} {what}", err=True)
    if report.unreadable:
        typer.echo(
            f"{report.unreadable:,} entries of the log cannot be read: what they removed is not known",
            err=True,
        )


def _messages(count: int) -> str:
    return f"{count:,} message{'' if count == 1 else 's'}"


def _spans(uids: Sequence[int]) -> str:
    """`5`, `5-9`, or `5, 8-9, …`."""
    spans = []
    for _, run in groupby(enumerate(sorted(uids)), lambda item: item[1] - item[0]):
        members = [uid for _, uid in run]
        spans.append(f"{members[0]}-{members[-1]}" if len(members) > 1 else f"{members[0]}")
    return ", ".join(spans[:SPANS_SHOWN]) + (", …" if len(spans) > SPANS_SHOWN else "")


def _typed(seconds: float) -> str:
    """A time as this command takes it, to the millisecond."""
    return common.instant(int(seconds * 1000) / 1000)
