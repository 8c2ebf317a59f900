"""The files of the local cache: one for each object, and one for each stretch of an object that was only read
in part. They can be checked frame by frame.

Everything here may block, and is called in threads; cache.py decides when. docs/format.md says the same byte
for byte. Several processes share a folder without a lock: a file appears under its name by a rename, whole,
and whoever writes it again writes the same. Nothing is synced: what a power cut leaves of a file fails its
checks, and is read from the store again.
"""

import os
import re
import secrets
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

MAGIC = b"AGC\x01"
_HEAD = struct.Struct(">4sQ16s")  # magic, octets of the object, checksum of the two
CHECK = 16  # octets of a checksum
FRAME = 64 * 1024  # octets of the object in each frame but the last: a range read checks little more
# A distant store takes about as long for one request as to transfer this: reading less saves nothing.
STRETCH = 64 * 1024
PERSON = b"aerogramme cache"
NEW, STRETCHES = ".new", ".part"

BLOCK = 4096  # what a file takes on the disk is counted in these
# A use is noted in the file's time of change, which costs a write of its inode: not again within the hour.
NOTE_SECONDS = 3600.0
LEFT_SECONDS = 3600.0  # a file that was begun and not written to for so long will not be finished

_FOLDER = re.compile(r"[0-9a-f]{32}", re.ASCII)
_OBJECT = re.compile(rf"[0-9a-f]{{64}}(\.[0-9a-f]{{16}}{re.escape(NEW)})?", re.ASCII)
_OF_STRETCHES = re.compile(rf"[0-9a-f]{{64}}{re.escape(STRETCHES)}", re.ASCII)
_STRETCH = re.compile(rf"[0-9a-f]{{8}}(\.[0-9a-f]{{16}}{re.escape(NEW)})?", re.ASCII)


class Folder:
    """The folder of a cache. Accounts are 32 hex digits. Every method may raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, account: str, name: str, start: int, stop: int | None) -> bytes | None:
        """The bytes start to stop of an object, clipped at its end; None if not all of them are here."""
        found = self._read(account, name, None, start, stop)
        if found is not None or stop is None or start >= stop:
            return found
        first, pieces = start // STRETCH, []
        for number in range(first, -(-stop // STRETCH)):
            piece = self._read(account, name, number, 0, None)
            if piece is None:
                return None
            pieces.append(piece)
            if len(piece) < STRETCH:  # here the object ends
                break
        return b"".join(pieces)[start - first * STRETCH : stop - first * STRETCH]

    def _read(
        self, account: str, name: str, stretch: int | None, start: int, stop: int | None
    ) -> bytes | None:
        path, key = self._place(account, name, stretch)
        try:
            # A pipe or a link is nothing of ours: neither waits, nor leads elsewhere.
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            found = _read(file, key, start, stop)
        finally:
            os.close(file)
        if found is None:
            path.unlink(missing_ok=True)
        return found

    def begin(self, account: str, name: str, stretch: int | None = None) -> "Draft":
        """A new file for an object, or for a stretch of one (counted from 0)."""
        path, key = self._place(account, name, stretch)
        try:
            return Draft(path, key)
        except FileNotFoundError:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._account(account).mkdir(mode=0o700, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            return Draft(path, key)

    def remove(self, account: str, names: Iterable[str]) -> None:
        """Remove all there is of these objects."""
        for name in names:
            path, _ = self._place(account, name)
            path.unlink(missing_ok=True)
            _remove_all(path.with_name(path.name + STRETCHES), _STRETCH)

    def remove_account(self, account: str) -> None:
        """Remove all there is of an account."""
        folder = self._account(account)
        for entry in _entries(folder, _OF_STRETCHES):
            _remove_all(Path(entry.path), _STRETCH)
        _remove_all(folder, _OBJECT)

    def sweep(self, limit: int) -> None:
        """Remove what was used longest ago, until the files take `limit` octets of the disk at most, and what
        crashes have left. Nothing is touched that is not named like a file of a cache."""
        now, total = time.time(), 0
        files: list[tuple[float, int, str]] = []
        folders: list[str] = []
        for folder in _entries(self.path, _FOLDER):
            inner = [entry.path for entry in _entries(Path(folder.path), _OF_STRETCHES)]
            folders += [*inner, folder.path]  # those that are within another first
            entries = [*_entries(Path(folder.path), _OBJECT)]
            for path in inner:
                entries += _entries(Path(path), _STRETCH)
            for file in entries:
                try:
                    status = file.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # another process has removed it
                if stat.S_ISDIR(status.st_mode):
                    continue
                octets = on_disk(status.st_size)
                if not file.name.endswith(NEW):
                    files.append((status.st_mtime, octets, file.path))
                elif status.st_mtime + LEFT_SECONDS < now:
                    Path(file.path).unlink(missing_ok=True)
                    continue
                total += octets
        if total > limit:
            files.sort()
            for _, octets, path in files:
                Path(path).unlink(missing_ok=True)
                total -= octets
                if total <= limit:
                    break
        for path in folders:
            _remove_if_empty(Path(path), now - LEFT_SECONDS)

    def _account(self, account: str) -> Path:
        return self.path / blake2b(bytes.fromhex(account), digest_size=16, person=PERSON).hexdigest()

    def _place(self, account: str, name: str, stretch: int | None = None) -> tuple[Path, bytes]:
        """Where a file is, and its key: what binds the checksums in it to what it holds."""
        data = bytes.fromhex(account) + name.encode("ascii")
        key = blake2b(data, digest_size=32, person=PERSON).digest()
        path = self._account(account) / key.hex()
        if stretch is None:
            return path, key
        key = blake2b(stretch.to_bytes(8, "big"), digest_size=32, key=key, person=PERSON).digest()
        return path.with_name(path.name + STRETCHES) / f"{stretch:08x}", key


class Draft:
    """A file on its way, under a name of its own. `write` the object, then `keep` it; or `drop` it."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path, self._key = path, key
        self._temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{NEW}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = open(os.open(self._temporary, flags, 0o600), "wb")  # noqa: SIM115 - it is closed by keep or drop
        self._rest = bytearray()
        self._frames = self.size = 0

    def write(self, data: bytes) -> None:
        """The next octets of the object."""
        if not self.size and data:
            self._file.write(bytes(_HEAD.size))  # the place of the head, which comes last
        self.size += len(data)
        self._rest += data
        while len(self._rest) >= FRAME:
            self._frame(bytes(self._rest[:FRAME]))
            del self._rest[:FRAME]

    def keep(self) -> None:
        """Give it its name: the object is whole, and in the store."""
        if self._rest:
            self._frame(bytes(self._rest))
        self._file.seek(0)
        self._file.write(_head(self._key, self.size))
        self._file.close()
        self._temporary.replace(self._path)

    def drop(self) -> None:
        """Leave nothing of it. Fine after `keep`, and more than once."""
        with suppress(OSError):  # what could not be written before cannot be now; it goes in any case
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _frame(self, data: bytes) -> None:
        self._file.write(_check(self._key, 1 + self._frames, data))
        self._file.write(data)
        self._frames += 1


def on_disk(size: int) -> int:
    """What a file of so many octets takes."""
    return -(-size // BLOCK) * BLOCK


def taken(size: int) -> int:
    """What the file of an object of so many octets takes."""
    return on_disk(_file_size(size))


def _file_size(size: int) -> int:
    return _HEAD.size + size + -(-size // FRAME) * CHECK


def _read(file: int, key: bytes, start: int, stop: int | None) -> bytes | None:
    """The octets start to stop of what is in a file; None if that is not the whole file that the key belongs
    to."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        return None
    head = os.pread(file, _HEAD.size, 0)
    if len(head) < _HEAD.size:
        return None
    _, size, _ = _HEAD.unpack(head)
    if head != _head(key, size) or status.st_size != _file_size(size):
        return None
    stop = size if stop is None else min(stop, size)
    pieces = []
    if start < stop:
        first, last = start // FRAME, (stop - 1) // FRAME
        span = os.pread(file, (last + 1 - first) * (CHECK + FRAME), _HEAD.size + first * (CHECK + FRAME))
        for number in range(first, last + 1):
            at = (number - first) * (CHECK + FRAME)
            data = span[at + CHECK : at + CHECK + FRAME]
            if len(data) != min(FRAME, size - number * FRAME):
                return None
            if span[at : at + CHECK] != _check(key, 1 + number, data):
                return None
            pieces.append(data)
        start, stop = start - first * FRAME, stop - first * FRAME
    if abs(time.time() - status.st_mtime) > NOTE_SECONDS:
        os.utime(file)
    return b"".join(pieces)[start:stop] if pieces else b""


def _head(key: bytes, size: int) -> bytes:
    return _HEAD.pack(MAGIC, size, _check(key, 0, MAGIC + size.to_bytes(8, "big")))


def _check(key: bytes, number: int, data: bytes) -> bytes:
    """The checksum of a frame (from 1), or of the head (0). It finds accidents; that nobody has forged the
    object is for the seal to say."""
    return blake2b(data, digest_size=CHECK, key=key, salt=number.to_bytes(8, "big")).digest()


def _entries(folder: Path, names: re.Pattern[str]) -> Iterator["os.DirEntry[str]"]:
    """What is in a folder and has such a name; nothing if there is no such folder."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        yield from (entry for entry in entries if names.fullmatch(entry.name))


def _remove_all(folder: Path, names: re.Pattern[str]) -> None:
    for entry in _entries(folder, names):
        Path(entry.path).unlink(missing_ok=True)
    _remove_if_empty(folder, float("inf"))


def _remove_if_empty(folder: Path, before: float) -> None:
    """Remove a folder that nothing has been added to since: another process may just have made a new one."""
    with suppress(OSError):  # it is not empty, mostly, and a folder that stays harms nobody
        if folder.stat().st_mtime < before:
            folder.rmdir()
