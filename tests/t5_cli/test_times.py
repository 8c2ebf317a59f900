"""Times as people type them."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from aerogramme_cli.times import FORMS, parse_span, parse_time, shown

NOW = datetime(2026, 11, 29, 8, 12, 30, 500_000, UTC)
HOUR, DAY = 3600, 86400
EAST = timezone(timedelta(hours=2))


def parsed(text: str, now: datetime = NOW, zone: timezone | None = UTC) -> datetime:
    return datetime.fromtimestamp(parse_time(text, now.timestamp(), zone), UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-29", "2026-11-29T00:00Z"),
        ("20261129", "2026-11-29T00:00Z"),
        ("2026-11-29 08:12", "2026-11-29T08:12Z"),
        ("2026-11-29T08:12:30Z", "2026-11-29T08:12:30Z"),
        ("2026-11-29t08:12:30z", "2026-11-29T08:12:30Z"),
        ("2026-11-29 08:12:30.250", "2026-11-29T08:12:30.250Z"),
        ("2026-11-29 08:12+01:00", "2026-11-29T07:12Z"),
        ("8:05", "2026-11-29T08:05Z"),
        ("23:59:58", "2026-11-29T23:59:58Z"),
        ("today", "2026-11-29T00:00Z"),
        (" Yesterday ", "2026-11-28T00:00Z"),
        ("yesterday 08:12", "2026-11-28T08:12Z"),
        ("yesterday at 8:12", "2026-11-28T08:12Z"),
        ("@1700000000", "2023-11-14T22:13:20Z"),
        ("@1700000000.5", "2023-11-14T22:13:20.5Z"),
    ],
)
def test_a_time(text: str, at: str) -> None:
    assert parsed(text) == datetime.fromisoformat(at)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("90min", 90 * 60),
        ("90m", 90 * 60),
        ("2h", 2 * HOUR),
        ("1.5h", 1.5 * HOUR),
        ("1d12h", 36 * HOUR),
        ("1 day 12 hours", 36 * HOUR),
        ("3 days", 3 * DAY),
        ("a week", 7 * DAY),
        ("an hour", HOUR),
        ("2W", 14 * DAY),
    ],
)
def test_a_span_is_as_long_before_now(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds
    for each in (text, f"{text} ago", f"  {text}  AGO "):
        assert NOW - parsed(each) == timedelta(seconds=seconds)


def test_now() -> None:
    assert parsed("now") == NOW


NO_SUCH = ["2026-13-01", "2026-11-31", "25:00", "8:60", "999999999999w", "@999999999999", "tomorrow"]
NONSENSE = ["", "ago", "2", "h", "2x", "2 moons ago", "-2h", "\N{FULLWIDTH DIGIT TWO}h", "1e3s", "a2h", "2ha"]
MIXED = ["2h 08:12", "yesterday 2h", "2026-11-29 2h"]


@pytest.mark.parametrize("text", [*NO_SUCH, *NONSENSE, *MIXED])
def test_nonsense_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        parse_time(text, NOW.timestamp())
    assert FORMS in str(refused.value) and repr(text) in str(refused.value)


def test_the_forms_that_are_named_are_there() -> None:
    for text in FORMS.replace(";", ",").split(","):
        parse_time(text, NOW.timestamp())


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine is there."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")  # in full: there may be no tables of zones
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_days_are_those_of_this_machine_when_that_is_asked_for(berlin: None) -> None:
    late = datetime(2026, 11, 29, 23, 30, tzinfo=UTC)  # the 30th already
    assert parsed("today", late, None) == datetime(2026, 11, 29, 23, tzinfo=UTC)
    assert parsed("2026-07-01 12:00", late, None) == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert parsed("2026-07-01 12:00Z", late, None) == datetime(2026, 7, 1, 12, tzinfo=UTC)
    # Clocks were put back on that day: it had 25 hours.
    after = datetime(2026, 10, 26, 8, tzinfo=UTC)
    assert parsed("today", after, None) - parsed("yesterday", after, None) == timedelta(hours=25)
    assert shown(late.timestamp(), None) == "2026-11-30 00:30:00"


def test_days_are_those_of_a_zone() -> None:
    late = datetime(2026, 11, 29, 23, 30, tzinfo=UTC)
    assert parsed("today", late, EAST) == datetime(2026, 11, 29, 22, tzinfo=UTC)
    assert parsed("yesterday 08:00", late, EAST) == datetime(2026, 11, 29, 6, tzinfo=UTC)


def test_shown() -> None:
    assert shown(NOW.timestamp()) == "2026-11-29 08:12:30"
    assert shown(NOW.timestamp(), milliseconds=True) == "2026-11-29 08:12:30.500"


@given(st.integers(0, (1 << 43) // 1000), st.sampled_from([UTC, EAST]))
def test_what_is_shown_is_read_again(seconds: int, zone: timezone) -> None:
    assert parse_time(shown(seconds, zone), NOW.timestamp(), zone) == seconds


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(typer.BadParameter):
        parse_time(text, NOW.timestamp())
