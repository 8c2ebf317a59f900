"""The keys of an account in its store, as they are read: slots, keyring, and the public keys for letters.

Partition "keys" holds a row `slot-<fingerprint>` for each secret that opens the account,
`keyring-<version>-<random>` (the highest counts) and `public-<generation>` in clear (the highest counts), for
those who bring letters. Rows are written once: how they change is in changing.py.
"""

import logging
import os
import re
from dataclasses import dataclass, field

import trio

from aerogramme.errors import AuthenticationFailed, Damaged, NoSuchUser, Refused
from aerogramme.seal.codes import Code
from aerogramme.seal.keyring import Keyring
from aerogramme.seal.secrets import KeySecret, Secret
from aerogramme.seal.slots import Kind, Slot, SlotPrivate
from aerogramme.store.port import Cursor, Row, Store
from aerogramme.together import OfRun

log = logging.getLogger(__name__)

PARTITION = "keys"
SLOT, KEYRING, PUBLIC, ROTATING = "slot-", "keyring-", "public-", "rotating-"
RESTORED = "restored-"  # rows without bytes: the account was put back from a backup (restored.py)

_NAME = re.compile(
    "slot-[0-9a-f]{32}|keyring-[0-9a-f]{8}-[0-9a-f]{8}|public-[0-9a-f]{8}|rotating-[0-9a-f]{8}-[0-9a-f]{32}"
    "|restored-[0-9a-f]{32}",
    re.ASCII,
)

AT_ONCE = 2  # passwords stretched at a time, in threads: each takes a core and 19 MiB for 90 ms

# Of one run: a thread that is abandoned at its end can never give its place back.
stretchers = OfRun("stretching passwords", lambda: trio.CapacityLimiter(AT_ONCE))


@dataclass(frozen=True, slots=True)
class Unlocked:
    """What a right password gives: the keyring, the slot that opened it, and how far the keys were read."""

    keyring: Keyring = field(repr=False)
    slot: SlotPrivate = field(repr=False)
    cursor: Cursor = field(repr=False)
    restored: tuple[str, ...] = ()  # row keys: it was put back from a backup, and nobody has opened it since


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """The partition as it was read. `cursor`: how far, to see later whether anything was changed."""

    store: Store
    slots: dict[str, Slot]  # by row key
    keyrings: list[tuple[str, bytes]]  # (row key, sealed), newest first
    public: dict[str, bytes]
    rotating: list[str]  # row keys: a rotation is not finished (passwords.py)
    cursor: Cursor
    restored: tuple[str, ...] = ()  # row keys

    @classmethod
    async def read(cls, store: Store) -> "StoredKeys":
        """Raises NoSuchUser when the account has no keys: its creation was never finished. A slot that does
        not decode is left out: the other passwords go on working, and the audit names it."""
        rows, cursor = await store.read(PARTITION)
        slots, keyrings, public, rotating, restored = {}, [], {}, [], []
        for key, value in rows:
            if not is_name(key):
                continue
            if key.startswith(SLOT):
                try:
                    slots[key] = Slot.from_bytes(value)
                except Damaged:
                    continue
            elif key.startswith(KEYRING):
                keyrings.append((key, value))
            elif key.startswith(PUBLIC):
                public[key] = value
            elif key.startswith(ROTATING):
                rotating.append(key)
            elif key.startswith(RESTORED):
                restored.append(key)
        if not keyrings:
            raise NoSuchUser("The account has no keys")
        keyrings.sort(reverse=True)
        return cls(store, slots, keyrings, public, rotating, cursor, tuple(restored))

    @property
    def version(self) -> int:
        """The highest of a keyring that is there, whether it opens or not."""
        return version_of(self.keyrings[0][0])

    def open_keyring(self, slot: SlotPrivate, account: bytes) -> Keyring:
        """What all keyrings that are there say together. Raises AuthenticationFailed when one of the highest
        version that can be read is not sealed to this slot: it was revoked.

        There are several when a change was cut short, or when two were made at once: then something may have
        been sealed with a generation that only one of them has. Of two of the highest version, who opens but
        one must not go on from that as if the other had never been.
        """
        found: Keyring | None = None
        highest: int | None = None
        damage: Damaged | None = None
        for key, sealed in self.keyrings:
            version = version_of(key)
            try:
                keyring = Keyring.unlock(sealed, slot, account)
                if keyring.version != version:
                    raise Damaged("a keyring has the name of another version")
            except Damaged as error:
                damage = damage or error
                continue
            except AuthenticationFailed:
                if highest in (None, version):
                    raise
                continue
            highest = version if highest is None else highest
            found = keyring if found is None else found.united(keyring)
        if found is None:
            raise damage or Damaged("the account has no keyring")
        if slot.public.fingerprint in found.dismissed:
            raise AuthenticationFailed("this password has been revoked")
        return found

    async def unlock(self, account_id: str, secret: Secret, *, first: Kind | None = None) -> Unlocked:
        """Tries the secret on every slot it may belong to, on those of the kind `first` before the others.
        Raises AuthenticationFailed."""
        secret, kind = recognized(secret)
        candidates = [slot for slot in self.slots.values() if slot.takes(kind)]
        candidates.sort(key=lambda slot: (slot.kind != first, -slot.created))
        failed = AuthenticationFailed()
        if isinstance(secret, KeySecret):
            failed = AuthenticationFailed(
                "the key does not open it: its user has come already, or it was made with another key"
            )
        for slot in candidates:
            try:
                private = await stretch(slot, secret)
            except AuthenticationFailed:
                continue
            try:
                return await self.unlock_slot(account_id, private)
            except AuthenticationFailed as error:  # another may have the same secret: a change was cut short
                failed = error
        if not candidates:
            await waste_time(secret)
        raise failed

    async def unlock_slot(self, account_id: str, slot: SlotPrivate) -> Unlocked:
        """What an opened slot opens. Raises AuthenticationFailed when it was revoked."""
        try:
            keyring = self.open_keyring(slot, bytes.fromhex(account_id))
        except AuthenticationFailed:
            # Or somebody who can write the store has put a keyring there that is none.
            log.warning(
                "account %s: slot %s was revoked, says row %s",
                account_id,
                slot.public.fingerprint.hex(),
                self.keyrings[0][0],
            )
            raise
        if f"{PUBLIC}{keyring.current:08x}" not in self.public:
            # A generation is published once its keyring was proved to be there. Of one that is not, the row
            # may be that of an append that failed, and be gone at the next read, with what it has sealed; or
            # it came late, and secrets that were added meanwhile do not open it. So it is written for all.
            await self.store.append(PARTITION, [keyring_row(keyring, self.version + 1)])
            await publish(self.store, keyring)
        for key, value in self.public.items():
            number = int(key.removeprefix(PUBLIC), 16)
            known = any(each.number == number for each in keyring.generations)
            if not known or keyring.incoming_public(number).to_bytes() != value:
                # Who can write the store can do this, and read what is delivered from then on; only those who
                # hold the keyring can tell. The login goes on: the user's old mail is as good as ever.
                log.error("account %s: letters are sealed to a key that is not its own", account_id)
        return Unlocked(keyring, slot, self.cursor, self.restored)


def recognized(secret: Secret) -> tuple[Secret, Kind]:
    """A code however it was typed as the secret of its slot, and which kind of slot to try: a password that
    somebody chose is that of no other kind."""
    if isinstance(secret, KeySecret):
        return secret, "invitation"
    try:
        code = Code.parse(secret.reveal().decode())
    except (Refused, UnicodeDecodeError):
        return secret, "password"
    return code.secret, code.kind


async def stretch(slot: Slot, secret: Secret) -> SlotPrivate:
    """Opens a slot in a thread. One that is cancelled goes on there, and keeps its place among the
    `stretchers`.
    """
    return await trio.to_thread.run_sync(
        slot.unlock, secret, limiter=stretchers.get(), abandon_on_cancel=True
    )


async def waste_time(secret: Secret) -> None:
    """What a wrong password costs, where there is no account: an answer must not tell which names exist."""
    await trio.to_thread.run_sync(
        Slot.create, secret or Secret(b"-"), limiter=stretchers.get(), abandon_on_cancel=True
    )


def is_name(key: str) -> bool:
    """Whether a row can be called so. What has any other name is not ours, and is left out."""
    return _NAME.fullmatch(key) is not None


def version_of(key: str) -> int:
    """The version of the keyring in a row."""
    return int(key.removeprefix(KEYRING).partition("-")[0], 16)


def keyring_row(keyring: Keyring, version: int) -> Row:
    """A keyring as it is stored."""
    # Random at the end: of two that are written at once under one version both stay.
    return Row(f"{KEYRING}{version:08x}-{os.urandom(4).hex()}", keyring.to_bytes(version))


def public_row(keyring: Keyring) -> Row:
    """The public key of the current generation."""
    public = keyring.incoming_public()
    return Row(f"{PUBLIC}{public.generation:08x}", public.to_bytes())


async def publish(store: Store, keyring: Keyring) -> None:
    """Writes the public key of the current generation. Only after the keyring that holds it is certain: else
    letters might be sealed to a key that nobody has."""
    await store.append(PARTITION, [public_row(keyring)])


async def unlock(store: Store, account_id: str, secret: Secret) -> Unlocked:
    """Opens the keyring with any secret of the account. Raises AuthenticationFailed."""
    return await (await StoredKeys.read(store)).unlock(account_id, secret)
