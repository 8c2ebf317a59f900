"""A server with letter boxes that only remember, and a client that speaks by lines."""

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio.testing import memory_stream_pair

from aerogramme.config import Config
from aerogramme.errors import NoSuchUser
from aerogramme.lmtp.server import LmtpServer
from aerogramme.users.directory import AddressBook, User

USERS = [
    User("alice@example.org", "a" * 32, aliases=("josé@bücher.example",)),
    User("bob@example.org", "b" * 32),
    User("gone@example.org", "c" * 32),
]


@dataclass
class FakeLetter:
    """Remembers; does what `Boxes` says for its account at each step before."""

    boxes: "Boxes"
    account: str
    envelope: tuple
    written: bytes = b""
    state: str = "open"

    async def write(self, chunk):
        assert self.state == "open"
        await self.boxes.step(self.account, "write")
        self.written += chunk

    async def send(self):
        assert self.state == "open"
        await self.boxes.step(self.account, "send")
        self.state = "sent"

    async def abandon(self):
        await self.boxes.step(self.account, "abandon")
        self.state = "abandoned"


@dataclass
class Boxes:
    """`hooks[account, step]` is called before each step of letters for that account: it may raise or wait."""

    letters: list[FakeLetter] = field(default_factory=list)
    hooks: dict = field(default_factory=dict)

    async def step(self, account: str, step: str) -> None:
        await trio.lowlevel.checkpoint()
        if hook := self.hooks.get((account[0], step)):
            await hook()

    async def open(self, account: str, pins: tuple[str, ...]) -> "FakeBox":
        await self.step(account, "open")
        if account[0] == "c":
            raise NoSuchUser
        return FakeBox(self, account)

    def sent(self) -> list[FakeLetter]:
        return [letter for letter in self.letters if letter.state == "sent"]


@dataclass
class FakeBox:
    boxes: Boxes
    account: str

    def letter(self, sender, recipient, detail=None, now=None, *, limit):
        assert limit > 0
        letter = FakeLetter(self.boxes, self.account, (sender, recipient, detail))
        self.boxes.letters.append(letter)
        return letter


def raising(error: Exception) -> Callable:
    async def hook():
        raise error

    return hook


@dataclass
class Client:
    stream: trio.abc.Stream
    buffer: bytes = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            more = await self.stream.receive_some()
            if not more:
                raise EOFError(self.buffer)
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    async def reply(self) -> str:
        """The last line of the next reply."""
        while (line := await self.line())[3:4] == b"-":
            pass
        return line.decode()

    async def codes(self, data: bytes, count: int) -> list[str]:
        """Code and enhanced code of as many replies to these octets."""
        await self.send(data)
        return [" ".join((await self.reply()).split()[:2]) for _ in range(count)]

    async def ended(self) -> bool:
        try:
            return await self.stream.receive_some() == b""
        except trio.BrokenResourceError:
            return True

    async def start(self) -> None:
        await self.reply()
        await self.send(b"LHLO client.example\r\n")
        await self.reply()


@dataclass
class Running:
    """A server without sockets: each connection is a pair of streams in memory."""

    server: LmtpServer
    boxes: Boxes
    nursery: trio.Nursery
    scopes: list[trio.CancelScope] = field(default_factory=list)

    def connect(self, pair=memory_stream_pair) -> Client:
        ours, theirs = pair()
        self.nursery.start_soon(self._handle, theirs)
        return Client(ours)

    async def _handle(self, stream):
        async with stream:
            with trio.CancelScope() as scope:
                self.scopes.append(scope)
                await self.server.handle(stream)

    def shut_down(self) -> None:
        for scope in self.scopes:
            scope.cancel()

    async def client(self) -> Client:
        client = self.connect()
        await client.start()
        return client


@pytest.fixture
def boxes() -> Boxes:
    return Boxes()


@pytest.fixture
def book() -> AddressBook:
    return AddressBook(USERS)


@pytest.fixture
def config() -> Config:
    return Config(
        data=Path("/nowhere"),
        store="memory:",
        cache=Path("/nowhere/cache"),
        users_file=Path("/nowhere/users.toml"),
        hostname="mx.example.org",
        max_message_size=1_000_000,
        max_lmtp_connections=3,
    )


@pytest.fixture
async def running(config, book, boxes, caplog) -> AsyncIterator[Running]:
    caplog.set_level(logging.DEBUG)
    async with trio.open_nursery() as nursery:
        yield Running(LmtpServer(book, boxes.open, config), boxes, nursery)
        nursery.cancel_scope.cancel()
