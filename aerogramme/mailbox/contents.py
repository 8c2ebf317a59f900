"""A content on its way into the store: its body sealed, its letter rendered, its digest laid out in
columns.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import trio

from aerogramme.errors import Damaged, NotStored, TooLarge
from aerogramme.mail.digest import Digest, render
from aerogramme.mailbox.body_record import BodyRecord, body_binding, body_name, pack_name
from aerogramme.mailbox.spill import SPILL, Spill
from aerogramme.seal.body import BodyReader, BodySealer, ContentKey
from aerogramme.store.port import Store
from aerogramme.together import OfRun

MAX_MESSAGE = (
    50 * 1024 * 1024
)  # octets; what large providers take (Gmail 25 MB, Outlook 35 MB sent, 50 MB in)
LARGE = 1024 * 1024  # octets of a letter from which its body is read in pieces
PIECE = 1024 * 1024  # octets of such a piece: a few frames of the body
# Octets from which a message is rendered in a thread, which costs 0.1 ms: one of this size takes 1 ms, but
# one that is made to be slow (all groups of addresses, all quotes, all tags) 80 ms (measured).
SLOW_RENDER = 128 * 1024

# The columns of a segment. Each group is loaded by itself: listing needs no texts, searching no envelopes.
GROUPS: dict[str, tuple[str, ...]] = {
    "digest": (
        "record",
        "envelope",
        "bodystructure",
        "body",
        "parts",
        "sent",
        "from_",
        "to",
        "cc",
        "bcc",
        "subject",
        "preview",
        "message_id",
        "in_reply_to",
        "references",
    ),
    "sizes": ("lines", "bare"),  # what the names of files have, of all a mailbox: so it is small
    "header": ("header",),
    "text": ("text", "headtext"),
}
GROUP_OF = {field: group for group, fields in GROUPS.items() for field in fields}
NUMBERS = ("sent", "lines", "bare")  # fields that are decimal numbers


@dataclass(frozen=True, slots=True)
class Content:
    """A content that can be added: its body is sealed, its letter rendered."""

    id: int
    record: BodyRecord
    digest: Digest

    @property
    def octets(self) -> int:
        """Of the digest. Senders can make it some thirty times as large as a small letter."""
        return sum(len(digest_field(self, field)) for field in GROUP_OF)


def segment_columns(contents: Sequence[Content]) -> dict[str, dict[str, list[bytes]]]:
    """The digests of contents as the columns of a segment, in their order."""
    return {
        group: {field: [digest_field(content, field) for content in contents] for field in fields}
        for group, fields in GROUPS.items()
    }


def digest_field(content: Content, field: str) -> bytes:
    """The value of a column for a content."""
    if field == "record":
        return content.record.to_bytes()
    if field in NUMBERS:
        return b"%d" % getattr(content.digest, field)
    value: bytes = getattr(content.digest, field)
    return value


async def read_pieces(
    store: Store, account: bytes, content: int, record: BodyRecord, start: int, stop: int
) -> AsyncGenerator[bytes, None]:
    """The octets start to stop of a large letter, in pieces. Raises Damaged, perhaps after some of them;
    Unavailable. Close it (aclosing).
    """

    name, at = body_name(content), 0
    if record.place is not None:
        name, at = pack_name(record.place.pack), record.place.offset

    async def get(start: int, stop: int) -> bytes:
        try:
            return await store.get(name, at + start, at + stop)
        except NotStored:
            raise Damaged("a body is missing") from None

    reader = BodyReader(record.key, body_binding(account, content), record.sealed_size)
    reader.load(await get(*reader.table_range()))
    if reader.plain_size != record.size:
        raise Damaged("a body has not the size that its record says")
    while start < stop:
        until = min(stop, start - start % PIECE + PIECE)
        sealed = await get(*reader.range_of(start, until))
        yield reader.read(start, until, sealed)
        await trio.lowlevel.checkpoint()
        start = until


# Large letters are rendered one at a time, of all accounts: the memory they take does not grow with their
# number.
_one_at_a_time = OfRun("large letters", trio.Lock)


async def render_stored(store: Store, account: bytes, content: int, record: BodyRecord) -> Digest:
    """The digest of a large letter whose body is stored. Raises Damaged, Unavailable."""
    async with _one_at_a_time.get():
        async with aclosing(read_pieces(store, account, content, record, 0, record.size)) as reading:
            raw = b"".join([piece async for piece in reading])
        return await render_kindly(raw)


async def render_kindly(raw: bytes) -> Digest:
    """The digest of a letter. A large one is rendered in a thread, so that other sessions are served
    meanwhile.
    """
    if len(raw) < SLOW_RENDER:
        return render(raw)
    return await trio.to_thread.run_sync(render, raw)


class Upload:
    """A new content that comes in pieces. `write` them all, then give it to `Account.append`; or `drop` it.

    The letter is sealed as it comes. A large one goes to the store meanwhile, where there is a `nursery` for
    that, and is read once more at the end, because its digest is made from the whole: clients that are slow,
    or many at once, hold no memory. Raises TooLarge when it grows over the limit, and Unavailable.
    """

    def __init__(
        self, content: int, account: bytes, store: Store, limit: int, nursery: trio.Nursery | None
    ) -> None:
        self.content = content
        self._account = account
        self._store = store
        self._limit = limit
        self._nursery = nursery
        self._key = ContentKey.generate()
        self._sealer = BodySealer(self._key, body_binding(account, content))
        self._plain: list[bytes] = []
        self._sealed: list[bytes] = []
        self._spill: Spill | None = None
        self._finished = False
        self.size = 0

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """The next octets of the letter."""
        self.size += len(chunk)
        if self.size > self._limit:
            raise TooLarge(f"A message here has at most {self._limit} octets")
        piece = bytes(chunk)
        sealed = self._sealer.update(piece)
        if self._spill is not None:
            if sealed:
                await self._spill.write(sealed)
            return
        self._plain.append(piece)
        if sealed:
            self._sealed.append(sealed)
            # A quarter of a megabyte was compressed: let others have their turn.
            await trio.lowlevel.checkpoint()
        if self.size > SPILL and self._nursery is not None:
            self._spill = Spill(self._store, body_name(self.content), self._nursery)
            self._plain.clear()
            held, self._sealed = self._sealed, []
            for sealed in held:
                await self._spill.write(sealed)

    async def finish(self) -> tuple[Content, bytes | None]:
        """The content, and the sealed body for the object `body_name(content)`; None if that is stored
        already. Once only."""
        if self._finished:
            raise ValueError("an upload is used once")
        self._finished = True
        last = self._sealer.finish()
        record = BodyRecord(self._key, self._sealer.sealed_size, self.size)
        if self._spill is not None:
            await self._spill.write(last)
            await self._spill.finish()
            digest = await render_stored(self._store, self._account, self.content, record)
            return Content(self.content, record, digest), None
        plain, sealed = b"".join(self._plain), b"".join([*self._sealed, last])
        self._plain.clear()
        self._sealed.clear()
        return Content(self.content, record, await render_kindly(plain)), sealed

    def drop(self) -> None:
        """Gives the letter up; what was stored of it goes."""
        if self._spill is not None:
            self._spill.drop()


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to append. `date`: INTERNALDATE in unix seconds, None for now."""

    upload: Upload
    flags: Sequence[str] = ()
    date: int | None = None
