"""Reading the log as it is stored, entry by entry: for those who look at it. The journal has its own way."""

from collections.abc import AsyncIterator

from aerogramme.errors import Damaged
from aerogramme.log.entry import KIND, PARTITION, Entry, decode
from aerogramme.log.journal import spilled
from aerogramme.log.records import Records, Renew, never
from aerogramme.log.suffix import base_of
from aerogramme.seal import Keyring
from aerogramme.store.port import Store


async def entries(
    store: Store, keyring: Keyring, renew: Renew = never
) -> AsyncIterator[tuple[str, Entry | Damaged]]:
    """Row key and entry of all that is kept, by their clocks; Damaged in place of one that cannot be read.
    One that is there twice, because it is just being sealed again, is given once.

    Raises Unavailable.
    """
    records = Records(store, keyring, renew)
    rows, _ = await store.read(PARTITION)
    given = ""
    for key, value in rows:
        if base_of(key) == given:
            continue
        try:
            # A large entry is an object; there are few of them, and the reader may stop at any one.
            if value:
                plain = await records.open(KIND, key, value)
            else:
                [read] = await records.read(KIND, [spilled(key)])
                if isinstance(read, Damaged):
                    raise read
                plain = read
            yield key, decode(key, plain)
            given = base_of(key)
        except Damaged as damage:
            yield key, damage
