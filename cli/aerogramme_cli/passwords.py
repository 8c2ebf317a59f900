"""`aerogramme account passwd`, `app-password`, `recover`, `recovery-code`: the ways into an account.

All of them write slots and a keyring, and no message: what they cost does not depend on the mailbox.
"""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.errors import AuthenticationFailed
from aerogramme_cli import common, terminal
from aerogramme_cli.common import Login
from aerogramme_cli.options import Json, Opening, grouped
from aerogramme_cli.terminal import counted

if TYPE_CHECKING:
    from aerogramme.mailbox.keys.passwords import SlotInfo
    from aerogramme.seal import Code, Secret

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

CHANGED = "0 messages rewritten"


@grouped
def passwd(asked: Opening, rotate: Rotate = None) -> None:
    """Change the password. No message is rewritten, whatever the size of the mailbox.

    The new password is proved to open the mailbox before the old one goes; app passwords and the recovery
    code go on working. Reads the old password and then the new one.

    \b
    Example:
      aerogramme account passwd alice@example.org --data ./mail
    """
    _set_password(asked, "Old password", rotate)


@grouped
def recover(asked: Opening, rotate: Rotate = None) -> None:
    """Set a new password with the recovery code. For when the old one is forgotten.

    The recovery code goes on working: `account recovery-code` makes another. Reads the code and then the new
    password. Without one of them nobody can open the mailbox, and this command says what is lost.

    \b
    Example:
      aerogramme account recover alice@example.org --data ./mail
    """
    _set_password(asked, "Recovery code", rotate)


def _set_password(asked: Opening, prompt: str, rotate: bool | None) -> None:
    settings, user = asked.found()
    secrets = asked.asking()
    old = Login(settings, user, secrets.password(prompt))
    new = secrets.new_password()
    common.run(_change, old, new, prompt.lower())
    typer.echo(f"changed the password of {user.address}; {CHANGED}", err=True)
    _offer_rotation(Login(settings, user, new), rotate)


async def _change(login: Login, new: "Secret", what: str) -> None:
    from aerogramme.mailbox.keys.passwords import change_password

    settings, user, old = login
    async with common.open_keys(settings, user) as store:
        try:
            await change_password(store, user.account, old, new)
        except AuthenticationFailed as error:
            bodies, waiting = len(await store.list("body/")), len((await store.read("incoming"))[0])
            raise AuthenticationFailed(
                f"this is not the {what} of {user.address}; nothing was changed",
                hint="`account passwd` takes the old password, `account recover` the recovery code. Without "
                f"either all that the account holds is lost: {counted(bodies, 'letter')}, "
                f"{waiting:,} of which nobody has read",
            ) from error


@grouped
def recovery_code(asked: Opening) -> None:
    """Make a new recovery code and print it, once. The old one opens nothing any more.

    \b
    Example:
      aerogramme account recovery-code alice@example.org --data ./mail
    """
    login = asked.login()
    code = common.run(_recovery_code, login)
    typer.echo(f"new recovery code of {login.user.address}; {CHANGED}", err=True)
    typer.echo("recovery code (shown only now; keep it where the password is not):", err=True)
    typer.echo(code.reveal())


async def _recovery_code(login: Login) -> "Code":
    from aerogramme.mailbox.keys.passwords import new_recovery_code

    settings, user, password = login
    async with common.open_keys(settings, user) as store:
        return await new_recovery_code(store, user.account, password)


# --- app passwords ----------------------------------------------------------------------------------------


@app.callback()
def app_password() -> None:
    """Passwords for single programs and devices: made here, shown once, revoked alone."""


@app.command("create")
@grouped
def create(
    asked: Opening,
    label: LabelArgument,
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
    login = asked.login()
    code = common.run(_create, login, label, read_only)
    typer.echo(f"app password “{label}” of {login.user.address}; {CHANGED}", err=True)
    typer.echo("app password (shown only now):", err=True)
    typer.echo(code.reveal())


async def _create(login: Login, label: str, read_only: bool) -> "Code":
    from aerogramme.mailbox.keys.passwords import create_app_password

    settings, user, password = login
    async with common.open_keys(settings, user) as store:
        return await create_app_password(store, user.account, password, label, read_only=read_only)


@app.command("list")
@grouped
def list_(asked: Opening, as_json: Json = False) -> None:
    """List what opens the account, and when it was last used.

    \b
    Example:
      aerogramme account app-password list alice@example.org --data ./mail
    """
    slots = common.run(_slots, asked.login())
    if as_json:
        typer.echo(json.dumps([_fields(slot) for slot in slots], indent=2, ensure_ascii=False))
        return

    from rich.table import Table

    table = Table("kind", "label", "may", "made", "last use", "id")
    for slot in slots:
        may = "read" if slot.read_only else "read and change" if slot.kind == "app" else "all"
        used = "" if slot.kind != "app" else "never"
        if slot.last_used is not None:
            used = common.day(slot.last_used)
        identity = slot.fingerprint.hex()[:8]
        table.add_row(slot.kind, slot.label, may, common.day(slot.created), used, identity)
    terminal.console().print(table)


async def _slots(login: Login) -> "list[SlotInfo]":
    from aerogramme.mailbox.keys.passwords import list_slots

    settings, user, password = login
    async with common.open_keys(settings, user) as store:
        return list(await list_slots(store, user.account, password))


def _fields(slot: "SlotInfo") -> dict[str, object]:
    return {
        "kind": slot.kind,
        "label": slot.label,
        "read_only": slot.read_only,
        "created": common.instant(slot.created),
        "last_used": None if slot.last_used is None else common.day(slot.last_used),
        "fingerprint": slot.fingerprint.hex(),
    }


@app.command("revoke")
@grouped
def revoke(
    asked: Opening,
    label: Annotated[str, typer.Argument(help="Its label, or the beginning of its id.")],
    rotate: Rotate = None,
) -> None:
    """Take an app password back. Sessions that it opened end within a minute.

    \b
    Example:
      aerogramme account app-password revoke alice@example.org phone --data ./mail
    """
    login = asked.login()
    common.run(_revoke, login, label)
    typer.echo(f"revoked “{label}” of {login.user.address}; {CHANGED}", err=True)
    _offer_rotation(login, rotate)


async def _revoke(login: Login, label: str) -> None:
    from aerogramme.mailbox.keys.passwords import revoke

    settings, user, password = login
    async with common.open_keys(settings, user) as store:
        await revoke(store, user.account, password, label)


# --- keys after a secret is gone --------------------------------------------------------------------------


def _offer_rotation(login: Login, rotate: bool | None) -> None:
    """A secret that is gone opens nothing any more, but who had it may have kept the keys that it opened."""
    if rotate is None and sys.stdin.isatty():
        rotate = typer.confirm(
            "Whoever knew it may have copied the keys. Rotate them now?", default=True, err=True
        )
    if rotate:
        from aerogramme_cli.key import rotate_now

        rotate_now(login)
    elif rotate is None:
        typer.echo(
            "whoever knew it may have copied the keys: "
            f"`aerogramme key rotate {login.user.address}` replaces them",
            err=True,
        )
