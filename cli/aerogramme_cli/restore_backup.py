"""`aerogramme restore-backup`: accounts put back from a backup, into any store, and into the users file."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme.errors import AerogrammeError, AlreadyExists, Damaged, NotStored, Refused
from aerogramme_cli import backup, common, copying
from aerogramme_cli.backup import SourceArgument
from aerogramme_cli.options import All, Where, grouped

if TYPE_CHECKING:
    from aerogramme.backup.folder import Backup
    from aerogramme.backup.snapshot import Named
    from aerogramme.store import Stores
    from aerogramme.store.copying import Report
    from aerogramme.users.directory import User
    from aerogramme.users.static import StaticDirectory


@grouped
def restore_backup(
    where: Where,
    source: SourceArgument,
    addresses: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ADDRESS]...", help="Which accounts (address or id); one may be left out."),
    ] = None,
    everything: All = False,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="NUMBER|TIME",
            help="Not the newest snapshot, but this one, or the last one up to a time (2026-11-29, 3d).",
        ),
    ] = None,
) -> None:
    """Put accounts back from a backup, into any store. No password is needed; those of the account open it.

    Never over an account that is there. Each is also written into the users file, unless it is in there. The
    mail is as it was; mail programs load it anew, as every mailbox gets a new UIDVALIDITY. A run that was cut
    off is run again and goes on. Exit code 0: all is there; 65: something is damaged in SRC, and the rest is
    there; 73: there is such an account, or another one with the address.

    \b
    Examples:
      aerogramme restore-backup /mnt/backup alice@example.org --data ./mail
      aerogramme restore-backup /mnt/backup --all --config /etc/aerogramme/aerogramme.toml
      aerogramme restore-backup /mnt/backup alice@example.org --at 2026-11-20 --data ./look
    """
    if addresses and everything:
        raise typer.BadParameter("either addresses, or --all")
    settings = where.settings()
    found = backup.backups(source, addresses or [])
    if len(found) > 1 and not addresses and not everything:
        raise typer.BadParameter(f"there are {len(found)} accounts in {source}: say which, or --all")
    which = _which(at)
    with common.resumable():
        reports, names, failed = common.run(_restore_all, settings, found, which, bool(addresses))
    if reports:
        copying.show(reports, names, "the backup", "the store")
    if len(found) > 1:
        for name, error in failed:
            typer.echo(f"{name}: not restored: {error}", err=True)
    if failed:
        raise failed[0][1]
    raise typer.Exit(copying.exit_code(reports))


def _which(at: str | None) -> "Callable[[Backup], Named]":
    """What finds the snapshot that is asked for, or raises NotStored. Raises BadParameter."""
    from aerogramme_cli.times import parse_time

    if at is None:
        return _newest
    if re.fullmatch("[0-9]{1,9}", at, re.ASCII):
        number = int(at)
        return lambda its: its.numbered(number)
    millis = int(parse_time(at, time.time()) * 1000)
    return lambda its: its.at(millis)


def _newest(its: "Backup") -> "Named":
    found = its.snapshots.all()
    if not found:
        raise NotStored(f"no backup of {its.account} was ever finished")
    return found[-1]


async def _restore_all(
    settings: Config, found: "Sequence[Backup]", which: "Callable[[Backup], Named]", asked_for: bool
) -> "tuple[list[Report], dict[str, str], list[tuple[str, AerogrammeError]]]":
    """The reports, what to call their accounts, and what failed. One account does not keep the others."""
    reports: list[Report] = []
    names: dict[str, str] = {}
    failed: list[tuple[str, AerogrammeError]] = []
    async with common.open_stores(settings) as stores:
        with copying.progress(len(found)) as told:
            for its in found:
                try:
                    with its.read():
                        report = await restore_one(
                            settings, stores, its, which(its), names, told, asked_for=asked_for
                        )
                except AerogrammeError as error:
                    failed.append((names.get(its.account, its.account), error))
                else:
                    reports.append(report)
    return reports, names, failed


async def restore_one(
    settings: Config,
    stores: "Stores",
    its: "Backup",
    named: "Named",
    names: dict[str, str],
    told: "Callable[[Report], None]",
    *,
    asked_for: bool,
) -> "Report":
    """Puts one account back, and then into the users file. `names` gets what to call it; `asked_for`: by its
    name, so that it comes back alive. Raises AlreadyExists before anything is copied; Damaged."""
    from aerogramme.backup.reading import open_snapshot
    from aerogramme.backup.restoring import restore
    from aerogramme.backup.snapshot import iso
    from aerogramme.store.copying import Report

    try:
        snapshot, store = await open_snapshot(its, named)
    except Damaged as error:
        raise Damaged(str(error), hint="an older snapshot may be whole: `backup list`, --at") from None
    names[its.account] = backup.address_of(snapshot)
    directory = common.directory(settings)
    user = backup.user_in(snapshot)
    if user is not None and asked_for:
        user = replace(user, deleted=None, erasing=False)  # nobody asks for an account to be deleted
    user = _entry(directory, its.account, user)
    report = Report(its.account)
    await restore(store, named, stores, report, told=lambda: told(report))
    if report.missing or report.different:
        typer.echo(f"{names[its.account]}: not whole, so the users file does not name it", err=True)
        return report
    if user is not None:
        directory.add(user)
    # What this machine has seen of it is newer than what it has now, and that is meant.
    common.seen(settings).forget(its.account)
    typer.echo(f"{names[its.account]} is as it was at {iso(snapshot.taken)[:19]}Z", err=True)
    for item in snapshot.unreadable:
        typer.echo(f"{names[its.account]}: {item!r} was damaged when it was backed up", err=True)
    if directory.by_account(its.account) is None:
        typer.echo(f"no address leads to {its.account}: add it to {settings.users_file}", err=True)
    return report


def _entry(directory: "StaticDirectory", account: str, user: "User | None") -> "User | None":
    """What is to be added to the users file. Raises AlreadyExists, Refused: before anything is copied."""
    from aerogramme.users.directory import AddressBook

    known = directory.by_account(account)
    if known is not None:
        if known.erasing:
            raise Refused(f"{known.address} is being erased", hint="`aerogramme account purge` finishes that")
        return None  # what somebody has changed there since is as it should be
    if user is None:
        return None
    for address in (user.address, *user.aliases):
        owner = directory.owner(address)
        if owner is not None:
            raise AlreadyExists(
                f"{address} is the address of another account by now",
                hint="restore into another --data, or delete that account first",
            )
    try:
        AddressBook([*directory.users(), user])
    except ValueError as error:
        raise AlreadyExists(str(error), hint="restore into another --data") from None
    return user
