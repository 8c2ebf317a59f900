"""A folder that an export writes into. Everything in it is opened relative to its descriptor, and no symbolic
link is followed: who owns the folder may be somebody else than who runs the export. All of this waits for a
disk: call it in a thread."""

import errno
import fcntl
import grp
import os
import pwd
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from aerogramme.errors import BadConfiguration, Refused, Unavailable

NEW = ".new"  # at the end of a file's name until it is whole
READ = 1 << 20  # octets compared at a time
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MADE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # that of a pipe does not wait

# What another try does not mend: the folder is not one to write into, or not for this user.
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}


@dataclass(frozen=True, slots=True)
class Owner:
    """Who shall have what is made: a user and a group, as the numbers that chown(2) takes."""

    user: int
    group: int


def owner_of(text: str) -> Owner:
    """The owner that `USER` or `USER:GROUP` means, names or numbers; without a group that of the user. Raises
    BadConfiguration."""
    name, colon, group = text.partition(":")
    user = _number(name, "user", lambda name: pwd.getpwnam(name).pw_uid)
    if colon:
        return Owner(user, _number(group, "group", lambda name: grp.getgrnam(name).gr_gid))
    try:
        return Owner(user, pwd.getpwuid(user).pw_gid)
    except KeyError:
        raise BadConfiguration(f"user {name} has no group that is known", hint="give USER:GROUP") from None


def _number(name: str, what: str, known: Callable[[str], int]) -> int:
    if name.isascii() and name.isdecimal():
        return int(name)
    try:
        return known(name)
    except KeyError:
        raise BadConfiguration(f"there is no {what} {name!r}", hint="give USER or USER:GROUP") from None


@contextmanager
def explained(what: str, path: Path) -> Iterator[None]:
    """An error of the disk as one that a person can read: Refused where it stays as it is, else
    Unavailable."""
    try:
        yield
    except OSError as error:
        kind = Refused if error.errno in _REFUSED else Unavailable
        raise kind(f"cannot {what} {path}: {error.strerror}") from error


class Place:
    """A folder, held open. What is made in it has the modes 0600 and 0700, and the owner that is given."""

    def __init__(self, descriptor: int, path: Path, owner: Owner | None) -> None:
        """Use `begin` and `folder`."""
        self._descriptor = descriptor
        self.path = path
        self._owner = owner
        self._locked = False

    @classmethod
    def begin(cls, path: Path, owner: Owner | None = None) -> "Place":
        """The folder of an export, made if it is not there, for this process alone. Raises Refused,
        Unavailable, also when another process has it."""
        with explained("make", path):
            missing = [each for each in (path, *path.parents) if not each.exists()]
            for each in reversed(missing):
                os.mkdir(each, 0o700)
                if owner is not None:  # those above the last one, too: he has to get through them
                    os.chown(each, owner.user, owner.group, follow_symlinks=False)
        with explained("open", path):  # this one may be a symbolic link: who runs the export has named it
            place = cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), path, owner)
        try:
            with explained("lock", path):
                fcntl.flock(place._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                place._locked = True
        except Unavailable as error:
            place.close()
            if isinstance(error.__cause__, BlockingIOError):
                raise Unavailable(
                    f"another export writes into {path}", hint="wait until it has ended"
                ) from error
            raise
        except BaseException:
            place.close()
            raise
        return place

    def close(self) -> None:
        if self._locked:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # also where somebody still has it open once more
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- folders

    def folder(self, *levels: str) -> "Place":
        """One below, made if it is not there."""
        with self._walk(levels, make=True) as place:
            return place.again()

    def known(self, *levels: str) -> "Place | None":
        """One below, or None if it is not there."""
        try:
            with self._walk(levels, make=False) as place:
                return place.again()
        except FileNotFoundError:
            return None

    def again(self) -> "Place":
        """The same, to be closed by itself."""
        return Place(os.dup(self._descriptor), self.path, self._owner)

    @contextmanager
    def _walk(self, levels: Sequence[str], *, make: bool) -> "Iterator[Place]":
        place = self.again()
        try:
            for level in levels:
                below = place._below(level, make)
                place.close()
                place = below
            yield place
        finally:
            place.close()

    def _below(self, level: str, make: bool) -> "Place":
        path = self.path / level
        made = False
        if make:
            with explained("make", path), suppress(FileExistsError):
                os.mkdir(level, 0o700, dir_fd=self._descriptor)
                made = True
        try:
            descriptor = os.open(level, _FOLDER, dir_fd=self._descriptor)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Refused(f"cannot open {path}: {error.strerror}") from error
        place = Place(descriptor, path, self._owner)
        if made:
            place._give(descriptor)
        return place

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """What is in it."""
        with explained("read", self.path), os.scandir(self._descriptor) as found:
            yield from found

    def files(self) -> Iterator[tuple[str, int]]:
        """What is in it, with its octets; -1 for what is no file. What goes meanwhile is left out."""
        for entry in self.entries():
            with explained("read", self.path / entry.name):
                try:
                    is_file = entry.is_file(follow_symlinks=False)
                    size = entry.stat(follow_symlinks=False).st_size if is_file else -1
                except FileNotFoundError:
                    continue
            yield entry.name, size

    def remove_folder(self, name: str) -> bool:
        """A folder in it, if that is empty; whether it is gone."""
        try:
            os.rmdir(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                return False
            raise Unavailable(f"cannot remove {self.path / name}: {error.strerror}") from error
        return True

    # --- files

    def make(self, name: str) -> "Growing":
        """A new file; one of this name goes."""
        path = self.path / name
        with explained("write", path):
            with suppress(FileNotFoundError):  # not written over: it may be a link, or somebody may read it
                os.unlink(name, dir_fd=self._descriptor)
            descriptor = os.open(name, _MADE, 0o600, dir_fd=self._descriptor)
        growing = Growing(self, name, descriptor)
        try:
            self._give(descriptor)
        except BaseException:
            growing.close()
            raise
        return growing

    def write(self, name: str, chunks: Iterable[bytes]) -> bool:
        """A whole file, there at once; whether it is not as it was. One that is the same is left alone."""
        with closing(self.make(name + NEW)) as growing:
            for chunk in chunks:
                growing.write(chunk)
            if self._same(name, growing.name):
                growing.close()
                return False
            growing.finish(self, name)
        return True

    def read(self, name: str, most: int) -> bytes | None:
        """The first octets of a file; None if there is none."""
        with explained("read", self.path / name):
            try:
                with os.fdopen(os.open(name, _READ, dir_fd=self._descriptor), "rb") as file:
                    return file.read(most)
            except FileNotFoundError:
                return None

    def status(self, name: str) -> os.stat_result | None:
        """What stat(2) tells of a file, or None."""
        with explained("read", self.path / name):
            try:
                return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            except FileNotFoundError:
                return None

    def rename(self, name: str, to: "Place", new: str) -> bool:
        """Whether it was there."""
        with explained("rename", self.path / name):
            try:
                os.rename(name, new, src_dir_fd=self._descriptor, dst_dir_fd=to._descriptor)
            except FileNotFoundError:
                return False
        return True

    def remove(self, name: str) -> None:
        """A file; none is fine."""
        with explained("remove", self.path / name), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def _same(self, name: str, other: str) -> bool:
        with explained("read", self.path / name):
            try:
                with (
                    os.fdopen(os.open(name, _READ, dir_fd=self._descriptor), "rb") as one,
                    os.fdopen(os.open(other, _READ, dir_fd=self._descriptor), "rb") as two,
                ):
                    while (piece := one.read(READ)) == two.read(READ):
                        if not piece:
                            return True
            except FileNotFoundError:
                return False
        return False

    def _give(self, descriptor: int) -> None:
        if self._owner is not None:
            with explained("change the owner of", self.path):
                os.fchown(descriptor, self._owner.user, self._owner.group)


class Growing:
    """A file that is being written. `close` it in the end: unless it was finished, it goes."""

    def __init__(self, place: Place, name: str, descriptor: int) -> None:
        self.name = name
        self.octets = 0
        self._place = place
        self._descriptor: int | None = descriptor

    def write(self, data: bytes) -> None:
        assert self._descriptor is not None
        rest = memoryview(data)
        with explained("write", self._place.path / self.name):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self.octets += len(data)

    def cut(self, octets: int) -> None:
        """Forgets what was written after that many octets."""
        assert self._descriptor is not None
        with explained("write", self._place.path / self.name):
            os.ftruncate(self._descriptor, octets)
            os.lseek(self._descriptor, octets, os.SEEK_SET)
        self.octets = octets

    def finish(self, to: Place, name: str, mtime: int | None = None) -> None:
        """It has its name, and its time (unix seconds)."""
        assert self._descriptor is not None
        with explained("write", to.path / name):
            if mtime is not None:
                os.utime(self._descriptor, (mtime, mtime))
            os.close(self._descriptor)
            self._descriptor = None
            self._place.rename(self.name, to, name)

    def settle(self) -> None:
        """It is whole, and keeps the name that it has."""
        assert self._descriptor is not None
        os.close(self._descriptor)
        self._descriptor = None

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._place.remove(self.name)
