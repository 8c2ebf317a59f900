"""trio's loop as schedules need it: nothing comes from outside, and who sleeps has a place in a heap.

It does what trio's own does, in less time. What is left out: a system call and some questions for instruments
in each round; and for each sleep a scope, its end, and an exception.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count
from typing import Any
from unittest.mock import patch

import trio
from trio.testing import MockClock

_run = trio._core._run


class _NoInstruments(dict[str, Any]):
    """In place of trio's, whose class is slow to say that there is none."""

    def __init__(self, given: object) -> None:
        assert not given


def _events(io_manager: Any, timeout: float) -> Any:
    """Only who calls from outside of all tasks is heard: the collector of garbage, or Control-C."""
    calls = _run.GLOBAL_RUN_CONTEXT.runner.entry_queue
    return io_manager._epoll.poll(timeout, 1) if calls.queue or calls.idempotent_queue else ()


class _Sleepers:
    """Who sleeps until when, on a clock that jumps there as soon as nobody has anything else to do."""

    def __init__(self) -> None:
        self.clock = clock = MockClock(autojump_threshold=0)
        self._jump = clock._autojump
        clock._autojump = self._wake  # type: ignore[method-assign]  # the class says that it is final
        clock.current_time = lambda: clock._virtual_base  # type: ignore[method-assign]  # it stands still but for jumps
        self._heap: list[list[Any]] = []  # until, order, task: None for one that was cancelled
        self._order = count()

    async def sleep(self, seconds: float) -> None:
        """In place of trio.sleep."""
        await self.sleep_until(trio.current_time() + seconds)

    async def sleep_until(self, deadline: float) -> None:
        """In place of trio.sleep_until."""
        if deadline <= trio.current_time():
            await trio.lowlevel.checkpoint()
            return
        sleeper = [deadline, next(self._order), trio.lowlevel.current_task()]
        heappush(self._heap, sleeper)

        def cancelled(_: Any) -> trio.lowlevel.Abort:
            sleeper[2] = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(cancelled)

    def _wake(self) -> None:
        heap = self._heap
        while heap and heap[0][2] is None:
            heappop(heap)
        due = heap[0][0] if heap else math.inf
        if due > _run.GLOBAL_RUN_CONTEXT.runner.deadlines.next_deadline():
            self._jump()
            return
        self.clock._virtual_base = due
        while heap and heap[0][0] <= due:
            task = heappop(heap)[2]
            if task is not None:
                trio.lowlevel.reschedule(task)


@contextmanager
def quick_loop() -> Iterator[MockClock]:
    """While this is open, trio.run has that loop, with this clock."""
    sleepers = _Sleepers()
    with (
        patch.object(_run, "Instruments", _NoInstruments),
        patch.object(_run.TheIOManager, "get_events", _events),
        patch.object(trio, "sleep", sleepers.sleep),
        patch.object(trio, "sleep_until", sleepers.sleep_until),
    ):
        yield sleepers.clock
