"""An IMAP server that says what a script says, on streams in memory.

A script is lines, for one connection:

    S: * OK ready         the server says this; @ is the tag of the oldest command that has not ended
    S| more               the same; reads better inside a literal
    C: LOGIN "u" "p"      the client must send this now, behind a tag
    C| more               the same, without a tag
    X                     the server hangs up

After its last line the server waits until the client hangs up, which may say LOGOUT first.
"""

import base64
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
import trio.testing

from aerogramme.errors import Unavailable
from aerogramme.migrate.sources.imap.access import Access
from aerogramme.migrate.sources.imap.connection import Fallen
from aerogramme.migrate.sources.imap.source import ImapSource
from aerogramme.migrate.sources.naming import Naming
from aerogramme.seal import Secret

PLAIN = base64.b64encode(b"\0alice\0secret").decode()

# What begins most scripts.
IN = f"""
S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready
C: AUTHENTICATE PLAIN {PLAIN}
S: @ OK [CAPABILITY IMAP4rev1 LITERAL+] in
"""


@dataclass
class Script:
    """Connections, one after the other, each as its script says; what comes after them is refused."""

    scripts: Sequence[str]
    nursery: trio.Nursery
    opened: int = 0

    async def open(self, access: Access) -> trio.abc.Stream:
        if self.opened >= len(self.scripts):
            raise Fallen(Unavailable("there is no more"))
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self._speak, ours, self.scripts[self.opened])
        self.opened += 1
        return theirs

    async def _speak(self, stream: trio.abc.Stream, script: str) -> None:
        tags: deque[str] = deque()
        heard = bytearray()
        answer = bytearray()  # said at once
        for line in filter(None, script.split("\n")):
            how, text = line[:2], line[3:]
            if not how.startswith("S") and answer:
                await stream.send_all(bytes(answer))
                answer.clear()
            if how in ("S:", "S|"):
                if text.startswith("@ "):
                    text = tags.popleft() + text[1:]
                answer += text.encode("latin-1") + b"\r\n"
            elif how in ("C:", "C|"):
                while b"\n" not in heard:
                    octets = await stream.receive_some()
                    assert octets, f"the client hung up before it said {text!r}"
                    heard += octets
                end = heard.index(b"\n")
                said = heard[: end - 1].decode("latin-1")
                del heard[: end + 1]
                if how == "C:":
                    tag, _, said = said.partition(" ")
                    tags.append(tag)
                assert said == text
            else:
                assert line == "X", line
                await stream.aclose()
                return
        if answer:
            await stream.send_all(bytes(answer))
        while octets := await stream.receive_some():
            heard += octets
        assert bytes(heard) in (b"", b"a0 LOGOUT\r\n"), heard
        await stream.aclose()


@asynccontextmanager
async def scripted(
    *scripts: str,
    pauses: Sequence[float] = (0, 0, 0, 0),
    naming: Naming | None = None,
    views: bool = False,
) -> AsyncIterator[ImapSource]:
    """A source that reads from a server of these scripts over one connection. In the end all must have been
    said."""
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            script = Script(scripts, nursery)
            access = Access("mail.example.org", "alice", Secret("secret"), opener=script.open)
            source = ImapSource(access, naming, connections=1, views=views, pauses=pauses)
            yield source
            await source.aclose()
    assert script.opened == len(scripts)
