"""Runs dialogues written as text against a protocol: each whole, byte by byte, and pipelined where that is
possible.

A transcript is lines:

    # comment
    @ word arguments      something the test does beside the dialogue (the test gives the meanings of the
    words) C: a1 SELECT INBOX    the client sends this line
    C| more               the same; reads better inside a literal
    S: * 3 EXISTS         the server answers this. Untagged lines may come in any order up to the tagged one
    S| more               goes on inside the literal that the line before began
    S> * 2 EXPUNGE        as S:, and after every S> line before it in the same answer
    S*                    further untagged lines may come in this answer
    S! * «.*» EXPUNGE     no line like this may come in this answer (for use with S*)
    2C: … 2S: …           the second connection, and so on

An answer ends with a line that is tagged or a continuation; if its last line is untagged (a greeting, news
during IDLE) then as many lines are read as stand there. Between « and » stand wildcards: «regex»;
«name=regex» remembers what it matched; «$name» is what was remembered, in C lines too; «…» is any rest.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trio

PATIENCE = 60.0  # seconds for a whole dialogue; they take a tenth of one, where nothing else runs

_LINE = re.compile(r"(\d*)(?:(C)([:|])|(S)([:|>!*])) ?(.*)")
_WILD = re.compile("«([^»]*)»")
_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n\Z")


class Stream(Protocol):
    async def send_all(self, data: bytes) -> None: ...
    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray: ...


@dataclass
class Expected:
    text: str
    ordered: bool = False
    continues: bool = False


@dataclass
class Step:
    """One turn: what the client sends at once (send), what must come (expect), or an action."""

    connection: int
    send: list[str] = field(default_factory=list)
    expect: list[Expected] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    more_allowed: bool = False
    action: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return bool(self.expect) and not self.expect[-1].text.startswith("* ")


@dataclass
class Dialogue:
    name: str
    steps: list[Step]

    @property
    def connections(self) -> list[int]:
        return sorted({step.connection for step in self.steps if not step.action} | {1})

    @property
    def can_pipeline(self) -> bool:
        """One connection, nothing sent that depends on an answer, no action after the dialogue began."""
        begun = False
        for step in self.steps:
            if step.action and begun:
                return False
            begun = begun or not step.action
            if any("«" in line for line in step.send):
                return False
        return self.connections == [1]


def parse(text: str, name: str = "") -> Dialogue:
    """A Dialogue from its text; ValueError names the line that is none."""
    steps: list[Step] = []

    def current(connection: int, wants_send: bool) -> Step:
        if steps:
            last = steps[-1]
            same = last.connection == connection and not last.action
            if same and wants_send and not (last.expect or last.forbidden or last.more_allowed):
                return last
            if same and not wants_send and not last.send and not last.complete:
                return last
        steps.append(Step(connection))
        return steps[-1]

    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("@"):
            steps.append(Step(1, action=line[1:].split()))
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"{name}:{number}: neither C nor S line: {line!r}")
        connection = int(found[1] or 1)
        if found[2]:
            current(connection, True).send.append(found[6])
            continue
        kind = found[5]
        if kind == "|":
            steps[-1].expect[-1].text += "\r\n" + found[6]
            continue
        step = current(connection, False)
        if kind == "*":
            step.more_allowed = True
        elif kind == "!":
            step.forbidden.append(found[6])
        else:
            step.expect.append(Expected(found[6], ordered=kind == ">"))
    return Dialogue(name, steps)


def load(folder: Path, suffix: str) -> list[Dialogue]:
    return [parse(path.read_text("utf-8"), path.name) for path in sorted(folder.glob("*" + suffix))]


class TranscriptError(AssertionError):
    pass


class Client:
    """One end of a connection: whole response lines, with the literals in them."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    async def _fill(self) -> None:
        got = await self.stream.receive_some(65536)
        if not got:
            raise EOFError("the server closed the connection")
        self._buffer += got

    async def line(self) -> bytes:
        """The next response, without its last CRLF."""
        scan = 0
        while True:
            end = self._buffer.find(b"\r\n", scan)
            if end < 0:
                await self._fill()
                continue
            literal = _LITERAL.search(bytes(self._buffer[scan : end + 2]))
            if literal is None:
                got = bytes(self._buffer[:end])
                del self._buffer[: end + 2]
                return got
            scan = end + 2 + int(literal[1])
            while len(self._buffer) < scan:
                await self._fill()

    async def command(self, text: bytes, tag: bytes = b"x") -> list[bytes]:
        """Sends a command, returns its untagged lines and, last, its tagged line."""
        await self.stream.send_all(tag + b" " + text + b"\r\n")
        lines = [await self.line()]
        while not lines[-1].startswith(tag + b" "):
            lines.append(await self.line())
        return lines


class ByteByByte:
    """A stream whose reader gets one byte at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(1)

    async def aclose(self) -> None:
        await self._stream.aclose()  # type: ignore[attr-defined]  # the Protocol above is the client's view


Actions = dict[str, Callable[..., Awaitable[None]]]


async def run(
    dialogue: Dialogue,
    connect: Callable[[], Awaitable[Stream]],
    actions: Actions | None = None,
    *,
    pipelined: bool = False,
) -> None:
    """Plays a dialogue. TranscriptError tells what differs and shows all that was said."""
    player = _Player(dialogue, connect, actions or {})
    if pipelined:
        assert dialogue.can_pipeline
    try:
        with trio.fail_after(PATIENCE):
            await player.play(pipelined)
    except (TranscriptError, EOFError, trio.TooSlowError) as error:
        said = "\n".join(player.said)
        raise TranscriptError(
            f"{dialogue.name}: {error or 'no answer'}\n--- the dialogue so far\n{said}"
        ) from error


class _Player:
    def __init__(
        self, dialogue: Dialogue, connect: Callable[[], Awaitable[Stream]], actions: Actions
    ) -> None:
        self.dialogue = dialogue
        self.connect = connect
        self.actions = actions
        self.clients: dict[int, Client] = {}
        self.said: list[str] = []
        self.names: dict[str, str] = {}

    async def client(self, number: int) -> Client:
        if number not in self.clients:
            self.clients[number] = Client(await self.connect())
        return self.clients[number]

    async def play(self, pipelined: bool) -> None:
        sent = False
        for step in self.dialogue.steps:
            if step.action:
                word, *arguments = step.action
                self.said.append("@ " + " ".join(step.action))
                await self.actions[word](*arguments)
                continue
            if pipelined and not sent:
                sent = True
                await self.send(1, [line for step in self.dialogue.steps for line in step.send])
            if step.send and not pipelined:
                await self.send(step.connection, step.send)
            if step.expect or step.forbidden:
                await self.expect(step)

    async def send(self, connection: int, lines: list[str]) -> None:
        lines = [_WILD.sub(lambda m: self.names[m[1].removeprefix("$")], line) for line in lines]
        self.said += [f"{connection}C: {line}" for line in lines]
        await (await self.client(connection)).stream.send_all(
            "".join(line + "\r\n" for line in lines).encode("utf-8")
        )

    async def expect(self, step: Step) -> None:
        client = await self.client(step.connection)
        last = step.expect[-1] if step.complete else None
        untagged = step.expect[:-1] if last else list(step.expect)
        got: list[str] = []
        while True:
            text = (await client.line()).decode("utf-8", "surrogateescape")
            self.said.append(f"{step.connection}S: {text}")
            if last is not None and not text.startswith("* "):
                found = self.match(last, text)
                if found is None:
                    raise TranscriptError(f"expected {last.text!r}")
                self.names |= found
                break
            got.append(text)
            if last is None and len(got) == len(untagged):
                break
        self.compare(step, untagged, got)

    def compare(self, step: Step, untagged: list[Expected], got: list[str]) -> None:
        for text in got:
            for pattern in step.forbidden:
                if self.match(Expected(pattern), text) is not None:
                    raise TranscriptError(f"must not come: {text!r}")
        # The most particular first, so that a wildcard does not take another's line.
        order = sorted(untagged, key=lambda e: e.text.count("«"))
        places: dict[int, int] = {}
        free = dict(enumerate(got))
        for expected in order:
            for place, text in free.items():
                found = self.match(expected, text)
                if found is not None:
                    self.names |= found
                    places[id(expected)] = place
                    del free[place]
                    break
            else:
                raise TranscriptError(f"did not come: {expected.text!r}")
        if free and not step.more_allowed:
            raise TranscriptError(f"came unasked: {list(free.values())!r}")
        sequence = [places[id(e)] for e in untagged if e.ordered]
        if sequence != sorted(sequence):
            raise TranscriptError(f"came in another order: {[e.text for e in untagged if e.ordered]!r}")

    def match(self, expected: Expected, text: str) -> dict[str, str] | None:
        found = re.fullmatch("".join(self._pattern(expected.text)), text, re.DOTALL)
        return None if found is None else found.groupdict()

    def _pattern(self, text: str) -> Iterator[str]:
        at = 0
        for wild in _WILD.finditer(text):
            yield re.escape(text[at : wild.start()])
            at = wild.end()
            inner = wild[1]
            name, equals, regex = inner.partition("=")
            if inner == "…":
                yield ".*"
            elif inner.startswith("$"):
                yield re.escape(self.names[inner[1:]])
            elif equals and name.isidentifier():
                yield f"(?P<{name}>{regex})"
            else:
                yield f"(?:{inner})"
        yield re.escape(text[at:])
