"""Attachments that Dovecot keeps in files of their own (mail_attachment_dir), put back into their letter.

The metadata of a letter says of each: where it begins in the whole letter, its octets there, how it was coded
(`B76`: base64 in lines of 76, with `C` ended by CRLF; `-`: not at all), and its file. sdbox adds the GUID of
the mailbox and the UID to that name.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.compressed import Readable
from aerogramme.migrate.sources.dbox.store import opened
from aerogramme.migrate.sources.reading import open_file
from aerogramme.migrate.sources.source import Fault

_CODED = re.compile(rb"-|(C?)B([1-9][0-9]{0,5})(C?)")
_NUMBER = re.compile(rb"[0-9]{1,18}")
_MAX = 10_000  # attachments of one letter
_STEP = 1 << 16


@dataclass(frozen=True, slots=True)
class Attachment:
    """start, size: octets in the whole letter. line: characters of base64 in a line; 0: it is not coded."""

    start: int
    size: int
    line: int
    end: bytes
    path: tuple[bytes, ...]


def attachments(value: bytes, suffix: bytes) -> list[Attachment]:
    """What the metadata X of a letter says. Unreadable if it makes no sense."""
    words = value.split(b" ")
    found: list[Attachment] = []
    at = 0
    for start, size, coded, path in zip(words[::4], words[1::4], words[2::4], words[3::4], strict=False):
        how = _CODED.fullmatch(coded)
        parts = tuple((path + suffix).split(b"/"))
        fine = how and _NUMBER.fullmatch(start) and _NUMBER.fullmatch(size) and int(start) >= at
        if not fine or how is None or not all(parts) or b".." in parts or b"." in parts:
            raise Unreadable("What it says of its attachments makes no sense")
        line = int(how[2] or 0)
        if line % 4 or len(found) >= _MAX:
            raise Unreadable("What it says of its attachments makes no sense")
        found.append(Attachment(int(start), int(size), line, b"\r\n" if how[1] or how[3] else b"\n", parts))
        at = int(start) + int(size)
    if len(words) % 4:
        raise Unreadable("What it says of its attachments makes no sense")
    return found


class Whole:
    """A letter with its attachments. `first`: what was read of the rest of it already."""

    def __init__(self, first: bytes, rest: Readable, found: list[Attachment], folder: Path) -> None:
        self._rest = rest
        self._left = first
        self._folder = folder
        self._pieces = self._read(found)

    def read(self, _size: int, /) -> bytes:
        """The next piece; none at the end. Unreadable, if an attachment is not there."""
        return next(self._pieces, b"")

    def _read(self, found: list[Attachment]) -> Iterator[bytes]:
        at = 0
        for attachment in found:
            while at < attachment.start:
                piece = self._some(attachment.start - at)
                if not piece:
                    raise EOFError("the letter ends before its last attachment")
                at += len(piece)
                yield piece
            for piece in self._attached(attachment):
                at += len(piece)
                yield piece
            if at != attachment.start + attachment.size:
                raise EOFError("an attachment has not the size that the letter says")
        while piece := self._some(_STEP):
            yield piece

    def _some(self, most: int) -> bytes:
        if not self._left:
            self._left = self._rest.read(min(most, _STEP))
        piece, self._left = self._left[:most], self._left[most:]
        return piece

    def _attached(self, attachment: Attachment) -> Iterator[bytes]:
        with self._open(attachment) as file:
            width = attachment.line // 4 * 3
            step = _STEP if not width else width * max(1, _STEP // width)
            left, first = attachment.size, True
            while left > 0 and (octets := _read_full(file, step)):
                if width:
                    lines = (octets[n : n + width] for n in range(0, len(octets), width))
                    octets = attachment.end.join(map(base64.b64encode, lines))
                    octets = octets if first else attachment.end + octets
                first = False
                yield octets
                left -= len(octets)

    def _open(self, attachment: Attachment) -> BinaryIO:
        name = "/".join(part.decode(errors="backslashreplace") for part in attachment.path)
        with opened(self._folder, attachment.path[:-1]) as folder:
            file = None if folder is None else open_file(attachment.path[-1], folder, name)
        if file is None:
            raise Unreadable(f"Its attachment {name} is missing")
        if isinstance(file, Fault):
            raise Unreadable(f"Its attachment {name}: {file.what}")
        return file


def _read_full(file: BinaryIO, size: int) -> bytes:
    octets = b""
    while len(octets) < size and (more := file.read(size - len(octets))):
        octets += more
    return octets
