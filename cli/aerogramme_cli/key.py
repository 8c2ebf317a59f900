"""`aerogramme key`: the generations of an account's keys."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme.errors import Damaged
from aerogramme.units import shown_size
from aerogramme_cli import common, terminal
from aerogramme_cli.common import Login
from aerogramme_cli.options import Json, Opening, grouped
from aerogramme_cli.terminal import counted

if TYPE_CHECKING:
    from aerogramme.log.resealing import Census
    from aerogramme.mailbox.keys.keys import StoredKeys, Unlocked
    from aerogramme.mailbox.keys.rotation import Report
    from aerogramme.seal import Keyring
    from aerogramme.store import Store
    from aerogramme.users.directory import User

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at the keys of an account, and rotate them."
)

LEFT = 1  # exit code: something is under an older generation
WORDS = {  # of a kind, and of many, where that is not the kind and an s
    "entry": ("entry", "entries"),
    "unneeded": ("note of what is let go of", "notes of what is let go of"),
}
NAMES_SHOWN = 20


@app.callback()
def key() -> None:
    """Look at the keys of an account, and rotate them."""


@app.command("list")
@grouped
def list_generations(asked: Opening, as_json: Json = False) -> None:
    """Show the generations of keys, with their fingerprints. Asks for the password.

    \b
    Example:
      aerogramme key list alice@example.org --data ./mail
    """
    shown = common.run(_list, asked.login())
    if as_json:
        typer.echo(json.dumps(shown))
        return
    _print_generations(shown)


@app.command("status")
@grouped
def status(asked: Opening, as_json: Json = False) -> None:
    """Look through the store: what is sealed with which generation. Asks for the password.

    It changes nothing. Bodies are under keys of their own and are not counted. Exit code 0: all is under the
    newest generation; 1: something is under an older one, or a rotation is not finished; 65: something is
    damaged.

    \b
    Example:
      aerogramme key status alice@example.org --data ./mail
    """
    found = common.run(_status, asked.login())
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _print_status(found)
    if found["left"] or found["unfinished"]:
        raise typer.Exit(LEFT)
    if found["damaged"]:
        raise typer.Exit(Damaged.exit_code)


@app.command("rotate")
@grouped
def rotate(
    asked: Opening,
    bodies: Annotated[
        bool,
        typer.Option(
            "--bodies", help="Write bodies anew, too, and delete those that no message has any more."
        ),
    ] = False,
) -> None:
    """Make a new generation of keys, and seal all again with it. Asks for the password.

    Mail is delivered and read meanwhile, and messages stay as they are. A run that was cut off is run again
    and goes on. It waits for servers to use the new keys: some seconds where the account is a file, two
    minutes in a distant store, and as long once more with --bodies. Exit code 0: no older generation opens
    anything; 65: what is damaged could not be sealed again.

    \b
    Examples:
      aerogramme key rotate alice@example.org --data ./mail
      aerogramme key rotate alice@example.org --data ./mail --bodies
    """
    rotate_now(asked.login(), bodies=bodies)


def rotate_now(login: Login, *, bodies: bool = False) -> None:
    """Rotates, shows how far it is and what came out; raises typer.Exit if something is left."""
    with common.resumable():
        report = common.run(_rotate, login, bodies)
    _print_report(report, bodies)
    if report.left:
        raise typer.Exit(Damaged.exit_code)


# --- work


async def _list(login: Login) -> list[dict[str, Any]]:
    async with _unlocked(login) as (_, stored, unlocked):
        return _generations(login.user, stored, unlocked.keyring)


async def _status(login: Login) -> dict[str, Any]:
    from aerogramme.mailbox.keys.rotation import scan

    async with _unlocked(login) as (store, stored, unlocked):
        found = await scan(store)
        generations = _generations(login.user, stored, unlocked.keyring)
    return {
        "generations": generations,
        "sealed": _sealed(found, unlocked.keyring),
        "left": found.older(unlocked.keyring.current),
        "unfinished": bool(stored.rotating),
        "damaged": found.unreadable,
        "pin_out_of_date": bool(login.user.pins) and not generations[-1]["pinned"],
    }


async def _rotate(login: Login, bodies: bool) -> "Report":
    from aerogramme.mailbox.keys import passwords, rotation

    async with common.open_account(*login) as account:
        [slot] = account.holding.slots.values()
        passwords.check_may_change(slot)
        with _progress() as told:
            return await rotation.rotate(account, slot, bodies=bodies, told=told)


@asynccontextmanager
async def _unlocked(login: Login) -> "AsyncIterator[tuple[Store, StoredKeys, Unlocked]]":
    from aerogramme.mailbox.keys.keys import StoredKeys

    async with common.open_keys(login.settings, login.user) as store:
        stored = await StoredKeys.read(store)
        yield store, stored, await common.unlocked(stored, login.user, login.secret)


def _generations(user: "User", stored: "StoredKeys", keyring: "Keyring") -> list[dict[str, Any]]:
    from aerogramme.mailbox.keys.keys import PUBLIC

    found = []
    for each in keyring.generations:
        fingerprint = keyring.incoming_public(each.number).key.fingerprint.hex()
        found.append(
            {
                "generation": keyring.ordinal(each.number),
                "number": f"{each.number:08x}",
                "created": datetime.fromtimestamp(each.created, UTC).isoformat().replace("+00:00", "Z"),
                "current": each.number == keyring.current,
                "fingerprint": fingerprint,
                "published": f"{PUBLIC}{each.number:08x}" in stored.public,
                "pinned": fingerprint in user.pins,
            }
        )
    return found


def _sealed(found: "Census", keyring: "Keyring") -> list[dict[str, Any]]:
    """How many of each kind are sealed with each generation; generation 0 is one that the keyring has not."""
    known = {each.number for each in keyring.generations}
    return [
        {
            "generation": keyring.ordinal(number) if number in known else 0,
            "number": f"{number:08x}",
            "kind": kind,
            "count": count,
        }
        for (kind, number), count in sorted(found.found.items(), key=lambda item: (item[0][1], item[0][0]))
    ]


# --- output


@contextmanager
def _progress() -> "Iterator[Callable[[Report], None]]":
    """A bar on the terminal. What it gives is to be called with the report whenever that has changed."""
    with terminal.bars() as progress:
        bar = progress.add_task("sealing again", total=None, words="")

        def told(report: "Report") -> None:
            if report.writing_bodies:
                description, done, total = "writing bodies anew", report.bodies.count, None
            else:
                description, done, total = "sealing again", report.count, max(report.total, report.count)
            if report.waiting:
                description = "waiting until no server uses the old keys"
            words = shown_size(report.octets + report.bodies.octets)
            progress.update(bar, description=description, total=total, completed=done, words=words)

        yield told


def _print_generations(shown: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("generation", "since (UTC)", "fingerprint of the public key", "", box=None)
    for each in shown:
        notes = {"current": "current", "pinned": "pinned"}
        words = [word for name, word in notes.items() if each[name]]
        words += [] if each["published"] else ["not published"]
        table.add_row(str(each["generation"]), each["created"], each["fingerprint"], ", ".join(words))
    terminal.console().print(table)


def _print_status(found: dict[str, Any]) -> None:
    _print_generations(found["generations"])
    for each in found["sealed"]:
        generation = f"generation {each['generation']}" if each["generation"] else "an unknown generation"
        typer.echo(f"{_count(each['count'], each['kind'])} under {generation}")
    if found["left"]:
        typer.echo(f"{found['left']:,} under an older generation: `aerogramme key rotate`", err=True)
    if found["unfinished"]:
        typer.echo("a rotation is not finished: `aerogramme key rotate` goes on with it", err=True)
    if found["pin_out_of_date"]:
        typer.echo(
            "the server's pin is that of an older generation: letters are still sealed to that one, until "
            "`aerogramme account pin` is told the new fingerprint",
            err=True,
        )
    _print_names("damaged", found["damaged"])


def _print_report(report: "Report", bodies: bool) -> None:
    for kind, tally in report.again.items():
        if tally.count:
            typer.echo(f"{_count(tally.count, kind)} sealed again, {shown_size(tally.octets)}")
    typer.echo(f"{counted(report.letters, 'letter')} drained")
    if bodies:
        typer.echo(
            f"{counted(report.bodies.count, 'body', 'bodies')} written anew, "
            f"{shown_size(report.bodies.octets)}; {report.bodies_removed:,} old ones deleted"
        )
    else:
        typer.echo("0 bodies rewritten: they are under keys of their own (--bodies)")
    if report.left:
        typer.echo(f"{len(report.left)} could not be sealed again, and stay as they are", err=True)
        _print_names("left", report.left)
    else:
        older = f"; nothing is left under {'generation 1' if report.ordinal == 2 else 'older ones'}"
        typer.echo(f"generation {report.ordinal} seals everything{older}")
    if report.overtaken:
        typer.echo(
            "a password was revoked during this rotation, and may have opened its keys: rotate once more",
            err=True,
        )


def _print_names(what: str, names: dict[str, str]) -> None:
    for name, why in sorted(names.items())[:NAMES_SHOWN]:
        typer.echo(f"{what}: {name}: {why}", err=True)
    if len(names) > NAMES_SHOWN:
        typer.echo(f"{what}: and {len(names) - NAMES_SHOWN} more", err=True)


def _count(count: int, kind: str) -> str:
    return counted(count, *WORDS.get(kind, (kind,)))
