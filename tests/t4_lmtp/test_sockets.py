"""The server over real sockets, with real clients; and what it listens on."""

import smtplib
import socket
import stat
from pathlib import Path

import pytest
import trio

from aerogramme.config import TcpAddress, UnixAddress
from aerogramme.errors import BadConfiguration
from aerogramme.listeners import open_listeners
from aerogramme.lmtp.server import LmtpServer
from tests.t4_lmtp.conftest import Client

LOCAL = TcpAddress("127.0.0.1", 0)


@pytest.fixture
async def listening(config, book, boxes, tmp_path):
    """The server on a TCP port and on a Unix socket: the port, and the path."""
    path = tmp_path / "lmtp.sock"
    async with (
        open_listeners([LOCAL, UnixAddress(path)], socket_mode=0o620) as listeners,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(LmtpServer(book, boxes.open, config).serve, listeners)
        yield listeners[0].socket.getsockname()[1], path
        nursery.cancel_scope.cancel()


def by_smtplib(host: str, port: int) -> dict:
    with smtplib.LMTP(host, port, local_hostname="client.example") as client:
        client.ehlo()
        assert client.has_extn("pipelining")
        assert client.has_extn("chunking")
        assert client.esmtp_features["size"] == "1000000"
        return client.sendmail(
            "me@x.example",
            ["nobody@example.org", "alice@example.org"],  # it reads one reply to the message only
            "Subject: x\n\n.\n..\nlast",
            mail_options=["BODY=8BITMIME"],
        )


@pytest.mark.parametrize("unix", [False, True])
async def test_pythons_own_client(listening, boxes, unix):
    port, path = listening
    refused = await trio.to_thread.run_sync(
        by_smtplib, str(path) if unix else "127.0.0.1", 0 if unix else port
    )
    assert {name: reply[0] for name, reply in refused.items()} == {"nobody@example.org": 550}
    (letter,) = boxes.sent()
    assert letter.envelope[1] == "alice@example.org"
    assert letter.written.endswith(b"\r\nSubject: x\r\n\r\n.\r\n..\r\nlast\r\n")
    source = b"client.example\r\n" if unix else b"client.example ([127.0.0.1])\r\n"
    assert b"Received: from " + source in letter.written


async def test_a_reset_amid_a_message_leaves_nothing(listening, boxes):
    port, _ = listening
    dropped = trio.Event()

    async def abandon():
        dropped.set()

    boxes.hooks["a", "abandon"] = abandon
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    client = Client(stream)
    await client.start()
    await client.codes(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n", 3)
    await client.send(b"Subject: x\r\n")
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await stream.aclose()  # with RST
    await dropped.wait()
    assert boxes.sent() == []


async def test_replies_do_not_wait_for_acknowledgements(book, boxes, config, monkeypatch):
    seen = []
    handle = LmtpServer.handle

    async def watched(self, stream):
        seen.append(stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await handle(self, stream)

    monkeypatch.setattr(LmtpServer, "handle", watched)
    async with open_listeners([LOCAL]) as listeners, trio.open_nursery() as nursery:
        await nursery.start(LmtpServer(book, boxes.open, config).serve, listeners)
        async with await trio.open_tcp_stream(*listeners[0].socket.getsockname()) as stream:
            await Client(stream).reply()
        nursery.cancel_scope.cancel()
    assert seen == [1]


async def test_the_socket_has_its_mode_and_goes_away(tmp_path):
    path = tmp_path / "s"
    async with open_listeners([UnixAddress(path)], socket_mode=0o666):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert not path.exists()


async def test_a_dead_servers_socket_is_replaced_and_a_live_ones_is_not(tmp_path):
    path = tmp_path / "s"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    async with open_listeners([UnixAddress(path)]):
        with pytest.raises(BadConfiguration, match="in use") as caught:
            async with open_listeners([UnixAddress(path)]):
                pass
        assert "another" in caught.value.hint
        assert path.is_socket()


async def test_a_socket_that_somebody_else_made_meanwhile_stays(tmp_path):
    path = tmp_path / "s"
    other = socket.socket(socket.AF_UNIX)
    async with open_listeners([UnixAddress(path)]):
        path.rename(tmp_path / "old")
        other.bind(str(path))
    assert path.exists()
    other.close()


async def test_a_file_is_never_taken_for_a_socket(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("dear")
    with pytest.raises(BadConfiguration, match="no socket"):
        async with open_listeners([UnixAddress(path)]):
            pass
    assert path.read_text() == "dear"


async def test_what_cannot_be_listened_on(tmp_path):
    async with open_listeners([LOCAL]) as listeners:
        taken = TcpAddress("127.0.0.1", listeners[0].socket.getsockname()[1])
        first = tmp_path / "s"
        with pytest.raises(BadConfiguration, match="cannot listen on 127"):
            async with open_listeners([UnixAddress(first), taken]):
                pass
        assert not first.exists(), "what was opened before is closed again"


@pytest.mark.parametrize(
    ("address", "reason", "hint"),
    [
        (UnixAddress(Path("/nonexistent/folder/s")), "No such file", "its folder must be there first"),
        (TcpAddress("192.0.2.1", 0), "assign requested address", ""),
        (TcpAddress("mail..example.org", 0), "no name of a host", ""),
        (TcpAddress("a" * 64, 0), "no name of a host", ""),
    ],
)
async def test_addresses_that_cannot_be_listened_on(address, reason, hint):
    with pytest.raises(BadConfiguration, match=f"cannot listen on .*: .*{reason}") as caught:
        async with open_listeners([address]):
            pass
    assert hint in caught.value.hint
