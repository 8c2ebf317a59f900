"""The one way to change the keys of an account: a keyring of a higher version, and what belongs to it.

Theory of operation. Stores that do not serialize let two change the keys at the same moment, and the rows of
an append that failed may come later. So keyrings are sets of facts that unite in any order (seal/keyring.py):
slots that are there, slots that are gone, generations. What is new is written beside what is old, and read
back. Only when the newest keyring is ours, all others that are there went into it, and every new slot opens
it, that which it replaces is deleted. If somebody else was faster, the change is made again with his; if he
has revoked the slot that we came with, it fails.

It is written twice, the second time once the first was proved: who began before that, and whose row comes
late, has a version that is lower than the second, so a slot that is revoked is not let in by it.

A crash at any step leaves the old secret or the new one opening everything, and the next change cleans up.
"""

import secrets
import time
from collections.abc import Callable, Sequence

import trio

from aerogramme.errors import Behind, Unavailable
from aerogramme.mailbox.keys.keys import PARTITION, PUBLIC, SLOT, StoredKeys, keyring_row, publish
from aerogramme.seal.keyring import Keyring
from aerogramme.seal.slots import Slot, SlotPrivate
from aerogramme.store.port import Row, Store

ORPHAN_SECONDS = 24 * 60 * 60  # by then a change is over, or was cut short: its slots are in no keyring
TRIES = 20  # of a change while others make theirs: each takes some round trips, and people change keys rarely
APART = 0.2  # seconds, growing, by which those who change them at once get out of step

New = tuple[Slot, SlotPrivate]


async def change_keys(
    store: Store,
    account_id: str,
    stored: StoredKeys,
    private: SlotPrivate,
    build: Callable[[Keyring], Keyring],
    *,
    new: Sequence[New] = (),
    rows: Callable[[Keyring], Sequence[Row]] = lambda _: (),
) -> Keyring:
    """Writes the keyring that `build` makes of the newest one, and what belongs to it, and then publishes a
    generation that is new; gives the keyring back as it was read.

    private  an opened slot that the keyring is sealed to, before and after
    new      slots that it is sealed to from now on, to be written with it
    rows     what else is written with it

    `build` may be called more than once, and on a keyring that holds its change already. Raises
    AuthenticationFailed when the slot has been revoked meanwhile, Unavailable when others change the keys all
    the time.
    """
    account = bytes.fromhex(account_id)
    written = 0
    for tries in range(TRIES):
        base = stored.open_keyring(private, account)
        keyring = build(base)
        version = stored.version + 1
        ours = keyring_row(keyring, version)
        try:
            await store.append(
                PARTITION, [*(slot_row(slot) for slot, _ in new), *rows(keyring), ours], read=stored.cursor
            )
        except Behind:
            stored = await StoredKeys.read(store)
            continue
        proved = await StoredKeys.read(store)
        written = written + 1 if _is_proved(proved, stored, ours, new) else 0
        if written == (1 if store.serialized else 2):
            for slot in (private, *(opened for _, opened in new)):
                made = Keyring.unlock(proved.keyrings[0][1], slot, account)
            if f"{PUBLIC}{made.current:08x}" not in proved.public:
                await publish(store, made)
            await store.delete_rows(PARTITION, [*_gone(stored, made), *_replaced(proved, made)])
            return made
        if not written:  # others are at it: by chance, one is let through
            await trio.sleep(secrets.SystemRandom().uniform(0, APART * (tries + 1)))
        stored = proved
    raise Unavailable("Somebody else is changing the keys of the account")


def _is_proved(proved: StoredKeys, before: StoredKeys, ours: Row, new: Sequence[New]) -> bool:
    """Whether what was read back is what was written, on top of all that others have written."""
    others = {key for key, _ in proved.keyrings} - {ours.key}
    return (
        proved.keyrings[0] == ours
        and others <= {key for key, _ in before.keyrings}
        and all(proved.slots.get(slot_key(slot)) == slot for slot, _ in new)
    )


def _gone(stored: StoredKeys, keyring: Keyring) -> list[str]:
    """Slots that open nothing: taken out, or left by a change that was cut short. One that is in no keyring
    may be that of a change that is being made now, and is left for a day."""
    members = {member.fingerprint for member in keyring.members}
    old = time.time() - ORPHAN_SECONDS

    def is_gone(slot: Slot) -> bool:
        fingerprint = slot.public.fingerprint
        return fingerprint not in members and (fingerprint in keyring.dismissed or slot.created < old)

    return [key for key, slot in stored.slots.items() if is_gone(slot)]


def _replaced(proved: StoredKeys, keyring: Keyring) -> list[str]:
    """Keyrings that have gone into the newest one. Where letters are sealed to a generation that it has not,
    one of a lower version, which the slot does not open, may have that: then none goes."""
    known = {f"{PUBLIC}{each.number:08x}" for each in keyring.generations}
    return [key for key, _ in proved.keyrings[1:]] if known >= proved.public.keys() else []


def slot_key(slot: Slot) -> str:
    return SLOT + slot.public.fingerprint.hex()


def slot_row(slot: Slot) -> Row:
    return Row(slot_key(slot), slot.to_bytes())
