"""Several servers on one log, and clients that wander between them: a schedule from a seed, on the real
journal.

Servers append at the same moment without asking each other; calls take their time, replies get lost, writes
come late or never or are shown to some, servers crash and start again from a checkpoint, of which any may
write one at any time. Clients synchronize as QRESYNC clients do, with nothing but UIDNEXT and HIGHESTMODSEQ;
they learn UIDs from their appends too.

`run` raises AssertionError unless, for this schedule:

    1. nobody is ever told one UID as two messages;
    2. UIDNEXT told by a server never sinks, and no message appears below it on that server;
    3. what was acknowledged before a client synchronizes is what it gets (the read rule);
    4. when the network is quiet, all servers agree, whatever checkpoint they started from;
    5. then every client, wherever it has been, has exactly the mailbox after one more synchronization.

It needs a clock that jumps. Who wants a seed to give the same schedule again lets trio's scheduler be
deterministic.
"""

from random import Random

import trio

from aerogramme.errors import Outdated, Unavailable
from aerogramme.log.checkpoint import PREFIX
from aerogramme.log.entry import PARTITION, Add, Flags, Remove
from aerogramme.log.journal import Draft, Journal
from aerogramme.seal import Keyring
from aerogramme.store.faults import Faults
from aerogramme.store.memory import MemoryStores

ACCOUNT = bytes(range(16))
KEYRING = Keyring.create(ACCOUNT)
BOXES = (1, 2)
START = 1_700_000_000_000
JUMPS = (0, 1, 1000, 30_000, 11 * 60_000, 2 * 3_600_000, 26 * 3_600_000)  # ms


class OldList:
    """A store whose list of checkpoints is a moment old: the newest is not in it."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def list(self, prefix, after="", limit=None):
        names = await self._store.list(prefix, after)
        return names[1:] if prefix == PREFIX and len(names) > 1 else names


class World:
    """All there is: a store, servers, clients, and what has been acknowledged."""

    def __init__(self, seed, *, serial=False):
        self.random = Random(seed)
        self.faults = Faults(
            self.random, latency=0.1, refused=0.01, lost=0.02, limbo=0.07, torn=0.07, again=0.05
        )
        self.stores = MemoryStores(self.faults, serial=serial)
        self.now = START
        self.boxes = self.random.choice([BOXES[:1], BOXES[:1], BOXES])
        self.jumps = JUMPS if self.random.random() < 0.5 else (0, 1)
        self.acknowledged = {}  # message -> mailbox
        self.names = {}  # mailbox, UID -> message: what anybody was ever told
        self.removed = set()  # messages that somebody has tried to remove

    async def server(self, old=False):
        """A new process."""
        while True:
            try:
                store = await self.stores.open(ACCOUNT.hex(), create=True)
                store = OldList(store) if old else store
                return Server(
                    self,
                    await Journal.open(store, KEYRING, ACCOUNT, now_ms=lambda: self.now, rng=self.random),
                )
            except Unavailable:
                pass

    async def step(self, servers, clients):
        """Something happens, mostly several things at once: then on several servers."""
        r = self.random
        self.now += r.choice(self.jumps)
        async with trio.open_nursery() as nursery:
            for n in r.sample(range(len(servers)), r.choice([1, 1, 2, len(servers)])):
                nursery.start_soon(self.act, servers, n, r.choice(clients))
                await trio.sleep(r.uniform(0, 0.1))

    async def act(self, servers, n, client):
        r, server = self.random, servers[n]
        x = r.random()
        try:
            with trio.move_on_after(r.choice([0.1, 100, 100, 100])):  # the client may go away
                if x < 0.3:
                    await client.append(server)
                elif x < 0.5:
                    await server.change()
                elif x < 0.58:
                    await server.journal.refresh()
                elif x < 0.63:
                    await server.journal.fold(force=True)
                elif x < 0.70:
                    servers[n] = await self.server(old=r.random() < 0.5)
                elif x < 0.75:
                    server.tell()
                else:
                    await client.sync(server)
        except Outdated:
            servers[n] = await self.server()
        except Unavailable:
            pass  # the client gets NO

    def told(self, box, uid, message):
        """Somebody is told that a UID is a message."""
        assert self.names.setdefault((box, uid), message) == message, "a UID was told as two messages"


class Server:
    def __init__(self, world, journal):
        self.world, self.journal = world, journal
        self.uidnext = dict.fromkeys(BOXES, 1)
        self.told = {box: {} for box in BOXES}

    def table(self, box):
        return self.journal.state.table(box)

    async def change(self):
        world, r = self.world, self.world.random
        box = r.choice(world.boxes)
        known = sorted(set(self.told[box].values()))
        ids = r.sample(known, min(len(known), r.choice([1, 2])))
        if not ids:
            return
        if r.random() < 0.3:
            world.removed.update(ids)
            ops = [Remove(box, ids)]
        else:
            on = r.random() < 0.5
            ops = [Flags(box, ids, ("\\Seen",) if on else (), () if on else ("\\Seen",))]
        await self.journal.commit(lambda state: Draft(ops))

    def tell(self):
        """What a client may be told now is in keeping with all that clients were told before."""
        if not self.journal.settled:
            return
        for box in BOXES:
            table, told = self.table(box), self.told[box]
            for uid, message in zip(table.uids, table.ids, strict=True):
                assert told.get(uid, message) == message, "a UID changed its message"
                assert uid in told or uid >= self.uidnext[box], "a message appeared below UIDNEXT"
                self.world.told(box, uid, message)
            assert table.uidnext >= self.uidnext[box], "UIDNEXT has sunk"
            self.uidnext[box] = table.uidnext
            told.update(zip(table.uids, table.ids, strict=True))


class Client:
    def __init__(self):
        self.box = {box: {} for box in BOXES}  # UID -> message, flags
        self.uidnext = dict.fromkeys(BOXES, 1)
        self.modseq = dict.fromkeys(BOXES, 0)
        self.lock = trio.Lock()  # it has several connections, and synchronizes with one

    async def append(self, server):
        world, journal = server.world, server.journal
        box, n = world.random.choice(world.boxes), world.random.choice([1, 1, 2])
        ids = journal.new_ids(n)
        uids = ()

        def build(state):
            nonlocal uids
            uidnext = state.table(box).uidnext
            uids = range(uidnext, uidnext + n)
            return Draft([Add(box, ids, uids, [0] * n, [0] * n, [()] * n, ids)])

        await journal.commit(build)
        world.acknowledged.update(dict.fromkeys(ids, box))
        for message, uid in zip(ids, self.appended(server, box, ids, uids), strict=True):
            if uid is not None:
                world.told(box, uid, message)

    def appended(self, server, box, ids, _drafted):
        """The UIDs of new messages, for APPENDUID: as they are now, not as drafted. None: not known."""
        table = server.table(box)
        rows = [table.row_of_id(message) if server.journal.settled else None for message in ids]
        return [None if row is None else table.uids[row] for row in rows]

    async def sync(self, server):
        async with self.lock:
            world = server.world
            acknowledged = list(world.acknowledged.items())
            await server.journal.refresh()
            assert server.journal.settled
            server.tell()
            for box in BOXES:
                self.sync_box(box, server.table(box), server.journal.state.flagsets.sets)
        for message, box in acknowledged:
            known = {m for m, _ in self.box[box].values()}
            assert message in known or message in world.removed, "an acknowledged message is not there"

    def sync_box(self, box, table, sets):
        mine = self.box[box]
        for uid in table.removed_since(self.modseq[box]):  # VANISHED (EARLIER)
            mine.pop(uid, None)
        rows = set(table.changed_since(self.modseq[box]))
        rows.update(row for row, uid in enumerate(table.uids) if uid >= self.uidnext[box])
        for row in sorted(rows):
            uid, message = table.uids[row], table.ids[row]
            if uid >= self.uidnext[box] or uid in mine:
                assert mine.get(uid, (message,))[0] == message, "a client knows one UID as two messages"
                mine[uid] = message, sets[table.flags[row]]
        self.uidnext[box] = max(self.uidnext[box], table.uidnext)
        self.modseq[box] = max(self.modseq[box], table.highestmodseq)


def contents(server):
    """What is in the mailboxes of a server: box -> UID -> message, flags."""
    sets = server.journal.state.flagsets.sets
    return {
        box: {
            uid: (message, sets[number]) for uid, message, number in zip(t.uids, t.ids, t.flags, strict=True)
        }
        for box in BOXES
        for t in [server.table(box)]
    }


async def run(seed, *, serial=False):
    """One schedule. Returns in how many rounds it got quiet."""
    trio._core._run._r.seed(seed)
    world = World(seed, serial=serial)
    r = world.random
    servers = [await world.server() for _ in range(r.choice([2, 2, 3]))]
    clients = [Client() for _ in range(3)]
    for _ in range(r.randrange(4, 30)):
        await world.step(servers, clients)
    if r.random() < 0.5:  # all start again, from the last checkpoint
        servers = [await world.server() for _ in servers]
    world.faults.reliable = True
    store = await world.stores.open(ACCOUNT.hex())
    servers.append(await world.server())
    for n, server in enumerate(servers):
        try:
            await server.journal.refresh()
        except Outdated:
            servers[n] = await world.server()
    for rounds in range(60):
        before = len((await store.read(PARTITION))[0])
        for server in servers if rounds % 2 else servers[::-1]:
            await server.journal.refresh()
        if len((await store.read(PARTITION))[0]) == before:
            break
    else:
        raise AssertionError("no peace")
    truth = contents(servers[0])
    for server in [*servers, await world.server()]:
        assert contents(server) == truth, "servers differ"
        assert not server.journal.damaged
    for client in clients:
        await client.sync(r.choice(servers))
        assert client.box == truth, "a client has missed something"
    return rounds
