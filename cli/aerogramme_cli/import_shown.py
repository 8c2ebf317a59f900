"""What an import shows: bars while it runs, then tables, and what was not as it should be."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from aerogramme.units import shown_size
from aerogramme_cli import terminal
from aerogramme_cli.import_job import Far, Shown
from aerogramme_cli.import_many import Done
from aerogramme_cli.terminal import printable

FAULTS_SHOWN = 20  # of one account; --json has all

Plain = dict[str, Any]  # moving.Outcome.plain

WIDE = 200  # columns, where no terminal says how many it has

_COMPARED = (
    *("missing", "size", "octets", "uid", "flags", "date", "unread"),
    *("changed", "removed", "extra"),
)


@contextmanager
def bars(whole: int) -> Iterator[Shown]:
    """A bar for each account that is under way, and one for all if there are several; on a terminal."""
    from rich.progress import TaskID

    tasks: dict[str, TaskID] = {}
    with terminal.bars(counts=False) as progress:
        overall = progress.add_task("accounts", total=whole, words="") if whole > 1 else None

        def shown(address: str, far: Far | None) -> None:
            if far is None:
                progress.remove_task(tasks.pop(address))
                if overall is not None:
                    progress.advance(overall)
                return
            if address not in tasks:
                tasks[address] = progress.add_task(address, total=1.0, words="")
            progress.update(tasks[address], completed=far["part"], words=far["words"])

        yield shown


def show_faults(plain: Plain) -> None:
    """On standard error; and what differs, if it was compared."""
    said = [
        f"{fault['origin']}: {fault['what']}: {fault['done']}{' (LOST)' if fault['lost'] else ''}"
        for fault in plain["faults"]
    ]
    if plain["compared"] is not None:
        told = {f"{fault['origin']}: {fault['what']}" for fault in plain["faults"]}
        said += [words for words in plain["compared"]["faults"] if words not in told]
        said += [words for mailbox in plain["compared"]["mailboxes"] for words in mailbox["said"]]
    for words in said[:FAULTS_SHOWN]:
        typer.echo(f"{plain['address']}: {printable(words)}", err=True)
    if len(said) > FAULTS_SHOWN:
        typer.echo(f"{plain['address']}: and {len(said) - FAULTS_SHOWN:,} more: --json has all", err=True)


def show_one(plain: Plain, *, dry_run: bool) -> None:
    """The mailboxes of one account. Columns of nothing but zeros are left out."""
    rows = [
        (
            mailbox["name"],
            _state(mailbox),
            [mailbox[name] for name in ("messages", "landed", "flags", "removed", "lost")],
        )
        for mailbox in plain["mailboxes"]
    ]
    new = "would come" if dry_run else "new"
    _table(("mailbox", "messages", new, "flags", "removed", "lost"), rows)
    if not dry_run:
        typer.echo(
            f"{plain['address']}: {_total(plain, 'landed'):,} messages taken over "
            f"({shown_size(_total(plain, 'octets'))}); {_total(plain, 'messages'):,} are in the source"
        )
    if plain["compared"] is not None:
        _show_compared(plain["compared"])


def _state(mailbox: Plain) -> str:
    said = [] if mailbox["keeps"] else ["new UIDs"]
    for name, words in (
        ("renumbered", "with new UIDs"),
        ("again", "sent again"),
        ("disputed", "with flags changed on both sides"),
        ("gone", "removed here"),
    ):
        if mailbox[name]:
            said.append(f"{mailbox[name]:,} {words}")
    return ", ".join(said)


def _show_compared(compared: Plain) -> None:
    rows = [
        (
            mailbox["name"],
            "same" if mailbox["same"] else "NOT THE SAME",
            [mailbox[name] for name in ("messages", "here", *_COMPARED)],
        )
        for mailbox in compared["mailboxes"]
    ]
    _table(("mailbox", "source", "here", *_COMPARED), rows)
    typer.echo(f"{compared['address']}: {'all is here' if compared['same'] else 'NOT all is here'}")


def show_many(done: Sequence[Done]) -> None:
    """The accounts, a line each."""
    rows = []
    for each in done:
        if each.plain is None:
            rows.append((each.address, f"FAILED: {printable(each.error)}", [0] * 6))
            continue
        plain, compared = each.plain, each.plain["compared"]
        states = [] if plain["whole"] else ["NOT WHOLE"]
        if compared is not None:
            states = ["same" if compared["same"] else "NOT THE SAME"]
        if new := sum(each["renumbered" if each["keeps"] else "landed"] for each in plain["mailboxes"]):
            states.append(f"{new:,} with new UIDs")
        counts = [_total(plain, name) for name in ("messages", "landed", "flags", "removed", "lost")]
        rows.append((each.address, ", ".join(states), [len(plain["mailboxes"]), *counts]))
    _table(("account", "mailboxes", "messages", "new", "flags", "removed", "lost"), rows)
    whole = sum(each.plain is not None and each.plain["whole"] for each in done)
    typer.echo(f"{whole:,} of {len(done):,} accounts are whole")


def show_json(done: Sequence[Done]) -> None:
    """A line for each account."""
    for each in done:
        failed = {"address": each.address, "whole": False, "error": each.error, "hint": each.hint}
        typer.echo(json.dumps(failed if each.plain is None else each.plain))


def _total(plain: Plain, name: str) -> int:
    return sum(mailbox[name] for mailbox in plain["mailboxes"])


def _table(columns: Sequence[str], rows: Sequence[tuple[str, str, Sequence[int]]]) -> None:
    from rich.table import Table

    table = Table(box=None)
    table.add_column(columns[0])
    told = [at for at in range(len(columns) - 1) if not at or any(counts[at] for _, _, counts in rows)]
    for at in told:
        table.add_column(columns[1 + at], justify="right", no_wrap=True)
    table.add_column("")
    for name, state, counts in rows:
        table.add_row(printable(name), *(f"{counts[at]:,}" for at in told), state)
    console = terminal.console()
    if not console.is_terminal:
        console.width = WIDE
    console.print(table)
