"""Whatever a client sends is answered, no fault of ours shows, and the next command is understood."""

import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aerogramme.imap.context import Peer
from aerogramme.imap.session import Session
from tests.helpers.imap_world import World, imap_world
from tests.helpers.transcript import load

LINES = sorted(
    {
        line.encode()
        for dialogue in load(Path(__file__).parent.parent / "transcripts", ".imap")
        for step in dialogue.steps
        for line in step.send
        if "«" not in line
    }
)
ODD = [
    b"\0",
    b"\r",
    b"\n",
    b"{3+}\r\nabc",
    b"{3}\r\nabc",
    b"(",
    b")",
    b'"',
    b"\\",
    b"*",
    b"%",
    b"\xff",
    b" ",
    b"[",
    b"<",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A line of a transcript, whole or with something put in, taken out or doubled."""
    line = draw(st.sampled_from(LINES))
    for _ in range(draw(st.integers(0, 2))):
        at, length = draw(st.integers(0, len(line))), draw(st.integers(0, 6))
        piece = draw(st.sampled_from([b"", line[at : at + length] * 2, *ODD]))
        line = line[:at] + piece + line[at + length :]
    return line + b"\r\n"


class Answers:
    full = False

    def __init__(self) -> None:
        self.octets = b""

    def write(self, octets: bytes) -> None:
        self.octets += octets

    async def flush(self) -> None: ...

    async def pause(self) -> None: ...

    def stop(self, farewell: bytes) -> None: ...


async def survive(world: World, state: bytes, pieces: list[bytes]) -> None:
    out = Answers()
    session = Session(world.service, Peer("local", loopback=True), out)
    session.greet()
    session.receive(state)
    await session.proceed()
    for piece in pieces:
        out.octets = b""
        session.receive(piece)
        await session.proceed()
        assert b"SERVERBUG" not in out.octets
    # An announced literal swallows what comes; IDLE ends with DONE, AUTHENTICATE with a star, an APPEND's
    # literal with its octets. Then a command is a command again.
    for _ in range(200):
        out.octets = b""
        session.receive(b"*\r\nDONE\r\n" + b"x" * 50 + b"\r\n\r\n~~ NOOP\r\n")
        await session.proceed()
        if session.closed or b"~~ OK NOOP completed\r\n" in out.octets:
            break
    assert session.closed or b"~~ OK NOOP completed\r\n" in out.octets
    session.close()


STATES = [
    b"",
    b"a LOGIN alice secret\r\n",
    b"a LOGIN alice secret\r\nb SELECT INBOX\r\n",
    b"a LOGIN alice secret\r\nb ENABLE QRESYNC\r\nc EXAMINE INBOX\r\n",
    b"a LOGIN alice secret\r\nb SELECT INBOX\r\nc IDLE\r\n",
    b"a AUTHENTICATE PLAIN\r\n",
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    state=st.sampled_from(STATES),
    pieces=st.lists(mutated() | st.binary(max_size=40).map(lambda octets: octets + b"\r\n"), max_size=12),
)
async def test_anything_at_all(state: bytes, pieces: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with imap_world() as world:
        await world.mail("INBOX", 3)
        await survive(world, state, pieces)
    assert not caplog.records
