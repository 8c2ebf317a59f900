"""Whatever comes: a command is read, or refused with BadSyntax; and the next command is understood."""

from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import BadSyntax, UnknownCharset
from aerogramme.imap import commands as c
from aerogramme.imap.framing import AppendHead, CommandText, Framer, Rejected, after_login
from aerogramme.imap.grammar import COMMANDS, UID_COMMANDS, parse, parse_append
from aerogramme.imap.grammar_search import ARGUMENTS, CODECS, SIMPLE
from aerogramme.imap.states import RULES
from aerogramme.mailbox.search_keys import Text
from tests.helpers import imap_commands as client
from tests.helpers.feed import events

WORDS = st.sampled_from(
    [
        *COMMANDS,
        *UID_COMMANDS,
        *ARGUMENTS,
        *SIMPLE,
        b" ",
        b" ",
        b" ",
        b"(",
        b")",
        b"[",
        b"]",
        b"<",
        b">",
        b'"',
        b"\\",
        b"*",
        b"%",
        b",",
        b":",
        b".",
        b"{3}\r\n",
        b"0",
        b"1",
        b"4294967296",
        b"a ",
        b"INBOX",
        b"BODY[",
        b"BODY.PEEK[",
        b"HEADER.FIELDS (",
        b"RETURN (",
        b"QRESYNC (",
        b"CHANGEDSINCE ",
        b"UNCHANGEDSINCE ",
        b"VANISHED",
        b"CHARSET ",
        b"UTF-8",
        b"STATUS (",
        b"+FLAGS.SILENT ",
        b"\\Seen",
        b"NIL",
        b"=",
        b"&",
        b"&AOQ-",
        b"\0",
        b"\r",
        b"\n",
        b"\xff",
        b"1-Jan-2000",
        b"CONDSTORE",
        b"USE (",
        b"MODSEQ",
    ]
)
nonsense = st.lists(WORDS | st.binary(max_size=4), max_size=14).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good command with some octets changed, left out, doubled, or put in."""
    text = bytearray(client.write(draw(client.any_command)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        match draw(st.integers(0, 3)):
            case 0:
                text[at : at + draw(st.integers(1, 4))] = b""
            case 1:
                text[at:at] = draw(WORDS | st.binary(min_size=1, max_size=3))
            case 2:
                text[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case _:
                text[at:at] = text[at : at + draw(st.integers(1, 8))]
    return bytes(text)


appends = st.tuples(
    st.binary(max_size=2),
    st.sampled_from([b" APPEND ", b" append x "]),
    nonsense,
    st.sampled_from([b"{3}", b"~{3+}"]),
).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=40) | nonsense | nonsense.map(lambda text: b"a " + text) | mutated())
def test_read_or_refused(text: bytes) -> None:
    try:
        command = parse(text)
    except (BadSyntax, UnknownCharset) as error:
        assert error.tag is None or text.startswith(error.tag + b" ")
    else:
        assert type(command) in RULES
        assert text.startswith(command.tag + b" ")


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=8).map(b"".join))
def test_append_is_read_or_refused(text: bytes) -> None:
    try:
        command = parse_append(AppendHead(b"a APPEND " + text, 5))
    except BadSyntax as error:
        assert error.tag == b"a"
    else:
        assert command.size == 5


@settings(max_examples=300, deadline=None)
@given(st.lists(nonsense | mutated() | appends, max_size=4))
def test_the_next_command_is_understood(lines: list[bytes]) -> None:
    framer = Framer(after_login(1000))
    framer.receive(b"\r\n".join(lines))
    # Whatever literal is open: these line ends fill it, or are blank lines.
    framer.receive(b"\r\n" * 2000 + b"z NOOP\r\n")
    read: list[c.Command] = []
    for event in events(framer):
        if isinstance(event, CommandText | AppendHead):
            try:
                read.append(parse_append(event) if isinstance(event, AppendHead) else parse(event.text))
            except (BadSyntax, UnknownCharset):
                continue
        elif isinstance(event, Rejected) and event.fatal:
            return
    assert read[-1] == c.Noop(b"z")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=8).filter(lambda octets: 0 not in octets))
def test_a_search_text_is_text_in_any_charset(codec: str, octets: bytes) -> None:
    try:
        command = parse(b"a SEARCH CHARSET %b TEXT {%d}\r\n%b" % (codec.encode(), len(octets), octets))
    except BadSyntax:
        return
    assert isinstance(command, c.Search) and isinstance(command.key, Text)
    command.key.text.encode("utf-8")  # raises for half a surrogate pair
