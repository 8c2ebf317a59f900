"""The kinds of stores that the contract is checked on."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from aerogramme.store import MemoryStores, Place, Store, Stores, open_stores
from aerogramme.store.cache import Cache, CachedStores
from tests.helpers import garage as garage_program
from tests.helpers.garage import Garage
from tests.helpers.seaweed import Seaweed, seaweed

ACCOUNT = "0123456789abcdef" * 2


IN_PLACES = ["sqlite", "s3", "garage", "garage-s3"]  # those that `open_stores` opens


@pytest.fixture(
    params=[
        *("memory", "memory-serial", "sqlite", "cached", "s3"),
        *(pytest.param(kind, marks=pytest.mark.garage) for kind in ("garage", "garage-s3")),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serialized(kind: str) -> bool:
    """Whether appends are checked against what the writer has read."""
    return kind in ("memory-serial", "sqlite")


@pytest.fixture(scope="session")
def server() -> Iterator[Seaweed]:
    with seaweed() as server:
        yield server


@pytest.fixture
def s3(server: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place in a bucket."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server.store(uuid4().hex)


@pytest.fixture(scope="session")
def node() -> Iterator[Garage]:
    with garage_program.garage() as garage:
        yield garage


@pytest.fixture
def garage(node: Garage, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place in a bucket of Garage."""
    for name, value in node.environment.items():
        monkeypatch.setenv(name, value)
    return node.store(uuid4().hex)


@pytest.fixture
def place(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty place for stores of a kind that has places."""
    if kind == "s3":
        return str(request.getfixturevalue("s3"))
    if kind == "garage":
        return str(request.getfixturevalue("garage"))
    if kind == "garage-s3":  # the same bucket, as if there were no K2V
        place = Place.parse(request.getfixturevalue("garage"))
        return f"s3:{place.endpoint}/{place.bucket}/{place.prefix}?region=garage"
    return f"sqlite:{tmp_path}/accounts"


@pytest.fixture
async def stores(kind: str, place: str, tmp_path: Path) -> AsyncIterator[Stores]:
    stores: Stores
    if kind in IN_PLACES:
        stores = open_stores(place)
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
