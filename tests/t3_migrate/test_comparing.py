"""What a pass has to do, by columns alone."""

from array import array

import pytest

from aerogramme.migrate.comparing import Pool, There, compare
from aerogramme.migrate.passed import Passed
from aerogramme.migrate.sources.source import Folder, Messages

FOLDER = Folder("Work", "Work", uidvalidity=7, uidnext=100)
SEEN, NONE, FLAGGED = ("\\Seen",), (), ("\\Flagged",)


def said(*messages: tuple[int, tuple[str, ...]]) -> Messages:
    """UIDs and flags; the date is 1000 times the UID, the size 10 times."""
    found = Messages()
    for uid, flags in messages:
        found.add(uid, uid * 1000, uid * 10, flags)
    return found


def there(*messages: tuple[int, tuple[str, ...]], imported: int = 0, **more) -> There:
    """A mailbox with UIDVALIDITY 7, and dates and sizes as those of `said`."""
    sets = [(), *{flags for _, flags in messages if flags}]
    uids = [uid for uid, _ in messages]
    more.setdefault("uidnext", max([imported, *(uid + 1 for uid in uids)]))
    return There(
        5,
        fresh=False,
        uidvalidity=7,
        imported=imported,
        uids=array("I", uids),
        dates=array("I", [uid * 1000 for uid in uids]),
        sizes=array("I", [uid * 10 for uid in uids]),
        flag_numbers=array("I", [sets.index(flags) for _, flags in messages]),
        flagsets=sets,
        **more,
    )


def passed(*rows: tuple[int, int, tuple[str, ...]]) -> Passed:
    """UIDs of the source and here, and flags that it had."""
    found = Passed(7, 5)
    for uid, here, flags in rows:
        found.uids.append(uid)
        found.here.append(here)
        found.flags.append(hash_of(flags))
    return found


def hash_of(flags) -> int:
    return 1 + sum(map(ord, "".join(sorted(flags))))


def test_all_is_taken_over_where_nothing_is():
    for target in There(), There(5, fresh=True, uidvalidity=99):
        plan = compare(FOLDER, said((3, NONE), (9, SEEN)), target, None, hash_of)
        assert (plan.keeps, plan.pure, [*plan.own], [*plan.doubtful]) == (True, True, [0, 1], [])


def test_a_pass_that_was_cut_off_goes_on_with_the_uids_of_the_source():
    plan = compare(FOLDER, said((3, NONE), (9, SEEN)), there((3, NONE), imported=4), None, hash_of)
    assert (plan.keeps, plan.pure, [*plan.own], [*plan.here]) == (True, True, [1], [3, 0])


def test_what_was_removed_here_is_left_alone():
    plan = compare(FOLDER, said((3, NONE), (9, SEEN)), there((9, SEEN), imported=10), None, hash_of)
    assert (plan.removed, [*plan.own], [*plan.doubtful], plan.flags) == (1, [], [], {})


def test_mail_that_came_here_first_has_its_uid_and_the_sources_gets_another():
    target = there((3, NONE), (10, NONE), (11, NONE), imported=10)
    plan = compare(FOLDER, said((3, NONE), (10, SEEN), (12, SEEN)), target, None, hash_of)
    assert plan.keeps and not plan.pure
    assert ([*plan.own], [*plan.doubtful], [*plan.pool]) == ([2], [1], [1, 2])


def test_what_was_noted_is_not_in_the_pool():
    target = there((3, NONE), (10, NONE), (11, NONE), imported=10)
    plan = compare(FOLDER, said((3, NONE), (10, SEEN), (11, SEEN)), target, passed((10, 11, SEEN)), hash_of)
    assert ([*plan.here], [*plan.doubtful], [*plan.pool]) == ([3, 11, 0], [2], [1])


@pytest.mark.parametrize(
    "change",
    [
        {"uidvalidity": 8},
        {"imported": 0, "uidvalidity": 7},
    ],
)
def test_without_common_uids_all_messages_are_compared(change):
    target = there((3, NONE), (9, NONE), imported=10)
    for name, value in change.items():
        setattr(target, name, value)
    plan = compare(FOLDER, said((3, NONE), (9, SEEN)), target, None, hash_of)
    assert (plan.keeps, [*plan.own], [*plan.doubtful], [*plan.pool]) == (False, [], [0, 1], [0, 1])


def test_a_source_without_uids_is_compared_message_by_message():
    plan = compare(Folder("Work", "Work"), said((1, NONE)), There(), None, hash_of)
    assert (plan.keeps, plan.pure, [*plan.doubtful]) == (False, False, [0])
    target = there((1, NONE), imported=2)
    target.uidvalidity = 0
    assert not compare(Folder("Work", "Work"), said((1, NONE)), target, None, hash_of).keeps


@pytest.mark.parametrize(
    ("before", "source", "here", "set_to", "disputed"),
    [
        (None, SEEN, NONE, SEEN, 0),  # nothing is known of before: the source is right
        (None, ("$Label1", "\\Seen"), ("\\Seen", "$label1"), None, 0),
        (SEEN, SEEN, NONE, None, 0),  # changed here
        (NONE, SEEN, NONE, SEEN, 0),  # changed there
        (NONE, SEEN, FLAGGED, None, 1),
        (NONE, SEEN, SEEN, None, 0),  # in both, alike
    ],
)
def test_flags_that_differ(before, source, here, set_to, disputed):
    noted = None if before is None else passed((3, 3, before))
    plan = compare(FOLDER, said((3, source)), there((3, here), imported=4), noted, hash_of)
    assert plan.flags == ({} if set_to is None else {3: set_to})
    assert plan.disputed == disputed


def test_what_the_source_has_no_more_goes_and_nothing_else():
    target = there((3, NONE), (4, NONE), (10, NONE), (11, NONE), (12, NONE), imported=10)
    noted = passed((3, 3, NONE), (4, 4, NONE), (10, 11, NONE), (20, 12, NONE))
    kept = said((3, NONE), (20, NONE))
    assert compare(FOLDER, kept, target, noted, hash_of).remove == []
    assert compare(FOLDER, kept, target, noted, hash_of, delete=True).remove == [4, 11]
    assert compare(FOLDER, kept, target, None, hash_of, delete=True).remove == [4]


def test_what_could_not_be_read_is_tried_again():
    noted = passed((3, 0, NONE), (9, 9, NONE))
    plan = compare(FOLDER, said((3, NONE), (9, NONE)), there((9, NONE), imported=100), noted, hash_of)
    assert ([*plan.doubtful], plan.removed) == ([0], 0)
    # …and has landed after all, where the pass was cut off before it could note that.
    plan = compare(
        FOLDER, said((3, NONE), (9, NONE)), there((3, NONE), (9, NONE), imported=100), noted, hash_of
    )
    assert ([*plan.doubtful], [*plan.here]) == ([], [3, 9])


@pytest.mark.parametrize("name", ["uidvalidity", "mailbox"])
def test_what_was_noted_of_another_mailbox_does_not_count(name):
    noted = passed((3, 9, NONE))
    setattr(noted, name, 99)
    plan = compare(FOLDER, said((3, NONE)), there((3, NONE), (9, NONE), imported=10), noted, hash_of)
    assert [*plan.here] == [3]


def test_each_message_of_the_pool_is_found_once():
    target = there((3, NONE), (4, NONE))
    target.dates[1], target.sizes[1] = target.dates[0], target.sizes[0]
    pool = Pool(target, [0, 1])
    assert [*pool.candidates(3000, 30)] == [0, 1] and not pool.candidates(3000, 31)
    assert pool.take(3000, 30, 1) == 4
    assert [*pool.candidates(3000, 30)] == [0] and pool
    assert pool.take(3000, 30, 0) == 3
    assert not pool


def test_dates_are_found_as_they_are_kept():
    target = there((3, NONE))
    target.dates[0] = 0
    assert Pool(target, [0]).candidates(-5, 30)


def test_flags_that_the_source_has_lost_change_nothing():
    """An index is gone: what it has said before, and what was done here, stays."""
    here = there((1, SEEN), (2, FLAGGED), imported=3)
    now = said((1, NONE), (2, NONE), (5, NONE))
    for memory in None, passed((1, 1, SEEN), (2, 2, FLAGGED)):
        assert compare(FOLDER, now, here, memory, hash_of).flags
        now.flags_lost = True
        plan = compare(FOLDER, now, here, memory, hash_of)
        assert (plan.flags, plan.disputed, [*plan.own]) == ({}, 0, [2])
        now.flags_lost = False
