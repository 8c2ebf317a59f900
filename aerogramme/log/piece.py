"""Pieces: the rows of a mailbox whose UIDs share all but the last 12 bits, as a checkpoint stores them.

A change of one flag writes a piece anew, so its columns are stored as what zstd makes least of: numbers that
rise as steps, ids of contents and clocks of flags as their distance from what they mostly are.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from operator import add, sub
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types

from aerogramme.errors import Damaged
from aerogramme.log.columns import (
    IdMap,
    column_bytes,
    column_from,
    from_planes,
    from_steps,
    planes,
    steps,
    wrapped,
)
from aerogramme.log.flagsets import Flagsets
from aerogramme.log.ids import Runs
from aerogramme.log.rows import PIECE_BITS
from aerogramme.log.table import Table

VERSION = 2
Facts = list[list[Any]]  # flag, ids, values


def spans(table: Table) -> Iterator[tuple[int, int, int]]:
    """Each piece of a mailbox with its rows: number, start, stop."""
    start = 0
    while start < len(table.uids):
        number = table.uids[start] >> PIECE_BITS
        stop = bisect_left(table.uids, number + 1 << PIECE_BITS, start)
        yield number, start, stop
        start = stop


def encode_rows(table: Table, start: int, stop: int) -> bytes:
    """The stored form of some rows, with all that is known of their flags."""
    numbers = table.flags[start:stop]
    used = sorted(set(numbers), key=table.flagsets.sets.__getitem__)
    places = {number: place for place, number in enumerate(used)}
    ids, modseqs = table.ids[start:stop], table.modseqs[start:stop]
    packed: bytes = msgpack.packb(
        [
            VERSION,
            steps(table.uids[start:stop]),
            steps(ids, "Q"),
            steps(modseqs, "Q"),
            [table.flagsets.sets[number] for number in used],
            planes(list(map(places.__getitem__, numbers))),
            planes(table.sizes[start:stop]),
            steps(table.dates[start:stop]),
            steps(wrapped("Q", map(sub, table.contents[start:stop], ids)), "Q"),
            _facts_of_rows(table, ids, modseqs),
        ]
    )
    return packed


def _facts_of_rows(table: Table, ids: "array[int]", modseqs: "array[int]") -> Facts:
    """The same as `encode_facts`: flag, rows, and how far the values are from those of a flag that was set by
    what touched the message last."""
    encoded = []
    row_of = dict(zip(ids, range(len(ids)), strict=True))
    for flag, of, values in _known(table, ids):
        rows = list(map(row_of.__getitem__, of))
        last = map(modseqs.__getitem__, rows)
        before = wrapped("Q", ((clock << 1 | 1) - value for clock, value in zip(last, values, strict=True)))
        encoded.append([flag, steps(rows), planes(before, "Q")])
    return encoded


def encode_facts(table: Table, ids: Iterable[int]) -> Facts:
    """What is known of the flags of some messages, which need not be in rows."""
    return [[flag, column_bytes(of), column_bytes(values)] for flag, of, values in _known(table, ids)]


def _known(table: Table, ids: Iterable[int]) -> Iterator[tuple[str, "array[int]", "array[int]"]]:
    """For each flag by its name: of which of these messages something is known, and the values."""
    runs = Runs.of(sorted(ids)).runs
    for flag, facts in sorted(table.facts.items(), key=lambda item: table.flagsets.names[item[0]]):
        of, values = array("Q"), array("Q")
        for first, count in runs:
            start, stop = facts.span(first, count)
            of.extend(facts.ids[start:stop])
            values.extend(facts.columns[0][start:stop])
        if of:
            yield table.flagsets.names[flag], of, values


def decode_rows(table: Table, stored: bytes) -> None:
    """Append stored rows, which come after all that the table has. Raises Damaged."""
    try:
        version, uids, ids, modseqs, sets, places, sizes, dates, contents, facts = msgpack.unpackb(stored)
        if version != VERSION:
            raise Damaged("a piece of an unknown version")
        numbers = [table.flagsets.intern(flags, _NOBODY) for flags in sets]
        ids, modseqs = from_steps("Q", ids), from_steps("Q", modseqs)
        beyond = from_steps("Q", contents)
        own = contents.count(0) == len(contents)  # as long as nothing is copied
        columns = [
            (table.uids, from_steps("I", uids)),
            (table.ids, ids),
            (table.modseqs, modseqs),
            (table.flags, array("I", map(numbers.__getitem__, from_planes("I", places)))),
            (table.sizes, from_planes("I", sizes)),
            (table.dates, from_steps("I", dates)),
            (table.contents, ids if own else wrapped("Q", map(add, ids, beyond))),
        ]
        if len({len(values) for values in (beyond, *(column for _, column in columns))}) != 1:
            raise Damaged("the columns of a piece differ in length")
        for flag, rows, values in facts:
            of, before = from_steps("I", rows), from_planes("Q", values)
            last = map(modseqs.__getitem__, of)
            known = wrapped("Q", ((clock << 1 | 1) - less for clock, less in zip(last, before, strict=True)))
            _put_facts(table, flag, array("Q", map(ids.__getitem__, of)), known)
        for column, values in columns:
            column.extend(values)
    except (ValueError, TypeError, IndexError, OverflowError, msgpack.UnpackException) as e:
        raise Damaged("a piece does not decode") from e


def decode_facts(table: Table, stored: Facts) -> None:
    """Take in what `encode_facts` gave. Raises Damaged."""
    for name, ids, values in stored:
        _put_facts(table, name, column_from("Q", ids), column_from("Q", values))


def _put_facts(table: Table, name: str, of: "array[int]", values: "array[int]") -> None:
    if len(of) != len(values):
        raise Damaged("the columns of a piece differ in length")
    table.facts.setdefault(table.flagsets.flag(name, _NOBODY), IdMap("Q")).put_new(of, values)


_NOBODY = 1 << 63  # a clock later than any: a spelling in a piece decides nothing, that in the manifest does


def known_flags(flagsets: Flagsets) -> list[tuple[str, int]]:
    """Every flag with its spelling and the clock that this has."""
    return list(zip(flagsets.names, flagsets.first_use, strict=True))


def contents_of(stored: bytes) -> "array[int]":
    """The contents of stored rows. Raises Damaged."""
    table = Table(0, Flagsets())
    decode_rows(table, stored)
    return table.contents
