"""The audit of an account whose keys nobody has given: names, heads, and what of the keys is not sealed.

It finds what a disk does to a store, as far as that can be seen from outside: things that begin as nothing of
ours does, and keys that are no keys. What somebody has put there who knows what ours looks like, and bits
that have turned inside, only the keys can tell.
"""

from aerogramme.errors import Damaged, NoSuchUser
from aerogramme.log.entry import PARTITION as LOG
from aerogramme.log.entry import parse_key
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.audit.store import PAGE, strange_names
from aerogramme.mailbox.keys import keys
from aerogramme.mailbox.keys.rotation import scan
from aerogramme.seal import IncomingPublic, Slot
from aerogramme.store.port import Part, Store

BODY_HEAD = b"AGB\x01"  # with which every body begins (docs/format.md)


async def examine_sealed(store: Store, account_id: str) -> list[Fault]:
    """What is wrong with an account, as far as that can be told without its keys. Raises Unavailable."""
    faults = await strange_names(store)
    faults += await _keys(store, account_id)
    for key, _ in (await store.read(LOG))[0]:
        try:
            parse_key(key)
        except Damaged as why:
            faults.append(Fault(Kind.STRANGE, f"entry {key}: {why}", item=(LOG, key)))
    faults += [
        Fault(Kind.OBJECT, f"{name} does not begin as it should: {why}")
        for name, why in (await scan(store)).unreadable.items()
    ]
    after = ""
    while names := await store.list("body/", after, PAGE):
        after = names[-1]
        heads = await store.get_many([Part(name, 0, len(BODY_HEAD)) for name in names])
        faults += [
            Fault(Kind.BODY, f"object {name} does not begin as a body does", item=("", name))
            for name, head in zip(names, heads, strict=True)
            if head is not None and head != BODY_HEAD  # None: it has gone meanwhile
        ]
    return faults


async def _keys(store: Store, account_id: str) -> list[Fault]:
    faults = []
    rows, _ = await store.read(keys.PARTITION)
    for key, value in rows:
        kind, why = Kind.STRANGE, "" if keys.is_name(key) else "nobody knows what this is"
        try:
            if key.startswith(keys.SLOT) and not why:
                kind = Kind.SLOT
                if keys.SLOT + Slot.from_bytes(value).public.fingerprint.hex() != key:
                    why = "the slot has the name of another"
            elif key.startswith(keys.PUBLIC) and not why:
                kind = Kind.PUBLIC
                public = IncomingPublic.from_bytes(value)
                if public.account.hex() != account_id or key != f"{keys.PUBLIC}{public.generation:08x}":
                    why = "the public key for letters has the name of another"
        except Damaged as damage:
            why = str(damage)
        if why:
            faults.append(Fault(kind, f"row {key}: {why}", item=(keys.PARTITION, key)))
    try:
        stored = await keys.StoredKeys.read(store)
    except NoSuchUser:
        return [*faults, Fault(Kind.KEYRING, "there is no keyring")]
    if not stored.slots:
        faults.append(Fault(Kind.SLOT, "there is no password that opens it"))
    if not stored.public:
        faults.append(Fault(Kind.PUBLIC, "there is no public key for letters"))
    return faults
