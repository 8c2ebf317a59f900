"""The first login of a user who comes from another server: with the password that he had there."""

import hashlib
import logging
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest
import trio

from aerogramme.mailbox.keys.keys import StoredKeys
from aerogramme.seal.hashes import PasswordHash, Setting, b64
from aerogramme.store import MemoryStores
from tests.helpers.imap_world import ACCOUNT, PASSWORD, USER, World, imap_world

KEPT = PasswordHash(
    Setting.parse("sha512:" + b64(b"salt")), hashlib.sha512(PASSWORD.encode() + b"salt").digest()
)


@pytest.fixture(params=[True, False], ids=["serial", "not serial"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with imap_world(MemoryStores(serial=request.param), moved=KEPT) as world:
        yield world


def login(password: bytes, user: bytes = USER.encode()) -> bytes:
    return b'LOGIN %b "%b"' % (user, password)


def plain(password: bytes) -> bytes:
    return b"AUTHENTICATE PLAIN " + b64encode(b"\0%b\0%b" % (USER.encode(), password))


async def kinds(world: World) -> list[str]:
    stored = await StoredKeys.read(await world.stores.open(ACCOUNT))
    return sorted(slot.kind for slot in stored.slots.values())


@pytest.mark.parametrize("command", [login, plain])
async def test_the_password_of_there_is_the_password_here_from_then_on(world: World, command, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    assert await kinds(world) == ["invitation", "invitation"]
    client = await world.client(login=False)
    assert (await client.command(command(PASSWORD.encode())))[-1].startswith(b"x OK [CAPABILITY ")
    assert await kinds(world) == ["password", "recovery"]
    assert (await client.command(b"SELECT INBOX"))[-1].startswith(b"x OK ")
    other = await world.client(login=False)
    assert (await other.command(command(PASSWORD.encode())))[-1].startswith(b"x OK ")
    await world.mail("INBOX", 1)
    assert b"* 1 EXISTS" in await client.command(b"NOOP")
    assert PASSWORD not in caplog.text and KEPT.digest.hex() not in caplog.text


async def test_nothing_else_opens_it_and_strangers_are_told_the_same(world: World) -> None:
    client = await world.client(login=False)
    answers = set()
    for wrong in (b"wrong", b"", b64(KEPT.digest).encode(), KEPT.digest.hex().encode()):
        for name in (USER.encode(), b"nobody"):
            answers.add((await client.command(login(wrong, name)))[-1])
    assert len(answers) == 1 and answers.pop().startswith(b"x NO [AUTHENTICATIONFAILED] ")
    assert await kinds(world) == ["invitation", "invitation"]
    assert (await client.command(login(PASSWORD.encode())))[-1].startswith(b"x OK ")


async def test_all_connections_of_a_program_get_in(world: World) -> None:
    clients = [await world.client(login=False) for _ in range(4)]
    answers = []

    async def enter(client) -> None:
        answers.append((await client.command(login(PASSWORD.encode())))[-1])

    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(enter, client)
    assert [answer[:4] for answer in answers] == [b"x OK"] * 4
    assert await kinds(world) == ["password", "recovery"]
