"""LMTP on trio: connections, time-outs and limits, and each message into the letter box of each recipient."""

import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

import trio

from aerogramme.config import Config
from aerogramme.errors import AerogrammeError, NoSuchUser
from aerogramme.faults import stack
from aerogramme.lmtp.events import (
    Envelope,
    Event,
    MessageBegins,
    MessageData,
    MessageDropped,
    MessageEnds,
    RecipientAsked,
)
from aerogramme.lmtp.headers import source_clause, trace_fields
from aerogramme.lmtp.protocol import FULL, FULL_NOW, NO_SUCH_USER, OUR_FAULT, LmtpProtocol, Reply
from aerogramme.users.directory import Directory, Recipient

log = logging.getLogger(__name__)

# RFC 5321 §4.5.3.2.7: at least 5 minutes for the next command (or the next piece of a message).
IDLE_SECONDS = 300.0
# A peer that takes none of our replies for so long does not read them.
SEND_SECONDS = 300.0
# A store that does not answer has hung after half of the time that the client waits for us (RFC 5321
# §4.5.3.2.4 to .6): 2 minutes for 354, 3 until a piece of the message is taken, 10 for what became of it. So
# the client is told to come back while it still listens.
BEGIN_SECONDS, WRITE_SECONDS, SEND_LETTER_SECONDS = 60.0, 90.0, 300.0
# How long what the store has taken of a message already may take to be dropped.
ABANDON_SECONDS = 10.0
# How long a server that is to end waits for messages that are whole to be stored: a store that hangs must not
# keep it.
LAST_SECONDS = 10.0
# Recipients of one message for whom the store is asked at once: each may be a connection to it.
AT_ONCE = 20
# What is read at a time: the usual receive buffer of a socket, and large enough that Python's work for each
# piece does not count. It bounds what a connection holds of a message.
RECEIVE_OCTETS = 64 * 1024
# The header lines that we add count for the letter box, but not for the peer's SIZE.
ROOM_FOR_FIELDS = 16 * 1024

SHUTTING_DOWN = b"421 4.3.2 The server is shutting down"
IDLE_TOO_LONG = b"421 4.4.2 Nothing came for too long"
TOO_MANY_CONNECTIONS = b"421 4.3.2 Too many connections: try again later\r\n"


class Letter(Protocol):
    """A message on its way to one recipient."""

    async def write(self, chunk: bytes) -> None: ...
    async def send(self) -> None: ...
    async def abandon(self) -> None: ...


class Box(Protocol):
    """Where the letters of one account are put down (see mailbox/incoming/incoming.py)."""

    def letter(
        self, sender: str, recipient: str, detail: str | None = None, now: float | None = None, *, limit: int
    ) -> Letter: ...


class Rooms(Protocol):
    """How much room accounts with a quota have left, as far as is known (see mailbox/incoming/rooms.py)."""

    async def left(self, account_id: str, quota: int, wanted: int) -> int: ...
    def delivered(self, account_id: str, octets: int, began: float) -> None: ...


OpenBox = Callable[[str, tuple[str, ...]], Awaitable[Box]]
"""(account, pins) -> its letter box, with a key that is pinned if any are (see LetterBoxes.open)."""


class LmtpServer:
    """Takes mail for the users of a directory. `open_box` is asked for a letter box for each message anew.
    Without `rooms` nobody's quota is looked at."""

    def __init__(
        self, directory: Directory, open_box: OpenBox, config: Config, rooms: Rooms | None = None
    ) -> None:
        self._directory = directory
        self._open_box = open_box
        self._rooms = rooms
        self._config = config
        self._connections = 0

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serves until cancelled, and closes the listeners then.

        A message that is whole at that moment is delivered, if the store takes it within LAST_SECONDS, and
        the peer told so; others get 421.
        """
        await trio.serve_listeners(self.handle, list(listeners), task_status=task_status)

    async def handle(self, stream: trio.abc.Stream) -> None:
        """Serves one connection. trio has set TCP_NODELAY on a socket, and closes it afterwards."""
        if self._connections >= self._config.max_lmtp_connections:
            with trio.move_on_after(SEND_SECONDS), suppress(trio.BrokenResourceError):
                await stream.send_all(TOO_MANY_CONNECTIONS)
            return
        self._connections += 1
        connection = _Connection(self._config, self._directory, self._open_box, self._rooms, stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.hurry_in_the_end)
            try:
                await connection.run()
            except trio.BrokenResourceError:
                pass  # The peer is gone; nothing that was not answered is delivered.
            except Exception as error:  # the top of a connection: a fault in one must not end the others
                _report("a connection", error)
            finally:
                self._connections -= 1
                await connection.close()
                nursery.cancel_scope.cancel()


class _Connection:
    def __init__(
        self,
        config: Config,
        directory: Directory,
        open_box: OpenBox,
        rooms: Rooms | None,
        stream: trio.abc.Stream,
    ) -> None:
        self._config = config
        self._directory = directory
        self._open_box = open_box
        self._rooms = rooms
        self._full = FULL if config.over_quota == "refuse" else FULL_NOW
        self._stream = stream
        self._protocol = LmtpProtocol(
            config.hostname, max_size=config.max_message_size, max_recipients=config.max_recipients
        )
        self._deliveries: list[_Delivery] = []
        self._host = _host(stream)
        self._storing = trio.CancelScope(shield=True)  # a message that is whole
        self._last = float("inf")  # when the server ends, whatever the store does

    async def run(self) -> None:
        protocol = self._protocol
        while True:
            while (event := protocol.next_event()) is not None:
                await self._deal_with(event)
            await self._flush()
            if protocol.closed:
                return
            data = b""
            try:
                with trio.move_on_after(IDLE_SECONDS) as idle:
                    data = bytes(await self._stream.receive_some(RECEIVE_OCTETS))
            except trio.Cancelled:
                await self._say_goodbye()
                raise
            if idle.cancelled_caught:
                protocol.hang_up(IDLE_TOO_LONG)
            elif data:
                protocol.receive(data)
            else:
                return

    async def hurry_in_the_end(self) -> None:
        """To be run beside `run`, and cancelled with it."""
        try:
            await trio.sleep_forever()
        finally:
            self._storing.deadline = self._last = trio.current_time() + LAST_SECONDS

    async def close(self) -> None:
        """Whatever has begun to be delivered is not."""
        deliveries, self._deliveries = self._deliveries, []
        await _abandon(deliveries)

    async def _deal_with(self, event: Event) -> None:
        match event:
            case MessageData(data):
                # No more is read meanwhile: the slowest store sets the pace of the peer.
                await self._each(lambda delivery: delivery.write(data), WRITE_SECONDS)
            case RecipientAsked(mailbox, size):
                recipient = self._directory.by_address(mailbox.plain)
                if recipient is None:
                    self._protocol.refuse(NO_SUCH_USER)
                elif not await self._has_room(recipient, size or 1):
                    self._protocol.refuse(self._full)
                else:
                    self._protocol.accept()
            case MessageBegins(envelope):
                await self._begin(envelope)
            case MessageEnds():
                # Shielded: a shutdown between storing and answering would make the peer send all of it again.
                with trio.CancelScope(shield=True, deadline=self._last) as self._storing:
                    self._protocol.finish(await self._send())
                    await self._flush()
                if self._storing.cancelled_caught:
                    await trio.lowlevel.checkpoint()  # which ends the connection, as the server ends
            case MessageDropped():
                await self.close()

    async def _has_room(self, recipient: Recipient, size: int) -> bool:
        """Whether a message of so many octets fits in: RFC 1870 §6.1 lets RCPT say so."""
        quota = self._quota(recipient)
        if self._rooms is None or quota is None:
            return True
        return size <= await self._rooms.left(recipient.user.account, quota, size)

    def _quota(self, recipient: Recipient) -> int | None:
        return recipient.user.policy(self._config.policy).quota

    async def _begin(self, envelope: Envelope) -> None:
        now = time.time()
        ident = os.urandom(6).hex()
        sender = "" if envelope.sender is None else str(envelope.sender)
        source = source_clause(self._protocol.client, self._host)
        limit = self._config.max_message_size + ROOM_FOR_FIELDS
        for mailbox in envelope.recipients:
            head = trace_fields(
                sender=sender,
                recipient=str(mailbox),
                hostname=self._config.hostname,
                now=now,
                source=source,
                protocol="UTF8LMTP" if envelope.smtputf8 else "LMTP",  # RFC 6531 §4.3, RFC 3848
                ident=ident,
            )
            recipient = self._directory.by_address(mailbox.plain)
            delivery = _Delivery(recipient, str(mailbox), head, ident)
            quota = None if recipient is None else self._quota(recipient)
            if self._rooms is not None and quota is not None:
                delivery.measure(self._rooms, quota, self._full)
            self._deliveries.append(delivery)
        await self._each(lambda delivery: delivery.begin(self._open_box, sender, now, limit), BEGIN_SECONDS)

    async def _send(self) -> list[Reply]:
        await self._each(_Delivery.send, SEND_LETTER_SECONDS)
        deliveries, self._deliveries = self._deliveries, []
        return [delivery.reply for delivery in deliveries]

    async def _each(self, step: Callable[["_Delivery"], Awaitable[None]], seconds: float) -> None:
        """Takes a step with each delivery, side by side: stores can write letters together, and a distant one
        is not waited for once for each. Deliveries that do not come to its end in time are given up."""
        late = list(self._deliveries)

        async def one(delivery: _Delivery) -> None:
            await step(delivery)
            late.remove(delivery)

        async def in_turn(delivery: _Delivery) -> None:
            async with limiter:
                await one(delivery)

        with trio.move_on_after(seconds):
            if len(late) == 1:  # as mostly: then a nursery would take longer than the step
                await one(late[0])
            else:
                limiter = trio.CapacityLimiter(AT_ONCE)
                async with trio.open_nursery() as nursery:
                    for delivery in self._deliveries:
                        nursery.start_soon(in_turn, delivery)
        if late:
            log.warning("the store took more than %d seconds for a message", seconds)
            await _abandon(late)

    async def _flush(self) -> None:
        if output := self._protocol.take_output():
            with trio.move_on_after(SEND_SECONDS) as waiting:
                await self._stream.send_all(output)
            if waiting.cancelled_caught:
                raise trio.BrokenResourceError("the peer does not read")

    async def _say_goodbye(self) -> None:
        self._protocol.hang_up(SHUTTING_DOWN)
        with trio.move_on_after(1, shield=True), suppress(trio.BrokenResourceError):
            await self._stream.send_all(self._protocol.take_output())


class _Delivery:
    """One message to one recipient. What goes wrong with it stays with it, and becomes its reply."""

    def __init__(self, recipient: Recipient | None, address: str, head: bytes, ident: str) -> None:
        """`address` as RCPT has it; `head`: the header lines that are added."""
        # None: a user who was removed between RCPT and the message.
        self.reply: Reply = OUR_FAULT if recipient else NO_SUCH_USER
        self._recipient = recipient
        self._address = address
        self._head = head
        self._ident = ident
        self._letter: Letter | None = None
        self._rooms: Rooms | None = None  # with a quota
        self._quota = self._left = self._size = 0
        self._full: Reply = FULL

    def measure(self, rooms: Rooms, quota: int, full: Reply) -> None:
        """There is a quota: what does not fit in is answered `full`; `rooms` hears what was delivered."""
        self._rooms, self._quota, self._full = rooms, quota, full

    @property
    def _account(self) -> str:
        return self._recipient.user.account if self._recipient else "nobody's"

    async def begin(self, open_box: OpenBox, sender: str, now: float, limit: int) -> None:
        if (to := self._recipient) is None:
            return

        async def action() -> None:
            box = await open_box(to.user.account, to.user.pins)
            self._letter = box.letter(sender, self._address, to.detail, now, limit=limit)
            await self._letter.write(self._head)
            if self._rooms is not None:
                self._left = await self._rooms.left(to.user.account, self._quota, 1)
                self._size = len(self._head)

        await self._guarded(action)

    async def write(self, data: bytes) -> None:
        if (letter := self._letter) is None:
            return
        if self._rooms is not None:
            self._size += len(data)
            # The peer told no size at MAIL, or another one, or the account was filled meanwhile. The fields
            # that we add are not looked at: RCPT did not know of them.
            self._left -= len(data)
            if self._left < 0:
                self.reply = self._full
                await self.abandon()
                return
        await self._guarded(lambda: letter.write(data))

    async def send(self) -> None:
        if (letter := self._letter) is None:
            return
        began = time.time()
        if await self._guarded(letter.send):
            self._letter = None
            self.reply = b"250 2.0.0 Delivered, " + self._ident.encode()
            if self._rooms is not None:
                self._rooms.delivered(self._account, self._size, began)
            log.info("message %s: delivered to account %s", self._ident, self._account)

    async def abandon(self) -> None:
        """Of a letter that `send` has begun with the store may have all by now, and keeps it: twice is better
        than never."""
        letter, self._letter = self._letter, None
        if letter is not None:
            await self._guarded(letter.abandon)

    async def _guarded(self, action: Callable[[], Awaitable[None]]) -> bool:
        """Does it and returns True; or makes the fault the reply, gives the letter up, and returns False."""
        try:
            await action()
        except Exception as error:  # the top of a delivery: the message may still reach its other recipients
            # The directory has the address. So an account that is not in the store was lost, and may come
            # back from a backup; or it was erased just now, which the next RCPT says.
            if isinstance(error, AerogrammeError) and not isinstance(error, NoSuchUser):
                self.reply = reply_to(error)
            else:
                self.reply = OUR_FAULT
            if self.reply.startswith(b"4"):
                _report(f"message {self._ident} to account {self._account}", error)
            await self.abandon()
            return False
        return True


async def _abandon(deliveries: Sequence[_Delivery]) -> None:
    if deliveries:
        with trio.move_on_after(ABANDON_SECONDS, shield=True):
            async with trio.open_nursery() as nursery:
                for delivery in deliveries:
                    nursery.start_soon(delivery.abandon)


def reply_to(error: AerogrammeError) -> Reply:
    """The reply that says what an error means for the message (its text is made for the peer)."""
    text = "".join(c if c.isascii() and c.isprintable() else "?" for c in str(error)[:400])
    return f"{error.lmtp_reply} {text}".encode("ascii")


def _report(what: str, error: Exception) -> None:
    if isinstance(error, AerogrammeError):
        log.warning("%s: %s: %s %s", what, type(error).__name__, error, error.hint)
    else:
        log.error("%s: %s", what, stack(error))


def _host(stream: trio.abc.Stream) -> str | None:
    """The peer's IP address; None on a Unix socket, whose peer has no name."""
    if not isinstance(stream, trio.SocketStream):
        return None
    try:
        name = stream.socket.getpeername()
    except OSError:
        return None  # gone already
    return str(name[0]) if isinstance(name, tuple) else None
