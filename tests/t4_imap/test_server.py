"""The server around the sessions: time-outs, slow and vanished peers, limits, shutdown."""

import logging
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from aerogramme.imap.commands import Namespace
from aerogramme.imap.context import Context, Done, Peer
from aerogramme.imap.server import (
    IDLE_SIGN,
    INACTIVITY_TIME,
    LOGIN_TIME,
    SEND_TIME,
    WATCH_INTERVAL,
    Server,
)
from aerogramme.imap.session import HANDLERS
from aerogramme.mailbox.account import Account
from aerogramme.seal import Argon2Params, Secret
from tests.helpers.imap_world import ACCOUNT, PASSWORD, World, imap_world
from tests.helpers.transcript import Client

MOMENT = 2 * WATCH_INTERVAL


@pytest.fixture
async def world(mock_clock: trio.testing.MockClock) -> AsyncIterator[World]:
    async with imap_world() as world:
        yield world


async def pass_time(clock: trio.testing.MockClock, seconds: float) -> None:
    """Lets time go by in steps, and everybody do what they have to do."""
    while seconds > 0:
        step = min(seconds, 10.0)
        clock.jump(step)
        seconds -= step
        await trio.testing.wait_all_tasks_blocked()


async def expect_end(client: Client) -> None:
    with pytest.raises(EOFError):
        await client.line()


async def test_who_does_not_log_in_is_sent_away(world: World, mock_clock: trio.testing.MockClock) -> None:
    client = await world.client(login=False)
    await pass_time(mock_clock, LOGIN_TIME - 20)
    assert (await client.command(b"NOOP"))[-1].startswith(b"x OK")  # does not prolong it
    await pass_time(mock_clock, 20 + MOMENT)
    assert (await client.line()).startswith(b"* BYE ")
    await expect_end(client)


@pytest.fixture
async def no_hashing(
    world: World, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> AsyncIterator[None]:
    """Wrong passwords cost their time, but no thread: of threads a clock moved by hand knows nothing."""

    async def at_once(_secret: object) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr("aerogramme.mailbox.accounts.waste_time", at_once)
    yield
    await pass_time(mock_clock, 5 * LOGIN_TIME)  # a login that should have been cancelled ends, too


async def test_many_wrong_passwords_at_once_do_not_prolong_it(
    world: World, mock_clock: trio.testing.MockClock, no_hashing: None
) -> None:
    client = await world.client(login=False)
    await client.stream.send_all(b"x LOGIN nobody wrong\r\n" * 10)
    await pass_time(mock_clock, LOGIN_TIME + MOMENT)
    assert world.server.connections == 0
    answers = [await client.line()]
    while answers[-1].startswith(b"x NO "):
        answers.append(await client.line())
    assert answers[-1].startswith(b"* BYE ")
    assert 1 < len(answers) < 10
    await expect_end(client)


async def test_half_an_hour_of_silence(world: World, mock_clock: trio.testing.MockClock) -> None:
    client = await world.client()
    await pass_time(mock_clock, INACTIVITY_TIME - 60)
    assert (await client.command(b"NOOP"))[-1].startswith(b"x OK")
    await pass_time(mock_clock, INACTIVITY_TIME - 60)
    assert (await client.command(b"NOOP"))[-1].startswith(b"x OK")
    await pass_time(mock_clock, INACTIVITY_TIME + MOMENT)
    assert (await client.line()).startswith(b"* BYE ")
    await expect_end(client)


async def test_idle_gives_a_sign_of_life(world: World, mock_clock: trio.testing.MockClock) -> None:
    client = await world.client()
    await client.command(b"SELECT INBOX")
    await client.stream.send_all(b"i IDLE\r\n")
    assert (await client.line()).startswith(b"+ ")
    await pass_time(mock_clock, IDLE_SIGN + MOMENT)
    assert (await client.line()).startswith(b"* OK ")
    await world.mail("INBOX")
    assert await client.line() == b"* 1 EXISTS"
    assert await client.line() == b"* 1 RECENT"
    for _ in range(2):
        await world.mail("Archive")  # no news for this session, so no line, and no sign of life either
        await pass_time(mock_clock, 0.75 * IDLE_SIGN)
    await world.mail("Archive")
    await client.stream.send_all(b"DONE\r\n")
    assert (await client.line()).startswith(b"* OK ")
    assert (await client.line()).startswith(b"i OK")


async def test_who_takes_nothing_holds_up_nobody(world: World, mock_clock: trio.testing.MockClock) -> None:
    await world.mail("INBOX", 500)
    near, far = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.server.serve_stream, far)
        slow = Client(near)
        await slow.line()
        await slow.command(b"LOGIN alice secret")
        await slow.command(b"SELECT INBOX")
        before = world.server.connections
        await slow.stream.send_all(b"f FETCH 1:* (ENVELOPE BODY[])\r\n")
        await trio.testing.wait_all_tasks_blocked()
        other = await world.client()
        await other.command(b"SELECT INBOX")
        assert (await other.command(b"STORE 1:* +FLAGS.SILENT (\\Flagged)"))[-1].startswith(b"x OK")
        await pass_time(mock_clock, SEND_TIME + MOMENT)
        assert world.server.connections == before  # the other one came, the slow one is gone
        assert (await other.command(b"NOOP"))[-1].startswith(b"x OK")


@pytest.mark.parametrize(
    "half",
    [
        b"a NO",
        b"a APPEND INBOX {1000+}\r\nhalf",
        b"a LOGIN {5}\r\n",
        b"a IDLE\r\n",
        b"a AUTHENTICATE PLAIN\r\n",
    ],
)
async def test_who_vanishes_amid_something(
    world: World, caplog: pytest.LogCaptureFixture, half: bytes
) -> None:
    caplog.set_level(logging.WARNING)
    client = await world.client(login=b"LOGIN" not in half and b"AUTH" not in half)
    await client.stream.send_all(half)
    await trio.testing.wait_all_tasks_blocked()
    await client.stream.aclose()  # type: ignore[attr-defined]  # the client's Protocol has only what clients use
    await trio.testing.wait_all_tasks_blocked()
    assert world.server.connections == 0
    assert world.service.connections == {}
    assert not caplog.records


async def test_who_vanishes_amid_an_answer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    await world.mail("INBOX", 300)
    near, far = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.server.serve_stream, far)
        client = Client(near)
        await client.line()
        await client.command(b"LOGIN alice secret")
        await client.command(b"SELECT INBOX")
        await client.stream.send_all(b"f FETCH 1:* (ENVELOPE BODY[])\r\n")
        await client.stream.receive_some(100)
        await near.aclose()
    assert world.server.connections == 0
    assert not caplog.records


async def test_too_many_connections_of_one_user(world: World) -> None:
    world.service.max_connections_per_user = 2
    await world.client()
    second = await world.client()
    third = await world.client(login=False)
    answer = await third.command(b"LOGIN alice secret")
    assert answer[-1].startswith(b"x NO [LIMIT] ")
    await second.command(b"LOGOUT")
    await expect_end(second)
    assert (await third.command(b"LOGIN alice secret"))[-1].startswith(b"x OK ")


async def test_too_many_connections(world: World) -> None:
    world.server._max_connections = 1
    await world.client()
    client = Client(await world.connect())
    assert (await client.line()).startswith(b"* BYE [LIMIT] ")
    await expect_end(client)


async def test_strangers_who_only_sit_there_keep_nobody_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one address so many may; from many addresses as many as there are places."""
    world.server = Server(world.service, max_connections=1000, max_before_login=50)
    world.service.plaintext_login = True
    stranger = Peer("192.0.2.1")
    monkeypatch.setattr("aerogramme.imap.server.peer_of", lambda _: stranger)
    sitting = [await world.client(login=False) for _ in range(50)]
    refused = Client(await world.connect())
    assert (await refused.line()).startswith(b"* BYE [LIMIT] ")
    await expect_end(refused)
    # Who leaves, or logs in, makes room.
    await sitting[1].command(b"LOGOUT")
    await expect_end(sitting[1])
    assert (await sitting[2].command(b"LOGIN alice secret"))[-1].startswith(b"x OK ")
    sitting += [await world.client(login=False) for _ in range(2)]
    for n in range(949):
        stranger = Peer(f"2001:db8:0:{n:x}::1")
        sitting.append(await world.client(login=False))
    assert world.server.connections == 1000
    stranger = Peer("198.51.100.1")
    user = await world.client()
    assert (await sitting[0].line()).startswith(b"* BYE [LIMIT] ")
    await expect_end(sitting[0])
    assert (await sitting[2].command(b"NOOP"))[-1].startswith(b"x OK "), "who is logged in stays"
    assert (await user.command(b"NOOP"))[-1].startswith(b"x OK ")


async def test_strangers_who_try_passwords_keep_nobody_out(world: World, no_hashing: None) -> None:
    world.server = Server(world.service, max_connections=3)
    trying = [await world.client(login=False) for _ in range(2)]
    for client in trying:
        await client.stream.send_all(b"x LOGIN nobody wrong\r\n")
        await trio.testing.wait_all_tasks_blocked()
    sitting = await world.client(login=False)
    user = await world.client()
    assert (await sitting.line()).startswith(b"* BYE [LIMIT] "), "who only sits there goes first"
    other = await world.client()
    assert (await trying[0].line()).startswith(b"* BYE [LIMIT] ")
    await expect_end(trying[0])
    for each in user, other:
        assert (await each.command(b"NOOP"))[-1].startswith(b"x OK ")


async def test_who_is_sent_away_is_answered_what_is_in_progress_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(context: Context, _command: Namespace) -> Done:
        context.out.stop(b"* BYE Enough\r\n")
        return Done("done")

    monkeypatch.setitem(HANDLERS, Namespace, lost)
    client = await world.client()
    await client.stream.send_all(b"a NAMESPACE\r\nb NOOP\r\n")
    assert [await client.line(), await client.line()] == [b"a OK done", b"* BYE Enough"]
    await expect_end(client)


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
    ],
)
def test_what_counts_as_one_place(host: str, network: str | None) -> None:
    assert Peer.of_host(host).network == network


async def test_over_tcp_until_shutdown(world: World) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(world.server.serve, listeners)
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        client = Client(stream)
        assert b" AUTH=PLAIN " in await client.line()  # from this machine a password may come without TLS
        answer = await client.command(b"LOGIN alice secret")
        assert answer[-1].startswith(b"x OK")
        await client.stream.send_all(b"i IDLE\r\n")
        assert (await client.line()).startswith(b"+ ")
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            assert (await client.line()).startswith(b"* BYE ")
            await expect_end(client)
            await stream.aclose()
    assert world.server.connections == 0


async def test_who_resets_the_connection_before_it_is_accepted_harms_nobody(world: World) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as hasty:
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    async with trio.open_nursery() as nursery:
        await nursery.start(world.server.serve, listeners)
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        client = Client(stream)
        assert (await client.line()).startswith(b"* OK ")
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_sessions_of_an_account_that_is_deleted_are_sent_away(world: World) -> None:
    idling, silent = await world.client(), await world.client()
    await idling.command(b"SELECT INBOX")
    await idling.stream.send_all(b"i IDLE\r\n")
    assert (await idling.line()).startswith(b"+ ")
    await world.stores.erase(ACCOUNT)
    for client in (idling, silent):
        assert (await client.line()).startswith(b"* BYE [UNAVAILABLE] ")
        await expect_end(client)
    other = await world.client(login=False)
    assert (await other.command(b"LOGIN alice secret"))[-1].startswith(b"x NO [AUTHENTICATIONFAILED] ")
    await Account.create(world.stores, ACCOUNT, Secret(PASSWORD), params=Argon2Params(8, 1, 1))
    assert (await other.command(b"LOGIN alice secret"))[-1].startswith(b"x OK ")
