"""Memory that two processes share: what one puts there, the other finds, however much it is."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.migrate.shared import Shared

TURNS = st.lists(
    st.tuples(st.booleans(), st.lists(st.integers(0, 3 << 20), min_size=1, max_size=4)), max_size=5
)


@pytest.fixture
def both() -> Iterator[tuple[Shared, Shared]]:
    one = Shared.new()
    other = Shared(os.dup(one.descriptor))  # as a process has it that inherits it
    yield one, other
    one.close()
    other.close()


@given(TURNS)
def test_they_write_in_turns(turns: list[tuple[bool, list[int]]]) -> None:
    one = Shared.new()
    other = Shared(os.dup(one.descriptor))
    for n, (first, sizes) in enumerate(turns):
        writer, reader = (one, other) if first else (other, one)
        parts = [bytes([n + 1]) * size for size in [7, *sizes]]
        writer.write(parts)
        assert reader.read([7]) == parts[:1]
        assert reader.read(sizes, 7) == parts[1:]
    one.close()
    other.close()


def test_there_is_no_more_than_was_written(both: tuple[Shared, Shared]) -> None:
    one, other = both
    with pytest.raises(ValueError, match="mmap"):
        other.read([1])
    one.write([b"letter"])
    with pytest.raises(ValueError, match="mmap"):
        other.read([6, 2 << 20])
    assert other.read([6]) == [b"letter"]
