"""When the secrets of an account were last used, to the day: for who wonders whether an app password is still
needed.

Partition "uses" holds a row `<fingerprint>-<random>` for a slot, sealed by the keyring: who reads the store
sees that a slot was used, not when. At most one is written for a slot and day, so a login costs a row once a
day; the older rows of the slot go then.
"""

import os
import time

from aerogramme.errors import Damaged
from aerogramme.seal.keyring import Keyring
from aerogramme.seal.strict import pack, unpack
from aerogramme.store.port import Row, Store

PARTITION = "uses"
KIND = "use"  # of the sealed record; its name is the row key
DAY = 24 * 60 * 60
VERSION = 1


async def last(store: Store, keyring: Keyring) -> dict[bytes, int]:
    """The day of the last use (its first second, since 1970) by the fingerprint of the slot. What cannot be
    read is left out."""
    rows, _ = await store.read(PARTITION)
    days: dict[bytes, int] = {}
    for row in rows:
        day = _day_of(keyring, row)
        if day is not None:
            fingerprint = bytes.fromhex(row.key.partition("-")[0])
            days[fingerprint] = max(day * DAY, days.get(fingerprint, 0))
    return days


async def note(store: Store, keyring: Keyring, fingerprint: bytes, now: float | None = None) -> None:
    """The slot has been used now (unix seconds)."""
    today = int(time.time() if now is None else now) // DAY
    rows, _ = await store.read(PARTITION)
    own = [row for row in rows if row.key.startswith(fingerprint.hex())]
    if any((_day_of(keyring, row) or 0) >= today for row in own):
        return
    key = f"{fingerprint.hex()}-{os.urandom(8).hex()}"
    sealed = keyring.seal(KIND, key, pack([VERSION, today]))
    await store.append(PARTITION, [Row(key, sealed)], delete=[(PARTITION, row.key) for row in own])


async def forget(store: Store, fingerprint: bytes) -> None:
    """The slot is gone."""
    rows, _ = await store.read(PARTITION)
    own = [row.key for row in rows if row.key.startswith(fingerprint.hex())]
    if own:
        await store.delete_rows(PARTITION, own)


def _day_of(keyring: Keyring, row: Row) -> int | None:
    try:
        match unpack(keyring.open(KIND, row.key, row.value)):
            case [1, int(day)] if len(row.key.partition("-")[0]) == 32:
                return day
    except Damaged:  # worth no more than a line: the next use writes another
        return None
    return None
