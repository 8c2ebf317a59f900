"""Cursors for stores that list keys: which rows of a partition a reader has had.

Such a store is asked for the keys above a floor, and what is not known yet is new, wherever it sorts. The
floor rises with the clocks in the keys (port.LATE), so what is listed again and again stays small. Partitions
whose keys bear no clock are small, and listed whole.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from aerogramme.store.port import LATE

_CLOCK = re.compile(r"([0-9a-f]{16})-", re.ASCII)


@dataclass(frozen=True, slots=True)
class Seen:
    """A cursor: the rows up to `floor` are not asked for again, and those of `keys` above it were had."""

    floor: str = ""
    keys: frozenset[str] = field(default=frozenset())

    @staticmethod
    def before(after: str) -> "Seen":
        """Where to begin for those who have no cursor and want what is above `after`: what is above its floor
        must be listed too, so that later it is known for old.
        """
        return Seen(_floor(after))

    def new(self, listed: Iterable[str]) -> list[str]:
        """The keys that were not had yet, sorted."""
        return sorted(key for key in set(listed) - self.keys if key > self.floor)

    def having(self, keys: Iterable[str]) -> "Seen":
        """The cursor once these were had as well, which the reader has written itself."""
        return Seen(self.floor, self.keys.union(key for key in keys if key > self.floor))

    def after(self, listed: Collection[str]) -> "Seen":
        """The cursor once all that is listed now was had."""
        floor = max(self.floor, _floor(max(listed, default="")))
        keys = frozenset(key for key in listed if key > floor)
        return self if (floor, keys) == (self.floor, self.keys) else Seen(floor, keys)


def _floor(newest: str) -> str:
    clock = _CLOCK.match(newest)
    return "" if clock is None else f"{max(0, int(clock[1], 16) - LATE):016x}"
