"""A cache of objects on the disk of this machine, for stores beyond it: what is read or written once need not
be fetched again.

Objects never change, so what is kept is right for ever; they are kept as they are, sealed. Rows are not kept.
The cache promises nothing: what it has lost, or cannot read, comes from the store, and what could not be kept
is no fault. An object that another machine has deleted may still be read here for a while; nothing names it.
"""

import logging
import secrets
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from aerogramme.errors import NotStored
from aerogramme.store.cache_files import STRETCH, Draft, Folder, taken
from aerogramme.store.port import Body, Cursor, Part, Row, Store, Stores

log = logging.getLogger(__name__)

T = TypeVar("T")

# An object takes an eighth of the cache at most, or one mail would drive out all others. A longer one is not
# kept; of one that is read in part, no more than its first stretches are.
SHARE = 8
# Processes do not tell one another what they keep. Each looks at the whole folder whenever it has written a
# sixteenth of the size, and leaves seven eighths: two that write at once stay within it.
SWEEP_AFTER, SWEEP_TO = 1 / 16, 7 / 8
THREADS = 4  # at once: a disk does not get quicker by more, and other threads have work as well
# After a fault (the disk is full, the folder is not ours) nothing is kept for so long, and no more is said.
REST_SECONDS = 300.0


class Cache:
    """A folder (made when missing) and how many octets of the disk its files may take, for any number of
    stores and processes."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self._files = Folder(folder)
        self._threads = trio.CapacityLimiter(THREADS)
        self._sweep_every = max(1, int(size * SWEEP_AFTER))
        # Processes that write little before they end sweep in turn, by chance.
        self._until_sweep = secrets.randbelow(self._sweep_every) + 1
        self._resting_until = float("-inf")

    async def read(self, account: str, parts: Sequence[Part]) -> list[bytes | None]:
        """Those parts of objects that are here; None for the others."""
        found: list[bytes | None] = [None] * len(parts)

        def work() -> None:
            for at, (name, start, stop) in enumerate(parts):
                found[at] = self._files.read(account, name, start, stop)

        await self._run(work)
        return found

    async def keep(self, account: str, parts: Iterable[tuple[str, int | None, bytes]]) -> None:
        """Keep what the store has: whole objects (name, None, body), and stretches (name, which, body)."""
        kept = [
            (name, stretch, body)
            for name, stretch, body in parts
            if self._takes((stretch or 0) * STRETCH + len(body))
        ]

        def work() -> None:
            for name, stretch, body in kept:
                draft = self._files.begin(account, name, stretch)
                try:
                    draft.write(body)
                    draft.keep()
                finally:
                    draft.drop()

        if kept:
            await self._run(work)
            await self._written(sum(taken(len(body)) for _, _, body in kept))

    @asynccontextmanager
    async def keeping(self, account: str, name: str, body: AsyncIterable[bytes]) -> AsyncIterator["Keeping"]:
        """Keep an object while it is streamed to the store: see `Keeping`."""
        keeping = Keeping(self, body)
        if self._takes(0):
            keeping.draft = await self._run(lambda: self._files.begin(account, name))
        try:
            yield keeping
        finally:
            with trio.CancelScope(shield=True):
                await keeping.give_up()

    async def drop(self, account: str, names: Iterable[str]) -> None:
        """Objects that are to go from the store."""
        await self._run(lambda: self._files.remove(account, names))

    async def drop_account(self, account: str) -> None:
        """All objects of an account."""
        await self._run(lambda: self._files.remove_account(account))

    def _takes(self, octets: int) -> bool:
        return octets <= self.size // SHARE and trio.current_time() >= self._resting_until

    async def _written(self, octets: int) -> None:
        self._until_sweep -= octets
        if self._until_sweep <= 0:
            self._until_sweep = self._sweep_every
            await self._run(lambda: self._files.sweep(int(self.size * SWEEP_TO)))

    async def _run(self, work: Callable[[], T]) -> T | None:
        """Runs work on the files in a thread. A fault is said in the log, and the store does without."""
        try:
            return await trio.to_thread.run_sync(work, limiter=self._threads)
        except OSError as error:
            now = trio.current_time()
            if now >= self._resting_until:
                log.warning("the cache in %s cannot be used: %s", self.folder, error.strerror)
                self._resting_until = now + REST_SECONDS
            return None


class Keeping:
    """An object on its way to the store and into the cache: `passing` is what the store gets to read, and
    `keep` is called when the store has it."""

    def __init__(self, cache: Cache, body: AsyncIterable[bytes]) -> None:
        self.draft: Draft | None = None
        self._cache, self._body = cache, body

    async def passing(self) -> AsyncGenerator[bytes, None]:
        async for piece in self._body:
            if (draft := self.draft) is not None:
                await self._cache._run(partial(draft.write, piece))
                if not self._cache._takes(draft.size):  # it is too large, or could not be written
                    await self.give_up()
            yield piece

    async def keep(self) -> None:
        if (draft := self.draft) is not None:
            await self._cache._run(draft.keep)
            await self._cache._written(taken(draft.size))

    async def give_up(self) -> None:
        """Leave nothing but what was kept."""
        draft, self.draft = self.draft, None
        if draft is not None:
            await self._cache._run(draft.drop)


class CachedStore:
    """A store with a cache before its objects. See `port.Store` for what the methods promise."""

    def __init__(self, store: Store, cache: Cache, account: str) -> None:
        self._store, self._cache, self._account = store, cache, account
        self.serialized, self.object_costs_request = store.serialized, store.object_costs_request
        # What has to do with rows only is the store's alone.
        self.read, self.page, self.confirm, self.watch = store.read, store.page, store.confirm, store.watch
        self.delete_rows, self.delete_range = store.delete_rows, store.delete_range
        self.list, self.sizes, self.aclose = store.list, store.sizes, store.aclose

    async def put(self, name: str, body: Body) -> None:
        # The store first: what the cache has must be durable.
        if isinstance(body, bytes):
            await self._store.put(name, body)
            await self._cache.keep(self._account, [(name, None, body)])
            return
        async with self._cache.keeping(self._account, name, body) as keeping:
            async with aclosing(keeping.passing()) as passing:
                await self._store.put(name, passing)
            await keeping.keep()

    async def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        [body] = await self.get_many([Part(name, start, stop)])
        if body is None:
            raise NotStored
        return body

    async def get_many(self, wanted: Sequence[str | Part]) -> list[bytes | None]:
        parts = [each if isinstance(each, Part) else Part(each) for each in wanted]
        found = await self._cache.read(self._account, parts)
        missing = {at: _wider(part) for at, part in enumerate(parts) if found[at] is None}
        if not missing:
            return found
        asked = [*dict.fromkeys(missing.values())]
        bodies = dict(zip(asked, await self._store.get_many(asked), strict=True))
        await self._cache.keep(self._account, _kept(bodies))
        for at, wider in missing.items():
            body, part = bodies[wider], parts[at]
            if body is not None and part != wider:
                body = body[part.start - wider.start : None if part.stop is None else part.stop - wider.start]
            found[at] = body
        return found

    async def delete(self, names: Iterable[str]) -> None:
        names = [*names]
        try:
            await self._store.delete(names)
        finally:  # a deletion that failed may have happened
            with trio.CancelScope(shield=True):
                await self._cache.drop(self._account, names)

    async def append(
        self,
        partition: str,
        rows: Sequence[Row],
        *,
        objects: Sequence[tuple[str, bytes]] = (),
        read: Cursor | None = None,
        delete: Sequence[tuple[str, str]] = (),
    ) -> Cursor | None:
        moved = await self._store.append(partition, rows, objects=objects, read=read, delete=delete)
        await self._cache.keep(self._account, [(name, None, body) for name, body in objects])
        return moved


class CachedStores:
    """The accounts of other stores, with one cache for all."""

    def __init__(self, stores: Stores, cache: Cache) -> None:
        self._stores, self._cache = stores, cache
        self.list, self.aclose = stores.list, stores.aclose

    async def open(self, account: str, *, create: bool = False) -> CachedStore:
        return CachedStore(await self._stores.open(account, create=create), self._cache, account)

    async def erase(self, account: str) -> None:
        await self._stores.erase(account)
        await self._cache.drop_account(account)


def _wider(part: Part) -> Part:
    """What is read from the store for a part of an object: whole stretches."""
    if part.stop is None or part.stop <= part.start:
        return part
    return Part(part.name, part.start // STRETCH * STRETCH, -(-part.stop // STRETCH) * STRETCH)


def _kept(bodies: Mapping[Part, bytes | None]) -> Iterator[tuple[str, int | None, bytes]]:
    """What can be kept of what was read: objects that have come whole, and stretches."""
    for (name, start, stop), body in bodies.items():
        if body is None:
            continue
        ends = stop is None or len(body) < stop - start
        if start == 0 and ends:
            yield name, None, body
        elif stop is not None and start % STRETCH == 0:
            # The last one is short, or empty, if the object ends there; it tells so.
            for at in range(0, len(body) + 1 if ends else len(body), STRETCH):
                yield name, (start + at) // STRETCH, body[at : at + STRETCH]
