"""Calls that need not wait for one another."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

T = TypeVar("T")
R = TypeVar("R")


async def together(*calls: Callable[[], Awaitable[object]]) -> None:
    """Runs calls side by side, each to its end. Then the first error, if any, is raised, in no group. What is
    no Exception, such as Ctrl-C, does not wait for that: one call may wait for what another would have
    done."""
    errors: list[Exception] = []
    ending: list[BaseException] = []

    async def run(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except Exception as error:  # of whatever kind: raised below
            errors.append(error)
        except trio.Cancelled:
            raise
        except BaseException as error:  # raised below
            ending.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(run, call)
    for each in *ending, *errors:
        raise each


class OfRun(Generic[T]):
    """What all tasks of one run of trio share, such as a limiter: made when it is first asked for."""

    def __init__(self, name: str, make: Callable[[], T]) -> None:
        self._made: trio.lowlevel.RunVar[T] = trio.lowlevel.RunVar(name)
        self._make = make

    def get(self) -> T:
        try:
            return self._made.get()
        except LookupError:
            made = self._make()
            self._made.set(made)
            return made


async def in_parallel(work: Callable[[T], Awaitable[R]], each: Sequence[T], most: int) -> list[R]:
    """What `work` returns for each, in their order; `most` of them are under way at a time.

    The first error cancels the others, and is raised as it is, not in a group.
    """
    done: dict[int, R] = {}
    failed: list[Exception] = []
    left = iter(enumerate(each))

    async def worker() -> None:
        for n, one in left:
            try:
                done[n] = await work(one)
            except Exception as error:  # of whatever kind: raised below
                failed.append(error)
                nursery.cancel_scope.cancel()
                return

    async with trio.open_nursery() as nursery:
        for _ in range(min(most, len(each))):
            nursery.start_soon(worker)
    if failed:
        raise failed[0]
    return [done[n] for n in range(len(each))]
