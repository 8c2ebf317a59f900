"""Finds where commands begin and end in what a client sends, whatever it sends. No I/O, no grammar.

Theory of operation. A command is a line, or several lines with literals between them: a line that ends with
`{n}` or `{n+}` goes on with n octets and then another line (RFC 3501 §4.3, RFC 7888). `receive` stores
octets, `next_event` decides; events come out one by one, because what the next octets mean can depend on what
the session makes of the last event: after IDLE or AUTHENTICATE it asks for `next_line` instead.

The invariant: after each event the framer knows where the next command starts. So a command that cannot be
taken costs its sender one answer and never the connection, except where RFC 7888 §4 leaves no choice
(Rejected.fatal).

The message literal of APPEND is not collected: AppendHead says what is coming, the session calls `accept` or
`refuse`, and AppendData brings the octets as they arrive. Everything else is collected within `Limits`.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a client may send, in octets."""

    line: int  # one line, without literals
    command: int  # one command with all its lines and literals, but for an APPEND's message
    message: int | None  # the message literal of APPEND; None: APPEND is a command like any other
    skip: int  # a `{n+}` literal that is over the limits is read and thrown away up to this size


KIB: Final = 1024

BEFORE_LOGIN: Final = Limits(line=8 * KIB, command=8 * KIB, message=None, skip=64 * KIB)
"""A name and a password fit, before a login no more is needed. RFC 7162 §4: lines of 8192 octets at least."""

LINE_LIMIT: Final = 64 * KIB
"""Many clients do not split long UID sets; Dovecot takes 64 KiB by default, for their sake."""

COMMAND_LIMIT: Final = 1024 * KIB
"""A SEARCH with long strings is far below this. It bounds the memory that literals are collected in."""

SKIP_LIMIT: Final = 256 * KIB * KIB
"""The octets are on their way (RFC 7888 §4). Reading them costs time but no memory; past this, hang up."""


def after_login(message: int) -> Limits:
    """The limits of a client that has logged in; `message`: the greatest size of a message, in octets."""
    return Limits(LINE_LIMIT, COMMAND_LIMIT, message, max(SKIP_LIMIT, 2 * message))


@dataclass(frozen=True, slots=True)
class CommandText:
    """One whole command, literals in place as on the wire (`{3}` CRLF `abc`), without the last line end."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """What `next_line` gives: one line without its end."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Continue:
    """The client waits to be told that it may send a literal of a size that is fine: send CONTINUE now."""


CONTINUE: Final = b"+ OK\r\n"
"""RFC 3501 §7.5: the answer to Continue."""


@dataclass(frozen=True, slots=True)
class AppendHead:
    """A message literal is announced. `text` is the APPEND command up to the `{`.

    With `more`, `text` is what stood between the last message and this one (RFC 3502, RFC 4469). The session
    must call `accept` or `refuse` before it takes the next event. `binary`: the literal is written `~{n}`
    (RFC 3516). Instead of AppendEnd a Rejected may come, which gives up all of the APPEND.
    """

    text: bytes
    size: int
    more: bool = False
    binary: bool = False


@dataclass(frozen=True, slots=True)
class AppendData:
    """The next octets of the message that was accepted; never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AppendEnd:
    """The APPEND is whole. `text` is what stood behind the message: empty in every plain APPEND."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A command that cannot be taken: answer `status`, and the framer goes on with the next command.

    `tag` is None when it had none that can be repeated: the answer is untagged. `code` is the response code.
    `fatal`: the next command cannot be found (RFC 7888 §4): say BYE and hang up; nothing comes any more.
    """

    tag: bytes | None
    status: Literal["BAD", "NO"]
    code: str | None
    reason: str
    fatal: bool = False


Event = CommandText | Line | Continue | AppendHead | AppendData | AppendEnd | Rejected

# literal = "{" number ["+"] "}" CRLF CHAR8   (RFC 3501 §9, RFC 7888 §8)   literal8 = "~{" ...   (RFC 3516 §7)
_LITERAL: Final = re.compile(rb"(~?)\{([0-9]+)(\+?)\}\Z")
_DIGITS: Final = 19  # of a number64 (RFC 9051 §9); a longer number is no size

# append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal: the message is the literal that does
# not stand where the mailbox stands. A tag is looked at so far only: each line of a command is tried.
_APPEND: Final = re.compile(rb"[^ ]{1,256} APPEND (?=[^\r\n])", re.IGNORECASE)

# tag = 1*<any ASTRING-CHAR except "+">
_TAG: Final = re.compile(rb"""([!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,250})(?= )""")
_TAG_LIMIT: Final = 256


def tag_of(text: bytes) -> bytes | None:
    """The tag that a command starts with, None if it has none that may be repeated to the client."""
    found = _TAG.match(text)
    return found[1] if found else None


class Framer:
    """Octets in (`receive`), events out (`next_event`, `next_line`). `limits` may change between events."""

    def __init__(self, limits: Limits = BEFORE_LOGIN) -> None:
        self.limits = limits
        self._buffer = bytearray()
        self._searched = 0  # so far the buffer holds no line end
        self._text = bytearray()  # the command so far: lines and literals
        self._need = 0  # octets that are missing of the literal at hand
        self._state: Literal[
            "line", "literal", "offered", "message", "behind", "skip", "skip line", "dead"
        ] = "line"
        self._synchronizing = False  # of the literal that AppendHead offers

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Stores what the client sent."""
        self._buffer += data

    def next_line(self) -> Line | Rejected | None:
        """One line as it stands: DONE (RFC 2177 §3) or a SASL response (RFC 3501 §6.2.2).

        None until it is there. Blank lines are lines here: an empty SASL response is one.
        """
        line = self._take_line()
        if line is None or isinstance(line, Rejected):
            return line
        return Line(line)

    def next_event(self) -> Event | None:
        """What comes next, None until there is more to say."""
        while True:
            match self._state:
                case "line" | "behind":
                    line = self._take_line()
                    if line is None or isinstance(line, Rejected):
                        return line
                    if self._state == "line" and not self._text and not line.strip(b" \t"):
                        continue  # quirk_blank_line: iOS Mail sends one before a command
                    event = self._line(line)
                    if event is not None:
                        return event
                case "literal":
                    self._text += self._take()
                    if self._need:
                        return None
                    self._state = "line"
                case "message":
                    taken = self._take()
                    if not self._need:
                        self._state = "behind"
                    elif not taken:
                        return None
                    if taken:
                        return AppendData(taken)
                case "skip":
                    self._take()
                    if self._need:
                        return None
                    self._state = "skip line"
                case "skip line":
                    rejected = self._skip_line()
                    if rejected is not None or self._state == "skip line":
                        return rejected
                case "dead":
                    self._buffer.clear()
                    return None
                case "offered":
                    raise AssertionError("accept or refuse must follow AppendHead")

    def accept(self) -> bytes:
        """Takes the message that AppendHead announced. What it returns is to be sent to the client."""
        assert self._state == "offered"
        self._state = "message"
        return CONTINUE if self._synchronizing else b""

    def refuse(self) -> None:
        """Gives up the APPEND at hand, before, amid or behind its message: the rest of it is skipped.

        A client that was not asked for its literal does not send it (RFC 3501 §7.5).
        """
        assert self._state in ("offered", "message", "behind")
        self._text.clear()
        if self._state == "offered" and self._synchronizing:
            self._state = "line"
        else:
            self._state = "skip line" if self._state == "behind" else "skip"

    def _take(self) -> bytes:
        """What is there of the literal at hand."""
        if len(self._buffer) <= self._need:  # the usual case amid a long message: no slice, one copy
            taken = bytes(self._buffer)
            self._buffer.clear()
        else:
            taken = bytes(self._buffer[: self._need])
            del self._buffer[: self._need]
        self._need -= len(taken)
        return taken

    def _take_line(self) -> bytes | Rejected | None:
        """The next line without its end, None if that has not come yet, Rejected if it cannot be taken."""
        limit = self.limits.line
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = stop = len(self._buffer)
            if stop <= limit + 1:  # + 1: the CR
                return None
        else:
            # quirk_bare_lf: scripts and telnet end lines with LF alone; within a command LF has no other
            # meaning.
            stop = end - 1 if self._buffer[end - 1 : end] == b"\r" else end
        if stop > limit:
            start = bytes(self._buffer[:_TAG_LIMIT])
            return self._reject("BAD", None, "The line is too long", start, taken=False)
        line = bytes(self._buffer[:stop])
        del self._buffer[: end + 1]
        self._searched = 0
        if 0 in line:  # RFC 3501 §9: CHAR and TEXT-CHAR exclude NUL
            return self._reject("BAD", None, "A command cannot contain NUL", line)
        return line

    def _line(self, line: bytes) -> Event | None:
        """Decides what a line of a command is. None: go on."""
        behind, text = self._state == "behind", self._text
        literal = _LITERAL.search(line) if line.endswith(b"}") else None
        if literal is None:
            if behind:
                self._finish()
                return AppendEnd(line)
            if len(text) + len(line) > self.limits.command:
                return self._reject("BAD", "TOOBIG", "The command is too long", line)
            if text:
                line = bytes(text) + line
            self._finish()
            return CommandText(line)

        if len(literal[2]) > _DIGITS:
            return self._reject("BAD", None, "No literal is that long", line)
        size, self._synchronizing = int(literal[2]), not literal[3]
        start = literal.start()
        most = self.limits.message
        if most is not None and (behind or _APPEND.match(text or line, 0, len(text) or start)):
            if size > most:
                return self._reject("NO", "TOOBIG", "The message is larger than this server takes", line)
            head = bytes(text) + line[:start] if not behind else line[:start]
            if not behind:
                self._text = bytearray(head[:_TAG_LIMIT])  # for the tag, should the rest be rejected
            self._state, self._need = "offered", size
            return AppendHead(head, size, more=behind, binary=bool(literal[1]))
        if len(text) + len(line) + size > self.limits.command:
            return self._reject("BAD", "TOOBIG", "The literal is too long", line)
        text += line
        text += b"\r\n"
        self._state, self._need = "literal", size
        return Continue() if self._synchronizing else None

    def _finish(self) -> None:
        self._text.clear()
        self._state = "line"

    def _reject(
        self, status: Literal["BAD", "NO"], code: str | None, reason: str, line: bytes, *, taken: bool = True
    ) -> Rejected:
        """Gives up the command at hand, at this line. Not `taken`: that is its beginning only, and all of it
        is still in the buffer."""
        tag = tag_of(bytes(self._text[:_TAG_LIMIT]) if self._text else line)
        self._text.clear()
        if not taken:
            self._state = "skip line"
        elif self._after(line):
            return Rejected(tag, status, code, reason, fatal=True)
        return Rejected(tag, status, code, reason)

    def _after(self, line: bytes) -> bool:
        """After a line that is thrown away: skips the literal that comes unasked. True: it is too large."""
        literal = _LITERAL.search(line)
        if literal is None or not literal[3]:
            self._state = "line"
            return False
        if len(literal[2]) > _DIGITS or int(literal[2]) > self.limits.skip:
            self._state = "dead"
            return True
        self._state, self._need = "skip", int(literal[2])
        return False

    def _skip_line(self) -> Rejected | None:
        """Throws away up to the line end, and the literal behind it if there is one."""
        end = self._buffer.find(b"\n")
        if end < 0:
            del self._buffer[:-64]  # what is kept is more than the end of a line with a literal
            self._searched = 0
            return None
        tail = bytes(self._buffer[max(0, end - 64) : end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        self._searched = 0
        if self._after(tail):
            return Rejected(None, "BAD", None, "The literal is too long", fatal=True)
        return None
