"""The IMAP server's sockets and clocks: octets go to a Session and its answers back, within bounds of time
and memory.

One task a connection; a second one only while it idles. Nothing here knows what a command means. Time-outs
are kept by one watcher for all connections: a connection notes its deadline (two assignments a turn) and the
watcher cancels those that are past it, so that a command costs no cancel scope of its own.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import trio

from aerogramme.faults import stack
from aerogramme.imap.context import HangUp, Out, Peer, Service
from aerogramme.imap.scram import ChannelBinding
from aerogramme.imap.session import Session

log = logging.getLogger(__name__)

RECEIVE_SIZE = 64 * 1024  # one read; an APPEND's literal goes on to be sealed in pieces of this size
SEND_SIZE = (
    256 * 1024
)  # answers are collected up to here: few system calls, and little memory for each connection
# OpenSSL's buffers in memory keep the size of the largest piece that ever went through them, while the
# connection lasts: less of it costs more calls (docs/performance.md).
TLS_SEND_SIZE = 64 * 1024

LOGIN_TIME = 60.0  # who has not logged in by then never will (Dovecot: 60 s as well)
INACTIVITY_TIME = 30 * 60.0  # RFC 3501 §5.4: at least 30 minutes
HANDSHAKE_TIME = 30.0  # TLS: some round trips, and slow cards and phones
SEND_TIME = 120.0  # a client that has not taken one piece of SEND_SIZE in this time is gone
# RFC 2177 says nothing; a line from time to time finds dead peers and keeps NAT entries (Dovecot: 2 min)
IDLE_SIGN = 120.0
WATCH_INTERVAL = 2.0  # how exact deadlines are
GOODBYE_TIME = 1.0  # how long a BYE may take to be sent
FINISH_TIME = 5.0  # at shutdown: commands in progress may end within this

# RFC 5530 §3; K-9 takes other codes for a wrong password.
LIMIT = b"* BYE [LIMIT] Too many connections\r\n"
LATE = b"* BYE That is long enough for a login\r\n"
END_POINT = "tls-server-end-point"  # RFC 5929 §4


class Server:
    """Serves IMAP on streams. `service` is what sessions share: accounts, limits, names.

    `max_before_login`: how many of one network (see Peer) may be there that have not logged in.
    """

    def __init__(self, service: Service, *, max_connections: int = 1000, max_before_login: int = 50) -> None:
        self._service = service
        self._max_connections = max_connections
        self._max_before_login = max_before_login
        self._connections: dict[_Connection, None] = {}  # the oldest first
        self._networks: defaultdict[str, set[_Connection]] = defaultdict(set)
        self._all_gone: trio.Event | None = None  # there once the server stops

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        tls_listeners: Sequence[trio.SocketListener] = (),
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accepts connections until cancelled; then says BYE to all and lets commands in progress end. TLS
        comes first on those of `tls_listeners` (RFC 8314 §3)."""
        accepting = trio.CancelScope()

        async def stop_when_cancelled() -> None:
            try:
                await trio.sleep_forever()
            finally:
                accepting.cancel()
                self._stop()

        async with trio.open_nursery() as outer:
            outer.start_soon(stop_when_cancelled)
            # Shielded: a command that has changed something may still say so.
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as handlers:
                    await handlers.start(self.watch)
                    task_status.started()
                    with accepting:
                        serving = [(self.serve_stream, listeners)]
                        serving.append((partial(self.serve_stream, tls=True), tls_listeners))
                        async with trio.open_nursery() as accepters:
                            accept = partial(trio.serve_listeners, handler_nursery=handlers)
                            for serve, some in serving:
                                if some:
                                    accepters.start_soon(accept, serve, list(some))
                            await trio.sleep_forever()
                    with trio.move_on_after(FINISH_TIME):
                        assert self._all_gone is not None
                        await self._all_gone.wait()
                    handlers.cancel_scope.cancel()

    def _stop(self) -> None:
        self._all_gone = trio.Event()
        for connection in self._connections:
            connection.stop(b"* BYE Server is shutting down\r\n")
        self._check_gone()

    def _check_gone(self) -> None:
        if self._all_gone is not None and not self._connections:
            self._all_gone.set()

    async def watch(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ends connections that are past their deadline; runs until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(WATCH_INTERVAL)
            now = trio.current_time()
            for connection in list(self._connections):
                if connection.deadline < now:
                    connection.stop(
                        b"* BYE Idle for too long\r\n" if connection.session.authenticated else LATE
                    )

    async def serve_stream(self, stream: trio.abc.Stream, *, tls: bool = False) -> None:
        """Serves one connection to its end and closes it. Never raises for what the peer does."""
        connection = _Connection(self._service, stream, peer_of(stream))
        try:
            if not self._admit(connection):
                if not tls:  # a handshake to say so would cost more than it is worth
                    connection.write(LIMIT)
                    await connection.say_goodbye()
                return
            with connection.scope:
                if tls:
                    await connection.secure()
                await connection.run()
            if connection.farewell and not connection.sending:
                connection.write(connection.farewell)
                await connection.say_goodbye()
        except HangUp:
            log.debug("connection ended: %s", connection.peer)
        except Exception as error:
            # The one place that keeps a fault of ours in one connection from ending the others.
            log.error("connection failed: %s\n%s", connection.peer, stack(error))
            connection.write(b"* BYE [SERVERBUG] Internal error\r\n")
            await connection.say_goodbye()
        finally:
            self._forget(connection)
            self._check_gone()
            connection.session.close()
            await connection.close()

    def _admit(self, connection: "_Connection") -> bool:
        """Lets a connection in, if there is room. When all places are taken a stranger gives way, so that
        strangers cannot keep others out: the oldest who only sits there, else the oldest who tries to log in,
        and may do so with one wrong password after the other."""
        network = connection.peer.network
        if network is not None:
            strangers = sum(not each.session.authenticated for each in self._networks.get(network, ()))
            if strangers >= self._max_before_login:
                return False
        if len(self._connections) >= self._max_connections:
            leaving = [each for each in self._connections if each.may_give_way]
            if not leaving:
                return False
            min(leaving, key=lambda each: not each.waits).stop(LIMIT)
        self._connections[connection] = None
        if network is not None:
            self._networks[network].add(connection)
        return True

    def _forget(self, connection: "_Connection") -> None:
        self._connections.pop(connection, None)
        network = connection.peer.network
        if network is not None and network in self._networks:
            self._networks[network].discard(connection)
            if not self._networks[network]:
                del self._networks[network]


def peer_of(stream: trio.abc.Stream) -> Peer:
    """Who is at the other end. Everything that is not TCP (a Unix socket, a pipe) is on this machine."""
    if isinstance(stream, trio.SocketStream):
        try:
            name = stream.socket.getpeername()
        except OSError:
            return Peer("gone")  # reset before it was accepted
        if isinstance(name, tuple):
            return Peer.of_host(name[0])
    return Peer("local", loopback=True)


class _Connection(Out):
    def __init__(self, service: Service, stream: trio.abc.Stream, peer: Peer) -> None:
        self.peer = peer
        self.scope = trio.CancelScope()
        self.farewell = b""
        self.sending = False
        self._receiving = False
        self._deadline = self._login_deadline = math.inf
        self._sent = 0.0  # when all that was written had gone out
        self._service = service
        self._stream = stream
        self._piece = SEND_SIZE
        self._out: list[bytes] = []
        self._size = 0
        self.session = Session(service, peer, self)

    def stop(self, farewell: bytes) -> None:
        """Ends the connection with these words: at once if it waits for the client or for it to take our
        answer, or nobody has logged in, else when the command in progress is done."""
        self.farewell = farewell
        self.session.stop()
        if self.waits or not self.session.authenticated:
            self.scope.cancel()

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn: to say something, to take our answer, to do its part of TLS."""
        return self._receiving or self.sending

    @property
    def may_give_way(self) -> bool:
        """Whether nobody has logged in, and it is not ending already."""
        return not self.session.authenticated and not self.farewell

    @property
    def deadline(self) -> float:
        """When it has lasted too long, in trio's time. Before login there is one time for all that is done:
        neither a byte now and then nor many wrong passwords at once prolong it."""
        return self._deadline if self.session.authenticated else min(self._deadline, self._login_deadline)

    # --- Out

    @property
    def full(self) -> bool:
        return self._size >= SEND_SIZE

    def write(self, octets: bytes) -> None:
        self._out.append(octets)
        self._size += len(octets)

    async def pause(self) -> None:
        await trio.lowlevel.checkpoint()

    async def flush(self) -> None:
        out = self._out
        if not out:
            return
        octets = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._size = 0
        deadline = self._deadline
        self.sending = True  # stays so if it fails: half a line may be out, and no BYE must follow it
        try:
            view = memoryview(octets)
            for start in range(0, len(view), self._piece):
                self._deadline = trio.current_time() + SEND_TIME
                await self._stream.send_all(view[start : start + self._piece])
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise HangUp from error
        self.sending = False
        self._sent = trio.current_time()
        self._deadline = deadline

    # --- the conversation

    async def secure(self) -> None:
        """The TLS handshake. Raises HangUp if it fails."""
        tls = self._service.tls
        assert tls is not None, "without a certificate there is no TLS to begin"
        context, endpoint = tls.context(), tls.endpoint  # of one certificate: no await in between
        stream = trio.SSLStream(self._stream, context, server_side=True)
        self._deadline = trio.current_time() + HANDSHAKE_TIME
        self.sending = True  # no BYE in the clear, in the middle of it
        try:
            await stream.do_handshake()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.debug("no TLS with %s: %s", self.peer, error.__cause__ or error)
            raise HangUp from error
        self.sending = False
        self._deadline = math.inf
        self._stream, self._piece = stream, TLS_SEND_SIZE
        binding = None if endpoint is None else ChannelBinding(END_POINT, endpoint)
        self.session.secure(binding)

    async def run(self) -> None:
        session = self.session
        self._login_deadline = trio.current_time() + LOGIN_TIME
        session.greet()
        while True:
            await self.flush()
            if session.closed:
                return
            if session.starting_tls:
                await self.secure()
            self._deadline = trio.current_time() + INACTIVITY_TIME
            self._receiving = True
            octets = await (self._idle() if session.idling else self._receive())
            self._receiving = False
            if not octets:
                return
            self._deadline = math.inf
            session.receive(octets)
            await session.proceed()

    async def _receive(self) -> bytes | bytearray:
        """What the client sent, b"" at its end, however it ended."""
        try:
            return await self._stream.receive_some(RECEIVE_SIZE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def _idle(self) -> bytes | bytearray:
        """Tells news until the client sends something: what it sent, b"" at its end."""
        while True:
            octets = await self._octets_or_news(self._sent + IDLE_SIGN)
            if octets is not None:
                return octets
            await self.session.tell_news()
            if trio.current_time() >= self._sent + IDLE_SIGN:
                self.write(b"* OK Still here\r\n")
            await self.flush()

    async def _octets_or_news(self, until: float) -> bytes | bytearray | None:
        """What the client sent; None when there may be news, or at `until`."""
        octets: bytes | bytearray | None = None

        async def receive() -> None:
            nonlocal octets
            octets = await self._receive()
            nursery.cancel_scope.cancel()

        # Nothing is sent in here, so cancelling loses nothing: receive_some that is cancelled has read
        # nothing.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            with trio.move_on_at(until):
                await self.session.wait_news()
            nursery.cancel_scope.cancel()
        return octets

    async def close(self) -> None:
        """Closes the stream. TLS says so to the client (RFC 8446 §6.1), unless half a record may be out."""
        with trio.move_on_after(GOODBYE_TIME, shield=True):
            if self.sending:
                await trio.aclose_forcefully(self._stream)
            else:
                await self._stream.aclose()

    async def say_goodbye(self) -> None:
        with trio.move_on_after(GOODBYE_TIME, shield=True):
            try:
                await self.flush()
            except HangUp:
                log.debug("gone before BYE: %s", self.peer)
