"""A client that knows nothing but what untagged lines say, and complains when they cannot be true."""

import re
from dataclasses import dataclass, field

from tests.helpers.imap_grammar import Response, responses
from tests.helpers.transcript import Client

RECENT = b"\\Recent"


@dataclass
class Message:
    """What is known of one message; None is not known yet."""

    uid: int | None = None
    flags: frozenset[bytes] | None = None


@dataclass
class Believer:
    """One selected session. One command is under way at a time, or IDLE."""

    client: Client
    messages: list[Message] = field(default_factory=list)
    uidvalidity: int = 0
    modseq: int = 0  # HIGHESTMODSEQ: the last code, or a higher MODSEQ since
    found: list[int] = field(default_factory=list)  # by the last SEARCH
    command: bytes = b""  # the command under way, without its tag
    vanished: list[int] = field(default_factory=list)  # by VANISHED (EARLIER)
    told: list[Message] = field(default_factory=list)  # those whose flags came during this command

    async def begin(self, command: bytes) -> None:
        assert not self.command
        self.command = command
        self.told.clear()
        await self.client.stream.send_all(b"x " + command + b"\r\n")

    async def end(self) -> Response:
        """Hears everything up to the tagged answer of the command under way."""
        while True:
            response = await self.hear()
            if response.tag is not None:
                self._own_change(response)
                self.command = b""
                return response

    async def do(self, command: bytes) -> Response:
        await self.begin(command)
        return await self.end()

    async def idle(self) -> None:
        await self.begin(b"IDLE")
        while (await self.hear()).kind != "+":
            pass

    async def done(self) -> Response:
        await self.client.stream.send_all(b"DONE\r\n")
        return await self.end()

    async def select(self, what: bytes) -> None:
        self.messages.clear()
        self.vanished.clear()
        assert (await self.do(b"SELECT " + what)).kind == "OK"

    async def hear(self) -> Response:
        """One response, taken for true."""
        line = await self.client.line()
        (response,) = responses(line + b"\r\n")
        match response.kind:
            case "EXISTS":
                assert response.number is not None
                assert response.number >= len(self.messages), "EXISTS takes messages away"
                self.messages += [Message() for _ in range(response.number - len(self.messages))]
            case "EXPUNGE":
                # RFC 3501 §7.4.1
                held = re.match(rb"(FETCH|STORE|SEARCH) ", self.command)
                assert not held, f"EXPUNGE during {self.command!r}"
                assert self.command, "EXPUNGE with no command in progress"
                assert response.number is not None and 1 <= response.number <= len(self.messages)
                del self.messages[response.number - 1]
            case "VANISHED":
                earlier, uids = response.data
                self._vanished(earlier, list(_numbers(uids)))
            case "FETCH":
                self._fetch(response)
            case "SEARCH":
                self.found = response.data
            case _:
                self._code(response.code or b"")
        return response

    def _vanished(self, earlier: bool, uids: list[int]) -> None:
        if earlier:
            self.vanished += uids
            return
        assert not re.match(rb"(FETCH|STORE|SEARCH) ", self.command), "VANISHED during " + repr(self.command)
        for uid in uids:
            del self.messages[self._place(uid)]

    def _place(self, uid: int) -> int:
        """Where a UID must be: at its message, or at one whose UID is unknown, in its order."""
        unknown = None
        for place, message in enumerate(self.messages):
            if message.uid is None:
                unknown = place if unknown is None else unknown
            elif message.uid == uid:
                return place
            elif message.uid > uid:
                break
            else:
                unknown = None
        assert unknown is not None, f"VANISHED names {uid}, which was not there"
        return unknown

    def _fetch(self, response: Response) -> None:
        assert response.number is not None
        assert 1 <= response.number <= len(self.messages), "FETCH of a message that is not there"
        message = self.messages[response.number - 1]
        if b"UID" in response.data:
            uid = response.data[b"UID"]
            assert message.uid in (None, uid), f"message {response.number} was {message.uid} and is {uid}"
            message.uid = uid
        self.modseq = max(self.modseq, response.data.get(b"MODSEQ", 0))
        if b"FLAGS" in response.data:
            message.flags = frozenset(response.data[b"FLAGS"]) - {RECENT}
            self.told.append(message)

    def _code(self, code: bytes) -> None:
        if found := re.fullmatch(rb"HIGHESTMODSEQ (\d+)", code):
            self.modseq = int(found[1])
        elif found := re.fullmatch(rb"UIDVALIDITY (\d+)", code):
            assert self.uidvalidity in (0, int(found[1])), "UIDVALIDITY has changed"
            self.uidvalidity = int(found[1])

    def _own_change(self, response: Response) -> None:
        """After a STORE .SILENT the client knows by itself what it has done."""
        found = re.fullmatch(
            rb"(UID )?STORE (\S+) (?:\(UNCHANGEDSINCE \d+\) )?([+-]?)FLAGS\.SILENT \((.*)\)", self.command
        )
        if found is None or response.kind != "OK":
            return
        wanted, flags = set(_numbers(found[2])), frozenset(found[4].split())
        for seq, message in enumerate(self.messages, 1):
            named = (message.uid if found[1] else seq) in wanted
            if named and message.flags is not None and not any(message is told for told in self.told):
                if found[3] == b"+":
                    message.flags |= flags
                elif found[3] == b"-":
                    message.flags -= flags
                else:
                    message.flags = flags


def _numbers(text: bytes) -> list[int]:
    numbers: list[int] = []
    for part in text.split(b","):
        first, _, last = part.partition(b":")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
