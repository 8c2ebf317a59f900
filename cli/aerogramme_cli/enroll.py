"""`aerogramme account enroll`, `pin`, `unpin`: end to end, where the server has public keys and no other.

An account of this kind has two halves. The device's is a data folder with a configuration that serves IMAP
on loopback. The server's is a users file with one user: address, account, the fingerprint of the key that
letters may be sealed to. Neither has a secret in it.
"""

import json
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme.errors import AlreadyExists, BadConfiguration, NoSuchUser, Refused
from aerogramme_cli import common
from aerogramme_cli.asking import Asking
from aerogramme_cli.options import (
    AddressArgument,
    ConfigOption,
    DataOption,
    OfAccount,
    Prompted,
    Where,
    grouped,
)

if TYPE_CHECKING:
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User

CONFIG = "aerogramme.toml"
DEVICE = """\
# This device's half of an account end to end. It serves IMAP to the mail programs of this machine, and only
# to those. What else can be set is in docs/configuration.md.
data = "."

[store]
url = {url}

[imap]
listen = ["127.0.0.1:1143"]

[lmtp]
listen = []
"""


@grouped
def enroll(
    where: Where,
    prompted: Prompted,
    address: Annotated[
        str | None, typer.Argument(help="The address of the account; with --accept and --join as in FILE.")
    ] = None,
    for_server: Annotated[
        Path | None,
        typer.Option(
            "--for-server",
            metavar="FILE",
            help="Where the server's half goes; by default into the data folder.",
        ),
    ] = None,
    join: Annotated[
        Path | None,
        typer.Option(
            "--join", metavar="FILE", help="On a further device: the server's half that the first one wrote."
        ),
    ] = None,
    accept: Annotated[
        Path | None,
        typer.Option("--accept", metavar="FILE", help="On the server: the half that the device wrote."),
    ] = None,
) -> None:
    """Set up an account end to end. Its keys are on the user's devices, and only public ones on the server.

    On the first device it makes the account in the store, asks for a password twice, prints the recovery
    code and writes two halves: into the data folder what this device needs to serve IMAP to its own mail
    programs, and a file for the server, without a secret. The same again asks for the password and writes
    that file anew. With --join another device gets its half, with --accept the server. The whole way is in
    docs/end-to-end.md.

    \b
    Examples:
      aerogramme account enroll alice@example.org --data ~/mail --store 's3:https://s3.example.org/mail'
      aerogramme account enroll --join alice.toml --data ~/mail --store 's3:https://s3.example.org/mail'
      aerogramme account enroll --accept alice.toml --config /etc/aerogramme/aerogramme.toml
    """
    if join and accept:
        raise typer.BadParameter("--join is for a device, --accept for the server")
    if accept:
        half = _read_half(accept, address)
        _accept(where.settings(), half)
        return
    if where.config or not where.data:
        raise typer.BadParameter(
            "on a device --data says where its half goes; the configuration is made there"
        )
    asked = prompted.asking()
    if join:
        half = _read_half(join, address)
        _join(_device(where.data, where.store), half, asked)
    elif address:
        for_server = for_server or where.data / f"{address}.toml"
        _enroll(_device(where.data, where.store), address, for_server, asked)
    else:
        raise typer.BadParameter("whose account? The address is missing")


@grouped
def pin(
    asked: OfAccount,
    fingerprint: Annotated[
        str | None,
        typer.Argument(help="The fingerprint of the key, as `aerogramme key list` shows it on a device."),
    ] = None,
    current: Annotated[
        bool,
        typer.Option("--current", help="The newest key in the store, whosever it is: trust on first use."),
    ] = False,
) -> None:
    """Say which key letters for an account may be sealed to. This takes the place of what was pinned before.

    Without a pin it is the newest one in the store, where others may be able to write. A running server heeds
    it at once.

    \b
    Examples:
      aerogramme account pin alice@example.org 9c0f5a8e6d7b41c2a3f4e5d6c7b8a901 --data ./mail
      aerogramme account pin alice@example.org --current --data ./mail
    """
    if current == (fingerprint is not None):
        raise typer.BadParameter("either a fingerprint or --current")
    if fingerprint is not None and not re.fullmatch("[0-9a-f]{32}", fingerprint):
        raise typer.BadParameter("a fingerprint is 32 hex digits (lower case)")
    settings, user = asked.found()
    found = common.run(_fingerprints, settings, user)
    if fingerprint is None:
        fingerprint = found[0]
    _check_published(user, found, fingerprint)
    pins = (fingerprint,)
    common.directory(settings).change(user.address, lambda now: replace(now, pins=pins))
    typer.echo(f"letters for {user.address} are sealed to {fingerprint} only", err=True)


def unpin(address: AddressArgument, config: ConfigOption = None, data: DataOption = None) -> None:
    """Let letters be sealed to the newest key, whichever it is.

    \b
    Example:
      aerogramme account unpin alice@example.org --data ./mail
    """
    settings = common.settings(config, data)
    user = common.user_of(settings, address)
    common.directory(settings).change(user.address, lambda now: replace(now, pins=()))
    typer.echo(f"letters for {user.address} are sealed to the newest key in the store", err=True)


# --- the device's half


def _device(data: Path, store: str | None) -> Config:
    """The configuration in the data folder, which is made if there is none. Raises BadConfiguration."""
    file = data / CONFIG
    if not file.exists():
        if store is None:
            raise BadConfiguration(
                "where will the mail be?", hint="add --store URL: a place that the server reaches too"
            )
        url = json.dumps(Config.for_data(data, store=store).store)  # a string of JSON is one of TOML
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(DEVICE.format(url=url), encoding="utf-8")
    settings = Config.load(file)
    if store is not None and Config.for_data(data, store=store).store != settings.store:
        raise BadConfiguration(f"{file} names another store", hint="leave out --store, or change it there")
    return settings


def _enroll(settings: Config, address: str, for_server: Path, asked: Asking) -> None:
    from aerogramme.users.directory import User

    user = common.directory(settings).owner(address)
    if user is None:
        user = User(address, secrets.token_hex(16))
        password = asked.new_password()
        code = common.run(_make, settings, user, password)
        typer.echo(f"created {address}", err=True)
        typer.echo("recovery code (shown only now; keep it where the password is not):", err=True)
        typer.echo(code)
    else:
        typer.echo(f"{address} is here already; its half for the server is written again", err=True)
        password = asked.password()
    newest = common.run(_own_fingerprints, settings, user, password)[0]
    _write_half(for_server, replace(user, pins=(newest,), end_to_end=True))
    typer.echo(f"fingerprint of the key that letters are sealed to: {newest}", err=True)
    typer.echo(f"for the server: {for_server}", err=True)
    typer.echo(f"on this device: aerogramme serve --config {settings.data / CONFIG}", err=True)


async def _make(settings: Config, user: "User", password: "Secret") -> str:
    from aerogramme_cli.account import make_account

    async with common.open_stores(settings) as stores:
        code = await make_account(stores, common.directory(settings), user, password)
    assert code is not None
    return code.reveal()


def _join(settings: Config, half: "User", asked: Asking) -> None:
    directory = common.directory(settings)
    if (here := directory.owner(half.address)) is not None and here.account != half.account:
        raise AlreadyExists(f"there is another account {half.address} on this device")
    own = common.run(_own_fingerprints, settings, half, asked.password())
    if not set(half.pins) & set(own):
        raise Refused(
            f"the keys in the store are not those of {half.address} when it was enrolled",
            hint="compare the pin in the file with what `aerogramme key list` shows on the first device",
        )
    if here is None:
        directory.add(replace(half, pins=(), end_to_end=False))  # here is where one does log in
    typer.echo(f"{half.address} is on this device too", err=True)
    typer.echo(f"on this device: aerogramme serve --config {settings.data / CONFIG}", err=True)


async def _own_fingerprints(settings: Config, user: "User", password: "Secret") -> list[str]:
    """Those of the keys that the password opens, the newest first: what the store says of public keys may be
    anybody's."""
    from aerogramme.mailbox.incoming.letterboxes import fingerprint
    from aerogramme.mailbox.keys import keys

    async with common.open_store(settings, user) as store:
        keyring = (await keys.unlock(store, user.account, password)).keyring
        return [fingerprint(keyring.incoming_public(each.number)) for each in reversed(keyring.generations)]


# --- the server's half


def _write_half(file: Path, user: "User") -> None:
    from aerogramme.users.static import StaticDirectory

    file.unlink(missing_ok=True)
    StaticDirectory(file).add(user)
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)  # nobody else changes this file


def _read_half(file: Path, address: str | None) -> "User":
    """The one user in it. Raises BadConfiguration for what `enroll` did not write."""
    from aerogramme.users.directory import User
    from aerogramme.users.static import StaticDirectory

    if not file.exists():
        raise BadConfiguration(f"there is no file {file}")
    users = StaticDirectory(file).users()
    if len(users) != 1 or not users[0].pins:
        raise BadConfiguration(f"{file} is not what `account enroll` has written for a server")
    (half,) = users
    if half != User(half.address, half.account, pins=half.pins, end_to_end=True):
        # Aliases, say, or all of a domain: that is the operator's to give, not the user's to take.
        raise BadConfiguration(f"{file} says more than address, account, pins and end_to_end")
    if address is not None and address != half.address:
        raise BadConfiguration(f"{file} is of {half.address}, not of {address}")
    return half


def _accept(settings: Config, half: "User") -> None:
    try:
        found = common.run(_fingerprints, settings, half)
    except NoSuchUser:
        raise NoSuchUser(
            f"the account of {half.address} is not in the store of this server",
            hint="server and device need the same store URL, and the device comes first",
        ) from None
    for pinned in half.pins:
        _check_published(half, found, pinned)
    common.directory(settings).add(half)
    typer.echo(f"{half.address} gets mail now, sealed to {half.pins[0]} only", err=True)
    typer.echo("ask its user whether that is the fingerprint that the device has shown", err=True)


async def _fingerprints(settings: Config, user: "User") -> list[str]:
    """Those of the public keys in the store, the newest first. Raises NoSuchUser, Refused."""
    from aerogramme.mailbox.incoming.letterboxes import fingerprint, public_keys
    from aerogramme.mailbox.keys.keys import StoredKeys

    async with common.open_store(settings, user) as store:
        found = public_keys(await StoredKeys.read(store), user.account)
    if not found:
        raise Refused(f"there is no public key of {user.address} in the store")
    return [fingerprint(public) for public in found]


def _check_published(user: "User", found: list[str], wanted: str) -> None:
    if wanted not in found:
        raise Refused(
            f"no key of {user.address} in the store has the fingerprint {wanted}",
            hint=f"there is {', '.join(found)}",
        )
