"""Letters as files have them: with lines that end with LF, and in an mbox what begins a message quoted.

A letter is read in pieces, and what comes out does not depend on where they were cut.
"""

import re

# Only a CRLF that no CR precedes: readers give a CR to each LF that has none before it (RFC 3501 §2.3.4 wants
# CRLF), so CR CR LF stays what it is, and comes out as it was.
_ENDS = re.compile(rb"(?<!\r)\r\n")
_FROM = re.compile(rb"(^|\n)(>*From )")
_MAYBE = re.compile(rb">*(F?|Fr|Fro|From)")  # a line that may go on as one of those


class UnixLines:
    """Makes LF of CRLF. `size`: octets that came out; `wide`: how many IMAP will show of them, as Dovecot
    counts (W= in the name of a file)."""

    def __init__(self) -> None:
        self.size = 0
        self.wide = 0
        self._kept = b""  # CRs whose meaning the next piece tells

    def feed(self, piece: bytes) -> bytes:
        data = self._kept + piece
        self._kept = b""
        if data.endswith(b"\r"):  # two are enough to tell CR CR LF
            kept = 2 if data.endswith(b"\r\r") else 1
            data, self._kept = data[:-kept], data[-kept:]
        return self._out(data)

    def end(self) -> bytes:
        """What is left at the end of the letter."""
        data, self._kept = self._kept, b""
        return self._out(data)

    def _out(self, data: bytes) -> bytes:
        # Most letters have no CR CR LF, and then this is ten times as fast.
        data = _ENDS.sub(b"\n", data) if b"\r\r\n" in data else data.replace(b"\r\n", b"\n")
        self.size += len(data)
        self.wide += len(data) + data.count(b"\n") - data.count(b"\r\n")
        return data


class Quoting:
    """Quotes lines that look as if a message began (mboxrd): `From `, `>From ` and so on get one more ">"."""

    def __init__(self) -> None:
        self._start = True  # what comes next begins a line, or goes on after nothing but ">"
        self._kept = b""
        self._last = b"\n"

    def feed(self, piece: bytes) -> bytes:
        data = self._kept + piece
        self._kept = b""
        if not data:
            return b""
        quoted = data
        if b"From " in data:
            # A mark stands for a line that goes on: then the beginning of the piece is not that of a line.
            mark = b"" if self._start else b"\0"
            quoted = _FROM.sub(rb"\1>\2", mark + data)[len(mark) :]
        at = data.rfind(b"\n") + 1
        found = _MAYBE.fullmatch(data, at) if at or self._start else None
        self._start = found is not None
        if found is not None and found[1]:
            self._kept = found[1]
            quoted = quoted[: -len(found[1])]
        self._last = quoted[-1:] or self._last
        return quoted

    def end(self) -> bytes:
        """What is left at the end of the letter, and a line end if it has none."""
        data, self._kept = self._kept, b""
        last = data[-1:] or self._last
        return data if last == b"\n" else data + b"\n"
