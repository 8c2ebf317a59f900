"""Quotas as IMAP shows and keeps them (RFC 9208)."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trio

from aerogramme.mailbox.account import Account
from aerogramme.mailbox.usage import Usage, usage
from tests.helpers.imap_grammar import responses
from tests.helpers.imap_world import ACCOUNT, World, imap_world, letter
from tests.helpers.transcript import Client

SIZE = len(letter(1))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Three mails in INBOX, and room for one more."""
    async with imap_world() as world:
        await world.mail("INBOX", 3)
        world.policy = replace(world.policy, quota=4 * SIZE)
        yield world


async def append(client: Client, size: int = SIZE, mailbox: bytes = b"INBOX") -> bytes:
    return (await client.command(b"APPEND %b {%d+}\r\n%b" % (mailbox, size, b"x" * size)))[-1]


async def quota_of(client: Client) -> tuple[int, int]:
    [line, answer] = await client.command(b'GETQUOTA ""')
    assert answer.startswith(b"x OK")
    [told] = responses(line + b"\r\n")
    root, resources = told.data
    assert root == b""
    return resources.pop(b"STORAGE")


async def bodies(world: World) -> list[str]:
    store = await world.stores.open(ACCOUNT)
    names = await store.list("body/")
    await store.aclose()
    return names


async def test_what_is_used_and_what_may_be_is_told_in_kilobytes_rounded_up(world: World):
    client = await world.client()
    assert await quota_of(client) == (-(-3 * SIZE // 1024), -(-4 * SIZE // 1024))
    for name, shown in (b"INBOX", b'"INBOX"'), (b"nothing/here", b'"nothing/here"'):
        [root, quota, answer] = await client.command(b"GETQUOTAROOT " + name)
        assert root == b"* QUOTAROOT " + shown + b' ""'
        assert quota == b'* QUOTA "" (STORAGE %d %d)' % (-(-3 * SIZE // 1024), -(-4 * SIZE // 1024))
        assert answer.startswith(b"x OK")
    assert (await client.command(b"GETQUOTA other"))[-1].startswith(b"x NO [NONEXISTENT]")


async def test_without_a_quota_there_is_no_root(world: World):
    world.policy = replace(world.policy, quota=None)
    client = await world.client()
    [root, answer] = await client.command(b"GETQUOTAROOT INBOX")
    assert root == b'* QUOTAROOT "INBOX"'
    assert answer.startswith(b"x OK")
    assert (await client.command(b'GETQUOTA ""'))[-1].startswith(b"x NO [NONEXISTENT]")
    assert (await append(client, 100 * SIZE)).startswith(b"x OK")


async def test_append_up_to_the_last_octet_and_no_further(world: World):
    client = await world.client()
    assert (await append(client, SIZE + 1)).startswith(b"x NO [OVERQUOTA]")
    assert (await append(client, SIZE)).startswith(b"x OK")
    before = await bodies(world)
    assert (await append(client, 1)).startswith(b"x NO [OVERQUOTA]")
    assert await bodies(world) == before, "what is refused leaves nothing"


async def test_what_does_not_fit_is_refused_before_it_is_sent(world: World):
    client = await world.client()
    [answer] = await client.command(b"APPEND INBOX {%d}" % (2 * SIZE))
    assert answer.startswith(b"x NO [OVERQUOTA] The account is full: it holds ")
    assert (await client.command(b"NOOP"))[-1].startswith(b"x OK")


async def test_copies_count_and_moves_do_not(world: World):
    client = await world.client()
    await client.command(b"SELECT INBOX")
    assert (await client.command(b"COPY 1:2 Archive"))[-1].startswith(b"x NO [OVERQUOTA]")
    assert (await client.command(b"COPY 1 Archive"))[-1].startswith(b"x OK")
    assert (await client.command(b"COPY 1 Archive"))[-1].startswith(b"x NO [OVERQUOTA]")
    assert (await client.command(b"MOVE 1:3 Archive"))[-1].startswith(b"x OK")
    async with world.account() as account:
        assert usage(account.state) == Usage(4 * SIZE, 4)


async def test_who_is_over_a_quota_that_was_lowered_can_still_do_all_that_needs_no_room(world: World):
    world.policy = replace(world.policy, quota=1)
    client = await world.client()
    assert (await append(client, 1)).startswith(b"x NO [OVERQUOTA]")
    await client.command(b"SELECT INBOX")
    assert (await client.command(b"MOVE 1 Trash"))[-1].startswith(b"x OK")
    assert (await client.command(b"STORE 1:* +FLAGS (\\Deleted)"))[-1].startswith(b"x OK")
    assert (await client.command(b"EXPUNGE"))[-1].startswith(b"x OK")
    assert (await client.command(b"DELETE Trash"))[-1].startswith(b"x OK")
    assert await quota_of(client) == (0, 1)


async def test_what_an_expunge_gives_back(world: World):
    client = await world.client()
    await client.command(b"SELECT INBOX")
    await client.command(b"STORE 1:2 +FLAGS (\\Deleted)")
    [line, _] = await client.command(b"STATUS INBOX (DELETED DELETED-STORAGE MESSAGES)")
    assert line == b'* STATUS "INBOX" (DELETED 2 DELETED-STORAGE %d MESSAGES 3)' % (2 * SIZE)
    assert (await append(client, 2 * SIZE)).startswith(b"x NO [OVERQUOTA]")
    await client.command(b"EXPUNGE")
    assert (await append(client, 3 * SIZE)).startswith(b"x OK")


async def test_room_that_was_made_elsewhere_is_seen(world: World):
    """The other server has expunged; this one has not heard of it when the APPEND comes."""
    client = await world.client()
    async with world.account() as account:
        other = await Account.open(await world.stores.open(ACCOUNT), ACCOUNT, account.holding.unlocked())
        inbox = other.find("INBOX")
        await other.store_flags(inbox, inbox.uids, "+", ["\\Deleted"])
        await other.expunge(inbox)
        await other.aclose()
    assert (await append(client, 4 * SIZE)).startswith(b"x OK")


async def test_of_two_that_fit_one_by_one_but_not_together_one_is_refused(world: World):
    clients = [await world.client() for _ in range(2)]
    answers: list[bytes] = []

    async def one(client: Client) -> None:
        answers.append((await append(client))[5:])

    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(one, client)
    assert sorted(answer[:10] for answer in answers) == [b"[APPENDUID", b"[OVERQUOTA"]
