"""`aerogramme check`: whether everything of an account is there, opens, and fits together; and repair."""

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme.config import Config
from aerogramme.errors import AuthenticationFailed, Damaged, NoSuchUser, RolledBack
from aerogramme_cli import common
from aerogramme_cli.asking import PasswordFrom, PasswordStdin, asking
from aerogramme_cli.common import ConfigOption, DataOption, StoreOption

if TYPE_CHECKING:
    from aerogramme.mailbox.faults import Fault
    from aerogramme.mailbox.repair import Outcome
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User

Told = Callable[[str], None]

LONGEST = 1 << 20  # octets of a file of passwords: what is longer is none


def check(
    address: Annotated[
        str | None, typer.Argument(help="The address of the account, such as alice@example.org.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    every: Annotated[bool, typer.Option("--all", help="All accounts, instead of one.")] = False,
    mend: Annotated[
        bool, typer.Option("--repair", help="Mend what is found, instead of saying what would be done.")
    ] = False,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    passwords_from: Annotated[
        str | None,
        typer.Option(
            "--passwords-from",
            metavar="FILE|fd:N",
            help="With --all: lines of an address, a space, and its password.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, one line an account.")
    ] = False,
) -> None:
    """Look at all that is stored of an account: whether it opens, fits together, and nothing is missing.

    Reads everything. Without --repair nothing is changed: each fault is named, and what --repair would do
    about it. With it, that is done; nothing is thrown away, what cannot be read is set aside, and a run that
    was cut off is run again and goes on. Servers may go on serving meanwhile. If anything is wrong at the
    end, the exit code is 65.

    Asks for the password. With --all nothing is asked: an account whose password is not in --passwords-from
    is looked at from outside, and not repaired.

    \b
    Examples:
      aerogramme check alice@example.org --data ./mail
      aerogramme check alice@example.org --data ./mail --repair
      aerogramme check --all --data ./mail --passwords-from fd:3 3< passwords
    """
    settings = common.settings(config, data, store)
    if every == (address is not None):
        raise typer.BadParameter("give an address, or --all")
    secrets: dict[str, Secret] = {}
    if address is not None:
        if passwords_from is not None:
            raise typer.BadParameter("--passwords-from goes with --all")
        users = [common.user_of(settings, address)]
        secrets[users[0].account] = asking(password_stdin, password_from).password()
    else:
        if password_stdin or password_from:
            raise typer.BadParameter("--all takes --passwords-from")
        users = [user for user in common.directory(settings).users() if not user.erasing]
        secrets = _by_account(settings, _read_passwords(passwords_from)) if passwords_from else {}
    wrong = 0
    with _progress() as told, common.interruptible("interrupted; the same command again goes on"):
        for user in users:
            looking = partial(_one, mend=mend, alone=not every)
            result = common.run(looking, settings, user, secrets.get(user.account), told)
            wrong += _print(result, as_json, alone=not every)
    if wrong:
        raise Damaged(
            f"{wrong} of the things looked at are not as they should be",
            hint="" if mend else "`check --repair` mends what it can",
        )


@dataclass(slots=True)
class Result:
    """What came out for one account. `left`: faults that are there now; `error`: why it was not looked at."""

    user: "User"
    sealed: bool
    repaired: bool
    left: "Sequence[Fault]" = ()
    mended: "Sequence[Fault]" = ()
    error: str = ""

    @property
    def wrong(self) -> int:
        return sum(not fault.harmless for fault in self.left) + bool(self.error)


async def _one(
    settings: Config, user: "User", secret: "Secret | None", told: Told, *, mend: bool, alone: bool
) -> Result:
    from aerogramme.mailbox.audit import examine
    from aerogramme.mailbox.audit_sealed import examine_sealed
    from aerogramme.mailbox.repair import repair

    told(user.address)
    if secret is None:
        async with common.open_store(settings, user) as store:
            return Result(user, True, False, await examine_sealed(store, user.account))
    try:
        if mend:
            outcome: Outcome = await repair(
                lambda: common.open_account(settings, user, secret),
                lambda words: told(f"{user.address}: {words}"),
            )
            return Result(user, False, True, outcome.left, outcome.mended)
        async with common.open_account(settings, user, secret) as account:
            return Result(user, False, False, await examine(account))
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
    }


# --- passwords of many accounts ---------------------------------------------------------------------------


def _read_passwords(source: str) -> "dict[str, Secret]":
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


def _by_account(settings: Config, passwords: "Mapping[str, Secret]") -> "dict[str, Secret]":
    """Account -> password. Raises NoSuchUser for an address that is nobody's."""
    return {common.user_of(settings, address).account: secret for address, secret in passwords.items()}


@contextmanager
def _progress() -> Iterator[Told]:
    """What is being done, on a terminal."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda words: status.update(words.replace("[", r"\["))
