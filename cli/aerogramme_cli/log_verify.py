"""`aerogramme log verify`: whether everything that is stored of an account is what was put there."""

import json
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.errors import Damaged, RolledBack
from aerogramme_cli import common, terminal
from aerogramme_cli.common import Login
from aerogramme_cli.options import Opening, grouped

if TYPE_CHECKING:
    from aerogramme.mailbox.audit.verifying import Problem, Progress

ONE = {"bodies": "body", "entries": "entry"}  # of what is counted; of all else it is without the s


@grouped
def verify(
    asked: Opening,
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
    """Prove that all that was stored is there, as it was stored.

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
    login = asked.login()
    login = login._replace(settings=replace(login.settings, cache_size=0))
    found: list[Problem] = []

    def problem(each: "Problem") -> None:
        found.append(each)
        told = {"problem": each.kind, "what": each.what, "history": each.history}
        typer.echo(json.dumps(told) if as_json else each.what)

    with common.interruptible("interrupted; not all was looked at"), _progress() as told:
        progress = common.run(_verify, login, bodies, problem, told)
    looked = dict(sorted(progress.looked.items()))
    if as_json:
        typer.echo(json.dumps({"problems": len(found), "looked": looked, "notes": progress.notes}))
    for note in progress.notes:
        typer.echo(f"note: {note}", err=True)
    words = ", ".join(
        terminal.counted(count, ONE.get(what, what.removesuffix("s")), what) for what, count in looked.items()
    )
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
    typer.echo(f"{login.user.address}: all is there and opens ({words})", err=True)


async def _verify(
    login: Login,
    bodies: bool,
    problem: "Callable[[Problem], None]",
    told: "Callable[[Progress], None]",
) -> "Progress":
    from aerogramme.mailbox.audit.verifying import Verification

    async with common.open_account(*login, as_it_is=True) as account:
        verification = Verification(account, common.seen(login.settings), bodies=bodies, told=told)
        async with aclosing(verification.problems()) as problems:
            async for each in problems:
                problem(each)
    return verification.progress


@contextmanager
def _progress() -> "Iterator[Callable[[Progress], None]]":
    """A bar on the terminal. What it gives is to be called whenever something was looked at."""
    with terminal.bars() as bars:
        bar = bars.add_task("", total=None, words="")

        def told(progress: "Progress") -> None:
            total = None if progress.total is None else max(progress.total, progress.done)
            bars.update(bar, description=progress.doing, completed=progress.done, total=total)

        yield told
