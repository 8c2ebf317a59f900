"""Memory that two processes have in common: what is large passes between them without going through a pipe.

It has no name and no file, and is gone with the last of the two. They write in turns; whose turn it is, they
tell each other by a pipe.
"""

import mmap
import os
from collections.abc import Iterable
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it ships no types

_STEP: Final = 1 << 21  # octets by which it grows, and what it keeps


class Shared:
    """The memory behind a file descriptor: one from `Shared.new()`, or one that was inherited."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    @classmethod
    def new(cls) -> "Shared":
        return cls(os.memfd_create("letters"))

    def write(self, parts: Iterable[bytes]) -> None:
        """Puts parts one after the other, from the beginning."""
        parts = list(parts)
        size = sum(map(len, parts))
        if size > os.fstat(self.descriptor).st_size:
            os.ftruncate(self.descriptor, size + _STEP - size % _STEP)
        mapped, at = self._mapped(size), 0
        for part in parts:
            mapped[at : at + len(part)] = part
            at += len(part)

    def read(self, sizes: Iterable[int], at: int = 0) -> list[bytes]:
        """Parts of these sizes, which stand one after the other from an offset on. Raises ValueError if there
        is not so much."""
        sizes = list(sizes)
        mapped = self._mapped(at + sum(sizes))
        parts = []
        for size in sizes:
            parts.append(mapped[at : at + size])
            at += size
        return parts

    def unpacked(self, size: int) -> Any:
        """What so many octets at the beginning say, which are msgpack. Raises ValueError if they are not."""
        with memoryview(self._mapped(size)) as mapped, mapped[:size] as packed:
            return msgpack.unpackb(packed)

    def shrink(self) -> None:
        """What a large letter has taken is given back, and so is what stands there."""
        if os.fstat(self.descriptor).st_size > _STEP:
            os.ftruncate(self.descriptor, _STEP)

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
        os.close(self.descriptor)

    def _mapped(self, size: int) -> mmap.mmap:
        """At least so much of it: the other one may have made it longer. What is mapped behind its end, after
        it has shrunk, is not looked at before it has grown again."""
        if self._map is None or len(self._map) < size:
            if self._map is not None:
                self._map.close()
            self._map = mmap.mmap(self.descriptor, max(size, os.fstat(self.descriptor).st_size))
        return self._map
