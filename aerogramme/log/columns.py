"""Columns: arrays of numbers, their stored form, and maps from message ids to numbers made of them.

No Python object stays in memory for a message: what is known of messages is in arrays, worked on by slices.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, compress
from operator import gt, sub
from typing import Any

from aerogramme.errors import Damaged

_SWAP = sys.byteorder == "big"
_SIZES = {"H": 2, "I": 4, "Q": 8}
MANY_GAPS = 256  # places at which a map is changed in place; above that it is cheaper to build it anew
assert all(array(code).itemsize == size for code, size in _SIZES.items())


def column_bytes(values: Sequence[int], typecode: str = "I") -> bytes:
    """The stored form of a column: little-endian numbers, one after the other."""
    column = values if isinstance(values, array) else array(typecode, values)
    if _SWAP:
        column = column[:]
        column.byteswap()
    return column.tobytes()


def column_from(typecode: str, stored: Any) -> "array[int]":
    """The column that was stored, or Damaged."""
    column = array(typecode)
    if type(stored) is not bytes or len(stored) % column.itemsize:
        raise Damaged("a column does not decode")
    column.frombytes(stored)
    if _SWAP:
        column.byteswap()
    return column


def planes(values: Sequence[int], typecode: str = "I") -> bytes:
    """The stored form of a column that zstd makes less of: the lowest octets of all numbers, then all those
    above, and so on. Octets that say something are apart from those that say the same all along."""
    stored, size = column_bytes(values, typecode), _SIZES[typecode]
    return b"".join([stored[place::size] for place in range(size)])


def from_planes(typecode: str, stored: Any) -> "array[int]":
    """The column that was stored so, or Damaged."""
    size = _SIZES[typecode]
    if type(stored) is not bytes or len(stored) % size:
        raise Damaged("a column does not decode")
    count = len(stored) // size
    if count <= 1:
        return column_from(typecode, stored)
    column = bytearray(len(stored))
    for place in range(size):
        column[place::size] = stored[place * count : (place + 1) * count]
    return column_from(typecode, bytes(column))


def steps(values: Sequence[int], typecode: str = "I") -> bytes:
    """The planes of how far each number is from the one before (the first from 0), for columns that mostly
    rise: modulo the size of a number."""
    return planes(wrapped(typecode, map(sub, values, [0, *values[:-1]])), typecode)


def from_steps(typecode: str, stored: Any) -> "array[int]":
    """The column that was stored so, or Damaged."""
    rises = from_planes(typecode, stored)
    if len(rises) <= 1:
        return rises
    signed = array(typecode.lower(), rises.tobytes())
    try:
        return array(typecode, accumulate(signed))
    except OverflowError:  # a step of more than half the range
        return wrapped(typecode, accumulate(rises))


def wrapped(typecode: str, values: Iterable[int]) -> "array[int]":
    """Numbers of any size, modulo what fits into a column."""
    return array(typecode, map(((1 << 8 * _SIZES[typecode]) - 1).__and__, values))


def filled(typecode: str, value: int, count: int) -> "array[int]":
    """A column that has one value everywhere."""
    return array(typecode, [value]) * count


class IdMap:
    """Numbers for some ids: a sorted column of ids, and beside it one column for each kind of number."""

    __slots__ = ("columns", "ids")

    def __init__(self, *typecodes: str) -> None:
        self.ids: array[int] = array("Q")
        self.columns: list[array[int]] = [array(code) for code in typecodes]

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, of: int) -> bool:
        return self.find(of) is not None

    def find(self, of: int) -> int | None:
        """The position of an id."""
        at = bisect_left(self.ids, of)
        return at if at < len(self.ids) and self.ids[at] == of else None

    def span(self, first: int, count: int) -> tuple[int, int]:
        """The positions start, stop of the ids that are in a run. All of them when stop - start == count."""
        start = bisect_left(self.ids, first)
        if count == 1:
            return start, start + (start < len(self.ids) and self.ids[start] == first)
        return start, bisect_left(self.ids, first + count, start)

    def insert(self, at: int, ids: "array[int]", *values: "array[int]") -> None:
        """Insert ids, sorted, that all belong at this position."""
        self.ids[at:at] = ids
        for column, new in zip(self.columns, values, strict=True):
            column[at:at] = new

    def put(self, of: int, *values: int) -> None:
        """Set the numbers of one id."""
        at = bisect_left(self.ids, of)
        if at < len(self.ids) and self.ids[at] == of:
            for column, value in zip(self.columns, values, strict=True):
                column[at] = value
        else:
            self.ids.insert(at, of)
            for column, value in zip(self.columns, values, strict=True):
                column.insert(at, value)

    def put_new(self, ids: "array[int]", *values: "array[int]") -> None:
        """Put ids that are not there, in any order, with their numbers."""
        count = len(ids)
        if count == 0:
            return
        if count > 1 and any(map(gt, ids, ids[1:])):
            order = sorted(range(count), key=ids.__getitem__)
            ids = array("Q", map(ids.__getitem__, order))
            values = tuple(array(v.typecode, map(v.__getitem__, order)) for v in values)
        gaps: list[tuple[int, int, int]] = []  # where some of them belong, and which: start, stop
        start = 0
        while start < count and len(gaps) < MANY_GAPS:
            at = bisect_left(self.ids, ids[start])
            stop = bisect_left(ids, self.ids[at], start) if at < len(self.ids) else count
            gaps.append((at, start, stop))
            start = stop
        if start == count:  # a memmove for each gap is cheaper than building all anew
            for at, start, stop in reversed(gaps):
                self.insert(at, ids[start:stop], *(column[start:stop] for column in values))
        else:
            self.ids.extend(ids)
            order = sorted(range(len(self.ids)), key=self.ids.__getitem__)
            self.ids = array("Q", map(self.ids.__getitem__, order))
            for n, new in enumerate(values):
                column = self.columns[n]
                column.extend(new)
                self.columns[n] = array(column.typecode, map(column.__getitem__, order))

    def delete(self, start: int, stop: int) -> None:
        """Delete positions."""
        del self.ids[start:stop]
        for column in self.columns:
            del column[start:stop]

    def rows(self) -> Iterator[tuple[int, ...]]:
        """(id, numbers…), sorted by id."""
        return zip(self.ids, *self.columns, strict=True)

    def keep(self, wanted: Iterable[bool]) -> None:
        """Delete the positions where `wanted` is false."""
        mask = list(wanted)
        self.ids = compressed(self.ids, mask)
        self.columns = [compressed(column, mask) for column in self.columns]


def compressed(column: "array[int]", mask: Iterable[Any]) -> "array[int]":
    """The values of a column where the mask is true."""
    return array(column.typecode, compress(column, mask))
