"""`aerogramme account`: who has mail here, and their passwords."""

import json
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme.config import Config
from aerogramme.errors import AlreadyExists
from aerogramme_cli import account_end, account_export, common
from aerogramme_cli.asking import PasswordFrom, PasswordStdin, asking
from aerogramme_cli.common import AddressArgument, ConfigOption, DataOption, StoreOption

if TYPE_CHECKING:
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Create accounts, list them, change passwords."
)

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command("create")
def create(
    address: AddressArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    alias: Annotated[
        list[str] | None,
        typer.Option("--alias", help="Another address of the account; may be repeated."),
    ] = None,
    catch_all: Annotated[
        list[str] | None,
        typer.Option(
            "--catch-all", help="A domain whose addresses all come here unless they are somebody's."
        ),
    ] = None,
) -> None:
    """Create an account with its key and its first mailboxes.

    Asks for a password twice and prints the recovery code, once: it opens the mailbox when the password is
    forgotten, and is stored nowhere.

    \b
    Examples:
      aerogramme account create alice@example.org --data ./mail
      pass show mail/alice | aerogramme account create alice@example.org --data ./mail --password-stdin
    """
    settings = common.settings(config, data, store)
    _check_new(settings, (address, *(alias or ())))
    password = asking(password_stdin, password_from).new_password()
    code = common.run(create_account, settings, address, password, tuple(alias or ()), tuple(catch_all or ()))
    typer.echo(f"created {address}", err=True)
    typer.echo("recovery code (shown only now; keep it where the password is not):", err=True)
    typer.echo(code)


def _check_new(settings: Config, addresses: Iterable[str]) -> None:
    """Before anybody is asked for anything. Raises AlreadyExists."""
    directory = common.directory(settings)
    for address in addresses:
        owner = directory.owner(address)
        if owner is not None and owner.deleted is not None:
            raise AlreadyExists(
                f"{address} belongs to {owner.address}, which is deleted and not erased yet",
                hint="`account undelete` brings it back; `account delete --now` erases it",
            )
        if owner is not None:
            raise AlreadyExists(f"there is an account {address} already", hint="`account show` tells more")


async def create_account(
    settings: Config,
    address: str,
    password: "Secret",
    aliases: tuple[str, ...] = (),
    catch_all: tuple[str, ...] = (),
) -> str:
    """Makes the account and then its line in the users file. Returns the recovery code, as text."""
    from aerogramme.mailbox.account import Account
    from aerogramme.users.directory import User

    account = secrets.token_hex(16)
    async with common.open_stores(settings) as stores:
        # The store first: an account that the users file names must be there. A crash between the two leaves
        # a sealed store that nobody has the name of, and that harms nothing.
        code = await Account.create(stores, account, password)
        try:
            common.directory(settings).add(User(address, account, aliases, catch_all))
        except BaseException:
            await stores.erase(account)
            raise
        assert code is not None
        return code.reveal()


@app.command("list")
def list_(config: ConfigOption = None, data: DataOption = None, as_json: Json = False) -> None:
    """List the accounts, and the deleted ones that are not erased yet.

    \b
    Example:
      aerogramme account list --data ./mail
    """
    settings = common.settings(config, data)
    users = common.directory(settings).users()
    if as_json:
        typer.echo(json.dumps([_fields(settings, user) for user in users], indent=2))
        return
    for user in users:
        remark = ""
        if user.deleted is not None:
            remark = f"\tdeleted {common.day(user.deleted)}, "
            remark += f"kept until {common.day(user.deleted + settings.deleted_retention)}"
        if user.erasing:
            remark = "\tbeing erased"
        typer.echo(f"{user.address}\t{user.account}{remark}")


def _fields(settings: Config, user: "User") -> dict[str, object]:
    fields: dict[str, object] = {"address": user.address, "account": user.account}
    if user.deleted is not None:
        fields["deleted"] = common.instant(user.deleted)
        fields["kept_until"] = common.instant(user.deleted + settings.deleted_retention)
        fields["erasing"] = user.erasing
    return fields


@app.command("show")
def show(
    address: AddressArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    as_json: Json = False,
) -> None:
    """Show an account: its addresses, its mailboxes, how much is in them. Asks for the password.

    \b
    Example:
      aerogramme account show alice@example.org --data ./mail
    """
    settings = common.settings(config, data, store)
    user = common.user_of(settings, address)
    shown = common.run(_show, settings, user, asking(password_stdin, password_from).password())
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
        return

    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"address   {user.address}", markup=False)
    for alias in user.aliases:
        console.print(f"alias     {alias}", markup=False)
    console.print(f"account   {user.account}", markup=False)
    table = Table("mailbox", "use")
    for column in ("messages", "unseen", "bytes"):
        table.add_column(column, justify="right")
    for box in shown["mailboxes"]:
        table.add_row(
            box["name"], box["role"] or "", f"{box['messages']:,}", f"{box['unseen']:,}", f"{box['bytes']:,}"
        )
    console.print(table)


async def _show(settings: Config, user: "User", password: "Secret") -> dict[str, Any]:
    async with common.open_account(settings, user, password) as account:
        await account.drain.all_waiting()
        boxes = []
        for info in account.mailboxes():
            if not info.selectable:
                continue
            table = account.find(info.name)
            boxes.append(
                {
                    "name": info.name,
                    "role": info.role,
                    "messages": len(table.uids),
                    "unseen": sum("\\Seen" not in account.flags_of(number) for number in table.flags),
                    "bytes": sum(table.sizes),
                }
            )
        return {
            "address": user.address,
            "aliases": list(user.aliases),
            "account": user.account,
            "mailboxes": boxes,
        }


@app.command("passwd")
def passwd(
    address: AddressArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
) -> None:
    """Change the password. No message is rewritten, whatever the size of the mailbox.

    The recovery code works in place of the old password. The new password is proved to open the mailbox
    before the old one goes.

    \b
    Example:
      aerogramme account passwd alice@example.org --data ./mail
    """
    settings = common.settings(config, data, store)
    user = common.user_of(settings, address)
    secrets = asking(password_stdin, password_from)
    old = secrets.password("Old password, or recovery code")
    common.run(_passwd, settings, user, old, secrets.new_password())
    typer.echo("changed; 0 messages rewritten", err=True)


async def _passwd(settings: Config, user: "User", old: "Secret", new: "Secret") -> None:
    from aerogramme.mailbox.passwords import change_password

    async with common.open_store(settings, user) as store:
        await change_password(store, user.account, old, new)


app.command("delete")(account_end.delete)
app.command("undelete")(account_end.undelete)
app.command("purge")(account_end.purge)
app.command("export")(account_export.export)
