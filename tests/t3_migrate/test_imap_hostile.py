"""A server that says anything: what comes of it is mail, or an error for people, and nothing else."""

import contextlib
import re
from contextlib import aclosing
from dataclasses import dataclass

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import Unavailable, Unreadable
from aerogramme.migrate.sources.imap.access import Access
from aerogramme.migrate.sources.imap.source import ImapSource
from aerogramme.migrate.sources.source import Letter
from aerogramme.seal import Secret

LETTERS = {
    1: b"* 1 FETCH (UID 1 BODY[] {3}\r\nabc)",
    2: b"* 2 FETCH (UID 2 BODY[] {3}\r\nabc FLAGS ())",
    3: b'* 3 FETCH (UID 3 BODY[] "abc")',
}
GOOD = {
    b"LIST": [
        b'* LIST (\\All) "/" a',
        b'* LIST () NIL "INBOX"',
        b'* LIST () "/" {3}\r\na/b',
        b"* LIST () . c.d",
    ],
    b"LSUB": [b"* LSUB () NIL INBOX"],
    b"STATUS": [
        b"* STATUS INBOX (UIDVALIDITY 7 UIDNEXT 9)",
        b"* STATUS a/b (UIDVALIDITY 7)",
        b"* STATUS a ()",
    ],
    b"NAMESPACE": [b'* NAMESPACE (("" "/")) (("~" "/")) NIL'],
    b"EXAMINE": [b"* 3 EXISTS", b"* OK [UIDVALIDITY 7] x"],
    b"FETCH": [
        b'* 1 FETCH (UID 1 FLAGS (a \\Seen) INTERNALDATE "01-Jan-2020 00:00:00 +0000" RFC822.SIZE 3)',
        b'* 2 FETCH (UID 2 FLAGS () INTERNALDATE NIL RFC822.SIZE 3 X-GM-LABELS ("\\\\Inbox"))',
        b"* 3 FETCH (UID 3 FLAGS () INTERNALDATE NIL RFC822.SIZE 3 X-GM-LABELS ())",
    ],
    b"ENABLE": [b"* ENABLED UTF8=ACCEPT"],
}
ODD = [
    *LETTERS.values(),
    *[line for lines in GOOD.values() for line in lines],
    b"* 2 FETCH (BODY[] {3}\r\nabc UID 2)",
    b"* 3 FETCH (UID 3 BODY[]<2> {1}\r\nc)",
    b"* 3 FETCH (UID 3 BODY[] NIL)",
    b"* BYE",
    b"+ go",
    b"a3 OK",
    b"* 1 EXPUNGE",
    b"* 99999999999999999999 EXISTS",
    b"* (",
]
CAPABILITIES = [b"LIST-EXTENDED", b"LIST-STATUS", b"ENABLE UTF8=ACCEPT", b"NAMESPACE", b"X-GM-EXT-1"]


@dataclass(slots=True)
class Change:
    """What is otherwise in an answer: lines that are left out, or said once more; odd ones; another end."""

    left_out: set[int]
    odd: list[bytes]
    end: bytes


odd_lines = st.one_of(
    st.sampled_from(ODD),
    st.binary(max_size=20),
    st.sampled_from(ODD).flatmap(lambda line: st.integers(0, len(line)).map(lambda at: line[:at])),
)
ends = [b"OK x"] * 8 + [b"NO x", b"BAD x", b"OK [MESSAGELIMIT 1 2] x", b"NO [LIMIT] x", b"", b"?"]
changes = st.builds(
    Change, st.sets(st.integers(0, 3)), st.lists(odd_lines, max_size=2), st.sampled_from(ends)
)


class Server:
    """Answers each command as it should, but for `changes`: by the number of the command."""

    def __init__(self, nursery: trio.Nursery, capabilities: list[bytes], changes: dict[int, Change]) -> None:
        self._nursery, self._changes = nursery, changes
        self._greeting = b"* PREAUTH [CAPABILITY IMAP4rev1 " + b" ".join(capabilities) + b"] x\r\n"
        self._heard = 0

    async def open(self, access: Access) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, ours)
        return theirs

    async def _serve(self, stream: trio.abc.Stream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(self._greeting)
            heard = b""
            while octets := await stream.receive_some():
                *lines, heard = (heard + octets).split(b"\r\n")
                for line in lines:
                    tag, _, command = line.partition(b" ")
                    self._heard += 1
                    change = self._changes.get(self._heard, Change(set(), [], b"OK x"))
                    said = [each for at, each in enumerate(good(command)) if at not in change.left_out]
                    for answer in (said[:1] + change.odd + said[1:]) if said else change.odd:
                        await stream.send_all(answer + b"\r\n")
                    if not change.end:
                        await stream.aclose()
                        return
                    await stream.send_all(tag + b" " + change.end + b"\r\n")
        await stream.aclose()


def good(command: bytes) -> list[bytes]:
    if found := re.match(rb"UID FETCH (\d)(?::(\d))? \(UID BODY", command):
        return [LETTERS[uid] for uid in range(int(found[1]), int(found[2] or found[1]) + 1)]
    return GOOD.get(command.removeprefix(b"UID ").split(b" ")[0], [b"* OK"])


async def read_all(source: ImapSource) -> None:
    for folder in await source.folders():
        with contextlib.suppress(Unreadable):
            found = await source.messages(folder)
            assert list(found.uids) == sorted(set(found.uids))
            assert len(found.uids) == len(found.flags) == len(found.dates) == len(found.sizes)
            given = []
            async with aclosing(source.letters(folder, [1, 2, 3])) as letters:
                async for each in letters:
                    if isinstance(each, Letter):
                        given.append(each.uid)
                        with contextlib.suppress(Unreadable):
                            assert sum([len(piece) async for piece in each.pieces]) <= 3
            assert given == sorted(set(given)) and set(given) <= {1, 2, 3}


@settings(max_examples=150)
@given(
    st.dictionaries(st.integers(1, 25), changes, max_size=5),
    st.lists(st.sampled_from(CAPABILITIES), unique=True),
)
def test_anything(changes: dict[int, Change], capabilities: list[bytes]) -> None:
    async def run() -> None:
        with trio.fail_after(36000):  # hours of a clock that jumps: it waits until it is sure
            async with trio.open_nursery() as nursery:
                server = Server(nursery, capabilities, changes)
                access = Access("mail.example.org", "alice", Secret("secret"), opener=server.open)
                source = ImapSource(access, connections=2, pauses=(0, 0))
                with contextlib.suppress(Unreadable, Unavailable):
                    await read_all(source)
                assert source._pool.free == source._pool.limit
                await source.aclose()
                nursery.cancel_scope.cancel()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
