"""Where letters for the accounts are put down, by whoever brings them: public keys, and no secret.

Who can write to the store can add a public key of his own. Two things stand against that. Pins: the users
file names the fingerprints of the keys that letters may be sealed to. And memory: as long as the process
runs, it takes no older key than it has seen, and no other one of the same generation.
"""

import logging
from dataclasses import dataclass

import trio

from aerogramme.errors import Damaged, NoSuchUser
from aerogramme.mailbox.incoming.incoming import LetterBox
from aerogramme.mailbox.keys.keys import PARTITION, PUBLIC, StoredKeys
from aerogramme.seal.incoming import IncomingPublic
from aerogramme.store.port import Cursor, Store, Stores

log = logging.getLogger(__name__)

# Seconds for which a public key is not read again where that costs a request. What is sealed to one that was
# replaced meanwhile can be read all the same.
KEY_SECONDS = 10.0

Pins = tuple[str, ...]  # fingerprints, hex; none: any key of the account


def public_keys(stored: StoredKeys, account_id: str) -> list[IncomingPublic]:
    """The public keys of an account, the newest first. A row that is damaged, or another's, is left out."""
    found = []
    for row in sorted(stored.public, reverse=True):
        try:
            public = IncomingPublic.from_bytes(stored.public[row])
        except Damaged:
            continue
        if public.account == bytes.fromhex(account_id) and row == f"{PUBLIC}{public.generation:08x}":
            found.append(public)
    return found


def fingerprint(public: IncomingPublic) -> str:
    """As pins name it, and `aerogramme key list` shows it."""
    return public.key.fingerprint.hex()


def key_to_seal_to(stored: StoredKeys, account_id: str, pins: Pins) -> IncomingPublic:
    """The newest one that letters may be sealed to. Raises Damaged if there is none."""
    found = public_keys(stored, account_id)
    if not found:
        raise Damaged("the account has no public key")
    if not pins:
        if max(stored.public) != f"{PUBLIC}{found[0].generation:08x}":
            raise Damaged("the account's newest public key is damaged")  # who was revoked may have the older
        return found[0]
    for public in found:
        if fingerprint(public) in pins:
            return public
    raise Damaged(
        "no public key of the account is one that is pinned",
        hint="if its user says that the new fingerprint is right (`aerogramme key list` on a device of the "
        "user's shows it), `aerogramme account pin ADDRESS FINGERPRINT`; the mail waits at its sender",
    )


@dataclass(eq=False, slots=True)
class _Box:
    """The store of an account as letters need it, and its public keys as they were when they were last
    read, at `read_at`.
    """

    store: Store
    stored: StoredKeys
    cursor: Cursor
    read_at: float
    pins: Pins = ()
    public: IncomingPublic | None = None  # what `pins` have chosen
    chosen_of: StoredKeys | None = None  # of these keys


class LetterBoxes:
    """Letter boxes for a server: one store handle and public key for each account that got mail from it.

    `nursery` runs the uploads of large letters.
    """

    def __init__(self, stores: Stores, nursery: trio.Nursery) -> None:
        self._stores = stores
        self._nursery = nursery
        self._boxes: dict[str, _Box] = {}
        self._opening: dict[str, trio.Lock] = {}

    async def open(self, account_id: str, pins: Pins = ()) -> LetterBox:
        """The letter box of an account, with its newest public key (on a distant store, that of KEY_SECONDS
        ago) that is pinned, if any are. Raises NoSuchUser, Unavailable, Damaged (also if none is pinned).
        """
        box = await self._box(account_id)
        if not (box.store.object_costs_request and trio.current_time() < box.read_at + KEY_SECONDS):
            try:
                began = trio.current_time()
                changed, cursor = await box.store.read(PARTITION, box.cursor)
                if changed:
                    box.stored = await StoredKeys.read(box.store)
                    box.cursor = box.stored.cursor
                else:
                    box.cursor = cursor
                box.read_at = began
            except NoSuchUser:  # erased: forget it, an account of this id may come again
                if self._boxes.get(account_id) is box:
                    del self._boxes[account_id]
                    await box.store.aclose()
                raise
        return LetterBox(box.store, account_id, _choose(box, account_id, pins), self._nursery)

    async def store(self, account_id: str) -> Store:
        """The store of an account, good until the letter boxes are closed. Raises NoSuchUser, Unavailable."""
        return (await self._box(account_id)).store

    async def _box(self, account_id: str) -> _Box:
        """The box as it was when it was last looked at. Raises NoSuchUser, Unavailable."""
        if box := self._boxes.get(account_id):
            return box
        # Who is first opens it for all; other accounts need not wait for that.
        async with self._opening.setdefault(account_id, trio.Lock()):
            if box := self._boxes.get(account_id):
                return box
            began = trio.current_time()
            store = await self._stores.open(account_id)
            try:
                stored = await StoredKeys.read(store)
            except BaseException:
                with trio.CancelScope(shield=True):
                    await store.aclose()
                raise
            box = self._boxes[account_id] = _Box(store, stored, stored.cursor, began)
            return box

    async def aclose(self) -> None:
        """Closes the stores. Letters that are not sent yet are lost."""
        while self._boxes:
            _, box = self._boxes.popitem()
            await box.store.aclose()


def _choose(box: _Box, account_id: str, pins: Pins) -> IncomingPublic:
    """The key to seal to. Raises Damaged."""
    if box.public is not None and box.chosen_of is box.stored and box.pins == pins:
        return box.public
    before = box.public if box.pins == pins else None  # what other pins had chosen says nothing
    try:
        public = key_to_seal_to(box.stored, account_id, pins)
    except Damaged as error:
        log.error("account %s: mail is not taken: %s %s", account_id, error, error.hint)
        raise
    if before is not None and public.generation <= before.generation:
        if (public.generation, public.key.raw) != (before.generation, before.key.raw):
            log.error(
                "account %s: the store gives an older public key than before, or another one in its place: "
                "letters go on being sealed to that of before",
                account_id,
            )
        public = before
    newest = fingerprint(public_keys(box.stored, account_id)[0])
    if pins and newest not in pins:
        log.warning(
            "account %s: the pin is out of date: letters are sealed to the pinned key %s, and there is a "
            "newer one, %s; ask its user whether that is right, and then `aerogramme account pin` it",
            account_id,
            fingerprint(public),
            newest,
        )
    box.public, box.pins, box.chosen_of = public, pins, box.stored
    return public
