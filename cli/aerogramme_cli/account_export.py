"""`aerogramme account export`: a sealed copy of one account, which can be served as it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme.errors import AlreadyExists
from aerogramme_cli import common, copying
from aerogramme_cli.options import OfAccount, grouped

if TYPE_CHECKING:
    from aerogramme.store import Stores
    from aerogramme.store.copying import Report
    from aerogramme.users.directory import User
    from aerogramme.users.static import StaticDirectory


@grouped
def export(
    asked: OfAccount,
    target: Annotated[Path, typer.Argument(metavar="DEST", help="A folder for the copy; made when missing.")],
) -> None:
    """Write a sealed copy of an account into a folder of its own. No password is needed.

    DEST gets the account in one SQLite file, whatever the store, and a users file; `aerogramme serve --data
    DEST` serves it, and its passwords are those of the account. Every object is read back and compared. A run
    that was cut off is run again and goes on; a later run brings what is new since. DEST may take several
    accounts. Exit code 0: DEST has all that the account has; 75: the account changed meanwhile, run it again;
    65: something is damaged or missing.

    \b
    Examples:
      aerogramme account export alice@example.org /mnt/stick/alice --data ./mail
      aerogramme serve --data /mnt/stick/alice
    """
    settings, user = asked.found(deleted=True)
    there = Config.for_data(target)
    if there.data.resolve() == settings.data.resolve() or there.store == settings.store:
        raise typer.BadParameter("DEST is where the account is now")
    with common.resumable():
        report = common.run(_export, settings, there, user)
    copying.show([report], {user.account: user.address}, "the account", "DEST")
    if report.missing or report.different:
        typer.echo("DEST is not whole, so its users file does not name the account", err=True)
    else:
        typer.echo(f"exported {user.address}; `aerogramme serve --data {target}` serves it", err=True)
    raise typer.Exit(copying.exit_code([report]))


async def _export(settings: Config, there: Config, user: "User") -> "Report":
    async with common.open_stores(settings) as source, common.open_stores(there) as target:
        with copying.progress(1) as told:
            return await export_account(source, target, common.directory(there), user, told)


async def export_account(
    source: "Stores",
    target: "Stores",
    directory: "StaticDirectory",
    user: "User",
    told: "Callable[[Report], None]",
) -> "Report":
    """Copies the account, and then names it in the users file at the target, if all of it is there.

    Raises AlreadyExists when an address of it is another account's there, before anything is copied;
    NoSuchUser, Unavailable.
    """
    for address in (user.address, *user.aliases):
        owner = directory.owner(address)
        if owner is not None and owner.account != user.account:
            raise AlreadyExists(
                f"DEST has another account with the address {address}", hint="use an empty folder"
            )
    report = await copying.copy(source, target, user.account, told)
    if not (report.missing or report.different):
        # No tombstone, as nobody asked for the end of the copy; and who serves it logs in to it.
        entry = replace(user, deleted=None, erasing=False, end_to_end=False)
        known = next((other for other in directory.users() if other.account == user.account), None)
        if known:
            directory.change(known.address, lambda _: entry)
        else:
            directory.add(entry)
    return report
