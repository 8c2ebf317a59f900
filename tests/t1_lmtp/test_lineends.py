"""Line ends: one kind after this, however a message is cut into chunks, and ordinary ones are left alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.lmtp.lineends import LineEnds


def clean(*chunks: bytes) -> bytes:
    ends = LineEnds()
    return b"".join(ends.feed(chunk) for chunk in chunks) + ends.finish()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\r\nb", b"a\r\nb"),
        (b"a\r\r\r\nb", b"a\r\nb"),
        (b"a\rb", b"a b"),
        (b"a\r\rb", b"a b"),
        (b"a\r", b"a "),
        (b"a\n\r\n\nb", b"a\r\n\r\n\r\nb"),
        (b"a\n\rb", b"a\r\n b"),
        (b"a\0b\0", b"a?b?"),
        (b"\r\0\n", b" ?\r\n"),
        (b"", b""),
        (b"caf\xc3\xa9 \xff\r\n", b"caf\xc3\xa9 \xff\r\n"),
    ],
)
def test_each_case_whole_and_octet_by_octet(before, after):
    assert clean(before) == after
    assert clean(*(before[i : i + 1] for i in range(len(before)))) == after


def test_an_ordinary_chunk_is_not_copied():
    chunk = b"a\r\nb\r\n"
    assert LineEnds().feed(chunk) is chunk


@given(st.lists(st.text("\r\n\0a.", max_size=12).map(str.encode)))
def test_no_cut_matters_and_nothing_is_left_to_disagree_about(chunks):
    after = clean(*chunks)
    assert after == clean(b"".join(chunks))
    assert re.fullmatch(rb"(?:[^\r\n\0]|\r\n)*", after)
    assert clean(after) == after


def test_a_long_run_of_one_kind_takes_linear_time():
    # Quadratic work would take minutes here, and the suite's own time limit would tell.
    for octet in (b"\r", b"\n", b"\0", b"\r\n", b"\r\r\n"):
        clean(octet * 300_000)
