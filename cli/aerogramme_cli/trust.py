"""`aerogramme account trust`: a store that has gone back in time, on purpose."""

import typer

from aerogramme_cli import common
from aerogramme_cli.options import AddressArgument, ConfigOption, DataOption


def trust(address: AddressArgument, config: ConfigOption = None, data: DataOption = None) -> None:
    """Accept an older state of an account. For after a backup was restored on purpose.

    Each machine remembers how far it has seen an account come, and refuses one that has gone back: else
    whoever can write the store could bring back a password that was changed, or undo what happened. This
    forgets it, on this machine; stop its server before. What came after the backup is lost, also passwords
    that were changed.

    \b
    Example:
      aerogramme account trust alice@example.org --data ./mail
    """
    settings = common.settings(config, data)
    user = common.user_of(settings, address)
    if common.seen(settings).forget(user.account):
        typer.echo(f"{user.address} is taken as it is from now on", err=True)
    else:
        typer.echo(f"this machine has seen nothing of {user.address} yet", err=True)
