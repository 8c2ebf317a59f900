"""`aerogramme compact`: what an account needs no more leaves its store."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme.config import Config
from aerogramme.errors import AuthenticationFailed, Damaged, NoSuchUser, RolledBack
from aerogramme_cli import common, many
from aerogramme_cli.asking import PasswordFrom, PasswordStdin
from aerogramme_cli.common import ConfigOption, DataOption, StoreOption
from aerogramme_cli.many import All, OptionalAddress, PasswordsFrom, Told

if TYPE_CHECKING:
    from aerogramme.mailbox.history.compaction import Report, Tally
    from aerogramme.seal import Secret
    from aerogramme.users.directory import User


def compact(
    address: OptionalAddress = None,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    every: All = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; say what would leave, and what that frees.")
    ] = False,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    passwords_from: PasswordsFrom = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, one line an account.")
    ] = False,
) -> None:
    """Let what an account needs no more leave its store. A server does this by itself, once a day, while the
    account is open; servers may go on serving meanwhile.

    What was removed, and the log of it, is kept for the retention of the account. What nothing needs after
    that is let go of, and deleted by a run that comes a day later. If something in the store is damaged,
    nothing is deleted, and the exit code is 65.

    Asks for the password. With --all nothing is asked: accounts whose password is not in --passwords-from
    are left out, and named.

    \b
    Examples:
      aerogramme compact alice@example.org --data ./mail --dry-run
      aerogramme compact --all --data ./mail --passwords-from fd:3 3< passwords
    """
    settings = common.settings(config, data, store)
    users, secrets = many.chosen(settings, address, every, password_stdin, password_from, passwords_from)
    wrong = 0
    with many.progress() as told, common.interruptible("interrupted; the same command again goes on"):
        for user in users:
            secret = secrets.get(user.account)
            if secret is None:
                typer.echo(f"{user.address}: left out, its password is not given", err=True)
                continue
            try:
                report = common.run(partial(_one, dry_run=dry_run), settings, user, secret, told)
            except (AuthenticationFailed, RolledBack, NoSuchUser, Damaged) as error:
                if not every:
                    raise
                typer.echo(f"{user.address}: {error}", err=True)  # the others have their turn all the same
                wrong += 1
                continue
            _print(user.address, report, dry_run, as_json)
            wrong += bool(report.damaged)
    if wrong:
        raise Damaged(
            f"{wrong} account{'' if wrong == 1 else 's'} could not be compacted",
            hint="above it says why; of damage `aerogramme check` tells more",
        )


async def _one(settings: Config, user: "User", secret: "Secret", told: Told, *, dry_run: bool) -> "Report":
    from aerogramme.mailbox.history.compaction import compact

    async with common.open_account(settings, user, secret) as account:
        return await compact(account, dry_run=dry_run, told=lambda words: told(f"{user.address}: {words}"))


def _print(address: str, report: "Report", dry_run: bool, as_json: bool) -> None:
    if as_json:
        import json

        typer.echo(json.dumps({"address": address, "dry_run": dry_run, **_plain(report)}))
        return
    for name, why in sorted(report.damaged.items()):
        typer.echo(f"{address}: {name} cannot be read: {why}")
    if report.damaged:
        typer.echo(
            f"{address}: nothing {'would leave' if dry_run else 'has left'}: what that names is not known"
        )
        return
    would, will = ("would leave", "would be") if dry_run else ("left", "were")
    typer.echo(f"{address}: {report.entries:,} entries {would} the log")
    typer.echo(f"{address}: {_words(report.deleted)} {will} deleted")
    typer.echo(
        f"{address}: {_words(report.let_go)} {will} let go of: deleted by a run that comes a day later"
    )
    if report.folded:
        typer.echo(f"{address}: a checkpoint was written")


def _words(tally: "Tally") -> str:
    """`4 objects, 12,345 bytes (3 body, 1 segment)`."""
    count, octets = sum(tally.count.values()), sum(tally.octets.values())
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(tally.count.items()))
    return f"{count:,} object{'' if count == 1 else 's'}, {octets:,} bytes{f' ({kinds})' if kinds else ''}"


def _plain(report: "Report") -> dict[str, Any]:
    def tally(each: "Tally") -> dict[str, Any]:
        return {kind: {"count": each.count[kind], "octets": each.octets[kind]} for kind in sorted(each.count)}

    return {
        "entries": report.entries,
        "deleted": tally(report.deleted),
        "let_go": tally(report.let_go),
        "digests_dropped": report.dropped,
        "checkpoint": report.folded,
        "damaged": report.damaged,
    }
