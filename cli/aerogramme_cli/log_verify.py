"""`aerogramme log verify`: whether everything that is stored of an account is what was put there."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme.errors import Damaged, RolledBack
from aerogramme_cli import common
from aerogramme_cli.asking import PasswordFrom, PasswordStdin, asking
from aerogramme_cli.common import AddressArgument, ConfigOption, DataOption, StoreOption

if TYPE_CHECKING:
    from aerogramme.mailbox.account import Account
    from aerogramme.mailbox.audit.verifying import Problem, Progress
    from aerogramme.mailbox.keys.seen import Seen
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User


def verify(
    address: AddressArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    bodies: Annotated[
        bool, typer.Option("--bodies", help="Open all bodies, too, which reads everything that is stored.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="One JSON object a line: each problem, and at the end what was looked at."
        ),
    ] = False,
) -> None:
    """Look whether everything that is stored is what was put there, and nothing is missing.

    Every entry follows the one before it, every row and object opens with the account's keys, whatever a
    checkpoint, an entry or a letter names is there, and nothing is older than what this machine has seen. It
    changes nothing; servers may go on meanwhile. Each problem is a line. Asks for the password. Exit code 0:
    all is well; 65: something is damaged or missing, which `aerogramme check` tells more about; 79: the store
    has gone back in time.

    \b
    Examples:
      aerogramme log verify alice@example.org --data ./mail
      aerogramme log verify alice@example.org --data ./mail --bodies
    """
    # What this machine has kept of a distant store says nothing of what is there.
    settings = replace(common.settings(config, data, store), cache_size=0)
    user = common.user_of(settings, address)
    secret = asking(password_stdin, password_from).password()
    found: list[Problem] = []

    def problem(each: "Problem") -> None:
        found.append(each)
        told = {"problem": each.kind, "what": each.what, "history": each.history}
        typer.echo(json.dumps(told) if as_json else each.what)

    with common.interruptible("interrupted; not all was looked at"), _progress() as told:
        progress = common.run(_verify, settings, user, secret, bodies, problem, told)
    looked = dict(sorted(progress.looked.items()))
    if as_json:
        typer.echo(json.dumps({"problems": len(found), "looked": looked, "notes": progress.notes}))
    for note in progress.notes:
        typer.echo(f"note: {note}", err=True)
    words = ", ".join(f"{count:,} {what}" for what, count in looked.items())
    if any(each.kind == "rollback" for each in found):
        raise RolledBack(hint="if a backup was restored on purpose: `aerogramme account trust`")
    if found:
        only_history = (
            "what the account is now is whole: only its history has lost something, for the retention"
        )
        raise Damaged(
            f"{len(found):,} of the things looked at are not as they should be ({words})",
            hint=only_history
            if all(each.history for each in found)
            else "`aerogramme check` says what can be done about it",
        )
    typer.echo(f"{user.address}: all is there and opens ({words})", err=True)


async def _verify(
    settings: Config,
    user: "User",
    secret: "Secret",
    bodies: bool,
    problem: "Callable[[Problem], None]",
    told: "Callable[[Progress], None]",
) -> "Progress":
    from aerogramme.mailbox.audit.verifying import Verification

    async with _opened(settings, user, secret) as (account, seen):
        verification = Verification(account, seen, bodies=bodies, told=told)
        async with aclosing(verification.problems()) as problems:
            async for each in problems:
                problem(each)
    return verification.progress


@asynccontextmanager
async def _opened(settings: Config, user: "User", secret: "Secret") -> "AsyncIterator[tuple[Account, Seen]]":
    """The account as it is, also if the log has gone back in time. Raises RolledBack if the keys have: one
    more password might open it than should."""
    from aerogramme.mailbox.account import Account
    from aerogramme.mailbox.keys.keys import StoredKeys
    from aerogramme.mailbox.keys.seen import Seen

    async with common.open_stores(settings) as stores:
        store = await stores.open(user.account)
        seen = Seen(settings.data / "seen")
        try:
            stored = await StoredKeys.read(store)
            await seen.check_keys(user.account, stored)
            unlocked = await stored.unlock(user.account, secret)
        except BaseException:
            await store.aclose()
            raise
        account = await Account.open(store, user.account, unlocked)
        account.policy = user.policy(settings.policy)
        try:
            yield account, seen
        finally:
            await account.aclose()


@contextmanager
def _progress() -> "Iterator[Callable[[Progress], None]]":
    """A bar on the terminal. What it gives is to be called whenever something was looked at."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        bar = bars.add_task("", total=None)

        def told(progress: "Progress") -> None:
            total = None if progress.total is None else max(progress.total, progress.done)
            bars.update(bar, description=progress.doing, completed=progress.done, total=total)

        yield told
