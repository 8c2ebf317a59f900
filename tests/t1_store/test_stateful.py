"""The store beside a dict: any order of calls, several opened stores and processes, closing and opening
again."""

import tempfile
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from aerogramme.errors import Behind, NotStored
from aerogramme.store import Cursor, MemoryStores, Place, Row, SqliteStores, Store, Stores, open_stores
from aerogramme.store.cache import Cache, CachedStores

T = TypeVar("T")
ACCOUNT = "a" * 32
NAMES = st.sampled_from(["a", "a/1", "a/2", "b", "b/1"])
PARTITIONS = st.sampled_from(["log", "incoming"])
KEYS = st.sampled_from("abcdefghijkl")
WHO = st.integers(0, 2)
FAR = ["s3", "garage", "garage-s3"]


class Trio:
    """A trio loop in a thread of its own, as the rules of a machine are plain functions."""

    def __init__(self) -> None:
        tokens = SimpleQueue[trio.lowlevel.TrioToken]()
        self._end = trio.Event()

        async def main() -> None:
            tokens.put(trio.lowlevel.current_trio_token())
            await self._end.wait()

        self._thread = threading.Thread(target=trio.run, args=(main,))
        self._thread.start()
        self._token = tokens.get()

    def __call__(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        return trio.from_thread.run(function, *args, trio_token=self._token)

    def close(self) -> None:
        trio.from_thread.run_sync(self._end.set, trio_token=self._token)
        self._thread.join()


class Beside(RuleBasedStateMachine):
    """`bodies` and `rows` are the dict. `order` is how rows became visible, a reader's place an index into
    it. A key that was removed is not written again: a store that can only list keys would take it for old.
    """

    kind: str
    serialized: bool
    place: Callable[[], Place]

    def __init__(self) -> None:
        super().__init__()
        self.bodies: dict[str, bytes] = {}
        self.rows: dict[tuple[str, str], bytes] = {}
        self.order: list[tuple[str, str]] = []
        self.places: dict[tuple[int, str], tuple[Cursor, int]] = {}
        self.own: defaultdict[tuple[int, str], set[str]] = defaultdict(set)  # written since the last read
        self.run = Trio()
        self.folder = tempfile.TemporaryDirectory()

    @initialize()
    def begin(self) -> None:
        self.processes: list[Stores]
        if self.kind == "sqlite":
            self.processes = [SqliteStores(Path(self.folder.name)) for _ in range(2)]
        elif self.kind in FAR:
            place = self.place()
            self.processes = [open_stores(place) for _ in range(2)]
        else:
            memory = MemoryStores(serial=self.kind == "memory-serial")
            self.processes = [memory, memory.another()]
            if self.kind == "cached":  # on one folder, and so small that much of it is driven out
                folder = Path(self.folder.name)
                self.processes = [CachedStores(one, Cache(folder, 1 << 20)) for one in self.processes]
        self.stores = [self.run(self.opened, who) for who in range(3)]

    def new(self, partition: str, place: int) -> set[str]:
        """The keys that are new to a reader who got to this place."""
        return {key for part, key in self.order[place:] if part == partition and (part, key) in self.rows}

    async def opened(self, who: int) -> Store:
        return await self.processes[who % 2].open(ACCOUNT, create=True)

    @rule(who=WHO)
    def close_and_open(self, who: int) -> None:
        self.run(self.stores[who].aclose)
        self.stores[who] = self.run(self.opened, who)

    @rule(who=WHO, name=NAMES, size=st.sampled_from([0, 5, 70_000, 1_100_000]), streamed=st.booleans())
    def put(self, who: int, name: str, size: int, streamed: bool) -> None:
        body = self.bodies.get(name, (name.encode() * size)[:size])  # once written, only the same again

        async def stored() -> None:
            async def stream() -> Any:
                for start in range(0, len(body), 300_000):
                    yield body[start : start + 300_000]

            await self.stores[who].put(name, stream() if streamed else body)

        self.run(stored)
        self.bodies[name] = body

    @rule(who=WHO, name=NAMES, start=st.integers(0, 70_001), length=st.none() | st.integers(0, 70_000))
    def get(self, who: int, name: str, start: int, length: int | None) -> None:
        stop = None if length is None else start + length
        if name in self.bodies:
            assert self.run(self.stores[who].get, name, start, stop) == self.bodies[name][start:stop]
        else:
            with pytest.raises(NotStored):
                self.run(self.stores[who].get, name, start, stop)

    @rule(who=WHO, names=st.lists(NAMES))
    def get_many(self, who: int, names: list[str]) -> None:
        assert self.run(self.stores[who].get_many, names) == [self.bodies.get(name) for name in names]

    @rule(
        who=WHO,
        prefix=st.sampled_from(["", "a", "a/", "c"]),
        after=st.just("") | NAMES,
        limit=st.none() | WHO,
    )
    def list_names(self, who: int, prefix: str, after: str, limit: int | None) -> None:
        names = sorted(name for name in self.bodies if name.startswith(prefix) and name > after)
        assert self.run(self.stores[who].list, prefix, after, limit) == names[:limit]
        sizes = [(name, len(self.bodies[name])) for name in names[:limit]]
        assert self.run(self.stores[who].sizes, prefix, after, limit) == sizes

    @rule(who=WHO, names=st.lists(NAMES, max_size=2))
    def delete(self, who: int, names: list[str]) -> None:
        self.run(self.stores[who].delete, names)
        for name in names:
            self.bodies.pop(name, None)

    @rule(
        who=WHO,
        partition=PARTITIONS,
        keys=st.lists(KEYS, max_size=3),
        names=st.lists(NAMES, max_size=2),
        gone=st.lists(st.tuples(PARTITIONS, KEYS), max_size=2),
        checked=st.booleans(),
    )
    def append(
        self,
        who: int,
        partition: str,
        keys: list[str],
        names: list[str],
        gone: list[tuple[str, str]],
        checked: bool,
    ) -> None:
        removed = {key for part, key in set(self.order) - set(self.rows) if part == partition}
        keys = [key for key in keys if key not in removed]
        objects = [(name, self.bodies.get(name, b"of " + name.encode())) for name in names]
        cursor, place = self.places.get((who, partition), (None, 0)) if checked else (None, 0)
        unread = self.new(partition, place)

        async def appended() -> Cursor | None:
            new = [Row(key, key.encode()) for key in keys]
            return await self.stores[who].append(partition, new, objects=objects, read=cursor, delete=gone)

        if cursor is not None and unread and self.serialized:
            with pytest.raises(Behind):
                self.run(appended)
            return
        moved = self.run(appended)
        self.bodies.update(objects)
        for key in keys:
            if (partition, key) not in self.rows:
                self.rows[partition, key] = key.encode()
                self.order.append((partition, key))
        for pair in gone:
            self.rows.pop(pair, None)
        if cursor is None:
            assert moved is None
        else:
            assert moved is not None
            self.places[who, partition] = (moved, len(self.order) if self.serialized else place)
            self.own[who, partition].update(keys)

    @rule(who=WHO, partition=PARTITIONS, after=st.just("") | KEYS, limit=WHO)
    def page(self, who: int, partition: str, after: str, limit: int) -> None:
        keys = sorted(key for part, key in self.rows if part == partition and key > after)[:limit]
        assert self.run(self.stores[who].page, partition, after, limit) == [Row(k, k.encode()) for k in keys]

    @rule(who=WHO, partition=PARTITIONS, afresh=st.booleans(), after=st.just("") | KEYS)
    def read(self, who: int, partition: str, afresh: bool, after: str) -> None:
        cursor, place = (None, 0) if afresh else self.places.get((who, partition), (None, 0))
        rows, cursor_now = self.run(self.stores[who].read, partition, cursor, after)
        keys = self.new(partition, place)
        if cursor is None:
            keys = {key for key in keys if key > after}
        if cursor is not None:  # what it has written itself, a reader may get once more
            keys -= self.own[who, partition] - {row.key for row in rows}
        assert rows == [Row(key, self.rows[partition, key]) for key in sorted(keys)]
        self.places[who, partition] = (cursor_now, len(self.order))
        self.own[who, partition].clear()

    @rule(who=WHO, partition=PARTITIONS, keys=st.lists(KEYS, max_size=2))
    def delete_rows(self, who: int, partition: str, keys: list[str]) -> None:
        self.run(self.stores[who].delete_rows, partition, keys)
        for key in keys:
            self.rows.pop((partition, key), None)

    @rule(who=WHO, partition=PARTITIONS, first=KEYS, last=KEYS)
    def delete_range(self, who: int, partition: str, first: str, last: str) -> None:
        self.run(self.stores[who].delete_range, partition, first, last)
        self.rows = {
            (part, key): value
            for (part, key), value in self.rows.items()
            if not (part == partition and first <= key <= last)
        }

    @invariant()
    def a_watch_returns_where_there_is_more(self) -> None:
        for (who, partition), (cursor, place) in self.places.items():
            if self.new(partition, place) - self.own[who, partition]:
                self.run(self.stores[who].watch, partition, cursor)

    def teardown(self) -> None:
        for closing in [*getattr(self, "stores", []), *getattr(self, "processes", [])]:
            self.run(closing.aclose)
        self.run.close()
        self.folder.cleanup()


def test_any_order_of_calls(kind: str, serialized: bool, place: str) -> None:
    class OfThisKind(Beside): ...

    OfThisKind.kind, OfThisKind.serialized = kind, serialized
    numbers, parsed = count(), Place.parse(place)
    OfThisKind.place = staticmethod(lambda: replace(parsed, prefix=f"{parsed.prefix}{next(numbers)}/"))
    examples = 8 if kind in FAR else 25
    run_state_machine_as_test(
        OfThisKind, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None)
    )
