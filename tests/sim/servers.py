"""Servers that share an account, each on a machine with its own clock and way to the store; crashes."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import trio
import trio.testing

from aerogramme.config import Config
from aerogramme.imap.context import Service
from aerogramme.imap.server import Server as ImapServer
from aerogramme.lmtp.server import LmtpServer
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.accounts import Accounts
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes
from aerogramme.store.faults import Crash, Faults, Show, Step, do
from aerogramme.store.memory import MemoryStore, MemoryStores
from aerogramme.users.directory import AddressBook, User
from tests.sim.chance import HERE, Machine

ACCOUNT = "a1" * 16
USER, PASSWORD = "alice@example.org", "secret"
BOOK = AddressBook([User(USER, ACCOUNT)])
CONFIG = Config(
    data=Path("/nowhere"),
    store="memory:",
    cache=Path("/nowhere/cache"),
    users_file=Path("/nowhere/users.toml"),
    hostname="mx.example.org",
    max_recipients=5,
)


class Link(Faults):
    """The way of one process to the store. What its failed writes have left on their way comes, or not, also
    when the process is dead; and after its death it asks for nothing any more. `haste`: how likely that comes
    with each step of anybody, beside what is usual (faults.py).
    """

    def __init__(self, random: Random, links: "list[Link]", haste: float, **rates: float) -> None:
        super().__init__(random, **rates)
        self._links, self._haste = links, haste
        self.dead = False
        self.writing = 0  # calls under way
        links.append(self)

    async def write(self, steps: Sequence[Step]) -> None:
        done = 0

        def counted(step: Step) -> object:
            nonlocal done
            done += 1
            return step()

        def counting(step: Step) -> Step:
            if isinstance(step, Show):
                return Show(partial(counted, step.show), step.tear, step.torn)
            return partial(counted, step)

        self.writing += 1
        try:
            await super().write([counting(step) for step in steps])
        except trio.Cancelled:  # killed, say: what is on the wire still arrives, or does not
            self._waiting.append(steps[done:])
            raise
        finally:
            self.writing -= 1

    def give_up(self) -> None:
        """What its failed writes have left on their way comes now, or never. What some reads have shown
        already comes: a store whose parts differ has made them equal by then."""
        waiting, self._waiting = self._waiting, []
        for steps in waiting:
            if self._random.random() < 0.5 or any(isinstance(step, Show) and step.torn() for step in steps):
                do(steps)

    async def _way(self) -> None:
        if self.dead:
            raise Crash
        await super()._way()
        if self.dead:
            raise Crash

    def _surface(self, rate: float) -> None:
        for link in self._links:
            if link._waiting:
                Faults._surface(link, rate if self.reliable else rate * self._haste)


class Distant:
    """The stores as a process has them that asks now and then whether there is something new."""

    def __init__(self, stores: MemoryStores, random: Random, lag: float) -> None:
        self._stores, self._random, self._lag = stores, random, lag

    async def open(self, account: str, *, create: bool = False) -> MemoryStore:
        store = await self._stores.open(account, create=create)
        watch = store.watch

        async def watch_late(*args: Any, **options: Any) -> None:
            await watch(*args, **options)
            await trio.sleep(self._random.uniform(0, self._lag))

        store.watch = watch_late
        return store


class Process:
    """One run of the server's program."""

    def __init__(self, machine: Machine, stores: Distant, link: Link) -> None:
        self.machine, self.link, self.stores = machine, link, stores
        self.accounts = Accounts(self.stores)
        self._imap = ImapServer(Service(self.accounts, BOOK))
        self._scope = trio.CancelScope()
        self._ends: list[trio.StapledStream] = []  # those of the clients
        self._lmtp: LmtpServer
        self._nursery: trio.Nursery

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        HERE.set(self.machine)
        with suppress(Crash):
            try:
                with self._scope:
                    async with trio.open_nursery() as self._nursery:
                        await self._nursery.start(self.accounts.run)
                        boxes = LetterBoxes(self.stores, self._nursery)
                        self._lmtp = LmtpServer(BOOK, boxes.open, CONFIG)
                        task_status.started()
                        await trio.sleep_forever()
            except BaseExceptionGroup as group:
                _, rest = group.split(Crash)
                if rest is not None:
                    raise rest from None

    def kill(self) -> None:
        """SIGKILL: what is done is done, and nothing more is; what was said may not have been heard."""
        self.link.dead = True
        for end in self._ends:
            end.receive_stream.close()
            end.send_stream.close()
        self._scope.cancel()

    def imap(self) -> trio.StapledStream:
        """A new connection's client end."""
        return self._connect(self._imap.serve_stream)

    def lmtp(self) -> trio.StapledStream:
        async def serve(stream: trio.StapledStream) -> None:
            async with stream:
                await self._lmtp.handle(stream)

        return self._connect(serve)

    def _connect(self, serve: Callable[[trio.StapledStream], Awaitable[None]]) -> trio.StapledStream:
        ours, theirs = trio.testing.memory_stream_pair()
        self._ends.append(ours)

        async def here() -> None:
            HERE.set(self.machine)
            await serve(theirs)

        self._nursery.start_soon(here)
        return ours

    @property
    def account(self) -> Account | None:
        """The account, if it is open here: to look at, behind the server's back."""
        opened = self.accounts._open.get(ACCOUNT)
        return None if opened is None else opened.account


class Server(Machine):
    """A machine on which the program is started again after it was killed."""

    def __init__(self, name: str, skew: float, reach: Callable[[], tuple[Distant, Link]]) -> None:
        super().__init__(name, skew)
        self._reach = reach
        self.process: Process | None = None

    async def start(self, nursery: trio.Nursery) -> None:
        process = Process(self, *self._reach())
        await nursery.start(process.run)
        self.process = process

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None
