"""`aerogramme export`: an account as Maildirs or mboxes, for other programs, and for Dovecot."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.errors import AerogrammeError, BadConfiguration, Damaged, Unavailable
from aerogramme.units import shown_size
from aerogramme_cli import common, terminal, times
from aerogramme_cli.common import Login
from aerogramme_cli.many import OneOrAll
from aerogramme_cli.mount import Layout
from aerogramme_cli.options import AtOption, JsonLines, KeyOption, grouped
from aerogramme_cli.terminal import counted, printable
from aerogramme_cli.variables import expanded

if TYPE_CHECKING:
    from aerogramme.migrate.export.place import Owner
    from aerogramme.migrate.export.report import Report
    from aerogramme.migrate.export.target import Kind

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


@dataclass(frozen=True, kw_only=True)
class Asked(OneOrAll):
    """Whose mail is written, and how."""

    owner: OwnerOption = None
    moment: AtOption = None
    key: KeyOption = None
    as_json: JsonLines = False


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be written, where, and for whom."""

    kind: "Kind"
    path: str
    layout: Layout
    owner: "Owner | None"
    at: float | None  # unix seconds


@app.callback()
def export() -> None:
    """Write mail as other programs read it. To move out, or to have a copy.

    The same command again only writes what has changed, and goes on where one was cut off. Nothing is
    encrypted in what is written: only its owner may read it.

    \b
    Examples:
      aerogramme export dovecot /var/vmail/alice alice@example.org --data ./mail --owner vmail
      aerogramme export maildir ./alice alice@example.org --data ./mail
      aerogramme export mbox ./alice alice@example.org --data ./mail --at yesterday
    """


@app.command("dovecot")
@grouped
def dovecot(path: PathArgument, asked: Asked, layout: LayoutOption = Layout.PLUSPLUS) -> None:
    """Write Maildirs that Dovecot serves, the way back. With the same UIDs, flags, dates and subscriptions.

    Clients download nothing again. It prints what Dovecot's configuration must have. Dovecot must not
    deliver into the folder, or serve it, before the last run: mailboxes with messages that are not the
    account's are left alone, and the exit code is 65.

    \b
    Examples:
      aerogramme export dovecot /var/vmail/alice alice@example.org --data ./mail --owner vmail
      aerogramme export dovecot /var/vmail/%d/%n --all --data ./mail --owner vmail --passwords-from FILE
    """
    _export(asked, "dovecot", path, layout)


@app.command("maildir")
@grouped
def maildir(path: PathArgument, asked: Asked, layout: LayoutOption = Layout.PLUSPLUS) -> None:
    """Write Maildirs, for mutt, notmuch, mbsync and the like. They are what `mount` shows.

    \b
    Example:
      aerogramme export maildir ./alice alice@example.org --data ./mail --layout fs
    """
    _export(asked, "maildir", path, layout)


@app.command("mbox")
@grouped
def mbox(path: PathArgument, asked: Asked) -> None:
    """Write an mbox for each mailbox. NAME.mbox is mboxrd, with UIDs and flags as Dovecot has them.

    Files of mailboxes that have changed are written anew.

    \b
    Example:
      aerogramme export mbox ./alice alice@example.org --data ./mail
    """
    _export(asked, "mbox", path)


def _export(asked: Asked, kind: "Kind", path: str, layout: Layout = Layout.FS) -> None:
    from aerogramme.migrate.export.place import owner_of

    owner = None if asked.owner is None else owner_of(asked.owner)
    at = None if asked.moment is None else times.parse_time(asked.moment, time.time(), UTC)
    wanted = _Wanted(kind, path, layout, owner, at)
    if asked.every and not re.search("%L?[un]", path.replace("%%", "")):
        raise BadConfiguration("each account needs a folder of its own", hint="such as ./export/%u")
    settings = asked.settings()
    chosen = asked.chosen(settings, asked.key)
    lost = 0
    needs: list[list[str]] = []
    with _progress() as told, common.interruptible("interrupted; the same command again goes on"):
        for user, secret in chosen:
            if secret is None:
                typer.echo(f"{user.address}: left out, its password is not given", err=True)
                lost += 1
                continue
            try:
                report = common.run(_one, Login(settings, user, secret), wanted, told)
            except Unavailable:
                raise  # the store, or the disk: the other accounts would have it too
            except AerogrammeError as error:
                if not asked.every:
                    raise
                typer.echo(f"{user.address}: not exported: {error}", err=True)
                lost += 1
                continue
            _print(report, asked.as_json)
            lost += report.lost
            if report.needs:
                here, everywhere = str(Path(report.path).absolute()), str(Path(path).absolute())
                needs.append([line.replace(here, everywhere) for line in report.needs])
    if needs and not asked.as_json:
        typer.echo("\n".join(["", "# dovecot.conf", *_together(needs)]))
    if lost:
        raise Damaged(
            "not everything is in the export"
            if not asked.every
            else f"{lost} account{' is' if lost == 1 else 's are'} not in the export as a whole",
            hint="above it says what is missing, and why",
        )


async def _one(login: Login, wanted: _Wanted, told: "Callable[[Report], None]") -> "Report":
    from aerogramme.migrate.export.exporting import export
    from aerogramme.migrate.export.report import Report

    path = Path(expanded(wanted.path, login.user.address))
    report = Report(login.user.address, str(path), wanted.kind)
    async with common.open_at(login, wanted.at) as account:
        await export(
            account, path, wanted.kind, report, layout=wanted.layout.value, owner=wanted.owner, told=told
        )
    return report


def _print(report: "Report", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.plain()))
        return
    counts = {name: report.total(name) for name in ("written", "changed", "removed")}
    parts = [f"{count:,} {name}" for name, count in counts.items() if count]
    octets = report.total("octets")
    typer.echo(
        f"{report.address}: {counted(report.messages, 'message')} in "
        f"{len(report.mailboxes):,} mailboxes at "
        f"{report.path}: {', '.join(parts) or 'nothing to do'}{f' ({shown_size(octets)})' if octets else ''}"
    )
    for path in report.gone:
        typer.echo(f"{report.address}: {path} was removed: the account has this mailbox no more")
    for fault in report.faults[:FAULTS_SHOWN]:
        words = printable(f"{fault.origin}: {fault.what}: {fault.done}")
        typer.echo(f"{report.address}: {words}", err=True)
    if len(report.faults) > FAULTS_SHOWN:
        typer.echo(
            f"{report.address}: and {len(report.faults) - FAULTS_SHOWN:,} more: --json has all", err=True
        )


def _together(needs: Sequence[Sequence[str]]) -> list[str]:
    """What Dovecot's configuration must have for all of these accounts: the namespace has the special uses of
    each, once."""
    outside: dict[str, None] = {}
    mailboxes: dict[str, Sequence[str]] = {}
    for lines in needs:
        namespace = lines.index("namespace inbox {")
        outside |= dict.fromkeys(lines[:namespace])
        for at in range(namespace + 3, len(lines) - 1, 3):  # after `inbox` and `separator`, before the end
            mailboxes.setdefault(lines[at], lines[at : at + 3])
    uses = [line for _, box in sorted(mailboxes.items()) for line in box]
    return [*outside, *lines[namespace : namespace + 3], *uses, "}"]


@contextmanager
def _progress() -> "Iterator[Callable[[Report], None]]":
    """A bar for the account that is written, on a terminal."""
    with terminal.bars() as progress:
        bar = progress.add_task("", total=None, words="")

        def told(report: "Report") -> None:
            words = f"{shown_size(report.total('octets'))} written"
            done = report.total("done")
            progress.update(
                bar, description=report.address, total=report.messages, completed=done, words=words
            )

        yield told
