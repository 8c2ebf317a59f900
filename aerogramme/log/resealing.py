"""Sealing again what older generations of keys have sealed, while everybody goes on reading and writing.

Theory of operation. Nothing is overwritten: what is sealed again gets another name (suffix.py), and the old
one goes once the new one is durable. So at every moment, and after a crash at any, each thing is there under
one name or under both, with the same plain bytes; who asks for the old name looks for the new one. The new
bytes are the same whoever makes them, so it does no harm to do it twice, or at the same time elsewhere. What
does not open is reported, and stays.

It takes half of the time at most, so that those who are served by the same store are served.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import trio

from aerogramme.errors import Damaged, UnknownGeneration
from aerogramme.log import bundle, checkpoint, entry, manifest, segment
from aerogramme.log.state import State
from aerogramme.log.suffix import base_of, sealed_for, suffix_of
from aerogramme.seal.keyring import RECORD_HEAD, Keyring, record_generation
from aerogramme.store.port import Part, Row, Store
from aerogramme.together import in_parallel

OBJECTS = {
    "entry/": entry.KIND,
    "segment/": segment.KIND,
    "piece/": checkpoint.PIECE_KIND,
    bundle.PREFIX: bundle.KIND,
    checkpoint.PREFIX: manifest.KIND,
}
"""Prefix of the names of objects that the keyring seals, and the kind that is bound."""

PAGE = 1000  # names listed, and heads read, at a time
AT_ONCE = 8  # objects in memory: segments have some MB
ROWS_PAGE, BATCH_OCTETS = (
    128,
    1 << 20,
)  # rows of an append, and read for it: others that append read them first
PAUSE = 1.0  # seconds of rest for a second of work


@dataclass(slots=True)
class Tally:
    """How many, and their sealed octets."""

    count: int = 0
    octets: int = 0

    def add(self, octets: int) -> None:
        self.count += 1
        self.octets += octets


@dataclass(slots=True)
class Census:
    """What is sealed with which generation: (kind, generation) -> how many. `unreadable`: name -> why."""

    found: Counter[tuple[str, int]] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)

    def older(self, generation: int) -> int:
        """How many are sealed with older generations than this one."""
        return sum(count for (_, each), count in self.found.items() if each < generation)


async def census(store: Store, partitions: Mapping[str, str]) -> Census:
    """Looks at everything that a keyring seals, and opens nothing. `partitions`: name -> kind of their rows.

    Reads rows, and the heads of objects. Raises Unavailable.
    """
    found = Census()

    def note(kind: str, name: str, head: bytes) -> None:
        try:
            found.found[kind, record_generation(head)] += 1
        except Damaged as why:
            found.unreadable[name] = str(why)

    for prefix, kind in OBJECTS.items():
        async with aclosing(_heads(store, prefix)) as pages:
            async for page in pages:
                for name, head in page:
                    note(kind, name, head)
    for partition, kind in partitions.items():
        after = ""
        while rows := await store.page(partition, after, ROWS_PAGE):
            after = rows[-1].key
            for key, value in rows:
                if value:  # else it is an object, which has been counted
                    note(kind, f"{partition}/{key}", value)
    return found


async def _heads(
    store: Store, prefix: str, but: Callable[[str], bool] = lambda _: False
) -> AsyncGenerator[list[tuple[str, bytes]], None]:
    """The objects with a prefix, and the first bytes of each, a page at a time; without some."""
    after = ""
    while page := await store.list(prefix, after, PAGE):
        after = page[-1]
        names = [name for name in page if not but(name)]
        heads = await store.get_many([Part(name, 0, RECORD_HEAD) for name in names]) if names else []
        yield [(name, head) for name, head in zip(names, heads, strict=True) if head is not None]


class Resealing:
    """Passes over all that the keyring of an account seals.

    done  kind -> what was sealed again, in all passes
    left  name -> why it was not, in the last pass; row keys have their partition in front
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        partitions: Mapping[str, str],
        *,
        renew: Callable[[], Awaitable[object]],
        told: Callable[[], None] = lambda: None,
    ) -> None:
        """`keyring` is live; `renew` reads it again, when something is sealed with a generation that it has
        not. `told` is called whenever `done` has changed."""
        self._store, self._keyring, self._partitions = store, keyring, partitions
        self._renew, self._told = renew, told
        self.done: dict[str, Tally] = {kind: Tally() for kind in (*OBJECTS.values(), *partitions.values())}
        self.left: dict[str, str] = {}

    @property
    def count(self) -> int:
        return sum(tally.count for tally in self.done.values())

    @property
    def octets(self) -> int:
        return sum(tally.octets for tally in self.done.values())

    async def once(self) -> int:
        """One pass over everything: how many were sealed again. Raises Unavailable; then it may be done
        again."""
        before = self.count
        self.left = {}
        for partition in self._partitions:
            await self._rows(partition)
        for prefix in OBJECTS:
            await self._objects(prefix)
        return self.count - before

    # --- objects

    async def _objects(self, prefix: str) -> None:
        async with aclosing(_heads(self._store, prefix, self._is_done)) as pages:
            async for page in pages:
                old = [name for name, head in page if await self._is_older(name, head)]
                for start in range(0, len(old), AT_ONCE):
                    await self._some_objects(OBJECTS[prefix], old[start : start + AT_ONCE])

    async def _some_objects(self, kind: str, names: Sequence[str]) -> None:
        began, generation = trio.current_time(), self._keyring.current
        new: list[tuple[str, str, bytes]] = []
        for name, sealed in zip(names, await self._store.get_many(names), strict=True):
            if sealed is None:
                continue  # another rotation was faster
            again = self._again(kind, name, sealed, generation, name)
            if again is not None:
                new.append((name, sealed_for(name, generation), again))
            await trio.lowlevel.checkpoint()

        async def put(each: tuple[str, str, bytes]) -> None:
            await self._store.put(*each[1:])

        await in_parallel(put, new, AT_ONCE)
        if new:
            await self._store.delete([name for name, *_ in new])
        for *_, again in new:
            self.done[kind].add(len(again))
        self._told()
        await self._rest(began)

    # --- rows

    async def _rows(self, partition: str) -> None:
        kind, generation = self._partitions[partition], self._keyring.current
        after = ""
        while page := await self._store.page(partition, after, ROWS_PAGE):
            after = page[-1].key
            batch: list[tuple[str, Row]] = []
            octets = 0
            for key, value in page:
                named = f"{partition}/{key}"
                if value and await self._is_older(named, value):  # else it is an object
                    again = self._again(kind, key, value, generation, named)
                    if again is not None:
                        batch.append((key, Row(sealed_for(key, generation), again)))
                        octets += len(again)
                if octets >= BATCH_OCTETS:
                    await self._some_rows(partition, batch)
                    batch, octets = [], 0
            if batch:
                await self._some_rows(partition, batch)

    async def _some_rows(self, partition: str, batch: Sequence[tuple[str, Row]]) -> None:
        began = trio.current_time()
        old = [(partition, key) for key, _ in batch]
        await self._store.append(partition, [row for _, row in batch], delete=old)
        for _, row in batch:
            self.done[self._partitions[partition]].add(len(row.value))
        self._told()
        await self._rest(began)

    # --- both

    def _is_done(self, name: str) -> bool:
        return suffix_of(name) == self._keyring.current

    async def _is_older(self, name: str, sealed: bytes) -> bool:
        """Whether this is sealed with an older generation than the newest; what cannot be told is left."""
        for renewed in (False, True):
            try:
                return self._keyring.generation_of(sealed) < self._keyring.current
            except UnknownGeneration:
                if renewed:
                    self.left[name] = "it is sealed with a generation of keys that is not there"
                else:
                    await self._renew()
            except Damaged as why:
                self.left[name] = str(why)
                break
        return False

    def _again(self, kind: str, bound: str, sealed: bytes, generation: int, name: str) -> bytes | None:
        """The record sealed again. None if it does not open: it is reported as `name`."""
        try:
            plain = self._keyring.open(kind, bound, sealed)
        except Damaged as why:
            self.left[name] = str(why)
            return None
        return self._keyring.seal_again(kind, sealed_for(bound, generation), generation, plain)

    async def _rest(self, began: float) -> None:
        await trio.sleep(PAUSE * (trio.current_time() - began))


async def name_anew(store: Store, state: State) -> None:
    """The state, and so the next checkpoint, has the names that pieces, segments and bundles have now.
    Raises Unavailable."""
    there: dict[str, str] = {}
    for prefix in ("piece/", "segment/", bundle.PREFIX):
        after = ""
        while page := await store.list(prefix, after, PAGE):
            there.update((base_of(name), name) for name in page)
            after = page[-1]
    for table in state.tables.values():
        table.pieces = {n: there.get(base_of(name), name) for n, name in table.pieces.items()}
    state.bundles = {there.get(base_of(name), name): of for name, of in state.bundles.items()}
    for index in state.named_segments():
        ref = state.segments[index]
        names = [there.get(segment.object_name(ref.name, group), "") for group in ref.groups]
        generations = {suffix_of(name) for name in names}
        if ref.inline is None and len(generations) == 1:  # else some of it is damaged, and as it was
            state.segments[index] = replace(ref, sealed=generations.pop() or 0)
