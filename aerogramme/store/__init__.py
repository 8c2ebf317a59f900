"""Where accounts are kept: one promise (port.py) and the kinds of stores that keep it."""

from pathlib import Path
from typing import TYPE_CHECKING

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
    "Place",
    "Row",
    "SqliteStores",
    "Store",
    "Stores",
    "open_stores",
]


def open_stores(where: str | Path | Place, *, cache: "Cache | None" = None) -> Stores:
    """The stores at a place (place.py says how it is written). `cache` is for those far from this machine.

    Nothing is touched yet. `BadConfiguration` for what is no place.
    """
    place = where if isinstance(where, Place) else Place.parse(where)
    if place.folder is not None:
        return SqliteStores(place.folder)
    if place.kind == "memory":
        return MemoryStores()
    far: Stores
    if place.kind == "garage":
        from aerogramme.store.garage import GarageStores

        far = GarageStores(place)
    else:
        from aerogramme.store.s3 import S3Stores

        far = S3Stores(place)
    if cache is None:
        return far
    from aerogramme.store.cache import CachedStores

    return CachedStores(far, cache)
