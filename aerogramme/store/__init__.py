"""Where accounts are kept: one promise (port.py) and the kinds of stores that keep it."""

from pathlib import Path
from typing import TYPE_CHECKING

from aerogramme.errors import BadConfiguration
from aerogramme.store.faults import Crash, CrashAt, Faults
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import LATE, Body, Cursor, Part, Row, Store, Stores
from aerogramme.store.sqlite import SqliteStores
from aerogramme.store.sqlite_file import DESCRIPTORS_MAX

if TYPE_CHECKING:
    from aerogramme.store.cache import Cache

__all__ = [
    "DESCRIPTORS_MAX",
    "LATE",
    "Body",
    "Crash",
    "CrashAt",
    "Cursor",
    "Faults",
    "MemoryStores",
    "Part",
    "Row",
    "SqliteStores",
    "Store",
    "Stores",
    "open_stores",
]


def open_stores(where: str | Path, *, cache: "Cache | None" = None) -> Stores:  # noqa: ARG001 - until one is far
    """The stores at a place: `sqlite:FOLDER`, or just the folder's path, or `memory:` (gone with the
    process). `cache` is for those that are not on this machine.

    Nothing is touched yet. `BadConfiguration` for a kind that there is none of.
    """
    if isinstance(where, Path):
        return SqliteStores(where)
    kind, colon, rest = where.partition(":")
    if not colon or "/" in kind:
        return SqliteStores(where)
    if kind == "sqlite" and rest:
        return SqliteStores(rest)
    if where == "memory:":
        return MemoryStores()
    raise BadConfiguration(f"There is no kind of store called {kind!r}", hint="use sqlite:FOLDER, or a path")
