"""The hybrid logical clock: time of day where it can, always above everything its owner has seen."""

import time
from collections.abc import Callable

from aerogramme.errors import Damaged

COUNTER_BITS = 20  # a million entries in a millisecond before the clock runs ahead of the time of day
MAX_CLOCK = (1 << 63) - 1  # MODSEQ has 63 bits (RFC 7162 §7), and a MODSEQ is a clock


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def ms_of(clock: int) -> int:
    """The milliseconds since 1970 that a clock shows."""
    return clock >> COUNTER_BITS


class Clock:
    """`ms_since_1970 << 20 | counter`. `next` gives a value above all that `next` and `saw` have had."""

    __slots__ = ("_now_ms", "value")

    def __init__(self, now_ms: Callable[[], int] = wall_ms) -> None:
        self.value = 0
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """The time of day, which may run backwards."""
        return self._now_ms()

    def saw(self, clock: int) -> None:
        """Somebody else's clock was read."""
        if clock > self.value:
            self.value = clock

    def next(self) -> int:
        """The clock of a new entry."""
        value = max(self._now_ms() << COUNTER_BITS, self.value + 1)
        if value > MAX_CLOCK:
            raise Damaged("the clock of this account is at its end")
        self.value = value
        return value
