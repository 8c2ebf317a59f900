"""Memory of a process with threads."""

import ctypes
from typing import Final

_ARENA_MAX: Final = -8  # M_ARENA_MAX of glibc's malloc.h


def one_heap() -> None:
    """Threads that begin from here on share the heap of the first one.

    glibc gives each a heap of its own, and what large letters have taken in one of them once, it keeps: 40 MB
    in an import. Where the C library is another one, nothing is done.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_ARENA_MAX, 1)
