"""A session as its client sees it, and what a mail program remembers of a mailbox between sessions."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.helpers.believer import Believer, Message
from tests.helpers.imap_grammar import Response

HEADER = b"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"
_HEADER = b"BODY[HEADER.FIELDS (MESSAGE-ID)]"
_NUMBER = re.compile(rb"<(\d+)@sim>")


def mail(number: int) -> bytes:
    """The mail of this number."""
    return b"Message-ID: <%d@sim>\r\nSubject: %d\r\n\r\nText\r\n" % (number, number)


@dataclass
class Box:
    """A mailbox as a program remembers it."""

    validity: int
    uidnext: int = 1
    modseq: int = 0
    mails: dict[int, frozenset[bytes]] = field(default_factory=dict)  # UID -> flags
    numbers: dict[int, int] = field(default_factory=dict)  # UID -> number of the mail


@dataclass
class Belief(Believer):
    """One session."""

    uidnext: int = 0
    numbers: dict[int, int] = field(default_factory=dict)  # what FETCH has told
    bodies: dict[int, bytes] = field(default_factory=dict)
    placed: bytes = b""  # the last COPYUID
    status: dict[bytes, int] = field(default_factory=dict)  # the last STATUS
    compared: int = 0  # while a mailbox is read again: what changed up to this MODSEQ is known
    told_again: Callable[[int], bool] = lambda _: False  # UID: what FETCH tells too early is yet to be told

    @property
    def uids(self) -> list[int]:
        """All known."""
        return [message.uid for message in self.messages if message.uid is not None]

    @property
    def complete(self) -> bool:
        return all(message.uid is not None and message.flags is not None for message in self.messages)

    def flags_of(self, uid: int) -> frozenset[bytes] | None:
        """None for a message that is not there."""
        return next((message.flags for message in self.messages if message.uid == uid), None)

    def remember(self, box: Box) -> None:
        """After SELECT with QRESYNC: what was not told of stands as it was; the order is that of UIDs."""
        gone = set(self.vanished)
        left = [uid for uid in sorted(box.mails) if uid not in gone]
        assert len(left) <= len(self.messages), "fewer messages than the client has to believe in"
        for message, uid in zip(self.messages, left, strict=False):
            assert message.uid in (None, uid), f"UID {message.uid} where {uid} is known to be"
            message.uid = uid
            if message.flags is None:
                message.flags = box.mails[uid]
        assert self.complete, "a new message was not told of"

    async def hear(self) -> Response:
        response = await super().hear()
        if response.kind == "STATUS":
            self.status = response.data[1]
        elif response.kind == "SEARCH" and self.command == b"UID SEARCH ALL":
            for message, uid in zip(self.messages, response.data, strict=False):
                assert message.uid in (None, uid), f"UID {message.uid} where SEARCH has {uid}"
                message.uid = uid
        return response

    def _fetch(self, response: Response) -> None:
        data = response.data
        if _HEADER in data:
            found = _NUMBER.search(data[_HEADER])
            assert found is not None, f"a mail that nobody sent: {data[_HEADER]!r}"
            self.numbers[data[b"UID"]] = int(found[1])
        if b"BODY[]" in data:
            self.bodies[data[b"UID"]] = data[b"BODY[]"]
        if self.compared and b"FLAGS" in data and response.number <= len(self.messages):
            known: Message = self.messages[response.number - 1]
            flags = frozenset(data[b"FLAGS"]) - {b"\\Recent"}
            same = known.flags in (None, flags) or data[b"MODSEQ"] > self.compared
            assert same or self.told_again(known.uid), (
                f"UID {known.uid} has {flags}, it was left with {known.flags} at MODSEQ {self.compared}"
            )
        super()._fetch(response)

    def _code(self, code: bytes) -> None:
        super()._code(code)
        if found := re.fullmatch(rb"UIDNEXT (\d+)", code):
            self.uidnext = int(found[1])
        elif code.startswith(b"COPYUID "):
            self.placed = code
