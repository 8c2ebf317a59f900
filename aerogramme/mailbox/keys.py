"""The keys of an account in its store: slots, keyring, and the public key for letters.

Partition "keys" holds a row `slot-<fingerprint>` for each password, `keyring-<version>-<random>` (the highest
counts) and `public-<generation>` in clear (the highest counts), for those who bring letters. Rows are written
once: a change is a new keyring row, and what it replaces goes when the new one has been proved to open.
"""

import logging
import os
from dataclasses import dataclass, field

import trio

from aerogramme.errors import AlreadyExists, AuthenticationFailed, Behind, Damaged, NoSuchUser, Refused
from aerogramme.seal.incoming import IncomingPublic
from aerogramme.seal.keyring import Keyring
from aerogramme.seal.recovery import RecoveryCode
from aerogramme.seal.secrets import Secret
from aerogramme.seal.slots import Argon2Params, Kind, Slot, SlotPrivate
from aerogramme.store.port import Cursor, Row, Store

log = logging.getLogger(__name__)

PARTITION = "keys"
SLOT, KEYRING, PUBLIC = "slot-", "keyring-", "public-"

AT_ONCE = 2  # passwords stretched at a time, in threads: each takes a core and 19 MiB for 90 ms

_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("stretching passwords")


def stretchers() -> trio.CapacityLimiter:
    """Bounds how many passwords are stretched at once.

    One for each run of trio: a thread that is abandoned at the end of a run can never give its place back.
    """
    try:
        return _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(AT_ONCE)
        _limiter.set(limiter)
        return limiter


@dataclass(frozen=True, slots=True)
class Unlocked:
    """What a right password gives: the keyring, and the slot that opened it."""

    keyring: Keyring = field(repr=False)
    slot: SlotPrivate = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """The partition as it was read. `cursor`: how far, to see later whether anything was changed."""

    slots: dict[str, Slot]  # by row key
    keyrings: list[tuple[str, bytes]]  # (row key, sealed), newest first
    public: dict[str, bytes]
    cursor: Cursor

    @classmethod
    async def read(cls, store: Store) -> "StoredKeys":
        """Raises NoSuchUser when the account has no keys: its creation was never finished. A slot that does
        not decode is left out: the other passwords go on working, and the audit names it."""
        rows, cursor = await store.read(PARTITION)
        slots, keyrings, public = {}, [], {}
        for key, value in rows:
            if key.startswith(SLOT):
                try:
                    slots[key] = Slot.from_bytes(value)
                except Damaged:
                    continue
            elif key.startswith(KEYRING):
                keyrings.append((key, value))
            elif key.startswith(PUBLIC):
                public[key] = value
        if not keyrings:
            raise NoSuchUser("The account has no keys")
        keyrings.sort(reverse=True)
        return cls(slots, keyrings, public, cursor)

    def open_keyring(self, slot: SlotPrivate, account: bytes) -> Keyring:
        """The newest keyring that can be read. Raises AuthenticationFailed when it is not sealed to this
        slot.
        """
        damage: Damaged | None = None
        for _, sealed in self.keyrings:
            try:
                return Keyring.unlock(sealed, slot, account)
            except Damaged as error:  # an older one may be left from a change that was cut short
                damage = damage or error
        raise damage or Damaged("the account has no keyring")

    async def unlock(self, account_id: str, secret: Secret) -> Unlocked:
        """Tries the secret on every slot it may belong to. Raises AuthenticationFailed."""
        secret, recovery = _recognized(secret)
        candidates = [slot for slot in self.slots.values() if (slot.kind == "recovery") == recovery]
        candidates.sort(key=lambda slot: (slot.kind != "password", -slot.created))
        for slot in candidates:
            try:
                private = await stretch(slot, secret)
            except AuthenticationFailed:
                continue
            keyring = self.open_keyring(private, bytes.fromhex(account_id))
            if self.public and self.public[max(self.public)] != keyring.incoming_public().to_bytes():
                # Who can write the store can do this, and read what is delivered from then on; only those who
                # hold the keyring can tell. The login goes on: the user's old mail is as good as ever.
                log.error("account %s: letters are sealed to a key that is not its own", account_id)
            return Unlocked(keyring, private)
        if not candidates:
            await waste_time(secret)
        raise AuthenticationFailed


def _recognized(secret: Secret) -> tuple[Secret, bool]:
    """A recovery code however it was typed as the secret of its slot, and whether it is one."""
    try:
        return RecoveryCode.parse(secret.reveal().decode()).secret, True
    except (Refused, UnicodeDecodeError):
        return secret, False


async def stretch(slot: Slot, secret: Secret) -> SlotPrivate:
    """Opens a slot in a thread. One that is cancelled goes on there, and keeps its place among the
    STRETCHERS.
    """
    return await trio.to_thread.run_sync(slot.unlock, secret, limiter=stretchers(), abandon_on_cancel=True)


async def waste_time(secret: Secret) -> None:
    """What a wrong password costs, where there is no account: an answer must not tell which names exist."""
    await trio.to_thread.run_sync(
        Slot.create, secret or Secret(b"-"), limiter=stretchers(), abandon_on_cancel=True
    )


async def _new_slot(
    secret: Secret, kind: Kind, label: str, params: Argon2Params | None, read_only: bool = False
) -> tuple[Slot, SlotPrivate]:
    def create() -> tuple[Slot, SlotPrivate]:
        return Slot.create(secret, kind, label, params, read_only=read_only)

    return await trio.to_thread.run_sync(create, limiter=stretchers())


def _slot_row(slot: Slot) -> Row:
    return Row(SLOT + slot.public.fingerprint.hex(), slot.to_bytes())


def _keyring_row(keyring: Keyring, version: int) -> Row:
    # Random at the end: of two that are written at once under one version both stay, and the higher one
    # counts.
    return Row(f"{KEYRING}{version:08x}-{os.urandom(4).hex()}", keyring.to_bytes(version))


def _public_row(keyring: Keyring) -> Row:
    public = keyring.incoming_public()
    return Row(f"{PUBLIC}{public.generation:08x}", public.to_bytes())


async def create_keys(
    store: Store, account_id: str, password: Secret, params: Argon2Params | None = None
) -> tuple[Keyring, RecoveryCode]:
    """First slot, recovery slot, public key and keyring, in one append. Raises AlreadyExists."""
    rows, cursor = await store.read(PARTITION)
    if any(key.startswith(KEYRING) for key, _ in rows):
        raise AlreadyExists("The account exists already")
    if rows:  # a creation was cut short; its public key has the name that the new one will have
        await store.delete_rows(PARTITION, [key for key, _ in rows])
    code = RecoveryCode.generate()
    slot, private = await _new_slot(password, "password", "", params)
    recovery, recovery_private = await _new_slot(code.secret, "recovery", "", params)
    keyring = Keyring.create(bytes.fromhex(account_id)).admit(private).admit(recovery_private)
    # The keyring is the last: once it is there, all is.
    new = [_slot_row(slot), _slot_row(recovery), _public_row(keyring), _keyring_row(keyring, 1)]
    try:
        await store.append(PARTITION, new, read=cursor)
    except Behind:
        raise AlreadyExists("The account exists already") from None
    stored = await StoredKeys.read(store)
    return stored.open_keyring(private, bytes.fromhex(account_id)), code


async def unlock(store: Store, account_id: str, secret: Secret) -> Unlocked:
    """Opens the keyring with a password, an app password or the recovery code. Raises
    AuthenticationFailed.
    """
    return await (await StoredKeys.read(store)).unlock(account_id, secret)


async def change_password(
    store: Store, account_id: str, opener: Secret, new: Secret, params: Argon2Params | None = None
) -> None:
    """Replaces the password (kind "password") by a new one; app passwords and the recovery code go on
    working.

    `opener` is the old password or the recovery code. The new slot is written and proved to open before the
    old one goes: a crash at any step leaves one that works. Raises AuthenticationFailed; Behind when somebody
    else changed the keys at the same time (nothing is lost, try again); Refused for a read-only app password.
    """
    account = bytes.fromhex(account_id)
    stored = await StoredKeys.read(store)
    unlocked = await stored.unlock(account_id, opener)
    if unlocked.slot.kind == "app":
        raise Refused("An app password cannot change the password")
    slot, private = await _new_slot(new, "password", "", params)
    both = unlocked.keyring.admit(private)
    await store.append(PARTITION, [_slot_row(slot), _keyring_row(both, both.version + 1)], read=stored.cursor)

    proved = await StoredKeys.read(store)
    again = await proved.unlock(account_id, new)
    if again.slot.public.fingerprint != private.public.fingerprint:
        raise AlreadyExists("Another password of this account is the same")
    only = again.keyring
    gone = [m.fingerprint for m in only.members if m.kind == "password" and m.public != private.public.raw]
    for fingerprint in gone:
        only = only.dismiss(fingerprint)
    last = _keyring_row(only, only.version + 1)
    Keyring.unlock(last.value, private, account)
    old_rows = [SLOT + fingerprint.hex() for fingerprint in gone] + [key for key, _ in proved.keyrings]
    await store.append(PARTITION, [last], read=proved.cursor, delete=[(PARTITION, key) for key in old_rows])


async def add_slot(
    store: Store,
    account_id: str,
    opener: Secret,
    secret: Secret,
    label: str,
    *,
    read_only: bool = False,
    params: Argon2Params | None = None,
) -> None:
    """Adds an app password. Errors as for `change_password`."""
    stored = await StoredKeys.read(store)
    unlocked = await stored.unlock(account_id, opener)
    if unlocked.slot.kind == "app":
        raise Refused("An app password cannot make others")
    slot, private = await _new_slot(secret, "app", label, params, read_only)
    keyring = unlocked.keyring.admit(private)
    rows = [_slot_row(slot), _keyring_row(keyring, keyring.version + 1)]
    old = [(PARTITION, key) for key, _ in stored.keyrings]
    await store.append(PARTITION, rows, read=stored.cursor, delete=old)


async def public_key(store: Store, account_id: str) -> tuple[IncomingPublic, Cursor]:
    """The key that letters are sealed to, and how far the keys were read. Raises NoSuchUser, Damaged."""
    stored = await StoredKeys.read(store)
    if not stored.public:
        raise Damaged("the account has no public key")
    public = IncomingPublic.from_bytes(stored.public[max(stored.public)])
    if public.account != bytes.fromhex(account_id):
        raise Damaged("the public key is that of another account")
    return public, stored.cursor
