"""What an account of 100,000 messages costs: the table "A large account" of docs/performance.md, as Markdown.

    python -m benchmarks.large [MESSAGES]     run where the repository is; some minutes

The mailbox is one in use: mails come one to eight at a time over years, most are read some hours later, some are
answered or flagged. It is made on a store in memory and copied, without its bodies, to SQLite and to real servers:
SeaweedFS, and Garage where there is one (make test-garage builds it). Calls and requests are counted as in costs.py:
each takes some time, so the time that is waited tells how many had to wait for one another.
"""

import gc
import os
import sys
import tempfile
import time
import tracemalloc
from random import Random

import trio

from aerogramme.mailbox.account import Account
from aerogramme.mailbox.contents import NewMessage
from aerogramme.mailbox.history.compaction import compact
from aerogramme.mailbox.keys import keys
from aerogramme.mailbox.keys.keys import Unlocked
from aerogramme.mailbox.partitions import PARTITIONS
from aerogramme.seal import Argon2Params, Secret
from aerogramme.store import MemoryStores, Stores, open_stores
from benchmarks.costs import Wire
from tests.helpers import garage as garage_program
from tests.helpers.counting import CountingStores
from tests.helpers.garage import garage
from tests.helpers.large_account import letter
from tests.helpers.life import calendar
from tests.helpers.seaweed import seaweed

ACCOUNT, PASSWORD = "ac" * 16, Secret("a password")
CHEAP = Argon2Params(8, 1, 1)
MESSAGES = 100_000
SECONDS = 2.0  # that a call or request takes, when it is counted: more than all else that an answer waits for
HOUR = 3600


async def use(account: Account, messages: int, random: Random, now) -> None:
    """Years of a mailbox in use."""
    came: list[int] = []  # UIDs that nobody has read yet
    number = 0
    while number < messages:
        now.now += random.expovariate(1 / (2 * HOUR))
        new = []
        for _ in range(min(random.choice([1, 1, 2, 3, 8]), messages - number)):
            number += 1
            upload = account.upload()
            await upload.write(letter(number)[: int(random.lognormvariate(6, 0.3))] + b"\r\n")
            new.append(NewMessage(upload, (), int(now.now) - random.randrange(100)))
        came += (await account.append("INBOX", new)).uids
        if len(came) > 20:
            now.now += HOUR
            read, came = came[: random.randrange(20)], came[20:]
            for flags, share in (("\\Seen",), 1.0), (("\\Answered",), 0.1), (("\\Flagged",), 0.03):
                uids = read if share == 1 else [uid for uid in read if random.random() < share]
                if uids:
                    await account.store_flags(account.find("INBOX"), uids, "+", flags)
        if await account.fold() and random.random() < 0.05:
            await compact(account)
    await account.fold(force=True)


async def make(messages: int) -> tuple[MemoryStores, Unlocked]:
    """The account, on a store in memory, with its bodies in packs."""
    stores = MemoryStores(serial=True, object_costs_request=True)
    with calendar() as now:
        await Account.create(stores, ACCOUNT, PASSWORD, params=CHEAP)
        unlocked = await keys.unlock(await stores.open(ACCOUNT), ACCOUNT, PASSWORD)
        account = await Account.open(await stores.open(ACCOUNT), ACCOUNT, unlocked)
        await use(account, messages, Random(6), now)
        await account.aclose()
    return stores, unlocked


async def copy(source: Stores, target: Stores) -> None:
    """All but mails."""
    one, other = await source.open(ACCOUNT), await target.open(ACCOUNT, create=True)
    [newest] = await one.list("checkpoint/", limit=1)
    names = [newest]
    for prefix in "piece/", "segment/", "bundle/":
        names += await one.list(prefix)
    for name in names:
        await other.put(name, await one.get(name))
    for partition in PARTITIONS:
        rows, _ = await one.read(partition.name)
        if rows:
            await other.append(partition.name, rows)
    await one.aclose()
    await other.aclose()


class Costs:
    """Measures one account at one place, from the first call on."""

    def __init__(
        self, counted: CountingStores, done: list[str], slow: list[Wire] | list[CountingStores]
    ) -> None:
        self._stores, self._done, self._slow = counted, done, slow
        self.table: dict[str, str] = {}

    async def _measure(self, what: str, work) -> None:
        given, taken = self._stores.given, self._stores.taken
        self._done.clear()
        for each in self._slow:
            each.seconds = SECONDS
        began = trio.current_time()
        await work()
        waited, all_ = int((trio.current_time() - began) / SECONDS), len(self._done)
        for each in self._slow:
            each.seconds = 0.0
        cost = f"{waited}" if waited == all_ else f"{waited} (all: {all_})"
        read, written = self._stores.taken - taken, self._stores.given - given
        shown = [f"{octets / 1000:,.0f} kB {verb}" for octets, verb in ((read, "read"), (written, "written"))]
        self.table[what] = f"{cost}, " + ", ".join(each for each in shown if not each.startswith("0 kB"))

    async def run(self) -> dict[str, str]:
        account: Account
        views = []

        async def log_in() -> None:
            nonlocal account
            store = await self._stores.open(ACCOUNT)
            account = await Account.open(store, ACCOUNT, await keys.unlock(store, ACCOUNT, PASSWORD))

        async def select() -> None:
            views.append(await account.open_mailbox("INBOX"))

        async def flag() -> None:
            table = account.find("INBOX")
            await account.store_flags(table, [table.uids[len(table) // 2]], "+", ["\\Answered"])

        async def fold() -> None:
            assert await account.fold(force=True)

        async def list_all() -> None:
            table = account.find("INBOX")
            await account.digests(table.contents[-1000:], ["envelope"])

        await self._measure("log in", log_in)
        await self._measure("SELECT, cold", select)
        await self._measure("FETCH of the last 1,000 envelopes, cold", list_all)
        await self._measure("a flag", flag)
        await self._measure("a checkpoint after it", fold)
        await account.aclose()
        return self.table


async def on(stores: Stores, made: MemoryStores) -> dict[str, str]:
    """On stores that are calls away."""
    counted = CountingStores(stores)
    await copy(made, counted)
    try:
        return await Costs(counted, counted.calls, [counted]).run()
    finally:
        await stores.aclose()


async def over(wires: list[Wire], place: str, made: MemoryStores) -> dict[str, str]:
    """On a server at the other ends of these; `place` has their ports to be filled in."""
    for wire in wires[1:]:
        wire.requests = wires[0].requests
    async with trio.open_nursery() as nursery:
        for wire in wires:
            await nursery.start(wire.run)
        stores = open_stores(place.format(*(wire.port for wire in wires)))
        counted = CountingStores(stores)
        try:
            await copy(made, counted)
            return await Costs(counted, wires[0].requests, wires).run()
        finally:
            await stores.aclose()
            nursery.cancel_scope.cancel()


def wire_to(address: str) -> Wire:
    host, port = address.split(":")
    return Wire(host, int(port))


async def memory(made: MemoryStores, unlocked: Unlocked) -> dict[str, int]:
    """Octets that the open account takes: when its mailbox is selected, and when messages were looked for."""
    store = await made.open(ACCOUNT)
    gc.collect()
    tracemalloc.start()
    account = await Account.open(store, ACCOUNT, unlocked)
    view = await account.open_mailbox("INBOX")
    gc.collect()
    selected, _ = tracemalloc.get_traced_memory()
    await account.store_flags(account.find("INBOX"), [1], "+", ["\\Answered"])
    gc.collect()
    changed, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert view is not None
    await account.aclose()
    return {"selected": selected, "after a change": changed}


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else MESSAGES
    began = time.process_time()
    made, unlocked = trio.run(make, messages)
    print(f"made in {time.process_time() - began:.0f} s", file=sys.stderr)
    sizes = trio.run(memory, made, unlocked)
    places: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="large-") as folder:
        places["calls, sqlite"] = trio.run(on, open_stores(f"sqlite:{folder}"), made)
    places["calls, garage and s3"] = trio.run(on, MemoryStores(object_costs_request=True), made)
    with seaweed() as server:
        os.environ.update(server.environment)
        host = server.endpoint.removeprefix("http://")
        place = server.store("large/").replace(host, "127.0.0.1:{0}")
        places["requests, S3"] = trio.run(over, [wire_to(host)], place, made)
    if garage_program.program():
        with garage() as cluster:
            os.environ.update(cluster.environment)
            wires = [wire_to(cluster.nodes[0].s3), wire_to(cluster.nodes[0].k2v)]
            place = "garage:http://127.0.0.1:{0}/mail/large?k2v=http://127.0.0.1:{1}"
            places["requests, Garage"] = trio.run(over, wires, place, made)
    print(f"| {messages:,} messages | {' | '.join(places)} |")
    print(f"|---|{'---|' * len(places)}")
    for what in places["calls, sqlite"]:
        print(f"| {what} | {' | '.join(table[what] for table in places.values())} |")
    for what, size in sizes.items():
        print(f"| memory, {what}, a message | {size / messages:.0f} octets |{' |' * (len(places) - 1)}")


if __name__ == "__main__":
    main()
