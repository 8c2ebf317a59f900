"""The kinds of stores that the contract is checked on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aerogramme.store import MemoryStores, SqliteStores, Store, Stores
from aerogramme.store.cache import Cache, CachedStores

ACCOUNT = "0123456789abcdef" * 2


@pytest.fixture(params=["memory", "memory-serial", "sqlite", "cached"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serialized(kind: str) -> bool:
    """Whether appends are checked against what the writer has read."""
    return kind in ("memory-serial", "sqlite")


@pytest.fixture
async def stores(kind: str, tmp_path: Path) -> AsyncIterator[Stores]:
    stores: Stores
    if kind == "sqlite":
        stores = SqliteStores(tmp_path / "accounts")
    elif kind == "cached":
        stores = CachedStores(MemoryStores(), Cache(tmp_path / "cache", 64 << 20))
    else:
        stores = MemoryStores(serial=kind == "memory-serial")
    yield stores
    await stores.aclose()


@pytest.fixture
async def store(stores: Stores) -> AsyncIterator[Store]:
    store = await stores.open(ACCOUNT, create=True)
    yield store
    await store.aclose()
