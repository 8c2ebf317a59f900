"""Files of a backup, written so that a machine may stop at any moment: each is there whole, or not at all.

A file is written as `….new`, synced, given its name, and its folder is synced. What is named by another file
is durable before that is. All of this waits for a disk: call it in a thread.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aerogramme.errors import Damaged, NotStored, Unavailable

NEW = ".new"
READ = 1 << 20  # bytes read at a time

# What a disk, or a file system with checksums, answers for a place that it cannot read any more.
_WORN = frozenset((errno.EIO, errno.EBADMSG, errno.EUCLEAN))


@contextmanager
def explained(what: str, path: Path) -> Iterator[None]:
    """An error of the disk as one that a person can read. A file that is not there is `NotStored`."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotStored(f"{path} is not there") from error
    except OSError as error:
        raise Unavailable(f"cannot {what} {path}: {error.strerror}") from error


def make_folder(path: Path) -> None:
    """A folder for its owner only, durable on return; one that is there is fine. Its parent must be there."""
    with explained("make", path):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            return
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """What was named, renamed and removed in it is durable on return."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes) -> None:
    """A whole file, durable on return."""
    growing = Growing(path.with_name(path.name + NEW))
    try:
        growing.write(data)
        growing.finish(path)
    finally:
        growing.close()
    with explained("write", path):
        sync_folder(path.parent)


def remove(path: Path) -> int:
    """Durable once its folder is synced; one that is not there is fine. Returns the octets it had."""
    with explained("remove", path):
        try:
            octets = path.stat().st_size
            os.unlink(path)
        except FileNotFoundError:
            return 0
    return octets


def tidy(folder: Path) -> None:
    """Removes what a run that was cut off was writing. Nobody may be writing there."""
    for name in names(folder):
        if name.endswith(NEW):
            remove(folder / name)


class Growing:
    """A file that is being written, under a name that nobody reads. `close` it in the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.octets = 0
        with explained("write", path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._descriptor: int | None = os.open(path, flags, 0o600)

    def write(self, data: bytes) -> None:
        assert self._descriptor is not None
        rest = memoryview(data)
        with explained("write", self.path):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self.octets += len(data)

    def cut(self, octets: int) -> None:
        """Forgets what was written after that many octets."""
        assert self._descriptor is not None
        with explained("write", self.path):
            os.ftruncate(self._descriptor, octets)
            os.lseek(self._descriptor, octets, os.SEEK_SET)
        self.octets = octets

    def finish(self, path: Path) -> None:
        """Its bytes are durable, and it has its name; that is durable once the folder is synced."""
        assert self._descriptor is not None
        with explained("write", path):
            os.fsync(self._descriptor)
            self.close()
            os.replace(self.path, path)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to be read. NotStored; Damaged where the disk cannot read it, as what lies beside may be fine;
    Unavailable."""
    with explained("read", path):
        try:
            with path.open("rb") as file:
                yield file
        except OSError as error:
            if error.errno in _WORN:
                raise Damaged(f"{path} cannot be read: {error.strerror}") from error
            raise


def read(path: Path) -> bytes:
    """A whole file. NotStored, Damaged, Unavailable."""
    with opened(path) as file:
        return file.read()


def names(folder: Path) -> list[str]:
    """What is in a folder; nothing in one that is not there, as before the first run came so far."""
    try:
        with explained("read", folder):
            return os.listdir(folder)
    except NotStored:
        return []


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes out; the file stays. Raises Unavailable when somebody else is in."""
    with alone(path) as got:
        if not got:
            raise Unavailable(
                f"another backup is being written in {path.parent}", hint="wait until it has ended"
            )
        yield


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Keeps `alone` from being true elsewhere. No such file, as in a copy of a backup, is fine."""
    try:
        with explained("read", path):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except NotStored:
        yield
        return
    try:
        with explained("lock", path):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Whether nobody else has it, `shared` or alone; if so, nobody gets it meanwhile. The file stays."""
    with explained("lock", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _lock(descriptor, path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    with explained("lock", path):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
