"""A few connections to one server, opened when they are needed, and again where they fall."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import trio

from aerogramme.errors import AerogrammeError, AuthenticationFailed
from aerogramme.migrate.sources.imap.access import Access
from aerogramme.migrate.sources.imap.connection import Connection, Fallen

T = TypeVar("T")

PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 120.0)
"""Seconds before each new try: a server that starts anew is there within four minutes."""


class Pool:
    """Up to `limit` connections. Fewer, when the server does not let in so many."""

    def __init__(self, access: Access, limit: int, pauses: Sequence[float] = PAUSES) -> None:
        self.access = access
        self.pauses = pauses
        self.limit = limit
        self._idle: list[Connection] = []
        self._leased = 0
        self._waiting = trio.lowlevel.ParkingLot()
        self.uid_first = True  # UIDs stand before letters in the answers: none came that was otherwise
        self._was_in = False

    @property
    def free(self) -> int:
        """How many connections more could be had without waiting for others."""
        return max(0, self.limit - self._leased)

    async def lease(self) -> Connection:
        """A connection, which `release` gives back; waits until one is free. Raises Fallen, and what
        Access.connect raises."""
        while self._leased >= self.limit:
            await self._waiting.park()
        self._leased += 1
        while self._idle:
            connection = self._idle.pop()
            if connection.idle:
                return connection
            connection.abort()
        try:
            connection = await self.access.connect()
        except AuthenticationFailed as failed:
            self._give_up()
            if self._was_in:  # the password is right: it is something else that passes
                raise Fallen(failed, later=True) from None
            raise
        except BaseException:
            self._give_up()
            raise
        self._was_in = True
        return connection

    def release(self, connection: Connection) -> None:
        """Takes a connection back. One on which something is still on its way ends."""
        if connection.idle:
            self._idle.append(connection)
        else:
            connection.abort()
        self._give_up()

    def _give_up(self) -> None:
        self._leased -= 1
        self._waiting.unpark()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for as long as this lasts."""
        connection = await self.lease()
        try:
            yield connection
        finally:
            self.release(connection)

    async def more(self, count: int) -> list[Connection]:
        """Up to `count` connections besides those that are leased, all opened at once. One always stays free
        for others. Where the server lets in no more, it is not asked again for so many."""
        found: list[Connection] = []
        count = min(count, self.free - 1)
        refused = 0

        async def one() -> None:
            nonlocal refused
            try:
                found.append(await self.lease())
            except (Fallen, AerogrammeError):  # there is one that works; what this one is for, waits
                refused += 1

        try:
            async with trio.open_nursery() as nursery:
                for _ in range(count):
                    nursery.start_soon(one)
        except BaseException:
            for connection in found:
                self.release(connection)
            raise
        self.limit = max(1, self.limit - refused)
        return found

    async def again(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Does something that can be done over, with new connections while it falls. Raises the error of the
        last fall, and what `work` raises."""
        tries = Tries(self.pauses)
        while True:
            try:
                async with self.connection() as connection:
                    return await work(connection)
            except Fallen as fallen:
                await tries.wait(fallen)

    async def aclose(self) -> None:
        """Ends the connections that are not leased."""
        while self._idle:
            await self._idle.pop().aclose()


class Tries:
    """Counts how often something fell, and waits longer each time. `reset` when it went on a bit."""

    def __init__(self, pauses: Sequence[float]) -> None:
        self._pauses = pauses
        self._count = 0

    def reset(self) -> None:
        """What falls next is another thing."""
        self._count = 0

    async def wait(self, fallen: Fallen) -> None:
        """Waits before the next try. Raises the error of the fall when there were enough."""
        if self._count >= len(self._pauses):
            raise fallen.error
        pause = self._pauses[self._count]
        self._count += 1
        await trio.sleep(max(pause, fallen.pause))
