"""A proxy between a client and a real S3 server, on which the way can be as bad as a test wants."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, cast
from urllib.parse import unquote, urlsplit


class Fate(Enum):
    DROPPED = "the connection breaks, and the server never gets the request"
    LOST = "the connection breaks when the server has answered"
    HELD = "nothing happens until `release`; then the connection breaks"


class Asked(NamedTuple):
    """A request: method, name of the object, query."""

    method: str
    name: str
    query: str


Rule = Callable[[Asked], "Fate | tuple[int, str] | None"]
"""What becomes of a request: a fate, an answer (status, code) of this proxy, or None: all is well."""


class Between(ThreadingHTTPServer):
    """`rule` is asked at each request. `asked`: all requests, in the order in which they came; `received`:
    the bytes in them; `connections`: how many were made.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, authority: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.authority = authority
        self.rule: Rule = lambda _: None
        self.date: str | None = None  # the Date of all answers; None: the server's
        self.asked: list[Asked] = []
        self.received = self.connections = 0
        self.released = threading.Event()
        self.changed = threading.Condition()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def note(self, asked: Asked, received: int) -> None:
        with self.changed:
            self.asked.append(asked)
            self.received += received
            self.changed.notify_all()

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Until something is true of what came. For threads."""
        with self.changed:
            assert self.changed.wait_for(true, timeout=60)

    def methods(self) -> list[str]:
        return [asked.method for asked in self.asked]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.between = cast("Between", self.server)
        with self.between.changed:
            self.between.connections += 1

    def _passed_on(self) -> None:
        between = self.between
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = urlsplit(self.path)
        asked = Asked(self.command, unquote(url.path).removeprefix("/mail").removeprefix("/"), url.query)
        between.note(asked, len(body))
        fate = between.rule(asked)
        if fate is Fate.HELD:
            between.released.wait()
        if fate in (Fate.HELD, Fate.DROPPED):
            self._hang_up()
            return
        if isinstance(fate, tuple):
            status, code = fate
            answer = b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode()
            self._answer(status, [("Content-Type", "application/xml")], answer, len(answer))
            return
        server = http.client.HTTPConnection(between.authority, timeout=60)
        try:
            # the host stays as the client has signed it
            server.request(self.command, self.path, body or None, dict(self.headers.items()))
            response = server.getresponse()
            answer = response.read()
            if fate is Fate.LOST:
                self._hang_up()
                return
            kept = [(k, v) for k, v in response.getheaders() if k.lower() not in _OURS]
            length = int(response.headers.get("content-length", len(answer)))
            self._answer(response.status, kept, answer, length)
        finally:
            server.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: int) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "date" or self.between.date is None:
                self.send_header(name, value)
        if self.between.date is not None:
            self.send_header("Date", self.between.date)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _passed_on  # noqa: N815 - http.server calls them so

    def log_message(self, *args: object) -> None:
        """To nobody."""


_OURS = {"content-length", "transfer-encoding", "connection", "keep-alive"}


@contextmanager
def between(endpoint: str) -> Iterator[Between]:
    with Between(endpoint.removeprefix("http://")) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.released.set()
            proxy.shutdown()
            thread.join()
