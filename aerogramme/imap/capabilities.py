"""What the server says that it can do, and since which RFC: the one list that CAPABILITY and the docs
read.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Capability:
    """A word of the capability response. `before_login`: also told to who has not logged in."""

    name: str
    rfc: str
    before_login: bool = False


CAPABILITIES: Final = (
    Capability("IMAP4rev1", "RFC 3501", before_login=True),
    Capability("LITERAL+", "RFC 7888", before_login=True),
    Capability("SASL-IR", "RFC 4959", before_login=True),
    Capability("AUTH=PLAIN", "RFC 4616", before_login=True),
    Capability("AUTH=SCRAM-SHA-256", "RFC 7677", before_login=True),
    Capability("AUTH=SCRAM-SHA-256-PLUS", "RFC 7677", before_login=True),
    Capability("STARTTLS", "RFC 3501", before_login=True),
    Capability("ID", "RFC 2971", before_login=True),
    Capability("ENABLE", "RFC 5161", before_login=True),
    Capability("IDLE", "RFC 2177", before_login=True),
    Capability("NAMESPACE", "RFC 2342"),
    Capability("CHILDREN", "RFC 3348"),
    Capability("UNSELECT", "RFC 3691"),
    Capability("UIDPLUS", "RFC 4315"),
    Capability("LIST-STATUS", "RFC 5819"),
    Capability("SPECIAL-USE", "RFC 6154"),
    Capability("CREATE-SPECIAL-USE", "RFC 6154"),
    Capability("MOVE", "RFC 6851"),
    Capability("CONDSTORE", "RFC 7162"),
    Capability("QRESYNC", "RFC 7162"),
    Capability("QUOTA", "RFC 9208"),
    Capability("QUOTA=RES-STORAGE", "RFC 9208"),
)
"""LIST-STATUS asks for RETURN (RFC 5258) only; LIST-EXTENDED as a whole is not announced."""


def capabilities(
    *,
    authenticated: bool,
    may_login: bool,
    may_bind: bool = False,
    may_start_tls: bool = False,
    scram: bool = True,
) -> bytes:
    """The words of a capability response or code, without the word CAPABILITY itself.

    `may_login`: a password may be sent as things are; else LOGINDISABLED is told instead of mechanisms (RFC
    3501 §6.2.3). `may_bind`: the connection has a channel binding, without which -PLUS is not told (RFC 5802
    §6). `may_start_tls`: STARTTLS is there. `scram`: so is SCRAM.
    """
    words = []
    for entry in CAPABILITIES:
        if not (authenticated or entry.before_login):
            continue
        if entry.name.startswith("AUTH=") and (authenticated or not may_login):
            continue
        if entry.name.endswith("-PLUS") and not may_bind:
            continue
        if entry.name.startswith("AUTH=SCRAM-") and not scram:
            continue
        if entry.name == "STARTTLS" and (authenticated or not may_start_tls):
            continue
        words.append(entry.name)
    if not authenticated and not may_login:
        words.append("LOGINDISABLED")
    return " ".join(words).encode("ascii")
