"""TLS: from the first octet on and by STARTTLS, hostile peers, certificates that are renewed."""

import hashlib
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from aerogramme.config import Config
from aerogramme.errors import BadConfiguration
from aerogramme.imap.context import Peer
from aerogramme.imap.server import HANDSHAKE_TIME, WATCH_INTERVAL
from aerogramme.tls import Tls
from tests.helpers.certificates import Algorithm, certificate
from tests.helpers.imap_world import World, imap_world
from tests.helpers.transcript import Client

FAR = Peer("192.0.2.1")


@pytest.fixture
async def world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> AsyncIterator[World]:
    """Its clients come from another machine."""
    certificate(tmp_path)
    monkeypatch.setattr("aerogramme.imap.server.peer_of", lambda _: FAR)
    async with imap_world() as world:
        world.service.tls = Tls(tmp_path / "cert.pem", tmp_path / "cert.key")
        yield world


def trusting(folder: Path, name: str = "cert") -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / f"{name}.pem")


def encrypted(stream: trio.abc.Stream, folder: Path, name: str = "cert") -> trio.SSLStream[trio.abc.Stream]:
    return trio.SSLStream(stream, trusting(folder, name), server_hostname="localhost", https_compatible=True)


async def connect(nursery: trio.Nursery, world: World) -> trio.abc.Stream:
    """To the port on which TLS comes first."""
    near, far = trio.testing.memory_stream_pair()

    async def serve() -> None:
        await world.server.serve_stream(far, tls=True)

    nursery.start_soon(serve)
    return near


def words(line: bytes) -> list[bytes]:
    return line.replace(b"]", b" ").split()


async def test_tls_from_the_first_octet(world: World, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        client = Client(encrypted(await connect(nursery, world), tmp_path))
        greeting = words(await client.line())
        assert b"AUTH=PLAIN" in greeting and b"AUTH=SCRAM-SHA-256-PLUS" in greeting
        assert b"LOGINDISABLED" not in greeting and b"STARTTLS" not in greeting
        assert (await client.command(b"STARTTLS"))[-1].startswith(b"x BAD ")
        assert (await client.command(b"LOGIN alice secret"))[-1].startswith(b"x OK ")
        await world.mail("INBOX", 3)
        assert b"* 3 EXISTS" in await client.command(b"SELECT INBOX")
        await client.stream.send_all(b"i IDLE\r\n")
        assert (await client.line()).startswith(b"+ ")
        await world.mail("INBOX")
        assert await client.line() == b"* 4 EXISTS"
        await client.stream.aclose()


async def test_starttls(world: World, tmp_path: Path) -> None:
    client = await world.client(login=False)
    told = words((await client.command(b"CAPABILITY"))[0])
    assert b"STARTTLS" in told and b"LOGINDISABLED" in told
    assert not [word for word in told if word.startswith(b"AUTH=")]
    assert (await client.command(b"LOGIN alice secret"))[-1].startswith(b"x NO [PRIVACYREQUIRED]")
    assert (await client.command(b"STARTTLS"))[-1].startswith(b"x OK ")
    client = Client(encrypted(client.stream, tmp_path))
    told = words((await client.command(b"CAPABILITY"))[0])
    assert b"AUTH=PLAIN" in told and b"STARTTLS" not in told and b"LOGINDISABLED" not in told
    assert (await client.command(b"LOGIN alice secret"))[-1].startswith(b"x OK ")
    assert (await client.command(b"STARTTLS"))[-1].startswith(b"x BAD ")


async def test_what_was_slipped_in_before_the_handshake_is_not_done(world: World, tmp_path: Path) -> None:
    """CVE-2011-0411: somebody on the way adds a command behind STARTTLS, in the clear."""
    client = await world.client(login=False)
    await client.stream.send_all(b"x STARTTLS\r\ny LOGOUT\r\nz NO")
    assert (await client.line()).startswith(b"x OK ")
    client = Client(encrypted(client.stream, tmp_path))
    assert (await client.command(b"NOOP"))[-1].startswith(b"x OK "), "not BYE, and nothing in front of it"


async def test_without_a_certificate_there_is_no_starttls(world: World) -> None:
    world.service.tls = None
    client = await world.client(login=False)
    assert b"STARTTLS" not in words((await client.command(b"CAPABILITY"))[0])
    assert (await client.command(b"STARTTLS"))[-1].startswith(b"x BAD ")


# --- peers that do not speak it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets", [b"a1 CAPABILITY\r\n", b"\x16\x03\x01\x00\x05hello", Random(0).randbytes(2000)]
)
async def test_who_speaks_something_else_is_left(
    world: World, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with trio.open_nursery() as nursery:
        stream = await connect(nursery, world)
        await stream.send_all(octets)
        answer = b""
        while got := await stream.receive_some(1000):
            answer += got
        assert b"BYE" not in answer and b"OK" not in answer, "nothing in the clear"
    assert world.server.connections == 0
    assert not caplog.records, "strangers do not fill the log"


async def test_who_says_nothing_and_goes_is_left(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with trio.open_nursery() as nursery:
        stream = await connect(nursery, world)
        await trio.testing.wait_all_tasks_blocked()
        assert world.server.connections == 1
        await stream.aclose()
    assert world.server.connections == 0
    assert not caplog.records


@pytest.mark.parametrize("octets", [b"", b"\x16\x03\x01"])
async def test_who_stops_in_the_middle_is_left(
    world: World, mock_clock: trio.testing.MockClock, octets: bytes
) -> None:
    async with trio.open_nursery() as nursery:
        stream = await connect(nursery, world)
        if octets:
            await stream.send_all(octets)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(20):
            mock_clock.jump((HANDSHAKE_TIME + 2 * WATCH_INTERVAL) / 20)
            await trio.testing.wait_all_tasks_blocked()
        assert await stream.receive_some(100) == b"", "no BYE in the middle of a handshake"
    assert world.server.connections == 0


async def test_the_end_is_said_under_tls(world: World, tmp_path: Path) -> None:
    """close_notify (RFC 8446 §6.1): nobody on the way can have cut the answers off."""
    async with trio.open_nursery() as nursery:
        stream = trio.SSLStream(
            await connect(nursery, world), trusting(tmp_path), server_hostname="localhost"
        )  # without close_notify it raises BrokenResourceError
        client = Client(stream)
        assert (await client.command(b"LOGOUT"))[-1].startswith(b"x OK ")
        assert await stream.receive_some(100) == b""
        await stream.aclose()


async def test_who_closes_without_saying_so_under_tls(world: World, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        stream = await connect(nursery, world)
        client = Client(encrypted(stream, tmp_path))
        await client.line()
        await trio.aclose_forcefully(client.stream)
    assert world.server.connections == 0


async def test_octet_by_octet(world: World, tmp_path: Path) -> None:
    world.byte_by_byte = True
    client = await world.client(login=False)
    assert (await client.command(b"STARTTLS"))[-1].startswith(b"x OK ")
    client = Client(encrypted(client.stream, tmp_path))
    assert (await client.command(b"LOGIN alice secret"))[-1].startswith(b"x OK ")


# --- certificates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["rsa", "ecdsa", "ed25519"])
async def test_the_end_point_is_the_hash_of_the_certificate(
    world: World, tmp_path: Path, algorithm: Algorithm
) -> None:
    made = certificate(tmp_path, algorithm)
    tls = world.service.tls
    assert tls is not None
    async with trio.open_nursery() as nursery:
        stream = encrypted(await connect(nursery, world), tmp_path)
        client = Client(stream)
        greeting = words(await client.line())
        seen = stream.getpeercert(binary_form=True)
        assert seen == made.public_bytes(Encoding.DER)
        hashed = {"rsa": "sha256", "ecdsa": "sha384"}.get(algorithm)
        assert tls.endpoint == (hashlib.new(hashed, seen).digest() if hashed else None)
        assert (b"AUTH=SCRAM-SHA-256-PLUS" in greeting) == (hashed is not None)
        await client.stream.aclose()


async def test_a_renewed_certificate_is_used_without_a_restart(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tls = world.service.tls
    assert tls is not None
    first = tls.context()
    assert tls.context() is first
    (tmp_path / "old.pem").write_bytes((tmp_path / "cert.pem").read_bytes())
    (tmp_path / "cert.pem").write_text("half a certif")
    with caplog.at_level(logging.ERROR):
        assert tls.context() is tls.context() is first, "the old one is better than none"
    assert len(caplog.records) == 1 and "cert.pem" in caplog.text
    (tmp_path / "cert.key").unlink()
    assert tls.context() is first
    certificate(tmp_path)
    assert tls.context() is not first
    async with trio.open_nursery() as nursery:
        client = Client(encrypted(await connect(nursery, world), tmp_path))
        assert (await client.line()).startswith(b"* OK ")
        await client.stream.aclose()


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    certificate(tmp_path)
    certificate(tmp_path, "rsa", name="other")
    pem, key = tmp_path / "cert.pem", tmp_path / "cert.key"
    locked = load_pem_private_key(key.read_bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (tmp_path / "locked.key").write_bytes(locked)
    (tmp_path / "garbage.pem").write_bytes(Random(0).randbytes(100))
    for certificate_file, key_file, said in (
        (tmp_path / "none.pem", key, "none.pem: No such file"),
        (pem, tmp_path / "none.key", "none.key: No such file"),
        (pem, tmp_path / "other.key", "other.key: it is not the key of the certificate"),
        (pem, tmp_path / "locked.key", "locked with a password"),
        (tmp_path / "garbage.pem", key, "garbage.pem: there is no certificate in it"),
        (pem, pem, "cert.pem: there is no key in it"),
        (pem, tmp_path / "garbage.pem", "garbage.pem: there is no key in it"),
        (tmp_path, key, "Is a directory"),
    ):
        with pytest.raises(BadConfiguration, match=said) as error:
            Tls(certificate_file, key_file)
        assert "PEM" in error.value.hint


@pytest.mark.parametrize("algorithm", ["rsa", "ecdsa", "ed25519"])
@pytest.mark.parametrize("key_first", [True, False])
def test_one_file_for_both(tmp_path: Path, algorithm: Algorithm, key_first: bool) -> None:
    certificate(tmp_path, algorithm)
    parts = [(tmp_path / name).read_bytes() for name in ("cert.key", "cert.pem")]
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join(parts if key_first else reversed(parts)))
    assert Tls(both, both).context()


def test_settings(tmp_path: Path) -> None:
    base = {"data": "mail"}
    config = Config.from_table(base | {"tls": {"certificate": "both.pem"}}, tmp_path)
    assert config.tls_certificate == config.tls_key == tmp_path / "both.pem"
    assert Config.from_table(base, tmp_path).open_tls() is None
    for wrong in ({"imap": {"tls_listen": ["*:993"]}}, {"tls": {"key": "x.key"}}):
        with pytest.raises(BadConfiguration, match="no certificate"):
            Config.from_table(base | wrong, tmp_path)
