"""What TLS costs: 1,000 idle connections, and a FETCH of all bodies, each in the clear and under TLS.

    python -m benchmarks.tls

A server of its own, on loopback, with an ECDSA certificate. Memory is the proportional set size of the server,
processor time its user and system time; medians of five fetches. Markdown on standard output.
"""

import imaplib
import os
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from benchmarks.imapbench import tree_pss
from tests.helpers.certificates import certificate
from tests.helpers.server import ADDRESS, PASSWORD, Server, create_account, serving

CONNECTIONS, USERS = 1000, 25  # one user may have 50
ROUNDS = 5
SHAPES = {"2,000 mails of 8 kB": (2000, 8_000), "20 mails of 5 MB": (20, 5_000_000)}
LARGE = 1_000_000
IDLE = (
    ("an idle connection, memory", "kB"),
    ("one that has fetched a large mail, memory", "kB"),
    ("opening it, processor", "ms"),
)
IN_CLEAR, IN_TLS = False, True

imaplib._MAXLINE = 1 << 24  # type: ignore[attr-defined]  # the answer of a search


@contextmanager
def server(folder: Path, name: str) -> Iterator[Server]:
    with serving(folder / "data", name=name, certificate=folder / "cert.pem") as started:
        yield started


def connect(started: Server, context: ssl.SSLContext, tls: bool, user: str = ADDRESS) -> socket.socket:
    """A connection that is logged in and has its mailbox open."""
    port = started.tls_port if tls else started.imap_port
    sock = socket.create_connection(("127.0.0.1", port), 120)
    if tls:
        sock = context.wrap_socket(sock, server_hostname="localhost")
    until(sock, b"* OK")
    login = f"LOGIN {user} {{{len(PASSWORD)}+}}\r\n{PASSWORD}"
    for command in (login.encode(), b"SELECT INBOX"):
        sock.sendall(b"x " + command + b"\r\n")
        until(sock, b"\r\nx OK", b"x OK")
    return sock


def until(sock: socket.socket, *marks: bytes) -> int:
    """Reads until one of the marks is in the last line; the octets."""
    end, count = b"", 0
    while True:
        got = sock.recv(1 << 18)
        assert got, "the server closed the connection"
        count += len(got)
        end = (end + got)[-400:]
        if end.endswith(b"\r\n") and any(mark in end for mark in marks):
            return count


def idle(folder: Path, context: ssl.SSLContext, tls: bool) -> tuple[float, float, float]:
    """Of each connection: kilobytes, kilobytes when it has fetched a large mail, milliseconds of processor to
    open it."""
    with server(folder, f"idle-{tls}") as started:
        users = [f"user{n}@example.org" for n in range(USERS)]
        socks = [connect(started, context, tls, user) for user in users]
        before, spent = tree_pss(started.process.pid)[0], processor(started)
        for n in range(CONNECTIONS - USERS):
            sock = connect(started, context, tls, users[n % USERS])
            sock.sendall(b"i IDLE\r\n")
            until(sock, b"+ idling")
            socks.append(sock)
        spent = processor(started) - spent
        after = tree_pss(started.process.pid)[0]
        for sock in socks[USERS:]:
            sock.sendall(b"DONE\r\nx FETCH 1 BODY.PEEK[]\r\n")
            until(sock, b"\r\nx OK")
            sock.sendall(b"i IDLE\r\n")
            until(sock, b"+ idling")
        fetched = tree_pss(started.process.pid)[0]
        for sock in socks:
            sock.close()
    count = CONNECTIONS - USERS
    return (after - before) * 1024 / count, (fetched - before) * 1024 / count, spent * 1000 / count


def fetch(started: Server, context: ssl.SSLContext, tls: bool) -> tuple[float, float]:
    """Seconds on the clock and of the server's processor for all bodies; medians."""
    sock = connect(started, context, tls)
    clock, spent = [], []
    for _ in range(ROUNDS + 1):
        began, used = time.perf_counter(), processor(started)
        sock.sendall(b"x FETCH 1:* BODY.PEEK[]\r\n")
        until(sock, b"\r\nx OK")
        clock.append(time.perf_counter() - began)
        spent.append(processor(started) - used)
    sock.close()
    return statistics.median(clock[1:]), statistics.median(spent[1:])


def processor(started: Server) -> float:
    """Seconds of processor that the server has used."""
    fields = Path(f"/proc/{started.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(started: Server, count: int, size: int, user: str = ADDRESS) -> None:
    client = started.imap(user)
    random = Random(size)
    client.select("INBOX")
    client.store("1:*", "+FLAGS", "\\Deleted")
    client.expunge()
    for n in range(count):
        text = b"\r\n".join(random.randbytes(36).hex().encode() for _ in range(size // 74))
        client.append("INBOX", "", imaplib.Time2Internaldate(0), b"Subject: %d\r\n\r\n%b\r\n" % (n, text))
    client.logout()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate(folder)
        create_account(folder / "data")
        for n in range(USERS):
            create_account(folder / "data", f"user{n}@example.org")
        with server(folder, "large") as started:
            for n in range(USERS):
                fill(started, 1, LARGE, f"user{n}@example.org")
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        print("| what | in the clear | under TLS | TLS / clear |\n| --- | --- | --- | --- |")
        clear, tls = (idle(folder, context, tls) for tls in (IN_CLEAR, IN_TLS))
        for (what, unit), a, b in zip(IDLE, clear, tls, strict=True):
            print(f"| {what} | {a:.1f} {unit} | {b:.1f} {unit} | {b / a:.2f} |", flush=True)
        for what, (count, size) in SHAPES.items():
            with server(folder, f"fetch-{size}") as started:
                fill(started, count, size)
                seconds = [fetch(started, context, tls) for tls in (IN_CLEAR, IN_TLS)]
            for kind, a, b in zip(("clock", "processor"), *seconds, strict=True):
                print(f"| FETCH of {what}, {kind} | {a * 1000:.0f} ms | {b * 1000:.0f} ms | {b / a:.2f} |")


if __name__ == "__main__":
    main()
