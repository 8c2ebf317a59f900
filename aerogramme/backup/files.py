"""Files of a backup, written so that a machine may stop at any moment: each is there whole, or not at all.

A file is written as `….new`, synced, given its name, and its folder is synced. What is named by another file
is durable before that is. All of this waits for a disk: call it in a thread.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aerogramme.errors import NotStored, Unavailable

NEW = ".new"
READ = 1 << 20  # bytes read at a time


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


def remove(path: Path) -> None:
    """Durable once its folder is synced; one that is not there is fine."""
    with explained("remove", path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            return


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


def read(path: Path) -> bytes:
    """A whole file. NotStored, Unavailable."""
    with explained("read", path):
        return path.read_bytes()


def read_part(path: Path, start: int, octets: int) -> bytes:
    """A part of a file, cut at its end. NotStored, Unavailable."""
    with explained("read", path), path.open("rb") as file:
        file.seek(start)
        return file.read(octets)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes out; the file stays. Raises Unavailable when somebody else is in."""
    with explained("lock", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(
                f"another backup is being written in {path.parent}", hint="wait until it has ended"
            ) from None
        except OSError as error:
            raise Unavailable(f"cannot lock {path}: {error.strerror}") from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Keeps `alone` from being true elsewhere. No such file, as in a copy of a backup, is fine."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from error
    try:
        with explained("lock", path):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Whether nobody else has it `shared`; if so, nobody gets it meanwhile. The file stays."""
    with explained("lock", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
