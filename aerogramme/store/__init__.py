"""Where accounts are kept: one promise (port.py) and the kinds of stores that keep it."""

from pathlib import Path
from typing import TYPE_CHECKING

from aerogramme.errors import BadConfiguration
from aerogramme.store.faults import Crash, CrashAt, Faults
from aerogramme.store.memory import MemoryStores
from aerogramme.store.place import Place
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


def open_stores(
    where: str | Path | Place,
    *,
    cache: "Cache | None" = None,  # noqa: ARG001 - until one is far
) -> Stores:
    """The stores at a place (place.py says how to write one). `cache` is for those that are not on this
    machine.

    Nothing is touched yet. `BadConfiguration` for a place that makes no sense.
    """
    place = where if isinstance(where, Place) else Place.parse(where)
    if place.folder is not None:
        return SqliteStores(place.folder)
    if place.kind == "memory":
        return MemoryStores()
    raise BadConfiguration(f"There is no {place.kind} store yet", hint="use sqlite:FOLDER, or a path")
