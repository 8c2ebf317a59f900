"""`aerogramme import users`: accounts for the users of another server, with the passwords that they have."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme.config import Config
from aerogramme.errors import AerogrammeError, Refused, Unavailable, Unreadable
from aerogramme_cli import common, terminal
from aerogramme_cli.asking import read_file
from aerogramme_cli.options import Where, grouped
from aerogramme_cli.terminal import counted

if TYPE_CHECKING:
    from aerogramme.migrate.users.aliases import Names
    from aerogramme.migrate.users.lists import Entry, Fault, Listed
    from aerogramme.migrate.users.moving import Outcome
    from aerogramme.users.directory import User
    from aerogramme.users.static import StaticDirectory

LONGEST = 64 << 20  # octets of a list: some hundred thousand users


class Form(Enum):
    """What a list can be."""

    passwd = "passwd"  # noqa: S105 - the name of a file format
    csv = "csv"
    names = "names"


@grouped
def users(
    where: Where,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The list of users; - for standard input.")],
    form: Annotated[
        Form | None, typer.Option("--format", help="What FILE is; by default it is looked at.")
    ] = None,
    scheme: Annotated[
        str, typer.Option("--scheme", metavar="SCHEME", help="Dovecot's scheme of passwords that name none.")
    ] = "CRYPT",
    domain: Annotated[
        str, typer.Option("--domain", metavar="DOMAIN", help="The domain of names that have none.")
    ] = "",
    aliases: Annotated[
        list[Path] | None,
        typer.Option("--aliases", metavar="FILE", help="A virtual alias map of Postfix; may be repeated."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            help="Where the key is that renews passwords until their users have come; made when missing. By "
            "default first-login.key in the data folder.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only read the lists, and say what is new.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each user.")] = False,
) -> None:
    """Make accounts for the users of another server. They log in with the password that they have there.

    FILE is a passwd-file of Dovecot, CSV (address,password,aliases,quota), or a list of names such as that of
    `doveadm user '*'`. The accounts take mail at once. Of a password only the hash is needed: the first login
    that is right by it makes it the password here. Where there is no hash that can be checked, an invitation
    code is printed, with the address in front; the user turns it into a password (`account accept`, or the
    first login: code, space, new password).

    Again, with a newer list: users who are not here are added, aliases too, and passwords that have changed
    there are renewed where nobody has come yet. Nothing is taken away.

    \b
    Examples:
      aerogramme import users /etc/dovecot/users --data ./mail --aliases /etc/postfix/virtual
      doveadm user '*' | aerogramme import users - --data ./mail > codes
    """
    settings = where.settings()
    directory = common.directory(settings)
    listed = _list(file, form, scheme, domain)
    names = _names(aliases or [], listed, domain)
    failed: Sequence[AerogrammeError] = ()
    with terminal.status() as told, common.interruptible("interrupted; the same command again goes on"):
        telling = _Telling(len(listed.entries), as_json, told)
        if dry_run:
            for entry in listed.entries:
                telling.planned(entry, directory.owner(entry.address))
        else:
            place = key or settings.data / "first-login.key"
            failed = common.run(_move, settings, directory, place, listed.entries, names, telling)
            telling.summary()
    if any(isinstance(error, Unavailable) for error in failed):
        raise Unavailable("the store was away for some users", hint="run it again: what is done stays")
    if wrong := len(listed.faults) + len(failed):
        raise Refused(
            f"{counted(wrong, 'line')} of {file} could not be taken as a user",
            hint="above it says why; all others are done, and running it again does no harm",
        )


async def _move(
    settings: Config,
    directory: "StaticDirectory",
    place: Path,
    entries: "Sequence[Entry]",
    names: "Mapping[str, Names]",
    telling: "_Telling",
) -> "Sequence[AerogrammeError]":
    from aerogramme.migrate.users.key import ImportKey
    from aerogramme.migrate.users.moving import Movers

    key = ImportKey.load(place)
    async with common.open_stores(settings) as stores:
        movers = Movers(directory, stores, key, telling.outcome)
        await movers.move(entries, names)
    return movers.failed


def _list(file: str, form: Form | None, scheme: str, domain: str) -> "Listed":
    from aerogramme.migrate.users.lists import read_list

    text = _text(file)
    try:
        listed = read_list(text, form.value if form else None, scheme=scheme, domain=domain)
    except Unreadable as error:
        raise Unreadable(f"{file}: {error}", hint=error.hint) from None
    _tell(file, listed.faults)
    return listed


def _names(files: Sequence[Path], listed: "Listed", domain: str) -> "dict[str, Names]":
    """Address of a user in the list -> further names. What leads to nobody in it is told."""
    from aerogramme.migrate.users.aliases import Names, read_aliases
    from aerogramme.users.directory import canonical

    in_list = {canonical(entry.address): entry.address for entry in listed.entries}

    def user_of(address: str) -> str | None:
        return in_list.get(canonical(address))

    found: dict[str, Names] = {}
    for file in files:
        names, faults = read_aliases(_text(str(file)), user_of, domain=domain)
        _tell(str(file), faults)
        for address, more in names.items():
            merged = found.setdefault(address, Names())
            merged.aliases.extend(more.aliases)
            merged.catch_all.extend(more.catch_all)
    return found


def _tell(file: str, faults: "Sequence[Fault]") -> None:
    for fault in faults:
        typer.echo(f"{file}:{fault.line}: {fault.what}", err=True)


def _text(file: str) -> str:
    """Raises BadParameter. What is not UTF-8 is told line by line, where it matters."""
    return read_file(file, LONGEST).decode("utf-8", "surrogateescape")


class _Telling:
    """What is told of users: codes and JSON on standard output, all else beside."""

    def __init__(self, users: int, as_json: bool, told: terminal.Told) -> None:
        self._users = users
        self._as_json = as_json
        self._told = told
        self._done: Counter[str] = Counter()
        self._weak: Counter[str] = Counter()
        self._codes = 0

    def outcome(self, outcome: "Outcome") -> None:
        """One user is done, durably."""
        self._done[outcome.done] += 1
        self._weak[outcome.weak] += bool(outcome.weak)
        self._codes += outcome.code is not None
        self._told(f"{self._done.total():,} of {self._users:,} users")
        if self._as_json:
            typer.echo(json.dumps(_plain(outcome)))
        elif outcome.code is not None:
            typer.echo(f"{outcome.address}\t{outcome.code.reveal()}")
        if outcome.done == "failed":
            typer.echo(f"{outcome.address}: {outcome.why}", err=True)
        elif outcome.why:
            typer.echo(f"{outcome.address}: no password to check: {outcome.why}", err=True)
        for name in outcome.left:
            typer.echo(f"{outcome.address}: {name} is another's, and stays so", err=True)

    def planned(self, entry: "Entry", found: "User | None") -> None:
        """What would be done with a user of the list; `found` has the address now."""
        login = "password" if entry.hashed else "code"
        if self._as_json:
            fields = {"address": entry.address, "there": found is not None, "login": login, "why": entry.why}
            typer.echo(json.dumps(fields))
        elif found is not None:
            whose = "" if found.address == entry.address else f", as an address of {found.address}"
            typer.echo(f"{entry.address}: is here{whose}")
        else:
            how = "with the password of there" if entry.hashed else f"invited by a code: {entry.why}"
            typer.echo(f"{entry.address}: would be made, {how}")

    def summary(self) -> None:
        """At the end, of all."""
        done = self._done
        made = f"made {done['made']:,}" + (
            f" ({self._codes:,} of them invited by a code)" if self._codes else ""
        )
        typer.echo(
            f"{made}, renewed {done['renewed']:,}; {done['waiting']:,} wait as before for their first login, "
            f"{done['there']:,} have a password here, {done['failed']:,} failed",
            err=True,
        )
        if weak := ", ".join(f"{count:,} as {name}" for name, count in sorted(self._weak.items()) if count):
            typer.echo(
                f"weak hashes: {weak}. Who has them from the other server guesses passwords quickly; here "
                "a guess costs Argon2id",
                err=True,
            )


def _plain(outcome: "Outcome") -> dict[str, Any]:
    waits = outcome.done in ("made", "renewed", "waiting")
    return {
        "address": outcome.address,
        "done": outcome.done,
        "account": outcome.account or None,
        "login": None if not waits else "code" if outcome.code or outcome.why else "password",
        "code": outcome.code.reveal() if outcome.code else None,
        "why": outcome.why or None,
        "weak": outcome.weak or None,
        "added": list(outcome.added),
        "left": list(outcome.left),
    }
