"""Watching a partition of K2V: one poll for all in this process who watch it.

Nobody runs in the background. Whoever watches waits for their turn to poll, and when it comes may find that
the answer is there already.

A poll tells of what a single node has: an item that is still being written, or whose writing has failed. A
read need not show it. Such keys are in doubt until a read has given them, and whoever waits for nothing else
is sent to read again only after pauses that grow.
"""

from collections.abc import Awaitable, Callable

import trio

from aerogramme.store.k2v import Item
from aerogramme.store.tail import Seen

# How long one poll waits. Shorter than the minute after which many proxies cut what is silent; and a node
# that has gone without a word is noticed when nothing comes after that.
POLL_SECONDS = 50

# Pauses between reads while there are only keys in doubt: from the shortest poll that Garage knows.
FIRST_PAUSE = 1
LONGEST_PAUSE = 32

Ask = Callable[[str, str | None, int], Awaitable[tuple[list[Item], str] | None]]


class Poll:
    """What is known of the keys of one partition of one account.

    ask     (floor, marker, seconds): K2V.poll of the keys above the floor; their names as rows have them
    check   raises when nothing more can come
    """

    def __init__(self, ask: Ask, check: Callable[[], None]) -> None:
        self._ask, self._check = ask, check
        self._turn = trio.Lock()
        self._polling = trio.CancelScope()
        self._floors: list[str] = []  # of all who watch
        self._floor = ""  # what is polled is above it
        self._marker: str | None = None
        self._keys: set[str] = set()  # that are there, as far as polled
        self._doubted: set[str] = set()
        self._pause = FIRST_PAUSE

    async def watch(self, seen: Seen) -> None:
        """Return once a read with this cursor may give something new. Raises Unavailable, and what `check`
        does."""
        self._floors.append(seen.floor)
        if seen.floor < self._floor:
            self.interrupt()  # the poll that runs does not see all that this one waits for
        try:
            while True:
                async with self._turn:
                    self._check()
                    news = set(seen.new(self._keys))
                    if news - self._doubted:
                        return
                    if not news:
                        await self._poll(POLL_SECONDS)
                    elif await self._poll(self._pause):
                        return
        finally:
            self._floors.remove(seen.floor)

    def interrupt(self) -> None:
        """Whoever polls looks again at what they wait for."""
        self._polling.cancel()

    def known(self) -> frozenset[str]:
        """The keys that polls have told of: to be taken before a read, for `not_given` after it."""
        return frozenset(self._keys)

    def not_given(self, keys: set[str]) -> None:
        """These were known before a read, and it has not given them."""
        again = keys and keys <= self._doubted
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if again else FIRST_PAUSE
        self._doubted = keys

    async def _poll(self, seconds: int) -> bool:
        """One poll. Whether it was not interrupted."""
        floor = min(self._floors)
        if floor < self._floor or self._marker is None:
            self._marker = None
            self._keys.clear()
        self._floor = floor
        self._keys = {key for key in self._keys if key > floor}
        with trio.CancelScope() as self._polling:
            answer = await self._ask(floor, self._marker, seconds)
            if answer is not None:
                items, self._marker = answer
                for item in items:
                    self._doubted.discard(item.key)
                    if item.values and item.key > floor:
                        self._keys.add(item.key)
                    else:
                        self._keys.discard(item.key)
            return True
        return False
