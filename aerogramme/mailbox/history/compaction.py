"""Compaction: what an account needs no more leaves its store, while everybody goes on reading and writing.

Theory of operation. A survey (survey.py) tells what is needed. What is not is let go of first: its names are
written down, sealed, in rows of their own. Only what was let go of a day ago, and is still not needed, is
deleted. So whoever is about to name something that nothing names yet (a body before its entry, a part before
its checkpoint) has a day for it; and any number of servers may do this at once, and die at any moment: what
one has let go of, any other deletes.

Entries have no such day. A checkpoint that says so (Manifest.cut) is durable before those go that the base
covers; what only they named has been let go of by then.

Digests of contents that nothing needs are left out when segments are merged; a segment that has many of them
is merged for that. Nothing is let go of while something cannot be read: what that names is not known.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import trio

from aerogramme.log import checkpoint, entry
from aerogramme.log.clock import COUNTER_BITS, ms_of, wall_ms
from aerogramme.log.folding import wasteful
from aerogramme.log.state import State
from aerogramme.log.suffix import base_of
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.history import letting_go
from aerogramme.mailbox.history.survey import GRACE_MS, LEAST_MS, Survey, survey
from aerogramme.mailbox.names import INBOX

log = logging.getLogger(__name__)

EVERY_MS = 24 * 60 * 60 * 1000  # from one compaction of an account to the next, whoever does it
FIRST = 30.0  # seconds after the account was opened: who opens it wants to read first
LOOK = 60 * 60.0  # seconds from one look at what others have written to the next
# What a survey has found is acted upon within so long, or by the next run: a machine may have slept since,
# and others may have named again what nothing needed.
FRESH_MS = 60 * 60 * 1000
BATCH = 1000  # names, or rows, deleted with one call
PAUSE = 1.0  # seconds of rest for a second of work, in the background


@dataclass(slots=True)
class Tally:
    """How many objects of each kind ("body", "segment", …), and their octets."""

    count: Counter[str] = field(default_factory=Counter)
    octets: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, octets: int) -> None:
        kind = name.partition("/")[0]
        self.count[kind] += 1
        self.octets[kind] += octets


@dataclass(slots=True)
class Report:
    """What a compaction has done, or would do.

    folded    a checkpoint was written
    entries   how many left the log
    dropped   contents whose digests are needed no more
    let_go    objects that will be deleted in a day
    deleted   objects that were deleted: they had been let go of before
    damaged   what could not be read: nothing is let go of, or deleted, before it is repaired
    """

    folded: bool = False
    entries: int = 0
    dropped: int = 0
    let_go: Tally = field(default_factory=Tally)
    deleted: Tally = field(default_factory=Tally)
    damaged: dict[str, str] = field(default_factory=dict)


async def compact(
    account: Account,
    *,
    dry_run: bool = False,
    pause: float = 0.0,
    now_ms: Callable[[], int] = wall_ms,
    told: Callable[[str], None] = lambda _: None,
) -> Report:
    """Compacts an account, or with `dry_run` only tells what that would do. `pause`: seconds of rest for each
    of work; `told` hears what is being done.

    Raises Unavailable; what is done then is done, and the next goes on from there.
    """
    return await _Compaction(account, pause, now_ms, told).run(dry_run)


class _Compaction:
    def __init__(
        self, account: Account, pause: float, now_ms: Callable[[], int], told: Callable[[str], None]
    ) -> None:
        self._account, self._store = account, account.store
        self._pause, self._now_ms, self._told = pause, now_ms, told
        self._report = Report()

    async def run(self, dry_run: bool) -> Report:
        report = self._report
        self._told("looking at what is stored")
        await self._account.refresh()
        await self._account.journal.look()
        began = self._now_ms()
        found = await survey(self._account, began)
        report.damaged = found.damaged
        needless = [] if found.damaged else self._needless(found)
        due = [] if found.damaged else self._due(found)
        for name in needless:
            report.let_go.add(name, found.stored[name])
        for name in due:
            report.deleted.add(name, found.stored[name])
        if not found.damaged:
            report.entries, report.dropped = len(found.old), len(found.dropped)
        if dry_run:
            return report
        if not found.damaged:
            self._told("letting go of what nothing needs")
            await self._let_go(needless)
        self._told("writing a checkpoint")
        report.folded = await self._fold(found)
        if self._now_ms() - began > FRESH_MS:
            report.entries, report.deleted = 0, Tally()
        elif not found.damaged:
            self._told("deleting what nothing has needed for a day")
            await self._delete_entries(found)
            await self._delete(due)
            await self._tidy(found, set(due))
        return report

    # --- what to do

    def _needless(self, found: Survey) -> list[str]:
        """What nothing needs, and nobody has let go of yet."""
        return [name for name in found.stored if found.standing(name) == "orphan"]

    def _due(self, found: Survey) -> list[str]:
        """What was let go of long enough ago, and is still needed by nothing."""
        before = (self._now_ms() - GRACE_MS) << COUNTER_BITS
        ready = {name for row in found.let_go if row.clock <= before for name in row.names}
        return [name for name in found.stored if base_of(name) in ready and found.standing(name) == "going"]

    # --- letting go

    async def _let_go(self, names: Iterable[str]) -> None:
        """Writes down the names, also if there are none: that tells when this was done last."""
        fresh = sorted({base_of(name) for name in names})
        for start in range(0, max(len(fresh), 1), letting_go.MOST):
            await self._note(self._now_ms() << COUNTER_BITS, fresh[start : start + letting_go.MOST])

    async def _note(self, clock: int, names: Iterable[str]) -> None:
        await self._account.journal.records.fresh()
        row = letting_go.row(self._account.keyring, clock, names)
        await self._store.append(letting_go.PARTITION, [row])

    async def _tidy(self, found: Survey, deleted: set[str]) -> None:
        """Rows go that have nothing to say any more; of those whose names are needed again, these go."""
        there = {base_of(name) for name in found.stored if name not in deleted}
        newest = max((row.clock for row in found.let_go), default=0)
        done = []
        for row in found.let_go:
            again = {name for name in row.names if found.standing(name) in ("live", "history")}
            left = (row.names & there) - again
            if again and left:
                await self._note(row.clock, left)
            if (again or not left) and (row.names or row.clock < newest):
                done.append(row.key)
        if done:
            await self._store.delete_rows(letting_go.PARTITION, done)

    # --- the checkpoint

    async def _fold(self, found: Survey) -> bool:
        """A checkpoint, if there is something that only a new one can say, or the last is not of this
        eighth of the retention: what is kept of the past begins with one."""
        state = self._account.state
        cut = {} if found.damaged else self._cut(found, state)
        without = set() if found.damaged else found.dropped
        eighth = max(LEAST_MS, self._account.policy.retention * 1000) // 8
        newest = ms_of(checkpoint.clock_of(state.checkpoint) or 0)
        aged = state.history.tail > 0 and newest // eighth < self._now_ms() // eighth
        if cut:
            state.cut = cut
        heavy = any(wasteful(state.segments[index], without) for index in state.named_segments())
        force = bool(cut) or aged or heavy or self._is_alone(found)
        return await self._account.fold(force=force, without=without)

    def _is_alone(self, found: Survey) -> bool:
        """Whether the newest checkpoint is all that history needs, and no second one names the same: what
        only an older one names would never go where nothing happens any more."""
        if found.base is None or found.base.clock < (checkpoint.clock_of(found.kept[0]) or 0):
            return False
        others = (name for name in found.stored if not name.startswith(checkpoint.PREFIX))
        return len(found.kept) < 2 or any(found.standing(name) == "history" for name in others)

    def _cut(self, found: Survey, state: State) -> dict[int, int]:
        """How far the entries reach that are gone, or go now; empty if the newest checkpoint says so. One
        that another server wrote at the same time as that may not know of it.

        It is said of all who are mentioned, in entries that go now too: a checkpoint stays for a day, and
        then all have heard of it, or of a newer one, and nobody mentions any more whom it has forgotten."""
        cut: dict[int, int] = {}
        going = (entry.parse_key(key)[1:] for key in found.old)
        for replica, seq in (*found.cut.items(), *state.cut.items(), *going):
            cut[replica] = max(seq, cut.get(replica, 0))
        known = found.replicas | state.history.trails.keys()
        cut = {replica: seq for replica, seq in cut.items() if replica in known}
        return {} if all(seq <= found.said.get(replica, 0) for replica, seq in cut.items()) else cut

    # --- deleting

    async def _delete_entries(self, found: Survey) -> None:
        for start in range(0, len(found.old), BATCH):
            began = trio.current_time()
            await self._store.delete_rows(entry.PARTITION, found.old[start : start + BATCH])
            await self._rest(began)

    async def _delete(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), BATCH):
            began = trio.current_time()
            await self._store.delete(names[start : start + BATCH])
            await self._rest(began)

    async def _rest(self, began: float) -> None:
        await trio.sleep(self._pause * (trio.current_time() - began))


async def compact_from_time_to_time(account: Account, now_ms: Callable[[], int] = wall_ms) -> None:
    """Compacts an account that is open, once a day whoever does it, and looks every hour at what others have
    written; for ever. Raises Unavailable, and may be called again."""
    await trio.sleep(FIRST)
    while True:
        await account.journal.look()
        rows, _ = await account.store.read(letting_go.PARTITION)
        last = max((ms_of(letting_go.clock_of(key)) for key, _ in rows), default=_created_ms(account))
        if now_ms() - last >= EVERY_MS:
            report = await compact(account, pause=PAUSE, now_ms=now_ms)
            if report.damaged:
                text = "account %s: %d things cannot be read: nothing is deleted; see `aerogramme check`"
                log.error(text, account.id, len(report.damaged))
        await trio.sleep(LOOK)


def _created_ms(account: Account) -> int:
    """When the account was made: the UIDVALIDITY of INBOX is the second of its creation."""
    return 1000 * account.find(INBOX).uidvalidity
