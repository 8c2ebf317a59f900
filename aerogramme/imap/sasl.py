"""The mechanisms of AUTHENTICATE: what each asks the client, and what it makes of the answers (RFC 4422 §3).

An exchange takes the client's responses one by one and gives back challenges until the client is logged in.
It knows nothing of base64, lines and tags: those are the session's.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Protocol, TypeVar

from aerogramme.errors import AuthenticationFailed, BadSyntax, Refused
from aerogramme.imap.auth import check_privacy, enter, enter_by_password
from aerogramme.imap.context import Context
from aerogramme.imap.scram import Proof, Scram
from aerogramme.mailbox.accounts import Login
from aerogramme.mailbox.keys.keys import StoredKeys, Unlocked
from aerogramme.seal.scram import ITERATIONS
from aerogramme.seal.slots import SlotPrivate
from aerogramme.users.directory import User, canonical

log = logging.getLogger(__name__)

T = TypeVar("T")


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
    known = mechanism in MECHANISMS and (context.service.scram or not mechanism.startswith("SCRAM-"))
    if not known or (mechanism.endswith("-PLUS") and context.channel_binding is None):
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


class ScramSha256:
    """SCRAM-SHA-256 and, with `plus`, SCRAM-SHA-256-PLUS (RFC 5802 §5, RFC 7677): for app passwords.

    Until the proof is there, all that is said is made of the name alone, and the same for names that nobody
    has, for users without app passwords and for wrong secrets; and then the answer is one and the same too.
    """

    def __init__(self, context: Context, *, plus: bool) -> None:
        self._context = context
        self._scram = Scram(plus=plus, binding=context.channel_binding)
        self._take: Callable[[bytes], Awaitable[bytes | None]] = self._first
        self._user: User | None = None
        self._salt = b""

    async def respond(self, response: bytes) -> bytes | None:
        return await self._take(response)

    async def _first(self, response: bytes) -> bytes:
        scram, service = self._scram, self._context.service
        self._hear(scram.first, response)
        if scram.authzid is not None:
            check_authzid(scram.authzid, scram.user)
        name = service.directory.login_address(scram.user)
        self._user = service.directory.by_login(scram.user)
        names = (scram.user, name)
        if self._user is not None and canonical(self._user.address) not in map(canonical, names):
            # An alias has the salt of its account's address, and two names with one salt are somebody's.
            self._user = None
        self._salt = service.salts.of(name, self._user)
        self._take = self._final
        return scram.challenge(self._salt, ITERATIONS)

    async def _final(self, response: bytes) -> bytes:
        proof = self._hear(self._scram.final, response)
        server_key: bytes | None = None

        async def unlock(keys: StoredKeys) -> Unlocked:
            nonlocal server_key
            assert self._user is not None, "of a name that nobody has there are no keys"
            private = self._open(keys, proof)
            server_key = private.server_key
            return await keys.unlock_slot(self._user.account, private)

        def log_in(account: str | None, peer: str | None) -> Awaitable[Login]:
            accounts = self._context.service.accounts
            return accounts.login_with(account, unlock, peer, name=self._scram.user)

        try:
            await enter(self._context, self._user, log_in)
        except AuthenticationFailed:
            raise AuthenticationFailed("SCRAM is for app passwords, and this is none") from None
        assert server_key is not None, "an app password's slot has one"
        self._take = self._end
        return proof.verifier(server_key)

    def _open(self, keys: StoredKeys, proof: Proof) -> SlotPrivate:
        """The slot of the app password that this is the proof of. Raises AuthenticationFailed."""
        for slot in keys.slots.values():
            scram = slot.scram
            if scram is None or (scram.salt, scram.iterations) != (self._salt, ITERATIONS):
                continue  # not what the client was told: no proof can be of it
            key = proof.client_key(scram.stored_key)
            if key is not None:
                return slot.unlock_with_client_key(key)
        raise AuthenticationFailed

    def _hear(self, take: Callable[[bytes], T], response: bytes) -> T:
        """What a message says. That somebody may sit between is for the operator to know, too."""
        try:
            return take(response)
        except AuthenticationFailed as error:
            log.info("login failed from %s: %s", self._context.peer, error)
            raise

    async def _end(self, response: bytes) -> None:
        """RFC 4422 §5.2: where a protocol has no place for additional data with the outcome, as IMAP, they
        are a challenge that is answered with nothing."""
        if response:
            self._context.leave()
            raise BadSyntax("The last response of SCRAM is empty")


def check_authzid(authzid: str, user: str) -> None:
    """Raises Refused if the client wants to act for another than the one whose secret it has."""
    if authzid != user:
        error = Refused("Nobody may act for another here")
        error.imap_code = "AUTHORIZATIONFAILED"  # RFC 5530 §3
        raise error


MECHANISMS: Final[Mapping[str, Callable[[Context], Exchange]]] = {
    "PLAIN": Plain,
    "SCRAM-SHA-256": partial(ScramSha256, plus=False),
    "SCRAM-SHA-256-PLUS": partial(ScramSha256, plus=True),
}
