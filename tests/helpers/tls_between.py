"""Somebody between a client and a server of TLS: a certificate of his own towards the client, TLS of his own
towards the server, and everything passes through his hands."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

Change = Callable[[bytes], bytes]


@contextlib.contextmanager
def between(port: int, certificate: Path, key: Path, change: Change = lambda line: line) -> Iterator[int]:
    """Listens on a port of 127.0.0.1, which it gives, for one connection, and passes it on to `port`.

    `change` is done to each line that the server says.
    """
    towards_client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    towards_client.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(120)
        thread = threading.Thread(target=_pass_on, args=(listener, port, towards_client, change))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(60)
            assert not thread.is_alive()


def _pass_on(listener: socket.socket, port: int, towards_client: ssl.SSLContext, change: Change) -> None:
    raw, _ = listener.accept()
    with (
        towards_client.wrap_socket(raw, server_side=True) as client,
        tls_client().wrap_socket(socket.create_connection(("127.0.0.1", port), 60)) as server,
        contextlib.suppress(ConnectionError, ssl.SSLError),  # either end may just be gone
    ):
        said = b""
        while True:
            ready, _, _ = select.select([client, server], [], [], 60)
            if client in ready:
                asked = _all_there(client)
                if not asked:
                    return
                server.sendall(asked)
            if server in ready:
                answered = _all_there(server)
                if not answered:
                    return
                *lines, said = (said + answered).split(b"\n")
                client.sendall(b"".join(change(line + b"\n") for line in lines))


def _all_there(sock: ssl.SSLSocket) -> bytes:
    """What has come, b"" at the end: also what TLS has read already, as select does not see that."""
    octets = sock.recv(65536)
    while sock.pending():
        octets += sock.recv(65536)
    return octets


def tls_client() -> ssl.SSLContext:
    """A client that takes any certificate, as one does that has been told to trust the wrong one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
