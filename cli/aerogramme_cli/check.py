"""`aerogramme check`: whether everything of an account is there, opens, and fits together; and repair."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme.config import Config
from aerogramme.errors import AuthenticationFailed, Damaged, NoSuchUser, RolledBack
from aerogramme_cli import common, terminal
from aerogramme_cli.many import OneOrAll
from aerogramme_cli.options import JsonLines, grouped
from aerogramme_cli.terminal import Told

if TYPE_CHECKING:
    from aerogramme.mailbox.audit.faults import Fault
    from aerogramme.mailbox.repair import Outcome
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User


@grouped
def check(
    asked: OneOrAll,
    mend: Annotated[
        bool, typer.Option("--repair", help="Mend what is found, instead of saying what would be done.")
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Delete what repairs have set aside, for good.")
    ] = False,
    as_json: JsonLines = False,
) -> None:
    """Look for damage in all that is stored of an account.

    Does it open, does it fit together, is anything missing? Reads everything. Without --repair nothing is
    changed: each fault is named, and what --repair would do about it. With it, that is done; nothing is
    thrown away, what cannot be read is set aside, and a run that was cut off is run again and goes on.
    Servers may go on serving meanwhile. If anything is wrong at the end, the exit code is 65.

    Asks for the password. With --all nothing is asked: an account whose password is not in --passwords-from
    is looked at from outside, and not repaired.

    \b
    Examples:
      aerogramme check alice@example.org --data ./mail
      aerogramme check alice@example.org --data ./mail --repair
      aerogramme check --all --data ./mail --passwords-from fd:3 3< passwords
    """
    # What this machine has kept of a distant store says nothing of what is there.
    settings, alone = replace(asked.settings(), cache_size=0), not asked.every
    chosen = asked.chosen(settings)
    looking = partial(_one, mend=mend, forget=forget, alone=alone)
    wrong = 0
    with terminal.status() as told, common.interruptible("interrupted; the same command again goes on"):
        for user, secret in chosen:
            result = common.run(looking, settings, user, secret, told)
            wrong += _print(result, as_json, alone=alone)
    if wrong:
        raise Damaged(
            f"{wrong} of the things looked at are not as they should be",
            hint="" if mend else "`check --repair` mends what it can",
        )


@dataclass(slots=True)
class Result:
    """What came out for one account.

    left       faults that are there now
    error      why it was not looked at
    aside      how many things are set aside, by this repair or by earlier ones
    forgotten  how many were, and have been deleted
    """

    user: "User"
    sealed: bool
    repaired: bool
    left: "Sequence[Fault]" = ()
    mended: "Sequence[Fault]" = ()
    error: str = ""
    aside: int = 0
    forgotten: int = 0

    @property
    def wrong(self) -> int:
        return sum(not fault.harmless for fault in self.left) + bool(self.error)


async def _one(
    settings: Config,
    user: "User",
    secret: "Secret | None",
    told: Told,
    *,
    mend: bool,
    forget: bool,
    alone: bool,
) -> Result:
    from aerogramme.mailbox.audit import setting_aside

    told(user.address)
    try:
        result = await _looked_at(settings, user, secret, told, mend=mend, alone=alone)
        async with common.open_store(settings, user) as store:
            if forget:
                result.forgotten = await setting_aside.forget(store)
            result.aside = len(await setting_aside.are_aside(store))
    except (Damaged, NoSuchUser) as error:  # not even from outside: a file that is no database, or none
        if alone:
            raise
        return Result(user, False, False, error=f"it cannot be looked at: {error}")
    return result


async def _looked_at(
    settings: Config, user: "User", secret: "Secret | None", told: Told, *, mend: bool, alone: bool
) -> Result:
    from aerogramme.mailbox.audit.account import examine
    from aerogramme.mailbox.audit.sealed import examine_sealed
    from aerogramme.mailbox.repair import repair

    if secret is None:
        async with common.open_store(settings, user) as store:
            return Result(user, True, False, await examine_sealed(store, user.account))

    def doing(words: str) -> None:
        told(f"{user.address}: {words}")

    try:
        if mend:
            opening = partial(common.open_account, settings, user, secret)
            outcome: Outcome = await repair(opening, doing)
            return Result(user, False, True, outcome.left, outcome.mended)
        async with common.open_account(settings, user, secret) as account:
            return Result(user, False, False, await examine(account, told=doing))
    except (AuthenticationFailed, RolledBack, NoSuchUser, Damaged) as error:
        if alone and not isinstance(error, Damaged):
            raise
        why = f"it does not open: {error}"  # the others are looked at all the same
    async with common.open_store(settings, user) as store:
        return Result(user, True, False, await examine_sealed(store, user.account), error=why)


def _print(result: Result, as_json: bool, *, alone: bool) -> int:
    """What was found, for a person or a program. How much of it is wrong."""
    if as_json:
        typer.echo(json.dumps(_plain(result), ensure_ascii=False))
        return result.wrong
    address = result.user.address
    before = "" if alone else f"{address}: "
    for fault in result.mended:
        typer.echo(f"{before}mended: {fault}")
    for fault in result.left:
        typer.echo(f"{before}{fault}")
        if not result.repaired or not fault.repairable:
            typer.echo(f"{before}  {'would be' if fault.repairable else 'to do'}: {fault.remedy}")
    if result.error:
        typer.echo(f"{before}{result.error}")
    if result.forgotten:
        typer.echo(f"{address}: {result.forgotten} things that were set aside are deleted", err=True)
    if result.aside:
        typer.echo(f"{address}: {result.aside} things are set aside; --forget deletes them", err=True)
    if result.sealed:
        typer.echo(f"{address}: looked at from outside, without its keys", err=True)
    if not result.left and not result.error:
        typer.echo(f"{address}: everything is there{'' if result.sealed else ' and opens'}", err=True)
    return result.wrong


def _plain(result: Result) -> dict[str, Any]:
    def fields(fault: "Fault") -> dict[str, Any]:
        return {
            "kind": str(fault.kind),
            "what": fault.what,
            "harmless": fault.harmless,
            "repairable": fault.repairable,
            "remedy": fault.remedy,
        }

    return {
        "address": result.user.address,
        "account": result.user.account,
        "sealed": result.sealed,
        "repaired": result.repaired,
        "mended": [fields(fault) for fault in result.mended],
        "faults": [fields(fault) for fault in result.left],
        "error": result.error or None,
        "aside": result.aside,
        "forgotten": result.forgotten,
    }
