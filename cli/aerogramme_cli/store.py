"""`aerogramme store`: look after the places where accounts are kept, and move accounts between them."""

import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.errors import Damaged, NoSuchUser
from aerogramme_cli import common, copying, terminal
from aerogramme_cli.options import ConfigOption, DataOption, Where, grouped

if TYPE_CHECKING:
    from rich.console import Console

    from aerogramme.store import Stores
    from aerogramme.store.check_steps import Step
    from aerogramme.store.copying import Report

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Check a store, copy accounts to another."
)


@app.callback()
def store() -> None:
    """Check a store, copy accounts to another."""


@app.command("check")
@grouped
def check(
    where: Where,
    create: Annotated[
        bool, typer.Option("--create", help="Make the bucket, or the folder, when it is missing.")
    ] = False,
) -> None:
    """Look whether a store is fit for use, step by step. Says what to do if it is not.

    What is tried is removed again: an object, rows, an account. The first step that fails ends the check. The
    exit code tells the kind of fault: 75 try again later, 77 not allowed, 78 to be set up otherwise.

    \b
    Examples:
      aerogramme store check --data ./mail
      aerogramme store check --config /etc/aerogramme/aerogramme.toml
      aerogramme store check --store 'garage:http://127.0.0.1:3900/mail?k2v=http://127.0.0.1:3904'
      aerogramme store check --store 's3:https://s3.example.org/mail?region=eu-1' --create
    """
    from aerogramme.store.check import check_store

    url = where.store
    if url is None or where.data is not None or where.config is not None:
        url = where.settings().store
    console, exit_code = terminal.console(), 0
    # Whoever is told to end shall remove what was tried, as at Ctrl-C.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: signal.raise_signal(signal.SIGINT))
    with (
        common.interruptible("interrupted; what was tried has been removed"),
        closing(check_store(url, create=create)) as steps,
    ):
        for step in steps:
            _print_step(console, step)
            exit_code = exit_code or step.exit_code
    raise typer.Exit(exit_code)


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
    names = {account: address for address, account in ids.items()}
    with common.resumable():
        reports, failed = common.run(_copy, source, target, ids, verify_only)
    copying.show(reports, names, "FROM", "TO")
    for account, damage in failed:
        typer.echo(f"{names.get(account, account)}: not copied: {damage}", err=True)
    raise typer.Exit(Damaged.exit_code if failed else copying.exit_code(reports))


def _ids(accounts: list[str], config: Path | None, data: Path | None) -> dict[str, str]:
    """Account ids by what they were asked for as."""
    found = {}
    for each in accounts:
        if re.fullmatch(r"[0-9a-f]{32}", each, re.ASCII):
            found[each] = each
        else:
            found[each] = common.user_of(common.settings(config, data), each, deleted=True).account
    return found


async def _copy(
    source: str, target: str, ids: dict[str, str], verify_only: bool
) -> "tuple[list[Report], list[tuple[str, Damaged]]]":
    """The reports, and the accounts that cannot be read at all: one does not keep the others."""
    async with _opened(source) as here, _opened(target) as there:
        accounts = [*ids.values()] or await here.list()
        if not accounts:
            raise NoSuchUser(f"there are no accounts in {source}", hint=_hint_for_nothing(source))
        reports: list[Report] = []
        failed: list[tuple[str, Damaged]] = []
        with copying.progress(len(accounts)) as told:
            for account in accounts:
                try:
                    reports.append(await copying.copy(here, there, account, told, verify_only=verify_only))
                except NoSuchUser:
                    if ids:
                        raise NoSuchUser(f"there is no account {account} in {source}") from None
                    continue  # it was deleted after it was listed
                except Damaged as damage:
                    failed.append((account, damage))
    return reports, failed


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
