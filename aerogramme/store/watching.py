"""Watching a store that can only be asked what it has: one asks for all who watch, now and then.

Nobody runs in the background. The first who watches asks; when that one leaves, another goes on.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

import trio

from aerogramme.errors import AerogrammeError
from aerogramme.store.tail import Seen

# Seconds between two questions: they grow while nothing comes.
FIRST_PAUSE = 0.5
EAGER_PAUSE = 2.0  # at most, while somebody waits for an answer
LONGEST_PAUSE = 30.0


@dataclass(eq=False, slots=True)
class _Watcher:
    seen: Seen
    eager: Callable[[], bool]
    woken: trio.Event = field(default_factory=trio.Event)
    due: bool = False
    error: AerogrammeError | None = None
    question: trio.CancelScope = field(default_factory=trio.CancelScope)  # in which it asks for all

    def end(self, error: AerogrammeError | None = None) -> None:
        self.due, self.error = True, error
        self.woken.set()
        self.question.cancel()


class Watchers:
    """All in this process who watch one partition of one account.

    look    gives the keys above a floor that are visible now
    """

    def __init__(self, look: Callable[[str], Awaitable[Collection[str]]]) -> None:
        self._look = look
        self._watching: dict[_Watcher, None] = {}
        self._asking = False
        self._stirred = trio.Event()  # whoever asks shall not rest longer

    async def watch(self, seen: Seen, eager: Callable[[], bool]) -> None:
        """Return once there is a key that is new to `seen`. Raises what `look` raises, or `fail` says."""
        me = _Watcher(seen, eager)
        self._watching[me] = None
        self._stirred.set()  # what is new to this one may have been there for long
        try:
            while not me.due:
                if self._asking:
                    await me.woken.wait()
                    me.woken = trio.Event()
                else:
                    await self._ask(me)
        finally:
            del self._watching[me]
            if self._watching and not self._asking:
                next(iter(self._watching)).woken.set()  # go on
        if me.error is not None:
            raise me.error

    def show(self, keys: Collection[str]) -> None:
        """These keys are visible: whoever does not know one of them need not wait any longer."""
        for watcher in self._watching:
            if watcher.seen.new(keys):
                watcher.end()

    def fail(self, error: AerogrammeError) -> None:
        """Nobody need wait: there is something wrong. Each gets an error like this one."""
        for watcher in self._watching:
            watcher.end(type(error)(str(error), hint=error.hint))

    async def _ask(self, me: _Watcher) -> None:
        """Ask until `me` is due, and tell all."""
        self._asking = True
        pause = FIRST_PAUSE
        try:
            with me.question:
                while True:
                    # Before the question: its answer may be too old for who comes while it is under way.
                    stirred = self._stirred = trio.Event()
                    keys = await self._look(min(watcher.seen.floor for watcher in self._watching))
                    self.show(keys)
                    await self._rest(pause, stirred)
                    pause = min(2 * pause, LONGEST_PAUSE)
        except AerogrammeError as error:
            self.fail(error)
        finally:
            self._asking = False

    async def _rest(self, pause: float, stirred: trio.Event) -> None:
        begun = trio.current_time()
        while True:
            eager = any(watcher.eager() for watcher in self._watching)
            left = begun + (min(pause, EAGER_PAUSE) if eager else pause) - trio.current_time()
            if left <= 0:
                return
            with trio.move_on_after(min(left, EAGER_PAUSE)):  # and then somebody may have become eager
                await stirred.wait()
                return
