"""What commands for one account or all share: which accounts, their passwords, and what is being done."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme_cli import common
from aerogramme_cli.asking import asking

if TYPE_CHECKING:
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User

Told = Callable[[str], None]

LONGEST = 1 << 20  # octets of a file of passwords: what is longer is none

OptionalAddress = Annotated[
    str | None, typer.Argument(help="The address of the account, such as alice@example.org.")
]
All = Annotated[bool, typer.Option("--all", help="All accounts, instead of one.")]
PasswordsFrom = Annotated[
    str | None,
    typer.Option(
        "--passwords-from",
        metavar="FILE|fd:N",
        help="With --all, or a list: lines of an address, a space, and its password.",
    ),
]

KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="In place of passwords: the key of `import users` (first-login.key in the data folder). It "
        "opens the accounts whose users have not come yet.",
    ),
]


def chosen(
    settings: Config,
    address: str | None,
    every: bool,
    password_stdin: bool,
    password_from: str | None,
    passwords_from: str | None,
    key: Path | None = None,
) -> "tuple[list[User], dict[str, Secret]]":
    """The users that the options name, and account -> password. Asks for that of a single one; with --all
    asks nothing. Raises BadParameter, NoSuchUser."""
    if every == (address is not None):
        raise typer.BadParameter("give an address, or --all")
    if address is not None:
        if passwords_from is not None:
            raise typer.BadParameter("--passwords-from goes with --all")
        user = common.user_of(settings, address)
        if key is not None:
            return [user], {user.account: key_of(key)(user.account)}
        return [user], {user.account: asking(password_stdin, password_from).password()}
    if password_stdin or password_from:
        raise typer.BadParameter("--all takes --passwords-from")
    users = [user for user in common.directory(settings).users() if not user.erasing]
    found: dict[str, Secret] = {}
    if key is not None:
        opener = key_of(key)
        found = {user.account: opener(user.account) for user in users}
    return users, found | ({} if passwords_from is None else passwords(settings, passwords_from))


def key_of(path: Path) -> "Callable[[str], Secret]":
    """What opens an account (32 hex digits), by the key of `import users`. Raises BadParameter,
    BadConfiguration."""
    from aerogramme.migrate.users.key import ImportKey

    if not path.exists():
        raise typer.BadParameter(f"there is no {path}: it is made by `aerogramme import users`")
    return ImportKey.load(path).of


def passwords(settings: Config, passwords_from: str) -> "dict[str, Secret]":
    """Account -> password, as --passwords-from gives them. Raises BadParameter, NoSuchUser."""
    found = _read(passwords_from)
    return {common.user_of(settings, each).account: secret for each, secret in found.items()}


@contextmanager
def progress() -> Iterator[Told]:
    """What is being done, on a terminal."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda words: status.update(words.replace("[", r"\["))


def _read(source: str) -> "dict[str, Secret]":
    """Address -> password, as the file or descriptor has them. Raises BadParameter."""
    from aerogramme.seal import Secret

    try:
        if source.startswith("fd:") and source[3:].isdecimal():
            with open(int(source[3:]), "rb", closefd=False) as file:
                raw = file.read(LONGEST + 1)
        else:
            if stat.S_IMODE(os.stat(source).st_mode) & 0o077:
                raise typer.BadParameter(f"{source} can be read by others: chmod 600 it")
            with Path(source).open("rb") as file:
                raw = file.read(LONGEST + 1)
        if len(raw) > LONGEST:
            raise typer.BadParameter(f"{source} has more than {LONGEST} octets")
        lines = raw.decode("utf-8").splitlines()
    except OSError as error:
        raise typer.BadParameter(f"no passwords can be read from {source}: {error.strerror}") from None
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
