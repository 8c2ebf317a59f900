"""The view against a client that knows nothing but what it is told, and the sets of numbers of RFC 3501."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import BadSyntax
from aerogramme.log.entry import Add, Claim, Flags, Remove, Touch
from aerogramme.log.flagsets import Flagsets
from aerogramme.log.table import Table
from aerogramme.mailbox.search_keys import STAR, SequenceSet
from aerogramme.mailbox.view import NOTHING, OwnChange, RecentMarks, View


class Log:
    """Makes entries for one table, one clock each."""

    def __init__(self) -> None:
        self.table = Table(1, Flagsets())
        self.clock = 100
        self.ids = 0

    def apply(self, *ops) -> int:
        self.clock += 1
        for op in ops:
            self.table.apply(op, self.clock)
        return self.clock

    def add(self, count: int = 1) -> int:
        first = self.table.uidnext
        ids = range(self.ids + 1, self.ids + count + 1)
        self.ids += count
        zeros = [0] * count
        return self.apply(Add(1, ids, range(first, first + count), zeros, zeros, [()] * count, ids))

    def ids_of(self, uids) -> list[int]:
        rows = (self.table.row_of_uid(uid) for uid in uids)
        return [self.table.ids[row] for row in rows if row is not None]

    def remove(self, *uids: int) -> int:
        return self.apply(Remove(1, self.ids_of(uids)))

    def flag(self, *uids: int, on=("\\Seen",), off=()) -> int:
        return self.apply(Flags(1, self.ids_of(uids), on, off))


class Client:
    """Believes untagged lines, in their order: EXPUNGE takes a place out, EXISTS opens places at the end."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.uids = list(view.uids)
        self.modseqs = dict(zip(view.uids, view.table.modseqs, strict=True))

    def hear(self, changes) -> None:
        gone = [self.uids[seq - 1] for seq in changes.expunged]
        for seq in changes.expunged:
            del self.uids[seq - 1]
        assert list(changes.vanished) == sorted(gone)
        if changes.exists is not None:
            assert changes.exists >= len(self.uids)
            for seq in range(len(self.uids) + 1, changes.exists + 1):
                self.uids.append(self.view.uids[seq - 1])  # FETCH (UID)
        for seq in changes.changed:
            assert seq <= len(self.uids)
        told = set(self.uids)
        table = self.view.table
        for uid, modseq in zip(table.uids, table.modseqs, strict=True):
            seq = self.view.seq_of_uid(uid)
            if uid in told and (seq in changes.changed or uid not in self.modseqs):
                self.modseqs[uid] = modseq


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 3)),
        st.tuples(st.just("remove"), st.lists(st.integers(1, 30), min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("flag"), st.lists(st.integers(1, 30), min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("touch"), st.lists(st.integers(1, 30), min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("sync"), st.booleans()),
    ),
    max_size=25,
)


@given(steps)
def test_a_client_that_believes_every_change_has_the_mailbox(script) -> None:
    log = Log()
    log.add(5)
    view = View(log.table, RecentMarks())
    client = Client(view)
    for what, argument in [*script, ("sync", True)]:
        match what:
            case "add":
                log.add(argument)
            case "remove":
                log.remove(*argument)
            case "flag":
                log.flag(*argument)
            case "touch":
                log.apply(Touch(1, log.ids_of(argument)))
            case "sync":
                before = list(client.uids)
                client.hear(view.sync(argument))
                assert client.uids == list(view.uids)
                if not argument:
                    assert client.uids[: len(before)] == before, "no EXPUNGE when it is not allowed"
                for seq, row in enumerate(view.rows(range(1, len(view) + 1)), 1):
                    uid = view.uids[seq - 1]
                    assert (row == -1) == (log.table.row_of_uid(uid) is None)
                    assert row == -1 or log.table.uids[row] == uid
    assert client.uids == list(log.table.uids)
    assert view.in_step
    assert client.modseqs.items() >= dict(zip(log.table.uids, log.table.modseqs, strict=True)).items()
    assert view.modseq == log.table.highestmodseq
    assert not view.sync()


def test_a_conflict_of_uids_is_an_expunge_and_a_new_message() -> None:
    log = Log()
    log.add(3)
    view = View(log.table, RecentMarks())
    # Another server claimed UID 3 for its message: it names neither, and both get new ones.
    other = Add(1, [99], [3], [0], [0], [()], [99])
    log.apply(other)
    log.apply(Claim(1, [3, 99], [4, 5]))
    changes = view.sync()
    assert (list(changes.expunged), list(changes.vanished), changes.exists) == ([3], [3], 4)
    assert list(view.uids) == [1, 2, 4, 5]


def test_a_view_older_than_the_tombstones_compares_the_whole() -> None:
    log = Log()
    log.add(5)
    view = View(log.table, RecentMarks())
    log.table.forgotten = log.remove(2, 4)
    log.table.tombs.keep([False, False])
    assert view.sync().vanished == [2, 4]
    assert view.in_step


def test_what_is_held_back_is_told_later() -> None:
    log = Log()
    log.add(3)
    view = View(log.table, RecentMarks())
    log.remove(1)
    log.add()
    held = view.sync(allow_expunge=False)
    assert (held.expunged, held.exists) == ([], 4)
    assert not view.in_step
    assert view.rows([1, 2, 3, 4]) == [-1, 0, 1, 2]
    assert view.sync(allow_expunge=False) is NOTHING
    assert view.sync().expunged == [1]
    assert view.rows([1, 2, 3]) == [0, 1, 2]
    assert view.rows(range(2, 4)) == range(1, 3)


def test_own_changes_are_left_out_unless_something_else_came_between() -> None:
    log = Log()
    log.add(3)
    view = View(log.table, RecentMarks())
    before = log.table.highestmodseq
    own = OwnChange(log.flag(1, 2), before)
    assert not view.sync(own=own)
    before = log.table.highestmodseq
    own = OwnChange(log.flag(1, on=("a",)), before)
    log.flag(1, on=("b",))
    assert view.sync(own=own).changed == [1], "changed again by somebody else"
    log.flag(2, on=("c",))
    before = log.table.highestmodseq
    own = OwnChange(log.flag(2, on=("d",)), before)
    assert view.sync(own=own).changed == [2], "somebody else's change is under the own one"


def test_recent_belongs_to_the_first_session_that_is_told() -> None:
    log, marks = Log(), RecentMarks()
    log.add(3)
    marks.floor = {1: 3}  # UIDs 1 and 2 came before the account was opened here
    assert marks.count(log.table) == 1
    examined = View(log.table, marks, read_only=True)
    first = View(log.table, marks)
    second = View(log.table, marks)
    assert [v.recent_count for v in (examined, first, second)] == [1, 1, 0]
    log.add(2)
    assert second.sync().recent == 2
    assert first.sync().recent is None
    assert [first.is_recent(uid) for uid in range(1, 6)] == [False, False, True, False, False]
    assert [second.is_recent(uid) for uid in range(1, 6)] == [False, False, False, True, True]
    log.remove(4)
    assert second.sync().recent == 1
    log.add()
    assert first.sync().recent == 2
    assert not second.is_recent(6)


def numbers(*ranges: tuple[int, int]) -> SequenceSet:
    return SequenceSet(ranges)


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([(1, 3)], [1, 2, 3]),
        ([(2, STAR)], [2, 3, 4]),
        ([(STAR, STAR)], [4]),
        ([(1, 1), (3, 3), (3, 4)], [1, 3, 4]),
    ],
)
def test_sets_of_sequence_numbers(ranges, expected) -> None:
    log = Log()
    log.add(4)
    view = View(log.table, RecentMarks())
    assert list(view.by_seq(numbers(*ranges))) == expected
    with pytest.raises(BadSyntax):
        view.by_seq(numbers((1, 5)))


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([(1, 3)], [1]),
        ([(1, STAR)], [1, 2, 3]),
        ([(100, STAR)], [3]),  # RFC 3501 §6.4.8: * is always included
        ([(4, 5), (3, 4)], [1, 2, 3]),
        ([(6, 9)], []),
    ],
)
def test_sets_of_uids(ranges, expected) -> None:
    log = Log()
    log.add(5)
    log.remove(1, 2)
    view = View(log.table, RecentMarks())
    assert list(view.by_uid(numbers(*ranges))) == expected


def test_sets_in_an_empty_mailbox() -> None:
    view = View(Log().table, RecentMarks())
    assert list(view.by_seq(numbers((1, STAR)))) == []
    assert list(view.by_uid(numbers((1, STAR)))) == []
    with pytest.raises(BadSyntax):
        view.by_seq(numbers((1, 1)))
