"""SASL messages as the mechanisms spell them (RFC 4616), and as IMAP carries them (RFC 3501 §6.2.2). No
I/O.
"""

import binascii
from dataclasses import dataclass, field

from aerogramme.errors import BadSyntax


@dataclass(frozen=True, slots=True)
class Plain:
    """PLAIN: who logs in, as whom (empty: as itself), and the password."""

    authorize_as: str
    user: str
    password: bytes = field(repr=False)


def response(line: bytes) -> bytes | None:
    """A client's answer to a `+` line, decoded; None if it gives up with `*` (RFC 3501 §6.2.2)."""
    if line == b"*":
        return None
    try:
        return binascii.a2b_base64(line, strict_mode=True) if line else b""
    except binascii.Error:
        raise BadSyntax("That is not base64") from None


def plain(message: bytes) -> Plain:
    """message = [authzid] UTF8NUL authcid UTF8NUL passwd      (RFC 4616 §2)."""
    parts = message.split(b"\0")
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise BadSyntax("That is not a PLAIN message")
    try:
        return Plain(parts[0].decode("utf-8"), parts[1].decode("utf-8"), parts[2])
    except UnicodeDecodeError:
        raise BadSyntax("A PLAIN message is UTF-8") from None
