"""Sealed streams: chunks of 64 KiB that open alone, in which a cut, a swap or a new order is seen.

    stream = magic (3 bytes), version (1 byte), chunk*, last chunk
    chunk  = 64 KiB of ciphertext, tag (16); the last one holds 1 byte to 64 KiB, and is never missing
    nonce  = 7 zero bytes, chunk number (4 bytes), 1 for the last chunk or 0 (1 byte)

The nonces are not random, so a key seals one stream only; `StreamSealer` is told a key that has never sealed.
That makes the place of every chunk known without reading anything: chunk n begins at 4 + n * 65552.
"""

import struct
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aerogramme.errors import Damaged
from aerogramme.seal.record import TAG_SIZE, Binding

MAGIC = b"AGB\x01"
HEAD_SIZE = len(MAGIC)
CHUNK = 64 * 1024
SEALED_CHUNK = CHUNK + TAG_SIZE

_nonce = struct.Struct(">7xIB").pack


class StreamSealer:
    """Seals what it is given, chunk by chunk, and holds at most one chunk back."""

    def __init__(self, aead: AESGCM, binding: Binding) -> None:
        self._aead = aead
        self._bound = MAGIC + binding.encoded()
        self._held = bytearray()
        self._number = 0

    def update(self, plain: bytes) -> bytes:
        """The sealed chunks that are complete now."""
        held = self._held
        held += plain
        if len(held) <= CHUNK:  # a full chunk may turn out to be the last one: it waits
            return b""
        out = [] if self._number else [MAGIC]
        while len(held) > CHUNK:
            out.append(self._chunk(bytes(held[:CHUNK]), last=0))
            del held[:CHUNK]
        return b"".join(out)

    def finish(self) -> bytes:
        """The last chunk."""
        if not self._held:
            raise ValueError("a stream is never empty")
        return (b"" if self._number else MAGIC) + self._chunk(bytes(self._held), last=1)

    def _chunk(self, plain: bytes, last: int) -> bytes:
        sealed = self._aead.encrypt(_nonce(self._number, last), plain, self._bound)
        self._number += 1
        return sealed


class StreamOpener:
    """Opens a stream that comes in order, in pieces of any size."""

    def __init__(self, aead: AESGCM, binding: Binding) -> None:
        self._aead = aead
        self._bound = MAGIC + binding.encoded()
        self._held = bytearray()
        self._number = -1  # the magic has not been seen

    def update(self, sealed: bytes) -> Iterator[bytes]:
        """What can be opened now, a chunk at a time. Take all of it before the next call."""
        held = self._held
        held += sealed
        if self._number < 0 and len(held) > HEAD_SIZE:
            if held[:HEAD_SIZE] != MAGIC:
                raise Damaged("this is not a sealed stream")
            del held[:HEAD_SIZE]
            self._number = 0
        while len(held) > SEALED_CHUNK:
            yield self._chunk(last=0)

    def finish(self) -> bytes:
        """The last chunk; `Damaged` if the stream was cut."""
        if self._number < 0:
            raise Damaged("a sealed stream is cut")
        return self._chunk(last=1)

    def _chunk(self, last: int) -> bytes:
        sealed = bytes(self._held[:SEALED_CHUNK])
        del self._held[:SEALED_CHUNK]
        plain = open_chunk(self._aead, self._bound, self._number, sealed, last)
        self._number += 1
        return plain


class SealedStream:
    """Random access: where each chunk of a stream lies, and its plain bytes, without the rest."""

    def __init__(self, aead: AESGCM, binding: Binding, size: int) -> None:
        """size: the bytes of the whole sealed stream."""
        chunks, rest = divmod(size - HEAD_SIZE, SEALED_CHUNK)
        if chunks < 0 or (rest == 0 and chunks == 0) or 0 < rest <= TAG_SIZE:
            raise Damaged("no sealed stream has this size")
        self._aead = aead
        self._bound = MAGIC + binding.encoded()
        self.size = size
        self.chunks = chunks + (rest > 0)
        self.plain_size = size - HEAD_SIZE - self.chunks * TAG_SIZE

    def range_of(self, first: int, count: int = 1) -> tuple[int, int]:
        """Where the chunks lie in the sealed stream: (start, stop)."""
        start = HEAD_SIZE + first * SEALED_CHUNK
        return start, min(start + count * SEALED_CHUNK, self.size)

    def open(self, first: int, sealed: bytes) -> bytes:
        """The plain bytes of the chunks from the first on that these sealed bytes hold."""
        if not sealed:
            raise Damaged("a sealed stream is cut")
        last = self.chunks - 1
        view = memoryview(sealed)
        return b"".join(
            open_chunk(self._aead, self._bound, n, view[at : at + SEALED_CHUNK], n == last)
            for n, at in enumerate(range(0, len(sealed), SEALED_CHUNK), first)
        )


def open_stream(aead: AESGCM, binding: Binding, sealed: bytes) -> bytes:
    """The plain bytes of a whole stream."""
    if sealed[:HEAD_SIZE] != MAGIC:
        raise Damaged("this is not a sealed stream")
    bound = MAGIC + binding.encoded()
    if len(sealed) <= HEAD_SIZE + SEALED_CHUNK:  # nearly all mails
        return open_chunk(aead, bound, 0, sealed[HEAD_SIZE:], 1)
    return SealedStream(aead, binding, len(sealed)).open(0, sealed[HEAD_SIZE:])


def open_chunk(aead: AESGCM, bound: bytes, number: int, sealed: bytes | memoryview, last: int) -> bytes:
    """The plain bytes of one chunk. The last one of a stream is never empty."""
    try:
        plain = aead.decrypt(_nonce(number, last), sealed, bound)
    except InvalidTag as e:
        raise Damaged("a sealed stream is cut or changed") from e
    if not plain:
        raise Damaged("a sealed stream ends with an empty chunk")
    return plain
