"""Where the parts of a message are: its MIME structure as offsets into its bytes, in one pass over them.

Theory of operation. A stack holds the parts that are open; the boundaries of the open multiparts are in one
dict. The scanner only moves forward: blank lines (ends of headers), lines that begin with "--" (candidates
for delimiters) and line counts are each looked for from where the last search stopped, never again from the
start of a part. So any bytes cost linear time, however they nest. Nothing raises: what breaks a rule of MIME
is read as its nearest valid form.

A line ends at LF, with or without a CR before it; a CR alone is an ordinary byte (RFC 5322 §2.3 forbids it).
"""

import re
from dataclasses import dataclass
from typing import Final

from aerogramme.mail.header import Parameters, media_type, read_fields, token

# Parts within parts. Real mail nests under 10 deep; Dovecot stops at 100. What lies deeper is shown as one
# opaque part.
MAX_DEPTH: Final = 100
# Parts of one message (Dovecot: 10,000). What follows belongs to the last one.
MAX_PARTS: Final = 10_000
# A header block ends here at the latest (Exim: 1 MiB, Postfix: 100 kB): headers travel in digests. The rest
# is body.
MAX_HEADER: Final = 1 << 20
# RFC 2046 §5.1.1 allows 70; senders exceed it, but a delimiter line fits into an SMTP line.
MAX_BOUNDARY: Final = 998
# Lines that begin as delimiters do, and are looked at: half a microsecond each, so half a second. A
# mail with as many has them as text.
MAX_CANDIDATES: Final = 1_000_000

_BLANK: Final = re.compile(rb"\n\r?\n")
_EMPTY_LINE: Final = (b"\r\n", b"\n")
_US_ASCII: Final = ((b"charset", b"us-ascii"),)
_TEXT_PLAIN: Final = (b"text", b"plain", _US_ASCII)  # RFC 2045 §5.2
_MESSAGE: Final = (b"message", b"rfc822", ())  # RFC 2046 §5.1.5: the default within multipart/digest
_OPAQUE: Final = (b"application", b"octet-stream", ())


@dataclass(frozen=True, slots=True)
class Part:
    """One entity: header in raw[start:body], body in raw[body:end].

    `type`, `subtype`, `encoding` and the names in `parameters` and `fields` are in lower case. `children` is
    not empty for a multipart and empty for everything else; `message` is set for message/rfc822 only. `lines`
    counts the LF of the body of text and message/rfc822 parts, and is 0 for others. `fields` has the fields
    that digests need.
    """

    start: int
    body: int
    end: int
    type: bytes
    subtype: bytes
    parameters: Parameters
    encoding: bytes
    fields: dict[bytes, bytes]
    lines: int = 0
    children: tuple["Part", ...] = ()
    message: "Part | None" = None


class _Open:
    """A part whose end is not known yet."""

    __slots__ = ("body", "boundary", "children", "fields", "lines", "media", "shadowed", "start")

    def __init__(
        self, start: int, body: int, fields: dict[bytes, bytes], media: tuple[bytes, bytes, Parameters]
    ) -> None:
        self.start = start
        self.body = body
        self.fields = fields
        self.media = media
        self.boundary: bytes | None = None
        self.shadowed: int | None = None  # level of an outer multipart with the same boundary
        self.children: list[Part] = []
        self.lines = 0  # line ends before the body


class _Scanner:
    __slots__ = (
        "_after",
        "_blank",
        "_candidates",
        "_counted",
        "_lines",
        "_pending",
        "_scanned",
        "_total",
        "levels",
        "parts",
        "raw",
        "stack",
    )

    def __init__(self, raw: bytes, total: int | None) -> None:
        self.raw = raw
        self._total = total
        self.stack: list[_Open] = []
        self.levels: dict[bytes, int] = {}  # boundary of an open multipart: its place in the stack
        self.parts = 0
        self._blank = -1  # first LF of the last blank line found, and the offset behind it
        self._after = -1
        self._scanned = 0  # delimiters have been looked for up to here
        self._candidates = 0
        self._pending: tuple[int, int, int, bool] | None = None
        self._counted = 0
        self._lines = 0

    def lines_before(self, offset: int) -> int:
        """Line ends in raw[:offset]. Offsets must not fall, so that each byte is counted once."""
        if self._total is not None and offset == len(self.raw):
            self._lines = self._total
        else:
            self._lines += self.raw.count(b"\n", self._counted, offset)
        self._counted = offset
        return self._lines

    def delimiter(self, stop: int) -> tuple[int, int, int, bool] | None:
        """The next delimiter line of an open multipart that begins before `stop`, not yet taken.

        As (offset of the line end before it, offset of the next line, level of its multipart, whether it
        closes).
        """
        raw, levels = self.raw, self.levels
        if self._pending is not None or not levels:
            return self._pending
        start = b"\n--"
        if len(levels) == 1:  # nearly always; and what is longer is found sooner
            start += next(iter(levels))
        begins = stop + len(start) - 3  # where a line that begins before `stop` has shown that it does so
        at = raw.find(start, self._scanned, begins)
        while at >= 0 and self._candidates < MAX_CANDIDATES:
            self._candidates += 1
            next_line = raw.find(b"\n", at + 3) + 1 or len(raw)
            if next_line - at < MAX_BOUNDARY + 8:
                # RFC 2046 §5.1.1: blanks may follow. The whole line must agree, so that a boundary which is
                # the beginning of another one (a common scheme: "b", "b_1") takes nothing from it.
                name = raw[at + 3 : next_line].rstrip()
                level = levels.get(name)
                if level is not None:
                    self._pending = at, next_line, level, False
                    break
                if name.endswith(b"--"):
                    level = levels.get(name[:-2])
                    if level is not None:
                        self._pending = at, next_line, level, True
                        break
            at = raw.find(start, next_line - 1, begins)
        else:
            self._scanned = max(self._scanned, stop - 3)
        return self._pending

    def header_end(self, start: int) -> int:
        """The offset behind the header block that begins at `start`, its blank line included."""
        raw = self.raw
        if raw.startswith(_EMPTY_LINE, start):
            return start + (1 if raw[start] == 10 else 2)
        if self._blank < start:
            match = _BLANK.search(raw, start)
            self._blank, self._after = match.span() if match else (len(raw), len(raw))
        end = self._after
        if end - start > MAX_HEADER:
            end = raw.rfind(b"\n", start, start + MAX_HEADER) + 1 or start + MAX_HEADER
        found = self.delimiter(end)
        # Of a header cut short by a delimiter, the line end before the delimiter is kept: its last field is
        # whole.
        return min(end, found[0] + 1) if found else end

    def open(self, start: int) -> None:
        """Read the header at `start` and put its part on the stack, and what is in it if it is a message."""
        while True:
            in_digest = self.stack and self.stack[-1].media[:2] == (b"multipart", b"digest")
            default = _MESSAGE if in_digest else _TEXT_PLAIN
            body = self.header_end(start)
            fields = read_fields(self.raw, start, body)
            content_type = fields.get(b"content-type")
            media = (content_type and media_type(content_type)) or default
            kind = media[0]
            if len(self.stack) >= MAX_DEPTH - 1 and (kind == b"multipart" or media[:2] == _MESSAGE[:2]):
                media = _OPAQUE
                kind = media[0]
            part = _Open(start, body, fields, media)
            self.stack.append(part)
            self.parts += 1
            if kind == b"multipart":
                boundary = dict(reversed(media[2])).get(b"boundary", b"").rstrip()
                if boundary and len(boundary) <= MAX_BOUNDARY:
                    part.boundary = boundary
                    part.shadowed = self.levels.get(boundary)
                    self.levels[boundary] = len(self.stack) - 1
                    self._scanned = max(self._scanned, body - 1)
                return
            if kind == b"text":
                part.lines = self.lines_before(body)
                return
            if media[:2] != _MESSAGE[:2]:
                return
            part.lines = self.lines_before(body)
            start = body

    def release(self, part: _Open) -> None:
        """The delimiters of this multipart are no longer looked for."""
        if part.boundary is not None:
            if part.shadowed is None:
                del self.levels[part.boundary]
            else:
                self.levels[part.boundary] = part.shadowed
            part.boundary = None

    def close(self, end: int) -> Part:
        """Take the innermost open part, which ends here, off the stack."""
        opened = self.stack.pop()
        self.release(opened)
        body = opened.body
        end = max(end, body)
        kind, subtype, parameters = opened.media
        message = None
        children: tuple[Part, ...] = ()
        lines = 0
        if kind == b"multipart":
            # RFC 3501 §9: body-type-mpart has at least one body. One without any part is shown as one text
            # part, which is also how people get to see what is in a multipart whose delimiters are wrong.
            children = tuple(opened.children) or (self._whole(body, end),)
        elif kind == b"text":
            lines = self.lines_before(end) - opened.lines
        elif opened.children:
            message = opened.children[0]
            lines = self.lines_before(end) - opened.lines
        encoding = opened.fields.get(b"content-transfer-encoding")
        part = Part(
            opened.start,
            body,
            end,
            kind,
            subtype,
            parameters,
            (encoding and token(encoding)) or b"7bit",  # RFC 2045 §6.1
            opened.fields,
            lines,
            children,
            message,
        )
        if self.stack:
            self.stack[-1].children.append(part)
        return part

    def _whole(self, body: int, end: int) -> Part:
        before = self.lines_before(body)
        return Part(body, body, end, *_TEXT_PLAIN, b"7bit", {}, self.lines_before(end) - before)

    def run(self) -> Part:
        raw, stack = self.raw, self.stack
        self.open(0)
        while stack:
            found = self.delimiter(len(raw)) if self.parts < MAX_PARTS else None
            if found is None:
                break
            self._pending = None
            at, next_line, level, closing = found
            self._scanned = next_line - 1
            # RFC 2046 §5.1.1: the line end before a delimiter belongs to it.
            end = at - 1 if at and raw[at - 1] == 13 else at
            while len(stack) > level + 1:
                end = self.close(end).end  # not before the header of a part that has nothing but a header
            if closing:
                self.release(stack[level])
            else:
                self.open(next_line)
        while len(stack) > 1:
            self.close(len(raw))
        return self.close(len(raw))


def parse(raw: bytes, lines: int | None = None) -> Part:
    """The structure of a message. Any bytes give one; the root spans all of `raw`. `lines`: how many LF there
    are, if that is known."""
    return _Scanner(raw, lines).run()
