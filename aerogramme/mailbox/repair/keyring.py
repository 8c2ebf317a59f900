"""Keys, and rows that nobody knows: set aside, and what the keyring can tell is written again."""

from collections.abc import AsyncGenerator

from aerogramme.errors import NoSuchUser, Refused
from aerogramme.log.entry import PARTITION as LOG
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.audit.setting_aside import copy_aside, remove, set_aside
from aerogramme.mailbox.keys import keys, passwords
from aerogramme.mailbox.keys.changing import change_keys
from aerogramme.seal import Keyring, SlotPrivate

_ASIDE = (Kind.USE, Kind.LET_GO, Kind.STRANGE, Kind.PUBLIC)


async def mend(account: Account, faults: list[Fault]) -> AsyncGenerator[str, None]:
    store = account.store
    # Rows of the log are not taken away before a checkpoint says that they are given up: parts.py.
    for fault in faults:
        item = fault.item
        if fault.kind in _ASIDE and item is not None and item[0] != LOG:
            yield f"setting aside: {fault.what}"
            await set_aside(store, item)
    about = [fault for fault in faults if fault.kind in (Kind.SLOT, Kind.KEYRING)]
    if about:
        yield "writing the keyring again for all passwords"
        try:
            await _write_again(account, about)
        except Refused as why:
            yield f"the keyring stays as it is: {why}"
    if any(fault.kind == Kind.PUBLIC for fault in faults):
        stored = await keys.StoredKeys.read(store)
        if f"{keys.PUBLIC}{account.keyring.current:08x}" not in stored.public:
            yield "publishing the key for letters again"
            await keys.publish(store, account.keyring)


async def _write_again(account: Account, faults: list[Fault]) -> None:
    """Raises Refused when none of the slots that have opened the account may change keys."""
    store, slot = account.store, _slot(account)
    try:
        stored = await keys.StoredKeys.read(store)
    except NoSuchUser:  # all that is left of the keyring is what this process holds
        await store.append(keys.PARTITION, [keys.keyring_row(account.keyring, account.keyring.version + 1)])
        stored = await keys.StoredKeys.read(store)
    items = [fault.item for fault in faults if fault.item is not None]
    for item in items:
        await copy_aside(store, item)
    damaged = {key for _, key in items}
    sound = {
        found.public.fingerprint
        for key, found in stored.slots.items()
        if key not in damaged or found.public.fingerprint == slot.public.fingerprint
    }

    def without(keyring: Keyring) -> Keyring:
        for member in keyring.members:
            if member.fingerprint not in sound:
                keyring = keyring.dismiss(member.fingerprint)
        return keyring

    made = await change_keys(store, account.id, stored, slot, without)
    account.keyring.adopt(made)
    for item in items:
        await remove(store, item)


def _slot(account: Account) -> SlotPrivate:
    """A slot that has opened the account and may change keys. Raises Refused."""
    refused = Refused("nothing has opened the account")
    for slot in account.holding.slots.values():
        try:
            passwords.check_may_change(slot)
        except Refused as error:
            refused = error
            continue
        return slot
    raise refused
