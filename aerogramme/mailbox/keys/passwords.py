"""What changes the keys of an account: passwords, app passwords, codes, and generations.

Theory of operation. Every change ends in a keyring of a higher version, and `change_keys` is the one way to
write it. Stores that do not serialize let two change the keys at the same moment, and the rows of an append
that failed may come later. So keyrings are sets of facts that unite in any order (seal/keyring.py): slots
that are there, slots that are gone, generations. What is new is written beside what is old, and read back.
Only when the newest keyring is ours, all others that are there went into it, and every new slot opens it,
that which it replaces is deleted. If somebody else was faster, the change is made again with his; if he has
revoked the slot that we came with, it fails.

It is written twice, the second time once the first was proved: who began before that, and whose row comes
late, has a version that is lower than the second, so a slot that is revoked is not let in by it.

Who replaces a password takes out those that are older, by the date in the slots; two who do so at the same
time must not take out each other's. So the one whose own is the older of the two gives up.

A crash at any step leaves the old secret or the new one opening everything, and the next change cleans up.

No message is read or written by anything here.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import trio

from aerogramme.errors import AlreadyExists, AuthenticationFailed, Behind, Refused, Unavailable
from aerogramme.mailbox.keys import uses
from aerogramme.mailbox.keys.keys import (
    KEYRING,
    PARTITION,
    PUBLIC,
    ROTATING,
    SLOT,
    StoredKeys,
    Unlocked,
    keyring_row,
    public_row,
    publish,
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

ORPHAN_SECONDS = 24 * 60 * 60  # by then a change is over, or was cut short: its slots are in no keyring
TRIES = 20  # of a change while others make theirs: each takes some round trips, and people change keys rarely
KEY_PARAMS = Argon2Params(memory=8, passes=1, lanes=1)  # nobody guesses 256 random bits
APART = 0.2  # seconds, growing, by which those who change them at once get out of step

New = tuple[Slot, SlotPrivate]


@dataclass(frozen=True, slots=True)
class SlotInfo:
    """One of the secrets that open an account, as its owner sees it. Times are seconds since 1970."""

    fingerprint: bytes
    kind: Kind
    label: str
    read_only: bool
    created: int
    last_used: int | None  # the day; None for what is not kept (see uses.py), or never


# --- the step that all changes are made of ----------------------------------------------------------------


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
                PARTITION, [*(_slot_row(slot) for slot, _ in new), *rows(keyring), ours], read=stored.cursor
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
        and all(proved.slots.get(_slot_key(slot)) == slot for slot, _ in new)
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


def _slot_key(slot: Slot) -> str:
    return SLOT + slot.public.fingerprint.hex()


def _slot_row(slot: Slot) -> Row:
    return Row(_slot_key(slot), slot.to_bytes())


# --- the changes ------------------------------------------------------------------------------------------


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
    new = [*(_slot_row(slot) for slot, _ in slots), public_row(keyring), keyring_row(keyring, 1)]
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
                    await trio.to_thread.run_sync(slot.unlock_with_hash, invited_by, limiter=stretchers())
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
    slot = proved.slots.get(_slot_key(new[0][0]))
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

    return await trio.to_thread.run_sync(create, limiter=stretchers())


async def _invitation_slot(
    invited_by: Secret | PasswordHash, params: Argon2Params | None, keyring: Keyring | None = None
) -> New:
    if isinstance(invited_by, Secret):
        return await _new_slot(invited_by, "invitation", params, keyring)
    create = partial(Slot.create_hashed, invited_by, params, created=_later(keyring))
    return await trio.to_thread.run_sync(create, limiter=stretchers())


def _later(keyring: Keyring | None) -> int | None:
    return max(int(time.time()), *(member.created + 1 for member in keyring.members)) if keyring else None


def _info(member: Member, last_used: int | None) -> SlotInfo:
    return SlotInfo(
        member.fingerprint, member.kind, member.label, member.read_only, member.created, last_used
    )
