"""Memory of a process through whose hands many letters go."""

import ctypes
import gc
from typing import Final

# Of glibc's malloc.h.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8


def one_heap() -> None:
    """Threads that begin from here on share the heap of the first one, and nothing large is put there.

    glibc gives each thread a heap of its own, and each heap keeps what large letters have taken once: 60 MB
    in an import. With another C library nothing is done. Modules that are loaded by now are not looked
    through for garbage any more.
    """
    gc.freeze()
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, 1 << 20)
        # With the one before, this would be so little that memory is given back and asked for all the time.
        mallopt(_TRIM_THRESHOLD, 8 << 20)
