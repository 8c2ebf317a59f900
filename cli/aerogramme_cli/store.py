"""`aerogramme store`: look after the places where accounts are kept, and move accounts between them."""

import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.errors import Damaged, NoSuchUser, Unavailable
from aerogramme_cli import common
from aerogramme_cli.common import ConfigOption, DataOption, StoreOption

if TYPE_CHECKING:
    from rich.console import Console

    from aerogramme.store import Stores
    from aerogramme.store.check_steps import Step
    from aerogramme.store.copying import Report

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Check a store, copy accounts to another."
)

NAMES_SHOWN = 10  # of objects that are missing; who needs all of them asks again when these are there


@app.callback()
def store() -> None:
    """Check a store, copy accounts to another."""


@app.command("check")
def check(
    config: ConfigOption = None,
    data: DataOption = None,
    where: StoreOption = None,
    create: Annotated[
        bool, typer.Option("--create", help="Make the bucket, or the folder, when it is missing.")
    ] = False,
) -> None:
    """Look whether a store is fit for use, step by step, and say what to do if it is not.

    What is tried is removed again: an object, rows, an account. The first step that fails ends the check. The
    exit code tells the kind of fault: 75 try again later, 77 not allowed, 78 to be set up otherwise.

    \b
    Examples:
      aerogramme store check --data ./mail
      aerogramme store check --config /etc/aerogramme/aerogramme.toml
      aerogramme store check --store 'garage:http://127.0.0.1:3900/mail?k2v=http://127.0.0.1:3904'
      aerogramme store check --store 's3:https://s3.example.org/mail?region=eu-1' --create
    """
    from rich.console import Console

    from aerogramme.store.check import check_store

    if where is None or data is not None or config is not None:
        where = common.settings(config, data, where).store
    console, exit_code = Console(highlight=False), 0
    # Whoever is told to end shall remove what was tried, as at Ctrl-C.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: signal.raise_signal(signal.SIGINT))
    with (
        _interruptible("interrupted; what was tried has been removed"),
        closing(check_store(where, create=create)) as steps,
    ):
        for step in steps:
            _print_step(console, step)
            exit_code = exit_code or step.exit_code
    raise typer.Exit(exit_code)


@contextmanager
def _interruptible(words: str) -> Iterator[None]:
    """At Ctrl-C says this, and ends with exit code 1."""
    interrupted = False
    try:
        yield
    except* KeyboardInterrupt:  # in a group, when it came while tasks of the store were running
        interrupted = True
    if interrupted:
        typer.echo(words, err=True)
        raise typer.Exit(1)


def _print_step(console: "Console", step: "Step") -> None:
    """One line, and what to do about it in lines below."""
    from rich.text import Text

    mark, style = _MARKS[step.outcome.value]
    line = Text(f"{mark} ", style=style).append(step.title, style="bold" if step.exit_code else "default")
    line.append(f": {step.text}" if step.text else "", style="default")
    console.print(line, soft_wrap=True)
    for more in (step.hint, step.note):
        if more:
            console.print(
                Text(f"    {more}", style="dim" if more is step.note else "default"), soft_wrap=True
            )


_MARKS = {
    "done": ("✓", "green"),
    "warning": ("!", "yellow"),
    "failed": ("✗", "red"),
    "not tried": ("·", "dim"),
}


@app.command("copy")
def copy(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="The store with the accounts; nothing there is changed.")
    ],
    target: Annotated[str, typer.Argument(metavar="TO", help="The store they are copied to.")],
    accounts: Annotated[
        list[str] | None,
        typer.Option(
            "--account", metavar="ID|ADDRESS", help="An account; may be repeated. An address needs --data."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All accounts that are in FROM.")] = False,
    verify_only: Annotated[
        bool, typer.Option("--verify-only", help="Compare the two, and write nothing.")
    ] = False,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Copy accounts from one store to another, sealed as they are. No password is needed.

    Every object is read back and compared. A run that was cut off is run again and goes on where it stopped;
    so does one during which mail came in at FROM, until there is nothing new. What --config or --data name is
    only the users file, for addresses. Exit code 0: TO has all that FROM has; 75: FROM changed meanwhile, run
    it again; 65: something is damaged or missing.

    \b
    Examples:
      aerogramme store copy sqlite:./mail/accounts sqlite:/mnt/new/accounts --all
      aerogramme store copy ./mail/accounts ./other --account alice@example.org --data ./mail
      aerogramme store copy ./mail/accounts ./other --all --verify-only
    """
    if source == target:
        raise typer.BadParameter("FROM and TO are the same store")
    if bool(accounts) == everything:
        raise typer.BadParameter("say which accounts: --account, which may be repeated, or else --all")
    ids = _ids(accounts or [], config, data)
    again = "the same command again goes on where it stopped"
    try:
        with _interruptible(f"interrupted; nothing is lost: {again}"):
            reports = common.run(_copy, source, target, ids, verify_only)
    except Unavailable as error:
        raise Unavailable(str(error), hint=f"{error.hint}; {again}" if error.hint else again) from error
    _show(reports, {account: address for address, account in ids.items()})
    raise typer.Exit(_exit_code(reports))


def _ids(accounts: list[str], config: Path | None, data: Path | None) -> dict[str, str]:
    """Account ids by what they were asked for as."""
    found = {}
    for each in accounts:
        if re.fullmatch(r"[0-9a-f]{32}", each, re.ASCII):
            found[each] = each
        else:
            found[each] = common.user_of(common.settings(config, data), each).account
    return found


async def _copy(source: str, target: str, ids: dict[str, str], verify_only: bool) -> "list[Report]":
    from aerogramme.log.entry import PARTITION as LOG
    from aerogramme.mailbox.incoming import PARTITION as INCOMING
    from aerogramme.mailbox.keys import PARTITION as KEYS
    from aerogramme.store.copying import Partition, Report, copy_account

    # A letter becomes an entry, and what an entry is sealed with is among the keys: this order loses nothing.
    partitions = [Partition(INCOMING, True), Partition(LOG, False), Partition(KEYS, True)]
    async with _opened(source) as here, _opened(target) as there:
        accounts = [*ids.values()] or await here.list()
        if not accounts:
            raise NoSuchUser(f"there are no accounts in {source}", hint=_hint_for_nothing(source))
        reports = []
        with _progress(len(accounts)) as told:
            for account in accounts:
                report = Report(account)
                try:
                    await copy_account(
                        here, there, report, partitions, verify_only=verify_only, told=partial(told, report)
                    )
                except NoSuchUser:
                    if ids:
                        raise NoSuchUser(f"there is no account {account} in {source}") from None
                    continue  # it was deleted after it was listed
                reports.append(report)
    return reports


@asynccontextmanager
async def _opened(where: str) -> "AsyncIterator[Stores]":
    from aerogramme.store import open_stores

    stores = open_stores(where)
    try:
        yield stores
    finally:
        await stores.aclose()


def _hint_for_nothing(source: str) -> str:
    folder = Path(source.removeprefix("sqlite:"))
    inner = folder / "accounts"
    return f"perhaps {inner} was meant, the folder with the account files" if inner.is_dir() else ""


@contextmanager
def _progress(accounts: int) -> "Iterator[Callable[[Report], None]]":
    """Bars on the terminal. What it gives is to be called with a report whenever that has changed."""
    from rich.console import Console
    from rich.filesize import decimal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[octets]}"),
        TimeRemainingColumn(),
    )
    octets: dict[str, int] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        whole = progress.add_task("accounts", total=accounts, octets="")
        objects = progress.add_task("objects", total=None, octets="")

        def told(report: "Report") -> None:
            octets[report.account] = report.octets_copied
            compared = report.objects_same + len(report.missing) + len(report.different)
            progress.update(objects, total=report.objects, completed=compared)
            progress.update(objects, octets=f"{decimal(sum(octets.values()))} copied")
            progress.update(whole, completed=len(octets) - 1)

        yield told


def _show(reports: "list[Report]", addresses: dict[str, str]) -> None:
    """A table on standard output; what somebody has to do about it on standard error."""
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    table = Table(box=None)
    table.add_column("account", no_wrap=True)
    for column in ("objects", "copied", "rows", "copied"):
        table.add_column(column, justify="right")
    table.add_column("state")
    for report in reports:
        counts = (report.objects, report.objects_copied, report.rows, report.rows_copied)
        name = addresses.get(report.account, report.account)
        table.add_row(name, *(f"{count:,}" for count in counts), _state(report))
    Console().print(table)
    for report in reports:
        for line in _remarks(report):
            typer.echo(f"{report.account}: {line}", err=True)
    typer.echo(f"{decimal(sum(report.octets_copied for report in reports))} copied", err=True)
    if any(report.changed for report in reports):
        typer.echo(
            "FROM changed during the copy: run the same command again. Once the servers that use FROM are "
            "stopped, the next run is the last one needed.",
            err=True,
        )


def _remarks(report: "Report") -> Iterator[str]:
    for what, names in (
        ("missing in TO", report.missing),
        (
            "different in FROM and TO (nothing was overwritten: either may be the damaged one)",
            report.different,
        ),
        ("damaged in FROM", report.unreadable),
    ):
        if names:
            more = ["…"] if len(names) > NAMES_SHOWN else []
            yield f"{what}: {', '.join([*sorted(names)[:NAMES_SHOWN], *more])}"
    if report.rows_removed:
        yield f"{report.rows_removed} rows are gone in FROM since they were copied, and now in TO too"
    if report.rows_own:
        yield f"{report.rows_own} rows are in TO alone, which has been used by itself; they stay"
    if report.rows_dropped:
        yield f"{report.rows_dropped} rows were copied before and removed in TO; they were not copied again"


def _state(report: "Report") -> str:
    if not report.whole:
        bad = len(report.missing) + len(report.different) + len(report.unreadable)
        return f"NOT WHOLE: {bad:,}"
    return "changed since" if report.changed else "whole"


def _exit_code(reports: "list[Report]") -> int:
    if not all(report.whole for report in reports):
        return Damaged.exit_code
    return Unavailable.exit_code if any(report.changed for report in reports) else 0
