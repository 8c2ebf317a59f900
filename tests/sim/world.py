"""One schedule from its seed: servers, mail programs, senders, and what goes wrong on the way to the store.

All above the store is the real thing: accounts with their tasks, IMAP and LMTP servers on streams in memory.
`run` raises `Broken` unless, for this schedule:

    1. nothing that was acknowledged is lost: mails, flags, removals;
    2. nobody ever knows one UID of a mailbox as two mails;
    3. UIDNEXT and HIGHESTMODSEQ never mislead: who asks for what is above them has the mailbox then;
    4. when the faults stop, all servers agree, every program has exactly the mailbox after one more
       synchronization, letters are drained once, and the audit finds nothing;
    5. what an import brings meanwhile is there too, once;
    6. where keys were rotated meanwhile, all of this holds, and nothing is left under older ones;
    7. where history was compacted meanwhile, nothing that is needed has gone, and in the end, after so much
       time that all history has passed, nothing is left but what is needed.
"""

import gc
import math
import traceback
from collections import Counter
from dataclasses import dataclass
from random import Random

import trio
import trio.testing

from aerogramme.errors import Outdated
from aerogramme.log.clock import wall_ms
from aerogramme.log.entry import PARTITION
from aerogramme.log.state import State
from aerogramme.log.suffix import base_of
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.history.compaction import compact
from aerogramme.mailbox.history.survey import survey
from aerogramme.mailbox.incoming import incoming
from aerogramme.mailbox.keys import keys, rotation
from aerogramme.seal import Argon2Params, Keyring, Secret
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row
from tests.sim.chance import HERE, Complaints, Machine, seeded
from tests.sim.clients import KINDS, Program
from tests.sim.ledger import Ledger
from tests.sim.loop import quick_loop
from tests.sim.mover import Mover
from tests.sim.nemesis import Nemesis
from tests.sim.senders import Sender
from tests.sim.servers import ACCOUNT, PASSWORD, Distant, Link, Server

ROUNDS = 60  # until all is quiet
LONG = 12 * 3600.0  # seconds in which no call is on its way to a store any more
LONGEST = 3 * 24 * 3600.0  # seconds of the schedule's own time: who waits for longer waits for ever


class Broken(AssertionError):
    """A schedule in which a promise was broken: its seed, why, and its story."""

    def __init__(self, seed: int, why: str, story: list[str]) -> None:
        super().__init__(f"seed {seed}: {why}")
        self.seed, self.why, self.story = seed, why, story


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a schedule came to."""

    story: list[str]
    commands: int
    checks: int
    facts: int


@dataclass(frozen=True, slots=True)
class _Template:
    """A new account: its keys cost a moment, so they are made once."""

    keyring: Keyring
    rows: dict[str, list[Row]]


_template: _Template | None = None


def template() -> _Template:
    global _template
    if _template is None:
        with seeded(1 << 40):  # of no schedule: two replicas of one id would follow one another
            _template = trio.run(_make_template, clock=trio.testing.MockClock())
    return _template


async def _make_template() -> _Template:
    HERE.set(Machine("maker"))
    stores = MemoryStores()
    await Account.create(stores, ACCOUNT, Secret(PASSWORD), params=Argon2Params(8, 1, 1))
    store = await stores.open(ACCOUNT)
    rows = {partition: (await store.read(partition))[0] for partition in (keys.PARTITION, PARTITION)}
    return _Template((await keys.unlock(store, ACCOUNT, Secret(PASSWORD))).keyring, rows)


class World:
    """All there is."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random = Random(seed)
        self.story: list[str] = []
        self.ledger = Ledger(trio.current_time)
        self.observer = Machine("observer")
        self.stores = MemoryStores(serial=random.random() < 0.1, object_costs_request=random.random() < 0.3)
        self.links: list[Link] = []
        self.rates = random.choice(RATES)
        self.haste = random.choice([1.0, 0.2, 0.02])  # until what is on its way comes
        self.lag = random.choice([0.0, 0.0, 1.0, 5.0])  # the longest until a store tells who watches it
        count = random.choice([2, 2, 3])
        self.servers = [
            Server(f"s{n}", random.choice([0, random.uniform(-120, 120)]), self.reach)
            for n in range(1, count + 1)
        ]
        self.pace = random.choice([0.05, 0.2, 1.0])  # the longest pause between two steps of somebody
        self.beat = random.choice([0, self.pace])  # of the clock by which all do so at once, if there is one
        self.programs = [
            Program(self, f"p{n % 2}", f"c{n}", random.choice(KINDS)) for n in range(random.choice([2, 3, 3]))
        ]
        self.senders = [Sender(self, f"m{n}", random.choice([1, 2])) for n in range(random.choice([1, 2]))]
        self.mover = Mover(self)
        self.nemesis = Nemesis(self)
        self.steps = random.randrange(15, 50)
        self.commands = 0
        self.nursery: trio.Nursery
        self._number = 0

    def reach(self) -> tuple[Distant, Link]:
        """The stores for a new process, and its way to them."""
        link = Link(self.random, self.links, self.haste, **self.rates)
        return Distant(self.stores.another(link), self.random, self.lag), link

    def tell(self, what: str) -> None:
        self.story.append(f"{trio.current_time():9.3f} {what}")

    def new_number(self) -> int:
        self._number += 1
        return self._number

    async def pause(self, longest: float) -> None:
        """Between two steps of somebody."""
        until = trio.current_time() + self.random.uniform(0, longest)
        await trio.sleep_until(math.ceil(until / self.beat) * self.beat if self.beat else until)

    def sleep(self, seconds: float) -> None:
        """Time passes while nobody does anything. In a day what is on its way comes, or is lost."""
        self.tell(f"{seconds:.0f} s pass")
        for machine in (*self.servers, self.observer, self.mover.machine):
            machine.slept += seconds
        if seconds > LONG:
            for link in self.links:
                link.give_up()

    def another_step(self) -> bool:
        self.steps -= 1
        return self.steps >= 0

    def ledger_doubts_other_mailboxes(self) -> None:
        """A mailbox is being deleted: what is in it may go. Those that every account has are safe."""
        for server in self.servers:
            account = None if server.process is None else server.process.account
            if account is not None:
                self._doubt(account.state)

    def _doubt(self, state: State) -> None:
        for name, mailbox in state.names.items():
            if name not in ("INBOX", "Archive"):
                self.ledger.doubtful.add(state.tables[mailbox].uidvalidity)

    # --- the schedule

    async def run(self) -> None:
        HERE.set(self.observer)
        store = await self.stores.open(ACCOUNT, create=True)
        for partition, rows in template().rows.items():
            await store.append(partition, rows)
        async with trio.open_nursery() as self.nursery:
            for server in self.servers:
                await server.start(self.nursery)
            async with trio.open_nursery() as senders:
                for sender in self.senders:
                    senders.start_soon(sender.live)
                senders.start_soon(self.mover.live)
                async with trio.open_nursery() as others:
                    for program in self.programs:
                        others.start_soon(program.live)
                    others.start_soon(self.nemesis.live)
                    others.start_soon(self.nemesis.rotate)
                    others.start_soon(self.nemesis.compact)
                await self.nemesis.stop()
            await self.finale()
            self.nursery.cancel_scope.cancel()

    async def finale(self) -> None:
        """Nothing goes wrong any more."""
        accounts = [(await self.newest_of(server), server.name) for server in self.servers]
        if self.nemesis.rotates:
            await self.last_rotation()
        fresh = await self.open_anew()  # it may find what comes too late for those who only follow
        await self.quiet([fresh, *(account for account, _ in accounts)])
        truth = self.contents(fresh)
        for account, name in accounts:
            assert self.contents(account) == truth, f"{name} differs from who reads all"
        assert self.contents(await self.open_anew()) == truth, "who opens the account anew has another"
        found = await audit(fresh)
        assert not found, f"the audit finds {found}"
        letters, _ = await fresh.store.read(incoming.PARTITION)
        assert not letters, f"{len(letters)} letters wait for ever"
        for program in self.programs:
            await self.last_synchronization(program, truth)
        self.check_copies(truth, fresh)
        assert self.contents(accounts[0][0]) == self.contents(fresh) == truth, "there was no peace"
        if self.nemesis.compacts:
            await self.last_compactions(truth)

    async def newest_of(self, server: Server) -> Account:
        """The account as a server has it open; one that was away for too long opens it anew."""
        while True:
            assert server.process is not None
            login = await server.process.accounts.login(ACCOUNT, Secret(PASSWORD), None)
            try:
                await login.account.refresh()
            except Outdated:
                await trio.sleep(1.0)  # it is noticed, and closed
            else:
                return login.account

    async def open_anew(self) -> Account:
        store = await self.stores.open(ACCOUNT)
        account = await Account.open(store, ACCOUNT, await keys.unlock(store, ACCOUNT, Secret(PASSWORD)))
        await account.refresh()
        return account

    async def last_rotation(self) -> None:
        """What a rotation has left is done, and what was sealed with an older generation is not there."""
        account = await self.open_anew()
        report = await rotation.rotate(account, next(iter(account.holding.slots.values())))
        assert not report.left, f"left by the rotation: {report.left}"
        found = await rotation.scan(account.store)
        assert found.older(account.keyring.current) == 0 and not found.unreadable, (
            f"after it there is {found}"
        )
        await account.aclose()

    async def check_needed(self) -> None:
        """What anybody can still ask for is there."""
        account = await self.open_anew()
        found = await survey(account, wall_ms())
        assert not found.damaged, f"it cannot be read: {found.damaged}"
        needed = found.needed | {body_name(content) for content in found.needed_bodies}
        needed -= {base_of(name) for name in await account.store.list("")}
        missing = [name for name in sorted(needed) if name and not name.startswith("entry/")]
        assert not missing, f"it is needed, and not there: {missing}"
        await account.aclose()

    async def last_compactions(self, truth) -> None:
        """Nobody does anything but compact now and then: in the end nothing is there but what is."""
        for days in (8, *[2] * 6):
            self.sleep(days * 24 * 3600.0)
            account = await self.open_anew()
            report = await compact(account)
            assert not report.damaged, f"the compaction finds {report.damaged}"
            await account.aclose()
        account = await self.open_anew()
        assert self.contents(account) == truth, "compactions have changed something"
        audited = await audit(account)
        assert not audited, f"after compactions the audit finds {audited}"
        found = await survey(account, wall_ms())
        rest = {name: found.standing(name) for name in found.stored}
        others = {
            name: why
            for name, why in rest.items()
            if why not in ("live", "lost") and not name.startswith("checkpoint/")
        }
        assert not others, f"they are still there: {others}"
        assert len([name for name in rest if name.startswith("checkpoint/")]) == 2
        assert not found.old, f"entries are still there: {found.old}"

    async def quiet(self, accounts: list[Account]) -> None:
        """Until nobody has anything to say."""
        store = await self.stores.open(ACCOUNT)
        before: list[Row] | None = None
        for _ in range(ROUNDS):
            for account in accounts:
                await account.refresh()
                await account.drain.all_waiting()
            rows = [row for p in (PARTITION, incoming.PARTITION) for row in (await store.read(p))[0]]
            if rows == before:
                return
            before = rows
        raise AssertionError("there is no peace")

    def contents(self, account: Account) -> dict[str, dict[int, tuple[int, frozenset[str]]]]:
        """What is in the mailboxes: name -> UID -> message, flags."""
        found = {}
        for name, mailbox in account.state.names.items():
            table = account.state.tables[mailbox]
            flags = [frozenset(account.flags_of(number)) for number in table.flags]
            found[name] = dict(zip(table.uids, zip(table.ids, flags, strict=True), strict=True))
        return found

    async def last_synchronization(self, program: Program, truth) -> None:
        random, names = self.random, {"INBOX", *program.boxes} & truth.keys()
        if program is self.programs[0]:
            names.update(name for name, box in truth.items() if box)
        for name in sorted(names):
            if program.belief is None or random.random() < 0.3:
                await program.hang_up()
                await program.connect(random.choice(self.servers).process)
            assert await program.open(name), f"{name} does not open"
            known = {
                uid: (mail.message, mail.flags) for uid, mail in program.picture(program.boxes[name]).items()
            }
            assert known == truth[name], f"{program} knows {known} of {name}, which has {truth[name]}"
        await program.hang_up()

    def check_copies(self, truth, account: Account) -> None:
        messages = [message for box in truth.values() for message, _ in box.values()]
        assert len(messages) == len(set(messages)), "a message is in two mailboxes"
        numbers = self.ledger.numbers_of_messages()
        self.ledger.check_letters(Counter(numbers[m] for m in messages if m in numbers))


RATES: tuple[dict[str, float], ...] = (
    {"latency": 0.1, "refused": 0.02, "lost": 0.03, "limbo": 0.04, "torn": 0.04, "again": 0.05},
    {"latency": 0.05, "refused": 0.0, "lost": 0.0, "limbo": 0.0, "torn": 0.0, "again": 0.0},
    {"latency": 0.3, "refused": 0.01, "lost": 0.05, "limbo": 0.1, "torn": 0.1, "again": 0.05},
)
"""What goes wrong on the way to the store."""


def run(seed: int, **given: int) -> Outcome:
    """One schedule; with these constants of folding, if some are given. Raises Broken."""
    template()
    random = Random(seed)
    constants = {"FOLD_ENTRIES": random.choice([4, 12, 256]), "SEGMENT": random.choice([4, 1000])}
    constants |= given
    world: World
    with seeded(seed, **constants) as complaints, quick_loop() as clock:
        world = trio.run(_run, seed, complaints, clock=clock)
    return Outcome(world.story, world.commands, world.ledger.checked, world.ledger.facts)


async def _run(seed: int, complaints: Complaints) -> World:
    world = World(seed)
    why: BaseException | None = None
    try:
        with trio.fail_after(LONGEST):
            await world.run()
    except Exception as error:
        why = error
    while isinstance(why, BaseExceptionGroup):
        why = why.exceptions[0]
    if why is None and not complaints.lines:
        return world
    text = "".join(complaints.lines[:1])
    if why is not None:
        [*_, (_, line, where, _)] = traceback.extract_tb(why.__traceback__)
        text = f"{type(why).__name__}: {why} (in {where}, line {line})"
    raise Broken(seed, text, [*world.story, *complaints.lines, text]) from why


def collect() -> None:
    """What schedules have left behind: they run without the garbage collector."""
    gc.collect()
