"""A letter in a file becomes what Dovecot shows of it by IMAP: the same octets that its clients have seen."""

import re
from typing import Final

_LONE_LF: Final = re.compile(rb"(?<!\r)\n")


class LineEnds:
    """A letter passes through in pieces, split anywhere.

    A LF without CR gets one. A CR without LF stays as it is. IMAP cannot carry NUL (RFC 3501 §9, CHAR8):
    Dovecot shows an octet 0x80 in its place (observed with 2.3.19).

    nuls   there was one
    lines  how many lines have ended by now; None once a CR has been seen
    """

    __slots__ = ("_after_cr", "lines", "nuls")

    def __init__(self) -> None:
        self.nuls = False
        self.lines: int | None = 0
        self._after_cr = False

    def feed(self, data: bytes) -> bytes:
        """What a piece becomes. The end of a letter needs nothing: no octet is held back."""
        if not data:
            return data
        first_is_done = self._after_cr and data[0] == 0x0A
        self._after_cr = data[-1] == 0x0D
        if 0 in data:
            data = data.replace(b"\0", b"\x80")
            self.nuls = True
        if b"\r" not in data:
            wide = data.replace(b"\n", b"\r\n")  # ordinary files: some times as fast as the pattern
            if self.lines is not None:
                self.lines += len(wide) - len(data)
            return wide[1:] if first_is_done else wide
        self.lines = None
        if data.count(b"\r\n") == data.count(b"\n"):
            return data
        if first_is_done:
            return b"\n" + _LONE_LF.sub(b"\r\n", data[1:])
        return _LONE_LF.sub(b"\r\n", data)
