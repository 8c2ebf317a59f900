"""Dates of messages: what the log can have (log/entry.py), unix seconds in 32 bits."""

from collections.abc import Callable
from typing import Final

from aerogramme.migrate.sources.source import Fault

_LAST: Final = (1 << 32) - 1


def kept(date: int, origin: Callable[[], str], faults: list[Fault]) -> int:
    """The date, or the nearest one that can be kept, and a fault then. `origin`: whose date it is."""
    if 0 <= date <= _LAST:
        return date
    what = f"its time is {date} seconds after 1970"
    faults.append(Fault(origin(), what, "it gets the nearest from 1970 to 2106"))
    return min(max(date, 0), _LAST)
