"""What goes wrong with servers, their clocks and their way to the store; folds, rotations and compactions
at the same time."""

from random import Random
from typing import TYPE_CHECKING

import trio

from aerogramme.errors import AerogrammeError, Unavailable
from aerogramme.mailbox.history.compaction import compact
from aerogramme.mailbox.keys import rotation
from aerogramme.store.faults import Crash
from tests.sim.chance import HERE
from tests.sim.servers import Server

if TYPE_CHECKING:
    from tests.sim.world import World

SKEW = 240.0  # seconds that clocks may be off: from five minutes on the stores refuse a server
HOUR, DAY = 3600.0, 24 * 3600.0
AGES = (1.0, 61.0, 11 * 60.0, 2 * HOUR, 26 * HOUR)  # seconds that pass while nobody does anything

REST = (13 * HOUR, 25 * HOUR, 49 * HOUR, 8 * DAY)  # and what passes while history is compacted

ROTATES = 16  # in one of so many schedules the keys are rotated: it takes as long as all the rest of it
COMPACTS = 4  # and in one of so many history is compacted


class Nemesis:
    def __init__(self, world: "World") -> None:
        self.world = world
        self._ages = world.random.random() < 0.4
        self.rotates = world.seed % ROTATES == 3
        self.compacts = world.seed % COMPACTS == 3

    async def live(self) -> None:
        world, random = self.world, self.world.random
        while world.steps > 0:
            await self.pause()
            server = random.choice(world.servers)
            strikes = [self.crash, self.cut, self.skew, self.age, self.fold]
            [strike] = random.choices(strikes, [2, 2, 1, 1, 2])
            await strike(server)

    async def crash(self, server: Server) -> None:
        if server.process is None:
            await self.start(server)
            return
        self.world.tell(f"{server.name}: killed")
        server.kill()
        if self.world.random.random() < 0.5:
            await self.start(server)

    async def start(self, server: Server) -> None:
        self.world.tell(f"{server.name}: started")
        await server.start(self.world.nursery)

    async def cut(self, server: Server) -> None:
        """The network between one server and the store, for a while."""
        if server.process is not None:
            link = server.process.link
            self.world.tell(f"{server.name}: the store is cut off")
            link.reachable = False
            await self.pause()
            link.reachable = True
            self.world.tell(f"{server.name}: the store is there again")

    async def pause(self) -> None:
        await self.world.pause(6 * self.world.pace + 10 * self.world.rates["latency"])

    async def skew(self, server: Server) -> None:
        server.skew = self.world.random.uniform(-SKEW, SKEW)
        self.world.tell(f"{server.name}: its clock is off by {server.skew:.1f} s")

    async def age(self, _: Server) -> None:
        """Time passes for all, while nothing is on its way: LATE is a promise."""
        world = self.world
        if not self._ages or any(link.writing for link in world.links):
            return
        world.sleep(world.random.choice(AGES))

    async def fold(self, server: Server) -> None:
        account = None if server.process is None else server.process.account
        if account is None:
            return
        self.world.tell(f"{server.name}: folds")
        here = HERE.set(server)
        try:
            await account.fold(force=True)
        except (Unavailable, Crash) as error:
            self.world.tell(f"{server.name}: the fold failed: {type(error).__name__}")
        finally:
            HERE.reset(here)

    async def rotate(self) -> None:
        """At some moment one of the servers begins to rotate the keys; where it dies of that, another goes on
        later, at the end if not before."""
        if not self.rotates:
            return
        world, random = self.world, Random(f"rotation {self.world.seed}")  # the others stay as they are
        for _ in range(random.choice([1, 2])):
            await world.pause(random.uniform(0, 10 * world.pace))
            server = random.choice(world.servers)
            account = None if server.process is None else server.process.account
            if account is None:
                continue
            world.tell(f"{server.name}: rotates the keys")
            here = HERE.set(server)
            try:
                slot = next(iter(account.holding.slots.values()))
                report = await rotation.rotate(account, slot, bodies=random.random() < 0.5)
                world.tell(f"{server.name}: rotated, {report.count} sealed again")
            except (AerogrammeError, Crash) as error:
                world.tell(f"{server.name}: the rotation failed: {type(error).__name__}")
            except BaseExceptionGroup as group:
                _, rest = group.split((AerogrammeError, Crash))
                if rest is not None:
                    raise rest from None
                world.tell(f"{server.name}: died in a rotation")
            finally:
                HERE.reset(here)

    async def compact(self) -> None:
        """Servers compact, several at once too; and sometimes so much time passes that what they have let go
        of may be deleted."""
        if not self.compacts:
            return
        world, random = self.world, Random(f"compaction {self.world.seed}")  # the others stay as they are
        async with trio.open_nursery() as nursery:
            while world.steps > 0:
                await trio.sleep(random.uniform(0, 6 * world.pace))
                if random.random() < 0.4 and not any(link.writing for link in world.links):
                    world.sleep(random.choice(REST))
                nursery.start_soon(self._compact, random.choice(world.servers))

    async def _compact(self, server: Server) -> None:
        world, account = self.world, None if server.process is None else server.process.account
        if account is None:
            return
        world.tell(f"{server.name}: compacts")
        HERE.set(server)
        try:
            report = await compact(account)
            folded = ", with a checkpoint" if report.folded else ""
            world.tell(f"{server.name}: compacted, {report.entries} entries deleted{folded}")
        except (AerogrammeError, Crash) as error:
            world.tell(f"{server.name}: the compaction failed: {type(error).__name__}")
        HERE.set(world.observer)
        await world.check_needed()

    async def stop(self) -> None:
        """All ways are open, all servers run, and what was on its way arrives."""
        world = self.world
        world.tell("peace")
        for link in world.links:
            link.reliable = True
        world.rates = dict.fromkeys(world.rates, 0.0)
        for server in world.servers:
            if server.process is None:
                await self.start(server)
            assert server.process is not None
            server.process.link.reliable = True
