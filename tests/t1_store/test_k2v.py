"""K2V's calls: against Garage itself, and what becomes of answers that Garage gives only on bad days."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from aerogramme.errors import Unavailable
from aerogramme.store import Place
from aerogramme.store.credentials import Credentials
from aerogramme.store.k2v import K2V, PAGE, Item, New, Range

real = pytest.mark.garage
ALL = ("", "\U0010ffff")


def opened(place: Place) -> K2V:
    return K2V(place, Credentials(place))


@pytest.fixture
async def k2v(garage: str) -> AsyncIterator[K2V]:
    k2v = opened(Place.parse(garage))
    yield k2v
    await k2v.aclose()


@pytest.fixture
def pk(garage: str) -> str:
    """A partition that nobody else uses."""
    return Place.parse(garage).prefix + "rows"


def values(found: list[Item]) -> dict[str, list[bytes]]:
    return {item.key: item.values for item in found}


@real
@pytest.mark.parametrize("name", ["rows", "with space", "a/b//c/../d", "100%?&=+~'\"", "é日本", "%2F"])
async def test_any_name_and_any_bytes(k2v: K2V, pk: str, name: str) -> None:
    where = f"{pk}/{name}"
    await k2v.insert([New(where, name, bytes(range(256))), New(where, "empty", b"")])
    [found] = await k2v.search([Range(where, *ALL)])
    assert values(found) == {"empty": [b""], name: [bytes(range(256))]}
    [one] = await k2v.search([Range(where, name)])
    assert values(one) == {name: [bytes(range(256))]}
    polled = await k2v.poll(Range(where, *ALL), None, 1)
    assert polled is not None
    assert values(polled[0]) == {"empty": [b""], name: [bytes(range(256))]}
    await k2v.delete([Range(where, name), Range(where, "e", "f")])
    assert await k2v.search([Range(where, name), Range(where, *ALL)]) == [[], []]


@real
async def test_a_server_that_was_away_is_asked_before_it_is_used(k2v: K2V, pk: str) -> None:
    k2v._reach.away = True
    await k2v.insert([New(pk, "key", b"value")])
    assert not k2v._reach.away


@real
async def test_ranges_of_any_length(k2v: K2V, pk: str) -> None:
    """They come in pages, of each range as many as it takes."""
    keys = [f"{n:05}" for n in range(2 * PAGE + 3)]
    await k2v.insert([New(pk, key, key.encode()) for key in keys])
    long, short, none, one, tail = await k2v.search(
        [
            Range(pk, *ALL),
            Range(pk, "00003", "00006"),
            Range(pk, "x", "y"),
            Range(pk, "00007"),
            Range(pk, keys[-2], "1"),
        ]
    )
    assert [item.key for item in long] == keys
    assert [item.values for item in long] == [[key.encode()] for key in keys]
    assert [item.key for item in short] == ["00003", "00004", "00005"]
    assert (none, [item.key for item in one], [item.key for item in tail]) == ([], ["00007"], keys[-2:])
    await k2v.delete([Range(pk, "00001", keys[-1])])
    [left] = await k2v.search([Range(pk, *ALL)])
    assert [item.key for item in left] == ["00000", keys[-1]]


@real
async def test_values_that_know_nothing_of_each_other_stay_and_equal_ones_are_one(k2v: K2V, pk: str) -> None:
    for value in (b"a", b"b", b"b", b"a"):
        await k2v.insert([New(pk, "k", value)])
    [[item]] = await k2v.search([Range(pk, "k")])
    assert sorted(item.values) == [b"a", b"b"]
    await k2v.insert([New(pk, "k", b"c", item.token)])
    [[newer]] = await k2v.search([Range(pk, "k")])
    assert newer.values == [b"c"]
    await k2v.insert([New(pk, "k", b"late", item.token)])  # whoever wrote this did not know of "c"
    [[both]] = await k2v.search([Range(pk, "k")])
    assert sorted(both.values) == [b"c", b"late"]


@real
async def test_what_was_deleted_is_told_of_only_if_asked_for(k2v: K2V, pk: str) -> None:
    await k2v.insert([New(pk, "a", b"1"), New(pk, "b", b"2")])
    await k2v.delete([Range(pk, "a"), Range(pk, "never")])
    [found] = await k2v.search([Range(pk, *ALL)])
    assert values(found) == {"b": [b"2"]}
    [found] = await k2v.search([Range(pk, *ALL)], deleted=True)
    assert values(found) == {"a": [], "b": [b"2"]}
    await k2v.insert([New(pk, "a", b"again")])
    [found] = await k2v.search([Range(pk, *ALL)])
    assert values(found) == {"a": [b"again"], "b": [b"2"]}


@real
async def test_a_poll_gives_what_came_since_wherever_it_sorts(k2v: K2V, pk: str) -> None:
    where = Range(pk, "b", "y")
    first = await k2v.poll(where, None, 1)
    assert first is not None
    assert first[0] == []
    marker = first[1]
    assert await k2v.poll(where, marker, 1) is None
    await k2v.insert([New(pk, key, b"") for key in ("a", "m", "z")])
    for key in ("m", "c"):
        if key == "c":
            await k2v.insert([New(pk, "c", b"")])
        polled = await k2v.poll(where, marker, 1)
        assert polled is not None
        items, marker = polled
        assert values(items) == {key: [b""]}
    await k2v.delete([Range(pk, "m")])
    polled = await k2v.poll(where, marker, 1)
    assert polled is not None
    assert values(polled[0]) == {"m": []}


@real
async def test_a_poll_that_much_overtakes_goes_on(k2v: K2V, pk: str) -> None:
    """Garage has room for 8 items on the way to who polls, and refuses when there were more. It may pass over
    one that is written just then (polling.py): so what there is, is for a read to say."""
    polled = await k2v.poll(Range(pk, *ALL), None, 1)
    assert polled is not None
    seen: set[str] = set()

    async def poll(marker: str) -> None:
        while "299" not in seen:
            polled = await k2v.poll(Range(pk, *ALL), marker, 5)
            if polled is not None:
                seen.update(item.key for item in polled[0])
                marker = polled[1]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll, polled[1])
        await wait_all_tasks_blocked(0.05)
        for start in (0, 100, 200):
            await k2v.insert([New(pk, f"{n:03}", b"") for n in range(start, start + 100)])
    written = {f"{n:03}" for n in range(300)}
    assert seen <= written
    assert len(seen) > 100
    assert {item.key for [found] in [await k2v.search([Range(pk, *ALL)])] for item in found} == written


@real
async def test_partitions_are_found_by_their_beginning(k2v: K2V, pk: str) -> None:
    names = [f"{pk}/{n}" for n in ("a", "b c", "é")]
    await k2v.insert([New(name, "k", b"") for name in names])
    while len(found := await k2v.partitions(f"{pk}/")) < len(names):
        pass  # the index of partitions comes later
    assert found == names
    assert await k2v.partitions(f"{pk}/b") == names[1:2]


@real
@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        (lambda place: replace(place, bucket="nobodys"), "make it"),
        (lambda place: replace(place, region="elsewhere"), "region"),
        (lambda place: replace(place, k2v=place.endpoint), "k2v="),
    ],
)
async def test_what_is_not_meant_so_is_said(
    garage: str, changed: Callable[[Place], Place], hint: str
) -> None:
    k2v = opened(changed(Place.parse(garage)))
    with pytest.raises(Unavailable) as raised:
        await k2v.search([Range("p", "a")])
    assert hint in raised.value.hint
    await k2v.aclose()


@real
async def test_a_wrong_secret(garage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "0" * 64)
    k2v = opened(Place.parse(garage))
    with pytest.raises(Unavailable) as raised:
        await k2v.insert([New("p", "k", b"")])
    assert "credentials" in raised.value.hint
    await k2v.aclose()


# --- bad days


class Server:
    """Answers what it is told to, in this order, and the last for ever."""

    def __init__(self, answers: list[tuple[int, bytes, dict[str, str]]]) -> None:
        self.requests: list[tuple[str, bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((self.path, body))
                status, said, headers = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def place(self) -> Place:
        url = f"http://127.0.0.1:{self.http.server_port}"
        return Place("garage", endpoint=url, k2v=url, bucket="mail", region="garage")


@contextmanager
def serving(*answers: tuple[int, bytes, dict[str, str]]) -> Iterator[Server]:
    server = Server([*answers])
    thread = Thread(target=partial(server.http.serve_forever, poll_interval=0.01))
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "GK0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")


Said = tuple[int, bytes, dict[str, str]]
BUSY: Said = (503, b'{"code": "ServiceUnavailable"}', {})
NOTHING: Said = (200, b'[{"items": [], "more": false}]', {})


async def test_what_may_pass_is_asked_again(keys: None) -> None:
    with serving(BUSY, (500, b"", {}), NOTHING) as server:
        k2v = opened(server.place)
        assert await k2v.search([Range("p", "a")]) == [[]]
        assert len(server.requests) == 3
        assert len(set(server.requests)) == 1
        await k2v.aclose()


async def test_what_does_not_pass_is_unavailable_in_the_end(
    keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aerogramme.store.k2v.WRITE_SECONDS", 0.5)
    with serving(BUSY) as server:
        k2v = opened(server.place)
        with pytest.raises(Unavailable) as raised:
            await k2v.insert([New("p", "a", b"")])
        assert "503" in raised.value.hint
        assert len(server.requests) > 2
        await k2v.aclose()


async def test_nobody_is_there(keys: None, autojump_clock: MockClock) -> None:
    with serving(BUSY) as server:
        place = server.place
    k2v = opened(place)
    with pytest.raises(Unavailable) as raised:
        await k2v.search([Range("p", "a")])
    assert str(place.k2v) in raised.value.hint
    with pytest.raises(Unavailable):
        await k2v.poll(Range("p", *ALL), None, 50)
    await k2v.aclose()


async def test_clocks_that_disagree_are_noticed_at_any_answer(keys: None) -> None:
    with serving((200, NOTHING[1], {"Date": "Tue, 25 Nov 2025 12:00:00 GMT"})) as server:
        k2v = opened(server.place)
        with pytest.raises(Unavailable, match="clocks"):
            await k2v.search([Range("p", "a")])
        assert len(server.requests) == 1
        await k2v.aclose()


ITEM = '[{"more": false, "items": [{"sk": %s, "ct": %s, "v": [%s]}]}]'


@pytest.mark.parametrize(
    "said",
    [
        "<html>",
        "",
        "null",
        '"yes"',
        "[]",
        "{}",
        "[7]",
        '[{"items": []}]',
        '[{"items": [], "more": true}]',
        '[{"items": [], "more": true, "nextStart": 7}]',
        ITEM % (7, '"t"', '"YQ=="'),
        ITEM % ('"a"', "null", '"YQ=="'),
        ITEM % ('"a"', '"t"', '"Y"'),
    ],
)
async def test_what_is_not_k2v(keys: None, said: str) -> None:
    calls = ("search", [Range("p", "a")]), ("first", Range("p", *ALL), 1), ("poll", Range("p", *ALL), None, 1)
    with serving((200, said.encode(), {})) as server:
        k2v = opened(server.place)
        for name, *asked in calls:
            with pytest.raises(Unavailable) as raised:
                await getattr(k2v, name)(*asked)
            assert "k2v=" in raised.value.hint
        await k2v.aclose()


async def test_a_request_can_be_cancelled(keys: None) -> None:
    with socket_that_says_nothing() as place:
        k2v = opened(place)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(k2v.search, [Range("p", "a")])
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await k2v.aclose()


async def test_a_node_that_says_nothing_is_not_waited_for(keys: None, autojump_clock: MockClock) -> None:
    with socket_that_says_nothing() as place:
        k2v = opened(place)
        with pytest.raises(Unavailable):
            await k2v.search([Range("p", "a")])
        assert trio.current_time() <= 20
        began = trio.current_time()
        with pytest.raises(Unavailable):
            await k2v.insert([New("p", "a", b"")])
        assert trio.current_time() - began <= 60
        await k2v.aclose()


@contextmanager
def socket_that_says_nothing() -> Iterator[Place]:
    from socket import create_server

    with create_server(("127.0.0.1", 0), backlog=64) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield Place("garage", endpoint=url, k2v=url, bucket="mail", region="garage")
