"""Sets of numbers, and `*` in them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.mailbox import search_keys as k
from aerogramme.mailbox.search_keys import STAR, SequenceSet
from tests.helpers.imap_commands import search_keys


@pytest.mark.parametrize(
    ("ranges", "largest", "expected"),
    [
        (((1, STAR),), 7, [(1, 7)]),
        (((1, STAR),), 0, []),
        (((STAR, STAR),), 7, [(7, 7)]),
        (((9, STAR),), 7, [(7, 9)]),  # RFC 3501 §6.4.8: 559:* names the largest, even if it is below
        (((3, 4), (1, 2), (4, 6)), 9, [(1, 6)]),
        (((8, 9), (1, 2), (4, 4)), 3, [(1, 2), (4, 4), (8, 9)]),
    ],
)
def test_resolve(ranges: tuple[tuple[int, int], ...], largest: int, expected: list[tuple[int, int]]) -> None:
    assert SequenceSet(ranges).resolve(largest) == expected


_numbers = st.integers(1, 12) | st.just(STAR)


@given(
    st.lists(st.tuples(_numbers, _numbers).map(lambda p: (min(p), max(p))), min_size=1), st.integers(0, 15)
)
def test_resolved_means_the_same(ranges: list[tuple[int, int]], largest: int) -> None:
    meant: set[int] = set()
    for first, last in ranges:
        if STAR in (first, last) and largest == 0:
            continue
        ends = [largest if n == STAR else n for n in (first, last)]
        meant |= set(range(min(ends), max(ends) + 1))
    found = SequenceSet(tuple(ranges)).resolve(largest)
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(meant)
    assert all(later[0] > earlier[1] + 1 for earlier, later in itertools.pairwise(found))


@given(search_keys)
def test_walk_meets_every_key_once(key: k.SearchKey) -> None:
    def count(key: k.SearchKey) -> int:
        match key:
            case k.And(inner) | k.Or(inner):
                return 1 + sum(map(count, inner))
            case k.Not(inner_key):
                return 1 + count(inner_key)
        return 1

    walked = list(k.walk(key))
    assert walked[0] is key
    assert len(walked) == count(key)
