"""Files of letters as Dovecot's dbox has them: `u.N` with one (sdbox), `m.N` with many (mdbox).

2 M1e C6b0bbe9f LF                          version, octets of a message header, time of creation (hex)
01 02 "N " 8 octets " " size, 16 hex LF     the header of a message
…                                           its letter, perhaps compressed
LF 01 03 LF                                 then its metadata, one a line: a letter, and its value
R5e0c6da0 LF V15 LF G… LF                   R received, V octets with CRLF (hex), G GUID, B mailbox,
LF                                          X attachments kept elsewhere, Z octets uncompressed
"""

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1
from typing import BinaryIO

from aerogramme.errors import Unreadable

FIRST = 0  # where a file has one letter: right behind the header of the file

_MESSAGE = re.compile(rb"\x01\x02N [0-9a-fA-F ]{8} ([0-9a-fA-F]{16})")
_METADATA = b"\n\x01\x03\n"
_MESSAGE_HEADER = 30  # octets, as all versions of Dovecot write it
_MAX_LINE = 1024
_MAX_MESSAGE_HEADER = 4096
_STEP = 1 << 16
_MAX_METADATA = 1 << 20  # octets: names of some thousand attachments
_HEAD = 16  # octets of the letter that are looked at: whether it is encrypted


@dataclass(frozen=True, slots=True)
class Stored:
    """A letter in a file of a dbox.

    at      where its header begins
    start   where its letter begins
    size    octets of that
    end     where the next header would begin
    head    the first octets of the letter
    wrong   what is not as it should be; "" if nothing is
    """

    at: int
    start: int
    size: int
    end: int
    metadata: dict[str, bytes]
    head: bytes
    wrong: str = ""

    def number(self, key: str) -> int | None:
        """A hexadecimal number of the metadata; None if there is none."""
        value = self.metadata.get(key, b"")
        return int(value, 16) if re.fullmatch(rb"[0-9a-fA-F]{1,16}", value) else None

    @property
    def received(self) -> int | None:
        """INTERNALDATE, in unix seconds."""
        return self.number("R")

    @property
    def wide(self) -> int:
        """RFC822.SIZE; 0 if only reading tells."""
        return self.number("V") or 0

    @property
    def guid(self) -> bytes:
        """16 octets that no other letter has, but copies of this one; none if there are none."""
        text = self.metadata.get("G", b"")
        if not text:
            return b""
        if re.fullmatch(rb"[0-9a-fA-F]{32}", text):
            return bytes.fromhex(text.decode())
        # GUIDs of other forms come from other stores: Dovecot knows them by the last 128 bits of this.
        return sha1(text, usedforsecurity=False).digest()[-16:]


class DboxFile:
    """An open file of a dbox. Raises Unreadable."""

    def __init__(self, file: BinaryIO, origin: str) -> None:
        """It closes the file. `origin`: what it is called in errors."""
        self.origin = origin
        self._file = file
        self._descriptor = file.fileno()
        self._users = 1
        try:
            self._read_header()
        except BaseException:
            self.release()
            raise

    def _read_header(self) -> None:
        line, end, _ = self.read(0, _MAX_LINE).partition(b"\n")
        words = line.split(b" ")
        found = re.search(rb" M([0-9a-fA-F]{1,4})(?: |$)", line)
        size = int(found[1], 16) if found else 0
        self.broken = not end or words[0] not in (b"1", b"2") or not 29 <= size <= _MAX_MESSAGE_HEADER
        self._message_header = _MESSAGE_HEADER if self.broken else size
        self._first = 0 if self.broken else len(line) + 1

    def use(self) -> bool:
        """Keeps it open until `release`; false if it is closed already."""
        if not self._users:
            return False
        self._users += 1
        return True

    def release(self) -> None:
        """Closes it once nobody uses it."""
        self._users -= 1
        if not self._users:
            self._file.close()

    def read(self, at: int, size: int) -> bytes:
        """Octets of the file, fewer at its end."""
        try:
            return os.pread(self._descriptor, size, at)
        except OSError as error:
            raise Unreadable(f"{self.origin}: {error.strerror}") from error

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def changed(self) -> int:
        """When it was written last, in unix seconds."""
        return int(os.fstat(self._descriptor).st_mtime)

    def stored(self, at: int) -> Stored:
        """The letter whose header begins there. A size that is wrong is found out; what is cut is said."""
        if at == FIRST:
            at = self._first
            if self.broken:
                at = next(self._headers(0), -1)
        if at < 0:
            raise Unreadable(f"{self.origin}: it has no message")
        header = self.read(at, self._message_header + _HEAD)
        found = _MESSAGE.match(header)
        if found is None:
            raise Unreadable(f"{self.origin}: there is no message at offset {at}")
        start = at + self._message_header
        size = int(found[1], 16)
        head = header[self._message_header :][:size]
        whole = self.size()
        metadata = self._metadata(start + size) if start + size <= whole else None
        if metadata is not None:
            return Stored(at, start, size, start + size + metadata[1], metadata[0], head)
        # Either the size is wrong, or there is no metadata, or the file was cut. The next header is the end.
        limit = next(self._headers(start), whole)
        for place in self._find(_METADATA, start, limit):
            metadata = self._metadata(place)
            if metadata is not None:
                wrong = f"its size is not {size} octets but {place - start}"
                return Stored(at, start, place - start, place + metadata[1], metadata[0], head, wrong)
        there = min(size, limit - start)
        wrong = f"the file ends after {there} of {size} octets" if there < size else "its metadata is missing"
        return Stored(at, start, there, limit, {}, head, wrong)

    def scan(self) -> Iterator[Stored]:
        """All letters of the file in its order. What is between them and is none is skipped."""
        at: int | None = self._first
        while at is not None and at < self.size():
            if not _MESSAGE.match(self.read(at, _MESSAGE_HEADER)):
                at = next(self._headers(at), None)
                continue
            found = self.stored(at)
            yield found
            at = found.end

    def letter(self, stored: Stored) -> "Letter":
        """What is stored, as a file to read. It keeps this file open."""
        return Letter(self, stored)

    def _headers(self, start: int) -> Iterator[int]:
        """Where headers of messages seem to begin, from an offset on."""
        for place in self._find(b"\x01\x02N ", start, self.size()):
            behind = not place or self.read(place - 1, 1) == b"\n"
            if behind and _MESSAGE.match(self.read(place, _MESSAGE_HEADER)):
                yield place

    def _find(self, octets: bytes, start: int, end: int) -> Iterator[int]:
        while start < end:
            window = self.read(start, min(_STEP, end - start) + len(octets) - 1)
            at = window.find(octets)
            while 0 <= at <= _STEP - 1:
                yield start + at
                at = window.find(octets, at + 1)
            start += _STEP

    def _metadata(self, at: int) -> tuple[dict[str, bytes], int] | None:
        """The metadata that begins there, and its octets; None if it does not."""
        block = self.read(at, 512)
        if not block.startswith(_METADATA):
            return None
        while b"\n\n" not in block[3:]:
            if len(block) > _MAX_METADATA:
                return None
            more = self.read(at + len(block), _STEP)
            if not more:
                return None
            block += more
        block = block[4 : block.index(b"\n\n", 3) + 1]
        metadata: dict[str, bytes] = {}
        for line in block.split(b"\n"):
            if line and not 0x20 <= line[0] < 0x7F:
                return None
            if line:
                metadata.setdefault(chr(line[0]), line[1:])
        return metadata, len(_METADATA) + len(block) + 1


class Letter(io.RawIOBase):
    """The octets of a letter as they are stored."""

    def __init__(self, file: DboxFile, stored: Stored) -> None:
        if not file.use():
            raise Unreadable(f"{file.origin}: it is closed")
        self._file = file
        self._at = stored.start
        self._end = stored.start + stored.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        data = self._file.read(self._at, min(len(buffer), self._end - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        if not data and self._at < self._end:
            raise EOFError(f"the file ends {self._end - self._at} octets too early")
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.release()
        super().close()
