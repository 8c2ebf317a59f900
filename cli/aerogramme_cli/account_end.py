"""`aerogramme account delete`, `undelete`, `purge`: the end of an account, and the way back."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme_cli import common, terminal
from aerogramme_cli.options import AddressArgument, ConfigOption, DataOption, OfAccount, Where, grouped

if TYPE_CHECKING:
    from aerogramme.users.directory import User


@grouped
def delete(
    asked: OfAccount,
    now: Annotated[
        bool,
        typer.Option("--now", help="Erase it and all of its mail at once. There is no way back."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete an account. It gets no mail, opens nothing, and its sessions end.

    The sealed mail is kept for the retention time (accounts.deleted_retention, 30 days); until then `account
    undelete` brings all of it back, and nobody else can have the address. Asks for the address once more.

    \b
    Examples:
      aerogramme account delete alice@example.org --data ./mail
      aerogramme account delete alice@example.org --data ./mail --now
    """
    from aerogramme.users import deletion

    settings, user = asked.found(deleted=now)
    if not yes:
        typer.echo(
            f"All mail of {user.address} will be erased. Nobody can bring it back."
            if now
            else f"{user.address} will get no mail and open nothing. `account undelete` brings it back.",
            err=True,
        )
        if typer.prompt("Type the address to go on", err=True) != user.address:
            typer.echo("not the same address; nothing was deleted", err=True)
            raise typer.Exit(1)
    if now:
        common.run(_erase, settings, user)
        typer.echo(f"erased {user.address}", err=True)
        return
    gone = deletion.delete(common.directory(settings), user.address, int(time.time()))
    assert gone.deleted is not None
    until = common.day(gone.deleted + settings.deleted_retention)
    typer.echo(f"deleted {gone.address}; `account undelete` brings it back until {until}", err=True)


async def _erase(settings: Config, user: "User") -> None:
    from aerogramme.users.deletion import erase

    async with common.open_stores(settings) as stores:
        await erase(common.directory(settings), stores, user, int(time.time()), due=lambda _: True)


def undelete(address: AddressArgument, config: ConfigOption = None, data: DataOption = None) -> None:
    """Bring a deleted account back. All of it: addresses, passwords, mail.

    \b
    Example:
      aerogramme account undelete alice@example.org --data ./mail
    """
    from aerogramme.users.deletion import undelete

    settings = common.settings(config, data)
    user = common.user_of(settings, address, deleted=True)
    undelete(common.directory(settings), user.address)
    typer.echo(f"{user.address} is back", err=True)


@grouped
def purge(where: Where) -> None:
    """Erase the deleted accounts whose time is over. Finishes what was cut short, too.

    A running server does this once an hour. Accounts whose time is not over stay: `account list` shows them,
    and `account delete --now` erases one.

    \b
    Example:
      aerogramme account purge --data ./mail
    """
    erased = common.run(_purge, where.settings())
    typer.echo(f"{terminal.counted(erased, 'account')} erased", err=True)


async def _purge(settings: Config) -> int:
    from aerogramme.users.deletion import Retention, purge

    erased: list[User] = []

    def told(user: "User") -> None:
        erased.append(user)
        typer.echo(f"erased {user.address}", err=True)

    async with common.open_stores(settings) as stores:
        directory = common.existing(settings)
        await purge(directory, stores, int(time.time()), Retention(settings.deleted_retention), told)
    return len(erased)
