"""`aerogramme account check`: whether everything of an account is there, opens, and fits together."""

from typing import TYPE_CHECKING

import typer

from aerogramme.config import Config
from aerogramme.errors import Damaged
from aerogramme_cli import common
from aerogramme_cli.asking import PasswordFrom, PasswordStdin, asking
from aerogramme_cli.common import AddressArgument, ConfigOption, DataOption, StoreOption

if TYPE_CHECKING:
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User


def check(
    address: AddressArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
) -> None:
    """Look at all that is stored of an account: whether it opens, fits together, and nothing is missing.

    Reads everything and changes nothing. What is damaged, was changed in the store or is missing is named, a
    line each; then it ends with 65. Asks for the password.

    \b
    Example:
      aerogramme account check alice@example.org --data ./mail
    """
    settings = common.settings(config, data, store)
    user = common.user_of(settings, address)
    found = common.run(_check, settings, user, asking(password_stdin, password_from).password())
    for line in found:
        typer.echo(line)
    if found:
        raise Damaged(f"{len(found)} of the things looked at are not as they should be")
    typer.echo(f"{user.address}: everything is there and opens", err=True)


async def _check(settings: Config, user: "User", password: "Secret") -> list[str]:
    from aerogramme.mailbox.audit import audit

    async with common.open_account(settings, user, password) as account:
        return await audit(account)
