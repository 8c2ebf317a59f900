"""`aerogramme log stat`: what an account takes up in its store, as a table, as JSON, or as a picture."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme_cli import common, terminal
from aerogramme_cli.common import Login
from aerogramme_cli.options import Opening, grouped
from aerogramme_cli.terminal import counted

if TYPE_CHECKING:
    from rich.console import Console

    from aerogramme.log.resealing import Tally
    from aerogramme.mailbox.history.statistics import Day, Statistics, Told
    from aerogramme.mailbox.history.survey import Standing

# Who needs it (mailbox/history/statistics.py) -> its mark in a bar, the one in ASCII, its colour.
MARKS: "dict[Standing, tuple[str, str, str]]" = {
    "live": ("█", "#", "green"),
    "history": ("▓", "+", "blue"),
    "going": ("▒", "-", "yellow"),
    "lost": ("▚", "x", "magenta"),
    "orphan": ("░", ".", "red"),
}
BARS_MAX = 31  # of days; more are drawn as months, or years
BAR_MIN, BAR_MAX = 10, 60  # columns of the terminal that the longest bar takes


@grouped
def stat(
    asked: Opening,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as one JSON object.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="As bars: by kind, and what came each day.")] = False,
) -> None:
    """Show what an account takes up in its store, and for what. Asks for the password.

    Live is what the account is now; history what it was, within the retention. What is going nobody needs any
    more, and compaction deletes it soon; orphans are what nothing names, and compaction will let go. What is
    lost may be mail that nothing names any more, or is something unknown: `aerogramme check` says more.

    \b
    Examples:
      aerogramme log stat alice@example.org --data ./mail
      aerogramme log stat alice@example.org --data ./mail --plot
      aerogramme log stat alice@example.org --data ./mail --json | jq .stored.bodies.live.octets
    """
    if as_json and plot:
        raise typer.BadParameter("--json and --plot exclude each other")
    login = asked.login()
    with _progress() as told:
        found = common.run(_stat, login, told)
    if as_json:
        whose = {"address": login.user.address, "account": login.user.account}
        typer.echo(json.dumps(whose | as_object(found)))
        return
    console = terminal.console()
    show_plot(console, found) if plot else show_table(console, found)
    for line in summary(found):
        typer.echo(line)


async def _stat(login: Login, told: "Told") -> "Statistics":
    from aerogramme.mailbox.history.statistics import statistics

    async with common.open_account(*login) as account:
        return await statistics(account, told)


@contextmanager
def _progress() -> "Iterator[Told]":
    """A line on the terminal that says what is being looked at."""
    with terminal.status() as told:
        told("opening the account")
        yield lambda what, count: told(f"{what}: {count:,}" if count else what)


def as_object(found: "Statistics") -> dict[str, Any]:
    """For JSON: octets, and times in UTC."""
    from aerogramme.mailbox.history.statistics import NEEDS

    def tally(tally: "Tally") -> dict[str, int]:
        return {"count": tally.count, "octets": tally.octets}

    def when(seconds: float | None) -> str | None:
        return None if seconds is None else common.instant(seconds)

    return {
        "mailboxes": found.mailboxes,
        "messages": found.messages,
        "mail": found.mail,
        "retention": found.retention,
        "stored": {
            what: {need: tally(each) for need, each in by_need.items()}
            for what, by_need in found.stored.items()
        },
        "total": {need: tally(found.total(need)) for need in NEEDS},
        "oldest_entry": when(found.oldest_entry),
        "newest_entry": when(found.newest_entry),
        "oldest_checkpoint": when(found.oldest_checkpoint),
        "newest_checkpoint": when(found.newest_checkpoint),
        "damaged": found.damaged,
        "days": [
            {
                "day": day.isoformat(),
                "entries": came.entries,
                "messages": came.messages,
                "mail": came.mail,
                "log": came.log,
            }
            for day, came in sorted(found.days.items())
        ],
    }


def show_table(console: "Console", found: "Statistics") -> None:
    """A line for each kind of thing there is."""
    from rich.table import Table

    from aerogramme.mailbox.history.statistics import NEEDS
    from aerogramme.units import shown_size

    table = Table(box=None)
    table.add_column("", no_wrap=True)
    needs = [need for need in NEEDS if need != "lost" or found.total(need).count]
    for column in ("count", *needs, "all"):
        table.add_column(column, justify="right", no_wrap=True)

    def add(name: str, tallies: "Sequence[Tally]") -> None:
        octets = [tally.octets for tally in tallies]
        sizes = [shown_size(each) if each else "-" for each in (*octets, sum(octets))]
        table.add_row(name, f"{sum(tally.count for tally in tallies):,}", *sizes)

    for what, by_need in _there(found):
        add(what, [by_need[need] for need in needs])
    table.add_section()
    add("all", [found.total(need) for need in needs])
    console.print(table)


def _there(found: "Statistics") -> "list[tuple[str, Mapping[Standing, Tally]]]":
    """What there is any of."""
    return [
        (what, by_need)
        for what, by_need in found.stored.items()
        if any(tally.count for tally in by_need.values())
    ]


def summary(found: "Statistics") -> Iterator[str]:
    """What else there is to say, in words."""
    from aerogramme.units import duration_text, shown_size

    letters, where = counted(found.messages, "message"), counted(found.mailboxes, "mailbox", "mailboxes")
    stored = shown_size(found.total().octets)
    yield f"{letters} in {where}, {shown_size(found.mail)} as mail, {stored} as stored"
    if found.oldest_entry is not None and found.newest_entry is not None:
        yield f"entries from {_time(found.oldest_entry)} to {_time(found.newest_entry)} (UTC)"
    if found.oldest_checkpoint is not None and found.newest_checkpoint is not None:
        times = dict.fromkeys((_time(found.oldest_checkpoint), _time(found.newest_checkpoint)))
        yield f"checkpoints from {' to '.join(times)} (UTC)"
    yield f"history is kept for {duration_text(found.retention)}"
    if found.damaged:
        yield f"{counted(found.damaged, 'thing')} cannot be read: `aerogramme check` says more"


def _time(seconds: float) -> str:
    return common.instant(seconds)[:16].replace("T", " ")


# --- the picture


def show_plot(console: "Console", found: "Statistics") -> None:
    """Bars that can be told apart without colours: what is stored by kind, then what came by day."""
    from rich.text import Text

    from aerogramme.units import shown_size

    fancy = (console.encoding or "").lower().startswith("utf")
    marks = {need: mark if fancy else plain for need, (mark, plain, _) in MARKS.items()}
    colours = [colour for _, _, colour in MARKS.values()]
    console.print(Text("octets stored", style="bold"))
    stored = [(what, [by_need[need].octets for need in MARKS]) for what, by_need in _there(found)]
    rows = [(what, octets, shown_size(sum(octets))) for what, octets in stored]
    _bars(console, rows, [*marks.values()], colours)
    legend = [Text(f"{mark} {need}", style=MARKS[need][2]) for need, mark in marks.items()]
    console.print(Text("  ").join(legend))
    if found.days:
        console.print()
        console.print(Text("mail that came", style="bold"))
        rows = []
        for name, came in periods(found.days):
            counts = f"{counted(came.messages, 'message')}, {counted(came.entries, 'entry', 'entries')}"
            rows.append((name, [came.mail], f"{shown_size(came.mail)}, {counts}"))
        _bars(console, rows, [marks["live"]], [colours[0]])
    console.print()


def periods(days: "Mapping[date, Day]") -> "list[tuple[str, Day]]":
    """What came by day, also on days on which nothing did; by month or by year when these are too many."""
    from aerogramme.mailbox.history.statistics import Day

    first, last = min(days), max(days)
    spans = [
        [date.fromordinal(n).isoformat() for n in range(first.toordinal(), last.toordinal() + 1)],
        [f"{year:04}-{month:02}" for year, month in _months(first, last)],
        [f"{year:04}" for year in range(first.year, last.year + 1)],
    ]
    names = next((span for span in spans if len(span) <= BARS_MAX), spans[-1])
    found = {name: Day() for name in names}
    for day, came in days.items():
        of = found[day.isoformat()[: len(names[0])]]
        of.entries += came.entries
        of.messages += came.messages
        of.mail += came.mail
        of.log += came.log
    return list(found.items())


def _months(first: date, last: date) -> Iterator[tuple[int, int]]:
    for month in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        yield month // 12, month % 12 + 1


def _bars(
    console: "Console",
    rows: Sequence[tuple[str, Sequence[int], str]],
    marks: Sequence[str],
    colours: Sequence[str],
) -> None:
    """A line for each: its name, a bar of parts, and words."""
    from rich.text import Text

    names = max((len(name) for name, _, _ in rows), default=0)
    words = max((len(said) for _, _, said in rows), default=0)
    width = min(max(console.width - names - words - 2 - len(marks), BAR_MIN), BAR_MAX)
    longest = max((sum(parts) for _, parts, _ in rows), default=0)
    for name, parts, said in rows:
        line = Text(f"{name:{names}} ")
        for length, mark, colour in zip(bar(parts, longest, width), marks, colours, strict=True):
            line.append(mark * length, style=colour)
        line.append(f" {said}")
        console.print(line, no_wrap=True, overflow="ignore", crop=False)


def bar(parts: Iterable[int], longest: int, width: int) -> list[int]:
    """How many characters each part of a bar gets, where `longest` gets `width` in all. Every part that is
    not nothing can be seen."""
    found = []
    total = drawn = 0
    for part in parts:
        total += part
        until = round(total * width / longest) if longest else 0
        length = max(until - drawn, 1 if part else 0)
        found.append(length)
        drawn += length
    return found
