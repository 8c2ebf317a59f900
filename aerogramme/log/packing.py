"""Packing: what the log stores, and its parts, as one zstd frame that says how much it unpacks to."""

import zstandard

from aerogramme.errors import Damaged

LEVEL = 1  # columns of numbers gain little from more
MOST = 1 << 30  # octets that a frame unpacks to: all are made of what was in memory


def compress(plain: bytes, level: int = LEVEL) -> bytes:
    """One frame."""
    return zstandard.ZstdCompressor(level).compress(plain)


def decompress(packed: bytes, most: int = MOST) -> bytes:
    """What is in a frame. Raises Damaged, also if that is more than so many octets."""
    if unpacked_size(packed) > most:
        raise Damaged("what is packed is larger than it may be")
    try:
        return zstandard.ZstdDecompressor().decompress(packed)
    # MemoryError: there need not be as much as a damaged frame may say, and it is asked for first.
    except (zstandard.ZstdError, MemoryError) as e:
        raise Damaged("what is packed does not unpack") from e


def unpacked_size(packed: bytes) -> int:
    """The octets that a frame says it unpacks to: it gives that many or none. Raises Damaged."""
    try:
        size = zstandard.frame_content_size(packed)
    except zstandard.ZstdError as e:
        raise Damaged("what is packed is no frame") from e
    if size < 0:
        raise Damaged("what is packed does not say how large it is")
    return size
