"""Another process at the same folder of accounts: what tests start to kill it, or to write beside it.

writer.py FOLDER append PREFIX    append rows with an object each for ever, and name each one that is durable
writer.py FOLDER stream PREFIX    store long objects for ever, and name each one that is durable
writer.py FOLDER count PREFIX N   append N rows, each telling how many rows there were when it was written
writer.py FOLDER say              append a row for each line that comes in
writer.py FOLDER erase            erase the account
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from aerogramme.errors import Behind
from aerogramme.store import Row, SqliteStores

ACCOUNT = "a" * 32


def body_of(name: str, size: int) -> bytes:
    return (name.encode() * (size // len(name) + 1))[:size]


async def append(folder: str, prefix: str) -> None:
    store = await SqliteStores(folder).open(ACCOUNT, create=True)
    _, cursor = await store.read("log")
    n = 0
    while True:
        name = f"{prefix}{n:06}"
        moved = await store.append(
            "log", [Row(name, body_of(name, 400))], objects=[(name, body_of(name, 70_000))], read=cursor
        )
        assert moved is not None
        cursor = moved
        print(name, flush=True)
        n += 1


async def stream(folder: str, prefix: str) -> None:
    store = await SqliteStores(folder).open(ACCOUNT, create=True)
    n = 0
    while True:
        name = f"{prefix}{n:06}"
        body = body_of(name, 5_000_000)

        async def pieces(body: bytes = body) -> AsyncIterator[bytes]:
            for start in range(0, len(body), 100_000):
                yield body[start : start + 100_000]

        await store.put(name, pieces())
        print(name, flush=True)
        n += 1


async def count(folder: str, prefix: str, times: str) -> None:
    store = await SqliteStores(folder).open(ACCOUNT, create=True)
    rows, cursor = await store.read("log")
    seen = len(rows)
    for n in range(int(times)):
        while True:
            try:
                moved = await store.append("log", [Row(f"{prefix}{n:06}", b"%d" % seen)], read=cursor)
            except Behind:
                rows, cursor = await store.read("log", cursor)
                seen += len(rows)
            else:
                assert moved is not None
                cursor, seen = moved, seen + 1
                break
    await store.aclose()


async def say(folder: str) -> None:
    store = await SqliteStores(folder).open(ACCOUNT, create=True)
    print("ready", flush=True)
    async for line in trio.wrap_file(sys.stdin):
        await store.append("log", [Row(line.strip(), b"said")])
    await store.aclose()


async def erase(folder: str) -> None:
    await SqliteStores(folder).erase(ACCOUNT)


WORK: dict[str, Callable[..., Awaitable[None]]] = {
    "append": append,
    "stream": stream,
    "count": count,
    "say": say,
    "erase": erase,
}

if __name__ == "__main__":
    folder, work, *rest = sys.argv[1:]
    trio.run(WORK[work], folder, *rest)
