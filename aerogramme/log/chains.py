"""The chains of entries: each replica numbers its entries and says with each which one was before it. So one
that is missing between others, or was put in the place of another, shows."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from aerogramme.errors import Damaged
from aerogramme.log import manifest
from aerogramme.log.checkpoint import PREFIX
from aerogramme.log.entry import NO_LINK, Entry, link, parse_key
from aerogramme.log.entry_bytes import encode, said_again
from aerogramme.log.reading import entries
from aerogramme.log.records import Records

Position = tuple[int, int]  # replica, seq
MOST = 1000  # entries of one gap that are named one by one; more are a store that cheats


@dataclass(frozen=True, slots=True)
class Break:
    """One thing that is wrong with a chain: `what` in plain words.

    key        the row that it is about, if there is one
    positions  the entries that it is about: those that are missing or cannot be read, or the one that another
               does not follow
    """

    kind: Literal["unreadable", "missing", "link"]
    what: str
    key: str = ""
    positions: tuple[Position, ...] = ()


async def broken(
    records: Records, known: Mapping[int, int], *, cut: Mapping[int, int], lost: Collection[Position]
) -> list[Break]:
    """What is wrong with the chains of all entries that are kept. Raises Unavailable.

    known  replica -> seq of its last entry of which a checkpoint says that it was there
    cut    replica -> seq up to which entries were removed because a checkpoint covers them
    lost   entries that were given up
    """
    cut = await _cut_by_all(records, cut)
    chains: dict[int, _Chain] = {}
    last = dict(known)
    given_up: dict[int, set[int]] = {}
    for replica, seq in lost:
        given_up.setdefault(replica, set()).add(seq)
    found: list[Break] = []

    def chain(replica: int) -> _Chain:
        if replica not in chains:
            chains[replica] = _Chain(replica, cut.get(replica, 0), given_up.get(replica, set()))
        return chains[replica]

    async with aclosing(entries(records)) as reading:
        async for key, entry in reading:
            if isinstance(entry, Damaged):
                what = f"entry {key} cannot be read: {entry}"
                try:
                    _, replica, seq = parse_key(key)
                except Damaged:
                    found.append(Break("unreadable", what, key))
                    continue
                found.append(Break("unreadable", what, key, ((replica, seq),)))
                chain(replica).beside.setdefault(seq, None)
                continue
            chain(entry.replica).follow(entry)
            for again in said_again(entry):
                chain(again.replica).beside[again.seq] = _Link.of(again)
                _rise(last, again.seen)
            _rise(last, entry.seen)
    for replica in sorted(chains.keys() | last):
        found += chain(replica).breaks(last.get(replica, 0))
    return found


async def _cut_by_all(records: Records, cut: Mapping[int, int]) -> Mapping[int, int]:
    """As all checkpoints together say: one that was written while others cut the log does not know of it."""
    found = dict(cut)
    for name in await records.store.list(PREFIX):
        try:
            _rise(found, (await manifest.read_alone(records, name)).cut)
        except Damaged:
            continue  # that is for others to find
    return found


def _rise(last: dict[int, int], seen: Mapping[int, int]) -> None:
    for replica, seq in seen.items():
        last[replica] = max(seq, last.get(replica, 0))


@dataclass(frozen=True, slots=True)
class _Link:
    """What an entry says of the one before, and what the next has to say of it."""

    key: str
    previous: bytes
    link: bytes

    @classmethod
    def of(cls, entry: Entry) -> "_Link":
        return cls(entry.key, entry.previous, link(entry.key, encode(entry)))


@dataclass(frozen=True, slots=True)
class _Gap:
    """Entries `first` to `stop` are not where they should be: between these two."""

    first: int
    stop: int
    before: _Link | None
    after: _Link | None


class _Chain:
    """One replica's entries, as they go by in their order: it takes the memory of one, and of what is wrong.

    beside  entries that are there and are not in the order: those that cannot be read (None), and those that
            are said again in others
    """

    def __init__(self, replica: int, cut: int, given_up: Collection[int]) -> None:
        self.beside: dict[int, _Link | None] = {}
        self._replica, self._given_up = replica, given_up
        self._seq, self._last = cut, None if cut else _Link("", b"", NO_LINK)
        self._gaps: list[_Gap] = []
        self._links: list[Break] = []

    def follow(self, entry: Entry) -> None:
        """The next entry in the log."""
        if entry.seq <= self._seq:  # or there is another of this number
            self.beside.setdefault(entry.seq, _Link.of(entry))
            return
        its = _Link.of(entry)
        if entry.seq == self._seq + 1:
            self._check(self._last, its, entry.seq)
        else:
            self._gaps.append(_Gap(self._seq + 1, entry.seq - 1, self._last, its))
        self._seq, self._last = entry.seq, its

    def breaks(self, last: int) -> list[Break]:
        """What is wrong, when all have gone by. `last`: the seq of one that is known to have been there."""
        if last > self._seq:
            self._gaps.append(_Gap(self._seq + 1, last, self._last, None))
        found = []
        for gap in self._gaps:
            beside = sorted(seq for seq in self.beside if gap.first <= seq <= gap.stop)
            there = {*beside, *(seq for seq in self._given_up if gap.first <= seq <= gap.stop)}
            for first, stop in _missing(there, gap.first, gap.stop):
                which = f"entry {first} is" if stop == first else f"entries {first} to {stop} are"
                missing = tuple((self._replica, seq) for seq in range(first, min(stop + 1, first + MOST)))
                what = f"replica {self._replica:010x}: {which} missing"
                found.append(Break("missing", what, "", missing))
            before, at = gap.before, gap.first - 1
            for seq in beside:
                its = self.beside[seq]
                self._check(before if seq == at + 1 else None, its, seq)
                before, at = its, seq
            self._check(before if gap.stop == at else None, gap.after, gap.stop + 1)
        return found + self._links

    def _check(self, before: _Link | None, its: _Link | None, seq: int) -> None:
        """Whether the entry `seq` follows the one before, as far as both are known."""
        if before is None or its is None or seq - 1 in self._given_up or its.previous == before.link:
            return
        what = f"entry {its.key} does not follow the one that is before it"
        self._links.append(Break("link", what, its.key, ((self._replica, seq - 1),)))


def _missing(there: Iterable[int], first: int, stop: int) -> Iterator[tuple[int, int]]:
    """The numbers from `first` to `stop` that are not there, as first and last."""
    at = first
    for seq in sorted(there):
        if at < seq:
            yield at, seq - 1
        at = seq + 1
    if at <= stop:
        yield at, stop
