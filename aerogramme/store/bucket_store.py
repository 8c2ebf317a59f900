"""What stores in a bucket have in common: objects, and which accounts there are. They differ in rows.

    accounts/<account>          there is such an account
    <account>/o/<name>          an object of it

below the prefix of the place.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import trio

from aerogramme.errors import NoSuchUser, NotStored
from aerogramme.store.bucket import Bucket
from aerogramme.store.credentials import Credentials
from aerogramme.store.objects import Objects
from aerogramme.store.place import Place
from aerogramme.store.port import Body, Part, Store, check_account

_MARKER = b"1\n"  # its version. Not empty: some services take an empty object for a folder


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


class BucketStore(Generic[A]):
    """The objects of an account. See `port.Store` for what the methods promise."""

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

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

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
                await objects.delete(page)

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
