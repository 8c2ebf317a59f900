"""Background tasks of an account that go on whatever happens to them."""

import logging
from collections.abc import Awaitable, Callable

import trio

from aerogramme.errors import AuthenticationFailed, NoSuchUser, Outdated, Unavailable
from aerogramme.faults import stack

log = logging.getLogger(__name__)

# Seconds between tries of a background task: the store is noticed soon when it is back, as somebody may be
# idling; a fault of ours mostly comes again.
RETRY_FIRST, RETRY_LONGEST, RETRY_FAULT = 0.5, 4.0, 60.0
QUIET = 30.0  # seconds that a task has gone well for, after which a failure is a new one


async def persist(account_id: str, task: Callable[[], Awaitable[object]]) -> None:
    """Runs a background task for ever: a store that is away comes back, and whatever else one task has
    stumbled over, the others and the sessions can do without it meanwhile. Raises NoSuchUser and
    AuthenticationFailed, after which there is nothing to go on with."""
    pause = 0.0
    while True:
        started, longest = trio.current_time(), RETRY_LONGEST
        try:
            await task()
        except Outdated:  # the account is closed, and opened anew by the next login
            raise
        except Unavailable as error:
            # A warning each time the store goes; while it is away, every command says so.
            new = pause == 0.0 or trio.current_time() - started > QUIET
            level = logging.WARNING if new else logging.DEBUG
            log.log(level, "account %s: the store is unavailable: %s %s", account_id, error, error.hint)
        except (NoSuchUser, AuthenticationFailed):
            raise
        except Exception as error:  # the top of a background task
            log.error("account %s: a background task failed: %s", account_id, stack(error))
            longest = RETRY_FAULT
        if trio.current_time() - started > QUIET:
            pause = 0.0
        pause = min(longest, 2 * pause or RETRY_FIRST)
        await trio.sleep(pause)
