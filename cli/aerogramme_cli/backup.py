"""`aerogramme backup`: sealed copies of accounts; each run is a snapshot, and copies only what is new."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from aerogramme.config import Config
from aerogramme.errors import AerogrammeError, Damaged, NoSuchUser, NotStored, Unavailable
from aerogramme.units import shown_size
from aerogramme_cli import common, terminal
from aerogramme_cli.options import All, Json, Where, grouped

if TYPE_CHECKING:
    from aerogramme.backup.folder import Backup
    from aerogramme.backup.snapshot import Named, Snapshot
    from aerogramme.backup.taking import Taken
    from aerogramme.backup.verifying import Verified
    from aerogramme.store import Stores
    from aerogramme.users.directory import User

SourceArgument = Annotated[
    Path, typer.Argument(metavar="SRC", help="The folder that `aerogramme backup` has written.")
]


class _Group(TyperGroup):
    """`backup ADDRESS DEST` means `backup take ADDRESS DEST`: no address is called like a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["take", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    subcommand_metavar="[take] ADDRESS... DEST | COMMAND",
)


@app.callback()
def backup() -> None:
    """Back up accounts, sealed; list and verify backups.

    \b
    Examples:
      aerogramme backup alice@example.org /mnt/backup --data ./mail
      aerogramme backup --all /mnt/backup --keep 30 --data ./mail
      aerogramme backup list /mnt/backup
      aerogramme backup verify /mnt/backup

    `aerogramme restore-backup` puts an account back.
    """


@app.command("take")
@grouped
def take(
    where: Where,
    names: Annotated[
        list[str],
        typer.Argument(metavar="[ADDRESS]... DEST", help="Addresses, and the folder; made when missing."),
    ],
    everything: All = False,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", min=1, metavar="N", help="Keep the newest N snapshots; by default all are kept."
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="First read what DEST has, and copy again what is damaged there."),
    ] = False,
    json_: Json = False,
) -> None:
    """Take a snapshot of accounts, whatever store they are in. No password is needed: all stays sealed.

    Only what is new since the last run is copied. Servers may go on meanwhile. A run that was cut off is run
    again and goes on; the snapshots from before stay as they are. Deleted accounts are backed up too, until
    they are erased. Exit code 0: all is in DEST; 65: something was damaged in the store, and the rest is in
    DEST; 75: the store, or DEST, is not there now.

    \b
    Examples:
      aerogramme backup alice@example.org /mnt/backup --data ./mail
      aerogramme backup --all /mnt/backup --keep 30 --data ./mail
    """
    from aerogramme.backup import folder

    *addresses, to = names
    if bool(addresses) == everything:
        raise typer.BadParameter("say which accounts: addresses, or else --all; and then the folder")
    dest = Path(to)
    settings = where.settings()
    users = _users(settings, addresses)
    folder.begin(dest)
    with common.resumable(), _progress(users) as told:
        reports, failed = common.run(_take_all, settings, users, dest, keep, verify, told)
    if json_:
        typer.echo(json.dumps([_taken_json(user, report) for user, report in reports], indent=1))
    elif reports:
        _show_taken(reports)
    for user, report in reports:
        for name in report.unreadable:
            typer.echo(
                f"{user.address}: {name!r} is damaged in the store; it is not in the snapshot", err=True
            )
    if len(users) > 1:
        for user, error in failed:
            typer.echo(f"{user.address}: not backed up: {error}", err=True)
    if failed:
        raise failed[0][1]
    if any(report.unreadable for _, report in reports):
        raise typer.Exit(Damaged.exit_code)


def _users(settings: Config, addresses: Sequence[str]) -> "list[User]":
    if addresses:
        users = {}
        for address in addresses:
            user = common.user_of(settings, address, deleted=True)
            users[user.account] = user
        return list(users.values())
    # One that is being erased is half of itself.
    found = [user for user in common.existing(settings).users() if not user.erasing]
    if not found:
        raise NoSuchUser("there are no accounts", hint="`aerogramme account create` makes one")
    return found


async def _take_all(
    settings: Config,
    users: "Sequence[User]",
    dest: Path,
    keep: int | None,
    verify: bool,
    told: "Callable[[Taken], None]",
) -> "tuple[list[tuple[User, Taken]], list[tuple[User, AerogrammeError]]]":
    """One account that cannot be backed up does not keep the others."""
    done: list[tuple[User, Taken]] = []
    failed: list[tuple[User, AerogrammeError]] = []
    async with common.open_stores(settings) as stores:
        for user in users:
            try:
                done.append((user, await _take_one(stores, user, dest, keep, verify, told)))
            except AerogrammeError as error:
                failed.append((user, error))
    return done, failed


async def _take_one(
    stores: "Stores",
    user: "User",
    dest: Path,
    keep: int | None,
    verify: bool,
    told: "Callable[[Taken], None]",
) -> "Taken":
    from aerogramme.backup.folder import Backup
    from aerogramme.backup.taking import Taken, take
    from aerogramme.users.static import text_of

    report = Taken(user.account)
    store = await stores.open(user.account)
    try:
        await take(
            store,
            Backup(dest, user.account),
            text_of(user),
            report,
            keep=keep,
            verify=verify,
            told=lambda: told(report),
        )
    finally:
        await store.aclose()
    return report


@contextmanager
def _progress(users: "Sequence[User]") -> "Iterator[Callable[[Taken], None]]":
    addresses = {user.account: user.address for user in users}
    octets: dict[str, int] = {}
    with terminal.bars() as progress:
        whole = progress.add_task("accounts", total=len(users), words="")
        objects = progress.add_task("objects", total=None, words="")

        def told(report: "Taken") -> None:
            octets[report.account] = report.octets_copied
            progress.update(
                objects,
                description=addresses[report.account],
                total=report.objects,
                completed=report.objects_done,
                words=f"{shown_size(sum(octets.values()))} copied",
            )
            progress.update(whole, completed=len(octets) - 1)

        yield told


def _taken_json(user: "User", report: "Taken") -> dict[str, object]:
    assert report.snapshot is not None
    return {
        "address": user.address,
        "account": user.account,
        "snapshot": report.snapshot.number,
        "hash": report.snapshot.hash,
        "objects": report.objects,
        "copied": report.items_copied,
        "octets_copied": report.octets_copied,
        "octets_freed": report.octets_freed,
        "mended": report.mended,
        "snapshots": report.snapshots,
        "unreadable": report.unreadable,
    }


def _show_taken(reports: "Sequence[tuple[User, Taken]]") -> None:
    from rich.table import Table

    table = Table(box=None)
    table.add_column("account", no_wrap=True)
    for column in ("snapshot", "objects", "copied", "", "kept"):
        table.add_column(column, justify="right", no_wrap=True)
    for user, report in reports:
        assert report.snapshot is not None
        counts = (report.snapshot.number, report.objects, report.items_copied)
        row = [user.address, *(f"{count:,}" for count in counts), shown_size(report.octets_copied)]
        table.add_row(*row, f"{report.snapshots:,}")
    terminal.console().print(table)
    if mended := sum(report.mended for _, report in reports):
        typer.echo(f"{mended:,} items that were damaged in DEST were copied again", err=True)
    if freed := sum(report.octets_freed for _, report in reports):
        typer.echo(f"{shown_size(freed)} that no snapshot needs were removed", err=True)


@app.command("list")
def list_(source: SourceArgument, json_: Json = False) -> None:
    """List the snapshots in a folder of backups.

    \b
    Example:
      aerogramme backup list /mnt/backup
    """
    from rich.table import Table

    from aerogramme.backup.snapshot import iso

    found = [(backup, *each) for backup in backups(source) for each in _snapshots(backup)]
    if json_:
        typer.echo(json.dumps([_snapshot_json(*each) for each in found], indent=1))
        return
    table = Table(box=None)
    table.add_column("account", no_wrap=True)
    table.add_column("snapshot", justify="right")
    table.add_column("taken", no_wrap=True)
    for column in ("objects", "rows", "size"):
        table.add_column(column, justify="right", no_wrap=True)
    for backup in backups(source):
        if not backup.snapshots.all():
            table.add_row(backup.account, "", "no backup of it was ever finished")
    for backup, named, snapshot in found:
        if isinstance(snapshot, Damaged):
            table.add_row(backup.account, f"{named.number}", f"DAMAGED: {snapshot}")
            continue
        counts = (f"{snapshot.objects:,}", f"{snapshot.rows:,}", shown_size(snapshot.octets))
        taken = iso(snapshot.taken)[:19] + "Z"
        table.add_row(address_of(snapshot), f"{named.number}", taken, *counts)
    terminal.console().print(table)


def _snapshots(backup: "Backup") -> "Iterator[tuple[Named, Snapshot | Damaged]]":
    for named in backup.snapshots.all():
        try:
            yield named, backup.snapshots.load(named)
        except Damaged as error:
            yield named, error


def _snapshot_json(backup: "Backup", named: "Named", snapshot: "Snapshot | Damaged") -> dict[str, object]:
    from aerogramme.backup.snapshot import iso

    said: dict[str, object] = {"account": backup.account, "snapshot": named.number, "hash": named.hash}
    if isinstance(snapshot, Damaged):
        return said | {"damaged": str(snapshot)}
    return said | {
        "address": address_of(snapshot),
        "taken": iso(snapshot.taken),
        "objects": snapshot.objects,
        "rows": snapshot.rows,
        "octets": snapshot.octets,
        "unreadable": list(snapshot.unreadable),
    }


@app.command("verify")
def verify(
    source: SourceArgument,
    addresses: Annotated[
        list[str] | None, typer.Argument(metavar="[ADDRESS]...", help="Which accounts; by default all.")
    ] = None,
    json_: Json = False,
) -> None:
    """Read all of a folder of backups: can every snapshot be restored?

    No password and no key is needed, and nothing is changed: each item is compared with its hash, and each
    snapshot with the one after it. Exit code 0: all is whole; 65: something is damaged or missing.

    \b
    Examples:
      aerogramme backup verify /mnt/backup
      aerogramme backup verify /mnt/backup alice@example.org
    """

    found = backups(source, addresses or [])
    with common.interruptible("interrupted; not all was read"), _verifying() as told:
        reports = [_verified(backup, told) for backup in found]
    if json_:
        typer.echo(json.dumps([_verified_json(report) for report in reports], indent=1))
    for report in reports:
        name = address_of(report.newest) if report.newest else report.account
        for problem in report.problems:
            typer.echo(f"{name}: {problem}", err=json_)
        for item in report.unreadable:
            typer.echo(f"{name}: {item!r} was damaged in the store when the newest was taken", err=True)
        if not report.problems and not json_:
            what = terminal.counted(report.snapshots, "snapshot")
            what += f" in {terminal.counted(report.volumes, 'volume')}, {shown_size(report.octets)}"
            assert report.newest_named is not None
            typer.echo(f"{name}: whole: {what}; the newest is {report.newest_named.hash}")
    if bad := sum(bool(report.problems) for report in reports):
        raise Damaged(
            f"{bad} of {len(reports)} backups are not whole",
            hint="`aerogramme backup ADDRESS DEST --verify` copies again what the account still has",
        )


def _verified(backup: "Backup", told: "Callable[[Verified], None]") -> "Verified":
    from aerogramme.backup.verifying import Verified, verify

    report = Verified(backup.account)
    verify(backup, report, lambda: told(report))
    return report


@contextmanager
def _verifying() -> "Iterator[Callable[[Verified], None]]":
    with terminal.bars() as progress:
        task = progress.add_task("volumes", total=None, words="")
        last = 0.0

        def told(report: "Verified") -> None:
            nonlocal last
            if (now := time.monotonic()) - last > 0.1:  # it is called for each item
                last = now
                words = f"{shown_size(report.octets)} read"
                progress.update(task, total=report.volumes, completed=report.volumes_done, words=words)

        yield told


def _verified_json(report: "Verified") -> dict[str, object]:
    return {
        "account": report.account,
        "address": address_of(report.newest) if report.newest else None,
        "snapshots": report.snapshots,
        "newest": report.newest_named.hash if report.newest_named else None,
        "volumes": report.volumes,
        "octets": report.octets,
        "problems": report.problems,
        "unreadable": report.unreadable,
    }


# --- for restore-backup as well


def user_in(snapshot: "Snapshot") -> "User | None":
    """The account's entry of the users file, as it was. Raises Damaged."""
    from aerogramme.users.static import parse

    try:
        users = parse(snapshot.user)
    except ValueError as error:
        raise Damaged(f"the entry of the users file in snapshot {snapshot.number}: {error}") from None
    return users[0] if users else None


def address_of(snapshot: "Snapshot") -> str:
    """What to call the account: its address, or its id when that is not known."""
    try:
        user = user_in(snapshot)
    except Damaged:
        user = None
    return user.address if user else snapshot.account


def backups(source: Path, addresses: Sequence[str] = ()) -> "list[Backup]":
    """Those in a folder, of the accounts that are asked for (address, alias or id), or of all. Raises
    NoSuchUser for one that is not there; NotStored when there is none."""
    from aerogramme.backup import folder
    from aerogramme.backup.folder import Backup

    found = [Backup(source, account) for account in folder.accounts(source)]
    if not found:
        raise NotStored(f"there is no backup in {source} yet")
    if not addresses:
        return found
    chosen = []
    for address in addresses:
        of_it = [backup for backup in found if _is(backup, address)]
        if not of_it:
            raise NoSuchUser(f"there is no backup of {address} in {source}", hint="`backup list` shows them")
        if len(of_it) > 1:
            ids = ", ".join(backup.account for backup in of_it)
            raise NoSuchUser(f"several accounts had the address {address}", hint=f"give the id: {ids}")
        chosen += of_it
    return chosen


def _is(backup: "Backup", address: str) -> bool:
    from aerogramme.users.directory import AddressBook

    if address == backup.account:
        return True
    try:
        user = user_in(backup.newest())
    except (Damaged, NotStored, Unavailable):
        return False
    return user is not None and AddressBook([user]).owner(address) is not None
