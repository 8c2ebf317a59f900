"""What stores in a bucket have in common: objects, and which accounts there are. They differ in rows.

    accounts/<account>          there is such an account
    <account>/o/<name>          an object of it

below the prefix of the place.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar, cast
from weakref import WeakValueDictionary

import trio

from aerogramme.errors import NoSuchUser, NotStored, Unavailable
from aerogramme.store.bucket import Bucket
from aerogramme.store.credentials import Credentials
from aerogramme.store.objects import Objects
from aerogramme.store.place import Place
from aerogramme.store.port import Body, Cursor, Part, Row, Store, check_account
from aerogramme.store.tail import Seen

_MARKER = b"1\n"  # its version. Not empty: some services take an empty object for a folder

APPEND_SECONDS = 60.0  # port.LATE


class Opened:
    """An account, as all have it who opened it in this process."""

    def __init__(self, bucket: Bucket, account: str) -> None:
        self.objects = Objects(bucket, f"{bucket.place.prefix}{account}/o/")
        self._erased = False

    def check(self) -> None:
        """`NoSuchUser` once it was erased by this process. Another process's erasing shows as emptiness."""
        if self._erased:
            raise NoSuchUser("The account was erased")

    def erased(self) -> None:
        """It is being erased: called at once, for those who wait for something of it."""
        self._erased = True


A = TypeVar("A", bound=Opened)
S = TypeVar("S", bound=Store)


class BucketStore(ABC, Generic[A]):
    """The objects of an account, and what comes before and after its rows. See `port.Store` for what the
    methods promise. Cursors are `tail.Seen`."""

    serialized = False
    object_costs_request = True

    def __init__(self, account: A) -> None:
        self._account = account

    async def put(self, name: str, body: Body) -> None:
        self._account.check()
        await self._account.objects.put(name, body)

    async def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        self._account.check()
        return await self._account.objects.get(name, start, stop)

    async def get_many(self, wanted: Sequence[str | Part]) -> list[bytes | None]:
        self._account.check()
        return await self._account.objects.get_many(wanted)

    async def delete(self, names: Iterable[str]) -> None:
        self._account.check()
        await self._account.objects.delete(names)

    async def append(
        self,
        partition: str,
        rows: Sequence[Row],
        *,
        objects: Sequence[tuple[str, bytes]] = (),
        read: Cursor | None = None,
        delete: Sequence[tuple[str, str]] = (),
    ) -> Cursor | None:
        self._account.check()
        with trio.move_on_after(APPEND_SECONDS) as patience:
            await self._account.objects.put_many(objects)
            await self._write(partition, rows)
        if patience.cancelled_caught:
            raise Unavailable(hint=f"the store took more than {APPEND_SECONDS:g} seconds for an append")
        await self._remove(delete)
        return None if read is None else Cursor(cast("Seen", read).having(row.key for row in rows))

    async def delete_rows(self, partition: str, keys: Sequence[str]) -> None:
        self._account.check()
        await self._remove([(partition, key) for key in keys])

    @abstractmethod
    async def _write(self, partition: str, rows: Sequence[Row]) -> None:
        """Add rows."""

    @abstractmethod
    async def _remove(self, rows: Sequence[tuple[str, str]]) -> None:
        """Remove rows (partition, key)."""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def sizes(self, prefix: str, after: str = "", limit: int | None = None) -> list[tuple[str, int]]:
        self._account.check()
        return await self._account.objects.sizes(prefix, after, limit)

    # Last in its class, because from here on `list` is not the builtin.
    async def list(self, prefix: str, after: str = "", limit: int | None = None) -> list[str]:
        self._account.check()
        return await self._account.objects.list(prefix, after, limit)


class BucketStores(ABC, Generic[A, S]):
    """The accounts in a bucket. See `port.Stores` for what the methods promise."""

    def __init__(self, place: Place) -> None:
        self.bucket = Bucket(place, Credentials(place))
        self._markers = Objects(self.bucket, f"{place.prefix}accounts/")
        self._opened: WeakValueDictionary[str, A] = WeakValueDictionary()

    @abstractmethod
    def _account(self, account: str) -> A:
        """What all who open it in this process share."""

    @abstractmethod
    def _store(self, opened: A) -> S: ...

    async def open(self, account: str, *, create: bool = False) -> S:
        try:
            await self._markers.get(check_account(account))
        except NotStored:
            if not create:
                raise NoSuchUser from None
            await self._markers.put(account, _MARKER)
        await self.bucket.check_clock()
        opened = self._opened.get(account)
        if opened is None:
            opened = self._opened[account] = self._account(account)
        return self._store(opened)

    async def erase(self, account: str) -> None:
        """The marker goes first, so that nobody opens what is half gone; then all objects below the account,
        some at a time. May be repeated: what was left, or came late, goes then.
        """
        opened = self._opened.pop(check_account(account), None)
        if opened is not None:
            opened.erased()
        await self._markers.delete([account])
        objects = Objects(self.bucket, f"{self.bucket.place.prefix}{account}/")
        async with aclosing(objects.pages("")) as pages:
            async for page in pages:
                await objects.delete(name for name, _ in page)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    # Last in its class, because from here on `list` is not the builtin.
    async def list(self) -> list[str]:
        return [name for name in await self._markers.list("") if _is_account(name)]


def _is_account(name: str) -> bool:
    """Somebody else may have put things beside the markers."""
    try:
        check_account(name)
    except NoSuchUser:
        return False
    return True
