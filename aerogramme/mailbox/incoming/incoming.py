"""Incoming letters: put down for an account with its public key alone, and drained by whoever holds its
keys.

A *parcel* is a letter whose body is what an import says of one mailbox (landing.py): it brings many messages,
whose bodies lie beside it, and keeps their UIDs. Who drains reads the parcel and no other body.
"""

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from aerogramme.errors import Damaged, TooLarge
from aerogramme.log.ids import COUNT_BITS, MAX_COUNT, MAX_REPLICA
from aerogramme.mailbox.body_record import BodyRecord, body_binding, body_name
from aerogramme.mailbox.contents import MAX_MESSAGE
from aerogramme.mailbox.incoming.landing import Landing, to_bytes
from aerogramme.mailbox.spill import SPILL, Spill
from aerogramme.seal.body import MAX_BODY, BodySealer, ContentKey
from aerogramme.seal.incoming import IncomingPublic
from aerogramme.seal.record import Binding
from aerogramme.seal.strict import pack, unpack
from aerogramme.store.port import Row, Store

PARTITION = "incoming"
VERSION = 1
BATCH_LETTERS = 500  # letters drained with one entry
BATCH_OCTETS = 16 * 1024 * 1024  # and the octets of their bodies, and of their digests: a drain holds them
MAX_PARCEL = 1000  # contents that a parcel brings: they become one entry


class _LetterIds:
    """Ids for the letters of this process: replica and count like those of a journal (log/ids.py).

    The count starts at random too: most processes bring one letter, and there are a great many of them.
    """

    def __init__(self) -> None:
        self._replica, self._count = 0, MAX_COUNT

    def take(self, count: int) -> range:
        if self._count + count > MAX_COUNT:
            self._replica = secrets.randbelow(MAX_REPLICA) + 1
            self._count = secrets.randbelow(MAX_COUNT // 2)
        first = self._replica << COUNT_BITS | self._count + 1
        self._count += count
        return range(first, first + count)


_ids = _LetterIds()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A letter whose row has been opened."""

    key: str
    id: int
    record: BodyRecord = field(repr=False)
    millis: int  # when it came, since 1970
    sender: str
    recipient: str
    detail: str | None
    contents: range | None = None  # those that a parcel brings


KEY = re.compile(r"[0-9a-f]{12}-([0-9a-f]{16})(?:-([0-9a-f]{16})-([0-9a-f]{4}))?", re.ASCII)


def is_parcel(key: str) -> bool:
    """Whether a row key is that of a parcel."""
    match = KEY.fullmatch(key)
    return match is not None and match[2] is not None


def first_of(key: str) -> int:
    """The first of the contents that a parcel brings, by its row key."""
    match = KEY.fullmatch(key)
    return 0 if match is None or match[2] is None else int(match[2], 16)


def contents_of(key: str) -> list[int]:
    """The contents whose bodies a letter or parcel has, by its row key; none for a key that neither has. A
    parcel's own body is among them."""
    match = KEY.fullmatch(key)
    if match is None:
        return []
    return [int(match[1], 16), *(_brought(match) or ())]


def _brought(match: re.Match[str]) -> range | None:
    """The contents that a parcel brings."""
    if match[2] is None:
        return None
    first = int(match[2], 16)
    return range(first, first + int(match[3], 16))


def decode_letter(key: str, plain: bytes) -> Waiting:
    """The letter of a row that was opened; raises Damaged for anything that `Letter.send` does not write."""
    match = KEY.fullmatch(key)
    if match is not None:
        match unpack(plain):
            case [1, bytes(record), int(millis), str(sender), str(recipient), str() | None as detail]:
                found = BodyRecord.from_bytes(record)
                if found.place is None:  # who brings letters knows nothing of packs
                    of, contents = int(match[1], 16), _brought(match)
                    return Waiting(key, of, found, millis, sender, recipient, detail, contents)
    raise Damaged("a letter does not decode")


class Envelope(NamedTuple):
    """What is known of a letter besides its text. A parcel has no sender, recipient or detail.

    millis  when it came, since 1970
    detail  the mailbox it asks for (user+detail), None for INBOX
    """

    millis: int
    sender: str = ""
    recipient: str = ""
    detail: str | None = None


# --- letters in -------------------------------------------------------------------------------------------


class LetterBox:
    """Where letters for one account are put down. It needs the account's public key, and no secret of
    anybody.

    `nursery` runs the upload of a large letter while it comes in; it must outlive the letters.
    """

    def __init__(self, store: Store, account_id: str, public: IncomingPublic, nursery: trio.Nursery) -> None:
        self.store = store
        self.account = bytes.fromhex(account_id)
        self.public = public
        self.nursery = nursery

    def letter(
        self,
        sender: str,
        recipient: str,
        detail: str | None = None,
        now: float | None = None,
        *,
        limit: int = MAX_MESSAGE,
    ) -> "Letter":
        """A new letter. `detail`: the mailbox it asks for (user+detail), None for INBOX; `now`: unix
        seconds.
        """
        millis = int((time.time() if now is None else now) * 1000)
        return Letter(self, Envelope(millis, sender, recipient, detail), limit)

    def new_ids(self, count: int) -> range:
        """Ids for the contents of a parcel, or for a mailbox: nobody else has them."""
        return _ids.take(count)

    async def parcel(self, landing: Landing, millis: int | None = None) -> str:
        """Puts down a parcel, durable on return, and gives its row key. Its contents are up to MAX_PARCEL
        that follow one another, and their bodies are stored already. Two of the same bring them once.

        `millis`: since 1970, now by default. Parcels are opened in this order."""
        first = landing.contents[0] if landing.contents else 0
        brought = range(first, first + len(landing.contents))
        if millis is None:
            millis = int(time.time() * 1000)
        letter = Letter(self, Envelope(millis), MAX_BODY, brought)
        try:
            await letter.write(to_bytes(landing))
            await letter.send()
        except BaseException:
            with trio.CancelScope(shield=True):
                await letter.abandon()
            raise
        return letter.key


class Letter:
    """One letter coming in: `write` its octets, then `send` it (it is durable when that returns) or `abandon`
    it.
    """

    def __init__(self, box: LetterBox, envelope: Envelope, limit: int, brought: range | None = None) -> None:
        """`brought`: the contents that it brings, if it is a parcel."""
        [self.id] = _ids.take(1)
        suffix = "" if brought is None else f"-{brought.start:016x}-{len(brought):04x}"
        self.key = f"{envelope.millis:012x}-{self.id:016x}{suffix}"  # of its row
        self._box, self._envelope, self._limit = box, envelope, limit
        self._content_key = ContentKey.generate()
        self._sealer = BodySealer(self._content_key, body_binding(box.account, self.id))
        self._held: list[bytes] = []
        self._held_size = 0
        self._spill: Spill | None = None

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """The next octets. Raises TooLarge over the limit, and Unavailable when the store does not take
        it.
        """
        sealed = self._sealer.update(bytes(chunk))
        if self._sealer.plain_size > self._limit:
            await self.abandon()
            raise TooLarge(f"A message here has at most {self._limit} octets")
        if sealed:
            await self._take(sealed)

    async def _take(self, sealed: bytes) -> None:
        if self._spill is not None:
            await self._spill.write(sealed)
            return
        self._held.append(sealed)
        self._held_size += len(sealed)
        if self._held_size > SPILL:
            self._spill = Spill(self._box.store, body_name(self.id), self._box.nursery)
            for piece in self._held:
                await self._spill.write(piece)
            self._held.clear()
        await trio.lowlevel.checkpoint()

    async def send(self) -> None:
        """Puts the letter down: one object and one row, durable on return."""
        await self._take(self._sealer.finish())
        objects = []
        if self._spill is not None:
            await self._spill.finish()
            # From here on the row may be there, whatever is heard of it: the body must stay.
            self._spill = None
        else:
            objects.append((body_name(self.id), b"".join(self._held)))
        record = BodyRecord(self._content_key, self._sealer.sealed_size, self._sealer.plain_size)
        plain = pack([VERSION, record.to_bytes(), *self._envelope])
        row = Row(self.key, self._box.public.seal(plain, Binding(self._box.account, "letter", self.key)))
        await self._box.store.append(PARTITION, [row], objects=objects)

    async def abandon(self) -> None:
        """Drops the letter. A body that was put already is removed, unless `send` got as far as the row."""
        self._held.clear()
        if self._spill is not None:
            await self._spill.cancel()
            self._spill = None
