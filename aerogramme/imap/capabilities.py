"""What the server says that it can do, and since which RFC: the one list that CAPABILITY and the docs
read.
"""

from collections.abc import Set
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
)
"""LIST-STATUS asks for RETURN (RFC 5258) only; LIST-EXTENDED as a whole is not announced."""

ENABLED: Final[dict[str, frozenset[str]]] = {
    "CONDSTORE": frozenset({"CONDSTORE"}),
    "QRESYNC": frozenset({"QRESYNC", "CONDSTORE"}),  # RFC 7162 §3.2.3: QRESYNC brings CONDSTORE with it
}
"""What ENABLE takes (RFC 5161), and all that is then in force."""


def capability(
    *, logged_in: bool, starttls: bool = False, plaintext: bool = True, hidden: Set[str] = frozenset()
) -> bytes:
    """The words of a CAPABILITY response or code, from the word CAPABILITY on.

    `starttls`: TLS can be started. `plaintext`: passwords may be sent as things are; else LOGINDISABLED (RFC
    3501 §6.2.3) and no mechanism is told. `hidden`: what is kept from this account's clients, for a client
    that copes badly with it. After a login, mechanisms are not told any more.
    """
    words = ["CAPABILITY"]
    for entry in CAPABILITIES:
        if entry.name in hidden or not (logged_in or entry.before_login):
            continue
        if entry.name.startswith("AUTH=") and (logged_in or not plaintext):
            continue
        words.append(entry.name)
    if starttls and not logged_in:
        words.append("STARTTLS")
    if not plaintext and not logged_in:
        words.append("LOGINDISABLED")
    return " ".join(words).encode("ascii")
