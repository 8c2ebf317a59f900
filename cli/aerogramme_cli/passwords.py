"""`aerogramme account passwd`, `app-password`, `recover`, `recovery-code`: the ways into an account.

All of them write slots and a keyring, and no message: what they cost does not depend on the mailbox.
"""

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme.errors import AuthenticationFailed
from aerogramme_cli import common
from aerogramme_cli.asking import Asking, PasswordFrom, PasswordStdin, asking
from aerogramme_cli.common import AddressArgument, ConfigOption, DataOption, StoreOption

if TYPE_CHECKING:
    from aerogramme.mailbox.keys.passwords import SlotInfo
    from aerogramme.seal import Code, Secret
    from aerogramme.users.directory import User

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Passwords for single programs and devices."
)

LabelArgument = Annotated[str, typer.Argument(help="What it is for, such as “phone”.")]
Rotate = Annotated[
    bool | None,
    typer.Option(
        "--rotate/--no-rotate",
        help="Rotate the keys afterwards, so that who has the old password, and a copy of the keys that it "
        "opened, reads nothing that comes from now on. Asked for on a terminal when not given.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]

CHANGED = "0 messages rewritten"


def passwd(
    address: AddressArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    rotate: Rotate = None,
) -> None:
    """Change the password. No message is rewritten, whatever the size of the mailbox.

    The new password is proved to open the mailbox before the old one goes; app passwords and the recovery
    code go on working. Reads the old password and then the new one.

    \b
    Example:
      aerogramme account passwd alice@example.org --data ./mail
    """
    settings = common.settings(config, data, store)
    user = common.user_of(settings, address)
    secrets = asking(password_stdin, password_from)
    _set_password(settings, user, secrets, "Old password", rotate)


def recover(
    address: AddressArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    rotate: Rotate = None,
) -> None:
    """Set a new password with the recovery code, when the old one is forgotten.

    The recovery code goes on working: `account recovery-code` makes another. Reads the code and then the new
    password. Without one of them nobody can open the mailbox, and this command says what is lost.

    \b
    Example:
      aerogramme account recover alice@example.org --data ./mail
    """
    settings = common.settings(config, data, store)
    user = common.user_of(settings, address)
    secrets = asking(password_stdin, password_from)
    _set_password(settings, user, secrets, "Recovery code", rotate)


def _set_password(settings: Config, user: "User", secrets: Asking, prompt: str, rotate: bool | None) -> None:
    old = secrets.password(prompt)
    new = secrets.new_password()
    common.run(_change, settings, user, old, new)
    typer.echo(f"changed the password of {user.address}; {CHANGED}", err=True)
    _offer_rotation(settings, user, new, rotate)


async def _change(settings: Config, user: "User", old: "Secret", new: "Secret") -> None:
    from aerogramme.mailbox.keys.passwords import change_password

    async with common.open_keys(settings, user) as store:
        try:
            await change_password(store, user.account, old, new)
        except AuthenticationFailed as error:
            bodies, waiting = len(await store.list("body/")), len((await store.read("incoming"))[0])
            raise AuthenticationFailed(
                f"it opens nothing of {user.address}, and nothing was changed",
                hint="only the password or the recovery code can set another; without either, all that the "
                f"account holds is lost: {bodies:,} letters, {waiting:,} of which nobody has read",
            ) from error


def recovery_code(
    address: AddressArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
) -> None:
    """Make a new recovery code and print it, once. The old one opens nothing any more.

    \b
    Example:
      aerogramme account recovery-code alice@example.org --data ./mail
    """
    settings = common.settings(config, data, store)
    user = common.user_of(settings, address)
    code = common.run(_recovery_code, settings, user, asking(password_stdin, password_from).password())
    typer.echo(f"new recovery code of {user.address}; {CHANGED}", err=True)
    typer.echo("recovery code (shown only now; keep it where the password is not):", err=True)
    typer.echo(code.reveal())


async def _recovery_code(settings: Config, user: "User", password: "Secret") -> "Code":
    from aerogramme.mailbox.keys.passwords import new_recovery_code

    async with common.open_keys(settings, user) as store:
        return await new_recovery_code(store, user.account, password)


# --- app passwords ----------------------------------------------------------------------------------------


@app.callback()
def app_password() -> None:
    """Passwords for single programs and devices: made here, shown once, revoked alone."""


@app.command("create")
def create(
    address: AddressArgument,
    label: LabelArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="It may read all mail, and change nothing.")
    ] = False,
) -> None:
    """Make a password for one program or device and print it, once.

    It has 130 random bits and works with LOGIN, PLAIN and SCRAM-SHA-256. It cannot change passwords.

    \b
    Examples:
      aerogramme account app-password create alice@example.org phone --data ./mail
      aerogramme account app-password create alice@example.org backup --read-only --data ./mail
    """
    settings = common.settings(config, data, store)
    user = common.user_of(settings, address)
    password = asking(password_stdin, password_from).password()
    code = common.run(_create, settings, user, password, label, read_only)
    typer.echo(f"app password “{label}” of {user.address}; {CHANGED}", err=True)
    typer.echo("app password (shown only now):", err=True)
    typer.echo(code.reveal())


async def _create(settings: Config, user: "User", password: "Secret", label: str, read_only: bool) -> "Code":
    from aerogramme.mailbox.keys.passwords import create_app_password

    async with common.open_keys(settings, user) as store:
        return await create_app_password(store, user.account, password, label, read_only=read_only)


@app.command("list")
def list_(
    address: AddressArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    as_json: Json = False,
) -> None:
    """List all that opens the account: the password, app passwords with their last use, the recovery code.

    \b
    Example:
      aerogramme account app-password list alice@example.org --data ./mail
    """
    settings = common.settings(config, data, store)
    user = common.user_of(settings, address)
    slots = common.run(_slots, settings, user, asking(password_stdin, password_from).password())
    if as_json:
        typer.echo(json.dumps([_fields(slot) for slot in slots], indent=2, ensure_ascii=False))
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("kind", "label", "may", "made", "last use", "id")
    for slot in slots:
        may = "read" if slot.read_only else "read and change" if slot.kind == "app" else "all"
        used = "" if slot.kind != "app" else _day(slot.last_used) or "never"
        identity = slot.fingerprint.hex()[:8]
        table.add_row(slot.kind, Text(slot.label), may, _day(slot.created), used, identity)
    Console().print(table)


async def _slots(settings: Config, user: "User", password: "Secret") -> "list[SlotInfo]":
    from aerogramme.mailbox.keys.passwords import list_slots

    async with common.open_keys(settings, user) as store:
        return list(await list_slots(store, user.account, password))


def _fields(slot: "SlotInfo") -> dict[str, object]:
    return {
        "kind": slot.kind,
        "label": slot.label,
        "read_only": slot.read_only,
        "created": _time(slot.created),
        "last_used": _day(slot.last_used),
        "fingerprint": slot.fingerprint.hex(),
    }


def _day(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@app.command("revoke")
def revoke(
    address: AddressArgument,
    label: Annotated[str, typer.Argument(help="Its label, or the beginning of its id.")],
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    rotate: Rotate = None,
) -> None:
    """Take an app password back. Sessions that it opened end within a minute.

    \b
    Example:
      aerogramme account app-password revoke alice@example.org phone --data ./mail
    """
    settings = common.settings(config, data, store)
    user = common.user_of(settings, address)
    password = asking(password_stdin, password_from).password()
    common.run(_revoke, settings, user, password, label)
    typer.echo(f"revoked “{label}” of {user.address}; {CHANGED}", err=True)
    _offer_rotation(settings, user, password, rotate)


async def _revoke(settings: Config, user: "User", password: "Secret", label: str) -> None:
    from aerogramme.mailbox.keys.passwords import revoke

    async with common.open_keys(settings, user) as store:
        await revoke(store, user.account, password, label)


# --- keys after a secret is gone --------------------------------------------------------------------------


def _offer_rotation(settings: Config, user: "User", secret: "Secret", rotate: bool | None) -> None:
    """A secret that is gone opens nothing any more, but who had it may have kept the keys that it opened."""
    if rotate is None and sys.stdin.isatty():
        rotate = typer.confirm(
            "Whoever knew it may have copied the keys. Rotate them now?", default=True, err=True
        )
    if rotate:
        from aerogramme_cli.key import rotate_now

        rotate_now(settings, user, secret)
    elif rotate is None:
        typer.echo(
            f"whoever knew it may have copied the keys: `aerogramme key rotate {user.address}` replaces them",
            err=True,
        )
