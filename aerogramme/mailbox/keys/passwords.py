"""What changes the keys of an account: passwords, app passwords, codes, and generations.

Every change ends in a keyring of a higher version (changing.py). Who replaces a password takes out those that
are older, by the date in the slots; two who do so at the same time must not take out each other's. So the one
whose own is the older of the two gives up.

No message is read or written by anything here.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import trio

from aerogramme.errors import AlreadyExists, AuthenticationFailed, Behind, Refused, Unavailable
from aerogramme.mailbox.keys import uses
from aerogramme.mailbox.keys.changing import New, change_keys, slot_key, slot_row
from aerogramme.mailbox.keys.keys import (
    KEYRING,
    PARTITION,
    ROTATING,
    SLOT,
    StoredKeys,
    Unlocked,
    keyring_row,
    public_row,
    stretch,
    stretchers,
)
from aerogramme.seal.codes import Code
from aerogramme.seal.hashes import PasswordHash
from aerogramme.seal.hybrid import FINGERPRINT_SIZE
from aerogramme.seal.keyring import Generation, Keyring, Member
from aerogramme.seal.locks import Argon2Params
from aerogramme.seal.secrets import Secret
from aerogramme.seal.slots import Kind, Slot, SlotPrivate
from aerogramme.store.port import Row, Store

KEY_PARAMS = Argon2Params(memory=8, passes=1, lanes=1)  # nobody guesses 256 random bits


@dataclass(frozen=True, slots=True)
class SlotInfo:
    """One of the secrets that open an account, as its owner sees it. Times are seconds since 1970."""

    fingerprint: bytes
    kind: Kind
    label: str
    read_only: bool
    created: int
    last_used: int | None  # the day; None for what is not kept (see uses.py), or never


async def create_keys(
    store: Store,
    account_id: str,
    secret: Secret,
    params: Argon2Params | None = None,
    *,
    invitation: bool = False,
) -> tuple[Unlocked, Code | None]:
    """First slot, recovery slot, public key and keyring. Raises AlreadyExists.

    With `invitation`, `secret` is that of an invitation code, and there is no recovery code until somebody
    accepts it.
    """
    code = None if invitation else Code.generate("recovery")
    slots = [await _new_slot(secret, "invitation" if invitation else "password", params)]
    if code is not None:
        slots.append(await _new_slot(code.secret, "recovery", params))
    return await _create(store, account_id, slots), code


async def create_invited(
    store: Store,
    account_id: str,
    key: Secret,
    invited_by: Secret | PasswordHash,
    params: Argon2Params | None = None,
) -> Unlocked:
    """The keys of a user who comes from another server. Raises AlreadyExists.

    key         32 random bytes: an invitation for whoever moves the user, to renew the other one
    invited_by  the secret of an invitation code, or what the other server keeps of the user's password
    """
    by_key = Slot.create(key, "invitation", "import", KEY_PARAMS)
    return await _create(store, account_id, [by_key, await _invitation_slot(invited_by, params)])


async def _create(store: Store, account_id: str, slots: Sequence[New]) -> Unlocked:
    """All keys in one append, opened by the first slot. Raises AlreadyExists."""
    rows, cursor = await store.read(PARTITION)
    if any(key.startswith(KEYRING) for key, _ in rows):
        raise AlreadyExists("The account exists already")
    if rows:  # a creation was cut short
        await store.delete_rows(PARTITION, [key for key, _ in rows])
    keyring = Keyring.create(bytes.fromhex(account_id))
    for _, private in slots:
        keyring = keyring.admit(private)
    # The keyring is the last: once it is there, all is. Nobody brings letters to an account without a name.
    new = [*(slot_row(slot) for slot, _ in slots), public_row(keyring), keyring_row(keyring, 1)]
    try:
        await store.append(PARTITION, new, read=cursor)
    except Behind:
        raise AlreadyExists("The account exists already") from None
    stored = await StoredKeys.read(store)
    return await stored.unlock_slot(account_id, slots[0][1])


async def change_password(
    store: Store, account_id: str, opener: Secret, new: Secret, params: Argon2Params | None = None
) -> None:
    """Replaces the password by a new one; app passwords and the recovery code go on working.

    `opener` is the old password or the recovery code. Raises AuthenticationFailed; Refused for an app
    password.
    """
    stored, unlocked = await _opened(store, account_id, opener)
    slot = await _new_slot(new, "password", params, unlocked.keyring)
    # An invitation beside a password is one whose acceptance was cut short: this is its end, too.
    accepted = any(member.kind == "invitation" for member in unlocked.keyring.members)
    kinds: tuple[Kind, ...] = ("password", "invitation")
    await _replace(store, account_id, stored, unlocked, [slot], kinds, proof=new, generation=accepted)


async def new_recovery_code(
    store: Store, account_id: str, opener: Secret, params: Argon2Params | None = None
) -> Code:
    """Another recovery code; the old one opens nothing any more. `opener` and errors: as for the password."""
    stored, unlocked = await _opened(store, account_id, opener)
    code = Code.generate("recovery")
    slot = await _new_slot(code.secret, "recovery", params, unlocked.keyring)
    await _replace(store, account_id, stored, unlocked, [slot], ("recovery",), proof=code.secret)
    return code


async def accept_invitation(
    store: Store, account_id: str, invitation: Secret, new: Secret, params: Argon2Params | None = None
) -> Code:
    """Makes the user's password of an invitation, which opens nothing any more; gives the recovery code.

    `invitation` is the secret of a code, or the password that the user had on another server.

    Who made the invitation may have copied what it opens, so there is a new generation of keys too. Raises
    AuthenticationFailed; Refused for anything but an invitation.
    """
    stored = await StoredKeys.read(store)
    unlocked = await stored.unlock(account_id, invitation, first="invitation")
    if unlocked.slot.kind != "invitation":
        raise Refused("This is no invitation")
    code = Code.generate("recovery")
    wanted: tuple[tuple[Secret, Kind], ...] = ((new, "password"), (code.secret, "recovery"))
    slots = [await _new_slot(secret, kind, params, unlocked.keyring) for secret, kind in wanted]
    # Passwords and recovery codes that are there are those of an acceptance that was cut short.
    kinds: tuple[Kind, ...] = ("invitation", "password", "recovery")
    await _replace(store, account_id, stored, unlocked, slots, kinds, proof=new, generation=True)
    return code


async def renew_invitation(
    store: Store,
    account_id: str,
    key: Secret,
    invited_by: Secret | PasswordHash,
    params: Argon2Params | None = None,
) -> bool:
    """Puts an invitation in place of the one that is there, as the user's password has changed on the other
    server, say; False if it is that one already. `key` is that of `create_invited`.

    Raises AlreadyExists when the user has accepted and has a password here, AuthenticationFailed for another
    key.
    """
    stored = await StoredKeys.read(store)
    if any(slot.kind == "password" for slot in stored.slots.values()):
        raise AlreadyExists("The user has a password here already")
    opener = None
    for each in stored.slots.values():
        if each.kind == "invitation" and not each.hashed:
            with suppress(AuthenticationFailed):
                opener = await stretch(each, key)
    if opener is None:
        raise AuthenticationFailed("The account was made with another key")
    keyring = stored.open_keyring(opener, bytes.fromhex(account_id))
    if isinstance(invited_by, PasswordHash):
        for member in keyring.members:  # a slot that is in no keyring is of a renewal that was cut short
            slot = stored.slots.get(SLOT + member.fingerprint.hex())
            with suppress(AuthenticationFailed):
                if slot is not None:
                    await trio.to_thread.run_sync(slot.unlock_with_hash, invited_by, limiter=stretchers.get())
                    return False
    new = await _invitation_slot(invited_by, params, keyring)
    kept = opener.public.raw, new[1].public.raw

    def build(keyring: Keyring) -> Keyring:
        keyring = keyring.admit(new[1])
        for member in keyring.members:
            if member.kind == "invitation" and member.public not in kept:
                keyring = keyring.dismiss(member.fingerprint)
        return keyring

    await change_keys(store, account_id, stored, opener, build, new=[new])
    return True


async def create_app_password(
    store: Store, account_id: str, opener: Secret, label: str, *, read_only: bool = False
) -> Code:
    """A password for one program or device. `opener` and errors: as for the password; AlreadyExists when
    there is one with this label."""
    stored, unlocked = await _opened(store, account_id, opener)
    if any(member.kind == "app" and member.label == label for member in unlocked.keyring.members):
        raise AlreadyExists("There is an app password with this label")
    code = Code.generate("app")
    slot = Slot.create_app(code.secret, bytes.fromhex(account_id), label, read_only=read_only)
    await change_keys(
        store, account_id, stored, unlocked.slot, lambda keyring: keyring.admit(slot[1]), new=[slot]
    )
    return code


async def revoke(store: Store, account_id: str, opener: Secret, which: str) -> SlotInfo:
    """Takes an app password back, or an invitation, by its label or the beginning of its fingerprint in hex.
    Raises Refused when it names none, or several."""
    stored, unlocked = await _opened(store, account_id, opener)
    found = [m for m in unlocked.keyring.members if m.kind == "app" and m.label == which]
    found = found or [
        m
        for m in unlocked.keyring.members
        if m.kind in ("app", "invitation") and len(which) >= 4 and m.fingerprint.hex().startswith(which)
    ]
    if len(found) != 1:
        raise Refused(
            "There is no such app password" if not found else "There are several of this name",
            hint="`account app-password list` shows them, with their ids",
        )
    gone = found[0].fingerprint
    await change_keys(store, account_id, stored, unlocked.slot, lambda keyring: keyring.dismiss(gone))
    await uses.forget(store, gone)
    return _info(found[0], None)


async def list_slots(store: Store, account_id: str, opener: Secret) -> list[SlotInfo]:
    """All that opens the account, oldest first. Any of its secrets may ask. Raises AuthenticationFailed."""
    unlocked = await (await StoredKeys.read(store)).unlock(account_id, opener)
    used = await uses.last(store, unlocked.keyring)
    members = sorted(unlocked.keyring.members, key=lambda member: member.created)
    return [_info(member, used.get(member.fingerprint)) for member in members]


async def add_generation(store: Store, account_id: str, stored: StoredKeys, slot: SlotPrivate) -> Keyring:
    """One more generation of keys, proved and published, and a row that says that what older ones have
    sealed is to be sealed again."""
    generation: list[Generation] = []

    def build(keyring: Keyring) -> Keyring:
        if not generation:
            generation.append(Generation.after(keyring.current))
        return keyring.with_generation(generation[0])

    return await change_keys(store, account_id, stored, slot, build, rows=lambda k: [Row(_rotating(k), b"")])


def is_rotating(stored: StoredKeys, keyring: Keyring) -> bool:
    """Whether the rotation to the current generation is not finished, and nobody has lost a slot since it
    began: else it takes another generation."""
    return _rotating(keyring) in stored.rotating


def rotating_to(key: str) -> int:
    """The generation that such a row is about."""
    return int(key.removeprefix(ROTATING).partition("-")[0], 16)


def _rotating(keyring: Keyring) -> str:
    last = keyring.dismissed[-1] if keyring.dismissed else bytes(FINGERPRINT_SIZE)
    return f"{ROTATING}{keyring.current:08x}-{last.hex()}"


def check_may_change(slot: SlotPrivate) -> None:
    """Raises Refused for a slot that opens the mailbox only."""
    if slot.kind not in ("password", "recovery"):
        raise Refused(
            "This opens the mailbox, and changes no keys and no passwords",
            hint="the password does, or the recovery code; an invitation is accepted first",
        )


async def _opened(store: Store, account_id: str, opener: Secret) -> tuple[StoredKeys, Unlocked]:
    stored = await StoredKeys.read(store)
    unlocked = await stored.unlock(account_id, opener)
    check_may_change(unlocked.slot)
    return stored, unlocked


async def _replace(
    store: Store,
    account_id: str,
    stored: StoredKeys,
    unlocked: Unlocked,
    new: Sequence[New],
    kinds: Sequence[Kind],
    *,
    proof: Secret,
    generation: bool = False,
) -> Keyring:
    """New slots in place of all others of some kinds; those go once `proof` has opened the first new one.
    Raises Unavailable when somebody else does the same at the moment, and is to win."""
    kept = {private.public.raw for _, private in new}
    first = new[0][1]
    added: list[Generation] = []

    def admit(keyring: Keyring) -> Keyring:
        for _, private in new:
            keyring = keyring.admit(private)
        return keyring

    def dismiss(keyring: Keyring) -> Keyring:
        if any(
            member.kind == first.kind and (member.created, member.public) > (first.created, first.public.raw)
            for member in keyring.members
        ):
            raise Unavailable("Somebody else is changing the keys of the account")
        for member in keyring.members:
            if member.kind in kinds and member.public not in kept:
                keyring = keyring.dismiss(member.fingerprint)
        if generation:
            # After any that somebody else has added: who had the invitation may have seen that one.
            if not added or keyring.current > added[-1].number:
                added.append(Generation.after(keyring.current))
            keyring = keyring.with_generation(added[-1])
        return keyring

    await change_keys(store, account_id, stored, unlocked.slot, admit, new=new)
    proved = await StoredKeys.read(store)
    slot = proved.slots.get(slot_key(new[0][0]))
    if slot is None:
        raise Unavailable("Somebody else is changing the keys of the account")
    opened = await stretch(slot, proof)
    return await change_keys(store, account_id, proved, opened, dismiss, new=new)


async def _new_slot(
    secret: Secret, kind: Kind, params: Argon2Params | None, keyring: Keyring | None = None
) -> New:
    """A slot that is later than all in the keyring, whatever the clock says."""
    created = _later(keyring)

    def create() -> New:
        return Slot.create(secret, kind, "", params, created=created)

    return await trio.to_thread.run_sync(create, limiter=stretchers.get())


async def _invitation_slot(
    invited_by: Secret | PasswordHash, params: Argon2Params | None, keyring: Keyring | None = None
) -> New:
    if isinstance(invited_by, Secret):
        return await _new_slot(invited_by, "invitation", params, keyring)
    create = partial(Slot.create_hashed, invited_by, params, created=_later(keyring))
    return await trio.to_thread.run_sync(create, limiter=stretchers.get())


def _later(keyring: Keyring | None) -> int | None:
    return max(int(time.time()), *(member.created + 1 for member in keyring.members)) if keyring else None


def _info(member: Member, last_used: int | None) -> SlotInfo:
    return SlotInfo(
        member.fingerprint, member.kind, member.label, member.read_only, member.created, last_used
    )
