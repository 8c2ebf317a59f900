"""`aerogramme export`: an account as Maildirs or mboxes, for other programs, and for Dovecot."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme.errors import AerogrammeError, BadConfiguration, Damaged, Refused, Unavailable
from aerogramme.units import shown_size
from aerogramme_cli import common, many, times
from aerogramme_cli.asking import PasswordFrom, PasswordStdin
from aerogramme_cli.common import ConfigOption, DataOption, StoreOption
from aerogramme_cli.many import All, KeyOption, OptionalAddress, PasswordsFrom
from aerogramme_cli.mount import Layout

if TYPE_CHECKING:
    from aerogramme.migrate.export.place import Owner
    from aerogramme.migrate.export.report import Report
    from aerogramme.migrate.export.target import Kind
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User

FAULTS_SHOWN = 20  # of one account; --json has all

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

PathArgument = Annotated[
    str,
    typer.Argument(
        metavar="PATH",
        help="A folder, made if need be. %u is the address, %n what comes before its @, %d after.",
    ),
]
LayoutOption = Annotated[
    Layout, typer.Option(help="maildir++: .Folder.Sub, Dovecot's default; fs: a tree of folders.")
]
OwnerOption = Annotated[
    str | None,
    typer.Option("--owner", metavar="USER[:GROUP]", help="Who shall own the files. Else who runs this does."),
]
AtOption = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help=f"As the account was then: {times.FORMS}.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line, one line an account.")]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be written, where, and for whom."""

    kind: "Kind"
    path: str
    layout: Layout
    owner: "Owner | None"
    at: float | None  # unix seconds


@app.callback()
def export() -> None:
    """Write accounts in the form that other programs read: to move out, or to have a copy.

    The same command again only writes what has changed, and goes on where one was cut off. Nothing is
    encrypted in what is written: only its owner may read it.

    \b
    Examples:
      aerogramme export dovecot /var/vmail/alice alice@example.org --data ./mail --owner vmail
      aerogramme export maildir ./alice alice@example.org --data ./mail
      aerogramme export mbox ./alice alice@example.org --data ./mail --at yesterday
    """


@app.command("dovecot")
def dovecot(
    path: PathArgument,
    address: OptionalAddress = None,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    every: All = False,
    layout: LayoutOption = Layout.PLUSPLUS,
    owner: OwnerOption = None,
    moment: AtOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    passwords_from: PasswordsFrom = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write Maildirs that Dovecot serves with the same UIDs, flags, dates and subscriptions: the way back.

    Clients download nothing again. It prints what Dovecot's configuration must have. Dovecot must not
    deliver into the folder, or serve it, before the last run: mailboxes with messages that are not the
    account's are left alone, and the exit code is 65.

    \b
    Examples:
      aerogramme export dovecot /var/vmail/alice alice@example.org --data ./mail --owner vmail
      aerogramme export dovecot /var/vmail/%d/%n --all --data ./mail --owner vmail --passwords-from FILE
    """
    asked = _Asked("dovecot", path, layout, _owner(owner), _moment(moment))
    settings = common.settings(config, data, store)
    chosen = many.chosen(settings, address, every, password_stdin, password_from, passwords_from, key)
    _export(settings, chosen, asked, every, as_json)


@app.command("maildir")
def maildir(
    path: PathArgument,
    address: OptionalAddress = None,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    every: All = False,
    layout: LayoutOption = Layout.PLUSPLUS,
    owner: OwnerOption = None,
    moment: AtOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    passwords_from: PasswordsFrom = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write Maildirs as `mount` shows them, for mutt, notmuch, mbsync and the like.

    \b
    Example:
      aerogramme export maildir ./alice alice@example.org --data ./mail --layout fs
    """
    asked = _Asked("maildir", path, layout, _owner(owner), _moment(moment))
    settings = common.settings(config, data, store)
    chosen = many.chosen(settings, address, every, password_stdin, password_from, passwords_from, key)
    _export(settings, chosen, asked, every, as_json)


@app.command("mbox")
def mbox(
    path: PathArgument,
    address: OptionalAddress = None,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    every: All = False,
    owner: OwnerOption = None,
    moment: AtOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    passwords_from: PasswordsFrom = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a file NAME.mbox for each mailbox (mboxrd, with UIDs and flags as Dovecot has them).

    Files of mailboxes that have changed are written anew.

    \b
    Example:
      aerogramme export mbox ./alice alice@example.org --data ./mail
    """
    asked = _Asked("mbox", path, Layout.FS, _owner(owner), _moment(moment))
    settings = common.settings(config, data, store)
    chosen = many.chosen(settings, address, every, password_stdin, password_from, passwords_from, key)
    _export(settings, chosen, asked, every, as_json)


def _owner(text: str | None) -> "Owner | None":
    from aerogramme.migrate.export.place import owner_of

    return None if text is None else owner_of(text)


def _moment(text: str | None) -> float | None:
    return None if text is None else times.parse_time(text, time.time(), UTC)


def _path(pattern: str, address: str) -> Path:
    """The folder of an account. An address has no slash in it, but may be dots."""
    local, _, domain = address.rpartition("@")
    values = {"u": address, "n": local, "d": domain, "%": "%"}
    path = ""
    rest = iter(pattern)
    for letter in rest:
        if letter != "%":
            path += letter
            continue
        name = next(rest, "")
        if name not in values:
            raise typer.BadParameter(f"%{name} means nothing in a path: there are %u, %n, %d, and %% for %")
        if name != "%" and ("/" in values[name] or values[name] in ("", ".", "..")):
            raise Refused(f"{address} cannot be part of a path")
        path += values[name]
    return Path(path)


def _export(
    settings: Config,
    chosen: "tuple[list[User], dict[str, Secret]]",
    asked: _Asked,
    every: bool,
    as_json: bool,
) -> None:
    users, secrets = chosen
    if every and not any(letter in asked.path.replace("%%", "") for letter in ("%u", "%n")):
        raise BadConfiguration("each account needs a folder of its own", hint="such as ./export/%u")
    lost = 0
    with _progress() as told, common.interruptible("interrupted; the same command again goes on"):
        for user in users:
            secret = secrets.get(user.account)
            if secret is None:
                typer.echo(f"{user.address}: left out, its password is not given", err=True)
                lost += 1
                continue
            try:
                report = common.run(partial(_one, asked=asked, told=told), settings, user, secret)
            except Unavailable:
                raise  # the store, or the disk: the other accounts would have it too
            except AerogrammeError as error:
                if not every:
                    raise
                typer.echo(f"{user.address}: not exported: {error}", err=True)
                lost += 1
                continue
            _print(report, as_json)
            lost += report.lost
    if lost:
        raise Damaged(
            "not everything is in the export"
            if not every
            else f"{lost} account{' is' if lost == 1 else 's are'} not in the export as a whole",
            hint="above it says what is missing, and why",
        )


async def _one(
    settings: Config, user: "User", secret: "Secret", *, asked: _Asked, told: "Callable[[Report], None]"
) -> "Report":
    from aerogramme.mailbox.history.past import past_of
    from aerogramme.migrate.export.exporting import export
    from aerogramme.migrate.export.report import Report

    path = _path(asked.path, user.address)
    report = Report(user.address, str(path), asked.kind)
    async with common.open_account(settings, user, secret) as account:
        shown = account if asked.at is None else await past_of(account, asked.at)
        try:
            await export(
                shown, path, asked.kind, report, layout=asked.layout.value, owner=asked.owner, told=told
            )
        finally:
            if shown is not account:
                await shown.aclose()
    return report


def _print(report: "Report", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.plain()))
        return
    counts = {name: report.total(name) for name in ("written", "changed", "removed")}
    parts = [f"{count:,} {name}" for name, count in counts.items() if count]
    octets = report.total("octets")
    typer.echo(
        f"{report.address}: {report.messages:,} message{'' if report.messages == 1 else 's'} in "
        f"{len(report.mailboxes):,} mailboxes at "
        f"{report.path}: {', '.join(parts) or 'nothing to do'}{f' ({shown_size(octets)})' if octets else ''}"
    )
    for path in report.gone:
        typer.echo(f"{report.address}: {path} was removed: the account has this mailbox no more")
    for fault in report.faults[:FAULTS_SHOWN]:
        typer.echo(f"{report.address}: {fault.origin}: {fault.what}: {fault.done}", err=True)
    if len(report.faults) > FAULTS_SHOWN:
        typer.echo(
            f"{report.address}: and {len(report.faults) - FAULTS_SHOWN:,} more: --json has all", err=True
        )
    for line in ["", "# dovecot.conf", *report.needs] if report.needs else []:
        typer.echo(line)


@contextmanager
def _progress() -> "Iterator[Callable[[Report], None]]":
    """A bar for the account that is written, on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[octets]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("", total=None, octets="")

        def told(report: "Report") -> None:
            octets = f"{shown_size(report.total('octets'))} written"
            done = report.total("done")
            progress.update(
                bar, description=report.address, total=report.messages, completed=done, octets=octets
            )

        yield told
