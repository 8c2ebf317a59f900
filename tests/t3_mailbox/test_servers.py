"""Several servers on one account: what goes wrong when neither has seen what the other does."""

from random import Random

import pytest
import trio
import trio.testing

from aerogramme.errors import Unavailable
from aerogramme.mailbox import opened
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.incoming import incoming
from aerogramme.mailbox.incoming.drain import GIVE_WAY
from aerogramme.store.faults import CrashAt, Faults
from aerogramme.store.memory import MemoryStores
from tests.t3_mailbox.conftest import World, put
from tests.t3_mailbox.test_letters import send

ID = "00" * 16
CALM = dict.fromkeys(["latency", "refused", "lost", "limbo", "torn", "again"], 0.0)


@pytest.fixture
async def servers() -> tuple[Account, Account]:
    """One account, opened by two processes, on a store that does not serialize."""
    world = World()
    world.stores = MemoryStores()
    return await world.open(), await world.open()


async def test_mailboxes_made_in_one_second_do_not_share_a_uidvalidity(servers, monkeypatch) -> None:
    monkeypatch.setattr(opened, "wall_ms", lambda: 4_000_000_000_000)
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


async def until_quiet(*servers: Account) -> None:
    for server in servers * 3:
        await server.refresh()
        await server.drain.all_waiting()


async def test_a_letter_that_two_servers_drain_lands_once_though_one_does_not_know_its_mailbox(
    servers,
) -> None:
    one, other = servers
    stores = MemoryStores()
    stores._accounts = {ID: other.store._data}
    for n in range(8):  # whichever mailbox has the higher id
        detail = f"List{n}"
        await other.create_mailbox(detail)
        await send(stores, b"Subject: %d\r\n\r\n" % n, detail=detail)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.drain.all_waiting)
            nursery.start_soon(other.drain.all_waiting)
        views = [await server.open_mailbox("INBOX") for server in servers]
        await until_quiet(*servers)
        places = [
            [name for name in server.state.names for _ in server.find(name).ids if name in ("INBOX", detail)]
            for server in servers
        ]
        assert places[0] == places[1]
        assert places[0].count(detail) + places[0].count("INBOX") == 1
        for view, server in zip(views, servers, strict=True):
            view.sync()
            assert list(view.uids) == list(server.find("INBOX").uids)
        if "INBOX" in places[0]:
            await one.move(one.find("INBOX"), one.find("INBOX").uids[:], "Archive")
        assert (await one.store.read(incoming.PARTITION))[0] == []
        assert await audit(one) == []


async def test_both_servers_watch_and_drain(autojump_clock) -> None:
    """Each letter is a message once, whoever was faster, while writes fail and come late; no row is left."""
    for seed in range(8):
        world = World()
        world.stores = MemoryStores()
        await world.create()
        faults = Faults(Random(seed))
        servers = [await world.open(stores=world.stores.another(Faults(Random(seed), **CALM))) for _ in "ab"]
        async with trio.open_nursery() as nursery:
            for server in servers:
                server.store._faults = faults
                nursery.start_soon(server.run)
            for n in range(6):
                assert await send(world.stores, b"Subject: %d\r\n\r\n" % n)
                await trio.sleep(faults._random.uniform(0, 1))
            await trio.sleep(60)
            faults.reliable = True
            nursery.cancel_scope.cancel()
        await until_quiet(*servers)
        for server in servers:
            bodies = [body async for body in server.read_bodies(server.find("INBOX").contents)]
            assert sorted(bodies) == [b"Subject: %d\r\n\r\n" % n for n in range(6)]
        assert (await servers[0].store.read(incoming.PARTITION))[0] == []
        assert await world.audit() == []


async def test_a_mailbox_opens_settled_though_the_store_went_away_behind_a_drain(monkeypatch) -> None:
    """What was drained is told only once the store was looked at: before, its UID may be another's too."""
    world = World()
    world.stores = MemoryStores()
    server = await world.open()

    async def away() -> None:
        raise Unavailable

    monkeypatch.setattr(server.journal, "_look", away)
    for _ in range(5):
        await send(world.stores, b"letter")
        view = await server.open_mailbox("INBOX")
        assert server.journal.settled
    assert len(view) == 5


async def test_servers_give_way_to_those_where_somebody_waits(servers) -> None:
    one, other = servers

    def seconds(server: Account) -> float:
        return server.drain._give_way()

    first = await World().open()
    await put(first, "INBOX", b"x")
    assert seconds(first) == 0, "there are no others"
    await put(one, "INBOX", b"x")
    await put(other, "INBOX", b"x")
    await one.refresh()
    assert GIVE_WAY <= seconds(one) < 2 * GIVE_WAY
    stores = MemoryStores()
    stores._accounts = {ID: one.store._data}
    await send(stores, b"letter")
    await other.drain.all_waiting()
    await one.refresh()
    assert seconds(other) == pytest.approx(GIVE_WAY), "it has drained last"
    assert 1.5 * GIVE_WAY <= seconds(one) < 2 * GIVE_WAY
    await send(stores, b"letter")
    await one.drain.all_waiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.wait_changed, other.version + 1000)
        await trio.testing.wait_all_tasks_blocked()
        waits = set()
        for _ in range(4):
            await put(one, "Archive", b"x")
            await other.journal.refresh()
            waits.add(seconds(other))
        await send(stores, b"letter")
        await other.drain.all_waiting()
        await put(one, "Archive", b"x")
        await other.journal.refresh()
        assert seconds(other) == 0, "whoever has written since"
        nursery.cancel_scope.cancel()
    assert GIVE_WAY / 2 <= min(waits) < max(waits) < GIVE_WAY, "another one each time"


async def test_a_server_gives_way_anew_for_what_comes_meanwhile(servers, autojump_clock) -> None:
    for server in servers:
        await put(server, "Archive", b"x")
    one, _ = servers
    await one.refresh()
    stores = MemoryStores()
    stores._accounts = {ID: one.store._data}

    async def come_down_to(count: int) -> float:
        while len((await one.store.read(incoming.PARTITION))[0]) > count:  # noqa: ASYNC110
            await trio.sleep(0.01)
        return trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.drain.follow)
        await trio.testing.wait_all_tasks_blocked()
        await send(stores, b"first")
        await trio.sleep(0.9 * GIVE_WAY)
        await send(stores, b"second")
        first, second = await come_down_to(1), await come_down_to(0)
        assert second - first >= GIVE_WAY / 2, "it was not drained along with the first"
        nursery.cancel_scope.cancel()
    assert len(one.find("INBOX")) == 2
