"""What an open account holds of its keys: the keyring, and the slots that have opened it.

Others change the keys meanwhile. Whoever seals asks for keys that are not stale (log/records.py), and who
finds a record of a generation that is not known asks for newer ones.
"""

from collections.abc import Callable

import trio

from aerogramme.errors import AuthenticationFailed
from aerogramme.log.clock import wall_ms
from aerogramme.mailbox.keys.keys import PARTITION, StoredKeys, Unlocked
from aerogramme.seal.slots import SlotPrivate
from aerogramme.store.port import Store


class Holding:
    """The keys of one opened account.

    keyring    seals and opens; it is one object for as long as the account is open, and adopts what is new
    slots      those that opened it and are not revoked, by fingerprint
    when_revoked   is called for each of them that turns out to be, with its fingerprint
    """

    def __init__(
        self, store: Store, account_id: str, unlocked: Unlocked, *, now_ms: Callable[[], int] = wall_ms
    ) -> None:
        self.keyring = unlocked.keyring
        self.slots: dict[bytes, SlotPrivate] = {}
        self.when_revoked: Callable[[bytes], None] = lambda _: None
        self.add(unlocked.slot)
        self._store = store
        self._account_id = account_id
        self._now_ms = now_ms
        self._cursor = unlocked.cursor
        self._read_at = now_ms()
        self._reads_begun = self._reads_done = 0
        self._lock = trio.Lock()

    def add(self, slot: SlotPrivate) -> None:
        """Another secret has opened the account."""
        self.slots[slot.public.fingerprint] = slot

    def unlocked(self) -> Unlocked:
        """What opens the account again, without a secret. Raises AuthenticationFailed if no slot is left."""
        if not self.slots:
            raise AuthenticationFailed("this password has been revoked")
        return Unlocked(self.keyring, next(iter(self.slots.values())), self._cursor)

    async def renew(self, age: float = 0) -> bool:
        """Takes over what others have changed, if the keys were last read more than `age` seconds ago.
        Whether anything was changed. Raises Unavailable; AuthenticationFailed once no slot is left.
        """
        # A clock that was set back tells nothing of when that was.
        if age and 0 <= self._now_ms() - self._read_at <= age * 1000:
            return False
        wanted = self._reads_begun + 1
        async with self._lock:
            if self._reads_done >= wanted:  # somebody has, since
                return True
            began = self._now_ms()
            self._reads_begun += 1
            changed, cursor = await self._store.read(PARTITION, self._cursor)
            if changed:
                await self._take_over(await StoredKeys.read(self._store))
            else:
                self._cursor = cursor
            self._read_at, self._reads_done = began, self._reads_begun
            if not self.slots:
                raise AuthenticationFailed("this password has been revoked")
            return bool(changed)

    async def _take_over(self, stored: StoredKeys) -> None:
        for fingerprint, slot in list(self.slots.items()):
            try:
                unlocked = await stored.unlock_slot(self._account_id, slot)
            except AuthenticationFailed:
                if self.slots.pop(fingerprint, None):
                    self.when_revoked(fingerprint)
            else:
                self.keyring.adopt(unlocked.keyring)
        self._cursor = stored.cursor

    async def watch(self) -> None:
        """Returns once somebody has changed the keys."""
        await self._store.watch(PARTITION, self._cursor, eager=lambda: False)
