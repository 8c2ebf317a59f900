"""`aerogramme account`: who has mail here."""

import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme.config import Config
from aerogramme.errors import AerogrammeError, AlreadyExists, AuthenticationFailed, Refused
from aerogramme.units import duration_text, shown_size
from aerogramme_cli import (
    account_end,
    account_export,
    account_set,
    common,
    enroll,
    passwords,
    terminal,
    trust,
)
from aerogramme_cli.common import Login
from aerogramme_cli.options import Json, Opening, Where, grouped

if TYPE_CHECKING:
    from aerogramme.mailbox.policy import Policy
    from aerogramme.seal import Argon2Params, Code, Secret
    from aerogramme.store import Store, Stores
    from aerogramme.users.directory import User
    from aerogramme.users.static import StaticDirectory

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Create accounts, invite, delete, export; passwords."
)


@app.command("create")
@grouped
def create(
    asked: Opening,
    invite: Annotated[
        bool,
        typer.Option("--invite", help="Ask for no password: print an invitation code for the user, once."),
    ] = False,
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
    """Create an account with its key and its first mailboxes. It takes mail from then on.

    Asks for a password twice and prints the recovery code, once: it opens the mailbox when the password is
    forgotten, and is stored nowhere. With --invite the user chooses the password later: by `account accept`,
    or at the first login of a mail program, as whose password the code, a space and the new one are entered.

    \b
    Examples:
      aerogramme account create alice@example.org --data ./mail
      aerogramme account create bob@example.org --data ./mail --invite
      pass show mail/alice | aerogramme account create alice@example.org --data ./mail --password-stdin
    """
    if invite and (asked.password_stdin or asked.password_from):
        raise typer.BadParameter("--invite takes no password: the user chooses it")
    settings, address = asked.settings(), asked.address
    names = tuple(alias or ()), tuple(catch_all or ())
    _check_new(settings, address, *names)
    if invite:
        code = common.run(invite_account, settings, address, *names)
        typer.echo(f"created {address}", err=True)
        typer.echo(f"invitation code (shown only now; {address} turns it into a password):", err=True)
    else:
        password = asked.asking().new_password()
        code = common.run(create_account, settings, address, password, *names)
        typer.echo(f"created {address}", err=True)
        typer.echo("recovery code (shown only now; keep it where the password is not):", err=True)
    typer.echo(code)


def _check_new(settings: Config, address: str, aliases: Iterable[str], catch_all: Iterable[str]) -> None:
    """Before anybody is asked for anything. Raises BadParameter, AlreadyExists."""
    from aerogramme.users.static import check_address, check_domain

    addresses = (address, *aliases)
    try:
        for each in addresses:
            check_address(each)
        for domain in catch_all:
            check_domain(domain, address)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
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
    from aerogramme.users.directory import User

    user = User(address, secrets.token_hex(16), aliases, catch_all)
    async with common.open_stores(settings) as stores:
        code = await make_account(stores, common.directory(settings), user, password)
    assert code is not None
    return code.reveal()


async def invite_account(
    settings: Config, address: str, aliases: tuple[str, ...] = (), catch_all: tuple[str, ...] = ()
) -> str:
    """The same with an invitation, whose code is returned, in place of a password."""
    from aerogramme.seal import Code
    from aerogramme.users.directory import User

    user, code = User(address, secrets.token_hex(16), aliases, catch_all), Code.generate("invitation")
    async with common.open_stores(settings) as stores:
        await make_account(stores, common.directory(settings), user, code.secret, invitation=True)
    return code.reveal()


async def make_account(
    stores: "Stores",
    directory: "StaticDirectory",
    user: "User",
    secret: "Secret",
    *,
    invitation: bool = False,
    params: "Argon2Params | None" = None,
) -> "Code | None":
    """Makes the account and then its line in the users file; see Account.create. Raises AlreadyExists,
    Unavailable, BadConfiguration.
    """
    from aerogramme.mailbox.account import Account

    # The store first: an account that the users file names must be there. A crash between the two leaves a
    # sealed store that nobody has the name of, and that harms nothing.
    code = await Account.create(stores, user.account, secret, params=params, invitation=invitation)
    try:
        directory.add(user)
    except BaseException:
        if directory.owner(user.address) != user:  # it may have been written all the same
            await stores.erase(user.account)
        raise
    return code


@app.command("accept")
@grouped
def accept(asked: Opening) -> None:
    """Turn an invitation code into a password. The code opens nothing any more.

    Asks for the code and for the new password, and prints the recovery code, once. All mail that has come so
    far is there; what comes from now on is sealed to new keys, which nobody who has seen the code can have.
    Of a user who comes from another server (`import users`) it asks for the password of there instead.

    \b
    Example:
      aerogramme account accept bob@example.org --data ./mail
    """
    settings, user = asked.found()
    secrets = asked.asking()
    if common.run(_comes_with_a_password, settings, user):
        opener = secrets.password("Password of the other server")
    else:
        opener = _invitation(secrets.password("Invitation code"))
    recovery = common.run(_accept, settings, user, opener, secrets.new_password())
    typer.echo(f"{user.address} has a password now; the invitation is used up", err=True)
    typer.echo("recovery code (shown only now; keep it where the password is not):", err=True)
    typer.echo(recovery)


def _invitation(typed: "Secret") -> "Secret":
    """The secret of an invitation code. Raises Refused for what is none."""
    from aerogramme.seal import Code

    code = Code.parse(typed.reveal().decode())
    if code.kind == "recovery":
        raise Refused("this is a recovery code", hint="`account recover` takes it")
    if code.kind != "invitation":
        raise Refused("this is an app password, not an invitation code")
    return code.secret


async def _comes_with_a_password(settings: Config, user: "User") -> bool:
    from aerogramme.mailbox.keys.keys import StoredKeys

    async with common.open_keys(settings, user) as store:
        return any(slot.hashed for slot in (await StoredKeys.read(store)).slots.values())


async def _accept(settings: Config, user: "User", opener: "Secret", password: "Secret") -> str:
    from aerogramme.mailbox.keys.keys import StoredKeys
    from aerogramme.mailbox.keys.passwords import accept_invitation

    async with common.open_keys(settings, user) as store:
        try:
            return (await accept_invitation(store, user.account, opener, password)).reveal()
        except AuthenticationFailed as error:
            slots = (await StoredKeys.read(store)).slots.values()
            if any(slot.hashed for slot in slots):
                raise AuthenticationFailed(
                    f"this is not the password that {user.address} has on the other server"
                ) from error
            if any(slot.kind == "invitation" for slot in slots):
                raise AuthenticationFailed(f"this is not the invitation of {user.address}") from error
            raise AuthenticationFailed(
                f"{user.address} has no open invitation: it was accepted, or there was none",
                hint="`account passwd` and `account recover` set another password",
            ) from error


@app.command("list")
@grouped
def list_(
    where: Where,
    usage: Annotated[
        bool, typer.Option("--usage", help="How much mail is in each, as far as is known without passwords.")
    ] = False,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Only those whose users have not come yet: no password is set.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the accounts, and deleted ones that are not erased.

    \b
    Examples:
      aerogramme account list --data ./mail
      aerogramme account list --usage --json --data ./mail
      aerogramme account list --waiting --data ./mail
    """
    settings = where.settings()
    users = common.existing(settings).users()
    awaited = common.run(_asked, settings, users, _waits_for) if waiting else {}
    if waiting:
        users = [user for user in users if awaited.get(user.account)]
    known = common.run(_asked, settings, users, _usage) if usage else {}
    if as_json:
        fields = [_fields(settings, user) for user in users]
        for each in fields:
            if usage:
                each["usage"] = known.get(str(each["account"]))
            if waiting:
                each["waits_for"] = awaited[str(each["account"])]
        typer.echo(json.dumps(fields, indent=2))
        return
    for user in users:
        remark = ""
        if user.deleted is not None:
            remark = f"\tdeleted {common.day(user.deleted)}, "
            remark += f"kept until {common.day(user.deleted + settings.deleted_retention)}"
        if user.erasing:
            remark = "\tbeing erased"
        held = ""
        if user.account in known:
            held = "\t" + _held(known[user.account], user.policy(settings.policy))
        if waiting:
            held += f"\twaits for {_WAITS[awaited[user.account]]}"
        typer.echo(f"{user.address}\t{user.account}{held}{remark}")


async def _asked(
    settings: Config, users: "Sequence[User]", ask: "Callable[[Store], Awaitable[Any]]"
) -> dict[str, Any]:
    """What the stores say, by account. One that is away or gone is left out, and reported."""
    found: dict[str, Any] = {}
    async with common.open_stores(settings) as stores:
        for user in users:
            try:
                store = await stores.open(user.account)
                try:
                    found[user.account] = await ask(store)
                finally:
                    await store.aclose()
            except AerogrammeError as error:
                typer.echo(f"{user.address}: {error}", err=True)
    return found


async def _usage(store: "Store") -> dict[str, Any]:
    """What the account holds, as it was noted (mailbox/incoming/tally.py)."""
    from aerogramme.mailbox.incoming import tally

    known = await tally.read(store)
    used = known.total()
    noted = None if known.noted is None else common.instant(known.until // 1000)
    return {"octets": used.octets, "messages": used.messages, "noted": noted}


_WAITS = {"code": "the invitation to be accepted", "password": "the first login"}


async def _waits_for(store: "Store") -> str | None:
    """What makes the password of an account that has none: an invitation code, or the password that the user
    has on another server."""
    from aerogramme.mailbox.keys.keys import StoredKeys

    slots = (await StoredKeys.read(store)).slots.values()
    if any(slot.kind == "password" for slot in slots):
        return None
    return "password" if any(slot.hashed for slot in slots) else "code"


def _held(used: dict[str, Any], policy: "Policy") -> str:
    of = "" if policy.quota is None else f" of {shown_size(policy.quota)}"
    unsure = "" if used["noted"] else " (never noted)"
    return f"{shown_size(used['octets'])}{of} in {used['messages']:,} messages{unsure}"


def _fields(settings: Config, user: "User") -> dict[str, object]:
    policy = user.policy(settings.policy)
    fields: dict[str, object] = {"address": user.address, "account": user.account}
    fields |= {"quota": policy.quota, "retention": policy.retention}
    if user.pins:
        fields["pins"] = list(user.pins)
    if user.end_to_end:
        fields["end_to_end"] = True
    if user.deleted is not None:
        fields["deleted"] = common.instant(user.deleted)
        fields["kept_until"] = common.instant(user.deleted + settings.deleted_retention)
        fields["erasing"] = user.erasing
    return fields


@app.command("show")
@grouped
def show(asked: Opening, as_json: Json = False) -> None:
    """Show an account: addresses, mailboxes, quota, retention. Asks for the password.

    \b
    Example:
      aerogramme account show alice@example.org --data ./mail
    """
    login = asked.login()
    user = login.user
    shown = common.run(_show, login)
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
        return

    from rich.table import Table

    typer.echo(f"address   {user.address}")
    for alias in user.aliases:
        typer.echo(f"alias     {alias}")
    typer.echo(f"account   {user.account}")
    used, quota = shown["usage"], shown["quota"]
    of = f"; the quota is {shown_size(quota)}, {used['octets'] / quota:.0%} are used" if quota else ""
    typer.echo(f"mail      {shown_size(used['octets'])} in {used['messages']:,} messages{of}")
    typer.echo(f"retention {duration_text(shown['retention'])}")
    table = Table("mailbox", "use")
    for column in ("messages", "unseen", "bytes"):
        table.add_column(column, justify="right")
    for box in shown["mailboxes"]:
        table.add_row(
            box["name"], box["role"] or "", f"{box['messages']:,}", f"{box['unseen']:,}", f"{box['octets']:,}"
        )
    terminal.console().print(table)


async def _show(login: Login) -> dict[str, Any]:
    from aerogramme.mailbox.usage import usage

    async with common.open_account(*login) as account:
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
                    "octets": table.octets,
                }
            )
        return {
            "address": login.user.address,
            "aliases": list(login.user.aliases),
            "account": login.user.account,
            "quota": account.policy.quota,
            "retention": account.policy.retention,
            "usage": asdict(usage(account.state)),
            "mailboxes": boxes,
        }


app.command("set")(account_set.set_)
app.command("passwd")(passwords.passwd)
app.command("recover")(passwords.recover)
app.command("recovery-code")(passwords.recovery_code)
app.add_typer(passwords.app, name="app-password")
app.command("delete")(account_end.delete)
app.command("undelete")(account_end.undelete)
app.command("purge")(account_end.purge)
app.command("export")(account_export.export)
app.command("trust")(trust.trust)
app.command("enroll")(enroll.enroll)
app.command("pin")(enroll.pin)
app.command("unpin")(enroll.unpin)
