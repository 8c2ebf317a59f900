"""Letters that are compressed in their files, as Dovecot's zlib plugin does: told by their first octets.

A letter in plain text never begins so. Whatever a file claims, a read gives no more than what is asked for,
or of zstd what 512 octets can become (32 MiB): a small file that becomes a large letter costs time.
"""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from typing import Final, Protocol

import lz4.block
import zstandard

from aerogramme.errors import Unreadable

HEAD: Final = 16  # octets that tell how a file is compressed
_LZ4: Final = b"Dovecot-LZ4\x0d\x2a\x9b\xc5"
_LZ4_CHUNK: Final = 1024 * 1024  # octets of a piece, compressed and not: Dovecot writes 64 kB and reads this
# The first block, or the end of an empty file.
_BZIP2: Final = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
_GZIP, _ZSTD, _XZ = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0"
_MEMORY: Final = 1 << 27  # octets that the window of a decompressor may take: zstd's own limit
_STEP: Final = 1 << 16
_ZSTD_STEP: Final = 512
# Decoders that are given octets which somebody made up raise one of these.
BROKEN: Final = (zlib.error, lzma.LZMAError, zstandard.ZstdError, lz4.block.LZ4BlockError, EOFError, OSError)


class Readable(Protocol):
    """What can be read: `read` gives between 1 and `size` octets, or more for zstd, and none at the end."""

    def read(self, size: int, /) -> bytes: ...


def is_compressed(head: bytes) -> bool:
    """Is a file that begins so compressed?"""
    return head.startswith((_GZIP, _ZSTD, _XZ, _LZ4)) or _BZIP2.match(head) is not None


def opened(head: bytes, file: Readable) -> Readable:
    """What a compressed file holds. `head`: what was read of it already.

    This, and reading, may raise any of BROKEN.
    """
    rest = _Rest(head, file)
    if head.startswith(_GZIP):
        return gzip.GzipFile(fileobj=io.BufferedReader(rest, _STEP), mode="rb")
    if head.startswith(_ZSTD):
        return _Members(rest, _Zstd, _ZSTD_STEP)
    if head.startswith(_XZ):
        return _Members(rest, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _MEMORY))
    if head.startswith(_LZ4):
        return _Lz4(io.BufferedReader(rest, _STEP))
    return _Members(rest, bz2.BZ2Decompressor)


class _Rest(io.RawIOBase):
    """A file of which something was read already: that, and the rest."""

    def __init__(self, head: bytes, file: Readable) -> None:
        self._head = memoryview(head)
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        found = self._head[: len(buffer)] if self._head else self._file.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(found)] = found
        return len(found)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zstd:
    """zstandard's decompressor with the face that those of bz2 and lzma have. It has no limit of output."""

    needs_input = True

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor(max_window_size=_MEMORY).decompressobj()

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:  # noqa: ARG002
        return self._inner.decompress(data)


class _Members:
    """One compressed stream after the other, to the end of the file."""

    def __init__(self, file: _Rest, make: Callable[[], _Decompressor], step: int = _STEP) -> None:
        self._file = file
        self._make = make
        self._step = step
        self._decompressor = make()

    def read(self, size: int) -> bytes:
        while True:
            data = b""
            if self._decompressor.eof:
                data = self._decompressor.unused_data or self._file.read(self._step) or b""
                if not data:
                    return b""
                self._decompressor = self._make()
            elif self._decompressor.needs_input:
                data = self._file.read(self._step) or b""
                if not data:
                    raise EOFError("the compressed data end too early")
            if found := self._decompressor.decompress(data, size):
                return found


class _Lz4:
    """Dovecot's own form: magic, octets of the largest chunk, and chunks, each after its compressed size.
    Sizes are 32 bits, big-endian."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._left = b""
        file.read(len(_LZ4))
        self._largest = self._number(file.read(4))

    def read(self, size: int) -> bytes:
        while not self._left:
            prefix = self._file.read(4)
            if not prefix:
                return b""
            chunk = self._file.read(length := self._number(prefix))
            if len(chunk) != length:
                raise EOFError("the compressed data end too early")
            self._left = lz4.block.decompress(chunk, uncompressed_size=self._largest)
        found, self._left = self._left[:size], self._left[size:]
        return found

    @staticmethod
    def _number(octets: bytes) -> int:
        if len(octets) != 4:
            raise EOFError("the compressed data end too early")
        number = int.from_bytes(octets, "big")
        if number > _LZ4_CHUNK:
            raise Unreadable("A compressed chunk is larger than Dovecot makes them")
        return number
