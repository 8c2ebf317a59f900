"""Watching a partition of K2V: one poll for all in this process who watch it.

Nobody runs in the background. One of those who watch polls, and the others wait for the answer; when that one
leaves, another goes on.

A poll tells of what a single node has: an item that is still being written, or whose writing has failed. A
read need not show it. Such keys are in doubt until a read has given them, and whoever waits for nothing else
is sent to read again only after pauses that grow.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from aerogramme.errors import AerogrammeError
from aerogramme.store.k2v import Item
from aerogramme.store.tail import Seen

# How long one poll waits. Shorter than the minute after which many proxies cut what is silent; and a node
# that has gone without a word is noticed when nothing comes after that.
POLL_SECONDS = 50

# And the first one after something came. Garage tells pollers of an item just before it is committed: who
# asks in between neither finds it nor hears of it, until the next poll looks (seen: one of a thousand items
# that were written one behind the other).
SOON_SECONDS = 1

# Pauses between reads while there are only keys in doubt: from the shortest poll that Garage knows.
FIRST_PAUSE = 1
LONGEST_PAUSE = 32

Ask = Callable[[str, str | None, int], Awaitable[tuple[list[Item], str] | None]]


@dataclass(eq=False, slots=True)
class _Round:
    """One poll, for those who wait for its answer. `quiet`: its time was up, and nothing came."""

    over: trio.Event = field(default_factory=trio.Event)
    quiet: bool = False
    error: AerogrammeError | None = None


class Poll:
    """What is known of the keys of one partition of one account.

    ask     (floor, marker, seconds): K2V.poll for the keys above the floor; items have the keys of rows
    check   raises when nothing more can come
    """

    def __init__(self, ask: Ask, check: Callable[[], None]) -> None:
        self._ask, self._check = ask, check
        self._watching: list[Seen] = []
        self._round: _Round | None = None  # the poll that runs
        self._scope = trio.CancelScope()  # that of it
        self._floor = ""  # what is polled is above it
        self._marker: str | None = None
        self._keys: set[str] = set()  # that are there, as far as polled
        self._doubted: set[str] = set()
        self._pause = FIRST_PAUSE
        self._lately = False  # the last poll gave something

    async def watch(self, seen: Seen) -> None:
        """Return once a read with this cursor may give something new. Raises Unavailable, and what `check`
        does."""
        self._watching.append(seen)
        in_doubt = seen.new(self._keys) and not self._news(seen)
        if seen.floor < self._floor or in_doubt:
            self.interrupt()  # it sees too little for this one, or waits for too long
        try:
            await trio.lowlevel.checkpoint()
            while not self._news(seen):
                self._check()
                if self._round is None:
                    polled = await self._poll()
                else:
                    polled = self._round
                    await polled.over.wait()
                if polled.error is not None:
                    raise type(polled.error)(str(polled.error), hint=polled.error.hint)
                if polled.quiet and seen.new(self._keys):
                    return
        finally:
            self._watching.remove(seen)
        self._check()

    def interrupt(self) -> None:
        """Those who wait look again at what they wait for."""
        self._scope.cancel()

    def known(self) -> frozenset[str]:
        """The keys that polls have told of: to be taken before a read, for `not_given` after it."""
        return frozenset(self._keys)

    def not_given(self, keys: set[str]) -> None:
        """These were known before a read, and it has not given them."""
        again = keys and keys <= self._doubted
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if again else FIRST_PAUSE
        self._doubted = keys

    def _news(self, seen: Seen) -> bool:
        """Whether there is something new that is not in doubt."""
        return not self._doubted.issuperset(seen.new(self._keys))

    async def _poll(self) -> _Round:
        floor = min(seen.floor for seen in self._watching)
        if floor < self._floor:
            self._marker = None  # it knows nothing of what is below
        self._floor = floor
        self._keys = {key for key in self._keys if key > floor}
        doubt = any(seen.new(self._keys) for seen in self._watching)
        polled = self._round = _Round()
        try:
            with trio.CancelScope() as self._scope:
                seconds = SOON_SECONDS if self._lately else POLL_SECONDS
                answer = await self._ask(floor, self._marker, self._pause if doubt else seconds)
                polled.quiet, self._lately = answer is None, False
                if answer is not None:
                    items, self._marker = answer
                    self._note(items)
                    self._lately = bool(items)
        except AerogrammeError as error:
            polled.error = error
        finally:
            self._round = None
            polled.over.set()
        return polled

    def _note(self, items: list[Item]) -> None:
        for item in items:
            self._doubted.discard(item.key)
            if item.values:
                self._keys.add(item.key)
            else:
                self._keys.discard(item.key)
