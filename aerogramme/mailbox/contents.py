"""A content on its way into the store: its body sealed, its letter rendered, its digest laid out in
columns.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import trio

from aerogramme.errors import Damaged, TooLarge
from aerogramme.mail.digest import Digest, render
from aerogramme.seal.body import BodySealer, ContentKey
from aerogramme.seal.record import Binding

MAX_MESSAGE = (
    50 * 1024 * 1024
)  # octets; what large providers take (Gmail 25 MB, Outlook 35 MB sent, 50 MB in)
SLOW_RENDER = 1024 * 1024  # octets from which a message is rendered in a thread: above, it takes over 10 ms

_RECORD = struct.Struct(">32sQQ")

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
    "header": ("header",),
    "text": ("text", "headtext"),
}
GROUP_OF = {field: group for group, fields in GROUPS.items() for field in fields}


class BodyRecord(NamedTuple):
    """How a body is found and opened: field `record` of the digest."""

    key: ContentKey
    sealed_size: int  # octets of the object
    size: int  # octets of the letter

    def to_bytes(self) -> bytes:
        return _RECORD.pack(self.key.to_bytes(), self.sealed_size, self.size)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "BodyRecord":
        if len(raw) != _RECORD.size:
            raise Damaged("a body record has the wrong length")
        key, sealed_size, size = _RECORD.unpack(raw)
        return cls(ContentKey.from_bytes(key), sealed_size, size)


@dataclass(frozen=True, slots=True)
class Content:
    """A content that can be added: its body is sealed, its letter rendered."""

    id: int
    record: BodyRecord
    digest: Digest


def body_name(content: int) -> str:
    """The object that holds the body of a content."""
    return f"body/{content:016x}"


def body_binding(account: bytes, content: int) -> Binding:
    return Binding(account, "body", body_name(content))


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
    if field == "sent":
        return b"%d" % content.digest.sent
    value: bytes = getattr(content.digest, field)
    return value


async def render_kindly(raw: bytes) -> Digest:
    """The digest of a letter. A large one is rendered in a thread, so that other sessions are served
    meanwhile.
    """
    if len(raw) < SLOW_RENDER:
        return render(raw)
    return await trio.to_thread.run_sync(render, raw)


class Upload:
    """A new content that comes in pieces. `write` them all, then give it to `Account.append`.

    The letter is sealed as it comes, and held whole, because its digest is made from the whole. Raises
    TooLarge when it grows over the limit. An upload that is dropped leaves nothing.
    """

    def __init__(self, content: int, account: bytes, limit: int = MAX_MESSAGE) -> None:
        self.content = content
        self._limit = limit
        self._key = ContentKey.generate()
        self._sealer = BodySealer(self._key, body_binding(account, content))
        self._plain: list[bytes] = []
        self._sealed: list[bytes] = []
        self._finished = False
        self.size = 0

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """The next octets of the letter."""
        self.size += len(chunk)
        if self.size > self._limit:
            raise TooLarge(f"A message here has at most {self._limit} octets")
        piece = bytes(chunk)
        self._plain.append(piece)
        sealed = self._sealer.update(piece)
        if sealed:
            self._sealed.append(sealed)
            await (
                trio.lowlevel.checkpoint()
            )  # a quarter of a megabyte was compressed: let others have their turn

    async def finish(self) -> tuple[Content, bytes]:
        """The content, and the sealed body for the object `body_name(content)`. Once only."""
        if self._finished:
            raise ValueError("an upload is used once")
        self._finished = True
        plain = b"".join(self._plain)
        self._plain.clear()
        self._sealed.append(self._sealer.finish())
        sealed = b"".join(self._sealed)
        self._sealed.clear()
        digest = await render_kindly(plain)
        return Content(self.content, BodyRecord(self._key, len(sealed), len(plain)), digest), sealed


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to append. `date`: INTERNALDATE in unix seconds, None for now."""

    upload: Upload
    flags: Sequence[str] = ()
    date: int | None = None
