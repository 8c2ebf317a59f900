"""What a distant store answers when it does not do as it was asked, and what is tried again.

All calls to S3 and K2V may be repeated, so what might go better the next time is, until a deadline; the
libraries' own retries are off. `judge` says which answers these are, `persist` repeats.
"""

import logging
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from random import Random
from typing import TypeVar

import trio

from aerogramme.errors import AerogrammeError, NotStored, Unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

# How long things are tried again. Somebody waits for a read. A write is worth more patience, but whoever
# sends a mail waits for it as well, and an entry may take a minute, with the last try (port.LATE).
READ_SECONDS = 10.0
WRITE_SECONDS = 30.0

# How long one try waits for a connection, and then for an answer, or for more of it. Libraries count the time
# that a request is being sent as waiting for its answer: a write of some megabytes needs it.
CONNECT_SECONDS = 5.0
READ_TRY_SECONDS = 10.0
WRITE_TRY_SECONDS = 30.0

# And how long it may take to answer a small question while it is known to be away.
AWAY_SECONDS = 3.0

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0

# How far this clock may be from the store's. Entries that two servers with such clocks write at once are in
# time for each other (port.LATE), and S3 refuses requests signed a quarter of an hour off anyway.
SKEW_SECONDS = 5 * 60

# No secret, and no need to repeat a run of it: it only keeps those who wait from coming back all at once.
_chance = Random()  # noqa: S311


class Passing(Exception):
    """A fault that may be gone the next time. Only `persist` ever sees it; the text is for the log."""


class Reach:
    """What is known of whether a server can be reached. `away`: it could not, for as long as was tried, and
    has not answered since.

    `ask` is one try of a request that a server that is there answers at once, whatever it says.
    """

    def __init__(self, ask: Callable[[], Awaitable[object]]) -> None:
        self.away = False
        self._ask = ask

    async def look(self) -> None:
        """Asks, if it is away; Unavailable when it still is. Calls wait for one another, and a row of them
        must not take minutes to say what is known. But what was called for may take long, as a large object
        on a slow line does, and so it is not the question."""
        if not self.away:
            return
        with trio.move_on_after(AWAY_SECONDS):
            try:
                await self._ask()
            except Passing as fault:
                raise Unavailable(hint=f"{fault}, and so before") from None
            except AerogrammeError as answer:
                log.debug("there again: %s", answer)
            self.away = False
            return
        raise Unavailable(hint=f"no answer for {AWAY_SECONDS:g} seconds, nor before")


async def persist(
    work: Callable[[], Awaitable[T]], seconds: float, chance: Random = _chance, *, reach: Reach | None = None
) -> T:
    """What `work` returns, tried again for `seconds` while it raises `Passing`; then `Unavailable`.

    Between two tries there is a random part of a pause that doubles each time. A try that has begun in time
    is not cut off, however long a large object takes: it must end by itself when nothing moves
    (READ_TRY_SECONDS, WRITE_TRY_SECONDS), with `Passing`.

    While the server of `reach` is away, nothing is tried until it answers (`Reach.look`).
    """
    if reach is not None:
        await reach.look()
    deadline = trio.current_time() + seconds
    pause = FIRST_PAUSE
    while True:
        try:
            return await work()
        except Passing as fault:
            wait = chance.uniform(0, pause)
            if trio.current_time() + wait >= deadline:
                if reach is not None:
                    reach.away = True
                raise Unavailable(hint=f"{fault}, for {seconds:g} seconds") from None
            log.debug("again in %.2f s: %s", wait, fault)
        await trio.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE)


_AGAIN_STATUS = {
    408,
    409,
    425,
    429,
}  # 409: two operations on one thing at once; nothing of ours is conditional
_AGAIN_CODE = {"RequestTimeout", "SlowDown", "InternalError", "OperationAborted"}
_NEVER_STATUS = {501, 505}
_CREDENTIALS = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_REGION = {"AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect"}


def judge(status: int, code: str = "") -> Exception:
    """What an answer that is no success means, to be raised: `Passing`, `NotStored`, or `Unavailable` with a
    hint. `code` is the word that S3 has for it (`Code` in the body), as far as it is known.
    """
    answer = f"{status} {code}".rstrip()
    if status == 404 and code == "NoSuchBucket":
        return Unavailable("The bucket does not exist", hint="make it, or mend the store's address")
    if status == 404 and code in ("", "NoSuchKey"):
        return NotStored()
    if code == "RequestTimeTooSkewed":
        return Unavailable(hint=f"{answer}: set the clock of this machine, or of the store's")
    if status in _AGAIN_STATUS or code in _AGAIN_CODE or (status >= 500 and status not in _NEVER_STATUS):
        return Passing(f"the store answers {answer}")
    if code in _REGION or 300 <= status < 400:
        return Unavailable(hint=f"{answer}: check the region, and the address of the store")
    if status in (401, 403) or code in _CREDENTIALS:
        return Unavailable(hint=f"{answer}: check the credentials, and what they allow")
    return Unavailable(hint=f"the store answers {answer}")


def check_clock(date: str, now: float) -> None:
    """Compare `now` (seconds since 1970) with the `Date` header of an answer that has just come.

    `Unavailable` if they are more than `SKEW_SECONDS` apart. What is no date says nothing.
    """
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return
    if abs(now - theirs) > SKEW_SECONDS:
        raise Unavailable(
            "The clocks of this server and its store disagree",
            hint=f"they are {abs(now - theirs):.0f} seconds apart: let both be set by NTP",
        )
