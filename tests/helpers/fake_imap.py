"""A small IMAP server in memory with one mailbox, which can be broken in many ways."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import trio
import trio.testing

from aerogramme.errors import Unavailable
from aerogramme.migrate.sources.imap.access import Access
from aerogramme.migrate.sources.imap.connection import Fallen

VALIDITY = 7


@dataclass(slots=True)
class Message:
    """A message, and what happens when it is fetched.

    how    plain: it is sent; quoted: not as a literal; gone: nothing; nil: NIL; no: the command fails; falls:
           the server hangs up before it; cut: amid it, after `cut` octets
    times  how often it falls, or is cut; then it is plain
    """

    content: bytes = b""
    how: Literal["plain", "quoted", "gone", "nil", "no", "falls", "cut"] = "plain"
    times: int = 1
    cut: int = 1


class _HangUp(Exception):
    pass


@dataclass
class FakeImap:
    """`connections` is how many have been opened, and `most` how many may be at once."""

    messages: Mapping[int, Message]
    nursery: trio.Nursery
    uid_behind: bool = False
    descending: bool = False
    most: int = 100
    connections: int = 0
    validity: int = VALIDITY
    partial: bool = True
    commands: list[bytes] = field(default_factory=list)
    _open: int = 0

    async def open(self, access: Access) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self._open >= self.most:
            raise Fallen(Unavailable("too many connections"))
        ours, theirs = trio.testing.memory_stream_pair()
        self.connections += 1
        self._open += 1
        self.nursery.start_soon(self._serve, ours)
        return theirs

    async def _serve(self, stream: trio.abc.Stream) -> None:
        heard = bytearray()
        try:
            await stream.send_all(b"* PREAUTH [CAPABILITY IMAP4rev1 LITERAL+] hello\r\n")
            while octets := await stream.receive_some():
                heard += octets
                while b"\n" in heard:
                    line, _, rest = bytes(heard).partition(b"\r\n")
                    heard = bytearray(rest)
                    tag, _, command = line.partition(b" ")
                    self.commands.append(command)
                    end = b"OK"
                    for answer in self._answers(command):
                        if answer == b"NO":
                            end = answer
                        else:
                            await stream.send_all(answer)
                    await stream.send_all(tag + b" " + end + b" done\r\n")
        except (_HangUp, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client hung up, or we do
        finally:
            self._open -= 1
            await stream.aclose()

    def _answers(self, command: bytes) -> Iterator[bytes]:
        if command.startswith(b"LIST "):
            yield b'* LIST () "/" INBOX\r\n'
        elif command.startswith(b"STATUS "):
            yield b"* STATUS INBOX (UIDVALIDITY %d)\r\n" % VALIDITY
        elif command.startswith(b"EXAMINE "):
            yield b"* %d EXISTS\r\n* OK [UIDVALIDITY %d] x\r\n" % (len(self.messages), self.validity)
        elif found := re.fullmatch(
            rb"UID FETCH ([0-9:,]+) \(UID BODY\.PEEK\[\](?:<(\d+)\.(\d+)>)?\)", command
        ):
            uids = [uid for uid in _uids(found[1]) if uid in self.messages]
            for uid in reversed(uids) if self.descending else uids:
                yield from self._letter(uid, (int(found[2]), int(found[3])) if found[2] else None)
        else:
            assert command.startswith((b"LSUB ", b"LOGOUT")), command

    def _letter(self, uid: int, part: tuple[int, int] | None) -> Iterator[bytes]:
        message = self.messages[uid]
        content, how = message.content, message.how
        if part is not None:
            content = content[part[0] : part[0] + part[1]] if self.partial else b""
        if how in ("falls", "cut"):
            if message.times <= 0:
                how = "plain"
            message.times -= 1
        head = b"* %d FETCH (%bBODY[]%b " % (
            uid,
            b"" if self.uid_behind else b"UID %d " % uid,
            b"<%d>" % part[0] if part else b"",
        )
        tail = b" UID %d)\r\n" % uid if self.uid_behind else b")\r\n"
        if how == "no":
            yield b"NO"
        elif how == "nil":
            yield head + b"NIL" + tail
        elif how == "quoted":
            yield head + b'"' + content.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"' + tail
        elif how == "falls":
            raise _HangUp
        elif how == "cut":
            yield head + b"{%d}\r\n" % len(content) + content[: message.cut]
            raise _HangUp
        elif how == "plain":
            yield head + b"{%d}\r\n" % len(content) + content + tail


def _uids(text: bytes) -> Iterator[int]:
    for part in text.split(b","):
        first, _, last = part.partition(b":")
        yield from range(int(first), int(last or first) + 1)
