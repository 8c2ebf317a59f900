"""What commands for one account or all share: which accounts, and their passwords."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aerogramme.config import Config
from aerogramme_cli import common
from aerogramme_cli.asking import read_file
from aerogramme_cli.options import All, OptionalAddress, PasswordsFrom, Prompted, Where

if TYPE_CHECKING:
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User

LONGEST = 1 << 20  # octets of a file of passwords: what is longer is none


@dataclass(frozen=True, kw_only=True)
class OneOrAll(Prompted, Where):
    """An account, or all, and what opens them."""

    address: OptionalAddress = None
    every: All = False
    passwords_from: PasswordsFrom = None

    def chosen(self, settings: Config, key: Path | None = None) -> "list[tuple[User, Secret | None]]":
        """The users, each with what opens the account, if that is known. Asks for the password of a single
        one; with --all asks nothing. Raises BadParameter, NoSuchUser."""
        if self.every == (self.address is not None):
            raise typer.BadParameter("give an address, or --all")
        if self.address is not None:
            if self.passwords_from is not None:
                raise typer.BadParameter("--passwords-from goes with --all")
            user = common.user_of(settings, self.address)
            secret = self.asking().password() if key is None else key_of(key)(user.account)
            return [(user, secret)]
        if self.password_stdin or self.password_from:
            raise typer.BadParameter("--all takes --passwords-from")
        known = {} if self.passwords_from is None else passwords(settings, self.passwords_from)
        opener = None if key is None else key_of(key)
        users = [user for user in common.existing(settings).users() if not user.erasing]
        return [
            (user, known.get(user.account) or (None if opener is None else opener(user.account)))
            for user in users
        ]


def key_of(path: Path) -> "Callable[[str], Secret]":
    """What opens an account (32 hex digits), by the key of `import users`. Raises BadParameter,
    BadConfiguration."""
    from aerogramme.migrate.users.key import ImportKey

    try:
        os.stat(path)
    except FileNotFoundError:
        raise typer.BadParameter(f"there is no {path}: it is made by `aerogramme import users`") from None
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from None
    return ImportKey.load(path).of


def passwords(settings: Config, passwords_from: str) -> "dict[str, Secret]":
    """Account -> password, as --passwords-from gives them. Raises BadParameter, NoSuchUser."""
    found = _read(passwords_from)
    return {common.user_of(settings, each).account: secret for each, secret in found.items()}


def _read(source: str) -> "dict[str, Secret]":
    """Address -> password, as the file or descriptor has them. Raises BadParameter."""
    from aerogramme.seal import Secret

    try:
        lines = read_file(source, LONGEST, private=True).decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise typer.BadParameter(f"what {source} gives is not UTF-8") from None
    found: dict[str, Secret] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        address, space, password = line.partition(" ")
        if not (address and space and password):
            raise typer.BadParameter(f"line {number} of {source} is not an address, a space, and a password")
        found[address] = Secret(password)
    return found
