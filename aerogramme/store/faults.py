"""What can go wrong between a process and its store: for the store in memory (memory.py).

A write is a list of steps in their order (objects, rows, removals), as they would be requests to a distant
store: any of them may be the last that happens.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import trio

from aerogramme.errors import Behind, Unavailable

Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Show:
    """The step in which a row becomes visible to all; after `tear` it is visible by chance, and `torn` tells
    whether it still is."""

    show: Step
    tear: Step
    torn: Callable[[], bool]

    def __call__(self) -> None:
        self.show()


class Crash(BaseException):
    """The process dies here. No `Exception`, so that nothing that handles failed calls takes it for one."""


class CrashAt:
    """The n-th call (from 1) is the last of this process. `calls` counts them: a run with n = 0 tells how
    many.

    Of the call that dies, the first `steps` steps still happen. With an `error`, the n-th call alone raises
    that instead of `Crash`, and the process lives on.
    """

    def __init__(self, n: int, *, steps: int = 0, error: Exception | None = None) -> None:
        self.n, self.steps, self.error = n, steps, error
        self.calls = 0

    async def read(self) -> int:
        await self.write(())
        return 0

    def shows(self) -> bool:
        return False

    async def write(self, steps: Sequence[Step]) -> None:
        await trio.lowlevel.checkpoint()
        if self.error is None and 0 < self.n <= self.calls:
            raise Crash  # it is dead already: what is left of it may still try
        self.calls += 1
        dies = self.calls == self.n
        for step in steps[: self.steps] if dies else steps:
            step()
        if dies:
            raise self.error or Crash


class Faults:
    """Faults by chance, replayed from the seed of `random`. Rates are for one call.

    latency     the longest a call takes each way, in seconds of trio's clock (a `MockClock` in tests)
    refused     Unavailable, and nothing has happened
    lost        Unavailable, though all has happened
    limbo       Unavailable; some steps have happened, and the rest happen later or never: rows come late
    torn        as limbo, but until they happen (or are confirmed) each read shows the rows by chance
    again       a read gives some rows that it gave before

    `reachable` is False while the network is cut. Setting `reliable` to True ends all faults, and what was in
    limbo happens.
    """

    def __init__(
        self,
        random: Random,
        *,
        latency: float = 0.1,
        refused: float = 0.02,
        lost: float = 0.03,
        limbo: float = 0.05,
        torn: float = 0.03,
        again: float = 0.05,
    ) -> None:
        self._random, self._latency = random, latency
        self._refused, self._lost, self._limbo, self._again = refused, lost, limbo, again
        self._torn = torn
        self._waiting: list[Sequence[Step]] = []
        self._reliable = False
        self.reachable = True

    @property
    def reliable(self) -> bool:
        return self._reliable

    @reliable.setter
    def reliable(self, reliable: bool) -> None:
        self._reliable = reliable
        if reliable:
            self.reachable = True
            self._surface(1.0)

    async def read(self) -> int:
        """What a read goes through. Returns how many of the rows that were read before it gives again."""
        await self._way()
        if self._happens(self._refused):
            raise Unavailable
        return self._random.randrange(1, 4) if self._happens(self._again) else 0

    async def write(self, steps: Sequence[Step]) -> None:
        """What a write goes through."""
        await self._way()
        if self._happens(self._refused):
            raise Unavailable
        if self._happens(self._limbo):
            cut = self._random.randrange(len(steps) + 1)
            self._leave(steps, cut)
            raise Unavailable
        if self._happens(self._torn):
            row = next((at for at, step in enumerate(steps) if isinstance(step, Show)), len(steps))
            self._leave(steps, row)
            for step in steps:
                if isinstance(step, Show):
                    step.tear()
            raise Unavailable
        for step in steps:
            step()
            if self._happens(0.2):
                await self._way()  # others see the steps one by one
        await self._way()
        if self._happens(self._lost):
            raise Unavailable

    def shows(self) -> bool:
        """Whether a read shows a row that is torn."""
        return self._random.random() < 0.5

    def _leave(self, steps: Sequence[Step], cut: int) -> None:
        """Only the first steps happen; the others may, later."""
        do(steps[:cut])
        self._waiting.append(steps[cut:])

    async def _way(self) -> None:
        """There, or back again."""
        if self._reliable:
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(self._random.uniform(0, self._latency))
        if not self.reachable:
            raise Unavailable
        self._surface(0.1)

    def _happens(self, rate: float) -> bool:
        return not self._reliable and self._random.random() < rate

    def _surface(self, rate: float) -> None:
        """Each write in limbo happens now at this rate."""
        waiting, self._waiting = self._waiting, []
        for steps in waiting:
            if self._random.random() < rate:
                do(steps)
            else:
                self._waiting.append(steps)


def do(steps: Sequence[Step]) -> None:
    """These steps happen, now."""
    with suppress(Behind):  # of a serialized store: by now the writer is behind, and nothing happens
        for step in steps:
            step()
