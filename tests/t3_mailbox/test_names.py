"""Mailbox names: what they become, which are refused, and the list made of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Refused
from aerogramme.mailbox.names import MAX_DEPTH, MAX_PART, below, canonical, check, listing, parents


@pytest.mark.parametrize(
    ("given_name", "stored"),
    [
        ("inbox", "INBOX"),
        ("InBox/Work", "INBOX/Work"),
        ("inboxes", "inboxes"),
        ("\u0131nbox", "\u0131nbox"),  # no letter of ASCII, though its capital is one
        ("a/b/", "a/b"),
        ("Entwu\u0308rfe", "Entwürfe"),
        ("a/inbox", "a/inbox"),
    ],
)
def test_canonical(given_name, stored) -> None:
    assert canonical(given_name) == stored
    assert check(given_name) == stored


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/a",
        "a//b",
        "a//",
        "a\r\nb",
        "a\x00",
        "a\u2028b",
        "..",
        "a/../b",
        "x" * (MAX_PART + 1),
        "ü" * (MAX_PART // 2 + 1),
        "/".join("a" * (MAX_DEPTH + 1)),
        "a\ud800",
        pytest.param("\u0301\u0323" * 500_000, id="long"),  # to normalize that would take an hour
    ],
)
def test_names_that_no_mailbox_can_have(name) -> None:
    with pytest.raises(Refused):
        check(name)


@given(st.text(max_size=40))
def test_a_valid_name_is_its_own_canonical_form(name) -> None:
    try:
        stored = check(name)
    except Refused:
        return
    assert check(stored) == stored == canonical(stored)
    assert all(above and stored.startswith(above + "/") for above in parents(stored))


def test_the_hierarchy() -> None:
    assert list(parents("a/b/c")) == ["a", "a/b"]
    assert list(parents("a")) == []
    assert below("a", ["a", "a/b", "ab", "a/b/c"]) == ["a/b", "a/b/c"]


def test_the_list_has_the_levels_between() -> None:
    infos = listing({"b/c/d": 1, "INBOX": 2, "a": 3, "a/x": 4, "a!": 5}, {3: "\\Sent"}, {"a", "b"})
    assert [(i.name, i.selectable, i.children, i.role, i.subscribed) for i in infos] == [
        ("INBOX", True, False, None, False),
        ("a", True, True, "\\Sent", True),
        ("a/x", True, False, None, False),
        ("a!", True, False, None, False),
        ("b", False, True, None, True),
        ("b/c", False, True, None, False),
        ("b/c/d", True, False, None, False),
    ]
