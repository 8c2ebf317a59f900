"""Strings as IMAP sends them: quoted where every client can read that, else as a literal."""

import re
from typing import Final

# RFC 3501 §9, quoted: no CR, LF, 8 bit; quotes and backslashes could be escaped, but libetpan's clients do
# not undo it. Other control characters are allowed there, but a literal is safer.
_QUOTABLE: Final = re.compile(rb"[\t !#-\[\]-~]*+\Z").match

NIL: Final = b"NIL"

# What `is_wire` goes over at once: numbers, NIL, quoted strings, and the head of a list or a literal.
_TOKENS: Final = re.compile(
    rb'(?:[ 0-9]|NIL|"[\t !#-\[\]-~]*")*+(?:(?P<open>\()|(?P<close>\))|\{(?P<literal>[0-9]{1,9})\}\r\n)?'
)


def string(value: bytes) -> bytes:
    """RFC 3501 §9, string. No form of it can hold a NUL (CHAR8 excludes it), so that is sent as a space."""
    if _QUOTABLE(value):
        return b'"%b"' % value
    return b"{%d}\r\n%b" % (len(value), value.replace(b"\0", b" "))


def nstring(value: bytes | None) -> bytes:
    """RFC 3501 §9, nstring: NIL for None. An empty value is "", not NIL."""
    return NIL if value is None else string(value)


def is_wire(value: bytes) -> bool:
    """Whether this can be sent as an ENVELOPE or a body structure: one list of strings as above, NIL, numbers
    and lists. What is not might end its line, and begin another response."""
    at, depth = 0, 0
    while value.startswith(b"(") and (found := _TOKENS.match(value, at)) and found.lastgroup:
        at = found.end()
        if found.lastgroup == "literal":
            octets = int(found["literal"])
            if b"\0" in value[at : at + octets] or at + octets > len(value):
                return False
            at += octets
        else:
            depth += 1 if found.lastgroup == "open" else -1
            if not depth:
                return at == len(value)
    return False
