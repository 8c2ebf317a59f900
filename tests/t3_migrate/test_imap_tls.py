"""TLS towards an IMAP server: from the first octet on, by STARTTLS; certificates that nobody should trust."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from aerogramme.errors import AerogrammeError, BadConfiguration, Unavailable, Unreadable
from aerogramme.migrate.sources.imap.access import Access, Security
from aerogramme.migrate.sources.imap.connection import Fallen
from aerogramme.seal import Secret
from tests.helpers.certificates import certificate
from tests.helpers.imap_script import PLAIN

HELLO = b"* OK [CAPABILITY IMAP4rev1 %b] hello\r\n"
BEFORE = HELLO % b"STARTTLS LOGINDISABLED"
INSIDE = HELLO % b"AUTH=PLAIN SASL-IR"


async def line_of(stream: trio.abc.ReceiveStream) -> bytes:
    heard = b""
    while not heard.endswith(b"\r\n"):
        octets = await stream.receive_some(1)
        if not octets:
            return b""
        heard += octets
    return heard


@asynccontextmanager
async def server(folder: Path, starttls: bool) -> AsyncIterator[tuple[int, list[bytes]]]:
    """The port of a server that lets alice in, and all that was said to it in plain text."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "cert.key")
    plain: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        try:
            if starttls:
                await stream.send_all(BEFORE)
                plain.append(await line_of(stream))
                await stream.send_all(b"a1 OK begin\r\n")
            wrapped = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            if not starttls:
                await wrapped.send_all(INSIDE)
            while said := await line_of(wrapped):
                tag, _, command = said.partition(b" ")
                if command == b"CAPABILITY\r\n":
                    await wrapped.send_all(
                        b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n" + tag + b" OK\r\n"
                    )
                    continue
                if tag != b"a0":
                    assert command == f"AUTHENTICATE PLAIN {PLAIN}\r\n".encode()
                await wrapped.send_all(tag + b" OK [CAPABILITY IMAP4rev1] done\r\n")
        except trio.BrokenResourceError:
            pass  # the client does not trust us
        finally:
            await trio.aclose_forcefully(stream)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, serve, 0)
            yield listeners[0].socket.getsockname()[1], plain
            nursery.cancel_scope.cancel()


def at(port: int, security: Security, ca: Path | None, host: str = "127.0.0.1") -> Access:
    return Access(host, "alice", Secret("secret"), port=port, security=security, ca=ca)


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
async def test_a_certificate_that_is_trusted(tmp_path: Path, security: Security) -> None:
    certificate(tmp_path)
    async with server(tmp_path, security is Security.STARTTLS) as (port, plain):
        for host in ("127.0.0.1", "localhost"):
            connection = await at(port, security, tmp_path / "cert.pem", host).connect()
            await connection.aclose()
    assert set(plain) == ({b"a1 STARTTLS\r\n"} if security is Security.STARTTLS else set())


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
@pytest.mark.parametrize("trusted", [False, True])
async def test_a_certificate_that_is_not(
    tmp_path: Path, security: Security, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows who has signed it; or it is for another name."""
    certificate(tmp_path)
    connect = trio.open_tcp_stream

    async def to_this_machine(host: str, port: int) -> trio.SocketStream:
        return await connect("127.0.0.1", port)

    monkeypatch.setattr("trio.open_tcp_stream", to_this_machine)
    host = "mail.example.org" if trusted else "localhost"
    async with server(tmp_path, security is Security.STARTTLS) as (port, plain):
        with pytest.raises(Unreadable, match="cannot be trusted"):
            await at(port, security, tmp_path / "cert.pem" if trusted else None, host).connect()
    assert not any(b"AUTH" in line or b"LOGIN" in line for line in plain)


async def raised(work: Callable[[], object]) -> AerogrammeError:
    try:
        await work()  # type: ignore[misc]
    except Fallen as fallen:
        return fallen.error
    except AerogrammeError as error:
        return error
    raise AssertionError("it is in")


async def test_a_server_without_tls_and_none_at_all(tmp_path: Path) -> None:
    certificate(tmp_path)

    async def plain(stream: trio.SocketStream) -> None:
        await stream.send_all(INSIDE)
        await stream.receive_some()

    async def silent(stream: trio.SocketStream) -> None:
        await stream.aclose()

    with trio.fail_after(60):
        for serve, kind, words in (plain, Unreadable, "no TLS"), (silent, Unavailable, "hangs up"):
            async with trio.open_nursery() as nursery:
                listeners = await nursery.start(trio.serve_tcp, serve, 0)
                port = listeners[0].socket.getsockname()[1]
                error = await raised(at(port, Security.TLS, tmp_path / "cert.pem").connect)
                assert type(error) is kind and words in str(error)
                nursery.cancel_scope.cancel()
        error = await raised(at(port, Security.TLS, tmp_path / "cert.pem").connect)
        assert type(error) is Unavailable and "cannot connect" in str(error)


@pytest.mark.parametrize("content", [None, b"no certificate"])
async def test_certificates_to_trust_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_bytes(content)
    with pytest.raises(BadConfiguration, match="cannot use"):
        await at(1, Security.TLS, ca).connect()
