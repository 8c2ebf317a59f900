"""Letters are read from files: some are opened before it is their turn, large ones are read in pieces.

No thread takes part. While this process works on letters that were read before, a thread would wait for the
interpreter at each call of the system: 3 ms a letter were measured, of which the disk needs nothing. It reads
what is open (posix_fadvise) while letters before that are worked on.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from io import FileIO
from itertools import islice
from typing import Final, Protocol

import trio

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources import compressed, mail_crypt
from aerogramme.migrate.sources.lineends import LineEnds
from aerogramme.migrate.sources.source import Fault, Letter

PIECE: Final = 128 * 1024  # octets of a letter that are read at once
LARGEST: Final = 1 << 30  # octets of a letter; a small file that was made for it could become any number
AHEAD: Final = 32  # letters that are open before it is their turn
TURN: Final = 1024 * 1024  # octets of letters after which other tasks have theirs: some milliseconds


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
        self.line_ends = LineEnds()
        if isinstance(file, OpenFile):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    def read(self) -> bytes:
        """The next piece; nothing behind the end, and `ended` is true then. Raises Unreadable."""
        try:
            data = self._begin() if self._plain is None else self._plain.read(PIECE)
        except compressed.BROKEN as e:
            raise Unreadable(f"it cannot be read after {self.size} octets: {reason(e)}") from e
        self.size += len(data)
        # Most letters are read in one go: to ask whether there is more of the file costs as much.
        self.ended = not data or (self._plain is self._file and self.size == self._file_size)
        data = self.line_ends.feed(data)
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
        if self.line_ends.nuls:
            return [("it has NULs", "they are octets 0x80, as Dovecot shows them")]
        return []

    def close(self) -> None:
        self._file.close()


# What opens the letter of a UID: None if it is gone by now.
Opener = Callable[[], Reader | Fault | None]


async def letters(
    openers: Iterable[tuple[int, Opener]], faults: list[Fault]
) -> AsyncGenerator[Letter | Fault, None]:
    """The letters of UIDs, in this order. What is to be remarked of one is put into `faults` once it is
    read."""
    found = _found(openers)
    opened: deque[tuple[int, Reader | Fault]] = deque()
    turn = 0  # octets since other tasks have had theirs
    try:
        opened.extend(islice(found, AHEAD))
        while opened:
            uid, reader = opened[0]
            opened.extend(islice(found, 1))
            if isinstance(reader, Fault):
                yield reader
            else:
                try:
                    first = _first(reader)
                except Unreadable as e:
                    yield left_out(reader.origin, e)
                else:
                    yield Letter(uid, _pieces(reader, first, faults), reader.line_ends)
                turn += reader.size
                reader.close()
            opened.popleft()
            turn += TURN // AHEAD  # for opening it
            if turn >= TURN:
                turn = 0
                await trio.lowlevel.checkpoint()
    finally:
        for _, reader in opened:
            if isinstance(reader, Reader):
                reader.close()


def _found(openers: Iterable[tuple[int, Opener]]) -> Iterator[tuple[int, Reader | Fault]]:
    """Those that are not gone."""
    for uid, opener in openers:
        if (reader := opener()) is not None:
            yield uid, reader


def _first(reader: Reader) -> list[bytes]:
    """The first pieces of a letter: of most, all. Raises Unreadable."""
    pieces = []
    while not reader.ended and reader.size < PIECE:
        if piece := reader.read():
            pieces.append(piece)
    return pieces


async def _pieces(reader: Reader, first: list[bytes], faults: list[Fault]) -> AsyncIterator[bytes]:
    while first:
        yield first.pop(0)
    while not reader.ended:
        await trio.lowlevel.checkpoint()
        try:
            piece = reader.read()
        except Unreadable as e:
            raise Unreadable(f"{reader.origin}: {e}", hint=e.hint) from e
        if piece:
            yield piece
    faults += [Fault(reader.origin, what, done) for what, done in reader.remarks()]


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
