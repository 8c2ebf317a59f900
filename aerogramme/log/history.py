"""Who had seen what: the entries of each replica, and the messages that somebody was told of too little.

Theory of operation. A client knows HIGHESTMODSEQ, a clock, and asks for what has changed since. That
misses a change exactly when an entry *e* with an earlier clock reaches the server that the client asks
later than another entry *a* did with a later one. No server can know what others told their clients; but
an entry says what its writer had seen. So for each pair of entries where e is not later than a and a's
writer had not seen e, somebody may have been told a's clock without the facts in e. The messages of e
are touched then, which gives them a MODSEQ above a's, unless something has touched them above a's clock
already.

A checkpoint counts as such an a for each mailbox, with the mailbox's HIGHESTMODSEQ as clock. Of entries
in a checkpoint only the clocks are known, so what an entry has not seen of them stands for all messages
touched since.

Invariant: once all that `unknown` lists is touched, no client of any server, told any clock in this
history, misses a fact in it by asking for what is above that clock.

It costs what is new: an entry whose writer had seen all is compared by one number for each replica.
"""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

from aerogramme.log.clock import COUNTER_BITS
from aerogramme.log.entry import Again, Entry, MailboxOp, Subscribe, Touch
from aerogramme.log.entry_bytes import said_again
from aerogramme.log.ids import Runs
from aerogramme.store.port import LATE

# Entries of a replica missing between others before they count as lost. A replica appends one at a time,
# so it takes a damaged or a cheating store to miss even one for longer than a moment.
MAX_GAP = 1000

# How long an entry may take to become visible and still be found by whoever starts from a checkpoint: the
# tail is read from that much before it, and who follows the log may read no further back either. What comes
# later is said again by who sees it (entry.Again).
MARGIN = LATE

# A replica that was silent for so long takes a new name before it appends again, so a checkpoint need not say
# what older ones had seen. Clocks of entries are remembered for as long.
SILENCE = 60 * 60 * 1000 << COUNTER_BITS

# Replicas that are silent for so long are forgotten: what they wrote counts as seen by all.
RETIREMENT = 24 * 60 * 60 * 1000 << COUNTER_BITS


class Unknown(NamedTuple):
    """Messages of a mailbox to be touched, those whose MODSEQ is not above `upto`: `ids`, or if None,
    all whose MODSEQ is at least `low`."""

    mailbox: int
    ids: Runs | None
    low: int
    upto: int


@dataclass(slots=True)
class Record:
    """What is remembered of an entry until a checkpoint covers it."""

    entry: Entry
    facts: list[tuple[int, Runs]]  # mailbox, messages
    mailboxes: frozenset[int]  # all that it touches


@dataclass(slots=True)
class Trail:
    """The entries of one replica. Those before `first` are old, and all known."""

    first: int = 1
    clocks: "array[int]" = field(default_factory=lambda: array("Q"))  # of first, first + 1, …; 0: not seen
    base: dict[int, int] = field(default_factory=dict)  # what the replica had seen at the checkpoint
    seen: dict[int, int] = field(default_factory=dict)  # and at its last known entry
    floor: int = 0
    records: dict[int, Record] = field(default_factory=dict)  # by seq

    @property
    def last(self) -> int:
        """The seq of the last known entry."""
        return self.first + len(self.clocks) - 1

    @property
    def clock(self) -> int:
        """The clock of the last known entry."""
        return self.clocks[-1] if self.clocks else 0

    def old(self, clock: int) -> int:
        """How many clocks, from the first on and never the last, a checkpoint of this clock does not need."""
        old = sum(1 for c in takewhile(lambda c: 0 < c < clock - SILENCE, self.clocks))
        return min(old, len(self.clocks) - 1)

    def trim(self, count: int) -> None:
        """Forget the clocks of the first entries."""
        if count > 0:
            del self.clocks[:count]
            self.first += count

    def has(self, seq: int) -> bool:
        return seq < self.first or (seq <= self.last and self.clocks[seq - self.first] != 0)

    def seen_at(self, seq: int) -> Mapping[int, int]:
        """What the replica had seen when it wrote an entry."""
        if seq == self.last:
            return self.seen
        seen = dict(self.base)
        for n, record in self.records.items():
            if n <= seq:
                _rise(seen, record.entry.seen)
        return seen


class History:
    """All entries that a state has taken in.

    clock    the latest
    floor    what replicas that are not in `trails` wrote up to this clock is known (they are silent now)
    holes    (replica, seq) of entries that were not seen though later ones of the replica were
    bases    mailbox -> its HIGHESTMODSEQ in the checkpoint
    unknown  what has to be touched; may list more than has to be
    late     entries, by row key, that must be said again: some who start from a checkpoint may not find them
    news     replica -> seq of its last entry, where that has changed since the owner of this took it
    """

    def __init__(self) -> None:
        self.trails: dict[int, Trail] = {}
        self.clock = 0
        self.floor = 0
        self.holes: set[tuple[int, int]] = set()
        self.bases: dict[int, int] = {}
        self.unknown: list[Unknown] = []
        self.late: dict[str, Entry] = {}
        self.news: dict[int, int] = {}
        self._said_again: set[str] = set()

    def __contains__(self, position: tuple[int, int, int]) -> bool:
        """Whether the entry (clock, replica, seq) has been taken in."""
        _, replica, seq = position
        trail = self.trails.get(replica)
        return trail is not None and trail.has(seq)

    @property
    def tail(self) -> int:
        """How many entries no checkpoint covers."""
        return sum(len(trail.records) for trail in self.trails.values())

    def vector(self) -> dict[int, int]:
        """replica -> last seq."""
        return {replica: trail.last for replica, trail in self.trails.items()}

    def seen_for(self, clock: int, first: bool) -> tuple[dict[int, int], frozenset[int]]:
        """What an entry of this clock says that its writer saw (all, or what is news), and who is silent."""
        seen = self.vector() if first else dict(self.news)
        since = clock - RETIREMENT + 2 * MARGIN
        return seen, frozenset(replica for replica in seen if self.trails[replica].clock < since)

    def has_causes(self, entry: Entry) -> bool:
        """Whether all that the writer of an entry had seen is in here.

        What is said of silent replicas does not matter: they may have been forgotten here.
        """
        causes = [item for item in entry.seen.items() if item[0] not in entry.silent]
        if entry.seq > 1:
            causes.append((entry.replica, entry.seq - 1))
        missing = [(r, seq) for r, seq in causes if r not in self.trails or self.trails[r].last < seq]
        if self.holes:
            missing += [hole for hole in self.holes if hole[1] <= entry.seen.get(hole[0], 0)]
        if not missing:
            return True
        inside = {(again.replica, again.seq) for again in said_again(entry)}
        return inside.union(entry.holes).issuperset(missing)

    def skip(self, clock: int, replica: int, seq: int) -> None:
        """An entry that cannot be read: its key is all that is known. One too far ahead of its replica was
        written by nobody who has the keys."""
        trail = self.trails.get(replica)
        if trail is not None and seq > trail.last + MAX_GAP:
            return
        self.news[replica] = self._place(clock, replica, seq).last
        self.clock = max(self.clock, clock)

    def add(self, entry: Entry, *, own: bool = False) -> None:
        """Take in an entry that is new. `own`: its writer had seen all that is known here."""
        trail = self._place(entry.clock, entry.replica, entry.seq)
        record = Record(entry, *_facts(entry))
        trail.records[entry.seq] = record
        _rise(trail.seen, entry.seen)
        trail.floor = max(trail.floor, entry.floor)
        if not own:
            self.news[entry.replica] = trail.last
            if entry.clock + MARGIN < self.clock:
                self._is_late(entry)
            self._not_seen_by_others(entry, record)
            self._not_seen_by(entry, record)
        self.clock = max(self.clock, entry.clock)

    def rebase(self, vector: Mapping[int, int], clock: int, bases: Mapping[int, int]) -> None:
        """A checkpoint covers the entries up to this vector, the latest of this clock."""
        self.bases = dict(bases)
        for replica, last in vector.items():
            trail = self.trails[replica]
            if any(seq <= last for seq in trail.records):
                trail.base = dict(trail.seen_at(last))
                trail.records = {seq: record for seq, record in trail.records.items() if seq > last}
            trail.trim(min(trail.old(clock), last + 1 - trail.first))
            if trail.clock < clock - SILENCE and not trail.records:
                trail.base, trail.seen = {}, {}
        for replica in self.retired(clock):
            del self.trails[replica]
            self.news.pop(replica, None)
            self.holes = {hole for hole in self.holes if hole[0] != replica}
        self.floor = max(self.floor, clock - RETIREMENT)
        self._said_again.clear()

    def retired(self, clock: int) -> list[int]:
        """The replicas that a checkpoint of this clock forgets."""
        return [replica for replica, trail in self.trails.items() if trail.clock < clock - RETIREMENT]

    def said_again(self, key: str) -> None:
        """An entry is part of another one, and found by everyone who finds that."""
        self._said_again.add(key)
        self.late.pop(key, None)

    def _is_late(self, entry: Entry) -> None:
        """Somebody went on for longer than MARGIN without having seen this entry.

        Whoever starts from a checkpoint of theirs does not look for it.
        """
        if entry.key not in self._said_again:
            self.late[entry.key] = entry

    def _place(self, clock: int, replica: int, seq: int) -> Trail:
        trail = self.trails.get(replica)
        if trail is None:
            first = seq if clock <= self.floor else max(1, seq - MAX_GAP)
            trail = self.trails[replica] = Trail(first)
        for missing in range(trail.last + 1, seq):
            trail.clocks.append(0)
            self.holes.add((replica, missing))
        if seq > trail.last:
            trail.clocks.append(clock)
        else:
            trail.clocks[seq - trail.first] = clock
            self.holes.discard((replica, seq))
        return trail

    def _not_seen_by_others(self, entry: Entry, record: Record) -> None:
        """Entries that are not earlier, and did not know this one."""
        if not record.facts:
            return
        upto = {m: base for m, base in self.bases.items() if base >= entry.clock and m in record.mailboxes}
        if entry.clock + MARGIN < self.clock:  # it comes so late that nobody can be taken to have seen it
            upto = dict.fromkeys(record.mailboxes, self.clock)
        if entry.clock <= self.clock:
            for replica, trail in self.trails.items():
                if replica == entry.replica or trail.clock < entry.clock:
                    continue
                for seq, other in trail.records.items():
                    clock = other.entry.clock
                    if clock < entry.clock or other.mailboxes.isdisjoint(record.mailboxes):
                        continue
                    if not _knows(trail, seq, other, entry):
                        for mailbox in other.mailboxes & record.mailboxes:
                            upto[mailbox] = max(upto.get(mailbox, 0), clock)
        for mailbox, ids in record.facts:
            if mailbox in upto:
                self.unknown.append(Unknown(mailbox, ids, 0, upto[mailbox]))

    def _not_seen_by(self, entry: Entry, record: Record) -> None:
        """Entries that are not later, and that this one did not know."""
        mine = self.trails[entry.replica]
        seen = mine.seen_at(entry.seq)
        holes: dict[int, list[int]] = {}
        for replica, seq in entry.holes:
            holes.setdefault(replica, []).append(seq)
        for replica, trail in self.trails.items():
            known = seen.get(replica, 0)
            if known >= trail.last and replica not in holes:
                continue
            if replica == entry.replica:
                continue
            low = None
            for seq in [*holes.get(replica, ()), *range(max(known + 1, trail.first), trail.last + 1)]:
                clock = trail.clocks[seq - trail.first] if seq >= trail.first else 0
                if not 0 < clock <= entry.clock:
                    continue
                other = trail.records.get(seq)
                if other is None:
                    if replica not in seen and clock <= mine.floor:
                        continue
                    low = clock if low is None else min(low, clock)
                    continue
                if clock + MARGIN < entry.clock:
                    self._is_late(other.entry)
                for mailbox, ids in other.facts:
                    if mailbox in record.mailboxes:
                        self.unknown.append(Unknown(mailbox, ids, 0, entry.clock))
            if replica in seen:
                if known + 1 < trail.first:
                    low = 0
            elif trail.first > 1 and trail.clocks[0] > mine.floor:  # older ones may be above it too
                low = mine.floor
            if low is not None:
                for mailbox in record.mailboxes:
                    self.unknown.append(Unknown(mailbox, None, low, entry.clock))


def unseen(entries: Iterable[Entry]) -> set[tuple[int, int]]:
    """(replica, seq) of those entries that the writer of no other of them is known to have seen."""
    entries = list(entries)
    seen: dict[int, int] = {}
    doubtful: set[tuple[int, int]] = set()
    for entry in entries:
        _rise(seen, {**entry.seen, entry.replica: entry.seq - 1})
        doubtful.update(entry.holes)
    return {
        (entry.replica, entry.seq)
        for entry in entries
        if entry.seq > seen.get(entry.replica, 0) or (entry.replica, entry.seq) in doubtful
    }


def _knows(trail: Trail, at: int, record: Record, entry: Entry) -> bool:
    """Whether the writer of entry number `at` of a trail had seen another entry."""
    if (entry.replica, entry.seq) in record.entry.holes:
        return False
    return entry.seq <= trail.seen_at(at).get(entry.replica, 0)


def _rise(seen: dict[int, int], other: Mapping[int, int]) -> None:
    for replica, seq in other.items():
        if seq > seen.get(replica, 0):
            seen[replica] = seq


def _facts(entry: Entry) -> tuple[list[tuple[int, Runs]], frozenset[int]]:
    facts = []
    mailboxes = set()
    for op in entry.ops:
        if isinstance(op, MailboxOp | Subscribe | Again):
            continue
        mailboxes.add(op.mailbox)
        if not isinstance(op, Touch):
            facts.append((op.mailbox, Runs.of(op.ids)))
    return facts, frozenset(mailboxes)
