"""Pieces: what rows are stored as comes back, is small, and nothing else is taken for it."""

import random
from array import array

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Damaged
from aerogramme.log import piece
from aerogramme.log.clock import COUNTER_BITS, MAX_CLOCK
from aerogramme.log.columns import IdMap, from_planes, from_steps, planes, steps
from aerogramme.log.flagsets import Flagsets
from aerogramme.log.ids import MAX_ID
from aerogramme.log.rows import PIECE_BITS
from aerogramme.log.table import Table

MAILBOX = 7 << 24 | 1
NAMES = ["\\Seen", "\\Flagged", "work", "Später"]
LIMITS = {"I": (1 << 32) - 1, "Q": (1 << 64) - 1}


def numbers(limit: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 3), st.integers(limit - 3, limit), st.integers(0, limit))


@given(st.data(), st.sampled_from("IQ"))
def test_a_column_comes_back(data, typecode):
    values = array(typecode, data.draw(st.lists(numbers(LIMITS[typecode]))))
    assert from_planes(typecode, planes(values, typecode)) == values
    assert from_steps(typecode, steps(values, typecode)) == values
    assert steps(list(values), typecode) == steps(values, typecode)


@pytest.mark.parametrize("decode", [from_planes, from_steps])
@pytest.mark.parametrize("stored", [b"123", "1234", None, [1, 2, 3, 4], 1 << 32])
def test_what_is_no_column_is_damaged(decode, stored):
    with pytest.raises(Damaged):
        decode("I", stored)


row = st.tuples(
    numbers(MAX_CLOCK),
    st.frozensets(st.sampled_from(NAMES)),
    numbers(LIMITS["I"]),
    numbers(LIMITS["I"]),
    st.dictionaries(st.sampled_from(NAMES), numbers(MAX_CLOCK << 1 | 1)),
)


@st.composite
def tables(draw):
    rows = draw(st.lists(row, max_size=20))
    n = len(rows)
    uids = draw(st.lists(numbers(LIMITS["I"]), min_size=n, max_size=n, unique=True))
    ids = draw(st.lists(numbers(MAX_ID), min_size=n, max_size=n, unique=True))
    contents = ids if draw(st.booleans()) else draw(st.lists(numbers(MAX_ID), min_size=n, max_size=n))
    return table_of(sorted(uids), ids, contents, rows)


def table_of(uids, ids, contents, rows):
    table = Table(MAILBOX, Flagsets())
    table.uids, table.ids, table.contents = array("I", uids), array("Q", ids), array("Q", contents)
    for message, (modseq, flags, size, date, facts) in zip(ids, rows, strict=True):
        table.modseqs.append(modseq)
        table.flags.append(table.flagsets.intern(tuple(sorted(flags)), modseq))
        table.sizes.append(size)
        table.dates.append(date)
        for flag, value in facts.items():
            table.facts.setdefault(table.flagsets.flag(flag, 1), IdMap("Q")).put(message, value)
    return table


def said(table):
    """All that a piece says of a table."""
    return (
        *(table.uids, table.ids, table.modseqs, table.sizes, table.dates, table.contents),
        [set(table.flagsets.sets[number]) for number in table.flags],
        {table.flagsets.names[flag]: list(facts.rows()) for flag, facts in table.facts.items() if len(facts)},
    )


@given(tables(), st.integers(0, 20))
def test_rows_come_back(table, middle):
    read = Table(MAILBOX, Flagsets())
    for start, stop in (0, min(middle, len(table))), (min(middle, len(table)), len(table)):
        piece.decode_rows(read, piece.encode_rows(table, start, stop))
    assert said(read) == said(table)


@given(tables(), st.data())
def test_what_is_no_piece_is_damaged_and_leaves_no_rows(table, data):
    stored = bytearray(piece.encode_rows(table, 0, len(table)))
    at = data.draw(st.integers(0, len(stored) - 1))
    stored[at] = data.draw(st.integers(0, 255))
    del stored[data.draw(st.integers(at + 1, len(stored))) :]
    read = Table(MAILBOX, Flagsets())
    try:
        piece.decode_rows(read, bytes(stored))
    except Damaged:
        assert not len(read)


def test_a_piece_of_a_mailbox_in_use_is_small():
    """Mails that came one at a time, most read later: some 10 octets each, of which the time of reading and
    the size are most. As plain columns they took 24."""
    chance, count = random.Random(6), 1 << PIECE_BITS
    clock, rows, ids = 1_700_000_000_000, [], []
    for n in range(count):
        clock += chance.randrange(600_000)
        read = clock + chance.randrange(80_000_000) << COUNTER_BITS if chance.random() < 0.95 else 0
        flags = ("\\Seen",) if read else ()
        size, date = int(chance.lognormvariate(9, 1)), clock // 1000 - chance.randrange(60)
        facts = {"\\Seen": read << 1 | 1} if read else {}
        rows.append((max(read, clock << COUNTER_BITS), flags, size, date, facts))
        ids.append((chance.getrandbits(40) if n % 1000 == 0 else ids[-1] >> 24) << 24 | n % 1000 + 1)
    table = table_of(range(1, count + 1), ids, ids, rows)
    assert len(zstandard.compress(piece.encode_rows(table, 0, count), 1)) < 10 * count
