"""Bodies: a content, compressed with zstd in frames and sealed as a stream under a key of its own.

    body    = a sealed stream (stream.py) of: frame*, last frame, table
    frame   = length (4 bytes), one zstd frame of that length that states its content size: 256 KiB
    last    = the same with less than 256 KiB; with nothing at all, it is the length 0 alone
    table   = the lengths of all frames again (4 bytes each), plain size (8 bytes)

Frames are compressed one by one, so that a part of a large body is read without the rest (the table says
where each frame lies), memory is bounded while writing and reading, and no frame can grow to more than it may
hold.
"""

import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Self

import zstandard

from aerogramme.errors import Damaged, TooLarge
from aerogramme.seal.record import Binding, KeyBytes
from aerogramme.seal.stream import CHUNK, SealedStream, StreamOpener, StreamSealer, open_stream

FRAME = 256 * 1024
"""Plain bytes of a frame. Real mail in one stream of these is 0.208 of its size; in frames of 64 KiB 0.238,
of 1 MiB 0.189; base64 is 0.754 with each (zstd level 3)."""

LEVEL = 1
"""zstd level: real mails of 5 kB come to 0.417 of their size in 17 µs; with level 3 to 0.408 in 22 µs. Base64
comes to the same with both, and takes a third longer with 3."""

MAX_BODY = 256 * 1024 * 1024
"""The largest plain body that is opened, unless told otherwise. Without a bound, 1 MB could become
8 GB."""

_MAX_FRAME = FRAME + (FRAME >> 8) + 64  # ZSTD_COMPRESSBOUND: what zstd makes of bytes that do not compress


class _Contexts(threading.local):
    """One compressor and one decompressor a thread: they are costly to make and not thread-safe."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_zstd = _Contexts()


class ContentKey(KeyBytes):
    """The key of one content. It seals one body, once, and travels only inside sealed records.

    A generated key refuses a second body: the nonces of a sealed stream are counted, not random.
    """

    __slots__ = ("_unused",)

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self._unused = False

    @classmethod
    def generate(cls) -> Self:
        """A new random key, good for one body."""
        key = super().generate()
        key._unused = True
        return key

    def to_bytes(self) -> bytes:
        """32 bytes, to be put inside a sealed record."""
        return self._raw

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The key as it was stored. It opens its body, and seals nothing."""
        return cls(raw)

    def _take(self) -> None:
        if not self._unused:
            raise ValueError("a content key seals one body")
        self._unused = False


class BodySealer:
    """Compresses and seals a body that comes in pieces of any size. It holds one frame and one chunk."""

    def __init__(self, key: ContentKey, binding: Binding) -> None:
        key._take()
        self._stream = StreamSealer(key.aead, binding)
        self._plain = bytearray()
        self._lengths: list[int] = []
        self.plain_size = 0
        self.sealed_size = 0

    def update(self, plain: bytes) -> bytes:
        """The sealed bytes that are ready now; `TooLarge` past MAX_BODY."""
        self.plain_size += len(plain)
        if self.plain_size > MAX_BODY:
            raise TooLarge
        out = []
        for at in range(0, len(plain), FRAME):  # so that of a large piece no second one is made
            self._plain += plain[at : at + FRAME]
            if len(self._plain) >= FRAME:
                out.append(self._stream.update(self._frame(bytes(self._plain[:FRAME]))))
                del self._plain[:FRAME]
        sealed = b"".join(out)
        self.sealed_size += len(sealed)
        return sealed

    def finish(self) -> bytes:
        """The rest. `plain_size` and `sealed_size` are final now."""
        rest = self._frame(bytes(self._plain)) + _table(self._lengths, self.plain_size)
        sealed = self._stream.update(rest) + self._stream.finish()
        self.sealed_size += len(sealed)
        return sealed

    def _frame(self, plain: bytes) -> bytes:
        frame = _zstd.compress(plain) if plain else b""
        self._lengths.append(len(frame))
        return len(frame).to_bytes(4, "big") + frame


def seal_body(key: ContentKey, binding: Binding, plain: bytes) -> bytes:
    """A whole body at once: the same as a BodySealer makes of it, with fewer copies."""
    key._take()
    if len(plain) > MAX_BODY:
        raise TooLarge
    stream, view = StreamSealer(key.aead, binding), memoryview(plain)
    lengths: list[int] = []
    sealed: list[bytes] = []
    # A last frame, of less than FRAME, is there, if only with nothing.
    for start in range(0, len(plain) + 1, FRAME):
        frame = _zstd.compress(view[start : start + FRAME]) if start < len(plain) else b""
        lengths.append(len(frame))
        sealed.append(stream.update(len(frame).to_bytes(4, "big") + frame))
    sealed += stream.update(_table(lengths, len(plain))), stream.finish()
    return b"".join(sealed)


def open_body(key: ContentKey, binding: Binding, sealed: bytes, max_size: int = MAX_BODY) -> bytes:
    """The plain bytes of a whole body; `Damaged` if changed, cut, moved, or larger than max_size."""
    opener = _Frames(max_size)
    plain = b"".join(opener.update(open_stream(key.aead, binding, sealed)))
    opener.finish()
    return plain


class BodyOpener:
    """Opens a body that comes in order, in pieces of any size. Before `finish` it may still prove cut."""

    def __init__(self, key: ContentKey, binding: Binding, max_size: int = MAX_BODY) -> None:
        self._stream = StreamOpener(key.aead, binding)
        self._frames = _Frames(max_size)

    def update(self, sealed: bytes) -> Iterator[bytes]:
        """The plain bytes that can be read now, at most a frame at a time. Take all before the next call."""
        for chunk in self._stream.update(sealed):
            yield from self._frames.update(chunk)

    def finish(self) -> Iterator[bytes]:
        """The rest; `Damaged` at the end of it if the body is not whole."""
        yield from self._frames.update(self._stream.finish())
        self._frames.finish()


class BodyReader:
    """A part of a large body without the rest: two ranges of the sealed object, the table's and the part's.

    reader = BodyReader(key, binding, sealed_size)
    reader.load(get(*reader.table_range()))
    plain = reader.read(start, stop, get(*reader.range_of(start, stop)))
    """

    def __init__(self, key: ContentKey, binding: Binding, sealed_size: int) -> None:
        self._stream = SealedStream(key.aead, binding, sealed_size)
        self._starts: list[int] = []  # where each frame begins in the stream, and where the table does
        self.plain_size = 0

    def table_range(self) -> tuple[int, int]:
        """What to give to `load`: the last two chunks, which hold the table of a body of up to 4 GiB."""
        return self._stream.range_of(max(self._stream.chunks - 2, 0), 2)

    def load(self, sealed: bytes) -> None:
        """Read the table."""
        tail = self._stream.open(max(self._stream.chunks - 2, 0), sealed)
        if len(tail) < 8:
            raise Damaged("a body is cut")
        self.plain_size = int.from_bytes(tail[-8:], "big")
        count = self.plain_size // FRAME + 1
        table = tail[-8 - 4 * count : -8]
        if len(table) != 4 * count:
            raise Damaged("the table of a body is damaged")
        at = 0
        self._starts = [0]
        for length in struct.unpack(f">{count}I", table):
            at += 4 + length
            self._starts.append(at)
        if at + 4 * count + 8 != self._stream.plain_size:
            raise Damaged("the table of a body is damaged")

    def range_of(self, start: int, stop: int) -> tuple[int, int]:
        """Which bytes of the sealed object hold the plain bytes start to stop (clipped at the end)."""
        first, last = self._chunks_of(*self._clip(start, stop))
        return self._stream.range_of(first, last - first + 1)

    def read(self, start: int, stop: int, sealed: bytes) -> bytes:
        """The plain bytes start to stop, out of the sealed bytes of `range_of(start, stop)`."""
        start, stop = self._clip(start, stop)
        first, _ = self._chunks_of(start, stop)
        opened = self._stream.open(first, sealed)
        out = []
        for n in range(start // FRAME, (max(stop, start + 1) - 1) // FRAME + 1):
            frame = opened[self._starts[n] - first * CHUNK : self._starts[n + 1] - first * CHUNK]
            plain = _open_frame(frame[4:])
            if frame[:4] != (len(frame) - 4).to_bytes(4, "big") or len(plain) != min(
                FRAME, self.plain_size - n * FRAME
            ):
                raise Damaged("the table of a body is damaged")
            out.append(plain)
        base = start // FRAME * FRAME
        return b"".join(out)[start - base : stop - base]

    def _clip(self, start: int, stop: int) -> tuple[int, int]:
        stop = min(stop, self.plain_size)
        return min(start, stop), stop

    def _chunks_of(self, start: int, stop: int) -> tuple[int, int]:
        """The first and last chunk that hold the frames of these plain bytes (at least one frame)."""
        frames = start // FRAME, (max(stop, start + 1) - 1) // FRAME
        return self._starts[frames[0]] // CHUNK, (self._starts[frames[1] + 1] - 1) // CHUNK


class _Frames:
    """Reads frames and table out of the opened stream, in pieces of any size."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._held = b""
        self._lengths: list[int] = []
        self._size = 0
        self._complete = False  # the last frame has been read, the table follows

    def update(self, opened: bytes) -> Iterator[bytes]:
        """The plain bytes of the frames that are complete, one by one."""
        held = self._held + opened if self._held else opened
        at = 0
        while not self._complete and len(held) - at >= 4:
            length = int.from_bytes(held[at : at + 4], "big")
            if length > _MAX_FRAME:
                raise Damaged("a frame of a body is too long")
            if len(held) - at - 4 < length:
                break
            plain = _open_frame(held[at + 4 : at + 4 + length], self._max_size - self._size)
            at += 4 + length
            self._lengths.append(length)
            self._size += len(plain)
            self._complete = len(plain) < FRAME
            if plain:
                yield plain
        self._held = held[at:]
        if len(self._held) > _MAX_FRAME + 4 * len(self._lengths) + 12:
            raise Damaged("a body goes on after its end")

    def finish(self) -> None:
        """`Damaged` unless last frame and table were there, and nothing else."""
        if not self._complete or self._held != _table(self._lengths, self._size):
            raise Damaged("the table of a body is damaged")


def _open_frame(frame: bytes, room: int = FRAME) -> bytes:
    """The plain bytes of one zstd frame, never more than a frame may hold, nor than there is room for."""
    if not frame:
        return b""
    try:
        size = zstandard.frame_content_size(frame)
        if not 0 < size <= FRAME:  # -1: not stated; nothing at all has another form
            raise Damaged("a frame of a body does not state its size")
        if size > room:
            raise Damaged("a body is larger than it may be")
        return _zstd.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as e:
        raise Damaged("a frame of a body does not unpack") from e


def _table(lengths: Sequence[int], size: int) -> bytes:
    return struct.pack(f">{len(lengths)}IQ", *lengths, size)
