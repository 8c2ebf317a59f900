"""The audit of what lies around the mail: keys, uses of passwords, letters that wait."""

from collections.abc import Iterator

from aerogramme.errors import AuthenticationFailed, Damaged, NoSuchUser
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.body_record import body_binding, body_name, open_letter
from aerogramme.mailbox.incoming import incoming, landing
from aerogramme.mailbox.keys import keys, uses
from aerogramme.seal import Binding, IncomingPublic, Keyring, Slot, open_body


async def letters(account: Account) -> list[Fault]:
    """The incoming partition is empty, or each letter in it can be read."""
    faults = []
    rows, _ = await account.store.read(incoming.PARTITION)
    for key, sealed in rows:
        try:
            plain = account.keyring.open_incoming(sealed, Binding(account.keyring.account, "letter", key))
            letter = incoming.decode_letter(key, plain)
            [body] = await account.store.get_many([body_name(letter.id)])
            if body is None:
                raise Damaged("its body is missing")
            if letter.contents is None:
                open_letter(account.keyring.account, letter.id, letter.record, body)
                continue
            binding = body_binding(account.keyring.account, letter.id)
            plain = open_body(letter.record.key, binding, body, landing.MAX_PARCEL_OCTETS)
            landing.from_bytes(plain, letter.contents)
        except Damaged as why:
            what = f"letter {key} cannot be read: {why}"
            faults.append(Fault(Kind.LETTER, what, item=(incoming.PARTITION, key)))
    return faults


async def key_rows(account: Account) -> list[Fault]:
    """The keyring is sealed to every slot it knows, each has its row, and letters are sealed to its key."""
    rows, _ = await account.store.read(keys.PARTITION)
    keyring = account.keyring
    faults = [
        Fault(kind, f"row {key}: {why}", item=(keys.PARTITION, key))
        for key, value in rows
        for kind, why in _key_row(account, key, value)
    ]
    try:
        stored = await keys.StoredKeys.read(account.store)
    except NoSuchUser:
        return [*faults, Fault(Kind.KEYRING, "there is no keyring")]
    slots = {slot.public.fingerprint for slot in stored.slots.values()}
    known = {each.number for each in keyring.generations}
    if stored.version == keyring.version:  # else it was changed since
        faults += [
            Fault(
                Kind.PUBLIC,
                f"row {key}: the public key for letters is not that of the keyring",
                item=(keys.PARTITION, key),
            )
            for key in stored.public
            if int(key.removeprefix(keys.PUBLIC), 16) not in known
        ]
        faults += [
            Fault(Kind.SLOT, f"the {member.kind} slot {member.fingerprint.hex()} of the keyring has no row")
            for member in keyring.members
            if member.fingerprint not in slots
        ]
    if not any(member.kind in ("recovery", "invitation") for member in keyring.members):
        faults.append(Fault(Kind.RECOVERY, "there is no recovery slot"))
    if f"{keys.PUBLIC}{keyring.current:08x}" not in stored.public:
        faults.append(Fault(Kind.PUBLIC, "there is no public key for letters"))
    return faults


def _key_row(account: Account, key: str, value: bytes) -> Iterator[tuple[Kind, str]]:
    keyring = account.keyring
    kind = Kind.STRANGE
    if not keys.is_name(key):
        yield kind, "nobody knows what this is"
        return
    try:
        if key.startswith(keys.SLOT):
            kind = Kind.SLOT
            slot = Slot.from_bytes(value)
            if keys.SLOT + slot.public.fingerprint.hex() != key:
                yield kind, "the slot has the name of another"
            for member in keyring.members:
                told = member.kind, member.read_only, member.created
                if member.public == slot.public.raw and told != (slot.kind, slot.read_only, slot.created):
                    yield kind, "the slot is not what the keyring knows of it"
        elif key.startswith(keys.PUBLIC):
            kind = Kind.PUBLIC
            number = IncomingPublic.from_bytes(value).generation
            if key != f"{keys.PUBLIC}{number:08x}":
                yield kind, "the public key for letters has the name of another"
            known = any(each.number == number for each in keyring.generations)
            if known and value != keyring.incoming_public(number).to_bytes():
                yield kind, "the public key for letters is not that of the keyring"
        elif key.startswith((keys.ROTATING, keys.RESTORED)):
            if value:
                yield kind, "nobody knows what this is"
        elif key.startswith(keys.KEYRING):
            kind = Kind.KEYRING
            for why in _keyring_row(account, key, value):
                yield kind, why
    except Damaged as why:
        yield kind, str(why)


def _keyring_row(account: Account, key: str, value: bytes) -> Iterator[str]:
    """Raises Damaged."""
    for slot in account.holding.slots.values():
        try:
            found = Keyring.unlock(value, slot, account.keyring.account)
        except AuthenticationFailed:
            continue
        if found.version != keys.version_of(key):
            yield "the keyring has the name of another version"
        return
    if keys.version_of(key) == account.keyring.version:  # a higher one may have revoked them meanwhile
        yield "the keyring is sealed to none of the slots that have opened the account"


async def use_rows(account: Account) -> list[Fault]:
    """What is noted of the use of slots can be read."""
    faults = []
    for key, value in (await account.store.read(uses.PARTITION))[0]:
        try:
            account.keyring.open(uses.KIND, key, value)
        except Damaged as why:
            faults.append(Fault(Kind.USE, f"row {key}: {why}", item=(uses.PARTITION, key)))
    return faults
