"""Several servers on one log, and clients that wander between them: a schedule from a seed, on the real
journal.

Servers append without asking each other; replies get lost, writes come late or never, servers crash and
start again from a checkpoint, of which any may write one at any time. Clients synchronize as QRESYNC
clients do, with nothing but UIDNEXT and HIGHESTMODSEQ.

`run` raises AssertionError unless, for this schedule:

    1. no client ever knows one UID as two messages;
    2. UIDNEXT told by a server never sinks, and no message appears below it on that server;
    3. what was acknowledged before a client synchronizes is what it gets (the read rule);
    4. when the network is quiet, all servers agree, whatever checkpoint they started from;
    5. then every client, wherever it has been, has exactly the mailbox after one more synchronization.
"""

from random import Random

from aerogramme.errors import Unavailable
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
        self.faults = Faults(self.random, latency=0, refused=0.01, lost=0.02, limbo=0.1, again=0.05)
        self.stores = MemoryStores(self.faults, serial=serial)
        self.now = START
        self.boxes = self.random.choice([BOXES[:1], BOXES[:1], BOXES])
        self.jumps = JUMPS if self.random.random() < 0.5 else (0, 1)
        self.acknowledged = {}  # message -> mailbox
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
        """Something happens."""
        r = self.random
        self.now += r.choice(self.jumps)
        n, x = r.randrange(len(servers)), r.random()
        server = servers[n]
        try:
            if x < 0.3:
                await server.add()
            elif x < 0.5:
                await server.change()
            elif x < 0.58:
                await server.journal.refresh()
            elif x < 0.63:
                await server.journal.fold(force=True)
            elif x < 0.70:
                servers[n] = await self.server(old=r.random() < 0.5)
            else:
                await r.choice(clients).sync(server)
        except Unavailable:
            pass  # the client gets NO


class Server:
    def __init__(self, world, journal):
        self.world, self.journal = world, journal
        self.uidnext = dict.fromkeys(BOXES, 1)
        self.told = {box: {} for box in BOXES}

    def table(self, box):
        return self.journal.state.table(box)

    async def add(self):
        world, journal = self.world, self.journal
        box, n = world.random.choice(world.boxes), world.random.choice([1, 1, 2])
        ids = journal.new_ids(n)

        def build(state):
            uidnext = state.table(box).uidnext
            return Draft([Add(box, ids, range(uidnext, uidnext + n), [0] * n, [0] * n, [()] * n, ids)])

        await journal.commit(build)
        world.acknowledged.update(dict.fromkeys(ids, box))

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

    def check_told(self):
        """What a client may be told now is in keeping with all that clients of this server were told
        before.
        """
        for box in BOXES:
            table, told = self.table(box), self.told[box]
            for uid, message in zip(table.uids, table.ids, strict=True):
                assert told.get(uid, message) == message, "a UID changed its message"
                assert uid in told or uid >= self.uidnext[box], "a message appeared below UIDNEXT"
            assert table.uidnext >= self.uidnext[box], "UIDNEXT has sunk"
            self.uidnext[box] = table.uidnext
            told.update(zip(table.uids, table.ids, strict=True))


class Client:
    def __init__(self):
        self.box = {box: {} for box in BOXES}  # UID -> message, flags
        self.uidnext = dict.fromkeys(BOXES, 1)
        self.modseq = dict.fromkeys(BOXES, 0)

    async def sync(self, server):
        await server.journal.refresh()
        server.check_told()
        for box in BOXES:
            self.sync_box(box, server.table(box), server.journal.state.flagsets.sets)
        world = server.world
        for message, box in world.acknowledged.items():
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
    world = World(seed, serial=serial)
    r = world.random
    servers = [await world.server() for _ in range(r.choice([2, 2, 3]))]
    clients = [Client() for _ in range(3)]
    for _ in range(r.randrange(4, 45)):
        await world.step(servers, clients)
    if r.random() < 0.5:  # all start again, from the last checkpoint
        servers = [await world.server() for _ in servers]
    world.faults.reliable = True
    store = await world.stores.open(ACCOUNT.hex())
    for rounds in range(60):
        before = len((await store.read(PARTITION))[0])
        for server in servers if rounds % 2 else servers[::-1]:
            await server.journal.refresh()
        if len((await store.read(PARTITION))[0]) == before:
            break
    else:
        raise AssertionError("no peace")
    truth = contents(servers[0])
    fresh = await world.server()
    for server in [*servers, fresh]:
        assert contents(server) == truth, "servers differ"
        assert not server.journal.damaged
    for client in clients:
        await client.sync(r.choice(servers))
        assert client.box == truth, "a client has missed something"
    return rounds
