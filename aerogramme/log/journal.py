"""The journal: one replica's reading and appending of the log of an account.

Theory of operation, for stores that are not serialized. Two things must hold whatever a client is told:

*No client is told of a row that a later read somewhere may not show.* A row whose append failed, or is on its
way, may be shown by one read and not by the next, on another server: there a client would miss what it was
told here, and its UID might go to another message. So before an entry is applied its row is confirmed. That
is needed only for rows that no other entry's writer is known to have seen: who had seen one had confirmed it,
or it was the writer's own and acknowledged (after a failed append a writer goes on as another replica). So a
tail of any length costs one small confirmation.

*No two servers tell one UID as two messages*, not even when both append at the same moment. An entry that
claims UIDs is told only once the store has been looked at with a read that began when all claims that are
told were durable: acknowledged, or confirmed. Say A tells e and C tells f, which claim the same UID. A's read
did not show f, so f became durable after it began, and that was after e was durable. C's read did not show e,
so f was durable before e was. Both cannot be. (A read beside the append would not do: both may be over before
either append is durable.) What that read shows is applied if it disputes a UID; else it waits for the next,
so that who reads is not kept busy by those who write.

A client may be told less than there is: entries that wait, and all that has come since `settled`.
"""

import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Container, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import NoReturn

import trio

from aerogramme.errors import Behind, Damaged, Outdated, Unavailable
from aerogramme.log import checkpoint, remains, rules
from aerogramme.log.clock import Clock, wall_ms
from aerogramme.log.entry import KIND, NO_LINK, PARTITION, Entry, Op, link, spilled
from aerogramme.log.entry_bytes import encode
from aerogramme.log.folding import Folding
from aerogramme.log.history import MARGIN, SILENCE
from aerogramme.log.ids import MAX_COUNT
from aerogramme.log.pending import Pending
from aerogramme.log.records import Records, Renew, never
from aerogramme.log.segment import Packer, Segments
from aerogramme.log.state import State
from aerogramme.seal import Keyring
from aerogramme.store.port import Cursor, Row, Store, always
from aerogramme.together import together

log = logging.getLogger(__name__)

ROW_MAX = 48 * 1024  # octets of an entry that is a row; the store's rows are small, up to about 64 KiB
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

    state     after `refresh`: all that was acknowledged before the call, and settled
    settled   False while the state has consequences that are not appended yet, or claims of UIDs after which
              the store was not looked at: then no client may be told anything. (Never on a store that
              serializes.)
    version   grows with each change that may be told
    segments  loads digests

    One task at a time reads or appends; others wait in line. Nothing awaits between looking at the state and
    encoding an entry, nor between an entry's being durable and its being in the state.
    """

    def __init__(self, records: Records, state: State, clock: Clock, random: Random) -> None:
        """Use `open`."""
        self.state = state
        self.records = records
        self.segments = Segments(records, records.keyring, state.segments)
        self.version = state.version
        self.replica = 0
        self._store, self._keyring = records.store, records.keyring
        self._clock = clock
        self._random = random
        self._lock = trio.Lock()
        self._folding = Folding(records, state, self.segments, self._newest, clock.now_ms)
        self._cursor: Cursor | None = None
        self._horizon = checkpoint.horizon(state)
        self._pending = Pending(records, state, clock)  # read, and not in the state yet
        self._unlooked = False  # numbers were claimed, and no read since has shown that nobody disputes them
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
        renew: Renew = never,
        now_ms: Callable[[], int] = wall_ms,
        rng: Random | None = None,
    ) -> "Journal":
        """Reads the newest checkpoint and what came after it. Raises Unavailable, Damaged.

        The state is whole then; `refresh` before a client is told of it. `renew` has the keyring adopt newer
        keys. `now_ms` and `rng` are for tests that must be the same each time.
        """
        if keyring.account != account:
            raise Damaged("the keyring is that of another account")
        records = Records(store, keyring, renew)
        names = await checkpoint.newest(store)
        horizon = checkpoint.horizon_of(names)
        state = State()
        tail: tuple[list[Row], Cursor]

        async def load() -> None:
            nonlocal state
            state = await remains.load(store, records, names)

        async def read_tail() -> None:
            nonlocal tail
            tail = await store.read(PARTITION, None, horizon)

        await together(load, read_tail)
        journal = cls(records, state, Clock(now_ms), rng or secrets.SystemRandom())
        if horizon > journal._horizon:  # the newest checkpoint could not be read: the tail is longer
            await journal._read()
        else:
            await journal._show(*tail)
        await journal._take_in()
        journal.version = state.version
        return journal

    # --- reading

    @property
    def settled(self) -> bool:
        """Whether the state may be told."""
        return not self._unlooked and rules.settled(self.state)

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
            if self._reads_done < wanted:  # else a read that began after this call is done already
                await self._read()
            await self._take_in()
            await self._settle()

    async def follow(self, eager: Callable[[], bool] = always) -> NoReturn:
        """Reads what others append, as it comes. Raises Unavailable, and may be called again.

        `eager` tells whether somebody waits for it just now.
        """
        while True:
            cursor = self._cursor
            assert cursor is not None
            if self.version == self.state.version and not self._pending:
                await self._store.watch(PARTITION, cursor, eager=eager)
                async with self._lock:  # an append of ours is told of before it has returned
                    known = cursor is not self._cursor
                if known:
                    continue  # somebody has written or read it meanwhile
            await self.refresh()

    def accompanied(self) -> bool:
        """Whether others have appended lately. Never on a store that serializes: there, who is late just
        finds it done."""
        history = self.state.history
        lately = history.clock - MARGIN
        others = (trail for replica, trail in history.trails.items() if replica != self.replica)
        return not self._store.serialized and any(trail.clock > lately for trail in others)

    async def wait_changed(self, version: int) -> int:
        """Returns `version` once it is above the one given."""
        while self.version <= version:
            await self._changed.wait()
        return self.version

    async def _read(self, *, whole: bool = False) -> None:
        """Asks the store for what is new; `whole`: for all that came after the checkpoint."""
        if await self._folding.outdated():
            raise Outdated
        self._reads_begun += 1
        cursor = None if whole else self._cursor
        await self._show(*await self._store.read(PARTITION, cursor, self._horizon))

    async def _show(self, rows: Sequence[Row], cursor: Cursor) -> None:
        """A read has given this."""
        await self._pending.put(rows)
        self._cursor = cursor
        self._unlooked = not self._store.serialized and self._pending.disputed()
        self._reads_done = self._reads_begun
        self._read_at = self._clock.now_ms()

    async def _take_in(self) -> None:
        """Applies all that was shown. Raises Unavailable; what could not be confirmed is not applied then."""
        for tries in range(1 + READ_AGAIN):
            if tries:  # once with the cursor; what is older than that would show is behind it
                await self._read(whole=tries > 1)
            if self._pending and not self._store.serialized:
                await self._pending.confirm()
            for entry in self._pending.apply():
                self._claimed(entry)
            if not self._pending:
                return
        raise Unavailable("The store does not show all that others have read from it")

    def _claimed(self, entry: Entry) -> None:
        """An entry is in the state: who tells of it has to look first, if it claims something."""
        if not self._store.serialized and rules.claims(entry):
            self._unlooked = True

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
        when this returns, and settled unless the store has gone away since. Raises Unavailable: then the
        entry may be there now, or later, or never.
        """
        async with self._lock:
            await self.records.fresh()
            if self._clock.now_ms() - self._read_at > STALE_MS:
                await self._read()
            await self._take_in()
            if not rules.settled(self.state):
                await self._settle()
            while True:
                draft = build(self.state)
                if draft is None:
                    return None
                if not draft.ops:
                    await self._store.append(PARTITION, (), delete=draft.delete)
                    return None
                try:
                    entry = await self._append(draft)
                except Behind:
                    await self._read()
                    await self._take_in()
                    await self._settle()
                    continue
                try:
                    await self._settle()
                except Unavailable as error:
                    # The entry is durable, and that is what was asked for. It is told of when the store has
                    # been looked at: `follow` goes on with that.
                    log.debug("not settled: %s", error)
                return entry

    async def fold(
        self, packer: Packer | None = None, *, force: bool = False, without: Container[int] = ()
    ) -> bool:
        """Writes a checkpoint, if what came after the last one makes it worth it (or if told to). Where
        there is a packer, bodies are packed on the way; digests of the contents `without` are left out.

        Reading and appending go on meanwhile. None is written while some of the state is missing. Raises
        Unavailable: then the checkpoint may be there.
        """
        return await self._folding.fold(packer, force=force, without=without)

    async def look(self) -> bool:
        """Takes over the parts that the newest checkpoint names, if another has written it (adopting.py).
        False if that cannot be done now. Who has not managed to for half a day gets Outdated when he reads,
        and has to open the account anew. Raises Unavailable."""
        return await self._folding.look()

    @asynccontextmanager
    async def _newest(self) -> AsyncGenerator[None, None]:
        """Alone with the newest state, settled."""
        async with self._lock:
            await self.records.fresh()
            await self._read()
            await self._take_in()
            await self._settle()
            yield

    async def _settle(self) -> None:
        """Append what the rules ask for and look at the store, until there is nothing to do."""
        if self.settled and self.version == self.state.version:
            return
        for _ in range(MAX_ROUNDS):
            ops = rules.due(self.state)
            if ops:
                await self.records.fresh()
                try:
                    await self._append(Draft(ops))
                except Behind:
                    await self._read()
                    await self._take_in()
            elif self._unlooked:
                await self._look()
            else:
                self._publish()
                return
        raise AssertionError("the log does not settle")

    async def _look(self) -> None:
        """Whether others claim the same. What they claim besides is for the next who reads."""
        await self._read()
        if self._unlooked:
            await self._take_in()

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
        objects, value = draft.objects, b""
        if len(plain) <= ROW_MAX:
            value = self._keyring.seal(KIND, entry.key, plain)
        else:
            name = spilled(entry.key)
            objects = [(name, self._keyring.seal(KIND, name, plain)), *objects]
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
        self._claimed(entry)
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
