"""An account whose password is not known, as the target of a pass: mail goes into parcels."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio

from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.contents import MAX_MESSAGE, Upload
from aerogramme.mailbox.incoming.incoming import PARTITION, LetterBox, is_parcel
from aerogramme.mailbox.incoming.landing import Landing
from aerogramme.migrate.targets.arriving import Arrived, Arriving
from aerogramme.seal.incoming import IncomingPublic
from aerogramme.store.port import Store
from aerogramme.together import in_parallel

AT_ONCE = 64  # bodies that are put at a time: stores that are files take them with one sync


@asynccontextmanager
async def sealed(
    store: Store, account_id: str, public: IncomingPublic, limit: int = MAX_MESSAGE
) -> AsyncIterator["Sealed"]:
    """The target, as long as it is needed. `limit`: octets of the largest letter."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield Sealed(store, account_id, LetterBox(store, account_id, public, nursery), limit)
        except Exception as error:  # out of the nursery it would come as a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Sealed:
    """What can be done with an account without its keys: parcels go in, and out again as long as they
    wait."""

    def __init__(self, store: Store, account_id: str, box: LetterBox, limit: int) -> None:
        self._store = store
        self._account = bytes.fromhex(account_id)
        self._box = box
        self._limit = limit

    async def waiting(self) -> set[str]:
        """The row keys of the parcels that have not been opened."""
        rows, _ = await self._store.read(PARTITION)
        return {key for key, _value in rows if is_parcel(key)}

    async def withdraw(self, keys: Sequence[str]) -> None:
        """These parcels are not to be opened. Their bodies stay, for somebody may be opening them just now;
        what nothing names leaves the store by itself."""
        if keys:
            await self._store.delete_rows(PARTITION, keys)

    def new_ids(self, count: int) -> range:
        """Ids for a mailbox, or for the letters of a parcel."""
        return self._box.new_ids(count)

    def arriving(self, content: int) -> Arriving:
        """A letter that comes in. An id may be used again for another letter if this one is dropped."""
        # Without a nursery nothing is stored before all of it is there, and the id is good for another.
        return Arriving(Upload(content, self._account, self._store, self._limit, None))

    async def send(self, landing: Landing, letters: Sequence[Arrived], millis: int) -> str:
        """A parcel, durable on return. Its row key."""
        bodies = [
            (body_name(arrived.content.id), arrived.sealed)
            for arrived in letters
            if arrived.sealed is not None
        ]
        await in_parallel(partial(_put, self._store), bodies, AT_ONCE)
        return await self._box.parcel(landing, millis)


async def _put(store: Store, body: tuple[str, bytes]) -> None:
    await store.put(*body)
