"""The first login of somebody who was invited: LOGIN and PLAIN, with the code and the new password as one."""

import logging
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest
import trio

from aerogramme.mailbox.keys.keys import StoredKeys
from aerogramme.seal import Code
from aerogramme.store import MemoryStores
from tests.helpers.imap_world import ACCOUNT, PASSWORD, USER, World, imap_world

CODE = Code.generate("invitation")
BOTH = f"{CODE.reveal()} {PASSWORD}".encode()


@pytest.fixture(params=[True, False], ids=["serial", "not serial"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with imap_world(MemoryStores(serial=request.param), invitation=CODE) as world:
        yield world


def login(password: bytes) -> bytes:
    return b'LOGIN %b "%b"' % (USER.encode(), password)


def plain(password: bytes) -> bytes:
    return b"AUTHENTICATE PLAIN " + b64encode(b"\0%b\0%b" % (USER.encode(), password))


async def kinds(world: World) -> list[str]:
    stored = await StoredKeys.read(await world.stores.open(ACCOUNT))
    return sorted(slot.kind for slot in stored.slots.values())


@pytest.mark.parametrize("command", [login, plain])
async def test_the_first_login_sets_the_password(world: World, command, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    client = await world.client(login=False)
    assert (await client.command(command(BOTH)))[-1].startswith(b"x OK [CAPABILITY ")
    assert await kinds(world) == ["password", "recovery"]
    assert (await client.command(b"SELECT INBOX"))[-1].startswith(b"x OK ")
    for password in (BOTH, PASSWORD.encode()):
        other = await world.client(login=False)
        assert (await other.command(command(password)))[-1].startswith(b"x OK ")
    await world.mail("INBOX", 1)
    assert b"* 1 EXISTS" in await client.command(b"NOOP")
    assert CODE.reveal() not in caplog.text and PASSWORD not in caplog.text


async def test_what_sets_no_password(world: World) -> None:
    client = await world.client(login=False)
    for password, told in (
        (CODE.reveal().encode(), b"an invitation"),
        (CODE.reveal().encode() + b" ", b"an invitation"),
        (PASSWORD.encode(), b""),
        (Code.generate("invitation").reveal().encode() + b" " + PASSWORD.encode(), b""),
        (Code.generate("recovery").reveal().encode() + b" " + PASSWORD.encode(), b""),
    ):
        answer = (await client.command(login(password)))[-1]
        assert answer.startswith(b"x NO [AUTHENTICATIONFAILED] ") and told in answer
    assert await kinds(world) == ["invitation"]
    assert (await client.command(login(BOTH)))[-1].startswith(b"x OK ")


async def test_a_name_that_nobody_has_is_told_the_same(world: World) -> None:
    client = await world.client(login=False)
    answers = []
    for name in (USER.encode(), b"nobody"):
        for rest in (b"", b" x"):
            wrong = Code.generate("invitation").reveal().encode() + rest
            answers.append((await client.command(b'LOGIN %b "%b"' % (name, wrong)))[-1])
    assert answers[:2] == answers[2:]
    assert (await client.command(login(BOTH)))[-1].startswith(b"x OK ")


async def test_all_connections_of_a_program_get_in(world: World) -> None:
    clients = [await world.client(login=False) for _ in range(4)]
    answers = []

    async def enter(client) -> None:
        answers.append((await client.command(login(BOTH)))[-1])

    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(enter, client)
    assert [answer[:4] for answer in answers] == [b"x OK"] * 4
    assert await kinds(world) == ["password", "recovery"]
