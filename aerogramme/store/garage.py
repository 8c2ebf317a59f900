"""A store in Garage: objects over S3 (bucket_store.py has them), rows over K2V.

    <account>/<partition>           the rows of a partition lie in the partition of K2V of this name (below
                                    the prefix of the place), as two items each:
        v<key>                      the value
        x<key>                      nothing: it says that the row is there (an index)

So what is new is found by listing a hundred bytes a row, and only new values are read. Each node stores the
value before the key; a row whose value is not there yet is not there.

Rows are written once, so the several values that an item of K2V may have are the same, and one. (If they are
not, somebody has broken the promise of port.py: all who read take the first of them in the order of bytes,
and say so in the log. It opens, or it is damaged.) A value beside a deletion is a value.

What a node missed while it was away, Garage brings to it within some minutes. Until then
    - a row whose append has failed may be shown by some reads: `confirm` writes it again;
    - a row that was deleted may come back once, if a failed append of it had left it on a node that was away.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar, cast

from aerogramme.store.bucket import Bucket
from aerogramme.store.bucket_store import BucketStore, BucketStores, Opened
from aerogramme.store.k2v import AFTER, INDEX_PAGE, K2V, Item, New, Range
from aerogramme.store.place import Place
from aerogramme.store.polling import Poll
from aerogramme.store.port import Cursor, Row, always, check_account
from aerogramme.store.tail import Seen
from aerogramme.together import in_parallel

log = logging.getLogger(__name__)
T = TypeVar("T")

VALUE, KEY = "v", "x"  # in this order: Garage reads on behind the end of a range that gives less than a page
# That accounts have, whatever Garage's index knows by now.
PARTITIONS = ("log", "keys", "incoming", "uses", "usage", "unneeded", "unreadable", "copied")
AT_ONCE = 8  # requests at once for one call
BATCH = 100  # rows that one request writes, removes, or reads one by one

Tokens = dict[str, tuple[str, str]]
"""Row key -> the tokens of the two items, value and key, with which they can be replaced."""


class _Account(Opened):
    def __init__(self, bucket: Bucket, k2v: K2V, account: str) -> None:
        super().__init__(bucket, account)
        self.k2v = k2v
        self.partitions: set[str] = set()  # that were used here
        self._prefix = _prefix(bucket, account)
        self._polls: dict[str, Poll] = {}

    def where(self, partition: str) -> str:
        """The partition of K2V."""
        self.partitions.add(partition)
        return self._prefix + partition

    def poll(self, partition: str) -> Poll:
        """That of all who watch the partition."""
        if partition not in self._polls:
            self._polls[partition] = Poll(partial(self._ask, self.where(partition)), self.check)
        return self._polls[partition]

    def erased(self) -> None:
        super().erased()
        for poll in self._polls.values():
            poll.interrupt()

    async def _ask(
        self, where: str, floor: str, marker: str | None, seconds: int
    ) -> tuple[list[Item], str] | None:
        answer = await self.k2v.poll(_above(where, KEY, floor), marker, seconds)
        if answer is None:
            return None
        items, marker = answer
        return [item._replace(key=item.key[1:]) for item in items], marker


class GarageStore(BucketStore[_Account]):
    """One account's store, opened. See `port.Store` for what the methods promise.

    The requests that are counted here wait for one another. An append takes 1, 1 more before it for objects,
    and 1 after it for deletions, which are 1 alone; each is for up to 100 rows.
    """

    def __init__(self, account: _Account) -> None:
        super().__init__(account)
        self._tokens: dict[str, Tokens] = {}  # of the rows that were read last, for `confirm`

    async def read(
        self, partition: str, cursor: Cursor | None = None, after: str = ""
    ) -> tuple[list[Row], Cursor]:
        """With a cursor 1 request, and 1 more if there is something new; without, 1 for each 500 rows."""
        self._account.check()
        poll = self._account.poll(partition)
        known = poll.known()
        if cursor is None:
            rows, seen = await self._read_all(partition, after)
        else:
            rows, seen = await self._read_new(partition, cast("Seen", cursor))
        self._account.check()  # erased meanwhile, it would look empty
        poll.not_given(set(seen.new(known)))
        return rows, Cursor(seen)

    async def page(self, partition: str, after: str, limit: int) -> Sequence[Row]:
        """1 request for each 500 rows, those that were deleted lately included."""
        self._account.check()
        where, rows = self._account.where(partition), list[Row]()
        while len(rows) < limit:
            items, more = await self._account.k2v.first(_above(where, VALUE, after), limit - len(rows))
            rows += [Row(item.key[1:], _value(where, item)) for item in items if item.values]
            if not more:
                break
            after = items[-1].key[1:]
        self._account.check()  # erased meanwhile, it would look empty
        return rows

    async def confirm(self, partition: str, rows: Sequence[Row]) -> None:
        """1 request for rows that the last read has given, if it had a cursor; 2 for others."""
        self._account.check()
        tokens = self._tokens.get(partition, {})
        if any(row.key not in tokens for row in rows):
            tokens = await self._read_tokens(partition, [row.key for row in rows])
        await self._write(partition, rows, tokens)

    async def delete_range(self, partition: str, first: str, last: str) -> None:
        """1 request."""
        self._account.check()
        where = self._account.where(partition)
        ranges = [Range(where, kind + first, kind + last + AFTER) for kind in (KEY, VALUE)]
        await self._account.k2v.delete(ranges)

    async def watch(
        self,
        partition: str,
        cursor: Cursor,
        *,
        eager: Callable[[], bool] = always,  # noqa: ARG002 - Garage tells us
    ) -> None:
        """1 request in 50 seconds while nothing comes, however many watch, and 1 more at first."""
        self._account.check()
        await self._account.poll(partition).watch(cast("Seen", cursor))

    async def _read_all(self, partition: str, after: str) -> tuple[list[Row], Seen]:
        """Values, and what has to be known as old. Deleted ones are asked for, so that no node shows a row
        that others know to be gone."""
        where, seen = self._account.where(partition), Seen.before(after)
        old = Range(where, KEY + seen.floor, KEY + after + AFTER)
        values, keys = await self._account.k2v.search([_above(where, VALUE, after), old], deleted=True)
        rows = [Row(item.key[1:], _value(where, item)) for item in values if item.values]
        listed = [item.key[1:] for item in keys if item.values] + [row.key for row in rows]
        return rows, seen.after(listed)

    async def _read_new(self, partition: str, seen: Seen) -> tuple[list[Row], Seen]:
        """Keys, and the values of those that are new. These are asked for one by one, so that those of keys
        that only some node does not know to be gone are not found."""
        where = self._account.where(partition)
        [listed] = await self._account.k2v.search([_above(where, KEY, seen.floor)], page=INDEX_PAGE)
        keys = {item.key[1:]: item for item in listed}
        new = seen.new(keys)
        values = {item.key[1:]: item for item in await self._each(where, [VALUE + key for key in new])}
        if values:
            self._tokens[partition] = {key: (values[key].token, keys[key].token) for key in values}
        rows = [Row(key, _value(where, values[key])) for key in new if key in values]
        missing = set(new) - set(values)
        return rows, seen.after([key for key in keys if key not in missing])

    async def _read_tokens(self, partition: str, keys: Sequence[str]) -> Tokens:
        items = await self._each(
            self._account.where(partition), [kind + key for key in keys for kind in (VALUE, KEY)]
        )
        tokens = {item.key: item.token for item in items}
        return {key: (tokens.get(VALUE + key, ""), tokens.get(KEY + key, "")) for key in keys}

    async def _each(self, where: str, keys: Sequence[str]) -> list[Item]:
        """Those of these items that are there."""

        async def some(ranges: Sequence[Range]) -> list[Item]:
            return [item for found in await self._account.k2v.search(ranges) for item in found]

        parts = await in_parallel(some, _batches([Range(where, key) for key in keys]), AT_ONCE)
        return [item for part in parts for item in part]

    async def _write(self, partition: str, rows: Sequence[Row], tokens: Tokens | None = None) -> None:
        where = self._account.where(partition)
        items: list[New] = []
        for row in rows:
            of_value, of_key = (tokens or {}).get(row.key, ("", ""))
            items.append(New(where, VALUE + row.key, row.value, of_value or None))
            items.append(New(where, KEY + row.key, b"", of_key or None))
        await in_parallel(self._account.k2v.insert, _batches(items), AT_ONCE)

    async def _remove(self, rows: Sequence[tuple[str, str]]) -> None:
        ranges = [
            Range(self._account.where(partition), kind + key)
            for partition, key in rows
            for kind in (KEY, VALUE)
        ]
        await in_parallel(self._account.k2v.delete, _batches(ranges), AT_ONCE)


class GarageStores(BucketStores[_Account, GarageStore]):
    """The accounts in a bucket of Garage."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._k2v = K2V(place, self.bucket.credentials)

    async def erase(self, account: str) -> None:
        """Rows go last. May be repeated, as for all stores in buckets."""
        opened = self._opened.get(check_account(account))
        used = opened.partitions if opened else set()
        await super().erase(account)
        prefix = _prefix(self.bucket, account)
        partitions = {prefix + name for name in used.union(PARTITIONS)}
        partitions.update(await self._k2v.partitions(prefix))
        await self._k2v.delete([Range(each, VALUE, _after(KEY)) for each in sorted(partitions)])

    async def aclose(self) -> None:
        await self._k2v.aclose()
        await super().aclose()

    def _account(self, account: str) -> _Account:
        return _Account(self.bucket, self._k2v, account)

    def _store(self, opened: _Account) -> GarageStore:
        return GarageStore(opened)


def _prefix(bucket: Bucket, account: str) -> str:
    """Of the names of an account's partitions."""
    return f"{bucket.place.prefix}{account}/"


def _above(where: str, kind: str, key: str) -> Range:
    """All values, or keys, of a partition that are above a key."""
    return Range(where, kind + key + AFTER, _after(kind))


def _after(kind: str) -> str:
    return chr(ord(kind) + 1)


def _batches(each: Sequence[T]) -> list[Sequence[T]]:
    """In parts of `BATCH` rows, which are two items each."""
    return [each[at : at + 2 * BATCH] for at in range(0, len(each), 2 * BATCH)]


def _value(where: str, item: Item) -> bytes:
    """The value of an item that has some."""
    values = set(item.values)
    if len(values) > 1:
        log.error("row %s of %s was written with different values", item.key[1:], where)
    return min(values)
