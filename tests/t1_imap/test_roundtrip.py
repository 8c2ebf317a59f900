"""Whatever the grammar can mean, a client can write, and it is read as what was meant."""

from hypothesis import given, settings

from aerogramme.imap.commands import Append, Command
from aerogramme.imap.framing import AppendEnd, AppendHead, CommandText, Framer, after_login
from aerogramme.imap.grammar import parse, parse_append
from tests.helpers import imap_commands as client


@settings(max_examples=300, deadline=None)
@given(client.any_command)
def test_value_to_bytes_to_value(command: Command) -> None:
    text = client.write(command)
    assert parse(text) == command
    framer = Framer(after_login(1000))
    framer.receive(text + b"\r\n")
    assert framer.next_event() == CommandText(text)
    assert framer.next_event() is None


@settings(max_examples=300, deadline=None)
@given(client.appends)
def test_append_to_bytes_to_append(command: Append) -> None:
    head = client.write_append(command)
    assert parse_append(head) == command
    framer = Framer(after_login(1000))
    framer.receive(head.text + b"{%d+}\r\n" % head.size)
    assert framer.next_event() == head
    assert framer.accept() == b""
    framer.receive(b"x" * head.size + b"\r\n")
    size = 0
    while not isinstance(event := framer.next_event(), AppendEnd):
        assert event is not None and not isinstance(event, AppendHead)
        size += len(event.data)  # type: ignore[union-attr]
    assert (size, event.text) == (head.size, b"")
