"""The survey of an account's store: which of all that is stored is needed, and what has been let go of.

Theory of operation. Nothing counts references. What is *needed* is what can still be asked for: what a kept
checkpoint, a kept entry or a waiting letter names.

*Kept* are checkpoints from which the account can be opened as it stood at any time since the retention began:
the newest that is older than that (the *base*), and after that the last of each eighth; besides the two
newest, and all that were the newest at some time of the last day, since a server that looks at the newest
every half day (log/folding.py) may still go on from one of them. Entries are kept that the base does not
cover.

Only what has been *let go* of is ever deleted, a day later (compaction.py): somebody may be about to name
what nothing names yet. A segment that nothing names, with contents that the account never had, is what is
left of a lost entry: it may be *lost mail*, is never let go of, and is brought back by `check --repair`.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import trio

from aerogramme.errors import Damaged, UnknownGeneration
from aerogramme.log import checkpoint, entry, manifest, piece, segment
from aerogramme.log.adopting import message_ops
from aerogramme.log.clock import COUNTER_BITS, ms_of
from aerogramme.log.entry import Add, Entry, SegmentRef, parse_key, spilled
from aerogramme.log.entry_bytes import decode
from aerogramme.log.manifest import Manifest
from aerogramme.log.packing import decompress
from aerogramme.log.segment import object_name, read_group
from aerogramme.log.suffix import base_of
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.body_record import body_name, pack_name
from aerogramme.mailbox.history import letting_go
from aerogramme.mailbox.history.letting_go import LetGo
from aerogramme.mailbox.incoming import incoming
from aerogramme.store.port import Row, Store

DAY_MS = 24 * 60 * 60 * 1000
GRACE_MS = DAY_MS  # from when something is let go of until it is deleted
LEAST_MS = DAY_MS  # history is kept for so long, whatever the retention: running servers rely on it
PREFIXES = ("body/", "bundle/", "checkpoint/", "entry/", "pack/", "piece/", "segment/")
PAGE = 1000  # names listed at a time
AT_ONCE = 8  # objects in memory: pieces and segments
TURN = 16  # entries, a millisecond, until others have theirs

Standing = Literal["live", "history", "going", "lost", "orphan"]

_BODY = re.compile(r"body/([0-9a-f]{16})\Z", re.ASCII)


@dataclass(slots=True)
class Survey:
    """What was found. Names of objects are base names (log/suffix.py) but in `stored`.

    stored    every object there is, as it is named -> octets
    kept      the checkpoints that are kept, the newest first
    base      the one that history begins with; None while all of it is kept
    live      what the newest state names; bodies are in `live_bodies`, by content
    needed    what is named by anything that is kept; bodies are in `needed_bodies`
    contents  all contents that anything kept has
    dropped   contents that the state has digests of, and nothing needs
    lost      segment -> the contents it has that the account never had: perhaps lost mail
    let_go    rows of what has been let go of
    old       keys of entries that are not kept
    cut, said replica -> seq up to which entries are gone: as all checkpoints together say, and as the newest
    entries   how many are
    replicas  who has written them, or is said in them to have been seen
    damaged   name -> why: what could not be read, so that nobody knows what it names
    """

    stored: dict[str, int] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    base: Manifest | None = None
    live: set[str] = field(default_factory=set)
    live_bodies: set[int] = field(default_factory=set)
    needed: set[str] = field(default_factory=set)
    needed_bodies: set[int] = field(default_factory=set)
    contents: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    lost: dict[str, Sequence[int]] = field(default_factory=dict)
    let_go: list[LetGo] = field(default_factory=list)
    old: list[str] = field(default_factory=list)
    cut: dict[int, int] = field(default_factory=dict)
    said: dict[int, int] = field(default_factory=dict)
    entries: int = 0
    replicas: set[int] = field(default_factory=set)
    damaged: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)  # all names in `let_go`

    def standing(self, name: str) -> Standing:
        """What an object is there for: what the account is now, or was; or for nothing, let go of or not."""
        base = base_of(name)
        body = _BODY.match(base)
        if base in self.live or (body is not None and int(body[1], 16) in self.live_bodies):
            return "live"
        if base in self.needed or (body is not None and int(body[1], 16) in self.needed_bodies):
            return "history"
        if base.rpartition("/")[0] in self.lost:
            return "lost"
        return "going" if base in self.gone else "orphan"


async def survey(account: Account, now_ms: int) -> Survey:
    """Looks at all that is stored of an account: reads the log, the manifests and pieces that are kept, and
    the names of everything else. Changes nothing. Raises Unavailable; UnknownGeneration where the keys at
    hand are too old to tell."""
    return await _Surveying(account, now_ms).run()


class _Surveying:
    def __init__(self, account: Account, now_ms: int) -> None:
        self._account, self._store, self._records = account, account.store, account.journal.records
        self._now = now_ms
        self._retention = max(LEAST_MS, account.policy.retention * 1000)
        self._found = Survey()
        self._known: set[str] = set()  # segments that something stored names, also if it is not kept
        self._single: set[int] = set()  # contents that are said to have a body of their own
        self._placed: set[int] = set()  # contents that are in a segment, with a body of their own or without

    async def run(self) -> Survey:
        found, state = self._found, self._account.state
        # In this order. What is in the state now is in the rows that are read after it; an object that is
        # listed has been named, mostly, by the time they are.
        placed = [state.segments[index].contents for index in state.named_segments()]
        for prefix in PREFIXES:
            async for page in pages(self._store, prefix):
                found.stored.update(page)
        await self._read_let_go()
        rows, _ = await self._store.read(entry.PARTITION)
        letters, _ = await self._store.read(incoming.PARTITION)
        await self._manifests()
        await self._entries(rows)
        for key, _ in letters:
            self._use(incoming.contents_of(key))
        self._look_at_state()
        found.needed |= found.live
        found.contents |= found.live_bodies
        await self._lost_mail()
        found.needed_bodies = {c for c in found.contents if c in self._single or c not in self._placed}
        found.live_bodies &= found.needed_bodies
        found.dropped = {c for contents in placed for c in contents if c not in found.contents}
        return found

    # --- what has been let go

    async def _read_let_go(self) -> None:
        self._found.let_go, unreadable = await letting_go.read(self._store, self._records)
        self._found.gone = {name for row in self._found.let_go for name in row.names}
        self._found.damaged.update(unreadable)

    # --- checkpoints

    async def _manifests(self) -> None:
        """Those that are kept, of those that can be read: what they name."""
        found, unreadable = self._found, set[str]()
        names = sorted(name for name in found.stored if name.startswith(checkpoint.PREFIX))
        there = [name for name in names if base_of(name) not in found.gone]
        read: dict[str, Manifest] = {}
        while True:
            kept, base = kept_of([n for n in there if n not in unreadable], self._now, self._retention)
            missing = [name for name in kept if name not in read]
            if not missing:
                break
            for name in missing:
                try:
                    read[name] = await manifest.read(self._records, name)
                except UnknownGeneration:
                    raise
                except Damaged as why:
                    found.damaged[name] = str(why)
                    found.needed.add(base_of(name))
                    unreadable.add(name)
        found.kept = kept
        found.base = None if base is None else read[base]
        await self._pieces([read[name] for name in kept])
        found.said = {} if not kept else dict(read[kept[0]].cut)
        for name in kept:
            self._is_cut(read[name])
            found.needed.add(base_of(name))
            found.needed.update(map(base_of, read[name].bundles))
            for ref in read[name].segments:
                self._segment(ref)
        for name in names:
            if name not in read and name not in unreadable:
                await self._old_manifest(name)

    async def _old_manifest(self, name: str) -> None:
        """One that is not kept: its segments are no lost mail."""
        try:
            old = await manifest.read_alone(self._records, name)
        except UnknownGeneration:
            raise
        except Damaged:
            return  # nothing needs it, and it may be gone by now
        self._is_cut(old)
        self._known.update(f"segment/{ref.name}" for ref in old.segments)

    def _is_cut(self, told: Manifest) -> None:
        cut = self._found.cut
        cut.update((replica, seq) for replica, seq in told.cut.items() if seq > cut.get(replica, 0))

    async def _pieces(self, manifests: Sequence[Manifest]) -> None:
        tables = [table for each in manifests for table in each.tables]
        names = sorted({name for table in tables for name in table.names.values()})
        self._found.needed.update(map(base_of, names))
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            for name, plain in zip(some, await self._records.read(checkpoint.PIECE_KIND, some), strict=True):
                try:
                    if isinstance(plain, Damaged):
                        raise plain
                    self._use(piece.contents_of(decompress(plain)))
                except UnknownGeneration:
                    raise
                except Damaged as why:
                    self._found.damaged[name] = str(why)
                await trio.lowlevel.checkpoint()
        for table in tables:
            if table.inline is not None:
                self._use(piece.contents_of(table.inline))

    def _segment(self, ref: SegmentRef) -> None:
        """A segment that something kept names."""
        self._placed.update(ref.contents)
        self._single.update(ref.single)
        self._found.needed.update(names_of(ref))

    def _use(self, contents: Iterable[int]) -> None:
        self._found.contents.update(contents)

    # --- entries

    async def _entries(self, rows: Sequence[Row]) -> None:
        found, base = self._found, self._found.base
        vector = {} if base is None else base.vector  # once: it is made of columns
        for n, (key, value) in enumerate(rows):
            if n % TURN == 0:
                await trio.lowlevel.checkpoint()
            try:
                clock, replica, seq = parse_key(key)
                if base is not None and base.covers(clock, replica, seq, vector):
                    found.old.append(key)
                    await self._old_entry(key, value)
                    continue
                found.entries += 1
                self._entry(await self._opened(key, value))
            except UnknownGeneration:
                raise
            except Damaged as why:
                self._unreadable_entry(key, why)

    async def _old_entry(self, key: str, value: bytes) -> None:
        """One that is not kept: its segments are no lost mail, and who is mentioned in it may be mentioned
        once more by somebody who has not heard yet of a checkpoint that has forgotten him."""
        try:
            old = decode(key, await self._plain(key, value))
            self._found.replicas.update(old.seen, [old.replica])
            ops = message_ops(old)
            refs = [op.segment for op in ops if isinstance(op, Add) and op.segment is not None]
        except UnknownGeneration:
            raise
        except Damaged:
            return  # nothing needs it
        self._known.update(f"segment/{ref.name}" for ref in refs)

    def _unreadable_entry(self, key: str, why: Damaged) -> None:
        try:
            given_up = parse_key(key)[1:] in self._account.state.lost
        except Damaged:
            given_up = False
        if not given_up:
            self._found.damaged[f"{entry.PARTITION}/{key}"] = str(why)

    async def _opened(self, key: str, value: bytes) -> Entry:
        if not value:
            self._found.needed.add(base_of(spilled(key)))
        return decode(key, await self._plain(key, value))

    async def _plain(self, key: str, value: bytes) -> bytes:
        if value:
            return await self._records.open(entry.KIND, key, value)
        [plain] = await self._records.read(entry.KIND, [spilled(key)])
        if isinstance(plain, Damaged):
            raise plain
        return plain

    def _entry(self, found: Entry) -> None:
        self._found.replicas.update(found.seen, [found.replica])
        for op in message_ops(found):
            if isinstance(op, Add):
                self._use(op.contents)
                if op.segment is not None:
                    self._segment(op.segment)

    # --- the newest state

    def _look_at_state(self) -> None:
        found, state = self._found, self._account.state
        found.live.add(base_of(state.checkpoint))
        found.live.update(map(base_of, state.bundles))
        for table in state.tables.values():
            found.live.update(base_of(name) for name in table.pieces.values())
            found.live_bodies.update(table.contents)
        for index in state.named_segments():
            self._single.update(state.segments[index].single)
            self._placed.update(state.segments[index].contents)
            found.live.update(names_of(state.segments[index]))
        for trail in state.history.trails.values():
            found.live.update(base_of(spilled(record.entry.key)) for record in trail.records.values())

    # --- what nothing names

    async def _lost_mail(self) -> None:
        found = self._found
        # Whoever has let go of one of its groups has known all contents of a segment.
        known = self._known | {name.rpartition("/")[0] for name in found.gone if name.startswith("segment/")}
        groups: dict[str, str] = {}  # segment -> the smallest of its groups
        for name in sorted(found.stored, key=found.stored.__getitem__, reverse=True):
            base = base_of(name)
            of = base.rpartition("/")[0]
            named = base in found.needed or of in known
            if base.startswith("segment/") and not named:
                groups[of] = name
        for name, group in sorted(groups.items()):
            try:
                [plain] = await self._records.read(segment.KIND, [group])
                if isinstance(plain, Damaged):
                    raise plain
                contents, _ = read_group(plain)
            except UnknownGeneration:
                raise
            except Damaged as why:
                found.damaged[group] = str(why)
                continue
            if unknown := [content for content in contents if not self._knows(content)]:
                found.lost[name] = unknown
                self._use(unknown)

    def _knows(self, content: int) -> bool:
        """Whether the account has it, or had it. What was removed long ago is known only by its body, once
        that is let go of: a segment may be merged, and left, by who has not heard of that."""
        state = self._account.state
        if content in self._found.contents or content in state.contents:
            return True
        if body_name(content) in self._found.gone:
            return True
        return any(content in table.tombs for table in state.tables.values())


async def pages(store: Store, prefix: str) -> AsyncIterator[list[tuple[str, int]]]:
    """All objects with a prefix, with their octets, a page at a time."""
    after = ""
    while page := await store.sizes(prefix, after, PAGE):
        yield page
        after = page[-1][0]


def kept_of(names: Sequence[str], now_ms: int, retention_ms: int) -> tuple[list[str], str | None]:
    """Of the names of checkpoints, the newest first: those that are kept, and the base, if one is older than
    the retention."""
    clocks = {name: checkpoint.clock_of(name) or 0 for name in names}
    begin = (now_ms - retention_ms) << COUNTER_BITS
    base = next((name for name in names if clocks[name] <= begin), None)
    kept, eighths = [], set[int]()
    superseded = now_ms  # when one came that is newer
    for n, name in enumerate(names):
        eighth = ms_of(clocks[name]) * 8 // retention_ms
        last = eighth not in eighths and (base is None or clocks[name] > clocks[base])
        if n < 2 or superseded > now_ms - DAY_MS or name == base or last:
            kept.append(name)
        eighths.add(eighth)
        superseded = min(superseded, checkpoint.written_ms(name))
    return kept, base


def names_of(ref: SegmentRef) -> Iterator[str]:
    """The base names of the objects of a segment, and of the packs that it names."""
    if ref.inline is None:
        yield from (object_name(ref.name, group) for group in ref.groups)
    yield from map(pack_name, ref.packs or ())
