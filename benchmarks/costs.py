"""What commands cost, counted: the table of costs in docs/performance.md. Markdown on standard output.

    python -m benchmarks.costs        run where the repository is

*Calls* are calls to the store, in memory; *requests* are HTTP requests to a real Garage (one node, as the tests
start it: make test-garage builds it). Each of them is made to take some time, so the time that a client waits
tells how many had to wait for one another. Times are never shown: the figures are the same on any machine.
"""

import gc
import os
import re
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from aerogramme.mailbox.account import Account
from aerogramme.mailbox.accounts import Accounts
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes
from aerogramme.seal import Argon2Params, Secret
from aerogramme.store import MemoryStores, Stores, open_stores
from tests.helpers.counting import CountingStores
from tests.helpers.garage import Garage, garage
from tests.helpers.imap_world import ACCOUNT, PASSWORD, USER, World, letter

MESSAGES = 1000
COPIES = 32  # of all of them, in the mailbox that memory is measured with
LOGIN = f"LOGIN {USER} {PASSWORD}".encode()

# What design and documents call it, and what is done; {} is a mailbox with all messages, all selected.
WARM = [
    ("NOOP, CHECK; FETCH of flags and envelopes, SEARCH, once read", b"FETCH 1:* (FLAGS ENVELOPE)"),
    ("SELECT, warm", b"SELECT INBOX"),
    ("STATUS", b"STATUS Archive (MESSAGES)"),
    ("STORE of 1", b"STORE 1 +FLAGS (one)"),
    ("STORE of 1,000", b"STORE 1:* +FLAGS (all)"),
    ("COPY of 1,000", b"COPY 1:* Archive"),
    ("MOVE of 500", b"MOVE 501:1000 Archive"),
    ("EXPUNGE of 400", b"EXPUNGE"),
    ("APPEND", b"APPEND INBOX {5+}\r\nA: b\n"),
]


class Wire:
    """A way to a server: each request is noted in `requests` and sent on `seconds` later."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self.requests: list[str] = []
        self.seconds = 0.0
        self.port = 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1"))
            self.port = listener.socket.getsockname()[1]
            task_status.started()

    async def _serve(self, client: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream(*self._to) as server, trio.open_nursery() as nursery:
            nursery.start_soon(self._answers, server, client)
            try:
                await self._requests(client, server)
            except trio.BrokenResourceError:
                pass  # the client has hung up: it may, when it is done
            nursery.cancel_scope.cancel()

    async def _answers(self, server: trio.SocketStream, client: trio.SocketStream) -> None:
        async for piece in server:
            await client.send_all(piece)
        await client.send_eof()

    async def _requests(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        got = bytearray()
        async for piece in client:
            got += piece
            while (end := got.find(b"\r\n\r\n")) >= 0:
                head = got[: end + 4].decode("latin-1")
                length = re.search(r"(?im)^content-length: *(\d+)", head)
                whole = end + 4 + (int(length[1]) if length else 0)
                while len(got) < whole:
                    got += await client.receive_some()
                if "?poll_range" not in head:  # nobody waits for those
                    self.requests.append(head.split(" HTTP/")[0])
                    await trio.sleep(self.seconds)
                await server.send_all(got[:whole])
                del got[:whole]


class Meter:
    """Tells what was done, and for how long somebody waited, in calls or requests."""

    def __init__(self, done: list[str], counted: CountingStores | list[Wire], seconds: float) -> None:
        self._done = done
        self._counted = counted if isinstance(counted, list) else [counted]
        self._seconds = seconds

    async def measure(self, work: Callable[[], Awaitable[object]]) -> str:
        """What it costs: those that waited for one another, and all until it was over, if there are more."""
        await trio.sleep(10 * self._seconds)  # what went before has come to rest
        self._done.clear()
        for each in self._counted:
            each.seconds = self._seconds
        began = trio.current_time()
        await work()
        waited, all_ = int((trio.current_time() - began) / self._seconds), len(self._done)
        for each in self._counted:
            each.seconds = 0.0
        return f"{waited}" if waited == all_ else f"{waited} (all: {all_})"


@asynccontextmanager
async def server(stores: Stores) -> AsyncIterator[World]:
    """A server that has nothing in memory yet."""
    async with trio.open_nursery() as nursery:
        accounts = Accounts(stores)
        await nursery.start(accounts.run)
        world = World(nursery, stores, accounts)
        await nursery.start(world.server.watch)
        yield world
        await world.hang_up()
        nursery.cancel_scope.cancel()


async def fill(stores: Stores, *, packed: bool) -> None:
    """An account with mail in INBOX, folded."""
    await Account.create(stores, ACCOUNT, Secret(PASSWORD), params=Argon2Params(8, 1, 1))
    async with server(stores) as world:
        for _ in range(10):
            await world.mail("INBOX", MESSAGES // 10)
        if packed:
            async with world.account() as account:
                await account.fold(force=True)


async def costs(stores: Stores, meter: Meter) -> dict[str, str]:
    """What → the cost of it."""
    table: dict[str, str] = {}

    async def command(name: str, client, text: bytes) -> None:
        async def ask() -> None:
            answer = await client.command(text)
            assert answer[-1].startswith(b"x OK"), answer[-1]

        table[name] = await meter.measure(ask)

    await fill(stores, packed=True)
    async with server(stores) as world, trio.open_nursery() as nursery:
        boxes = LetterBoxes(stores, nursery)

        async def deliver() -> None:
            one = (await boxes.open(ACCOUNT)).letter("me@x.example", "alice@example.org", limit=1000)
            await one.write(letter(0))
            await one.send()

        table["deliver a mail, the first for an account"] = await meter.measure(deliver)
        table["deliver a mail, the next"] = await meter.measure(deliver)
        await boxes.aclose()
    async with server(stores) as world:
        client = await world.client(login=False)
        await command("log in, the account is not open", client, LOGIN)
        await command("SELECT, cold", client, b"SELECT INBOX")
        await command("FETCH of 1,000 flags, cold", client, b"FETCH 1:* (FLAGS)")
        await command("FETCH of 1,000 envelopes, cold", client, b"FETCH 1:* (ENVELOPE)")
        await command("SEARCH TEXT in 1,000, cold", client, b"SEARCH TEXT nowhere")
        await command("FETCH of 1,000 bodies that are packed", client, b"FETCH 1:1000 (BODY.PEEK[])")
        await command("log in, the account is open", await world.client(login=False), LOGIN)
        for name, text in WARM:
            if name.startswith("EXPUNGE"):
                await client.command(b"STORE 1:400 +FLAGS (\\Deleted)")
            await command(name, client, text)
        await world.mail("Archive", 100)
        await client.command(b"SELECT Archive")
        await command("FETCH of 100 bodies, one object each", client, b"FETCH 1502:1601 (BODY.PEEK[])")
        await command("FETCH of one body", client, b"FETCH 1502 (BODY.PEEK[])")
    return table


async def in_memory(serial: bool) -> dict[str, str]:
    stores = CountingStores(MemoryStores(serial=serial, object_costs_request=not serial))
    return await costs(stores, Meter(stores.calls, stores, 0.3))


async def on_garage(cluster: Garage) -> dict[str, str]:
    os.environ.update(cluster.environment)
    addresses = [
        (host, int(port))
        for host, port in (at.split(":") for at in (cluster.nodes[0].s3, cluster.nodes[0].k2v))
    ]
    wires = [Wire(*address) for address in addresses]
    wires[1].requests = wires[0].requests
    async with trio.open_nursery() as nursery:
        for wire in wires:
            await nursery.start(wire.run)
        s3, k2v = (f"127.0.0.1:{wire.port}" for wire in wires)
        stores = open_stores(f"garage:http://{s3}/mail/costs?k2v=http://{k2v}")
        try:
            return await costs(stores, Meter(wires[0].requests, wires, 0.5))
        finally:
            await stores.aclose()
            nursery.cancel_scope.cancel()


async def memory(copies: int) -> int:
    """Octets that an open account with INBOX and so many copies of it takes, the copies selected."""
    stores = MemoryStores()
    await fill(stores, packed=False)
    async with server(stores) as world:
        client = await world.client()
        await client.command(b"CREATE Large")
        await client.command(b"SELECT INBOX")
        for _ in range(copies):
            await client.command(b"COPY 1:* Large")
        async with world.account() as account:
            await account.fold(force=True)
    gc.collect()
    tracemalloc.start()
    async with server(stores) as world:
        client = await world.client()
        await client.command(b"SELECT Large")
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size


def main() -> None:
    with garage() as cluster:
        far = trio.run(on_garage, cluster)
    calls = trio.run(in_memory, False)
    sqlite = trio.run(in_memory, True)
    print("| what | requests to Garage | calls on garage | calls on sqlite |")
    print("|---|---|---|---|")
    for name in sqlite:
        print(f"| {name} | {far[name]} | {calls[name]} | {sqlite[name]} |")
    octets = (trio.run(memory, COPIES) - trio.run(memory, 0)) / (COPIES * MESSAGES)
    print(f"| memory of a selected mailbox, a message | {octets:.0f} octets | the same | the same |")


if __name__ == "__main__":
    sys.exit(main())
