"""Message ids, and sequences of them as runs: ids are counted up, so a thousand of them are often one run.

A message id is `replica << 24 | n`: 40 random bits of the replica that made it, and its own count from 1.
Contents and mailboxes are named by the same ids.
"""

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, overload

from aerogramme.errors import Damaged

COUNT_BITS = 24
MAX_COUNT = (1 << COUNT_BITS) - 1
MAX_REPLICA = (1 << 40) - 1
MAX_ID = (1 << 64) - 1
COMPACT_RUNS = 16  # so few take little whatever they are in

Ids = Sequence[int]


class Runs(Sequence[int]):
    """An immutable sequence of numbers, in any order, held as runs (first, count) that count up."""

    __slots__ = ("_ends", "runs")

    def __init__(self, runs: tuple[tuple[int, int], ...]) -> None:
        """Neighbouring runs must not join, and no run is empty: `of` takes care of that."""
        self.runs = runs
        self._ends: list[int] | None = None

    @classmethod
    def of(cls, values: Iterable[int]) -> "Runs":
        """The runs of any sequence, which keeps its order."""
        if isinstance(values, Runs):
            return values
        if isinstance(values, range) and values.step == 1:
            return cls(((values.start, len(values)),) if values else ())
        runs: list[tuple[int, int]] = []
        first = following = -1
        for value in values:
            if value != following:
                if first >= 0:
                    runs.append((first, following - first))
                first = value
            following = value + 1
        if first >= 0:
            runs.append((first, following - first))
        return cls(tuple(runs))

    @property
    def run_count(self) -> int:
        """How many runs."""
        return len(self.runs)

    def __len__(self) -> int:
        if len(self.runs) == 1:
            return self.runs[0][1]
        return self._cumulated()[-1] if self.runs else 0

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(range(first, first + count) for first, count in self.runs)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> "Runs": ...
    def __getitem__(self, at: int | slice) -> "int | Runs":
        if isinstance(at, slice):
            return Runs.of(list(self)[at])
        size = len(self)
        if at < 0:
            at += size
        if not 0 <= at < size:
            raise IndexError(at)
        ends = self._cumulated()
        run = bisect_right(ends, at)
        first, count = self.runs[run]
        return first + count - (ends[run] - at)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Runs):
            return self.runs == other.runs
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self.runs)

    def __repr__(self) -> str:
        return "Runs(" + ", ".join(f"{a:#x}+{n}" if n > 1 else f"{a:#x}" for a, n in self.runs) + ")"

    def array(self, typecode: str) -> "array[int]":
        """The numbers as a column."""
        column = array(typecode)
        for first, count in self.runs:
            column.extend(range(first, first + count))
        return column

    def compact(self) -> "Runs":
        """The same, for who keeps many of them for long."""
        return self if len(self.runs) < COMPACT_RUNS else CompactRuns(self.runs)

    def _cumulated(self) -> list[int]:
        if self._ends is None:
            total, ends = 0, []
            for _, count in self.runs:
                total += count
                ends.append(total)
            self._ends = ends
        return self._ends

    def wire(self) -> list[int]:
        """first, count, then for each further run its distance from the end of the last, and its count."""
        flat: list[int] = []
        end = 0
        for first, count in self.runs:
            distance = first - end
            flat += (distance if distance >= -(1 << 63) else distance + (1 << 64), count)  # 64 bits
            end = first + count
        return flat

    @classmethod
    def from_wire(cls, flat: Any, limit: int = MAX_ID) -> "Runs":
        """What `wire` gave. Raises Damaged for anything else, for numbers outside of 0..limit, and for more
        of them than a sequence can have."""
        if not isinstance(flat, list) or len(flat) % 2 or not all(type(n) is int for n in flat):
            raise Damaged("runs do not decode")
        runs: list[tuple[int, int]] = []
        end = 0
        for distance, count in zip(flat[::2], flat[1::2], strict=True):
            first = end + distance & MAX_ID
            if count < 1 or first + count - 1 > limit or (runs and not distance):
                raise Damaged("runs do not decode")
            end = first + count
            runs.append((first, count))
        if sum(flat[1::2]) > sys.maxsize:
            raise Damaged("runs do not decode")
        return cls(tuple(runs))


class CompactRuns(Runs):
    """Runs in 16 octets each, an eighth of what a tuple takes, which is made whenever it is asked for."""

    __slots__ = ("_counts", "_firsts")

    def __init__(self, runs: Sequence[tuple[int, int]]) -> None:
        self._firsts = array("Q", [first for first, _ in runs])
        self._counts = array("Q", [count for _, count in runs])

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:  # type: ignore[override]  # nobody sets it but Runs itself
        return tuple(zip(self._firsts, self._counts, strict=True))

    @property
    def run_count(self) -> int:
        return len(self._firsts)

    def __len__(self) -> int:
        return sum(self._counts)

    def compact(self) -> Runs:
        return self

    def _cumulated(self) -> list[int]:
        return list(accumulate(self._counts))


def distinct(values: Ids) -> bool:
    """True when no number is there twice."""
    ordered = sorted(Runs.of(values).runs)
    return all(a + n <= b for (a, n), (b, _) in pairwise(ordered))


def each_once(values: Ids) -> Runs:
    """The same numbers, sorted if one is there twice."""
    return Runs.of(values if distinct(values) else sorted(set(values)))
