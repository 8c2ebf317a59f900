"""One client's session: commands are read, dispatched and answered, and errors become answers in this one
place.

No sockets, no clock, no trio: octets come in by `receive`, `proceed` carries out all commands that are there
whole, and answers leave through `Out`. The commands themselves live beside this file by family (auth, select,
listing, …).
"""

import base64
import logging
from collections.abc import Awaitable

from aerogramme.errors import AerogrammeError, BadSyntax, Damaged, Unavailable, UnknownCharset
from aerogramme.faults import stack
from aerogramme.imap import (
    appending,
    auth,
    fetching,
    grammar,
    listing,
    mailboxes,
    quota,
    sasl,
    searching,
    select,
    states,
    storing,
)
from aerogramme.imap.commands import Authenticate, Command, Fetch, Idle, Search, Store
from aerogramme.imap.context import Context, Done, Handlers, HangUp, Out, Peer, Service
from aerogramme.imap.format import Status, status_line
from aerogramme.imap.framing import (
    CONTINUE,
    AppendData,
    AppendEnd,
    AppendHead,
    CommandText,
    Continue,
    Event,
    Framer,
    Line,
    Rejected,
    after_login,
    tag_of,
)
from aerogramme.imap.scram import ChannelBinding

log = logging.getLogger(__name__)

MAX_BAD = 20  # answers of BAD in a row before the connection is ended: such a peer talks another protocol

HANDLERS: Handlers = {
    **auth.HANDLERS,
    **select.HANDLERS,
    **mailboxes.HANDLERS,
    **listing.HANDLERS,
    **fetching.HANDLERS,
    **storing.HANDLERS,
    **searching.HANDLERS,
    **quota.HANDLERS,
}
"""What carries out each command, but for APPEND, AUTHENTICATE and IDLE, which are conversations: see
Session."""


class Session:
    """The protocol's state of one connection.

    `closed`: the last answer has been written, send it and hang up. `idling`: IDLE is on; `wait_news` returns
    when there may be something for `tell_news` to tell.
    """

    def __init__(self, service: Service, peer: Peer, out: Out) -> None:
        self._context = Context(service, peer, out)
        self._framer = Framer()
        self._out = out
        self._append: appending.Appending | None = None
        self._idle_tag = b""
        self._news_seen = 0
        self._sasl: tuple[Authenticate, sasl.Exchange] | None = None
        self._bad = 0
        self.closed = False

    @property
    def authenticated(self) -> bool:
        return self._context.authenticated

    @property
    def idling(self) -> bool:
        return bool(self._idle_tag)

    def greet(self) -> None:
        """The first line (RFC 3501 §7.1.1)."""
        capabilities = auth.capability_list(self._context)
        self._out.write(status_line(None, "OK", "Aerogramme is ready", b"CAPABILITY " + capabilities))

    @property
    def starting_tls(self) -> bool:
        """STARTTLS has been answered: send that, and the TLS handshake is next; then `secure`."""
        return self._context.starting_tls

    def secure(self, binding: ChannelBinding | None) -> None:
        """The connection runs in TLS from here on, with this channel binding.

        What came in the clear behind STARTTLS is forgotten: somebody on the way may have put it there, to be
        taken for what comes under TLS (RFC 3501 §11.1, CVE-2011-0411).
        """
        self._framer = Framer()
        self._context.secure(binding)

    def receive(self, octets: bytes | bytearray) -> None:
        """Stores what the client sent."""
        self._framer.receive(octets)

    async def proceed(self) -> None:
        """Carries out, one after another, all that was received whole (RFC 3501 §5.5: pipelining).

        Raises HangUp when the connection must end as it is.
        """
        framer, out = self._framer, self._out
        more = False
        while not self.closed and not self._context.starting_tls:
            if out.full:
                await out.flush()
            elif more:
                await out.pause()  # thousands of commands can come at once, and some never wait for anything
            more = True
            event: Event | None
            event = framer.next_line() if self._idle_tag or self._sasl else framer.next_event()
            if event is None:
                return
            await self._take(event)

    def stop(self) -> None:
        """No command is begun any more; the one in progress is answered."""
        self.closed = True

    def close(self) -> None:
        """Gives back what the session holds; nothing can be done with it afterwards."""
        self.closed = True
        self._give_up_append()
        self._context.close()

    async def _take(self, event: Event) -> None:
        match event:
            case CommandText():
                await self._command(event.text)
            case Line():
                await self._line(event.text)
            case Continue():
                self._out.write(CONTINUE)
            case AppendHead():
                await self._append_head(event)
            case AppendData():
                await self._append_data(event)
            case AppendEnd():
                await self._append_end(event)
            case Rejected():
                self._rejected(event)

    # --- commands

    async def _command(self, text: bytes) -> None:
        try:
            command = grammar.parse(text)
        except BadSyntax as error:
            self._answer_bad(error.tag, str(error))
            return
        except UnknownCharset as error:
            self._out.write(status_line(error.tag, "NO", str(error), _code(error)))
            return
        if not self._legal(command):
            return
        if isinstance(command, Idle):
            await self._begin_idle(command)
        elif isinstance(command, Authenticate):
            await self._authenticate(command)
        else:
            await self._run(command, HANDLERS[type(command)](self._context, command))

    def _legal(self, command: Command) -> bool:
        context = self._context
        reason = states.refusal(type(command), context.state)
        if reason is not None:
            self._answer_bad(command.tag, reason)
        return reason is None

    async def _run(self, command: Command, work: Awaitable[Done | None]) -> None:
        """Awaits a command's work and writes its tagged answer, news before it.

        None: the command waits for more from the client, and is not answered yet.
        """
        context = self._context
        tag = command.tag
        status: Status
        code: bytes | None
        try:
            done = await work
        except BadSyntax as error:
            self._answer_bad(tag, str(error))
            return
        except HangUp:
            raise  # not even an answer can be given
        except AerogrammeError as error:
            if isinstance(error, Damaged) or error.imap_code == "SERVERBUG":
                log.error("%s failed: %s", type(command).__name__, stack(error))
            elif isinstance(error, Unavailable):
                log.warning("%s failed: %s %s", type(command).__name__, error, error.hint)
            status, text, code = "NO", str(error) or "It cannot be done", _code(error)
        except Exception as error:
            # The one place that keeps a fault of ours in one command from ending the session.
            log.error("%s failed: %s", type(command).__name__, stack(error))
            status, text, code = "NO", "Internal error", b"SERVERBUG"
        else:
            if done is None:
                return
            status, text, code = "OK", done.text, done.code
        self._bad = 0
        # RFC 3501 §7.4.1: no EXPUNGE in answer to FETCH, STORE and SEARCH, whose successors may be on their
        # way with sequence numbers in them; the UID forms may have it.
        expunge = not isinstance(command, Fetch | Store | Search) or command.uid
        await context.tell(expunge=expunge)
        context.tell_held_back()
        self._out.write(status_line(tag, status, text, code))
        self._after_login()
        if context.state is states.State.LOGOUT:
            self.closed = True

    def _answer_bad(self, tag: bytes | None, reason: str, code: str | None = None) -> None:
        self._out.write(status_line(tag, "BAD", reason, code))
        self._bad += 1
        if self._bad >= MAX_BAD:
            self._out.write(status_line(None, "BYE", "Too many bad commands"))
            self.closed = True

    def _rejected(self, event: Rejected) -> None:
        self._give_up_append()
        if self._idle_tag or self._sasl is not None:
            # A line that is too long for DONE or a SASL response ends that conversation.
            tag = self._idle_tag or self._give_up_sasl()
            self._idle_tag = b""
            self._answer_bad(tag, event.reason)
        elif event.status == "BAD":
            self._answer_bad(event.tag, event.reason, event.code)
        else:
            self._out.write(status_line(event.tag, event.status, event.reason, event.code))
        if event.fatal:
            self._out.write(status_line(None, "BYE", event.reason))
            self.closed = True

    # --- AUTHENTICATE (RFC 3501 §6.2.2) and what login changes

    async def _authenticate(self, command: Authenticate) -> None:
        try:
            exchange = sasl.begin(self._context, command.mechanism)
        except AerogrammeError as error:
            await self._run(command, _failed(error))
            return
        if command.initial is None:
            self._challenge(command, exchange, b"")
        else:
            await self._run(command, self._respond(command, exchange, command.initial))

    async def _line(self, line: bytes) -> None:
        if self._sasl is None:
            await self._end_idle(line)
            return
        command, exchange = self._sasl
        try:
            response = auth.decode_response(line)
        except BadSyntax as error:
            self._answer_bad(self._give_up_sasl(), str(error))
            return
        self._sasl = None
        await self._run(command, self._respond(command, exchange, response))

    async def _respond(self, command: Authenticate, exchange: sasl.Exchange, response: bytes) -> Done | None:
        challenge = await exchange.respond(response)
        if challenge is None:
            return auth.logged_in(self._context)
        self._challenge(command, exchange, challenge)
        return None

    def _challenge(self, command: Authenticate, exchange: sasl.Exchange, challenge: bytes) -> None:
        self._sasl = command, exchange
        self._out.write(b"+ %b\r\n" % base64.b64encode(challenge))

    def _give_up_sasl(self) -> bytes:
        """Ends an exchange before its end; returns its tag."""
        assert self._sasl is not None
        command, _ = self._sasl
        self._sasl = None
        # It may have been at the point where only the client had still to be convinced.
        self._context.leave()
        return command.tag

    def _after_login(self) -> None:
        if self.authenticated:
            self._framer.limits = after_login(self._context.service.max_message_size)

    # --- IDLE (RFC 2177)

    async def _begin_idle(self, command: Idle) -> None:
        self._idle_tag = command.tag
        self._out.write(b"+ idling\r\n")
        await self.tell_news()

    async def _end_idle(self, line: bytes) -> None:
        tag, self._idle_tag = self._idle_tag, b""
        # RFC 2177 §3: the news that came with DONE on its way are told before the tagged OK.
        await self._context.tell(expunge=True)
        if line.strip().upper() == b"DONE":
            self._bad = 0
            self._out.write(status_line(tag, "OK", "IDLE completed"))
        else:
            self._answer_bad(tag, "DONE ends IDLE")

    async def tell_news(self) -> None:
        """While idling: writes what has changed in the selected mailbox."""
        self._news_seen = self._context.account.version
        await self._context.tell(expunge=True)

    async def wait_news(self) -> None:
        """While idling: returns once the account has changed since the last `tell_news`."""
        await self._context.account.wait_changed(self._news_seen)

    # --- APPEND (RFC 3501 §6.3.11): its message comes in pieces

    async def _append_head(self, event: AppendHead) -> None:
        try:
            if self._append is not None:
                raise BadSyntax("One message at a time", tag=self._append.command.tag)
            command = grammar.parse_append(event)
        except BadSyntax as error:
            self._give_up_append()
            self._framer.refuse()
            self._answer_bad(error.tag or tag_of(event.text), str(error))
            return
        if not self._legal(command):
            self._framer.refuse()
            return
        try:
            self._append = await appending.begin(self._context, command)
        except AerogrammeError as error:
            self._framer.refuse()
            await self._run(command, _failed(error))
            return
        self._out.write(self._framer.accept())

    async def _append_data(self, event: AppendData) -> None:
        assert self._append is not None
        try:
            await self._append.write(event.data)
        except AerogrammeError as error:
            command = self._append.command
            self._give_up_append()
            self._framer.refuse()
            await self._run(command, _failed(error))

    async def _append_end(self, event: AppendEnd) -> None:
        append, self._append = self._append, None
        assert append is not None
        if event.text:
            append.drop()
            self._answer_bad(append.command.tag, "Nothing can follow the message")
            return
        await self._run(append.command, append.finish())

    def _give_up_append(self) -> None:
        append, self._append = self._append, None
        if append is not None:
            append.drop()


async def _failed(error: AerogrammeError) -> Done:
    raise error


def _code(error: AerogrammeError) -> bytes | None:
    return error.imap_code.encode("ascii") if error.imap_code else None
