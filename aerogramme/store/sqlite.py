"""Stores in files: one SQLite file an account. What each method promises stands in port.py.

Appends are serialized and checked, so rows are never late here; several processes may share a file.
"""

import sqlite3
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, cast

import trio

from aerogramme.errors import Behind, Damaged, NotStored, Unavailable
from aerogramme.store.port import Body, Cursor, Part, Row, always, check_account
from aerogramme.store.sqlite_file import CHUNK, CHUNK_BITS, CHUNKS_MAX, File, OpenFiles, remove_object
from aerogramme.store.sqlite_file import create as create_file

END = ".sqlite"
PIECE = 1 << 20  # bytes of a long object that go into one transaction: others wait for it about 10 ms
FREE_MIN = 512  # pages (4 MiB) that a file may keep for what comes next
GIVE_BACK = 2048  # pages given back at a time: 16 MiB, some tens of milliseconds
DELETE_MAX = 256  # objects deleted in one transaction, for the same reason
LOOK_MAX = 256  # so many new rows at most are read in trio's thread: about 1 ms
# Between processes nobody calls: a watcher looks at the time of change of the file, every 25 ms at first (a
# person does not notice), then ever more rarely, as thousands may be waiting.
PAUSE_MIN, PAUSE_MAX, PAUSE_GROWTH = 0.025, 0.5, 1.25


class SqliteStore:
    """One account's store, opened."""

    serialized = True
    object_costs_request = False

    def __init__(self, file: File, closed: Callable[[File], Awaitable[None]]) -> None:
        self._file, self._closed, self._open = file, closed, True

    async def put(self, name: str, body: Body) -> None:
        if isinstance(body, bytes) and len(body) <= PIECE:
            await self._file.write(partial(_put, name=name, body=body))
            return
        stored, held = 0, memoryview(b"")
        number: int | None = None
        try:
            async with aclosing(_pieces(body)) as pieces:
                async for piece in pieces:
                    if held:
                        work = partial(_add, number=number, stored=stored, data=held)
                        number = await self._file.write(work)
                        stored += len(held)
                    held = piece
            await self._file.write(partial(_finish, number=number, stored=stored, data=held, name=name))
        finally:
            if number is not None:
                self._file.post(partial(_give_up, number=number))

    async def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        return await self._file.read(partial(_get, name=name, start=start, stop=stop))

    async def get_many(self, wanted: Sequence[str | Part]) -> list[bytes | None]:
        return await self._file.read(partial(_get_many, wanted=wanted))

    async def delete(self, names: Iterable[str]) -> None:
        names = [*names]
        for first in range(0, len(names), DELETE_MAX):
            await self._file.write(partial(_delete, names=names[first : first + DELETE_MAX]))
        if names:
            self._file.post(_give_back)

    async def append(
        self,
        partition: str,
        rows: Sequence[Row],
        *,
        objects: Sequence[tuple[str, bytes]] = (),
        read: Cursor | None = None,
        delete: Sequence[tuple[str, str]] = (),
    ) -> Cursor | None:
        seen = cast("int | None", read)

        def work(connection: sqlite3.Connection) -> Cursor | None:
            if seen is not None and _any_since(connection, partition, seen):
                raise Behind
            for name, body in objects:
                _put(connection, name, body)
            connection.executemany(
                "INSERT INTO rows (part, key, value) VALUES (?, ?, ?) ON CONFLICT (part, key) DO NOTHING",
                [(partition, key, value) for key, value in rows],
            )
            connection.executemany("DELETE FROM rows WHERE part = ? AND key = ?", delete)
            return None if seen is None else Cursor(_head(connection))

        return await self._file.write(work)

    async def read(
        self, partition: str, cursor: Cursor | None = None, after: str = ""
    ) -> tuple[list[Row], Cursor]:
        if cursor is None:
            return await self._file.read(partial(_read_all, partition=partition, after=after))
        seen = cast("int", cursor)
        head = await self._file.look(_head)
        if head <= seen:
            return [], cursor
        work = partial(_read_since, partition=partition, seen=seen, head=head)
        rows = await (self._file.look(work) if head - seen <= LOOK_MAX else self._file.read(work))
        return rows, Cursor(head)

    async def page(self, partition: str, after: str, limit: int) -> Sequence[Row]:
        sql = "SELECT key, value FROM rows WHERE part = ? AND key > ? ORDER BY key LIMIT ?"

        def work(connection: sqlite3.Connection) -> list[Row]:
            return [Row(*row) for row in connection.execute(sql, (partition, after, limit))]

        return await self._file.read(work)

    async def confirm(self, partition: str, rows: Sequence[Row]) -> None:
        """What is visible is committed."""

    async def delete_rows(self, partition: str, keys: Sequence[str]) -> None:
        await self.append(partition, (), delete=[(partition, key) for key in keys])

    async def delete_range(self, partition: str, first: str, last: str) -> None:
        sql = "DELETE FROM rows WHERE part = ? AND key BETWEEN ? AND ?"
        await self._file.write(lambda connection: connection.execute(sql, (partition, first, last)))

    async def watch(
        self,
        partition: str,
        cursor: Cursor,
        *,
        eager: Callable[[], bool] = always,  # noqa: ARG002 - asking costs little here: it is always quick
    ) -> None:
        await trio.lowlevel.checkpoint()
        seen, pause = cast("int", cursor), PAUSE_MIN
        stamp: tuple[int, ...] | None = None
        while True:
            before = self._file.stamp()
            if before is None or before != stamp:  # somebody may have written
                stamp = before
                head = await self._file.look(_head)
                if head > seen:
                    if await self._file.look(partial(_any_since, partition=partition, seen=seen)):
                        return
                    seen = head
            with trio.move_on_after(pause):
                await self._file.written.park()
                stamp = None
            pause = min(pause * PAUSE_GROWTH, PAUSE_MAX)

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            await self._closed(self._file)

    async def sizes(self, prefix: str, after: str = "", limit: int | None = None) -> list[tuple[str, int]]:
        work = partial(_names, columns="name, size", prefix=prefix, after=after, limit=limit)
        return await self._file.read(work)

    async def list(self, prefix: str, after: str = "", limit: int | None = None) -> list[str]:
        work = partial(_names, columns="name", prefix=prefix, after=after, limit=limit)
        return [name for (name,) in await self._file.read(work)]


class SqliteStores:
    """All accounts of a folder, `<account>.sqlite` each. The folder is made with the first of them."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._files: dict[str, File] = {}
        self._open_files = OpenFiles()

    async def open(self, account: str, *, create: bool = False) -> SqliteStore:
        file = self._file(check_account(account))
        file.users += 1
        store = SqliteStore(file, self._closed)
        try:
            if create:
                await trio.to_thread.run_sync(create_file, file.path)
            await file.read(_head)
        except BaseException:
            await store.aclose()
            raise
        return store

    async def erase(self, account: str) -> None:
        file = self._file(check_account(account))
        file.users += 1
        try:
            await file.erase()
        finally:
            await self._closed(file)

    async def aclose(self) -> None:
        files, self._files = [*self._files.values()], {}
        for file in files:
            await file.aclose()

    def _file(self, account: str) -> File:
        if account not in self._files:
            self._files[account] = File(self.folder / (account + END), self._open_files)
        return self._files[account]

    async def _closed(self, file: File) -> None:
        """One of its users is gone."""
        file.users -= 1
        if file.users == 0:
            self._files = {account: other for account, other in self._files.items() if other is not file}
            await file.aclose()

    def _accounts(self) -> list[str]:
        names = [path.name.removesuffix(END) for path in self.folder.glob(f"[0-9a-f]*{END}")]
        return sorted(name for name in names if len(name) == 32)

    async def list(self) -> list[str]:
        return await trio.to_thread.run_sync(self._accounts)


# What runs inside of transactions and reads. A write may run twice (see Writer), so none of it keeps
# anything.


def _put(connection: sqlite3.Connection, name: str, body: bytes | memoryview) -> None:
    sql = "INSERT INTO objects (name, size, touched) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING"
    added = connection.execute(sql, (name, len(body), int(time.time())))
    if added.rowcount == 1:
        assert added.lastrowid is not None
        _add_chunks(connection, added.lastrowid, 0, body)


def _add(connection: sqlite3.Connection, number: int | None, stored: int, data: memoryview) -> int:
    """Add bytes to an object that is not whole yet (a new one if `number` is None), and return its number."""
    now = int(time.time())
    if number is None:
        number = connection.execute("INSERT INTO objects (size, touched) VALUES (0, ?)", (now,)).lastrowid
        assert number is not None
    sql = "UPDATE objects SET size = ?, touched = ? WHERE id = ? AND name IS NULL"
    if connection.execute(sql, (stored + len(data), now, number)).rowcount != 1:
        raise Unavailable("It took too long to store this")  # so long that it was cleaned up
    _add_chunks(connection, number, stored // CHUNK, data)
    return number


def _finish(
    connection: sqlite3.Connection, number: int | None, stored: int, data: memoryview, name: str
) -> None:
    """Add the last bytes, and show the object under its name."""
    if number is None:
        _put(connection, name, data)
        return
    _add(connection, number, stored, data)
    if connection.execute("SELECT 1 FROM objects WHERE name = ?", (name,)).fetchone() is None:
        connection.execute("UPDATE objects SET name = ? WHERE id = ?", (name, number))


def _give_up(connection: sqlite3.Connection, number: int) -> None:
    """Remove the object unless it has its name."""
    if connection.execute("SELECT 1 FROM objects WHERE id = ? AND name IS NULL", (number,)).fetchone():
        remove_object(connection, number)


def _add_chunks(connection: sqlite3.Connection, number: int, chunk: int, data: bytes | memoryview) -> None:
    first, view = (number << CHUNK_BITS) + chunk, memoryview(data)
    connection.executemany(
        "INSERT INTO chunks (id, data) VALUES (?, ?)",
        [(first + n // CHUNK, view[n : n + CHUNK]) for n in range(0, len(view), CHUNK)],
    )


def _get(connection: sqlite3.Connection, name: str, start: int = 0, stop: int | None = None) -> bytes:
    first = min(start // CHUNK, CHUNKS_MAX)
    last = CHUNKS_MAX if stop is None else max(stop - 1, 0) // CHUNK
    # One statement sees one state, so that an object cannot go between its size and its chunks.
    found = connection.execute(
        "SELECT size, data FROM objects LEFT JOIN chunks"
        " ON chunks.id BETWEEN (objects.id << ?) + ? AND (objects.id << ?) + ?"
        " WHERE name = ? ORDER BY chunks.id",
        (CHUNK_BITS, first, CHUNK_BITS, min(last, CHUNKS_MAX - 1), name),
    ).fetchall()
    if not found:
        raise NotStored
    size = found[0][0]
    data = b"".join([chunk for _, chunk in found if chunk is not None])
    if len(data) != max(min(size, (last + 1) * CHUNK) - first * CHUNK, 0):
        raise Damaged("The account file is damaged: an object has lost some of its bytes")
    return data[start - first * CHUNK : None if stop is None else max(stop - first * CHUNK, 0)]


def _get_many(connection: sqlite3.Connection, wanted: Sequence[str | Part]) -> list[bytes | None]:
    found: list[bytes | None] = []
    for each in wanted:
        try:
            found.append(_get(connection, *(each if isinstance(each, Part) else (each,))))
        except NotStored:
            found.append(None)
        except Damaged:  # one is not to keep the others
            found.append(b"")
    return found


def _names(
    connection: sqlite3.Connection, columns: str, prefix: str, after: str, limit: int | None
) -> list[tuple[Any, ...]]:
    # DEL is greater than all that may stand in a name.
    where = "name >= ? AND name < ? AND name > ? ORDER BY name LIMIT ?"
    sql = f"SELECT {columns} FROM objects WHERE {where}"  # noqa: S608 - the columns are written above
    values = (prefix, prefix + "\x7f", after, -1 if limit is None else limit)
    return connection.execute(sql, values).fetchall()


def _give_back(connection: sqlite3.Connection) -> None:
    """Cut free pages off the file, when they are many: else they are used again. What they held is gone."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if free > max(FREE_MIN, pages // 8):
        for _ in range(min(free, GIVE_BACK)):  # each gives back one: the module runs only its first step
            connection.execute("PRAGMA incremental_vacuum(1)")


def _delete(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    for name in names:
        found = connection.execute("SELECT id FROM objects WHERE name = ?", (name,)).fetchone()
        if found is not None:
            remove_object(connection, found[0])


def _head(connection: sqlite3.Connection) -> int:
    """The seq of the newest row of all partitions, as a cursor."""
    return cast("int", connection.execute("SELECT coalesce(max(seq), 0) FROM rows").fetchone()[0])


def _any_since(connection: sqlite3.Connection, partition: str, seen: int) -> bool:
    # By seq, not by the index on (part, key): what came since is little, the partition may be long.
    sql = "SELECT 1 FROM rows NOT INDEXED WHERE seq > ? AND part = ? LIMIT 1"
    return connection.execute(sql, (seen, partition)).fetchone() is not None


def _read_since(connection: sqlite3.Connection, partition: str, seen: int, head: int) -> list[Row]:
    sql = "SELECT key, value FROM rows NOT INDEXED WHERE seq > ? AND seq <= ? AND part = ? ORDER BY key"
    return [Row(*row) for row in connection.execute(sql, (seen, head, partition))]


def _read_all(connection: sqlite3.Connection, partition: str, after: str) -> tuple[list[Row], Cursor]:
    head = _head(connection)  # first: what is committed in between is given by the next read
    sql = "SELECT key, value FROM rows WHERE part = ? AND key > ? AND seq <= ? ORDER BY key"
    rows = [Row(*row) for row in connection.execute(sql, (partition, after, head))]
    return rows, Cursor(head)


async def _pieces(body: Body) -> AsyncGenerator[memoryview, None]:
    """Of PIECE bytes each, but the last."""
    if isinstance(body, bytes):  # it is not copied
        for start in range(0, len(body), PIECE):
            yield memoryview(body)[start : start + PIECE]
        return
    rest = bytearray()
    async for data in body:
        rest += data
        while len(rest) >= PIECE:
            yield memoryview(bytes(rest[:PIECE]))
            del rest[:PIECE]
    if rest:
        yield memoryview(bytes(rest))
