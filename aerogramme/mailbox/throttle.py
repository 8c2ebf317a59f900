"""Slowing down whoever tries wrong passwords, by address and by account."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

FREE = 3  # wrong passwords that cost nothing extra: people mistype, and clients have several connections
LONGEST = 15.0  # seconds; the owner of an account under attack waits this long at most
FORGET = 600.0  # seconds after which an address or account is as good as new
MAX_TRACKED = 100_000  # addresses and accounts remembered: about 20 MB; the oldest go first
MAX_NAME = 100  # characters that are looked at of a name: whoever tries says how long it is


class Throttle:
    """Counts wrong passwords for names (an address, an account) and says how long the next try has to wait.

    A try counts as wrong from its begin: many at once from one place wait longer and longer, as if they had
    come one after the other. A right password takes its own try back, not those of others.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, tuple[int, float]] = OrderedDict()  # name -> (tries, time of the last)

    def begin(self, names: Iterable[str]) -> float:
        """Counts a try for each name; returns the seconds to wait before the password is looked at."""
        now = self._clock()
        worst = 0
        for name in _cut(names):
            tries, last = self._tries.pop(name, (0, now))
            tries = 1 if now - last > FORGET else tries + 1
            self._tries[name] = (tries, now)
            worst = max(worst, tries)
        while len(self._tries) > MAX_TRACKED:
            self._tries.popitem(last=False)
        wrong = worst - 1 - FREE  # tries before this one that were not free
        return min(LONGEST, 0.25 * 2.0 ** min(wrong, 10)) if wrong >= 0 else 0.0

    def right(self, names: Iterable[str]) -> None:
        """The password was right: the try of each name did not count."""
        for name in _cut(names):
            tries, last = self._tries.get(name, (0, 0.0))
            if tries > 1:
                self._tries[name] = (tries - 1, last)
            else:
                self._tries.pop(name, None)


def _cut(names: Iterable[str]) -> Iterator[str]:
    return (name[:MAX_NAME] for name in names)
