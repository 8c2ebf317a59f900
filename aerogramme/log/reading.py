"""Reading the log as it is stored, entry by entry: for those who look at it. The journal has its own way."""

from collections.abc import AsyncIterator

from aerogramme.errors import Damaged
from aerogramme.log.entry import KIND, PARTITION, Entry, decode
from aerogramme.log.journal import spilled
from aerogramme.seal import Keyring
from aerogramme.store.port import Store


async def entries(store: Store, keyring: Keyring) -> AsyncIterator[tuple[str, Entry | Damaged]]:
    """Row key and entry of all that is kept, by their clocks; Damaged in place of one that cannot be read.

    Raises Unavailable.
    """
    rows, _ = await store.read(PARTITION)
    for key, value in rows:
        try:
            # A large entry is an object; there are few of them, and the reader may stop at any one.
            sealed = value or (await store.get_many([spilled(key)]))[0]
            if sealed is None:
                raise Damaged("the object of an entry is missing")
            yield key, decode(key, keyring.open(KIND, key, sealed))
        except Damaged as damage:
            yield key, damage
