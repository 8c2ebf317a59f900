"""Several servers on one account: what goes wrong when neither has seen what the other does."""

from types import SimpleNamespace

import pytest
import trio

from aerogramme.errors import Unavailable
from aerogramme.mailbox import account as account_module
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit import audit
from aerogramme.store.faults import CrashAt
from aerogramme.store.memory import MemoryStores
from tests.t3_mailbox.conftest import World, put

ID = "00" * 16


@pytest.fixture
async def servers() -> tuple[Account, Account]:
    """One account, opened by two processes, on a store that does not serialize."""
    world = World()
    world.stores = MemoryStores()
    return await world.open(), await world.open()


async def test_mailboxes_made_in_one_second_do_not_share_a_uidvalidity(servers, monkeypatch) -> None:
    monkeypatch.setattr(account_module, "time", SimpleNamespace(time=lambda: 4_000_000_000.0))
    one, other = servers
    await one.create_mailbox("Work")
    told = one.find("Work").uidvalidity
    await other.create_mailbox("Work")
    assert other.find("Work").uidvalidity != told, "who makes one looks whether others do"
    for server in servers:
        await server.refresh()
    for server in servers:
        await server.refresh()
        now = [server.find(name).uidvalidity for name in ("Work", "Work (2)")]
        assert len({told, *now}) == 3, "a client may know either by what was told first"
        assert await audit(server) == []
    assert one.find("Work").uidvalidity == other.find("Work").uidvalidity


@pytest.mark.parametrize("move", [False, True], ids=["copy", "move"])
async def test_what_two_servers_put_into_a_mailbox_at_once_is_told_once(servers, move) -> None:
    """Neither tells a UID that the other tells, whichever of them was faster."""
    placed: dict[Account, list[int]] = {}
    one, other = servers
    for server in servers:
        await put(server, "INBOX", b"a%d" % id(server), b"b%d" % id(server))
        await other.refresh()

    async def place(server: Account, mine: list[int]) -> None:
        appended = await put(server, "Archive", b"x%d" % id(server))
        place = server.move if move else server.copy
        placed[server] = [*appended.uids, *(await place(server.find("INBOX"), mine, "Archive")).uids]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(place, one, [1, 2])
        nursery.start_soon(place, other, [3, 4])
    assert not set(placed[one]) & set(placed[other])
    told = {
        (server, uid): server.find("Archive").row_of_uid(uid) for server in servers for uid in placed[server]
    }
    messages = {key: key[0].find("Archive").ids[row] for key, row in told.items() if row is not None}
    for server in [*servers, *servers]:
        await server.refresh()
    for (_, uid), message in messages.items():
        row = one.find("Archive").row_of_uid(uid)
        assert row is None or one.find("Archive").ids[row] == message, "it names what it named"
    assert len(one.find("Archive")) == 6
    assert list(one.find("Archive").uids) == list(other.find("Archive").uids)


async def test_what_is_durable_is_acknowledged_though_it_cannot_be_told_yet() -> None:
    """The store goes away between an append and the look at what others have appended meanwhile."""
    world = World()
    world.stores = MemoryStores()
    crash = CrashAt(0, error=Unavailable())
    one = await world.open(stores=world.stores.another(crash))
    other = await world.open()
    view = await one.open_mailbox("INBOX")
    version = one.version
    crash.n = crash.calls + 2
    placed = await put(one, "INBOX", b"mine")
    assert (list(placed.uids), one.version, one.journal.settled) == ([], version, False)
    assert not view.sync(), "nobody is told"
    assert [len(await other.fresh("INBOX")), *other.find("INBOX").uids] == [1, 1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        await one.wait_changed(version)  # though nobody else does anything
        nursery.cancel_scope.cancel()
    assert view.sync().exists == 1
