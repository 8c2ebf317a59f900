"""`together`: calls that run side by side."""

import pytest
import trio

from aerogramme.together import together


async def test_an_interruption_ends_calls_that_wait_for_the_one_that_it_hit() -> None:
    never = trio.Event()

    async def interrupted() -> None:
        raise KeyboardInterrupt

    with trio.fail_after(5), pytest.raises(KeyboardInterrupt):
        await together(interrupted, never.wait)
