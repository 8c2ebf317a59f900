"""Modified UTF-7: how mailbox names with other letters than ASCII travel in IMAP (RFC 3501 §5.1.3)."""

import binascii
import re
from typing import Final

# "&-" is "&"; "&" modified-base64 "-" is UTF-16BE, with "," in place of "/" and without padding.
_SHIFTED: Final = re.compile(rb"&([A-Za-z0-9+,]*)-")
_UNPRINTABLE: Final = re.compile(r"[^ -~]+|&")


def decode(name: bytes) -> str:
    """The name that these octets spell. ValueError if they spell none.

    What RFC 3501 tells a client not to do but what means only one thing (shifting to and fro without need,
    shifting what is plain ASCII) is taken.
    """
    text = name.decode("ascii")
    if "&" not in text:
        return text
    if name.count(b"&") != len(_SHIFTED.findall(name)):
        raise ValueError("a shift that does not end, or is not base64")
    return _SHIFTED.sub(_unshift, name).decode("utf-8")


def _unshift(found: re.Match[bytes]) -> bytes:
    base64 = found[1].replace(b",", b"/")
    if not base64:
        return b"&"
    octets = binascii.a2b_base64(base64 + b"=" * (-len(base64) % 4))
    return octets.decode("utf-16-be").encode("utf-8")


def encode(name: str) -> bytes:
    """The octets that spell this name. UnicodeEncodeError (a ValueError) for half a surrogate pair."""
    if name.isascii() and name.isprintable() and "&" not in name:
        return name.encode("ascii")
    return _UNPRINTABLE.sub(_shift, name).encode("ascii")


def _shift(found: re.Match[str]) -> str:
    if found[0] == "&":
        return "&-"
    base64 = binascii.b2a_base64(found[0].encode("utf-16-be"), newline=False)
    return "&" + base64.rstrip(b"=").replace(b"/", b",").decode("ascii") + "-"
