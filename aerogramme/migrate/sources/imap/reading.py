"""Finds the answers in the octets that a server sends (RFC 3501 §7), without I/O.

Most answers are a line, or some lines with literals between them, and come whole. A letter does not: its
octets are passed on as they arrive.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

MAX_ANSWER: Final = 4 << 20  # octets: no answer that is asked for comes near it, and letters are streamed

_LITERAL: Final = re.compile(rb"~?\{([0-9]{1,19})\}\Z")  # "~": RFC 3516 §4.3
_FETCH: Final = re.compile(rb"\* [0-9]{1,10} FETCH \(", re.IGNORECASE)
_LETTER: Final = re.compile(rb"[ (]BODY\[\](?:<[0-9]{1,19}>)? ~?\{[0-9]{1,19}\}\Z", re.IGNORECASE)


class Nonsense(ValueError):
    """The server does not speak IMAP: what comes next cannot be told any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, its literals in it, without its last CRLF. `behind` a letter, what is left of it."""

    text: bytes
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """A letter begins. `text` is what its answer had before it. Its `size` octets follow, then an Answer."""

    text: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Data:
    """The next octets of the letter; never empty."""

    octets: bytes


Event = Answer | Head | Data


class Reader:
    """Octets in (`receive`), events out (`next_event`)."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # so far the buffer holds no line end
        self._text = bytearray()  # the answer so far
        self._need = 0  # octets that are missing of the literal at hand
        self._state: Literal["line", "literal", "letter"] = "line"
        self._behind = False

    @property
    def empty(self) -> bool:
        """Whether nothing is waiting."""
        return not self._buffer and not self._text and self._state == "line"

    def receive(self, data: bytes | bytearray) -> None:
        """Takes what the server sent."""
        self._buffer += data

    def next_event(self) -> Event | None:
        """What comes next, None until there is more to say. Raises Nonsense."""
        while True:
            if self._state == "letter":
                if self._need:
                    taken = self._take()
                    return Data(taken) if taken else None
                self._state, self._behind = "line", True
            if self._state == "literal":
                self._text += self._take()
                if self._need:
                    return None
                self._state = "line"
            line = self._line()
            if line is None:
                return None
            literal = _LITERAL.search(line) if line.endswith(b"}") else None
            if literal is None:
                if self._text:
                    line = bytes(self._text) + line
                    self._text.clear()
                behind, self._behind = self._behind, False
                return Answer(line, behind)
            size = int(literal[1])
            if not self._behind and _FETCH.match(self._text or line) and _LETTER.search(line):
                head = bytes(self._text) + line[: literal.start()]
                self._text.clear()
                self._state, self._need = "letter", size
                return Head(head, size)
            if len(self._text) + len(line) + size > MAX_ANSWER:
                raise Nonsense("an answer is too long")
            self._text += line + b"\r\n"
            self._state, self._need = "literal", size

    def _take(self) -> bytes:
        """What is there of the literal at hand."""
        if len(self._buffer) <= self._need:  # the usual case amid a long letter: no slice
            taken = bytes(self._buffer)
            self._buffer.clear()
        else:
            taken = bytes(self._buffer[: self._need])
            del self._buffer[: self._need]
        self._need -= len(taken)
        return taken

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        if max(end, len(self._buffer) if end < 0 else 0) + len(self._text) > MAX_ANSWER:
            raise Nonsense("a line is too long")
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[: end - 1 if self._buffer[end - 1 : end] == b"\r" else end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line
