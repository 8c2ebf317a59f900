"""Pieces: the rows of a mailbox whose UIDs share all but the last 12 bits, as a checkpoint stores them."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types

from aerogramme.errors import Damaged
from aerogramme.log.columns import IdMap, column_bytes, column_from
from aerogramme.log.flagsets import Flagsets
from aerogramme.log.ids import Runs
from aerogramme.log.rows import PIECE_BITS
from aerogramme.log.table import Table

VERSION = 1
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
    packed: bytes = msgpack.packb(
        [
            VERSION,
            column_bytes(table.uids[start:stop]),
            column_bytes(table.ids[start:stop]),
            column_bytes(table.modseqs[start:stop]),
            [table.flagsets.sets[number] for number in used],
            column_bytes(array("I", map(places.__getitem__, numbers))),
            column_bytes(table.sizes[start:stop]),
            column_bytes(table.dates[start:stop]),
            column_bytes(table.contents[start:stop]),
            encode_facts(table, table.ids[start:stop]),
        ]
    )
    return packed


def encode_facts(table: Table, ids: Iterable[int]) -> Facts:
    """What is known of the flags of some messages."""
    runs = Runs.of(sorted(ids)).runs
    encoded = []
    for flag, facts in sorted(table.facts.items(), key=lambda item: table.flagsets.names[item[0]]):
        of, values = array("Q"), array("Q")
        for first, count in runs:
            start, stop = facts.span(first, count)
            of.extend(facts.ids[start:stop])
            values.extend(facts.columns[0][start:stop])
        if of:
            encoded.append([table.flagsets.names[flag], column_bytes(of), column_bytes(values)])
    return encoded


def decode_rows(table: Table, stored: bytes) -> None:
    """Append stored rows, which come after all that the table has. Raises Damaged."""
    try:
        version, uids, ids, modseqs, sets, places, sizes, dates, contents, facts = msgpack.unpackb(stored)
        if version != VERSION:
            raise Damaged("a piece of an unknown version")
        numbers = [table.flagsets.intern(flags, _NOBODY) for flags in sets]
        columns = [
            (table.uids, column_from("I", uids)),
            (table.ids, column_from("Q", ids)),
            (table.modseqs, column_from("Q", modseqs)),
            (table.flags, array("I", map(numbers.__getitem__, column_from("I", places)))),
            (table.sizes, column_from("I", sizes)),
            (table.dates, column_from("I", dates)),
            (table.contents, column_from("Q", contents)),
        ]
        if len({len(values) for _, values in columns}) != 1:
            raise Damaged("the columns of a piece differ in length")
        decode_facts(table, facts)
        for column, values in columns:
            column.extend(values)
    except (ValueError, TypeError, IndexError, msgpack.UnpackException) as e:
        raise Damaged("a piece does not decode") from e


def decode_facts(table: Table, stored: Facts) -> None:
    """Take in what `encode_facts` gave. Raises Damaged."""
    for name, ids, values in stored:
        facts = table.facts.setdefault(table.flagsets.flag(name, _NOBODY), IdMap("Q"))
        of, with_values = column_from("Q", ids), column_from("Q", values)
        if len(of) != len(with_values):
            raise Damaged("the columns of a piece differ in length")
        facts.put_new(of, with_values)


_NOBODY = 1 << 63  # a clock later than any: a spelling in a piece decides nothing, that in the manifest does


def known_flags(flagsets: Flagsets) -> list[tuple[str, int]]:
    """Every flag with its spelling and the clock that this has."""
    return list(zip(flagsets.names, flagsets.first_use, strict=True))


def contents_of(stored: bytes) -> "array[int]":
    """The contents of stored rows. Raises Damaged."""
    table = Table(0, Flagsets())
    decode_rows(table, stored)
    return table.contents
