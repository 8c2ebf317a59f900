"""The promise of port.py, checked on every kind of store without knowing which one it is."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from aerogramme.errors import Behind, NoSuchUser, NotStored
from aerogramme.store import Part, Row, Store, Stores

ACCOUNT = "0123456789abcdef" * 2
OTHER = "f" * 32
KIB = 1024
SIZES = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 1024 * KIB, 1024 * KIB + 1, 2500 * KIB]


def pattern(size: int) -> bytes:
    """Bytes in which no two places look alike."""
    return b"".join(n.to_bytes(4, "big") for n in range(size // 4 + 1))[:size]


async def stream(body: bytes, piece: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), piece):
        await trio.lowlevel.checkpoint()
        yield body[start : start + piece]


def rows(*keys: str) -> list[Row]:
    return [Row(key, b"value of " + key.encode()) for key in keys]


# --- objects


@pytest.mark.parametrize("size", SIZES)
async def test_an_object_comes_back_as_it_was_stored(store: Store, size: int) -> None:
    body = pattern(size)
    await store.put("content/1", body)
    assert await store.get("content/1") == body
    assert await store.get_many(["content/1"]) == [body]


@pytest.mark.parametrize("piece", [999, 64 * KIB, 1500 * KIB])
@pytest.mark.parametrize("size", SIZES)
async def test_a_stream_is_stored_like_its_bytes(store: Store, size: int, piece: int) -> None:
    body = pattern(size)
    await store.put("content/1", stream(body, piece))
    assert await store.get("content/1") == body


async def test_any_range_is_clipped_at_the_end(store: Store) -> None:
    body = pattern(150 * KIB)
    await store.put("content/1", body)
    edges = [
        0,
        1,
        64 * KIB - 1,
        64 * KIB,
        64 * KIB + 1,
        128 * KIB,
        150 * KIB - 1,
        150 * KIB,
        150 * KIB + 1,
        1 << 40,
    ]
    for start in edges:
        for stop in [*edges, None]:
            assert await store.get("content/1", start, stop) == body[start:stop], (start, stop)


async def test_what_is_not_there(store: Store) -> None:
    with pytest.raises(NotStored):
        await store.get("content/1")
    with pytest.raises(NotStored):
        await store.get("content/1", 5, 9)
    assert await store.get_many([]) == []
    assert await store.get_many(["content/1", "content/2"]) == [None, None]
    assert await store.list("") == []
    await store.delete(["content/1"])
    await store.delete([])


async def test_get_many_keeps_the_order_and_takes_a_name_twice(store: Store) -> None:
    for name in ("a", "b", "c"):
        await store.put(name, name.encode() * 3)
    assert await store.get_many(["c", "x", "a", "c"]) == [b"ccc", None, b"aaa", b"ccc"]


async def test_parts_of_objects_come_in_one_trip(store: Store) -> None:
    body = pattern(200 * KIB)
    await store.put("pack/1", body)
    await store.put("small", b"small")
    wanted: list[str | Part] = [
        Part("pack/1", 10, 20),
        "small",
        Part("gone", 0, 5),
        Part("pack/1", 64 * KIB - 1, 130 * KIB),
        Part("pack/1", 199 * KIB, 999 * KIB),
        Part("pack/1"),
        Part("small", 1),
    ]
    parts = [body[10:20], b"small", None, body[64 * KIB - 1 : 130 * KIB], body[199 * KIB :], body, b"mall"]
    assert await store.get_many(wanted) == parts


async def test_put_may_be_repeated(store: Store) -> None:
    body = pattern(1200 * KIB)
    await store.put("content/1", body)
    await store.put("content/1", body)
    await store.put("content/1", stream(body, 100_000))
    await store.append("log", [], objects=[("content/1", body)])
    assert await store.get("content/1") == body
    await store.delete(["content/1"])
    await store.delete(["content/1"])
    assert await store.list("") == []


async def test_list_is_sorted_and_goes_on_from_a_name(store: Store) -> None:
    names = [f"piece/{n:02}" for n in range(20)]
    for name in [*reversed(names), "piece", "piece0", "piecf/1", "pie", "~"]:
        await store.put(name, b"")
    assert await store.list("piece/") == names
    assert await store.list("piece/", limit=3) == names[:3]
    assert await store.list("piece/", after=names[2], limit=3) == names[3:6]
    assert await store.list("piece/", after="piece/0") == names
    assert await store.list("piece/", after="q") == []
    assert await store.list("piece/", limit=0) == []
    assert await store.list("", after="piecf") == ["piecf/1", "~"]


async def test_sizes_are_those_of_what_is_listed(store: Store) -> None:
    bodies = {f"piece/{n}": pattern(size) for n, size in enumerate(SIZES)}
    for name, body in [*reversed(bodies.items()), ("pie", b"12"), ("piecf/1", b"123")]:
        await store.put(name, body)
    await store.put("stream", stream(pattern(2500 * KIB), 1500 * KIB))
    await store.append("log", rows("piece/"), objects=[("~", b"1234")])
    found = [(name, len(body)) for name, body in bodies.items()]
    assert await store.sizes("piece/") == found
    assert await store.sizes("piece/", limit=3) == found[:3]
    assert await store.sizes("piece/", after="piece/2", limit=3) == found[3:6]
    assert await store.sizes("piece/", after="q") == [] == await store.sizes("piece/", limit=0)
    assert await store.sizes("", after="piece/7") == [("piecf/1", 3), ("stream", 2500 * KIB), ("~", 4)]


async def test_delete_removes_those_named(store: Store) -> None:
    names = [f"content/{n}" for n in range(300)]  # more than one transaction of sqlite deletes
    await store.append("log", [], objects=[(name, b"x") for name in names])
    await store.delete(name for name in names if not name.endswith("7"))
    assert await store.list("") == sorted(name for name in names if name.endswith("7"))


async def test_a_stream_that_fails_leaves_nothing(store: Store) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield pattern(2500 * KIB)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.put("content/1", broken())
    assert await store.list("") == []
    await store.put("content/1", b"whole")
    assert await store.get("content/1") == b"whole"


async def test_a_streamed_object_is_invisible_until_it_is_whole(store: Store) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield pattern(2500 * KIB)
        assert await store.list("") == [] == await store.sizes("")
        assert await store.get_many(["content/1"]) == [None]
        yield b"the end"

    await store.put("content/1", body())
    assert await store.get("content/1") == pattern(2500 * KIB) + b"the end"
    assert await store.sizes("") == [("content/1", 2500 * KIB + 7)]


# --- rows


async def test_rows_come_back_sorted_by_key(store: Store) -> None:
    await store.append("log", rows("c", "a"))
    await store.append("log", rows("b"))
    await store.append("keys", rows("other"))
    assert (await store.read("log"))[0] == rows("a", "b", "c")
    assert (await store.read("log", after="a"))[0] == rows("b", "c")
    assert (await store.read("log", after="c"))[0] == []
    assert (await store.read("empty"))[0] == []


async def test_a_partition_is_looked_through_in_pages(store: Store) -> None:
    keys = [f"{n:04}" for n in range(700)]  # more than Garage gives in one answer
    await store.append("log", rows(*keys))
    await store.append("keys", rows("other"))
    assert await store.page("log", "", 3) == rows("0000", "0001", "0002")
    assert await store.page("log", "0001", 600) == rows(*keys[2:602])
    await store.delete_rows("log", ["0001", "0003", "0699"])
    assert await store.page("log", "", 3) == rows("0000", "0002", "0004")
    assert await store.page("log", "0695", 10) == rows("0696", "0697", "0698")
    assert await store.page("log", "0698", 10) == [] == await store.page("empty", "", 10)
    assert await store.page("log", "", 0) == []


async def test_a_cursor_gives_what_came_since_even_if_its_key_is_lower(store: Store) -> None:
    _, cursor = await store.read("log")
    await store.append("log", rows("m"))
    new, cursor = await store.read("log", cursor)
    assert new == rows("m")
    await store.append("log", rows("z", "a"))
    await store.append("keys", rows("b"))
    later, newest = await store.read("log", cursor, after="q")
    assert later == rows("a", "z")
    assert (await store.read("log", newest))[0] == []
    assert (await store.read("log", cursor))[0] == later  # an old cursor is as good as it was


async def test_a_cursor_after_the_newest_row_is_gone(store: Store) -> None:
    await store.append("log", rows("a", "b"))
    _, cursor = await store.read("log")
    await store.delete_rows("log", ["a", "b"])
    assert await store.read("log") == ([], (await store.read("log"))[1])
    await store.append("log", rows("c"))
    assert (await store.read("log", cursor))[0] == rows("c")


async def test_a_row_that_goes_before_it_is_read_is_not_read(store: Store) -> None:
    _, cursor = await store.read("log")
    await store.append("log", rows("a", "b"))
    await store.delete_rows("log", ["a"])
    assert (await store.read("log", cursor))[0] == rows("b")


async def test_append_may_be_repeated(store: Store) -> None:
    for _ in range(2):
        await store.append("log", rows("a"), objects=[("o", b"body")])
    assert (await store.read("log"))[0] == rows("a")
    assert await store.get("o") == b"body"


async def test_rows_that_are_confirmed_are_there_once(store: Store) -> None:
    await store.append("log", rows("a", "b"))
    shown, cursor = await store.read("log")
    await store.confirm("log", shown)
    await store.confirm("log", [])
    assert (await store.read("log"))[0] == rows("a", "b")
    assert set((await store.read("log", cursor))[0]) <= set(rows("a", "b"))
    await store.delete_rows("log", ["a"])
    assert (await store.read("log"))[0] == rows("b")


async def test_append_brings_its_objects_and_takes_rows_away(store: Store) -> None:
    await store.append("incoming", rows("1", "2", "3"))
    await store.append(
        "log", rows("a"), objects=[("x", b"X"), ("y", b"")], delete=[("incoming", "1"), ("incoming", "3")]
    )
    assert await store.get_many(["x", "y"]) == [b"X", b""]
    assert (await store.read("incoming"))[0] == rows("2")
    assert (await store.read("log"))[0] == rows("a")


async def test_a_writer_that_has_not_read_all_is_behind(store: Store, serialized: bool) -> None:
    _, stale = await store.read("log")
    await store.append("log", rows("a"), read=stale)
    append = store.append("log", rows("b"), objects=[("o", b"")], delete=[("log", "a")], read=stale)
    if serialized:
        with pytest.raises(Behind):
            await append
        assert (await store.read("log"))[0] == rows("a")
        assert await store.list("") == []
    else:
        await append
        assert (await store.read("log"))[0] == rows("b")


async def test_rows_of_other_partitions_leave_nobody_behind(store: Store) -> None:
    _, cursor = await store.read("log")
    await store.append("incoming", rows("a"))
    await store.append("log", rows("b"), read=cursor)
    assert (await store.read("log"))[0] == rows("b")


async def test_append_moves_the_cursor_past_its_own_rows_only(store: Store, serialized: bool) -> None:
    _, cursor = await store.read("log")
    moved = await store.append("log", rows("a"), read=cursor)
    assert moved is not None
    again = await store.append("log", rows("b"), read=moved)
    assert again is not None
    await store.append("log", rows("0"))
    new, _ = await store.read("log", again)
    assert new == rows("0") if serialized else set(rows("0")) <= set(new) <= set(rows("0", "a", "b"))
    assert await store.append("log", rows("c")) is None


async def test_delete_range_takes_both_ends(store: Store) -> None:
    await store.append("log", rows("a", "b", "c", "d", "e"))
    await store.append("keys", rows("c"))
    await store.delete_range("log", "b", "d")
    await store.delete_range("log", "x", "z")
    assert (await store.read("log"))[0] == rows("a", "e")
    assert (await store.read("keys"))[0] == rows("c")


async def test_rows_of_some_size(store: Store) -> None:
    row = Row("a", pattern(300 * KIB))
    await store.append("log", [row, Row("b", b"")])
    assert (await store.read("log"))[0] == [row, Row("b", b"")]


async def test_concurrent_appends_are_all_there(store: Store) -> None:
    async def writer(name: str) -> None:
        for n in range(10):
            await store.append("log", rows(f"{name}{n}"), objects=[(f"{name}{n}", b"x")])

    async with trio.open_nursery() as nursery:
        for name in "abcdefgh":
            nursery.start_soon(writer, name)
    keys = sorted(f"{name}{n}" for name in "abcdefgh" for n in range(10))
    assert [row.key for row in (await store.read("log"))[0]] == keys
    assert await store.list("") == keys


async def test_writers_that_read_when_they_are_behind_lose_nothing(store: Store, serialized: bool) -> None:
    """Each value is the number of rows its writer had seen: serialized, they are 0, 1, 2, …"""

    async def writer(name: str) -> None:
        seen, cursor = await store.read("log")
        keys = {row.key for row in seen}
        for n in range(5):
            while True:
                try:
                    await store.append("log", [Row(f"{name}{n}", b"%d" % len(keys))], read=cursor)
                    break
                except Behind:
                    new, cursor = await store.read("log", cursor)
                    keys |= {row.key for row in new}
            new, cursor = await store.read("log", cursor)
            keys |= {row.key for row in new}

    async with trio.open_nursery() as nursery:
        for name in "abcde":
            nursery.start_soon(writer, name)
    values = sorted(int(row.value) for row in (await store.read("log"))[0])
    assert len(values) == 25
    if serialized:
        assert values == [*range(25)]


# --- watching


async def test_watch_returns_at_once_when_there_is_more(store: Store) -> None:
    _, cursor = await store.read("log")
    await store.append("log", rows("a"))
    await store.watch("log", cursor)


async def test_watch_returns_when_another_task_appends(store: Store, stores: Stores) -> None:
    other = await stores.open(ACCOUNT)
    _, cursor = await store.read("log")
    got: list[Row] = []

    async def watcher() -> None:
        await store.watch("log", cursor)
        got.extend((await store.read("log", cursor))[0])

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(watcher)
        await wait_all_tasks_blocked()
        await other.append("incoming", rows("x"))
        await wait_all_tasks_blocked()
        assert got == []
        await other.append("log", rows("a"))
    assert got == rows("a") * 3
    await other.aclose()


async def test_a_watch_can_be_cancelled(store: Store) -> None:
    _, cursor = await store.read("log")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.watch, "log", cursor)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await store.append("log", rows("a"))
    await store.watch("log", cursor)


async def test_a_cancelled_append_happens_whole_or_not_at_all(store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.append("log", rows("a", "b"), objects=[("o", b"")])
    await store.append("log", rows("c"))
    keys = [row.key for row in (await store.read("log"))[0]]
    assert keys in (["c"], ["a", "b", "c"])
    assert await store.list("") == ([] if keys == ["c"] else ["o"])


# --- accounts


async def test_accounts_come_and_go(stores: Stores) -> None:
    assert await stores.list() == []
    with pytest.raises(NoSuchUser):
        await stores.open(ACCOUNT)
    assert await stores.list() == []
    await (await stores.open(OTHER, create=True)).aclose()
    await (await stores.open(ACCOUNT, create=True)).aclose()
    assert await stores.list() == [ACCOUNT, OTHER]
    await stores.erase(ACCOUNT)
    await stores.erase(ACCOUNT)
    assert await stores.list() == [OTHER]
    with pytest.raises(NoSuchUser):
        await stores.open(ACCOUNT)


async def test_what_is_stored_stays_when_the_store_is_closed(stores: Stores) -> None:
    store = await stores.open(ACCOUNT, create=True)
    await store.append("log", rows("a"), objects=[("o", b"body")])
    await store.aclose()
    store = await stores.open(ACCOUNT, create=True)
    assert (await store.read("log"))[0] == rows("a")
    assert await store.get("o") == b"body"
    await store.aclose()


async def test_accounts_share_nothing(store: Store, stores: Stores) -> None:
    other = await stores.open(OTHER, create=True)
    await store.append("log", rows("a"), objects=[("o", b"")])
    assert (await other.read("log"))[0] == []
    assert await other.list("") == []
    await other.aclose()


async def test_two_opened_stores_of_an_account_are_one(store: Store, stores: Stores) -> None:
    other = await stores.open(ACCOUNT)
    await other.append("log", rows("a"), objects=[("o", b"body")])
    await other.aclose()
    assert (await store.read("log"))[0] == rows("a")
    assert await store.get("o") == b"body"


async def test_an_erased_account_is_gone_for_those_who_have_it_open(store: Store, stores: Stores) -> None:
    await store.append("log", rows("a"), objects=[("o", b"")])
    _, cursor = await store.read("log")

    async def watcher() -> None:
        with pytest.raises(NoSuchUser):
            await store.watch("log", cursor)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher)
        await wait_all_tasks_blocked()
        await stores.erase(ACCOUNT)
    with pytest.raises(NoSuchUser):
        await store.append("log", rows("b"))
    with pytest.raises(NoSuchUser):
        await store.read("log", cursor)
    with pytest.raises(NoSuchUser):
        await store.get("o")


@pytest.mark.parametrize("turns", range(4))
async def test_an_account_that_is_erased_while_a_watch_begins(
    store: Store, stores: Stores, turns: int
) -> None:
    _, cursor = await store.read("log")

    async def watcher() -> None:
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        with pytest.raises(NoSuchUser):
            await store.watch("log", cursor)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher)
        await stores.erase(ACCOUNT)


@pytest.mark.parametrize(
    "account", ["", "../" + ACCOUNT[3:], ACCOUNT.upper(), ACCOUNT + "0", ACCOUNT[1:] + "\n", "é" * 32]
)
async def test_nothing_but_an_account_id_is_an_account(stores: Stores, account: str) -> None:
    with pytest.raises(NoSuchUser):
        await stores.open(account, create=True)
    with pytest.raises(NoSuchUser):
        await stores.erase(account)
    assert await stores.list() == []
