"""The journal: one replica's reading and appending of the log of an account."""

import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import NoReturn

import trio

from aerogramme.errors import Behind, Damaged, Unavailable
from aerogramme.log import checkpoint, rules
from aerogramme.log.clock import COUNTER_BITS, Clock, wall_ms
from aerogramme.log.entry import (
    KIND,
    NO_LINK,
    PARTITION,
    Entry,
    Op,
    decode,
    encode,
    link,
    parse_key,
)
from aerogramme.log.folding import Folding
from aerogramme.log.history import MARGIN, SILENCE
from aerogramme.log.ids import MAX_COUNT
from aerogramme.log.segment import Packer, Segments
from aerogramme.log.state import State
from aerogramme.seal import Keyring
from aerogramme.store.port import Cursor, Row, Store

log = logging.getLogger(__name__)

ROW_MAX = 48 * 1024  # octets of a sealed entry that is a row; the store's rows are small, up to about 64 KiB
# Who has not read for so long reads before appending: so the clock of an entry tells to within minutes what
# its writer had seen, also on a machine that has just woken up. history.py counts on that.
STALE_MS = 60_000
READ_AGAIN = 3  # times, when a read has shown an entry without its cause
MAX_ROUNDS = 100  # of settling; two or three is what it takes, and each ends unless others keep appending


@dataclass(frozen=True, slots=True)
class Draft:
    """What to append: operations, objects (name, sealed bytes) that go with them, and rows (partition,
    key) that they make needless."""

    ops: Sequence[Op]
    objects: Sequence[tuple[str, bytes]] = ()
    delete: Sequence[tuple[str, str]] = ()


class Journal:
    """The log of one account, as this process reads and writes it.

    state     after `refresh` and after `commit`: all that was acknowledged before the call, and settled
    settled   False while entries that were read have consequences that could not be appended yet: then no
              client may be told anything. (Never on a store that serializes.)
    version   grows with each change that may be told
    segments  loads digests

    One task at a time reads or appends; others wait in line. Nothing awaits between looking at the state and
    encoding an entry, nor between an entry's being durable and its being in the state.
    """

    def __init__(self, store: Store, keyring: Keyring, state: State, clock: Clock, random: Random) -> None:
        """Use `open`."""
        self.state = state
        self.segments = Segments(store, keyring, state.segments)
        self.version = state.version
        self.replica = 0
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._random = random
        self._lock = trio.Lock()
        self._folding = Folding(store, keyring, state, self.segments, self._newest)
        self._cursor: Cursor | None = None
        self._held: dict[str, Entry] = {}  # what was read, but not yet all that its writer had seen
        self._reads_begun = self._reads_done = 0
        self._read_at = 0  # milliseconds since 1970
        self._changed = trio.Event()
        self._new_replica()

    @classmethod
    async def open(
        cls,
        store: Store,
        keyring: Keyring,
        account: bytes,
        *,
        now_ms: Callable[[], int] = wall_ms,
        replica: int | None = None,
        rng: Random | None = None,
    ) -> "Journal":
        """Reads the newest checkpoint and what came after it. Raises Unavailable, Damaged.

        `now_ms`, `replica` and `rng` are for tests that must be the same each time.
        """
        if keyring.account != account:
            raise Damaged("the keyring is that of another account")
        state = await checkpoint.load(store, keyring)
        journal = cls(store, keyring, state, Clock(now_ms), rng or secrets.SystemRandom())
        if replica is not None:
            journal.replica = replica
        await journal.refresh()
        return journal

    # --- reading

    @property
    def settled(self) -> bool:
        """Whether the state may be told."""
        return rules.settled(self.state)

    @property
    def damaged(self) -> dict[str, str]:
        """Row key -> what is wrong: entries that cannot be read, and are left out."""
        return self.state.damaged

    async def refresh(self) -> None:
        """The read rule: what anybody has acknowledged before this call is in the state after it, settled.

        Free of I/O when nothing is new and the store can tell. Raises Unavailable.
        """
        wanted = self._reads_begun + 1
        async with self._lock:
            if self._reads_done >= wanted:
                return  # a read that began after this call is done already
            await self._read_all()

    async def follow(self) -> NoReturn:
        """Reads what others append, as it comes. Raises Unavailable, and may be called again."""
        while True:
            await self.refresh()
            assert self._cursor is not None
            await self._store.watch(PARTITION, self._cursor)

    async def wait_changed(self, version: int) -> int:
        """Returns `version` once it is above the one given."""
        while self.version <= version:
            await self._changed.wait()
        return self.version

    async def _read_all(self) -> None:
        for _ in range(1 + READ_AGAIN):
            await self._read()
            if not self._held:
                break
        else:
            raise Unavailable("The store does not show all that others have read from it")
        await self._settle()

    async def _read(self) -> None:
        self._reads_begun += 1
        number = self._reads_begun
        after = "" if self._cursor else checkpoint.horizon(self.state)
        rows, cursor = await self._store.read(PARTITION, self._cursor, after)
        new = [row for row in rows if self._is_new(row.key)]
        large = [row.key for row in new if not row.value]
        bodies = (
            dict(zip(large, await self._store.get_many(list(map(spilled, large))), strict=True))
            if large
            else {}
        )
        for key, value in new:
            self._take(key, value or bodies[key])
        self._apply_held()
        self._cursor = cursor
        self._reads_done = number
        self._read_at = self._clock.now_ms()

    def _is_new(self, key: str) -> bool:
        if key in self.state.damaged or key in self._held:
            return False
        try:
            return parse_key(key) not in self.state.history
        except Damaged as e:
            self._report(key, e)
            return False

    def _take(self, key: str, sealed: bytes | None) -> None:
        """One new row. One that does not open or decode is left out: all else stays readable."""
        try:
            if sealed is None:
                raise Damaged("the object of an entry is missing")
            entry = decode(key, self._keyring.open(KIND, key, sealed))
        except Damaged as e:
            self._report(key, e)
            self.state.skip(*parse_key(key))
            return
        self._held[key] = entry

    def _apply_held(self) -> None:
        """Apply what was read, causes before effects: an entry once all that its writer saw is in the state.

        A read that takes several requests may show an entry and not yet its cause, which sorts before it. A
        client that was told the clock of the one would not hear of the other. A cause that is not there after
        MARGIN counts as lost.
        """
        lost = max(self._clock.now_ms() << COUNTER_BITS, self.state.clock) - MARGIN
        waiting = sorted(self._held.items())
        while True:
            rest = []
            for key, entry in waiting:
                if self.state.history.has_causes(entry) or entry.clock < lost:
                    self.state.apply(entry)
                else:
                    rest.append((key, entry))
            if len(rest) == len(waiting):
                break
            waiting = rest
        self._held = dict(rest)

    def _report(self, key: str, why: Damaged) -> None:
        self.state.damaged[key] = str(why)
        log.error("entry %s of account %s is left out: %s", key, self._keyring.account.hex(), why)

    # --- appending

    def new_ids(self, count: int) -> range:
        """Ids that nobody else has or will have, for messages, contents and mailboxes."""
        if self._count + count > MAX_COUNT:
            self._new_replica()
        first = self.replica << 24 | self._count + 1
        self._count += count
        return range(first, first + count)

    async def commit(self, build: Callable[[State], Draft | None]) -> Entry | None:
        """Appends what `build` makes of the newest state that is known here. None if it makes nothing.

        `build` may be called more than once, and must not await. The entry is durable and in the state
        when this returns. Raises Unavailable: then the entry may be there now, or later, or never.
        """
        async with self._lock:
            if self._clock.now_ms() - self._read_at > STALE_MS:
                await self._read_all()
            elif not self.settled:
                await self._settle()
            while True:
                draft = build(self.state)
                if draft is None:
                    return None
                if not draft.ops:
                    for partition, key in draft.delete:
                        await self._store.delete_rows(partition, [key])
                    return None
                try:
                    entry = await self._append(draft)
                except Behind:
                    await self._read()
                    await self._settle()
                    continue
                await self._settle()
                return entry

    async def fold(self, packer: Packer | None = None, *, force: bool = False) -> bool:
        """Writes a checkpoint, if what came after the last one makes it worth it (or if told to). Where
        there is a packer, bodies are packed on the way.

        Reading and appending go on meanwhile. Raises Unavailable: then the checkpoint may be there.
        """
        return await self._folding.fold(packer, force=force)

    @asynccontextmanager
    async def _newest(self) -> AsyncGenerator[None, None]:
        """Alone with the newest state, settled."""
        async with self._lock:
            await self._read()
            await self._settle()
            yield

    async def _settle(self) -> None:
        """Append what the rules ask for, until they ask for nothing."""
        if self.settled and self.version == self.state.version:
            return
        for _ in range(MAX_ROUNDS):
            ops = rules.due(self.state)
            if not ops:
                break
            try:
                await self._append(Draft(ops))
            except Behind:
                await self._read()
        else:
            raise AssertionError("the log does not settle")
        self._publish()

    def _publish(self) -> None:
        """The state, which is settled, may be told."""
        rules.mark_told(self.state)
        if self.version != self.state.version:
            self.version = self.state.version
            self._changed.set()
            self._changed = trio.Event()

    async def _append(self, draft: Draft) -> Entry:
        entry = self._next_entry(draft.ops)
        plain = encode(entry)
        value = self._keyring.seal(KIND, entry.key, plain)
        objects = draft.objects
        if len(value) > ROW_MAX:
            objects, value = [(spilled(entry.key), value), *objects], b""
        try:
            self._cursor = await self._store.append(
                PARTITION,
                [Row(entry.key, value)],
                objects=objects,
                read=self._cursor,
                delete=draft.delete,
            )
        except Behind:
            raise
        except BaseException:
            # It may be there, or come later: its seq must not be used twice, nor its hash be relied on.
            self._new_replica()
            raise
        self._seq, self._link, self._last_clock = entry.seq, link(entry.key, plain), entry.clock
        self.state.history.news.clear()
        self.state.apply(entry, own=True)
        return entry

    def _next_entry(self, ops: Sequence[Op]) -> Entry:
        history = self.state.history
        self._clock.saw(history.clock)
        clock = self._clock.next()
        if self._seq and clock - self._last_clock > SILENCE:
            self._new_replica()
        first = self._seq == 0
        seen, silent = history.seen_for(clock, first)
        return Entry(
            clock,
            self.replica,
            self._seq + 1,
            self._link,
            tuple(ops),
            seen,
            silent,
            tuple(sorted(history.holes)),
            history.floor if first else 0,
        )

    def _new_replica(self) -> None:
        trails = self.state.history.trails
        replica = 0
        while not replica or replica in trails or replica == self.replica:
            replica = self._random.getrandbits(40)
        self.replica = replica
        self._count = 0  # of ids
        self._seq = 0
        self._link = NO_LINK
        self._last_clock = 0


def spilled(key: str) -> str:
    """The object that holds an entry which is too large for a row."""
    return f"entry/{key}"
