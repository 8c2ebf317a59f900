"""`aerogramme compact`: what an account needs no more leaves its store."""

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme.errors import AuthenticationFailed, Damaged, NoSuchUser, RolledBack
from aerogramme_cli import common, terminal
from aerogramme_cli.common import Login
from aerogramme_cli.many import OneOrAll
from aerogramme_cli.options import JsonLines, grouped
from aerogramme_cli.terminal import Told, counted

if TYPE_CHECKING:
    from aerogramme.mailbox.history.compaction import Report, Tally


@grouped
def compact(
    asked: OneOrAll,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; say what would leave, and what that frees.")
    ] = False,
    as_json: JsonLines = False,
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
    settings = asked.settings()
    chosen = asked.chosen(settings)
    wrong = 0
    with terminal.status() as told, common.interruptible("interrupted; the same command again goes on"):
        for user, secret in chosen:
            if secret is None:
                typer.echo(f"{user.address}: left out, its password is not given", err=True)
                continue
            try:
                report = common.run(partial(_one, dry_run=dry_run), Login(settings, user, secret), told)
            except (AuthenticationFailed, RolledBack, NoSuchUser, Damaged) as error:
                if not asked.every:
                    raise
                typer.echo(f"{user.address}: {error}", err=True)  # the others have their turn all the same
                wrong += 1
                continue
            _print(user.address, report, dry_run, as_json)
            wrong += bool(report.damaged)
    if wrong:
        raise Damaged(
            f"{counted(wrong, 'account')} could not be compacted",
            hint="above it says why; of damage `aerogramme check` tells more",
        )


async def _one(login: Login, told: Told, *, dry_run: bool) -> "Report":
    from aerogramme.mailbox.history.compaction import compact

    address = login.user.address
    async with common.open_account(*login) as account:
        return await compact(account, dry_run=dry_run, told=lambda words: told(f"{address}: {words}"))


def _print(address: str, report: "Report", dry_run: bool, as_json: bool) -> None:
    if as_json:
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
    return f"{counted(count, 'object')}, {octets:,} bytes{f' ({kinds})' if kinds else ''}"


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
