"""Times as people type them, and as they read them."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

import typer

FORMS = (
    "2026-11-29, 2026-11-29T08:12:30Z, 2026-11-29 08:12+01:00; 08:12, today, yesterday, yesterday 08:12; "
    "2h, 90min, 1d12h, 3 days ago; now"
)
"""Examples of all that `parse_time` takes, for help and errors."""

_UNITS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
}
_UNITS |= {"d": 86400, "day": 86400, "w": 7 * 86400, "week": 7 * 86400}
_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?|an?(?= )) ?([a-z]+?)s?(?![a-z]) ?", re.ASCII)
_CLOCK = re.compile(r"(?:(today|yesterday)(?:\s+|\s+at\s+))?(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)
_UNIX = re.compile(r"@(\d{1,12}(?:\.\d{1,6})?)", re.ASCII)


def parse_time(text: str, now: float, zone: tzinfo | None = UTC) -> float:
    """The unix time that a text means, in seconds; `now` is the time of day, as unix seconds.

    Days and times that name no zone are those of `zone`; None is that of this machine. A span of time (`2h`,
    `3 days ago`) is that long before now. Raises typer.BadParameter, which names the forms there are.
    """
    asked = " ".join(text.split()).lower()
    try:
        seconds = _relative(asked, now, zone)
        if seconds is None:
            at = datetime.fromisoformat(text.strip().upper())
            seconds = (at if at.tzinfo is not None else _in(zone, at)).timestamp()
        datetime.fromtimestamp(seconds, UTC)  # else nobody can be told of it
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(f"{text!r} is no time; what is: {FORMS}") from None
    return seconds


def parse_between(
    since: str | None, until: str | None, now: float, zone: tzinfo | None = UTC
) -> tuple[float | None, float | None]:
    """The unix times of --since and --until; None for one that is not given. Raises typer.BadParameter, also
    when the span ends before it begins."""
    begin, end = (None if text is None else parse_time(text, now, zone) for text in (since, until))
    if begin is not None and end is not None and begin > end:
        raise typer.BadParameter(
            f"--until is before --since: from {shown(begin, zone)} to {shown(end, zone)}"
        )
    return begin, end


def parse_span(text: str) -> float | None:
    """The seconds of a span of time such as `30d`, `1h30m` or `a week`; None for anything else."""
    asked = " ".join(text.split()).lower()
    seconds, at = 0.0, 0
    while at < len(asked):
        match = _AMOUNT.match(asked, at)
        if match is None or match[2] not in _UNITS:
            return None
        seconds += (1 if match[1].startswith("a") else float(match[1])) * _UNITS[match[2]]
        at = match.end()
    return seconds if asked else None


def _relative(asked: str, now: float, zone: tzinfo | None) -> float | None:
    """What is counted from now. None if it is not; raises ValueError, OverflowError."""
    if asked == "now":
        return now
    if match := _UNIX.fullmatch(asked):
        return float(match[1])
    if (span := parse_span(asked.removesuffix(" ago"))) is not None:
        return now - span
    day = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    hour = minute = second = 0
    if match := _CLOCK.fullmatch(asked):
        hour, minute, second = (int(number or 0) for number in match.groups()[1:])
        asked = match[1] or "today"
    if asked not in ("today", "yesterday"):
        return None
    # By the calendar: where clocks are put forward, yesterday began 23 hours before today.
    day -= timedelta(days=asked == "yesterday")
    return _in(zone, day.replace(hour=hour, minute=minute, second=second)).timestamp()


def _in(zone: tzinfo | None, naive: datetime) -> datetime:
    return naive.astimezone() if zone is None else naive.replace(tzinfo=zone)


def shown(seconds: float, zone: tzinfo | None = UTC, *, milliseconds: bool = False) -> str:
    """A unix time as people read it: `2026-11-29 08:12:30`, in a zone, which it does not name; None is that
    of this machine."""
    at = datetime.fromtimestamp(seconds, UTC).astimezone(zone).replace(tzinfo=None)
    return at.isoformat(" ", "milliseconds" if milliseconds else "seconds")
