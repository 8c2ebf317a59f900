"""Where letters for the accounts are put down, by whoever brings them: public keys, and no secret."""

from dataclasses import dataclass

import trio

from aerogramme.errors import NoSuchUser
from aerogramme.mailbox.incoming import LetterBox
from aerogramme.mailbox.keys import PARTITION, public_key
from aerogramme.seal.incoming import IncomingPublic
from aerogramme.store.port import Cursor, Store, Stores

# Seconds for which a public key is not read again where that costs a request. What is sealed to one that was
# replaced meanwhile can be read all the same.
KEY_SECONDS = 10.0


@dataclass(eq=False, slots=True)
class _Box:
    """The store of an account as letters need it, and its public key as it was when the keys were last
    read, at `read_at`.
    """

    store: Store
    public: IncomingPublic
    cursor: Cursor
    read_at: float


class LetterBoxes:
    """Letter boxes for a server: one store handle and public key for each account that got mail from it.

    `nursery` runs the uploads of large letters.
    """

    def __init__(self, stores: Stores, nursery: trio.Nursery) -> None:
        self._stores = stores
        self._nursery = nursery
        self._boxes: dict[str, _Box] = {}
        self._opening = trio.Lock()

    async def open(self, account_id: str) -> LetterBox:
        """The letter box of an account, with its newest public key (on a distant store, that of KEY_SECONDS
        ago). Raises NoSuchUser, Unavailable, Damaged.
        """
        box = self._boxes.get(account_id)
        if box is None:
            async with self._opening:
                box = self._boxes.get(account_id) or await self._open(account_id)
        elif not (box.store.object_costs_request and trio.current_time() < box.read_at + KEY_SECONDS):
            try:
                began = trio.current_time()
                changed, cursor = await box.store.read(PARTITION, box.cursor)
                if changed:
                    box.public, box.cursor = await public_key(box.store, account_id)
                else:
                    box.cursor = cursor
                box.read_at = began
            except NoSuchUser:  # erased: forget it, an account of this id may come again
                if self._boxes.get(account_id) is box:
                    del self._boxes[account_id]
                    await box.store.aclose()
                raise
        return LetterBox(box.store, account_id, box.public, self._nursery)

    async def _open(self, account_id: str) -> _Box:
        began = trio.current_time()
        store = await self._stores.open(account_id)
        try:
            box = self._boxes[account_id] = _Box(store, *await public_key(store, account_id), began)
        except BaseException:
            with trio.CancelScope(shield=True):
                await store.aclose()
            raise
        return box

    async def aclose(self) -> None:
        """Closes the stores. Letters that are not sent yet are lost."""
        while self._boxes:
            _, box = self._boxes.popitem()
            await box.store.aclose()
