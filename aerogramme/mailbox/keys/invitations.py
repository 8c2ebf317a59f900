"""An invitation accepted where a mail program asks for a password.

With a code, it is given as the code, a space, and the password that the user wants. Mail programs keep what
was entered, so the same text goes on working: what stands behind the code is tried as a password first.

Who comes from another server gives the password that he had there: it opens a slot that was made of that
server's hash (seal/locks.py), and by that first login it becomes his password here.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import trio

from aerogramme.errors import AuthenticationFailed, Refused
from aerogramme.mailbox.keys.keys import StoredKeys, Unlocked
from aerogramme.mailbox.keys.passwords import accept_invitation
from aerogramme.seal import Argon2Params, Code, Secret
from aerogramme.together import OfRun

# One at a time: the connections that a mail program opens at once are to accept it once.
_accepting = OfRun("accepting invitations", trio.Lock)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What opens the invitation, and the new password."""

    opener: Secret = field(repr=False)
    password: Secret

    @classmethod
    def parse(cls, typed: bytes) -> Self | None:
        """What was entered as a password, if it begins with an invitation code; the code may be typed as
        forgivingly as everywhere, also in groups with spaces between them. Raises AuthenticationFailed, with
        what to do, if nothing stands behind the code."""
        try:
            text = typed.decode()
        except UnicodeDecodeError:
            return None
        head, rest = "", text
        while rest:
            word, _, rest = rest.partition(" ")
            head += word
            try:
                code = Code.parse(head)
            except Refused:
                continue
            if code.kind != "invitation":
                return None
            if not rest:
                raise AuthenticationFailed(
                    "This is an invitation: enter it, a space, and a password you choose"
                )
            return cls(code.secret, Secret(rest))
        return None


async def accept(
    account_id: str, acceptance: Acceptance, keys: StoredKeys, *, params: Argon2Params | None = None
) -> Unlocked:
    """Makes the password of the invitation, if it is not accepted yet, and opens the keys with the password.

    An acceptance that was cut short is finished. Raises AuthenticationFailed, Unavailable.
    """
    unlocked = await _by_password(account_id, acceptance, keys)
    return unlocked or await _accept(account_id, acceptance, keys, params)


async def unlock(
    account_id: str, password: Secret, keys: StoredKeys, *, params: Argon2Params | None = None
) -> Unlocked:
    """Opens the keys with a password; one that the user had on another server becomes his password here.

    An acceptance that was cut short is finished. Raises AuthenticationFailed, Unavailable.
    """
    unlocked = await keys.unlock(account_id, password)
    moves = any(slot.hashed for slot in keys.slots.values())
    if not moves or unlocked.slot.kind == "app" or not _is_open(unlocked):
        return unlocked
    return await _accept(account_id, Acceptance(password, password), keys, params)


async def _accept(
    account_id: str, acceptance: Acceptance, keys: StoredKeys, params: Argon2Params | None
) -> Unlocked:
    async with _accepting.get():
        keys = await StoredKeys.read(keys.store)
        unlocked = await _by_password(account_id, acceptance, keys)
        if unlocked is not None:
            return unlocked
        # Another code, or accepted by another server just now: then the password decides. The recovery code
        # is nobody's, as there is no place here to show it; the user makes another.
        with suppress(AuthenticationFailed, Refused):
            await accept_invitation(keys.store, account_id, acceptance.opener, acceptance.password, params)
    return await (await StoredKeys.read(keys.store)).unlock(account_id, acceptance.password)


async def _by_password(account_id: str, acceptance: Acceptance, keys: StoredKeys) -> Unlocked | None:
    """What the password opens; None if there may be an invitation to accept. Raises AuthenticationFailed."""
    try:
        unlocked = await keys.unlock(account_id, acceptance.password)
    except AuthenticationFailed:
        if any(slot.kind == "invitation" for slot in keys.slots.values()):
            return None
        raise
    return None if _is_open(unlocked) else unlocked


def _is_open(unlocked: Unlocked) -> bool:
    """Whether there is an invitation yet: not accepted, or not to the end."""
    return any(member.kind == "invitation" for member in unlocked.keyring.members)
