"""A large body on its way into the store while it still comes in: mail in flight takes no memory."""

from collections.abc import AsyncIterator

import trio

from aerogramme.errors import Unavailable
from aerogramme.store.port import Store

SPILL = 1024 * 1024  # octets that are held; what is larger goes to the store while it still comes in


class Spill:
    """The upload of one large body, fed while it comes in."""

    def __init__(self, store: Store, name: str, nursery: trio.Nursery) -> None:
        self._store, self._name = store, name
        self._send, self._receive = trio.open_memory_channel[bytes](0)
        self._done = trio.Event()
        self._scope = trio.CancelScope()
        self._failure: Exception | None = None
        self._stored = False
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._store.put(self._name, self._pieces())
                self._stored = True
        except Exception as failure:  # whatever it is: told to the writer, who can act
            self._failure = failure
        finally:
            self._receive.close()
            self._done.set()

    async def _pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._receive:
            yield piece

    async def write(self, sealed: bytes) -> None:
        try:
            await self._send.send(sealed)
        except trio.BrokenResourceError:
            raise self._failure or Unavailable("the upload of a letter ended early") from None

    async def finish(self) -> None:
        self._send.close()
        await self._done.wait()
        if not self._stored:
            raise self._failure or Unavailable("the upload of a letter was cancelled")

    def drop(self) -> None:
        """Stops the upload; a body that is not whole leaves nothing."""
        self._scope.cancel()

    async def cancel(self) -> None:
        """Stops the upload, and removes the body if it was whole already."""
        self.drop()
        await self._done.wait()
        await self._store.delete([self._name])
