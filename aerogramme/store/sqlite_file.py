"""One account's file: its schema, its connections and who may use them, its erasure."""

import os
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

import trio

from aerogramme.errors import Damaged, NoSuchUser, Unavailable
from aerogramme.store.sqlite_writer import Work, Writer

T = TypeVar("T")

MAGIC = 0x4165726F  # "Aero", the application id in the header of the file
VERSION = 1  # of the schema, the user version in the header; 0 when it was erased
CHUNK = 65_536  # bytes in each chunk of an object but its last: a range read touches few pages
CHUNK_BITS = 20
CHUNKS_MAX = 1 << CHUNK_BITS  # in an object: 64 GiB

# Bytes. Bodies come in by the megabyte, and each page costs two writes on its way through the log; with twice
# as many a small change would cost more than that saves.
PAGE = 8192

# docs/format.md describes these tables for whoever writes another reader.
SCHEMA = f"""
PRAGMA page_size = {PAGE};
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA application_id = {MAGIC};
PRAGMA journal_mode = WAL;
BEGIN;
-- An object. `name` is NULL while its bytes still come in: then nobody sees it, and `touched` says when the
-- last ones came (unix seconds). `size` is in bytes.
CREATE TABLE objects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT UNIQUE,
    size INTEGER NOT NULL,
    touched INTEGER NOT NULL
);
-- The bytes of objects: chunk n of object o has the id o * 2^20 + n. All but an object's last have 65536
-- bytes.
CREATE TABLE chunks (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
-- Rows. `seq` is the order in which they became visible; it never comes back, so a cursor is a seq.
CREATE TABLE rows (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    part TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (part, key)
);
PRAGMA user_version = {VERSION};
COMMIT;
"""

BUSY_SECONDS = 10.0  # how long a write waits for those of other processes; a commit takes milliseconds
# Reads never wait for writers; only while another process recovers the file after a crash or is the last to
# close it. A read in trio's thread waits so long, then it goes to a thread that can wait.
BUSY_SECONDS_IN_LOOP = 0.02
CACHE_KIB = 512  # a connection; three of them a file. Pages are in the kernel's cache besides.
WAL_BYTES_MAX = 16 << 20  # to which the log is cut back after a transaction made it larger
TICK_NS = 50_000_000  # two writes so close may leave one time of change: kernels count it in ticks
NEW = ".new"
OPEN_MAX = 64  # files open at once
DESCRIPTORS_MAX = 7 * OPEN_MAX  # what they take: for each three connections to file and log, and one lock
LEFT_SECONDS = 86_400  # an object that nobody has added to for so long will not be finished: its writer died


class OpenFiles:
    """The files that are open, and room for one more."""

    def __init__(self) -> None:
        self.files: set[File] = set()
        self._one_at_a_time = trio.Lock()

    async def add(self, file: "File", connect: Callable[[], Awaitable[None]]) -> None:
        """Open a file; the one that was not used for longest is closed if there are too many."""
        async with self._one_at_a_time:
            idle = [other for other in self.files if other.busy == 0]
            if len(self.files) >= OPEN_MAX and idle:
                await min(idle, key=lambda other: other.used).close()
            await connect()
            self.files.add(file)


class File:
    """A file and its three connections, opened when needed: one to write, one to read in trio's thread what
    is surely in memory, one to read all else in other threads, one at a time.

    Shared by all stores of the account in this process (`users` of them), and closed in between when too many
    files are open (`used` is the time of its last use, `busy` the calls now in it).
    """

    def __init__(self, path: Path, open_files: OpenFiles) -> None:
        self.path = path
        self.users = self.busy = 0
        self.used = 0.0
        self.closed = False
        self.written = trio.lowlevel.ParkingLot()  # where those wait who want to know of writes here
        self._open_files = open_files
        self._changing = trio.Lock()  # held while it is opened or closed
        self._threads = trio.CapacityLimiter(1)
        self._connections: tuple[sqlite3.Connection, ...] = ()
        self._writer: Writer | None = None

    async def write(self, work: Work[T]) -> T:
        """Run the work in the writer's transaction: see `Writer.run`."""
        self.busy += 1
        try:
            if self._writer is None:
                await self._open()
            assert self._writer is not None
            return await self._writer.run(work)
        except (sqlite3.Error, OSError) as error:
            raise _told(error) from error
        finally:
            self.busy -= 1

    def post(self, work: Work[object]) -> None:
        """Write when there is time for it; nobody waits. If the file is not open, it is not done."""
        if self._writer is not None:
            self._writer.post(work)

    async def read(self, work: Work[T]) -> T:
        """Run work that only reads in a thread, as it may have to wait for the disk."""
        self.busy += 1
        try:
            if self._writer is None:
                await self._open()
            return await trio.to_thread.run_sync(work, self._connections[1], limiter=self._threads)
        except (sqlite3.Error, OSError) as error:
            raise _told(error) from error
        finally:
            self.busy -= 1

    async def look(self, work: Work[T]) -> T:
        """Run work that reads a few recent pages, right here: it takes 3 to 10 µs, and the way to a thread
        and back 120 µs (measured). Lets no other task run if the file is open.
        """
        if self._writer is None:
            await self._open()
        self.used = time.monotonic()
        try:
            return work(self._connections[2])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                return await self.read(work)
            raise _told(error) from error
        except sqlite3.Error as error:
            raise _told(error) from error

    def stamp(self) -> tuple[int, ...] | None:
        """Changes with each commit, of any process; opening and closing alone do not change it. None if there
        was a write so lately that the next might not change it.
        """
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            raise NoSuchUser("The account was erased") from None
        except OSError as error:
            raise _told(error) from error
        stamp: tuple[int, ...] = (status.st_mtime_ns, status.st_size)
        with suppress(FileNotFoundError):
            log = os.stat(f"{self.path}-wal")
            if log.st_size:  # an empty one comes and goes with the connections
                stamp += (log.st_mtime_ns, log.st_size)
        return stamp if max(stamp[::2]) + TICK_NS < time.time_ns() else None

    async def aclose(self) -> None:
        """Close it for good."""
        self.closed = True
        await self.close()

    async def close(self) -> None:
        """Close the connections, once what was asked for is written. It opens again when it is used."""
        with trio.CancelScope(shield=True):
            async with self._changing:
                writer, self._writer = self._writer, None
                connections, self._connections = self._connections, ()
                if writer is not None:
                    await writer.aclose()
                    await trio.to_thread.run_sync(_close, connections)
                    self._open_files.files.discard(self)

    async def erase(self) -> None:
        """Make it an erased file for all who have it open, then remove it."""
        with suppress(NoSuchUser):  # there is none, or a crash left it between the two
            await self.write(_erase)
            # Into the file itself: without its log, which goes first, it would be what it was before.
            await self.read(lambda connection: connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone())
        await self.close()
        await trio.to_thread.run_sync(self._unlink)

    def _unlink(self) -> None:
        # The file itself is the last to go: a log without its file would be taken for that of a later one.
        try:
            for end in ("-wal", "-shm", ""):
                Path(f"{self.path}{end}").unlink(missing_ok=True)
        except OSError as error:
            raise _told(error) from error

    async def _open(self) -> None:
        self.busy += 1  # who makes room for another would wait for this one, which waits for him
        try:
            async with self._changing:
                if self.closed:
                    raise trio.ClosedResourceError
                if self._writer is None:
                    await self._open_files.add(self, self._connect)
        except (sqlite3.Error, OSError) as error:
            raise _told(error) from error
        finally:
            self.busy -= 1

    async def _connect(self) -> None:
        self._connections = await trio.to_thread.run_sync(self._connected)
        self._writer = Writer(self._connections[0], self.written.unpark_all)
        self._writer.post(_clean)
        self.used = time.monotonic()

    def _connected(self) -> tuple[sqlite3.Connection, ...]:
        uri = self.path.resolve().as_uri() + "?mode=rw"
        connections: list[sqlite3.Connection] = []
        try:
            for timeout, writes in ((BUSY_SECONDS, 1), (BUSY_SECONDS, 0), (BUSY_SECONDS_IN_LOOP, 0)):
                connection = sqlite3.connect(
                    uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
                )
                connections.append(connection)
                connection.executescript(
                    f"PRAGMA synchronous = FULL; PRAGMA journal_size_limit = {WAL_BYTES_MAX};"
                    f"PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = MEMORY;"
                    f"PRAGMA query_only = {1 - writes};"
                )
            (magic,) = connections[0].execute("PRAGMA application_id").fetchone()
            (version,) = connections[0].execute("PRAGMA user_version").fetchone()
            if version == 0 and magic == MAGIC:
                raise NoSuchUser("The account was erased")
            if (magic, version) != (MAGIC, VERSION):
                raise Damaged("This is no account file, or a newer version of Aerogramme wrote it")
        except BaseException:
            _close(connections)
            if not self.path.exists():
                raise NoSuchUser from None
            raise
        return tuple(connections)


def create(path: Path) -> None:
    """Make an empty account file, whole or not at all; one that is there already stays."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}{NEW}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in path.parent.glob(f".*{NEW}*"):  # by a crash right here
            with suppress(FileNotFoundError):  # another process is done with it
                if left.stat().st_mtime + LEFT_SECONDS < time.time():
                    left.unlink()
        try:
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            with closing(sqlite3.connect(new, isolation_level=None)) as connection:
                connection.executescript(SCHEMA)
            with suppress(FileExistsError):
                os.link(new, path)
        finally:
            new.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (sqlite3.Error, OSError) as error:
        raise _told(error) from error


def _close(connections: Iterable[sqlite3.Connection]) -> None:
    for connection in connections:
        connection.close()


def _clean(connection: sqlite3.Connection) -> None:
    """Remove what was left of objects whose writer died while their bytes came in."""
    old = int(time.time()) - LEFT_SECONDS
    left = connection.execute("SELECT id FROM objects WHERE name IS NULL AND touched < ?", (old,)).fetchall()
    for (number,) in left:
        remove_object(connection, number)


def remove_object(connection: sqlite3.Connection, number: int) -> None:
    """Delete an object and its chunks."""
    first = number << CHUNK_BITS
    connection.execute("DELETE FROM chunks WHERE id BETWEEN ? AND ?", (first, first + CHUNKS_MAX - 1))
    connection.execute("DELETE FROM objects WHERE id = ?", (number,))


def _erase(connection: sqlite3.Connection) -> None:
    # Renaming costs the same for any size, and no statement of anyone finds its table any more.
    for table in ("objects", "chunks", "rows"):
        connection.execute(f"ALTER TABLE {table} RENAME TO erased_{table}")
    connection.execute("PRAGMA user_version = 0")


def _told(error: sqlite3.Error | OSError) -> Exception:
    """What the caller is told of an error of sqlite or the file system."""
    if isinstance(error, sqlite3.OperationalError) and str(error).startswith("no such table"):
        return NoSuchUser("The account was erased")
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Damaged("The account file is damaged")
    if isinstance(error, sqlite3.OperationalError | OSError):  # locked, full, not ours to read
        return Unavailable(hint=f"look at the folder of the accounts: {error}")
    return error  # a misuse of sqlite: an error of the program
