"""Where the messages of an mbox are, and what their headers say of UIDs, flags and keywords.

A message ends where the next one begins; if its header has a Content-Length, and a message begins right after
so many octets of body or the file ends there, then there (Dovecot relies on that: it quotes nothing).

    X-IMAPbase: 1795933176 0000000002 $Forwarded     in the first message: UIDVALIDITY, the last UID, keywords
    X-IMAP: …                                        the same in a first message that is none
    X-UID: 2    Status: RO    X-Status: AF    X-Keywords: $Forwarded
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources import compressed
from aerogramme.migrate.sources.mbox.from_lines import date_of

_FIRST: Final = 1 << 13  # octets that are read at first: most letters are small
_CHUNK: Final = 1 << 20
_LONGEST: Final = 1024  # octets of a From line: an address and a date
_LARGEST_HEAD: Final = 1 << 18  # octets of a header in which these fields are looked for
_MAX: Final = (1 << 32) - 1

OWN: Final = (b"content-length", b"status", b"x-imap", b"x-imapbase", b"x-keywords", b"x-status", b"x-uid")
"""Fields that say something of the message in its mbox, and that Dovecot does not show."""

_FIELD: Final = re.compile(
    rb"^(" + b"|".join(OWN) + rb"|x-mozilla-status|x-mozilla-keys)[ \t]*:[ \t]*([^\n]*(?:\n[ \t][^\n]*)*)",
    re.IGNORECASE | re.MULTILINE,
)
_BASE: Final = re.compile(rb"(\d{1,10})\s+(\d{1,10})(?:\s+(.*))?", re.DOTALL)
_STATUS: Final = {0x52: "\\Seen"}  # R; O only says that it is not recent
_X_STATUS: Final = {0x41: "\\Answered", 0x46: "\\Flagged", 0x54: "\\Draft", 0x44: "\\Deleted"}  # A F T D
_MOZILLA: Final = ((0x0001, "\\Seen"), (0x0002, "\\Answered"), (0x0004, "\\Flagged"), (0x1000, "$Forwarded"))
_MOZILLA_EXPUNGED: Final = 0x0008  # deleted, and waits for the folder to be compacted


@dataclass(frozen=True, slots=True)
class Base:
    """What an mbox says of itself."""

    uidvalidity: int
    last_uid: int
    keywords: frozenset[str]


@dataclass(frozen=True, slots=True)
class Said:
    """What the header of a message says of it.

    uid       what X-UID says; 0 without
    pseudo    it is none: it only bears what the mbox says of itself
    expunged  it was deleted, and waits for the mbox to be compacted
    """

    uid: int
    flags: tuple[str, ...]
    keywords: tuple[str, ...]
    base: Base | None
    pseudo: bool
    expunged: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A message in an mbox: its From line is `at`, its header at `start`, `body` and `end` in octets.

    date     None if its From line has none
    counted  the end is where Content-Length says: lines that begin with From are not quoted then
    wrong    what is not as it should be
    """

    at: int
    start: int
    body: int
    end: int
    date: int | None
    said: Said
    counted: bool
    wrong: str


_Next = tuple[int, int | None]
"""Where a message begins, and the date of its From line."""


def begins_one(descriptor: int) -> bool:
    """Is this an mbox? An empty file is one."""
    head = os.pread(descriptor, 5, 0)
    return head in (b"", b"From ")


def messages(descriptor: int, size: int, *, utc: bool) -> Iterator[Found]:
    """The messages of an mbox of so many octets. Raises Unreadable if it is none, OSError."""
    if not begins_one(descriptor):
        if compressed.is_compressed(os.pread(descriptor, compressed.HEAD, 0)):
            raise Unreadable("it is compressed: an mbox has to be unpacked before")
        raise Unreadable("it is no mbox: it does not begin with From")
    return _Scanner(descriptor, size, utc=utc).messages()


class _Scanner:
    """Goes through an mbox of so many octets."""

    def __init__(self, descriptor: int, size: int, *, utc: bool) -> None:
        self._descriptor = descriptor
        self._size = size
        self._utc = utc

    def messages(self) -> Iterator[Found]:
        following: _Next | None = 0, self._from_line(0)[0]
        while following is not None and following[0] < self._size:
            found, following = self._message(*following)
            yield found

    def _message(self, at: int, date: int | None) -> tuple[Found, _Next | None]:
        """The message whose From line is here, and the next one."""
        start = self._from_line(at)[1]
        head, following = self._head(start)
        body = start + len(head)
        fields = _fields(head)
        wrong, counted = "", False
        if following is None:
            length = fields.get(b"content-length", b"").strip()
            if length:
                following, counted = self._counted(body, length)
                if not counted:
                    text = length[:20].decode(errors="replace")
                    wrong = f"Content-Length is {text}, and it does not end there"
            if not counted:
                following = self._find(body, self._size)
        if counted:
            end = body + int(length)
        else:
            end = self._without_newline(body, following[0] if following else self._size)
        return Found(at, start, body, end, date, _said(fields), counted, wrong), following

    def _head(self, start: int) -> tuple[bytes, _Next | None]:
        """The header, with the empty line at its end; or what there is, if it is larger than any. And the
        next message, if that begins before such a line."""
        head = b"\n"  # the end of the From line, so that an empty line may follow it
        while len(head) < _LARGEST_HEAD and start + len(head) - 1 < self._size:
            read = start + len(head) - 1
            more = os.pread(self._descriptor, min(8192 + len(head), self._size - read), read)
            if not more:
                break
            seen = max(len(head) - 3, 0)
            head += more
            blank = head.find(b"\n\n", seen), head.find(b"\n\r\n", seen)
            ends = [at + length for at, length in zip(blank, (2, 3), strict=True) if at >= 0]
            end = min(ends, default=len(head))
            following = self._find(start + max(seen - 6, 0), start + end - 1)
            if following is not None:
                return head[1 : following[0] - start + 1], following
            if ends:
                return head[1:end], None
        return head[1:], None

    def _from_line(self, at: int) -> tuple[int | None, int]:
        """The date of a From line, and where the line ends."""
        line = os.pread(self._descriptor, _LONGEST, at)
        end = line.find(b"\n") + 1 or len(line)
        return date_of(line[:end], utc=self._utc), at + end

    def _find(self, at: int, end: int) -> _Next | None:
        """The first message that begins, which is the start of a line, at or after an offset."""
        at -= 1  # the end of the line before
        size = _FIRST
        while at < end:
            chunk = os.pread(self._descriptor, min(size, end - at), at)
            size = min(2 * size, _CHUNK)
            found = chunk.find(b"\nFrom ")
            while found >= 0:
                date, _ = self._from_line(at + found + 1)
                if date is not None:
                    return at + found + 1, date
                found = chunk.find(b"\nFrom ", found + 1)
            if len(chunk) < 6 or at + len(chunk) >= end:
                return None
            at += len(chunk) - 5
        return None

    def _counted(self, body: int, length: bytes) -> tuple[_Next | None, bool]:
        """The next message, if the body is as long as is said: and whether it is."""
        if not re.fullmatch(rb"\d{1,18}", length) or body + int(length) > self._size:
            return None, False
        end = body + int(length)
        gap = os.pread(self._descriptor, 2, end)
        for newline in (b"\r\n", b"\n", b""):
            if gap.startswith(newline):
                at = end + len(newline)
                if at == self._size:
                    return None, True
                if os.pread(self._descriptor, 6, at - 1) == b"\nFrom ":
                    date, _ = self._from_line(at)
                    if date is not None:
                        return (at, date), True
        return None, False

    def _without_newline(self, body: int, end: int) -> int:
        """The end of a body without the empty line that stands between messages."""
        last = os.pread(self._descriptor, 2, max(end - 2, 0))
        if end - 2 >= body and last == b"\r\n":
            return end - 2
        return end - 1 if end - 1 >= body and last[-1:] == b"\n" else end


def _said(fields: dict[bytes, bytes]) -> Said:
    base = _base(fields.get(b"x-imapbase") or fields.get(b"x-imap") or b"")
    uid = fields.get(b"x-uid", b"").strip()
    flags = [flag for octet, flag in _STATUS.items() if octet in fields.get(b"status", b"")]
    flags += [flag for octet, flag in _X_STATUS.items() if octet in fields.get(b"x-status", b"")]
    mozilla = fields.get(b"x-mozilla-status", b"").strip()
    bits = int(mozilla, 16) if re.fullmatch(rb"[0-9a-fA-F]{1,4}", mozilla) and not flags else 0
    flags += [flag for bit, flag in _MOZILLA if bits & bit]
    words = (fields.get(b"x-keywords", b"") + b" " + fields.get(b"x-mozilla-keys", b"")).split()
    return Said(
        uid=int(uid) if re.fullmatch(rb"\d{1,10}", uid) and int(uid) < _MAX else 0,
        flags=tuple(flags),
        keywords=tuple(dict.fromkeys(word.decode(errors="replace") for word in words)),
        base=base,
        pseudo=b"x-imap" in fields and base is not None,
        expunged=bool(bits & _MOZILLA_EXPUNGED),
    )


def _base(text: bytes) -> Base | None:
    found = _BASE.match(text.strip())
    if found is None or not 0 < int(found[1]) <= _MAX or int(found[2]) > _MAX:
        return None
    words = (found[3] or b"").split()
    return Base(int(found[1]), int(found[2]), frozenset(word.decode(errors="replace") for word in words))


def _fields(head: bytes) -> dict[bytes, bytes]:
    """The fields that are of use, the first of each name."""
    fields: dict[bytes, bytes] = {}
    for found in _FIELD.finditer(head):
        fields.setdefault(found[1].lower(), found[2])
    return fields
