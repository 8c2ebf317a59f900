"""What is sent as it is can be read by whoever reads it, and nothing else passes for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.mail.digest import render
from aerogramme.mail.wire import is_wire, string

HEADER = st.sampled_from([b"From", b"To", b"Subject", b"Content-Type", b"Date", b"Message-ID"])


@given(st.lists(st.tuples(HEADER, st.binary(max_size=40))), st.binary(max_size=60))
def test_what_is_rendered_can_be_sent(fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    digest = render(b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n" + body)
    assert all(map(is_wire, (digest.envelope, digest.bodystructure, digest.body)))


@given(st.binary())
def test_any_string_can_be_sent(value: bytes) -> None:
    assert is_wire(b"(NIL 12 (%b))" % string(value))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"NIL",
        b"{1}\r\na",
        b"(",
        b"())",
        b"(NIL",
        b"() ()",
        b"(NIL)\r\n* 1 EXPUNGE",
        b"(\r\n)",
        b'("a\r\n")',
        b'("a)',
        b"(INBOX)",
        b"({4}\r\nabc)",
        b"({1}\r\n\0)",
        b"({1}abc)",
        b"({999999999}\r\na)",
    ],
)
def test_what_no_client_can_read_does_not_pass(value: bytes) -> None:
    assert not is_wire(value)
