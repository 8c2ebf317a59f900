"""A clock that jumps when nothing is left to be done, by threads either; and no threads at all."""

import time
from collections.abc import Callable
from typing import Any

import trio
from trio.testing import MockClock, active_thread_count

GLANCE = 0.001  # seconds from one look at the threads to the next


def jumping_clock(busy: Callable[[], int] = lambda: 0) -> MockClock:
    """Jumps to what is waited for next as soon as all tasks wait, and no thread is at work.

    trio's own jumps while threads are at work, too: whatever they do then has taken longer than anybody is
    ready to wait. By this one it takes no time to try a password, or to write a file. `busy` tells how many
    threads are at work that are not trio's.
    """
    clock = MockClock(autojump_threshold=0)
    jump = clock._autojump

    def jump_or_wait() -> None:
        if active_thread_count() or busy():
            time.sleep(GLANCE)
        else:
            jump()

    clock._autojump = jump_or_wait  # type: ignore[method-assign]  # the class says that it is final
    return clock


async def run_here(work: Callable[..., Any], *args: Any, **_: Any) -> Any:
    """In place of trio.to_thread.run_sync, for work that takes no time. When a thread is done
    nobody can tell: no schedule with one is replayed, and no clock waits for it."""
    await trio.lowlevel.checkpoint()
    return work(*args)
