"""What is its own in the garage store: the layout in the bucket, what calls cost, and odd things in K2V."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from aerogramme.errors import NoSuchUser
from aerogramme.store import Place, Row, Store, Stores, open_stores
from aerogramme.store.bucket import Bucket
from aerogramme.store.credentials import Credentials
from aerogramme.store.garage import BATCH
from aerogramme.store.k2v import K2V, New, Range
from aerogramme.store.objects import Objects

pytestmark = pytest.mark.garage

ACCOUNT = "0123456789abcdef" * 2
ALL = ("", "\U0010ffff")


@pytest.fixture
async def stores(garage: str) -> AsyncIterator[Stores]:
    stores = open_stores(garage)
    yield stores
    await stores.aclose()


@pytest.fixture
async def store(stores: Stores) -> Store:
    return await stores.open(ACCOUNT, create=True)


@pytest.fixture
async def k2v(garage: str) -> AsyncIterator[K2V]:
    place = Place.parse(garage)
    k2v = K2V(place, Credentials(place))
    yield k2v
    await k2v.aclose()


@pytest.fixture
def where(garage: str) -> str:
    """The partition of K2V that has the rows of the log."""
    return f"{Place.parse(garage).prefix}{ACCOUNT}/log"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests to K2V."""
    asked: list[str] = []
    ask = K2V._ask

    async def noted(self: K2V, where: str, body: object, patience: float) -> Any:
        asked.append(where.partition("?")[2].partition("=")[0] or "insert")
        return await ask(self, where, body, patience)

    monkeypatch.setattr(K2V, "_ask", noted)
    return asked


def rows(*keys: str) -> list[Row]:
    return [Row(key, b"value of " + key.encode()) for key in keys]


async def test_the_layout(garage: str, store: Store, k2v: K2V, where: str) -> None:
    await store.append("log", rows("a", "b"), objects=[("content/1", b"body")])
    [found] = await k2v.search([Range(where, *ALL)])
    assert {item.key: item.values for item in found} == {
        "xa": [b""],
        "xb": [b""],
        "va": [b"value of a"],
        "vb": [b"value of b"],
    }
    place = Place.parse(garage)
    objects = Objects(Bucket(place, Credentials(place)), place.prefix)
    assert await objects.list("") == [f"{ACCOUNT}/o/content/1", f"accounts/{ACCOUNT}"]
    assert await objects.get_many([f"{ACCOUNT}/o/content/1", f"accounts/{ACCOUNT}"]) == [b"body", b"1\n"]


async def test_what_calls_cost(store: Store, asked: list[str]) -> None:
    async def cost(call: Any) -> tuple[Any, list[str]]:
        asked.clear()
        return await call, [*asked]

    (_, cursor), requests = await cost(store.read("log"))
    assert requests == ["search"]
    _, requests = await cost(store.append("log", rows("a", "b")))
    assert requests == ["insert"]
    (shown, cursor), requests = await cost(store.read("log", cursor))
    assert (shown, requests) == (rows("a", "b"), ["search", "search"])
    _, requests = await cost(store.confirm("log", shown))
    assert requests == ["insert"]
    _, requests = await cost(store.confirm("log", rows("b", "new")))
    assert requests == ["search", "insert"]
    (shown, cursor), requests = await cost(store.read("log", cursor))
    assert (shown, requests) == (rows("new"), ["search", "search"])
    cursor, requests = await cost(
        store.append("log", rows("c"), delete=[("log", "a"), ("log", "new")], read=cursor)
    )
    assert requests == ["insert", "delete"]
    (shown, cursor), requests = await cost(store.read("log", cursor))
    assert (shown, requests) == ([], ["search"])
    _, requests = await cost(store.delete_rows("log", ["b", "c"]))
    assert requests == ["delete"]
    _, requests = await cost(store.delete_range("log", "a", "z"))
    assert requests == ["delete"]
    assert (await store.read("log", cursor))[0] == []


async def test_all_who_watch_share_one_poll(stores: Stores, store: Store, asked: list[str]) -> None:
    other = await stores.open(ACCOUNT)
    _, cursor = await store.read("log")
    asked.clear()
    async with trio.open_nursery() as nursery:
        for each in (store, other) * 5:
            nursery.start_soon(each.watch, "log", cursor)
        await wait_all_tasks_blocked(0.05)
        await store.append("log", rows("a"))
    assert asked == ["poll_range", "poll_range", "insert"]


async def test_long_partitions(store: Store) -> None:
    keys = [f"{n:06}" for n in range(12 * BATCH + 7)]
    _, before = await store.read("log")
    await store.append("log", rows(*keys))
    every, cursor = await store.read("log")
    assert every == rows(*keys)
    assert (await store.read("log", before))[0] == every
    assert (await store.read("log", after=keys[700]))[0] == rows(*keys[701:])
    await store.delete_rows("log", keys[:900])
    await store.delete_range("log", keys[950], keys[-2])
    assert (await store.read("log"))[0] == rows(*keys[900:950], keys[-1])
    await store.append("log", rows("x"))
    assert (await store.read("log", cursor))[0] == rows("x")


async def test_a_row_whose_value_is_not_there_yet_comes_later(store: Store, k2v: K2V, where: str) -> None:
    _, cursor = await store.read("log")
    await k2v.insert([New(where, "xa", b"")])
    await store.watch("log", cursor)
    shown, cursor = await store.read("log", cursor)
    assert shown == []
    assert (await store.read("log"))[0] == []
    await k2v.insert([New(where, "va", b"value of a")])
    await store.watch("log", cursor)  # the value itself wakes nobody: this is the pause
    shown, cursor = await store.read("log", cursor)
    assert shown == rows("a")
    assert (await store.read("log", cursor))[0] == []


async def test_a_value_alone_is_what_a_failed_append_may_leave(store: Store, k2v: K2V, where: str) -> None:
    _, cursor = await store.read("log")
    await k2v.insert([New(where, "va", b"value of a")])
    assert (await store.read("log", cursor))[0] == []
    shown, later = await store.read("log")
    assert shown == rows("a")
    await store.confirm("log", shown)
    assert (await store.read("log", cursor))[0] == rows("a")
    await store.delete_rows("log", ["a"])
    assert (await store.read("log"))[0] == (await store.read("log", later))[0] == []


async def test_a_row_is_confirmed_without_siblings(store: Store, k2v: K2V, where: str) -> None:
    await store.append("log", rows("a"))
    await store.append("log", rows("a"))
    before = await k2v.search([Range(where, "xa"), Range(where, "va")])
    await store.confirm("log", rows("a"))
    after = await k2v.search([Range(where, "xa"), Range(where, "va")])
    assert [[item.values for item in found] for found in after] == [[[b""]], [[b"value of a"]]]
    # Whoever had seen no more than what was there before the confirmation replaces nothing of it.
    await k2v.insert([New(where, "va", b"other", before[1][0].token)])
    [[item]] = await k2v.search([Range(where, "va")])
    assert sorted(item.values) == [b"other", b"value of a"]
    # With the token of what the confirmation wrote all is replaced: there was nothing beside it.
    await k2v.insert([New(where, "va", b"value of a", item.token)])
    [[item]] = await k2v.search([Range(where, "va")])
    assert item.values == [b"value of a"]


async def test_different_values_of_a_row_are_one_for_all_who_read(
    store: Store, k2v: K2V, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, cursor = await store.read("log")
    for value in (b"second", b"first"):
        await k2v.insert([New(where, "va", value), New(where, "xa", b"")])
    with caplog.at_level(logging.ERROR):
        assert (await store.read("log"))[0] == [Row("a", b"first")]
    assert "different values" in caplog.text
    assert (await store.read("log", cursor))[0] == [Row("a", b"first")]


async def test_a_row_that_is_written_beside_its_deletion_is_there(store: Store, k2v: K2V, where: str) -> None:
    """As when a confirmation and a deletion meet: what was confirmed is shown."""
    _, cursor = await store.read("log")
    await store.append("log", rows("a"))
    tokens = [item.token for [item] in await k2v.search([Range(where, "va"), Range(where, "xa")])]
    await store.delete_rows("log", ["a"])
    await k2v.insert([New(where, "va", b"value of a", tokens[0]), New(where, "xa", b"", tokens[1])])
    assert (await store.read("log"))[0] == (await store.read("log", cursor))[0] == rows("a")
    await store.delete_rows("log", ["a"])
    assert (await store.read("log"))[0] == (await store.read("log", cursor))[0] == []


async def test_an_erased_account_leaves_nothing(garage: str, stores: Stores, store: Store, k2v: K2V) -> None:
    prefix = Place.parse(garage).prefix
    for partition in ("log", "keys", "incoming", "copied", "of another version"):
        await store.append(partition, rows("a", "b"), objects=[(f"{partition}/o", b"x")])
    await stores.erase(ACCOUNT)
    for partition in ("log", "keys", "incoming", "copied", "of another version"):
        assert await k2v.search([Range(f"{prefix}{ACCOUNT}/{partition}", *ALL)]) == [[]]
    place = Place.parse(garage)
    assert await Objects(Bucket(place, Credentials(place)), prefix).list("") == []


async def test_what_another_process_erases_is_empty_and_not_opened_again(
    garage: str, stores: Stores, store: Store
) -> None:
    await store.append("log", rows("a"), objects=[("o", b"x")])
    _, cursor = await store.read("log")
    another = open_stores(garage)
    await another.erase(ACCOUNT)
    await another.aclose()
    assert (await store.read("log", cursor))[0] == (await store.read("log"))[0] == []
    assert await store.list("") == []
    with pytest.raises(NoSuchUser):
        await stores.open(ACCOUNT)
