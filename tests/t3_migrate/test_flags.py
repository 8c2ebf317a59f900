"""Flags of other mail stores as they are kept here."""

from hypothesis import given
from hypothesis import strategies as st

from aerogramme.imap.grammar import parse
from aerogramme.mailbox.flags import MAX_FLAGS, MAX_KEYWORD
from aerogramme.migrate.flags import keepable


def test_what_can_be_kept_is():
    assert keepable(["\\seen", "$Label1", "NonJunk", "\\Recent"]) == (("\\Seen", "$Label1", "NonJunk"), [])


def test_what_no_client_could_name_gets_underscores():
    kept, said = keepable(["to do (urgent)", "größer"])
    assert kept == ("to_do__urgent_", "gr__er")
    assert len(said) == 2 and "to_do__urgent_" in said[0]


def test_what_is_too_long_or_too_many_is_left_out_and_said():
    kept, said = keepable(["", "x" * (MAX_KEYWORD + 1), *(f"k{n}" for n in range(MAX_FLAGS + 1))])
    assert len(kept) == MAX_FLAGS and kept[0] == "k0" and len(said) == 3


@given(st.lists(st.text(max_size=20), max_size=5))
def test_a_client_can_name_what_is_kept(flags):
    for flag in keepable(flags)[0]:
        assert parse(f"a STORE 1 FLAGS ({flag})".encode()).flags == (flag,)
