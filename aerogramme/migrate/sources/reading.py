"""Letters are read from files in threads: many small ones at once, large ones in pieces."""

import errno
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from io import FileIO
from typing import Final, Protocol

import trio

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources import compressed, mail_crypt
from aerogramme.migrate.sources.lineends import LineEnds
from aerogramme.migrate.sources.source import Fault, Letter

PIECE: Final = 128 * 1024  # octets of a letter that are read at first: of most, all
LATER: Final = 1024 * 1024  # and then: a hop to a thread costs as much as reading 100 kB
LARGEST: Final = 1 << 30  # octets of a letter; a small file that was made for it could become any number
# Letters whose first pieces are read in one hop, and octets that end it: few compressed ones can be many.
AHEAD: Final = 32
AHEAD_OCTETS: Final = 2 * 1024 * 1024


class Octets(Protocol):
    """An open file, or what is to be read like one. `read` gives nothing only at the end."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class Reader:
    """A letter in an open file: uncompressed, with CRLF at the ends of lines. It closes the file.

    size    octets that are read by now, uncompressed
    wide    the same with CRLF at the ends of lines (RFC822.SIZE)
    ended   all is read

    `plain`: it is neither compressed nor encrypted, whatever it begins with.
    """

    def __init__(self, file: Octets, origin: str, *, plain: bool = False) -> None:
        self.origin = origin
        self.size = 0
        self.wide = 0
        self.ended = False
        self._file = file
        self._file_size = file.size if isinstance(file, OpenFile) else None
        self._plain: compressed.Readable | None = file if plain else None
        self._line_ends = LineEnds()

    def read(self) -> bytes:
        """The next piece; nothing behind the end, and `ended` is true then. Raises Unreadable."""
        try:
            data = self._begin() if self._plain is None else self._plain.read(LATER if self.size else PIECE)
        except compressed.BROKEN as e:
            raise Unreadable(f"it cannot be read after {self.size} octets: {reason(e)}") from e
        self.size += len(data)
        # Most letters are read in one go: to ask whether there is more of the file costs as much.
        self.ended = not data or (self._plain is self._file and self.size == self._file_size)
        data = self._line_ends.feed(data)
        self.wide += len(data)
        if self.wide > LARGEST:
            raise Unreadable(f"it has more than {LARGEST >> 30} GiB, as no letter has")
        return data

    def _begin(self) -> bytes:
        data = self._file.read(PIECE if self._file_size is None else min(PIECE, self._file_size + 1))
        is_compressed = compressed.is_compressed(data)
        if (not is_compressed and not mail_crypt.is_encrypted(data)) or self._is_plain(data):
            self._plain = self._file
            return data
        if not is_compressed:
            raise mail_crypt.refused()
        self._plain = compressed.opened(data, self._file)
        return self._plain.read(PIECE)

    def _is_plain(self, head: bytes) -> bool:  # noqa: ARG002
        """Is a letter neither compressed nor encrypted, though it begins as if it were?"""
        return False

    def remarks(self) -> list[tuple[str, str]]:
        """When all is read: what is not as it should be, and what was done about it."""
        if self._line_ends.nuls:
            return [("it has NULs", "they are octets 0x80, as Dovecot shows them")]
        return []

    def close(self) -> None:
        self._file.close()


# What opens the letter of a UID, in a thread: None if it is gone by now.
Opener = Callable[[], Reader | Fault | None]


async def letters(
    openers: Iterable[tuple[int, Opener]], faults: list[Fault]
) -> AsyncGenerator[Letter | Fault, None]:
    """The letters of UIDs, in this order. What is to be remarked of one is put into `faults` once it is
    read."""
    rest = iter(openers)
    while batch := await trio.to_thread.run_sync(_begin, rest):
        try:
            for uid, begun in batch:
                yield begun if isinstance(begun, Fault) else Letter(uid, begun.pieces(faults))
        finally:
            _close(batch)


class _Begun:
    """A letter whose first pieces have been read: a small one is read whole, and closed."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._first: list[bytes] = []
        while not reader.ended and reader.size < PIECE:
            self._first.append(reader.read())
        if reader.ended:
            reader.close()

    async def pieces(self, faults: list[Fault]) -> AsyncIterator[bytes]:
        for piece in self._first:
            if piece:
                yield piece
        self._first.clear()
        while not self.reader.ended:
            try:
                piece = await trio.to_thread.run_sync(self.reader.read)
            except Unreadable as e:
                raise Unreadable(f"{self.reader.origin}: {e}", hint=e.hint) from e
            if piece:
                yield piece
        faults += [Fault(self.reader.origin, what, done) for what, done in self.reader.remarks()]


def _begin(openers: Iterator[tuple[int, Opener]]) -> list[tuple[int, _Begun | Fault]]:
    """Opens the next letters, and reads the first pieces of each; those that are gone are left out."""
    batch: list[tuple[int, _Begun | Fault]] = []
    octets = 0
    try:
        for uid, opener in openers:
            found = opener()
            if isinstance(found, Fault):
                batch.append((uid, found))
            elif found is not None:
                try:
                    batch.append((uid, _Begun(found)))
                    octets += found.wide
                except Unreadable as e:
                    found.close()
                    batch.append((uid, left_out(found.origin, e)))
            if len(batch) >= AHEAD or octets >= AHEAD_OCTETS:
                break
    except BaseException:
        _close(batch)
        raise
    return batch


def _close(batch: list[tuple[int, _Begun | Fault]]) -> None:
    for _, begun in batch:
        if isinstance(begun, _Begun):
            begun.reader.close()


def left_out(origin: str, error: Unreadable) -> Fault:
    """The fault that a letter is, which cannot be read."""
    return Fault(origin, str(error), error.hint or "it is left out", lost=True)


class OpenFile(FileIO):
    """A regular file, open to be read. `size`: its octets when it was opened."""

    def __init__(self, descriptor: int, size: int) -> None:
        super().__init__(descriptor, "rb")
        self.size = size


def open_file(name: bytes, folder: int | None, origin: str) -> OpenFile | Fault | None:
    """A regular file, to read; None if there is none. `folder`: the descriptor of the one that `name` is in.

    A symbolic link is not followed: who owns a source could have another's mail, or any file that the
    importing process may read, put among theirs. What is no file might never answer.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError as e:
        if e.errno == errno.ENOENT:
            return None
        return Fault(origin, reason(e), "it is left out", lost=True)
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        return Fault(origin, "it is not a file", "it is left out", lost=True)
    return OpenFile(descriptor, about.st_size)


def reason(error: Exception) -> str:
    """What went wrong, without the path that Python adds."""
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "it is a symbolic link"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
