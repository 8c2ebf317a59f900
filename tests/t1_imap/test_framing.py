"""Framing: each case whole, octet by octet and with a command following; sync is never lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.imap.framing import (
    BEFORE_LOGIN,
    CONTINUE,
    AppendData,
    AppendEnd,
    AppendHead,
    CommandText,
    Continue,
    Event,
    Framer,
    Limits,
    Line,
    Rejected,
    after_login,
)
from tests.helpers.feed import events, one_by_one, whole

SMALL = Limits(line=100, command=150, message=50, skip=200)

CASES: dict[str, tuple[bytes, list[Event]]] = {
    "plain": (b"a NOOP\r\n", [CommandText(b"a NOOP")]),
    "bare LF": (b"a NOOP\nb NOOP\n", [CommandText(b"a NOOP"), CommandText(b"b NOOP")]),
    "blank lines": (b"\r\n\n \t\r\na NOOP\r\n\r\n", [CommandText(b"a NOOP")]),
    "bare CR stays for the grammar": (b"a NO\rOP\r\n", [CommandText(b"a NO\rOP")]),
    "literal": (b"a X {3}\r\nb\nc\r\n", [Continue(), CommandText(b"a X {3}\r\nb\nc")]),
    "literal after LF": (b"a X {3}\nabc\n", [Continue(), CommandText(b"a X {3}\r\nabc")]),
    "literal of nothing": (b"a X {0}\r\n\r\n", [Continue(), CommandText(b"a X {0}\r\n")]),
    "literals": (
        b"a X {1+}\r\n\n {2}\r\n\r\n (z)\r\n",
        [Continue(), CommandText(b"a X {1+}\r\n\n {2}\r\n\r\n (z)")],
    ),
    "literal that looks like a command": (
        b"a X {8+}\r\nb NOOP\r\n\r\n",
        [CommandText(b"a X {8+}\r\nb NOOP\r\n")],
    ),
    "no literal within quotes": (b'a X "{3}"\r\n', [CommandText(b'a X "{3}"')]),
    "append": (
        b"a append x {3}\r\nabc\r\n",
        [AppendHead(b"a append x ", 3), AppendData(b"abc"), AppendEnd(b"")],
    ),
    "append of nothing": (b"a APPEND x {0+}\r\n\r\n", [AppendHead(b"a APPEND x ", 0), AppendEnd(b"")]),
    "append, binary": (
        b"a APPEND x ~{2+}\r\n\0\n\r\n",
        [AppendHead(b"a APPEND x ", 2, binary=True), AppendData(b"\0\n"), AppendEnd(b"")],
    ),
    "append, mailbox as a literal": (
        b"a APPEND {1+}\r\nx (\\Seen) {3+}\r\na\nb\r\n",
        [AppendHead(b"a APPEND {1+}\r\nx (\\Seen) ", 3), AppendData(b"a\nb"), AppendEnd(b"")],
    ),
    "append of two": (
        b"a APPEND x {1+}\r\n1 (\\Seen) {2+}\r\n22\r\n",
        [
            AppendHead(b"a APPEND x ", 1),
            AppendData(b"1"),
            AppendHead(b" (\\Seen) ", 2, more=True),
            AppendData(b"22"),
            AppendEnd(b""),
        ],
    ),
    "append with something behind it": (
        b"a APPEND x {1+}\r\n1 x\r\n",
        [AppendHead(b"a APPEND x ", 1), AppendData(b"1"), AppendEnd(b" x")],
    ),
    "append without a message": (b"a APPEND x\r\n", [CommandText(b"a APPEND x")]),
    "append too large, asked": (
        b"a APPEND x {51}\r\n",
        [Rejected(b"a", "NO", "TOOBIG", "The message is larger than this server takes")],
    ),
    "append too large, unasked": (
        b"a APPEND x {51+}\r\n" + b"\n" * 51 + b"\r\n",
        [Rejected(b"a", "NO", "TOOBIG", "The message is larger than this server takes")],
    ),
    "second message too large": (
        b"a APPEND x {1+}\r\n1 {51+}\r\n" + b"\n" * 51 + b"\r\n",
        [
            AppendHead(b"a APPEND x ", 1),
            AppendData(b"1"),
            Rejected(b"a", "NO", "TOOBIG", "The message is larger than this server takes"),
        ],
    ),
    "NUL behind a message": (
        b"a APPEND x {1+}\r\n1\0\r\n",
        [
            AppendHead(b"a APPEND x ", 1),
            AppendData(b"1"),
            Rejected(b"a", "BAD", None, "A command cannot contain NUL"),
        ],
    ),
    "longest line": (b"a " + b"x" * 98 + b"\r\n", [CommandText(b"a " + b"x" * 98)]),
    "line too long": (b"a " + b"x" * 99 + b"\r\n", [Rejected(b"a", "BAD", None, "The line is too long")]),
    "line much too long": (
        b"a " + b"x" * 999 + b"\n",
        [Rejected(b"a", "BAD", None, "The line is too long")],
    ),
    "line too long with a literal at its end": (
        b"a " + b"x" * 999 + b"{8+}\r\nb NOOP\r\n{10+}\r\nc NOOP\r\nx\n\r\n",
        [Rejected(b"a", "BAD", None, "The line is too long")],
    ),
    "line without a tag too long": (
        b"(" * 200 + b"\r\n",
        [Rejected(None, "BAD", None, "The line is too long")],
    ),
    "literal too large, asked": (
        b"a X {150}\r\n",
        [Rejected(b"a", "BAD", "TOOBIG", "The literal is too long")],
    ),
    "literal too large, unasked": (
        b"a X {150+}\r\n" + b"\r\n" * 75 + b" x {3+}\r\n\n\n\n\r\n",
        [Rejected(b"a", "BAD", "TOOBIG", "The literal is too long")],
    ),
    "second literal too large": (
        b"a X {100+}\r\n" + b"\n" * 100 + b" {50+}\r\n" + b"\n" * 50 + b"\r\n",
        [Rejected(b"a", "BAD", "TOOBIG", "The literal is too long")],
    ),
    "command too long behind a literal": (
        b"a X {100+}\r\n" + b"\n" * 100 + b"x" * 60 + b"\r\n",
        [Rejected(b"a", "BAD", "TOOBIG", "The command is too long")],
    ),
    "literal of no size, asked": (
        b"a X {99999999999999999999}\r\n",
        [Rejected(b"a", "BAD", None, "No literal is that long")],
    ),
    "NUL": (b"a \0\r\n", [Rejected(b"a", "BAD", None, "A command cannot contain NUL")]),
    "NUL before a literal": (
        b"a \0 {5+}\r\nb X\r\n\r\n",
        [Rejected(b"a", "BAD", None, "A command cannot contain NUL")],
    ),
    "NUL within a literal stays for the grammar": (b"a {1+}\r\n\0\r\n", [CommandText(b"a {1+}\r\n\0")]),
    "a tag that cannot be repeated": (
        b"+a \0\r\n",
        [Rejected(None, "BAD", None, "A command cannot contain NUL")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_three_ways(case: str) -> None:
    data, expected = CASES[case]
    assert whole(data, SMALL) == expected
    assert one_by_one(data, SMALL) == expected
    following = CommandText(b"z NOOP")
    assert whole(data + b"z NOOP\r\n", SMALL) == [*expected, following]
    assert one_by_one(data + b"z NOOP\r\n", SMALL) == [*expected, following]


REFUSED: dict[str, tuple[bytes, list[Event]]] = {
    "asked: it is not sent": (b"a APPEND x {7}\r\n", [AppendHead(b"a APPEND x ", 7)]),
    "unasked: it is skipped": (b"a APPEND x {7+}\r\nb NOOP\n\r\n", [AppendHead(b"a APPEND x ", 7)]),
    "unasked, and another": (
        b"a APPEND x {3+}\r\n\n\n\n (\\Seen) {2+}\r\n\n\n\r\n",
        [AppendHead(b"a APPEND x ", 3)],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_messages(case: str) -> None:
    data, expected = REFUSED[case]
    following = CommandText(b"z NOOP")
    for feed in whole, one_by_one:
        assert feed(data + b"z NOOP\r\n", SMALL, lambda _head: False) == [*expected, following]


def test_a_message_can_be_given_up_amid_it_or_behind_it() -> None:
    framer = Framer(SMALL)
    framer.receive(b"a APPEND x {4}\r\n")
    assert framer.next_event() == AppendHead(b"a APPEND x ", 4)
    assert framer.accept() == CONTINUE
    framer.receive(b"12")
    assert framer.next_event() == AppendData(b"12")
    framer.refuse()
    framer.receive(b"\n\n\r\nb APPEND x {1+}\r\n")
    assert framer.next_event() == AppendHead(b"b APPEND x ", 1)
    assert framer.accept() == b""
    framer.receive(b"1")
    assert framer.next_event() == AppendData(b"1")
    framer.refuse()
    framer.receive(b" {5+}\r\n\r\n\r\n\n\r\nc NOOP\r\n")
    assert framer.next_event() == CommandText(b"c NOOP")


@pytest.mark.parametrize(
    "data",
    [
        b"a X {201+}\r\n",
        b"a X {99999999999999999999+}\r\n",
        b"a APPEND x {201+}\r\n",
        b"a \0 {201+}\r\n",
        b"a X {151+}\r\n" + b"x" * 151 + b"{201+}\r\n",
        b"x" * 300 + b"{201+}\r\n",
    ],
)
def test_a_literal_too_large_to_skip_ends_it(data: bytes) -> None:
    for feed in whole, one_by_one:
        found = feed(data + b"x" * 500 + b"\r\nb NOOP\r\n", SMALL)
        assert isinstance(found[-1], Rejected)
        assert [event.fatal for event in found if isinstance(event, Rejected)][-1]
        assert CommandText(b"b NOOP") not in found


def test_a_line_out_of_turn_and_commands_in_the_same_packet() -> None:
    # RFC 2177 §3; iOS 18 sends DONE and what follows in one packet.
    framer = Framer(after_login(1000))
    framer.receive(b"a IDLE\r\nDONE\r\nb NOOP\r\nc AUTHENTICATE PLAIN\r\n\r\n{3}\r\nd NOOP\r\n")
    assert framer.next_event() == CommandText(b"a IDLE")
    assert framer.next_line() == Line(b"DONE")
    assert framer.next_event() == CommandText(b"b NOOP")
    assert framer.next_event() == CommandText(b"c AUTHENTICATE PLAIN")
    assert framer.next_line() == Line(b"")
    assert framer.next_line() == Line(b"{3}")
    assert framer.next_event() == CommandText(b"d NOOP")
    assert framer.next_line() is None


def test_a_line_out_of_turn_that_is_too_long() -> None:
    framer = Framer(SMALL)
    framer.receive(b"x" * 200)
    assert isinstance(framer.next_line(), Rejected)
    framer.receive(b"\r\nb NOOP\r\n")
    assert framer.next_event() == CommandText(b"b NOOP")


def test_before_login_an_append_is_a_command_like_any_other() -> None:
    data = b"a APPEND x {3+}\r\nabc\r\nb APPEND x {9000+}\r\n" + b"\n" * 9000 + b"\r\nc NOOP\r\n"
    assert whole(data, BEFORE_LOGIN) == [
        CommandText(b"a APPEND x {3+}\r\nabc"),
        Rejected(b"b", "BAD", "TOOBIG", "The literal is too long"),
        CommandText(b"c NOOP"),
    ]


@pytest.mark.parametrize("begin", [b"a X", b"a" * 60_000 + b" X"], ids=["", "a long tag"])
def test_many_small_literals_take_linear_time(begin: bytes) -> None:
    # A quadratic framer would need minutes for it.
    data = begin + b" {0+}\r\n" * 100_000 + b"\r\nb NOOP\r\n"
    found = whole(data, after_login(1000))
    assert found == [CommandText(data[: data.index(b"\r\nb NOOP")]), CommandText(b"b NOOP")]


PIECES = st.sampled_from(
    [
        *(
            b"a ",
            b"NOOP",
            b"APPEND",
            b" ",
            b"x",
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
            b'"',
            b"(",
            b"x" * 90,
            b"\xff",
        ),
        *(b"{3}", b"{3+}", b"{60+}", b"~{1}", b"{210+}", b"{}", b"a APPEND x {9+}\r\n", b"a X {5}\r\n"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=5), max_size=30).map(b"".join), st.booleans())
def test_any_octets_give_the_same_events_however_they_come(data: bytes, accept: bool) -> None:
    found = whole(data, SMALL, lambda _head: accept)
    assert one_by_one(data, SMALL, lambda _head: accept) == found
    framer = Framer(SMALL)
    framer.receive(data)
    framer.receive(b"\r\n" * 200)
    if not any(isinstance(event, Rejected) and event.fatal for event in events(framer)):
        # Whatever it was, enough line ends end it, and the next command is understood.
        framer.receive(b"\r\nz NOOP\r\n")
        assert list(events(framer))[-1] == CommandText(b"z NOOP")
