"""The options that several commands have, and groups of them.

A command takes a group as one parameter, and `grouped` tells typer of the options that are in it:

    @app.command("list")
    @grouped
    def list_(asked: Opening, as_json: Json = False) -> None:

`list ADDRESS --data DIR --password-stdin` calls it with Opening(address=…, data=…, password_stdin=True).
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme.config import Config
from aerogramme_cli import common, times
from aerogramme_cli.asking import Asking, asking
from aerogramme_cli.common import Login

if TYPE_CHECKING:
    from aerogramme.users.directory import User

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The configuration file, aerogramme.toml.")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="The data folder, if there is no configuration file.")
]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Where the accounts are, if not in the data folder."),
]
AddressArgument = Annotated[
    str, typer.Argument(help="The address of the account, such as alice@example.org.")
]
OptionalAddress = Annotated[
    str | None, typer.Argument(help="The address of the account, such as alice@example.org.")
]
PasswordStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read what is asked for from standard input, a line each."),
]
PasswordFrom = Annotated[
    str | None,
    typer.Option(
        "--password-from",
        metavar="fd:N|socket:PATH",
        help="Read it from an open file descriptor, or from a Unix socket that sends it.",
    ),
]
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
All = Annotated[bool, typer.Option("--all", help="All accounts.")]
AtOption = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help=f"As the account was then: {times.FORMS}.")
]
LocalOption = Annotated[
    bool, typer.Option("--local", help="Times are those of this machine, those given too. Else UTC.")
]
Json = Annotated[bool, typer.Option("--json", help="For programs, with times in UTC.")]
JsonLines = Annotated[bool, typer.Option("--json", help="One JSON object a line, one line an account.")]


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the accounts are."""

    config: ConfigOption = None
    data: DataOption = None
    store: StoreOption = None

    def settings(self) -> Config:
        """Of a command that somebody has typed. Raises BadConfiguration."""
        found = common.settings(self.config, self.data, self.store)
        common.warn_root(found.data)
        return found


@dataclass(frozen=True, kw_only=True)
class OfAccount(Where):
    """And one of them."""

    address: AddressArgument

    def found(self, *, deleted: bool = False) -> "tuple[Config, User]":
        """A deleted one only with `deleted`. Raises BadConfiguration, NoSuchUser."""
        settings = self.settings()
        return settings, common.user_of(settings, self.address, deleted=deleted)


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """How secrets come in."""

    password_stdin: PasswordStdin = False
    password_from: PasswordFrom = None

    def asking(self) -> Asking:
        """Raises BadParameter."""
        return asking(self.password_stdin, self.password_from)


@dataclass(frozen=True, kw_only=True)
class Opening(Prompted, OfAccount):
    """An account, and what opens it."""

    def login(self) -> Login:
        """Asks for the password. Raises BadConfiguration, NoSuchUser, BadParameter."""
        settings, user = self.found()
        return Login(settings, user, self.asking().password())


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer, of a function that takes groups of options (dataclasses)."""
    groups: dict[str, type] = {}
    options: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = group
            options += _options_of(group)
        else:
            options.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{each.name: given.pop(each.name) for each in _options_of(group)})
        command(**given)

    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in options}
    return run


@cache
def _options_of(group: type) -> Sequence[inspect.Parameter]:
    return [*inspect.signature(group).parameters.values()]
