"""`aerogramme log stat`: what it says of an account, and how it draws that."""

import io
import json
import os
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aerogramme.log.resealing import Tally
from aerogramme.mailbox.history.statistics import NEEDS, Day, Statistics
from aerogramme_cli.log_stat import BARS_MAX, bar, periods, show_plot, show_table
from tests.helpers.server import ADDRESS, PASSWORD, PROGRAM, aerogramme, create_account
from tests.helpers.terminal import on_a_terminal

MAIL = "From: bob@example.net\nSubject: Hi\n\nHello\n"


def test_an_account_on_the_command_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    where = (ADDRESS, "--data", str(data), "--password-stdin")
    aerogramme("deliver", *where[:3], stdin=MAIL)
    waiting = json.loads(aerogramme("log", "stat", *where, "--json", stdin=PASSWORD).stdout)
    assert waiting["address"] == ADDRESS and waiting["messages"] == 0
    assert waiting["stored"]["letters"]["live"]["count"] == 1
    assert waiting["stored"]["bodies"]["live"]["count"] == 1, "a letter that waits is part of the account"

    aerogramme("account", "show", *where, stdin=PASSWORD)  # drains it
    found = json.loads(aerogramme("log", "stat", *where, "--json", stdin=PASSWORD).stdout)
    assert found["messages"] == 1 and found["mail"] > len(MAIL)
    assert found["stored"]["letters"]["live"]["count"] == 0
    assert found["stored"]["entries"]["live"]["count"] == sum(day["entries"] for day in found["days"])
    assert sum(day["messages"] for day in found["days"]) == 1
    assert found["newest_checkpoint"] is None and found["newest_entry"] is not None
    for need, total in found["total"].items():
        assert total["octets"] == sum(stored[need]["octets"] for stored in found["stored"].values())

    table = aerogramme("log", "stat", *where, stdin=PASSWORD).stdout.decode()
    assert "1 message in " in table and "history is kept for 7d" in table
    assert ["bodies", "1"] in [line.split()[:2] for line in table.splitlines()]
    picture = aerogramme("log", "stat", *where, "--plot", stdin=PASSWORD).stdout.decode()
    assert "mail that came" in picture and "1 message, " in picture
    command, typed = [PROGRAM, "log", "stat", *where[:3]], [(b"Password: ", PASSWORD.encode())]
    returned, screen = on_a_terminal(command, typed, os.environ | {"TERM": "xterm"})
    assert returned == 0 and b"opening the account" in screen and b"1 message in " in screen
    both = aerogramme("log", "stat", *where, "--plot", "--json", stdin=PASSWORD, check=False)
    assert both.returncode == 2 and b"exclude each other" in both.stderr


def some() -> Statistics:
    """Numbers that are easy to find again."""
    numbers = {"entries": (500, 400, 300, 200, 100), "packs": (0,) * 5, "keys": (1, 0, 0, 0, 0)}
    stored = {
        what: {need: Tally(octets and 1, octets) for need, octets in zip(NEEDS, each, strict=True)}
        for what, each in numbers.items()
    }
    days = {date(2026, 11, 27): Day(2, 3, 1000, 80), date(2026, 11, 29): Day(1, 1, 500, 40)}
    return Statistics(5, 4, 1500, 604_800, stored, 0.0, 86_400.0, None, None, 0, days)


def drawn(encoding: str) -> str:
    """What goes to a terminal of this encoding, without colours."""
    octets = io.BytesIO()
    stream = io.TextIOWrapper(octets, encoding=encoding)
    show_plot(Console(file=stream, width=60, color_system=None), some())
    stream.flush()
    return octets.getvalue().decode(encoding)


@pytest.mark.parametrize(("encoding", "marks"), [("utf-8", "█▓▒▚░"), ("ascii", "#+-x.")])
def test_a_picture_can_be_read_without_colours(encoding: str, marks: str) -> None:
    lines = drawn(encoding).splitlines()
    assert all(len(line) <= 60 for line in lines)
    entries = next(line for line in lines if line.startswith("entries"))
    lengths = [entries.removeprefix("entries").rpartition(" ")[0].count(mark) for mark in marks]
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) == 5, lengths
    assert not any(line.startswith("packs") for line in lines), "there are none"
    assert next(line for line in lines if line.startswith("keys")).count(marks[0]) == 1
    for mark, need in zip(marks, NEEDS, strict=True):
        assert f"{mark} {need}" in drawn(encoding), "the legend"
    days = {line[:10]: line.count(marks[0]) for line in lines if line.startswith("2026-")}
    assert days["2026-11-28"] == 0 and days["2026-11-27"] == 2 * days["2026-11-29"]


def test_a_table_adds_up() -> None:
    stream = io.StringIO()
    show_table(Console(file=stream, width=80), some())
    *_, keys, total = [line.split() for line in stream.getvalue().splitlines() if line.strip()]
    assert " ".join(keys) == "keys 1 1 B - - - - 1 B"
    assert " ".join(total) == "all 6 501 B 400 B 300 B 200 B 100 B 1.47 KiB"
    without = some()
    without.stored["entries"]["lost"] = Tally()
    stream = io.StringIO()
    show_table(Console(file=stream, width=80), without)
    assert "lost" not in stream.getvalue(), "there is mostly nothing in that column"


@given(st.lists(st.integers(0, 1 << 40), max_size=4), st.integers(0, 1 << 40), st.integers(10, 60))
def test_a_bar_is_as_long_as_its_share(parts: list[int], more: int, width: int) -> None:
    longest = sum(parts) + more
    lengths = bar(parts, longest, width)
    assert [length > 0 for length in lengths] >= [part > 0 for part in parts]
    assert all(length == 0 for length, part in zip(lengths, parts, strict=True) if part == 0)
    exact = sum(parts) * width / longest if longest else 0
    assert exact - 0.5 <= sum(lengths) <= exact + len(parts) + 0.5


DAYS = st.dates(date(1970, 1, 1), date(2200, 1, 1))


@given(st.dictionaries(DAYS, st.integers(1, 9), min_size=1, max_size=9))
def test_periods_hold_all_days_in_their_order(counts: dict[date, int]) -> None:
    found = periods({day: Day(count, 0, 0, 0) for day, count in counts.items()})
    names = [name for name, _ in found]
    assert names == sorted(set(names)) and len({len(name) for name in names}) == 1
    assert len(names) <= BARS_MAX or len(names[0]) == 4
    assert sum(came.entries for _, came in found) == sum(counts.values())
    for day, count in counts.items():
        assert dict(found)[day.isoformat()[: len(names[0])]].entries >= count
