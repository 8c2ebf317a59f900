"""An S3 service that can be told to be wrong. It checks no signatures: for that there are real ones."""

import html
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Answer = tuple[int, str, bytes]  # status, media type, body


def error(status: int, code: str, message: str = "", more: str = "") -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    return status, "application/xml", body.encode()


class FakeS3(ThreadingHTTPServer):
    """One bucket. `wrong` is asked first, with method, name and query: what it returns is the answer."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.wrong: Callable[[str, str, dict[str, str]], Answer | None] = lambda *_: None
        self.ahead: float | None = 0.0  # its clock, in seconds; None: it tells no date
        self.authority = f"127.0.0.1:{self.server_address[1]}"
        self.scheme = "http"
        if context is not None:
            self.scheme = "https"
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def place(self) -> str:
        return f"s3:{self.scheme}://{self.authority}/mail"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, or trusts us not, is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeS3
    plain: ClassVar = {"GET": 200, "PUT": 200, "DELETE": 204, "HEAD": 200}

    def _answered(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        name = unquote(url.path).removeprefix("/mail").removeprefix("/")
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        given = self.server.wrong(self.command, name, query)
        if given is None:
            given = self._right(name, query, body)
        status, kind, answer = given
        self.send_response_only(status)
        if self.server.ahead is not None:
            date = datetime.now(UTC) + timedelta(seconds=self.server.ahead)
            self.send_header("Date", format_datetime(date, usegmt=True))
        self.send_header("Content-Type", kind)
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _right(self, name: str, query: dict[str, str], body: bytes) -> Answer:
        objects = self.server.objects
        if "Authorization" not in self.headers:
            return error(403, "AccessDenied")
        if self.command == "PUT":
            objects[name] = body
        elif self.command == "DELETE":
            objects.pop(name, None)
        elif "list-type" in query:
            names = sorted(each for each in objects if each.startswith(query.get("prefix", "")))
            keys = "".join(f"<Contents><Key>{html.escape(each)}</Key></Contents>" for each in names)
            return 200, "application/xml", f"<ListBucketResult>{keys}</ListBucketResult>".encode()
        elif name not in objects:
            return error(404, "NoSuchKey")
        elif part := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", "")):
            return 206, "binary/octet-stream", objects[name][int(part[1]) : int(part[2]) + 1]
        else:
            return 200, "binary/octet-stream", objects[name]
        return self.plain[self.command], "binary/octet-stream", b""

    do_GET = do_PUT = do_DELETE = _answered  # noqa: N815 - http.server calls them so

    def log_message(self, *args: object) -> None:
        """To nobody."""


@contextmanager
def fake_s3(context: ssl.SSLContext | None = None) -> Iterator[FakeS3]:
    with FakeS3(context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def certificate(
    folder: Path, name: str = "127.0.0.1", days: tuple[int, int] = (-1, 1), *, authority: bool = True
) -> ssl.SSLContext:
    """A certificate signed by itself, as `folder/cert.pem`; good from and to so many days from now. As an
    `authority`, it could sign others."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = datetime.now(UTC)
    other: x509.GeneralName
    try:
        other = x509.IPAddress(ip_address(name))
    except ValueError:
        other = x509.DNSName(name)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([other]), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
