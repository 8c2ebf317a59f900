"""Calls that need not wait for one another."""

from collections.abc import Awaitable, Callable

import trio


async def together(*calls: Callable[[], Awaitable[object]]) -> None:
    """Runs calls side by side, each to its end. Then the first error, if any, is raised, in no group."""
    errors: list[BaseException] = []

    async def run(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except trio.Cancelled:
            raise
        except BaseException as error:  # raised below
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(run, call)
    if errors:
        raise errors[0]
