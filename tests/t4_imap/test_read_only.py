"""A login that may only read: whatever command it gives, in whatever state, the store is written nothing.

What the server does for the account by itself, whoever is logged in (putting letters that wait into the log,
folding it), is no change of the user's and not looked at here: no letter waits, and nothing is to fold.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.imap import commands as c
from aerogramme.imap.states import RULES, State
from aerogramme.mailbox.keys.passwords import create_app_password
from aerogramme.seal import Secret
from aerogramme.store import MemoryStores
from tests.helpers import imap_commands
from tests.helpers.counting import CountingStores
from tests.helpers.imap_world import ACCOUNT, PASSWORD, World, imap_world
from tests.helpers.transcript import Client

WRITES = {"put", "append", "delete", "delete_rows", "delete_range"}

COMMANDS: dict[type[c.Command], list[bytes]] = {
    c.Capability: [b"CAPABILITY"],
    c.Noop: [b"NOOP"],
    c.Id: [b'ID ("name" "test")'],
    c.StartTls: [b"STARTTLS"],
    c.Authenticate: [b"AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA=="],
    c.Login: [b"LOGIN alice secret"],
    c.Enable: [b"ENABLE CONDSTORE QRESYNC"],
    c.Select: [b"SELECT INBOX", b"EXAMINE INBOX", b"SELECT Archive (CONDSTORE)", b"SELECT INBOX"],
    c.Create: [b"CREATE new", b"CREATE new/below (USE (\\Junk))", b"CREATE INBOX/a"],
    c.Delete: [b"DELETE Archive", b"DELETE nothing"],
    c.Rename: [b"RENAME Archive Other", b"RENAME INBOX Old"],
    c.Subscribe: [b"SUBSCRIBE new", b"UNSUBSCRIBE Archive", b"SUBSCRIBE INBOX"],
    c.List: [b'LIST "" *', b'LIST (SUBSCRIBED) "" * RETURN (STATUS (MESSAGES UNSEEN RECENT))'],
    c.Lsub: [b'LSUB "" *'],
    c.Namespace: [b"NAMESPACE"],
    c.Status: [b"STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)"],
    c.GetQuota: [b'GETQUOTA ""'],
    c.GetQuotaRoot: [b"GETQUOTAROOT INBOX", b"GETQUOTAROOT nothing"],
    c.Append: [
        b"APPEND INBOX {1+}\r\nx",
        b"APPEND INBOX (\\Seen) {300000+}\r\n" + b"x" * 300000,  # so large that it is stored as it comes
        b"APPEND nothing {1+}\r\nx",
    ],
    c.Idle: [b"IDLE\r\nDONE"],
    c.Check: [b"CHECK"],
    c.Search: [b"SEARCH ALL", b"UID SEARCH BODY message MODSEQ 1"],
    c.Fetch: [
        b"FETCH 1:* (FLAGS BODY[] RFC822 RFC822.TEXT BODY[TEXT]<0.5>)",
        b"UID FETCH 1:* BODY[1]",
        b"FETCH 1:* FULL",
    ],
    c.Store: [
        b"STORE 1 +FLAGS (\\Seen)",
        b"STORE 1 -FLAGS.SILENT (\\Deleted)",
        b"UID STORE 1:* FLAGS (new-keyword)",
        b"STORE 1 (UNCHANGEDSINCE 1) FLAGS ()",
    ],
    c.Copy: [b"COPY 1 Archive", b"UID COPY 1:* INBOX", b"COPY 1 nothing"],
    c.Move: [b"MOVE 1 Archive", b"UID MOVE 1:* Archive"],
    c.Expunge: [b"EXPUNGE", b"UID EXPUNGE 1:*"],
    c.Close: [b"CLOSE"],
    c.Unselect: [b"UNSELECT"],
    c.Logout: [b"LOGOUT"],
}

CHANGES = {c.Create, c.Delete, c.Rename, c.Subscribe, c.Append, c.Store, c.Copy, c.Move, c.Expunge}
"""What would change something for anybody else: refused with NOPERM (RFC 5530 §3)."""


@asynccontextmanager
async def read_only_world() -> AsyncIterator[tuple[World, Client, CountingStores]]:
    """Two messages in INBOX, one of them marked \\Deleted; a client that may only read."""
    stores = CountingStores(MemoryStores(serial=True))
    async with imap_world(stores) as world:
        await world.mail("INBOX", 2)
        owner = await world.client()
        for command in (b"SELECT INBOX", b"STORE 1 +FLAGS.SILENT (\\Deleted)"):
            assert (await owner.command(command))[-1].startswith(b"x OK")
        client = await read_only_client(world)
        await trio.testing.wait_all_tasks_blocked()
        stores.calls.clear()
        yield world, client, stores


async def read_only_client(world: World) -> Client:
    """A client whose login may only read."""
    store = await world.stores.open(ACCOUNT)
    code = await create_app_password(store, ACCOUNT, Secret(PASSWORD), "backup", read_only=True)
    await store.aclose()
    client = await world.client(login=False)
    assert (await answer(client, b"LOGIN alice " + code.secret.reveal())).startswith(b"x OK")
    return client


def nothing_was_written(stores: CountingStores) -> bool:
    return not WRITES & set(stores.calls)


def test_every_command_is_tried() -> None:
    assert set(COMMANDS) == set(RULES)


async def answer(client: Client, command: bytes) -> bytes:
    """The tagged answer."""
    return (await client.command(command))[-1]


@pytest.mark.parametrize("state", [State.AUTHENTICATED, State.SELECTED], ids=lambda state: state.name)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
async def test_no_command_writes(command: type[c.Command], state: State) -> None:
    async with read_only_world() as (_, client, stores):
        for text in COMMANDS[command]:
            if state is State.SELECTED:
                assert (await answer(client, b"SELECT INBOX")).startswith(b"x OK [READ-ONLY]")
            tagged = await answer(client, text)
            if state not in RULES[command].states:
                assert tagged.startswith(b"x BAD"), text
            elif command in CHANGES:
                assert tagged.startswith(b"x NO [NOPERM]"), text
            else:
                assert tagged.startswith(b"x OK"), text
        await trio.testing.wait_all_tasks_blocked()
        assert nothing_was_written(stores), stores.calls


async def test_the_owner_s_commands_would_write() -> None:
    """That the test above sees writes at all: the same commands of the owner do write."""
    writing = {command: COMMANDS[command][0] for command in CHANGES} | {c.Close: b"CLOSE"}
    for command, text in writing.items():
        async with read_only_world() as (world, _, stores):
            owner = await world.client()
            await answer(owner, b"SELECT INBOX")
            stores.calls.clear()
            assert (await answer(owner, text)).startswith(b"x OK"), text
            assert not nothing_was_written(stores), command


made_up = imap_commands.any_command.filter(lambda command: not isinstance(command, c.Logout | c.Idle))


@given(st.lists(made_up, max_size=12))
@settings(max_examples=60)
async def test_no_command_that_can_be_made_up_writes(commands: list[c.Command]) -> None:
    async with read_only_world() as (_, client, stores):
        for command in commands:
            if not isinstance(command, c.Select):
                assert (await answer(client, b"SELECT INBOX")).startswith(b"x OK [READ-ONLY]")
            text = imap_commands.write(replace(command, tag=b"x"))
            tagged = await answer(client, text.removeprefix(b"x "))
            if isinstance(command, tuple(CHANGES)):
                assert not tagged.startswith(b"x OK"), text
        await trio.testing.wait_all_tasks_blocked()
        assert nothing_was_written(stores), stores.calls
