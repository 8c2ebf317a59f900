"""What an IMAP server says: found in octets that come in any pieces, and taken apart."""

import contextlib
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.migrate.sources.imap import answers
from aerogramme.migrate.sources.imap.answers import Value, values
from aerogramme.migrate.sources.imap.reading import MAX_ANSWER, Answer, Data, Event, Head, Nonsense, Reader


def events(pieces: Iterable[bytes]) -> list[Event]:
    """All events; the octets of a letter as one."""
    reader = Reader()
    found: list[Event] = []
    for piece in pieces:
        reader.receive(piece)
        while (event := reader.next_event()) is not None:
            if isinstance(event, Data) and found and isinstance(found[-1], Data):
                found[-1] = Data(found[-1].octets + event.octets)
            else:
                found.append(event)
    return found


def cut(octets: bytes, sizes: list[int]) -> Iterable[bytes]:
    """The octets in pieces of these sizes, over and over."""
    at = count = 0
    while at < len(octets):
        size = sizes[count % len(sizes)]
        yield octets[at : at + size]
        at, count = at + size, count + 1


lines = st.binary(max_size=30).map(lambda text: b"* " + text.translate(None, b"\r\n{}"))
contents = st.one_of(st.binary(max_size=40), st.just(b"a5 OK\r\n* 1 FETCH (BODY[] {3}\r\n"))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """What a server sends, and the events of it."""
    octets, expected = b"", list[Event]()
    for kind in draw(st.lists(st.sampled_from(["line", "literal", "letter"]), max_size=8)):
        if kind == "line":
            line = draw(lines)
            octets += line + draw(st.sampled_from([b"\r\n", b"\n"]))
            expected.append(Answer(line))
        elif kind == "literal":
            line, content, behind = draw(lines), draw(contents), draw(lines)
            text = line + b"{%d}\r\n" % len(content) + content + behind
            octets += text + b"\r\n"
            expected.append(Answer(text))
        else:
            content = draw(contents)
            head = b"* 7 FETCH (UID 9 %b%b " % (
                draw(st.sampled_from([b"", b"FLAGS (\\Seen) ", b"X {3}\r\nabc "])),
                draw(st.sampled_from([b"BODY[]", b"body[]<0>"])),
            )
            tilde, tail = draw(st.sampled_from([b"", b"~"])), draw(st.sampled_from([b")", b" FLAGS ())"]))
            octets += head + tilde + b"{%d}\r\n" % len(content) + content + tail + b"\r\n"
            expected.append(Head(head, len(content)))
            if content:
                expected.append(Data(content))
            expected.append(Answer(tail, behind=True))
    return octets, expected


@given(conversations(), st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_events_do_not_depend_on_the_pieces(
    conversation: tuple[bytes, list[Event]], sizes: list[int]
) -> None:
    octets, expected = conversation
    assert events(cut(octets, sizes)) == expected


def test_a_letter_is_passed_on_as_it_comes() -> None:
    reader = Reader()
    reader.receive(b"* 1 FETCH (UID 3 BODY[] {1000000000000}\r\nfirst")
    assert reader.next_event() == Head(b"* 1 FETCH (UID 3 BODY[] ", 10**12)
    assert reader.next_event() == Data(b"first")
    assert reader.next_event() is None
    reader.receive(b"second")
    assert reader.next_event() == Data(b"second")


@pytest.mark.parametrize(
    "octets",
    [
        b"x" * (MAX_ANSWER + 1),
        b"x" * (MAX_ANSWER + 1) + b"\r\n",
        b"* LIST () {%d}\r\n" % MAX_ANSWER,
        b"* LIST () {9999999999999999999}\r\n",
        b"* X {2000000}\r\n" + b"x" * 2_000_000 + b" {2000000}\r\n" + b"y" * 2_000_000 + b" {2000000}\r\n",
        # A second letter in an answer is none that was asked for.
        b"* 1 FETCH (BODY[] {1}\r\nx BODY[] {5000000}\r\n",
    ],
)
def test_what_is_too_long_ends_it(octets: bytes) -> None:
    with pytest.raises(Nonsense):
        events([octets])


@given(st.binary(max_size=200))
def test_any_octets_are_events_or_nonsense(octets: bytes) -> None:
    with contextlib.suppress(Nonsense):
        events([octets, b"\r\n"])


READERS: list[Callable[[bytes], object]] = [
    answers.values,
    answers.done,
    answers.fetched,
    answers.listed,
    answers.status,
    answers.namespaces,
    answers.uid_in,
]
PARTS = [
    b"* ",
    b"LIST ",
    b"LSUB ",
    b"STATUS ",
    b"NAMESPACE ",
    b"1 FETCH ",
    b"(",
    b")",
]
PARTS += [
    b'"',
    b"\\",
    b" ",
    b"NIL",
    b"{3}\r\n",
    b"abc",
    b"OK ",
    b"[UIDNEXT 5]",
    b"1:3,7",
    b"UID 5",
    b"\xff",
    b"0",
]


@given(st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=3)), max_size=25).map(b"".join))
def test_any_text_has_values_or_is_nonsense(text: bytes) -> None:
    for read in READERS:
        with contextlib.suppress(Nonsense):
            read(text)


def written(value: Value, quote: bool) -> bytes:
    if value is None:
        return b"NIL"
    if isinstance(value, list):
        return b"(" + b" ".join(written(each, quote) for each in value) + b")"
    if quote and not set(value) & set(b"\r\n\0"):
        return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n" % len(value) + value


trees = st.recursive(
    st.one_of(st.none(), st.binary(max_size=12)), lambda inner: st.lists(inner, max_size=4), max_leaves=12
)


@given(st.lists(trees, max_size=4), st.booleans())
def test_values_are_read_as_they_were_written(tree: list[Value], quote: bool) -> None:
    assert values(b" ".join(written(each, quote) for each in tree)) == tree


@pytest.mark.parametrize("text", [b"(", b")", b"(()", b'"a', b"{5}\r\nabc", b"(" * 11 + b")" * 11, b"{5"])
def test_what_has_no_values(text: bytes) -> None:
    with pytest.raises(Nonsense):
        values(text)


def test_words_of_a_server_do_not_play_with_the_terminal() -> None:
    found = answers.done(b"NO [X-FOO a b] \x1b]0;gotcha\x07 \xff\r and so on" + b"!" * 1000)
    assert found is not None
    assert (found.status, found.code, found.arguments) == ("NO", "X-FOO", b"a b")
    assert found.words.startswith("\N{REPLACEMENT CHARACTER}]0;gotcha") and len(found.words) <= 300
    assert found.words.isprintable()
