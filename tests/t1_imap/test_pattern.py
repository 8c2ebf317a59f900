"""LIST patterns against a slow and obvious reading of RFC 3501 §6.3.8."""

import re

from hypothesis import given
from hypothesis import strategies as st

from aerogramme.imap.pattern import matcher

TEXT = st.text("ab/*%", max_size=8)
NAMES = st.text("ab/", min_size=1, max_size=10)


def obvious(pattern: str, name: str) -> bool:
    parts = {"*": ".*", "%": "[^/]*"}
    return re.fullmatch("".join(parts.get(c) or re.escape(c) for c in pattern), name) is not None


@given(TEXT, NAMES)
def test_as_the_obvious_reading(pattern: str, name: str) -> None:
    assert matcher(pattern)(name) == obvious(pattern, name)


def test_inbox_in_any_case() -> None:
    assert matcher("inbox")("INBOX")
    assert matcher("Inbox/%")("INBOX/x")
    assert matcher("\u0131nbox")("\u0131nbox")
    assert matcher("i%")("INBOX") is False  # only the whole name is without case
    assert not matcher("work/inbox")("work/INBOX")


def test_a_long_pattern_takes_no_time() -> None:
    # With backtracking this would outlast the sun, and a step for each place in the name would take minutes.
    assert not matcher("*%a" * 300 + "b")("a/" * 400)
    many_places = matcher("*a" * 900 + "b")
    for _ in range(100):
        assert not many_places("a" * 1000)
    assert matcher("*" * 100_000)("x" * 900)
    assert not matcher("x" * 100_000)("x" * 900)
