"""Objects below a prefix in a bucket, for whatever speaks S3 (bucket.py)."""

import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

import outcome
import trio

from aerogramme.errors import NotStored, Unavailable
from aerogramme.store.bucket import Bucket, status
from aerogramme.store.port import Body, Part
from aerogramme.together import in_parallel

if TYPE_CHECKING:
    import obstore
    from obstore.store import S3Store

log = logging.getLogger(__name__)

PART = 5 << 20  # what is longer is sent in parts of so many bytes: the least that S3 takes, of 10,000 parts
AT_ONCE = 32  # requests at once for one call
PAGE = 1000  # names that one request gives or takes at most


class Objects:
    """The objects of a bucket whose keys begin with `prefix` (empty, or ending with a slash); the rest of the
    key is the name. Names have no empty parts between slashes, and none of dots only.

    Every method tries again what may pass, and raises `Unavailable` in the end. `port.Store` says the rest.
    """

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix

    async def put(self, name: str, body: Body) -> None:
        if isinstance(body, bytes) and len(body) <= PART:
            await self._put(name, body)
            return
        async with aclosing(_parts(body)) as parts:
            first = await anext(parts, b"")
            second = await anext(parts, None)
            if second is None:
                await self._put(name, first)
            else:
                await self._put_long(name, (first, second), parts)

    async def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        import obstore

        key = self._prefix + name
        if stop is not None and stop <= start:
            return await self._nothing(name)

        def ask(client: "S3Store") -> bytes | None:
            try:
                if stop is not None:
                    return obstore.get_range(client, key, start=start, end=stop).to_bytes()
                if start:
                    return obstore.get(client, key, options={"range": {"offset": start}}).bytes().to_bytes()
                return obstore.get(client, key).bytes().to_bytes()
            except obstore.exceptions.GenericError as error:
                if status(error) == 416:  # it starts after the end
                    return None
                raise

        found = await self._bucket.read(ask)
        return await self._nothing(name) if found is None else found

    async def get_many(self, wanted: Sequence[str | Part]) -> list[bytes | None]:
        async def one(part: str | Part) -> bytes | None:
            try:
                return await self.get(*part) if isinstance(part, Part) else await self.get(part)
            except NotStored:
                return None

        return await in_parallel(one, wanted, AT_ONCE)

    async def put_many(self, objects: Sequence[tuple[str, bytes]]) -> None:
        """Many at once, in no order: after an error any of them may be there."""

        async def one(pair: tuple[str, bytes]) -> None:
            await self.put(*pair)

        await in_parallel(one, objects, AT_ONCE)

    async def delete(self, names: Iterable[str]) -> None:
        import obstore

        keys = [self._prefix + name for name in names]
        for at in range(0, len(keys), PAGE):
            page = keys[at : at + PAGE]
            try:
                await self._bucket.write(partial(obstore.delete, paths=page))
            except NotStored:
                # So says Garage of those that are not there, and obstore has no word about the others.
                await in_parallel(self._delete, page, AT_ONCE)

    async def has(self, name: str) -> bool:
        import obstore

        try:
            await self._bucket.read(lambda client: obstore.head(client, self._prefix + name))
        except NotStored:
            return False
        return True

    async def pages(self, prefix: str, after: str = "") -> AsyncGenerator[list[tuple[str, int]]]:
        """Names that begin with `prefix` and are greater than `after`, with the octets of each object, one
        answer of the store at a time.

        In the order of the store, which with SeaweedFS is not that of bytes where a name goes on with one of
        the characters below the slash. Pages may be empty.
        """
        import obstore

        # obstore asks for what is below a folder; what is before the prefix in there is skipped, as `after`.
        # The store is told to begin just before a name, not at it: where that name is a folder to SeaweedFS,
        # it would skip all that is in there.
        folder = self._prefix + prefix[: prefix.rfind("/") + 1]
        begin = self._prefix + max(prefix, after)
        last = ""

        def ask(client: "S3Store", begin: str) -> list[tuple[str, int]]:
            offset = before(begin) if begin > folder else None
            found = next(obstore.list(client, folder, offset=offset, chunk_size=PAGE), ())
            return [(each["path"][len(self._prefix) :], each["size"]) for each in found]

        while True:
            listed = await self._bucket.read(partial(ask, begin=begin))
            yield [
                (name, octets)
                for name, octets in listed
                if name.startswith(prefix) and name > after and name != last
            ]
            if len(listed) < PAGE or listed[-1][0] > prefix + "\x7f":
                return
            if listed[-1][0] == last:
                raise Unavailable(hint="the store lists the same names again, whatever it is to begin after")
            last = listed[-1][0]
            begin = self._prefix + last

    async def sizes(self, prefix: str, after: str = "", limit: int | None = None) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        if limit == 0:
            await trio.lowlevel.checkpoint()
            return found
        async with aclosing(self.pages(prefix, after)) as pages:
            async for page in pages:
                found += page
                if limit is not None and len(found) >= limit:
                    break
        return sorted(found)[:limit]

    # Last in its class, because from here on `list` is not the builtin.
    async def list(self, prefix: str, after: str = "", limit: int | None = None) -> list[str]:
        return [name for name, _ in await self.sizes(prefix, after, limit)]

    async def _delete(self, key: str) -> None:
        import obstore

        with suppress(NotStored):
            await self._bucket.write(partial(obstore.delete, paths=key))

    async def _put(self, name: str, body: bytes) -> None:
        import obstore

        key = self._prefix + name
        await self._bucket.write(lambda client: obstore.put(client, key, body, use_multipart=False))

    async def _put_long(self, name: str, first: Sequence[bytes], rest: AsyncGenerator[bytes]) -> None:
        upload = _Upload(self._prefix + name)
        try:
            for part in first:
                await self._bucket.send(partial(upload.write, part))
            async for part in rest:
                await self._bucket.send(partial(upload.write, part))
            await self._bucket.send(upload.finish)
        except BaseException:
            upload.give_up()
            raise

    async def _nothing(self, name: str) -> bytes:
        if not await self.has(name):
            raise NotStored
        return b""


def before(key: str) -> str:
    """A key below this one, with none between the two but such as nobody has."""
    lower = chr(ord(key[-1]) - 1)
    if lower == "/":  # nothing has an empty part between slashes, so this is as good
        lower = "."
    return key[:-1] + lower + "~"


async def _parts(body: Body) -> AsyncGenerator[bytes]:
    """The body in pieces of `PART` bytes, the last with what is left; none for an empty one."""
    if isinstance(body, bytes):
        for start in range(0, len(body), PART):
            yield body[start : start + PART]
        return
    gathered = bytearray()
    async for piece in body:
        gathered += piece
        while len(gathered) >= PART:
            yield bytes(gathered[:PART])
            del gathered[:PART]
    if gathered:
        yield bytes(gathered)


class _Upload:
    """An upload in parts, in threads. Whoever is cancelled does not wait for its thread, so the threads take
    turns here: nothing is written to an upload that was given up.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._turn = Lock()
        self._file: obstore.WritableFile | None = None
        self._given_up = False

    def write(self, part: bytes, client: "S3Store") -> None:
        import obstore

        with self._turn:
            if self._given_up:
                return
            if self._file is None:
                # one part is sent while the next one comes
                self._file = obstore.open_writer(client, self._key, buffer_size=PART, max_concurrency=1)
            self._file.write(part)

    def finish(self, _client: "S3Store") -> None:
        with self._turn:
            if self._file is not None and not self._given_up:
                self._file.close()

    def give_up(self) -> None:
        """Let the store forget the parts, without waiting for that. What a crash leaves of an upload, a
        lifecycle rule of the bucket removes (docs/format.md).
        """
        self._given_up = True
        if self._file is not None:
            trio.lowlevel.start_thread_soon(self._abort, self._aborted)

    def _abort(self) -> None:
        with self._turn:
            assert self._file is not None
            self._file.__exit__(Unavailable, Unavailable(), None)  # with an error: nothing is stored

    def _aborted(self, result: outcome.Outcome[None]) -> None:
        if isinstance(result, outcome.Error):
            log.warning("parts of an upload stay in the bucket: %s", type(result.error).__name__)
