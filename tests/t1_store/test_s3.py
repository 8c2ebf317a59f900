"""What is particular to S3: the layout, the order of writes, what each call costs, who is told of what."""

from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qs
from uuid import uuid4

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from aerogramme.errors import NoSuchUser, Unavailable
from aerogramme.store import Place, Row
from aerogramme.store.objects import PAGE, Objects
from aerogramme.store.port import LATE
from aerogramme.store.s3 import S3Store, S3Stores
from tests.helpers.between import Asked, Between, Fate, between
from tests.helpers.seaweed import BUCKET, Seaweed

ACCOUNT = "0123456789abcdef" * 2
OTHER = "f" * 32


@pytest.fixture
def way(server: Seaweed, s3: str) -> Iterator[Between]:
    with between(server.endpoint) as way:
        yield way


@pytest.fixture
def place(way: Between) -> Place:
    return Place.parse(f"s3:{way.endpoint}/{BUCKET}/{uuid4().hex}")


@pytest.fixture
async def stores(place: Place) -> AsyncIterator[S3Stores]:
    stores = S3Stores(place)
    yield stores
    await stores.aclose()


@pytest.fixture
async def store(stores: S3Stores, way: Between) -> S3Store:
    store = await stores.open(ACCOUNT, create=True)
    way.asked.clear()
    return store


def rows(*keys: str) -> list[Row]:
    return [Row(key, b"value of " + key.encode()) for key in keys]


def clocked(*clocks: float) -> list[Row]:
    """Rows whose clocks are so many times LATE."""
    return rows(*(f"{int(clock * LATE):016x}-x" for clock in clocks))


async def below(stores: S3Stores, prefix: str = "") -> list[str]:
    """All keys in the bucket below the place."""
    return await Objects(stores.bucket, stores.bucket.place.prefix).list(prefix)


def asked(way: Between, place: Place) -> list[str]:
    """What was asked for, below the place."""
    return [f"{each.method} {each.name.removeprefix(place.prefix)}".rstrip() for each in way.asked]


def begin(listing: Asked) -> str:
    """The key after which a listing was asked for."""
    return parse_qs(listing.query)["start-after"][0]


# --- where things lie


async def test_the_layout(store: S3Store, stores: S3Stores) -> None:
    await store.append("log", rows("k/1", "k2"), objects=[("piece/1", b"x")])
    assert await below(stores) == [
        f"{ACCOUNT}/o/piece/1",
        f"{ACCOUNT}/r/log/k/1",
        f"{ACCOUNT}/r/log/k2",
        f"accounts/{ACCOUNT}",
    ]


async def test_what_others_put_beside_the_accounts_is_not_looked_at(store: S3Store, stores: S3Stores) -> None:
    other = Objects(stores.bucket, stores.bucket.place.prefix)
    for name in ("accounts/readme.txt", f"accounts/{OTHER}/x", f"accounts/{OTHER}.old", f"{OTHER}/o/x"):
        await other.put(name, b"x")
    assert await stores.list() == [ACCOUNT]


# --- the order of writes


async def test_objects_are_there_before_rows_are(store: S3Store, stores: S3Stores, way: Between) -> None:
    way.rule = lambda asked: (403, "AccessDenied") if "/r/" in asked.name else None
    with pytest.raises(Unavailable):
        await store.append("log", rows("a"), objects=[("x", b"X"), ("y", b"Y")], delete=[("log", "0")])
    way.rule = lambda _: None
    assert await store.list("") == ["x", "y"]
    assert (await store.read("log"))[0] == []
    way.asked.clear()
    way.rule = lambda asked: (403, "AccessDenied") if "/o/" in asked.name else None
    with pytest.raises(Unavailable):
        await store.append("log", rows("a"), objects=[("z", b"")], delete=[("log", "0")])
    assert {asked.method for asked in way.asked} == {"PUT"}
    assert not any("/r/" in asked.name for asked in way.asked)


async def test_rows_go_after_those_that_replace_them(store: S3Store, way: Between) -> None:
    await store.append("incoming", rows("1", "2"))
    way.rule = lambda asked: (403, "AccessDenied") if asked.method == "POST" else None
    with pytest.raises(Unavailable):
        await store.append("log", rows("a"), delete=[("incoming", "1")])
    way.rule = lambda _: None
    assert (await store.read("log"))[0] == rows("a")
    assert (await store.read("incoming"))[0] == rows("1", "2")


async def test_an_append_whose_answer_is_lost_is_there_once(store: S3Store, way: Between) -> None:
    lost = iter([Fate.LOST, Fate.LOST])
    way.rule = lambda asked: next(lost, None) if asked.method == "PUT" else None
    await store.append("log", rows("a"))
    assert (await store.read("log"))[0] == rows("a")


async def test_an_append_ends_before_its_rows_would_be_late(
    store: S3Store, way: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aerogramme.store.bucket_store.APPEND_SECONDS", 0.1)
    way.rule = lambda _: Fate.HELD
    with pytest.raises(Unavailable) as late:
        await store.append("log", rows("a"), objects=[("x", b"")])
    assert "0.1 seconds" in late.value.hint


# --- what calls cost


async def test_what_calls_cost(store: S3Store, stores: S3Stores, way: Between, place: Place) -> None:
    await store.append("log", rows("a", "b"), objects=[("x", b"X")])
    assert sorted(asked(way, place)) == [
        f"PUT {ACCOUNT}/o/x",
        f"PUT {ACCOUNT}/r/log/a",
        f"PUT {ACCOUNT}/r/log/b",
    ]
    way.asked.clear()
    _, cursor = await store.read("log")
    assert sorted(asked(way, place)) == ["GET", f"GET {ACCOUNT}/r/log/a", f"GET {ACCOUNT}/r/log/b"]
    way.asked.clear()
    await store.confirm("log", rows("a"))
    assert asked(way, place) == []
    await store.read("log", cursor)
    assert asked(way, place) == ["GET"]
    await store.append("log", rows("c"))
    way.asked.clear()
    await store.read("log", cursor)
    assert asked(way, place) == ["GET", f"GET {ACCOUNT}/r/log/c"]
    way.asked.clear()
    await store.delete_rows("log", ["a", "b", "c"])
    assert asked(way, place) == ["POST"]
    way.asked.clear()
    await stores.open(ACCOUNT)
    assert asked(way, place) == [f"GET accounts/{ACCOUNT}"]


async def test_old_rows_are_neither_listed_nor_read_again(store: S3Store, way: Between, place: Place) -> None:
    """Not even those that a reader from a key on has not had; but a late row is found."""
    old, edge, new, late = clocked(1, 4.5, 5, 4.6)
    await store.append("log", [old, edge, new])
    way.asked.clear()
    got, cursor = await store.read("log", after=edge.key)
    assert got == [new]
    got, cursor = await store.read("log", cursor)
    assert got == []
    assert asked(way, place) == ["GET", f"GET {ACCOUNT}/r/log/{new.key}", "GET"]
    for listing in (way.asked[0], way.asked[2]):
        assert begin(listing) > f"{place.prefix}{ACCOUNT}/r/log/{old.key}"
    await store.append("log", [late])
    got, cursor = await store.read("log", cursor)
    assert got == [late]


# --- who is told


async def test_what_another_process_appends_is_seen(store: S3Store, place: Place) -> None:
    _, cursor = await store.read("log")
    another = await S3Stores(place).open(ACCOUNT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.watch, "log", cursor)
        await wait_all_tasks_blocked()
        await another.append("log", rows("a"))
    assert (await store.read("log", cursor))[0] == rows("a")


async def test_who_watches_in_one_process_asks_once_for_all(
    store: S3Store, stores: S3Stores, way: Between
) -> None:
    """And needs no answer to be told what this process appends: from the second on, none comes."""
    opened = [await stores.open(ACCOUNT) for _ in range(20)]
    _, cursor = await store.read("log")
    way.asked.clear()

    def listings() -> int:
        return len([each for each in way.asked if "list-type" in each.query])

    way.rule = lambda asked: Fate.HELD if "list-type" in asked.query and listings() > 1 else None
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for each in opened:
                nursery.start_soon(each.watch, "log", cursor)
            await trio.to_thread.run_sync(way.wait_until, lambda: listings() == 2)
            await store.append("log", rows("a"))
    assert listings() == 2
    assert not way.released.is_set()


async def test_a_store_that_goes_away_ends_the_watch(store: S3Store, way: Between) -> None:
    _, cursor = await store.read("log")
    way.rule = lambda asked: (403, "AccessDenied")
    with pytest.raises(Unavailable):
        await store.watch("log", cursor)
    way.rule = lambda _: None
    await store.append("log", rows("a"))
    await store.watch("log", cursor)


# --- accounts


async def test_an_account_with_more_than_one_page_is_erased(store: S3Store, stores: S3Stores) -> None:
    await store.append("log", rows("a"), objects=[(f"o/{n:04}", b"") for n in range(PAGE + 5)])
    await stores.open(OTHER, create=True)
    await stores.erase(ACCOUNT)
    assert await below(stores) == [f"accounts/{OTHER}"]


async def test_the_marker_goes_first_and_the_rest_when_erased_again(
    store: S3Store, stores: S3Stores, way: Between
) -> None:
    await store.append("log", rows("a"), objects=[("x", b"")])

    def rule(asked: Asked) -> tuple[int, str] | None:
        listing = asked.method == "GET" and "list-type" in asked.query
        return (403, "AccessDenied") if listing else None

    way.rule = rule
    with pytest.raises(Unavailable):
        await stores.erase(ACCOUNT)
    way.rule = lambda _: None
    with pytest.raises(NoSuchUser):
        await stores.open(ACCOUNT)
    assert await stores.list() == []
    assert len(await below(stores, f"{ACCOUNT}/")) == 2
    await stores.erase(ACCOUNT)
    assert await below(stores) == []


async def test_an_account_made_again_is_another(store: S3Store, stores: S3Stores) -> None:
    await store.append("log", rows("a"))
    await stores.erase(ACCOUNT)
    again = await stores.open(ACCOUNT, create=True)
    assert (await again.read("log"))[0] == []
    with pytest.raises(NoSuchUser):
        await store.read("log")
    await again.append("log", rows("b"))


async def test_a_store_whose_clock_is_off_is_not_opened(stores: S3Stores, way: Between) -> None:
    way.date = "Wed, 25 Nov 2015 16:00:00 GMT"
    with pytest.raises(Unavailable, match="clocks"):
        await stores.open(ACCOUNT, create=True)


async def test_nobody_is_taken_for_missing_while_the_store_is_away(
    stores: S3Stores, way: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aerogramme.store.bucket.READ_SECONDS", 0.1)
    await stores.open(ACCOUNT, create=True)
    way.rule = lambda _: (503, "SlowDown")
    with pytest.raises(Unavailable):
        await stores.open(ACCOUNT, create=True)
    with pytest.raises(Unavailable):
        await stores.list()
