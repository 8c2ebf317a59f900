"""What the commands that copy accounts share: the order of the parts, the progress, the report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import typer

from aerogramme.errors import Damaged, Unavailable
from aerogramme.units import shown_size
from aerogramme_cli import terminal

if TYPE_CHECKING:
    from aerogramme.store import Stores
    from aerogramme.store.copying import Report

NAMES_SHOWN = 10  # of objects that are missing; who needs all of them asks again when these are there


async def copy(
    here: "Stores",
    there: "Stores",
    account: str,
    told: "Callable[[Report], None]",
    *,
    verify_only: bool = False,
) -> "Report":
    """Copies an account, or compares it. Raises NoSuchUser when there is none here; Unavailable."""
    from aerogramme.mailbox.partitions import PARTITIONS
    from aerogramme.store.copying import Report, copy_account

    report = Report(account)
    await copy_account(here, there, report, PARTITIONS, verify_only=verify_only, told=partial(told, report))
    return report


@contextmanager
def progress(accounts: int) -> "Iterator[Callable[[Report], None]]":
    """Bars on the terminal. What it gives is to be called with a report whenever that has changed."""
    octets: dict[str, int] = {}
    with terminal.bars() as progress:
        whole = progress.add_task("accounts", total=accounts, words="")
        objects = progress.add_task("objects", total=None, words="")

        def told(report: "Report") -> None:
            octets[report.account] = report.octets_copied
            compared = report.objects_same + len(report.missing) + len(report.different)
            progress.update(objects, total=report.objects, completed=compared)
            progress.update(objects, words=f"{shown_size(sum(octets.values()))} copied")
            progress.update(whole, completed=len(octets) - 1)

        yield told


def show(reports: "Sequence[Report]", addresses: Mapping[str, str], source: str, target: str) -> None:
    """A table on standard output; what somebody has to do about it on standard error. `source` and `target`
    are what the two are called there.
    """
    from rich.table import Table

    table = Table(box=None)
    table.add_column("account", no_wrap=True)
    for column in ("objects", "copied", "rows", "copied"):
        table.add_column(column, justify="right")
    table.add_column("state")
    for report in reports:
        counts = (report.objects, report.objects_copied, report.rows, report.rows_copied)
        name = addresses.get(report.account, report.account)
        table.add_row(name, *(f"{count:,}" for count in counts), _state(report))
    terminal.console().print(table)
    for report in reports:
        for line in _remarks(report, source, target):
            typer.echo(f"{report.account}: {line}", err=True)
    typer.echo(f"{shown_size(sum(report.octets_copied for report in reports))} copied", err=True)
    if any(report.changed for report in reports):
        typer.echo(
            f"{source} changed during the copy: run the same command again. Once the servers that use "
            f"{source} are stopped, the next run is the last one needed.",
            err=True,
        )


def _remarks(report: "Report", source: str, target: str) -> Iterator[str]:
    for what, names in (
        (f"missing in {target}", report.missing),
        (
            f"different in {source} and {target} (nothing was overwritten: either may be the damaged one)",
            report.different,
        ),
        (f"damaged in {source}", report.unreadable),
    ):
        if names:
            more = ["…"] if len(names) > NAMES_SHOWN else []
            yield f"{what}: {', '.join([*sorted(names)[:NAMES_SHOWN], *more])}"
    if report.rows_removed:
        yield (
            f"{report.rows_removed} rows are gone in {source} since they were copied, and now in {target} too"
        )
    if report.rows_own:
        yield f"{report.rows_own} rows are in {target} alone, which has been used by itself; they stay"
    if report.rows_dropped:
        yield (
            f"{report.rows_dropped} rows were copied before and removed in {target}; "
            "they were not copied again"
        )


def _state(report: "Report") -> str:
    if not report.whole:
        bad = len(report.missing) + len(report.different) + len(report.unreadable)
        return f"NOT WHOLE: {bad:,}"
    return "changed since" if report.changed else "whole"


def exit_code(reports: "Sequence[Report]") -> int:
    if not all(report.whole for report in reports):
        return Damaged.exit_code
    return Unavailable.exit_code if any(report.changed for report in reports) else 0
