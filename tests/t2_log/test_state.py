"""The state is a set of facts: the same in any order and repetition, and what a naive model says."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import Damaged
from aerogramme.log.entry import Add, MailboxOp, Remove, decode, encode
from aerogramme.log.state import State
from tests.helpers.log_facts import facts_of
from tests.helpers.log_reference import boxes
from tests.helpers.log_strategies import logs


def state_of(entries):
    state = State()
    for entry in entries:
        state.apply(entry)
    return state


@given(logs(), st.data())
@settings(max_examples=150, deadline=None)
def test_any_order_and_repetition_gives_the_same_state(log, data):
    expected = facts_of(state_of(log))
    shuffled = data.draw(
        st.permutations(log + data.draw(st.lists(st.sampled_from(log), max_size=4) if log else st.just([])))
    )
    assert facts_of(state_of(shuffled)) == expected


@given(logs(), st.data())
@settings(max_examples=150, deadline=None)
def test_the_state_is_what_the_naive_model_says(log, data):
    state = State()
    seen = []
    for entry in data.draw(st.permutations(log)):
        state.apply(entry)
        seen.append(entry)
        if data.draw(st.booleans()):
            for mailbox, box in boxes(seen).items():
                box.compare(state.tables[mailbox])
    for mailbox, box in boxes(seen).items():
        box.compare(state.tables[mailbox])
        facts_of(state)


@given(logs(max_entries=4))
@settings(max_examples=100, deadline=None)
def test_an_entry_is_stored_and_read_back(log):
    for entry in log:
        stored = encode(entry)
        read = decode(entry.key, stored)
        assert read == entry
        assert encode(read) == stored


@given(logs(max_entries=2), st.data())
@settings(max_examples=100, deadline=None)
def test_what_is_not_an_entry_is_damaged(log, data):
    for entry in log:
        stored = bytearray(encode(entry))
        at = data.draw(st.integers(0, len(stored) - 1))
        stored[at] ^= data.draw(st.integers(1, 255))
        for broken in bytes(stored), bytes(stored[:at]), bytes(stored) + b"\0":
            with suppress(Damaged):  # either it is an entry, or it is Damaged: never another error
                state_of([decode(entry.key, broken)])


def box(*names, clock=1):
    state = State()
    for mailbox, (name, at, deleted) in enumerate(names, 1):
        state._apply_op(MailboxOp(mailbox, name, "", deleted, 10 + mailbox), at)
    return state


def test_of_two_mailboxes_with_one_name_the_later_has_a_suffix():
    state = box(("Work", 5, False), ("Work", 3, False), ("Work (2)", 9, False), ("Work", 4, False))
    assert state.names == {"Work": 2, "Work (2)": 3, "Work (3)": 4, "Work (4)": 1}
    assert state.last_uidvalidity == 14


def test_what_came_into_a_deleted_mailbox_survives():
    state = box(("Work", 5, False))
    state._apply_op(Add(1, [1, 2], [1, 2], [0, 0], [0, 0], [(), ()], [1, 2]), 6)
    for op in Remove(1, [1]), MailboxOp(1, deleted=True):
        state._apply_op(op, 7)
    assert state.names == {"Work": 1} and list(state.mailboxes[1].ids) == [2]
    state._apply_op(Remove(1, [2]), 8)
    assert state.names == {} and state.mailboxes == {}


def test_a_special_use_belongs_to_one_mailbox():
    state = box(("a", 1, False), ("b", 2, False))
    state._apply_op(MailboxOp(2, role="\\Sent"), 3)
    state._apply_op(MailboxOp(1, role="\\Sent"), 4)
    assert state.roles == {2: "\\Sent"}


def test_an_add_has_columns_of_one_length_and_no_message_twice():
    with pytest.raises(ValueError, match="length"):
        Add(1, [1], [1, 2], [0], [0], [()], [1])
    with pytest.raises(ValueError, match="twice"):
        Add(1, [1, 1], [1, 2], [0, 0], [0, 0], [(), ()], [1, 2])
