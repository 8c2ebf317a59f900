"""`aerogramme account set`: what holds for one account."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from aerogramme.mailbox.policy import Policy, parse_quota, parse_retention
from aerogramme.units import duration_text, shown_size
from aerogramme_cli import common
from aerogramme_cli.options import AddressArgument, ConfigOption, DataOption

if TYPE_CHECKING:
    from aerogramme.users.directory import User

T = TypeVar("T")

DEFAULT = "default"


def set_(
    address: AddressArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    quota: Annotated[
        str | None,
        typer.Option(
            "--quota",
            metavar="SIZE",
            help='How much mail the account may hold, such as "5G"; "none" for no limit, "default" for what '
            "the configuration says.",
        ),
    ] = None,
    retention: Annotated[
        str | None,
        typer.Option(
            "--retention",
            metavar="TIME",
            help='How long what was removed can be brought back, such as "36h" or "30d"; "default" for what '
            "the configuration says.",
        ),
    ] = None,
) -> None:
    """Set the quota or the retention of an account. Prints what holds for it then. No password is needed.

    A running server goes by it within seconds. Nothing is removed because of a quota: an account that holds
    more gets no more.

    \b
    Examples:
      aerogramme account set alice@example.org --quota 5G --retention 30d --data ./mail
      aerogramme account set alice@example.org --quota default --data ./mail
    """
    settings = common.settings(config, data)
    user = common.user_of(settings, address)
    if quota is None and retention is None:
        raise typer.BadParameter("there is nothing to set: give --quota or --retention")

    def change(user: "User") -> "User":
        if quota is not None:
            # In the file 0 stands for no limit, as None for what the configuration says.
            user = replace(user, quota=_own(quota, lambda text: parse_quota(text) or 0))
        if retention is not None:
            user = replace(user, retention=_own(retention, parse_retention))
        return user

    user = common.directory(settings).change(user.address, change)
    typer.echo(f"{user.address}: {shown(user.policy(settings.policy))}", err=True)


def _own(text: str, parse: Callable[[object], T]) -> T | None:
    if text == DEFAULT:
        return None
    try:
        return parse(int(text) if text.isascii() and text.isdigit() else text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def shown(policy: Policy) -> str:
    """A policy in words."""
    quota = "no quota" if policy.quota is None else f"a quota of {shown_size(policy.quota)}"
    return f"{quota}, a retention of {duration_text(policy.retention)}"
