"""Cursors of stores that list keys: nothing is missed within the window, nothing is given twice."""

from hypothesis import given
from hypothesis import strategies as st

from aerogramme.store.port import LATE
from aerogramme.store.tail import Seen

BASE = 1_700_000_000_000 << 20


def key(clock: int, replica: int = 1) -> str:
    return f"{clock:016x}-{replica:010x}-00000001"


def test_what_comes_late_is_new_wherever_it_sorts() -> None:
    listed = [key(BASE), key(BASE + 5)]
    seen = Seen().after(listed)
    late = key(BASE - LATE + 5)
    assert seen.new([*listed, key(BASE + 1), late]) == [late, key(BASE + 1)]


def test_what_the_reader_wrote_is_not_new_and_what_came_meanwhile_is() -> None:
    seen = Seen().after([key(BASE)]).having([key(BASE + 9), key(BASE - LATE - 9)])
    assert seen.keys == {key(BASE), key(BASE + 9)}
    assert seen.new([key(BASE), key(BASE + 5), key(BASE + 9)]) == [key(BASE + 5)]


def test_what_is_older_than_the_window_is_not_asked_for_again() -> None:
    seen = Seen().after([key(BASE)])
    assert seen.floor == f"{BASE - LATE:016x}"
    assert seen.new([key(BASE - LATE - 1)]) == []


def test_keys_without_a_clock_are_all_asked_for() -> None:
    seen = Seen().after(["slot-1", "keyring-1"])
    assert seen.floor == ""
    assert seen.new(["keyring-1", "keyring-2", "slot-1"]) == ["keyring-2"]


def test_a_cursor_that_had_all_stays_the_same() -> None:
    seen = Seen().after([key(BASE)])
    assert seen.after([key(BASE)]) is seen


@given(st.lists(st.lists(st.integers(0, 3 * LATE), max_size=5), max_size=8))
def test_each_key_within_the_window_is_new_once(batches: list[list[int]]) -> None:
    seen, there, had, newest = Seen(), set[str](), set[str](), 0
    for batch in batches:
        arrived = {key(BASE + offset) for offset in batch} - there
        there |= arrived
        new = seen.new(there)
        assert not had.intersection(new)
        assert set(new) >= {k for k in arrived if int(k[:16], 16) >= newest - LATE}
        had.update(new)
        seen = seen.after([k for k in there if k > seen.floor])
        newest = max([newest, *(BASE + offset for offset in batch)])
