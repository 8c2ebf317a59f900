"""A store in a bucket of any S3: rows are objects too (bucket_store.py has the rest).

    <account>/r/<partition>/<key>           a row

They are read with LIST and a GET each, and watched with LIST now and then. The service must list what was put
once the put has been answered, as S3 of AWS does; for a Garage cluster there is garage.py.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from functools import partial
from typing import cast

import trio

from aerogramme.errors import NoSuchUser
from aerogramme.store.bucket import Bucket
from aerogramme.store.bucket_store import BucketStore, BucketStores, Opened
from aerogramme.store.objects import Objects, before
from aerogramme.store.port import Cursor, Row, always
from aerogramme.store.tail import Seen
from aerogramme.store.watching import Watchers


class _Account(Opened):
    def __init__(self, bucket: Bucket, account: str) -> None:
        super().__init__(bucket, account)
        self.rows = Objects(bucket, f"{bucket.place.prefix}{account}/r/")
        self._watchers: dict[str, Watchers] = {}

    async def keys(self, partition: str, after: str) -> list[str]:
        """The keys of a partition above `after`."""
        names = await self.rows.list(f"{partition}/", f"{partition}/{after}")
        return [name[len(partition) + 1 :] for name in names]

    def watchers(self, partition: str) -> Watchers:
        if partition not in self._watchers:
            self._watchers[partition] = Watchers(partial(self.keys, partition))
        return self._watchers[partition]

    def appended(self, partition: str, keys: Collection[str]) -> None:
        if partition in self._watchers:
            self._watchers[partition].show(keys)

    def erased(self) -> None:
        super().erased()
        for watchers in self._watchers.values():
            watchers.fail(NoSuchUser("The account was erased"))


class S3Store(BucketStore[_Account]):
    """One account's store, opened. See `port.Store` for what the methods promise."""

    async def read(
        self, partition: str, cursor: Cursor | None = None, after: str = ""
    ) -> tuple[list[Row], Cursor]:
        self._account.check()
        seen = Seen.before(after) if cursor is None else cast("Seen", cursor)
        listed = await self._account.keys(partition, seen.floor)
        keys = [key for key in listed if key > after] if cursor is None else seen.new(listed)
        values = await self._account.rows.get_many([f"{partition}/{key}" for key in keys])
        self._account.check()  # erased meanwhile, it would look empty
        rows = [Row(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
        gone = {key for key, value in zip(keys, values, strict=True) if value is None}
        return rows, Cursor(seen.after([key for key in listed if key not in gone]))

    async def page(self, partition: str, after: str, limit: int) -> Sequence[Row]:
        self._account.check()
        rows: list[Row] = []
        while len(rows) < limit:  # else one that went after it was listed would look like the end
            asked = limit - len(rows)
            names = await self._account.rows.list(f"{partition}/", f"{partition}/{after}", asked)
            values = await self._account.rows.get_many(names)
            rows += [
                Row(name[len(partition) + 1 :], value)
                for name, value in zip(names, values, strict=True)
                if value is not None
            ]
            if len(names) < asked:
                break
            after = names[-1][len(partition) + 1 :]
        self._account.check()  # erased meanwhile, it would look empty
        return rows

    async def confirm(self, partition: str, rows: Sequence[Row]) -> None:  # noqa: ARG002 - they are there
        self._account.check()
        await trio.lowlevel.checkpoint()

    async def delete_range(self, partition: str, first: str, last: str) -> None:
        self._account.check()
        low, high = f"{partition}/{first}", f"{partition}/{last}"
        async with aclosing(self._account.rows.pages(f"{partition}/", before(low))) as pages:
            async for page in pages:
                await self._account.rows.delete(name for name, _ in page if low <= name <= high)
                if page and page[-1][0] > high:
                    break

    async def watch(self, partition: str, cursor: Cursor, *, eager: Callable[[], bool] = always) -> None:
        self._account.check()
        await self._account.watchers(partition).watch(cast("Seen", cursor), eager)

    async def _write(self, partition: str, rows: Sequence[Row]) -> None:
        await self._account.rows.put_many([(f"{partition}/{row.key}", row.value) for row in rows])
        self._account.appended(partition, [row.key for row in rows])

    async def _remove(self, rows: Sequence[tuple[str, str]]) -> None:
        await self._account.rows.delete(f"{partition}/{key}" for partition, key in rows)


class S3Stores(BucketStores[_Account, S3Store]):
    """The accounts in a bucket of any S3."""

    def _account(self, account: str) -> _Account:
        return _Account(self.bucket, account)

    def _store(self, opened: _Account) -> S3Store:
        return S3Store(opened)
