"""What a pass has to do in one mailbox: the source's messages and those that are here, compared as columns.

The rule. Which message of the source is which one here is known of those that a pass has noted (passed.py),
and of those below `imported`, if the UIDVALIDITY is the source's: there the same UID is the same message.
One that is known and not here was removed here, and is left alone. The others of the source are new: they
get their own UIDs as long as these are above all that were given here. Those that cannot have their own may
be here under another one: they are *doubtful*, and matched with messages that nothing is known of (`Pool`)
by date, size and Message-ID, each with one.

Flags that differ: the side that has changed since the last pass is right, and if both have, this one. Where
no pass has noted what the source said, the source is right.
"""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from aerogramme.mailbox.incoming.landing import MAX_UIDVALIDITY
from aerogramme.migrate.passed import Passed
from aerogramme.migrate.sources.source import Folder, Messages

NO_MAILBOX = 0


@dataclass(slots=True)
class There:
    """A mailbox of the target, as a pass finds it, in ascending order of UIDs.

    mailbox      its id, or NO_MAILBOX
    fresh        it is not there, or never had anything in it: UIDVALIDITY and UIDs can be taken over
    imported     UIDs below it are the source's (if the UIDVALIDITY is), 0 if none is
    flag_numbers are places in `flagsets`; `contents` is the business of the target
    """

    mailbox: int = NO_MAILBOX
    fresh: bool = True
    uidvalidity: int = 0
    uidnext: int = 1
    imported: int = 0
    uids: "array[int]" = field(default_factory=lambda: array("I"))
    dates: "array[int]" = field(default_factory=lambda: array("I"))
    sizes: "array[int]" = field(default_factory=lambda: array("I"))
    flag_numbers: "array[int]" = field(default_factory=lambda: array("I"))
    flagsets: Sequence[tuple[str, ...]] = ((),)
    contents: "array[int]" = field(default_factory=lambda: array("Q"))

    def row_of(self, uid: int) -> int | None:
        """The row of a UID."""
        row = bisect_left(self.uids, uid)
        return row if row < len(self.uids) and self.uids[row] == uid else None

    def flags_of(self, row: int) -> tuple[str, ...]:
        return self.flagsets[self.flag_numbers[row]]


@dataclass(slots=True)
class Plan:
    """What is to be done. Rows are those of the source's messages.

    keeps     the UIDs of the source are, or become, those here
    pure      and nothing else has ever got a UID here: `imported` may grow
    own       rows to land under their own UIDs, ascending
    doubtful  rows to land under new UIDs, those but that the pool has, ascending
    pool      rows of the target that a doubtful message may be
    here      for each row of the source its UID here, as far as known; 0 for those to land
    flags     UID here -> what its flags are to be
    remove    UIDs here of messages that the source has no more
    removed   how many of the source were removed here
    disputed  how many have had their flags changed on both sides
    """

    keeps: bool
    pure: bool
    here: "array[int]"
    own: "array[int]" = field(default_factory=lambda: array("I"))
    doubtful: "array[int]" = field(default_factory=lambda: array("I"))
    pool: "array[int]" = field(default_factory=lambda: array("I"))
    flags: dict[int, tuple[str, ...]] = field(default_factory=dict)
    remove: list[int] = field(default_factory=list)
    removed: int = 0
    disputed: int = 0


def compare(
    folder: Folder,
    said: Messages,
    there: There,
    passed: Passed | None,
    hash_of: Callable[[Sequence[str]], int],
    *,
    delete: bool = False,
) -> Plan:
    """The plan for one mailbox. `said` has flags as they can be stored; `hash_of` is that of the memory that
    `passed` is from; with `delete`, what has gone in the source goes here."""
    if passed is not None and not (
        folder.uidvalidity
        and passed.uidvalidity == folder.uidvalidity
        and passed.mailbox == there.mailbox
        and there.mailbox != NO_MAILBOX
    ):
        passed = None
    same = bool(folder.uidvalidity) and there.uidvalidity == folder.uidvalidity and there.imported > 0
    imported = there.imported if same else 0
    keeps = 0 < folder.uidvalidity <= MAX_UIDVALIDITY and (same or there.fresh)
    plan = Plan(keeps, keeps and there.uidnext <= max(imported, 1), array("I", bytes(4 * len(said.uids))))
    flags = _Flags(hash_of, there, plan, lost=said.flags_lost)
    for row, uid in enumerate(said.uids):
        at = None if passed is None else passed.row_of(uid)
        if at is not None and passed is not None and passed.here[at]:
            _known(plan, flags, row, passed.here[at], said.flags[row], passed.flags[at] or None)
        elif uid < imported and (at is None or there.row_of(uid) is not None):
            _known(plan, flags, row, uid, said.flags[row], None)
        elif keeps and uid >= there.uidnext:
            plan.own.append(row)
        else:
            plan.doubtful.append(row)
    if plan.doubtful and len(there.uids):
        first = bisect_left(there.uids, imported)
        known = bytearray(len(there.uids))
        for uid in chain(plan.here, () if passed is None else passed.here):
            if (at := there.row_of(uid)) is not None:
                known[at] = True
        plan.pool.extend(row for row in range(first, len(there.uids)) if not known[row])
    if delete:
        plan.remove = _gone(said, there, passed, imported)
    return plan


class _Flags:
    """Decides on flags that differ; most are equal, and few different tuples are compared again and again."""

    def __init__(
        self, hash_of: Callable[[Sequence[str]], int], there: There, plan: Plan, *, lost: bool
    ) -> None:
        self._hash_of, self.there, self._plan, self._lost = hash_of, there, plan, lost
        self._folded: dict[tuple[str, ...], frozenset[str]] = {}

    def decide(self, uid: int, row: int, source: tuple[str, ...], base: int | None) -> None:
        here = self.there.flags_of(row)
        if self._lost or self._fold(source) == self._fold(here):
            return
        if base is not None and self._hash_of(source) == base:
            return  # only this side has changed
        if base is not None and self._hash_of(here) != base:
            self._plan.disputed += 1
            return
        self._plan.flags[uid] = source

    def _fold(self, flags: tuple[str, ...]) -> frozenset[str]:
        known = self._folded.get(flags)
        if known is None:
            known = self._folded[flags] = frozenset(flag.casefold() for flag in flags)
        return known


def _known(plan: Plan, flags: _Flags, row: int, uid: int, source: tuple[str, ...], base: int | None) -> None:
    """A message of the source that has this UID here, or had it."""
    plan.here[row] = uid
    at = flags.there.row_of(uid)
    if at is None:
        plan.removed += 1
    else:
        flags.decide(uid, at, source, base)


def _gone(said: Messages, there: There, passed: Passed | None, imported: int) -> list[int]:
    """The UIDs here of messages that came from the source, and are not in it any more."""
    gone: set[int] = set()
    own: set[int] = set()  # UIDs here that are, by what was noted, not the source's of this number
    if passed is not None:
        for uid, here in zip(passed.uids, passed.here, strict=True):
            if here and not _has(said.uids, uid):
                gone.add(here)
            elif here != uid:
                own.add(here)
    gone.update(uid for uid in there.uids if uid < imported and uid not in own and not _has(said.uids, uid))
    return [uid for uid in sorted(gone) if _has(there.uids, uid)]


def _has(uids: "array[int]", uid: int) -> bool:
    """Whether it is among ascending ones."""
    at = bisect_left(uids, uid)
    return at < len(uids) and uids[at] == uid


def same_flags(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether they are the same flags, in whatever order and case."""
    return {flag.casefold() for flag in one} == {flag.casefold() for flag in other}


class Pool:
    """Messages of the target of which nothing is known, to be found by date, size and Message-ID, each
    once."""

    def __init__(self, there: There, rows: Iterable[int]) -> None:
        self._there = there
        self._by_key: defaultdict[int, list[int]] = defaultdict(list)
        for row in rows:
            self._by_key[_key(there.dates[row], there.sizes[row])].append(row)

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def candidates(self, date: int, size: int) -> Sequence[int]:
        """Rows of the target with this date and size; the Message-ID decides which of them it is."""
        return self._by_key.get(_key(date, size), ())

    def take(self, date: int, size: int, row: int) -> int:
        """One of the candidates is found; it is none any more. Its UID."""
        rows = self._by_key[_key(date, size)]
        rows.remove(row)
        if not rows:
            del self._by_key[_key(date, size)]
        return self._there.uids[row]


def _key(date: int, size: int) -> int:
    return kept_date(date) << 32 | min(size, 0xFFFFFFFF)


def kept_date(date: int) -> int:
    """A date as it is kept: in 32 bits."""
    return min(max(date, 0), 0xFFFFFFFF)
