"""Three nodes of Garage, and one of them dies: nothing that was acknowledged is lost, and it goes on."""

import random
from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from aerogramme.errors import Unavailable
from aerogramme.store import Cursor, Row, Store, Stores, open_stores
from tests.helpers.garage import Garage, Node, garage

pytestmark = pytest.mark.garage

ACCOUNT = "0123456789abcdef" * 2
PHASE = 40  # rows, between two events
MINUTE = 60 * 1000 << 20  # in units of clocks


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Garage]:
    with garage(3) as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        yield cluster


@pytest.fixture
async def servers(cluster: Garage) -> AsyncIterator[list[Stores]]:
    """Three servers, each at a node of its own."""
    servers = [open_stores(cluster.store(node=n)) for n in range(3)]
    yield servers
    for stores in servers:
        await stores.aclose()


async def opened(servers: list[Stores]) -> list[Store]:
    return [await stores.open(ACCOUNT, create=True) for stores in servers]


async def kill(*nodes: Node) -> None:
    for node in nodes:
        await trio.to_thread.run_sync(node.kill)


async def revive(cluster: Garage, *nodes: Node) -> None:
    await trio.to_thread.run_sync(cluster.revive, *nodes)


def key(clock: int) -> str:
    return f"{(1 << 62) + clock:016x}-1"


async def test_a_row_of_a_failed_append_is_there_for_all_once_it_is_confirmed(
    cluster: Garage, servers: list[Stores], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aerogramme.store.k2v.WRITE_SECONDS", 1.0)
    one, two, three = await opened(servers)
    _, before = await two.read("log")
    row = Row(key(0), b"torn")
    await kill(*cluster.nodes[1:])
    with pytest.raises(Unavailable):
        await one.append("log", [row])
    await revive(cluster, *cluster.nodes[1:])
    assert (await one.read("log"))[0] == [row]  # a node asks itself first
    await kill(cluster.nodes[0])
    assert (await two.read("log"))[0] == []  # and the others know nothing of it
    await revive(cluster, cluster.nodes[0])
    await one.watch("log", before)
    shown, _ = await one.read("log", before)
    await one.confirm("log", shown)
    assert shown == [row]
    await kill(cluster.nodes[0])
    for store in (two, three):
        assert (await store.read("log"))[0] == (await store.read("log", before))[0] == [row]


async def test_what_was_deleted_while_a_node_was_away_stays_deleted(
    cluster: Garage, servers: list[Stores]
) -> None:
    one, _, three = await opened(servers)
    gone, left = [Row(key(n), b"x") for n in range(5)], Row(key(5), b"x")
    _, before = await three.read("log")
    await one.append("log", [*gone, left])
    await three.read("log", before)
    await kill(cluster.nodes[2])
    await one.delete_rows("log", [row.key for row in gone[:2]])
    await one.delete_range("log", gone[2].key, gone[-1].key)
    await revive(cluster, cluster.nodes[2])
    assert (await three.read("log"))[0] == (await three.read("log", before))[0] == [left]


async def test_a_node_that_hangs_is_not_waited_for(cluster: Garage, servers: list[Stores]) -> None:
    """With `rpc_timeout_msec` as docs/stores.md has it: else Garage itself waits for minutes."""
    one, two, _ = await opened(servers)
    row = Row(key(0), b"x")
    with cluster.nodes[2].frozen():
        await one.append("log", [row], objects=[("o", b"body")])
        assert (await two.read("log"))[0] == [row]
        assert await two.get("o") == b"body"


class Run:
    """Servers that write, delete and follow rows at the same time."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.acknowledged: dict[str, bytes] = {}
        self.deleted: set[str] = set()
        self.doubtful: set[str] = set()  # a call for them was not answered: they may be there or not
        self.written = trio.Event()
        self.failures = 0
        self.down: Store | None = None  # whose node is
        self.clock = 0
        self.over = False

    async def write(self, store: Store, others: list[Store]) -> None:
        mine: list[str] = []
        while not self.over:
            clock = self.clock = self.clock + 1
            row = Row(key(clock), self.random.randbytes(self.random.choice([10, 1000, 20_000])))
            name, body = f"o/{clock}", self.random.randbytes(5000)
            delete = [mine.pop(self.random.randrange(len(mine)))] if len(mine) > 20 else []
            self.doubtful.update([row.key, *delete])
            try:
                pairs = [("log", each) for each in delete]
                await store.append("log", [row], objects=[(name, body)], delete=pairs)
            except Unavailable:
                self.failures += 1
                continue
            self.doubtful.difference_update([row.key, *delete])
            self.acknowledged[row.key] = row.value
            self.deleted.update(delete)
            mine.append(row.key)
            self.written.set()
            self.written = trio.Event()
            # what was acknowledged is seen by every later read, wherever
            other = self.random.choice([each for each in others if each is not self.down])
            try:
                shown, _ = await other.read("log", after=key(clock - 1))
                bodies = await other.get_many([name])
            except Unavailable:
                self.failures += 1
                continue
            assert dict(shown).get(row.key) == row.value
            assert bodies == [body]

    async def follow(self, store: Store, had: dict[str, bytes]) -> None:
        cursor: Cursor | None = None
        while True:
            try:
                rows, cursor = await store.read("log", cursor)
                had.update(rows)
                await store.watch("log", cursor)
            except Unavailable:
                self.failures += 1

    async def acknowledge(self, more: int) -> None:
        """Until so many more are acknowledged."""
        enough = len(self.acknowledged) + more
        while len(self.acknowledged) < enough:
            await self.written.wait()

    def expected(self) -> dict[str, bytes]:
        sure = self.acknowledged.keys() - self.deleted - self.doubtful
        return {key: self.acknowledged[key] for key in sure}

    def check(self, rows: list[Row]) -> None:
        shown = dict(rows)
        assert self.expected().items() <= shown.items()
        assert not shown.keys() & (self.deleted - self.doubtful)
        assert shown.keys() <= self.acknowledged.keys() | self.doubtful


async def test_nodes_are_killed_and_come_back_while_all_go_on(cluster: Garage, servers: list[Stores]) -> None:
    run, stores = Run(1), await opened(servers)
    had: list[dict[str, bytes]] = [{}, {}, {}]
    with trio.fail_after(120):
        async with trio.open_nursery() as followers:
            for store, mine in zip(stores, had, strict=True):
                followers.start_soon(run.follow, store, mine)
            async with trio.open_nursery() as writers:
                for store in stores:
                    writers.start_soon(run.write, store, stores)
                for victim in run.random.sample(range(3), 2):
                    await run.acknowledge(PHASE)
                    run.down = stores[victim]
                    await kill(cluster.nodes[victim])
                    await run.acknowledge(PHASE)
                    await revive(cluster, cluster.nodes[victim])
                    run.down = None
                await run.acknowledge(PHASE)
                run.over = True
            marker = Row(key(run.clock + MINUTE), b"the end")
            await stores[0].append("log", [marker])
            for store, mine in zip(stores, had, strict=True):
                while marker.key not in mine:
                    await trio.lowlevel.checkpoint()
                run.acknowledged[marker.key] = marker.value
                run.check((await store.read("log"))[0])
                assert run.expected().items() <= mine.items()
            followers.cancel_scope.cancel()
