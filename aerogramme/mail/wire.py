"""Strings as IMAP sends them: quoted where every client can read that, else as a literal."""

import re
from typing import Final

# RFC 3501 §9, quoted: no CR, LF, 8 bit; quotes and backslashes could be escaped, but libetpan's clients do
# not undo it. Other control characters are allowed there, but a literal is safer.
_QUOTABLE: Final = re.compile(rb"[\t !#-\[\]-~]*+\Z").match

NIL: Final = b"NIL"


def string(value: bytes) -> bytes:
    """RFC 3501 §9, string. No form of it can hold a NUL (CHAR8 excludes it), so that is sent as a space."""
    if _QUOTABLE(value):
        return b'"%b"' % value
    return b"{%d}\r\n%b" % (len(value), value.replace(b"\0", b" "))


def nstring(value: bytes | None) -> bytes:
    """RFC 3501 §9, nstring: NIL for None. An empty value is "", not NIL."""
    return NIL if value is None else string(value)
