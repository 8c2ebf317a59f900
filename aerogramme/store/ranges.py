"""The names of a store, and the bytes of an object, a bounded part at a time: for what copies them."""

import hashlib
from collections.abc import AsyncGenerator, Sequence

from aerogramme.store.port import Store

PAGE = 1000  # names listed at a time: what S3 gives in one answer
RANGE = 1 << 20  # bytes of an object read at a time: times those on their way at once, the memory this takes


async def pages(store: Store, prefix: str = "", size: int = PAGE) -> AsyncGenerator[Sequence[str], None]:
    """All names that begin with `prefix`, sorted, at most `size` at a time."""
    after = ""
    while page := await store.list(prefix, after, size):
        yield page
        after = page[-1]


async def ranges(
    store: Store, name: str, counted: "Counted", first: bytes | None = None
) -> AsyncGenerator[bytes, None]:
    """The bytes of an object, hashed on their way. The first range may be read already."""
    piece = await store.get(name, 0, RANGE) if first is None else first
    start = 0
    while True:
        counted.update(piece)
        yield piece
        if len(piece) < RANGE:
            return
        start += RANGE
        piece = await store.get(name, start, start + RANGE)


class Counted:
    """The BLAKE2b-256 of bytes as they come, and how many they were."""

    def __init__(self, octets: bytes = b"") -> None:
        self._hash, self.octets = hashlib.blake2b(digest_size=32), 0
        self.update(octets)

    def update(self, octets: bytes) -> None:
        self._hash.update(octets)
        self.octets += len(octets)

    def digest(self) -> bytes:
        return self._hash.digest()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
