"""Months of an account's life with compaction: how large its store gets, and what its operations cost."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aerogramme.mailbox.account import Account
from aerogramme.mailbox.contents import NewMessage
from aerogramme.mailbox.history.compaction import compact
from aerogramme.mailbox.keys import keys
from aerogramme.mailbox.policy import DAY, Policy
from aerogramme.seal import Argon2Params, Secret
from aerogramme.store.memory import MemoryStore, MemoryStores
from tests.helpers.counting import CALLS
from tests.helpers.life import Calendar, Life

ACCOUNT, PASSWORD = "a1" * 16, Secret("secret")
EVERY = DAY  # seconds between two compactions
AT_ONCE = 250  # messages


@dataclass
class Cost:
    """What some operations have cost: calls to the store, octets written, seconds of the processor by kind of
    work."""

    operations: int = 0
    calls: int = 0
    written: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"work": 0.0, "folds": 0.0, "compaction": 0.0})

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds[kind] += time.process_time() - began


@dataclass(frozen=True)
class Period:
    """A part of the account's life: what it cost, and the octets at its end, of the store and of what is live
    in it."""

    day: float
    messages: int
    cost: Cost
    stored: int
    live: int

    @property
    def ratio(self) -> float:
        return self.stored / self.live


class CountedStore:
    """A store whose calls, and the octets that they write, are added to `cost`."""

    def __init__(self, store: MemoryStore) -> None:
        self.store, self.cost = store, Cost()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        return self._counting(name, found) if name in CALLS else found

    def _counting(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.cost.calls += 1
            if name == "put":
                assert isinstance(args[1], bytes), "a letter here is small"
                self.cost.written += len(args[1])
            elif name == "append":
                self.cost.written += sum(len(value) for _, value in [*args[1], *options.get("objects", ())])
            return real(*args, **options)

        return call

    @property
    def octets(self) -> int:
        """All that is in it, names and keys too."""
        data = self.store._data
        rows = (row for partition in data.partitions.values() for row in partition.rows.items())
        return sum(len(name) + len(value) for name, value in [*data.objects.items(), *rows])


class Months:
    """An account, opened by one process, in which people keep about `live` messages."""

    def __init__(self, calendar: Calendar, *, bucket: bool, retention: int = Policy().retention) -> None:
        """`bucket`: its store is one where objects cost requests, so that bodies are packed."""
        self.calendar, self.bucket, self.policy = calendar, bucket, Policy(retention)
        self.account: Account
        self.store: CountedStore

    async def open(self) -> None:
        stores = MemoryStores(serial=not self.bucket, object_costs_request=self.bucket)
        await Account.create(stores, ACCOUNT, PASSWORD, params=Argon2Params(8, 1, 1))
        self.store = CountedStore(await stores.open(ACCOUNT))
        unlocked = await keys.unlock(self.store, ACCOUNT, PASSWORD)
        self.account = await Account.open(self.store, ACCOUNT, unlocked)
        self.account.policy = self.policy

    async def live(
        self, operations: int, days: float, live: int, periods: int, seed: int = 1
    ) -> AsyncGenerator[Period, None]:
        """Lives for so many days; `periods` are equal parts of them."""
        life, step = Life(self.account, Random(seed), live), days * DAY / operations
        began = compacted = self.calendar.now
        for n in range(1, operations + 1):
            self.calendar.now += step
            cost = self.store.cost
            with cost.timed("work"):
                await life.step()
            with cost.timed("folds"):
                await self.account.fold()
            cost.operations += 1
            if self.calendar.now >= compacted + EVERY:
                with cost.timed("compaction"):
                    await self.compact()
                compacted = self.calendar.now
            if n % (operations // periods) == 0:
                stored, self.store.cost = self.store.octets, Cost()
                live_octets = await self.live_octets()
                day = (self.calendar.now - began) / DAY
                yield Period(day, life.messages, cost, stored, live_octets)

    async def compact(self) -> None:
        await compact(self.account)

    async def rest(self) -> None:
        """Nobody does anything until all history has gone."""
        await self.account.fold(force=True)
        for days in (self.policy.retention / DAY + 1, *[2] * 5):
            self.calendar.now += days * DAY
            await self.account.refresh()
            await self.compact()

    async def live_octets(self) -> int:
        """What a new account comes to that is given the same messages, and then left alone."""
        now, other = self.calendar.now, Months(self.calendar, bucket=self.bucket)
        await other.open()
        wanted: dict[int, list[str]] = {}
        for name in self.account.state.names:
            for content in self.account.find(name).contents:
                wanted.setdefault(content, []).append(name)
        for first in dict.fromkeys(names[0] for names in wanted.values()):
            contents = [content for content, names in wanted.items() if names[0] == first]
            for start in range(0, len(contents), AT_ONCE):
                await other._take(first, contents[start : start + AT_ONCE], wanted, self.account)
        await other.rest()
        self.calendar.now = now
        return other.store.octets

    async def _take(
        self, name: str, contents: list[int], wanted: dict[int, list[str]], source: Account
    ) -> None:
        messages = []
        async for body in source.read_bodies(contents):
            assert isinstance(body, bytes), str(body)
            upload = self.account.upload()
            await upload.write(body)
            messages.append(NewMessage(upload))
        placed = await self.account.append(name, messages)
        copies: dict[str, list[int]] = {}
        for content, uid in zip(contents, placed.uids, strict=True):
            for target in wanted[content][1:]:
                copies.setdefault(target, []).append(uid)
        for target, uids in copies.items():
            await self.account.copy(self.account.find(name), uids, target)
        await self.account.fold()
