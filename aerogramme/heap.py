"""Memory of a process through whose hands many letters go."""

import ctypes
import gc
from typing import Final

_ARENA_MAX: Final = -8  # M_ARENA_MAX of glibc's malloc.h


def one_heap() -> None:
    """Threads that begin from here on share the heap of the first one.

    glibc gives each a heap of its own, which keeps what large letters have taken once: 40 MB in an import.
    With another C library nothing is done. Modules that are loaded by now are not looked through for garbage
    any more.
    """
    gc.freeze()
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_ARENA_MAX, 1)
