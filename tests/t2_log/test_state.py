"""The state is a set of facts: the same in any order and repetition, and what a naive model says."""

from contextlib import suppress
from itertools import chain, permutations

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import Damaged
from aerogramme.log import rules
from aerogramme.log.entry import NO_LINK, Add, Again, Entry, MailboxOp, Remove, row_key
from aerogramme.log.entry_bytes import decode, encode
from aerogramme.log.segment import pack
from aerogramme.log.state import State
from aerogramme.seal import Keyring
from tests.helpers.log_facts import facts_of
from tests.helpers.log_reference import boxes
from tests.helpers.log_strategies import logs

KEYRING = Keyring.create(bytes(16))
KEY = row_key(1, 1, 1)


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


@given(logs(), st.data())
@settings(max_examples=100, deadline=None)
def test_octets_are_the_sum_of_the_sizes_whenever_they_are_first_asked_for(log, data):
    state = State()
    for entry in data.draw(st.permutations(log)):
        state.apply(entry)
        for table in state.tables.values():
            if data.draw(st.booleans()):
                assert table.octets == sum(table.sizes)
    assert all(table.octets == sum(table.sizes) for table in state.tables.values())


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


def packed(*ops):
    return msgpack.packb([1, NO_LINK, [], [], [], 0, list(ops)])


def nested(depth):
    plain = packed()
    for _ in range(depth):
        plain = packed([8, KEY, plain])
    return plain


LONG = 1 << 62
BOMBS = {
    "entries in one another": lambda: nested(2000),
    "one message over and over": lambda: packed([3, 1, [5, LONG, -LONG, LONG]]),
    "more messages than dates": lambda: packed(
        [1, 1, [5, LONG], [5, 9], b"", b"", [[]], [0, LONG], None, None]
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_entry_takes_more_memory_or_stack_than_it_is_long(bomb):
    """A parcel is one, and anybody who has the public key may write it."""
    with pytest.raises(Damaged):
        decode(KEY, BOMBS[bomb]())


def test_an_entry_that_is_said_again_may_say_another_again():
    assert isinstance(decode(KEY, nested(20)).ops[0], Again)


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


def test_a_deleted_mailbox_shows_whenever_something_is_in_it():
    state = box(("Work", 5, True))
    for message in (1, 2):
        assert state.names == {}
        state._apply_op(Add(1, [message], [message], [0], [0], [()], [message]), 6)
        assert state.names == {"Work": 1}
        state._apply_op(Remove(1, [message]), 7)
    assert state.names == {}


def test_names_are_looked_for_only_when_they_may_have_changed():
    class Counted(dict):
        looks = 0

        def __iter__(self):
            self.looks += 1
            return super().__iter__()

    state = box(*((f"m{n}", n, n % 2 == 0) for n in range(1, 10)))
    state.attributes = Counted(state.attributes)
    for message in range(1, 6):
        assert len(state.names) == len(state.mailboxes) == 5 and state.roles == {}
        state._apply_op(Add(1, [message], [message], [0], [0], [()], [message]), 20 + message)
    assert state.attributes.looks == 1
    state._apply_op(MailboxOp(1, name="other"), 30)
    assert "other" in state.names and state.attributes.looks == 2


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


def test_a_letter_that_was_put_into_several_mailboxes_stays_in_one_whoever_decides():
    """By servers that know of some of them only, by all at once, and in any order."""
    packed = pack(KEYRING, [77, 78], {"digest": {"d": [b"", b""]}}).ref
    adds = [
        Entry(n, n, 1, NO_LINK, (Add(box, [77, 78], [1, 2], [0] * 2, [0] * 2, [()] * 2, [77, 78], packed),))
        for n, box in enumerate([30, 10, 20], 1)
    ]
    removals = []
    for known in chain.from_iterable(permutations(adds, count) for count in (1, 2, 3)):
        ops = [op for op in rules.due(state_of(known)) if isinstance(op, Remove)]
        assert sum(len(op.ids) for op in ops) == 2 * (len(known) - 1)
        removals += ops
    decided = [Entry(9, 9, n, NO_LINK, (op,)) for n, op in enumerate(removals, 1)]
    state = state_of([*decided, *adds])
    assert {box: list(table.ids) for box, table in state.tables.items()} == {10: [], 20: [], 30: [77, 78]}
    assert not rules.once(state)
