"""A letter in an mbox, as it was before it was put there: without the fields that belong to the mbox, and
with lines that begin with From as they were.

In the form mboxrd each of `From `, `>From `, `>>From ` … at the start of a line gets one > more.
"""

import io
import os
import re
from typing import Final

from aerogramme.migrate.sources.mbox.scan import OWN

_LONGEST: Final = 1 << 16  # octets that are looked at as one line
_QUOTED: Final = re.compile(rb"^>(>*From )", re.MULTILINE)
_QUOTED_BELOW: Final = re.compile(rb"(?<=\n)>(>*From )")  # in what begins amid a line
_NAME: Final = re.compile(rb"(" + b"|".join(OWN) + rb")[ \t]*:", re.IGNORECASE)


class Part(io.RawIOBase):
    """Some octets of a file. Closing it closes only itself."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self._descriptor = descriptor
        self._at = start
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        found = os.pread(self._descriptor, min(len(buffer), self._end - self._at), self._at)
        if not found and self._at < self._end:
            raise EOFError(f"the file ends {self._end - self._at} octets too early")
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


class MboxLetter:
    """What a letter was.

    `head`: octets of its header, with the empty line; `quoted`: it is in the form mboxrd.
    """

    def __init__(self, part: Part, head: int, *, quoted: bool) -> None:
        self._file = io.BufferedReader(part, _LONGEST)
        self._head = head
        self._quoted = quoted
        self._hidden = False  # the field is one of the mbox, and so are the lines that go on with it
        self._at_start = True  # what comes next begins a line

    def close(self) -> None:
        """It is read no more. The file stays open."""
        self._file.close()

    def read(self, size: int, /) -> bytes:
        """The next octets: about so many, none only at the end."""
        while self._head > 0:
            if found := self._header(size):
                return found
        found = self._file.read(size)
        if self._quoted and found:
            found = self._unquoted(found)
        return found

    def _header(self, size: int) -> bytes:
        kept: list[bytes] = []
        length = 0
        while self._head > 0 and length < size:
            line = self._file.readline(min(_LONGEST, self._head))
            if not line:
                self._head = 0
                break
            self._head -= len(line)
            if self._at_start and not line.startswith((b" ", b"\t")):
                self._hidden = _NAME.match(line) is not None
                if self._quoted:  # a letter that was once in an mbox may begin with its From line
                    line = _QUOTED.sub(rb"\1", line)
            self._at_start = line.endswith(b"\n")
            if not self._hidden:
                kept.append(line)
                length += len(line)
        self._at_start = self._at_start or self._head <= 0
        return b"".join(kept)

    def _unquoted(self, octets: bytes) -> bytes:
        if not octets.endswith(b"\n"):
            octets += self._file.readline(_LONGEST)  # so that no line is cut
        quoted = _QUOTED if self._at_start else _QUOTED_BELOW
        self._at_start = octets.endswith(b"\n")
        return quoted.sub(rb"\1", octets) if b">From " in octets else octets
