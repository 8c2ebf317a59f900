"""One connection: commands are sent, and what is answered is read. Many may be on their way at once."""

import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import trio

from aerogramme.errors import AerogrammeError, Unavailable, Unreadable
from aerogramme.migrate.sources.imap.answers import Done, done
from aerogramme.migrate.sources.imap.reading import Answer, Event, Nonsense, Reader

PATIENCE: Final = 300.0  # seconds without an octet: opening a large mailbox takes some servers minutes
MAX_PAUSE: Final = 900.0  # seconds; what servers ask for is 300 at most
_PIECE: Final = 65536  # octets that are read at once

_PLAIN: Final = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*")  # what a quoted string can hold
_PLAIN_UTF8: Final = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\xff]*")  # and with UTF8=ACCEPT (RFC 6855 §3)
_SPECIAL: Final = re.compile(rb'(["\\])')
_BACKOFF: Final = re.compile(r"suggested backoff time: ([0-9]{1,9}) milliseconds", re.IGNORECASE)

# RFC 5530 §3: these pass by themselves. THROTTLED is what Gmail and Yahoo say, and OVERQUOTA means here that
# too much was read.
_LATER: Final = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "THROTTLED", "OVERQUOTA"})
_LATER_WORDS: Final = re.compile(r"throttled|too many|server unavailable|bandwidth|rate limit", re.IGNORECASE)


class Fallen(Exception):
    """The connection is of no use any more, or for now; another one may be.

    error   what it means when no other one is either
    pause   seconds that the server wants to be left alone; 0 if it did not say
    later   the server itself asked to come again: no letter is to blame
    """

    def __init__(self, error: AerogrammeError, *, pause: float = 0, later: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause = min(pause, MAX_PAUSE)
        self.later = later


@dataclass(frozen=True, slots=True)
class Text:
    """A string in a command: it is written quoted, or as a literal."""

    octets: bytes


class Connection:
    """`host` is for messages to people. Commands are answered in the order in which they were sent."""

    def __init__(self, stream: trio.abc.Stream, host: str, *, patience: float = PATIENCE) -> None:
        self.stream = stream
        self.host = host
        self.capabilities: frozenset[bytes] = frozenset()
        self.enabled: frozenset[bytes] = frozenset()
        self.dead = False
        self._deaf = False
        self._patience = patience
        self._reader = Reader()
        self._sent = 0
        self._waiting: deque[bytes] = deque()  # tags whose ends have not come

    @property
    def idle(self) -> bool:
        """Whether it can be used for something else: nothing is on its way."""
        return not self.dead and not self._deaf and not self._waiting and self._reader.empty

    def knows(self, capability: bytes) -> bool:
        """Whether the server says that it has this."""
        return capability in self.capabilities

    def waits_for(self, text: Text) -> bool:
        """Whether a command with this string cannot be sent in one go."""
        return self._written(text)[1]

    async def send(self, *parts: bytes | Text) -> bytes:
        """Sends a command, without waiting for its end; its tag. Raises Fallen.

        If it has a string that `waits_for` something, no other command may be on its way.
        """
        self._sent += 1
        tag = b"a%d" % self._sent
        line = bytearray(tag + b" ")
        for part in parts:
            if isinstance(part, Text):
                written, wait = self._written(part)
                line += written
                if wait:
                    assert not self._waiting
                    await self.send_octets(bytes(line))
                    await self.continued(tag)
                    line = bytearray(part.octets)
            else:
                line += part
        line += b"\r\n"
        await self.send_octets(bytes(line))
        self._waiting.append(tag)
        return tag

    def _written(self, text: Text) -> tuple[bytes, bool]:
        """What is sent for a string, and whether the string itself follows only when the server says so."""
        octets = text.octets
        plain = _PLAIN_UTF8 if b"UTF8=ACCEPT" in self.enabled else _PLAIN
        if plain.fullmatch(octets):
            return b'"' + _SPECIAL.sub(rb"\\\1", octets) + b'"', False
        if self.knows(b"LITERAL+") or (self.knows(b"LITERAL-") and len(octets) <= 4096):  # RFC 7888
            return b"{%d+}\r\n" % len(octets) + octets, False
        return b"{%d}\r\n" % len(octets), True

    async def send_octets(self, octets: bytes) -> None:
        """Sends octets as they are. Raises Fallen."""
        if self.dead or self._deaf:
            raise self._fallen("the connection is closed")
        try:
            with trio.fail_after(self._patience):
                await self.stream.send_all(octets)
        except trio.TooSlowError:
            raise self._lost("the server does not listen") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._deaf = True  # what it said before can still be read
            raise self._fallen("the connection broke") from None

    async def continued(self, tag: bytes) -> bytes:
        """What stands behind the "+" with which the server asks for more of the command that is being sent.
        Raises Fallen, and Stopped if the command has ended instead."""
        while True:
            event = await self.event()
            text = event.text if isinstance(event, Answer) else b""
            if text[:1] == b"+":
                return text[2:]
            if text.startswith(tag + b" "):
                ended = done(text[len(tag) + 1 :])
                if ended is None:
                    raise self.nonsense("a command ends without saying how")
                raise Stopped(ended)

    async def finish(self, tag: bytes, each: Callable[[bytes], object] | None = None) -> Done:
        """Waits for the end of the command that was sent first of those that have not ended. Gives each
        untagged answer to `each`. Raises Fallen, also where the server asks to come again later."""
        while True:
            event = await self.event()
            if not isinstance(event, Answer) or event.behind:
                continue  # a letter that nobody asked for
            if event.text[:2] != b"* ":
                return self.ended(tag, event)
            if each is not None:
                try:
                    each(event.text)
                except Nonsense as nonsense:
                    raise self.nonsense(str(nonsense)) from None

    async def command(self, *parts: bytes | Text, each: Callable[[bytes], object] | None = None) -> Done:
        """Sends a command and waits for its end."""
        return await self.finish(await self.send(*parts), each)

    def ended(self, tag: bytes, answer: Answer) -> Done:
        """How the command of this tag ended, which this answer says. Raises Fallen."""
        expected = self._waiting.popleft() if self._waiting else None
        said, _, rest = answer.text.partition(b" ")
        ended = done(rest)
        if said != tag or tag != expected or ended is None:
            raise self.nonsense("it answers what was not asked")
        if ended.code == "CAPABILITY":
            self.capabilities = frozenset(ended.arguments.upper().split())
        if not ended.ok:
            self.raise_if_later(ended)
        return ended

    def raise_if_later(self, ended: Done) -> None:
        """Raises Fallen if the server asks to come again."""
        if (pause := _BACKOFF.search(ended.words)) is not None:
            raise self._refused(ended.words, int(pause[1]) / 1000)
        if ended.code in _LATER or (ended.code == "" and _LATER_WORDS.search(ended.words)):
            raise self._refused(ended.words or ended.code)

    async def event(self) -> Event:
        """What comes next. Capabilities are noted on the way. Raises Fallen."""
        while True:
            try:
                event = self._reader.next_event()
            except Nonsense as nonsense:
                raise self.nonsense(str(nonsense)) from None
            if event is None:
                await self._receive()
                continue
            if isinstance(event, Answer) and event.text[:2] == b"* " and not event.behind:
                self._note(event.text[2:])
            return event

    def _note(self, text: bytes) -> None:
        word = text[:11].upper()
        if word == b"CAPABILITY ":
            self.capabilities = frozenset(text[11:].upper().split())
        elif word[:8] == b"ENABLED ":
            self.enabled |= frozenset(text[8:].upper().split())
        elif word[:3] == b"BYE":
            said = done(text)
            words = said.words if said else ""
            pause = _BACKOFF.search(words)
            self.abort()
            error = Unavailable(f"{self.host} hangs up: {words or 'it gives no reason'}")
            asked = bool(said and (said.code in _LATER or _LATER_WORDS.search(words)))
            raise Fallen(error, pause=int(pause[1]) / 1000 if pause else 0, later=asked)
        elif b"[CAPABILITY " in text[:20].upper():
            said = done(text)
            if said is not None:
                self.capabilities = frozenset(said.arguments.upper().split())

    async def _receive(self) -> None:
        if self.dead:
            raise self._lost("the connection is closed")
        try:
            with trio.move_on_after(self._patience) as waiting:
                octets = await self.stream.receive_some(_PIECE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._lost("the connection broke") from None
        if waiting.cancelled_caught:
            raise self._lost(f"the server has said nothing for {self._patience:.0f} seconds")
        if not octets:
            raise self._lost("the server hung up")
        self._reader.receive(octets)

    def nothing_waits(self) -> bool:
        """Whether the server has said nothing yet that was not read here."""
        return self._reader.empty

    def nonsense(self, what: str) -> Fallen:
        """Ends the connection: the server does not keep to the rules."""
        self.abort()
        return Fallen(Unreadable(f"{self.host} does not speak IMAP as it should: {what}"))

    def _lost(self, what: str) -> Fallen:
        self.abort()
        return self._fallen(what)

    def _fallen(self, what: str) -> Fallen:
        return Fallen(Unavailable(f"{self.host}: {what}"))

    def _refused(self, words: str, pause: float = 0) -> Fallen:
        self.abort()
        return Fallen(Unavailable(f"{self.host} says: {words}"), pause=pause, later=True)

    def abort(self) -> None:
        """Hangs up at once, whatever is on its way."""
        self.dead = True
        close_now(self.stream)

    async def aclose(self) -> None:
        """Says goodbye, if that can be done at once, and hangs up."""
        if self.idle:
            with trio.move_on_after(1):
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # gone already is as good
                    await self.stream.send_all(b"a0 LOGOUT\r\n")
        self.dead = True
        await trio.aclose_forcefully(self.stream)


class Stopped(Exception):
    """A command ended before all of it was sent."""

    def __init__(self, ended: Done) -> None:
        super().__init__(ended.words)
        self.ended = ended


@runtime_checkable
class _Closeable(Protocol):
    """Closed without waiting, as pipes can be."""

    def close(self) -> None: ...


def close_now(stream: trio.abc.AsyncResource) -> None:
    """Closes the socket below a stream, without waiting for anything: an iterator that is given up cannot."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if isinstance(stream, trio.StapledStream):
        close_now(stream.send_stream)
        close_now(stream.receive_stream)
    elif isinstance(stream, trio.SocketStream):
        stream.socket.close()
    elif isinstance(stream, _Closeable):
        stream.close()
