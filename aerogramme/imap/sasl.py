"""The mechanisms of AUTHENTICATE: what each asks the client, and what it makes of the answers (RFC 4422 §3).

An exchange takes the client's responses one by one and gives back challenges until the client is logged in.
It knows nothing of base64, lines and tags: those are the session's.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from aerogramme.errors import BadSyntax, Refused
from aerogramme.imap.auth import check_privacy, enter_by_password
from aerogramme.imap.context import Context


class Exchange(Protocol):
    """One AUTHENTICATE under way.

    In all mechanisms here the client speaks first: without an initial response it is asked for one by an
    empty challenge (RFC 4422 §5.1, RFC 4959 §3).
    """

    async def respond(self, response: bytes) -> bytes | None:
        """Takes what the client says; returns the next challenge, or None when that was the last response.

        After an error the exchange is over.
        """


def begin(context: Context, mechanism: str) -> Exchange:
    """Raises Refused for a mechanism that is not there, before anything is asked for (RFC 3501 §6.2.2)."""
    if mechanism not in MECHANISMS or (mechanism.endswith("-PLUS") and context.channel_binding is None):
        raise Refused("This mechanism is not known here")
    check_privacy(context)
    return MECHANISMS[mechanism](context)


class Plain:
    """PLAIN has one response: [authzid] NUL authcid NUL passwd (RFC 4616 §2)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def respond(self, response: bytes) -> None:
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise BadSyntax("PLAIN has the form [authzid] NUL authcid NUL password")
        authzid, user, password = parts
        if authzid:
            check_authzid(authzid.decode("utf-8", "replace"), user.decode("utf-8", "replace"))
        await enter_by_password(self._context, user.decode("utf-8", "replace"), password)


def check_authzid(authzid: str, user: str) -> None:
    """Raises Refused if the client wants to act for another than the one whose secret it has."""
    if authzid != user:
        error = Refused("Nobody may act for another here")
        error.imap_code = "AUTHORIZATIONFAILED"  # RFC 5530 §3
        raise error


MECHANISMS: Final[Mapping[str, Callable[[Context], Exchange]]] = {
    "PLAIN": Plain,
}
