"""Objects on SeaweedFS, over a way on which things go wrong."""

import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import cast
from uuid import uuid4

import boto3
import pytest
import trio
from botocore.config import Config
from trio.testing import MockClock, wait_all_tasks_blocked

from aerogramme.errors import BadConfiguration, NotStored, Unavailable
from aerogramme.store import Part, Place
from aerogramme.store.bucket import CLOCK_AGE, Bucket
from aerogramme.store.credentials import Credentials
from aerogramme.store.objects import AT_ONCE, PAGE, PART, Objects
from tests.helpers.between import Asked, Between, Fate, Rule, between
from tests.helpers.fake_s3 import certificate, fake_s3
from tests.helpers.seaweed import BUCKET, KEY, SECRET, Seaweed


@pytest.fixture
def way(server: Seaweed, s3: str) -> Iterator[Between]:
    with between(server.endpoint) as way:
        yield way


@pytest.fixture
def bucket(way: Between) -> Bucket:
    return opened(f"s3:{way.endpoint}/{BUCKET}/{uuid4().hex}")


@pytest.fixture
def objects(bucket: Bucket) -> Objects:
    return Objects(bucket, f"{bucket.place.prefix}o/")


def opened(place: str, patience: tuple[float, float] = (60, 60)) -> Bucket:
    parsed = Place.parse(place)
    return Bucket(parsed, Credentials(parsed), patience=patience)


def first(times: int, method: str, fate: Fate | tuple[int, str]) -> Rule:
    """What becomes of the first requests of a method, while all others pass."""
    left = Counter({method: times})

    def rule(asked: Asked) -> Fate | tuple[int, str] | None:
        left[asked.method] -= 1
        return fate if left[asked.method] >= 0 else None

    return rule


def always(fate: Fate | tuple[int, str]) -> Rule:
    return lambda _: fate


async def pieces(body: bytes, size: int = 1 << 20) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        await trio.lowlevel.checkpoint()
        yield body[start : start + size]


def noise(size: int) -> bytes:
    return Random(size).randbytes(size)


# --- what passes

FAULTS = [(500, "InternalError"), (503, "SlowDown"), (429, ""), Fate.DROPPED, Fate.LOST]


async def put(objects: Objects) -> None:
    await objects.put("new", b"body")
    assert await objects.get("new") == b"body"


async def put_long(objects: Objects) -> None:
    body = noise(PART + 1)
    await objects.put("long", pieces(body))
    assert await objects.get("long") == body


async def get(objects: Objects) -> None:
    assert await objects.get("there") == b"0123456789"


async def get_part(objects: Objects) -> None:
    assert await objects.get("there", 2, 5) == b"234"


async def list_names(objects: Objects) -> None:
    assert await objects.list("") == ["there"]


async def delete(objects: Objects) -> None:
    await objects.delete(["there", "never there"])
    assert await objects.list("") == []


async def ask_for_it(objects: Objects) -> None:
    assert await objects.has("there")
    assert await objects.get("there", 10) == b""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("work", "method"),
    [
        (put, "PUT"),
        (put_long, "PUT"),
        (put_long, "POST"),
        (get, "GET"),
        (get_part, "GET"),
        (list_names, "GET"),
        (delete, "POST"),
        (ask_for_it, "HEAD"),
    ],
)
async def test_what_passes_is_tried_again(
    objects: Objects,
    way: Between,
    work: Callable[[Objects], Awaitable[None]],
    method: str,
    fault: Fate | tuple[int, str],
    autojump_clock: MockClock,
) -> None:
    await objects.put("there", b"0123456789")
    way.rule = first(2, method, fault)
    await work(objects)
    assert way.methods().count(method) >= 3


async def test_a_store_that_is_down_is_given_up_and_heals(
    objects: Objects, way: Between, autojump_clock: MockClock
) -> None:
    await objects.put("there", b"0123456789")
    way.rule = always((503, "SlowDown"))
    for call in (objects.get("there"), objects.list(""), objects.put("new", b"x"), objects.delete(["there"])):
        begun = trio.current_time()
        with pytest.raises(Unavailable) as down:
            await call
        assert "503 SlowDown" in down.value.hint
        assert trio.current_time() - begun <= 30
        assert objects._bucket._reach.away
        objects._bucket._reach.away = False  # for a clock that jumps AWAY_SECONDS are no time at all
    way.rule = lambda _: None
    await get(objects)


async def test_a_store_that_was_down_is_asked_before_it_is_used(objects: Objects, way: Between) -> None:
    objects._bucket._reach.away = True
    way.rule = always((503, "SlowDown"))
    with pytest.raises(Unavailable, match="cannot be reached") as down:
        await objects.put("new", b"x")
    assert "503" in down.value.hint and way.methods() == ["HEAD"]
    way.rule = lambda _: None
    await objects.put("new", b"x")
    assert not objects._bucket._reach.away
    assert way.methods() == ["HEAD", "HEAD", "PUT"]


async def test_nobody_listens(s3: str, autojump_clock: MockClock) -> None:
    objects = Objects(opened("s3:http://127.0.0.1:1/mail"), "")
    with pytest.raises(Unavailable) as down:
        await objects.get("x")
    assert "no connection to http://127.0.0.1:1" in down.value.hint


async def test_an_answer_that_does_not_come_is_not_waited_for(
    way: Between, autojump_clock: MockClock
) -> None:
    objects = Objects(opened(f"s3:{way.endpoint}/{BUCKET}/{uuid4().hex}", patience=(0.05, 60)), "")
    await objects.put("there", b"0123456789")
    way.rule = first(1, "GET", Fate.HELD)
    await get(objects)
    assert way.methods().count("GET") >= 2  # on a busy machine the second may be late, too


async def test_who_finds_no_thread_does_not_wait_for_ever(
    way: Between, s3: str, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    monkeypatch.setattr("aerogramme.store.bucket.THREADS", 2)
    objects = Objects(opened(f"s3:{way.endpoint}/{BUCKET}/{uuid4().hex}"), "")
    await objects.put("there", b"0123456789")
    way.rule = always(Fate.HELD)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(objects.get, "there")
        await trio.to_thread.run_sync(way.wait_until, lambda: len(way.asked) == 3)

        async def time_passes() -> None:
            for _ in range(20):
                await wait_all_tasks_blocked()
                mock_clock.jump(1)

        nursery.start_soon(time_passes)
        with pytest.raises(Unavailable) as away:
            await objects.get("there")
        assert "under way" in away.value.hint
        nursery.cancel_scope.cancel()
    way.rule = lambda _: None
    way.released.set()
    await get(objects)  # once their threads are free again


async def test_who_is_cancelled_leaves_at_once(objects: Objects, way: Between) -> None:
    way.rule = always(Fate.HELD)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(objects.get, "x")
        nursery.start_soon(objects.list, "")
        nursery.start_soon(objects.put, "x", b"")
        await trio.to_thread.run_sync(way.wait_until, lambda: len(way.asked) == 3)
        nursery.cancel_scope.cancel()
    assert not way.released.is_set()


# --- what does not


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((403, "AccessDenied"), "credentials"),
        ((403, "RequestTimeTooSkewed"), "clock"),
        ((400, "AuthorizationHeaderMalformed"), "region"),
        ((307, "TemporaryRedirect"), "region"),
    ],
)
async def test_a_refusal_is_said_at_once(
    objects: Objects, way: Between, answer: tuple[int, str], said: str
) -> None:
    way.rule = always(answer)
    for call in (objects.get("x"), objects.list(""), objects.put("x", b""), objects.delete(["x"])):
        asked = len(way.asked)
        with pytest.raises(Unavailable) as refused:
            await call
        assert said in refused.value.hint
        assert len(way.asked) == asked + 1


async def test_a_bucket_that_is_not_there_is_no_missing_object(way: Between) -> None:
    objects = Objects(opened(f"s3:{way.endpoint}/nothing-here"), "")
    for call in (objects.get("x"), objects.list("")):
        with pytest.raises(Unavailable, match="bucket"):
            await call


async def test_wrong_keys(way: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    objects = Objects(opened(f"s3:{way.endpoint}/{BUCKET}"), "")
    with pytest.raises(Unavailable) as refused:
        await objects.get("x")
    assert "credentials" in refused.value.hint
    assert "guessed" not in str(refused.value) + refused.value.hint
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BadConfiguration):
        await Objects(opened(f"s3:{way.endpoint}/{BUCKET}"), "").get("x")


async def test_the_environment_says_who_and_not_where(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("AWS_SKIP_SIGNATURE", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"):
        monkeypatch.setenv(name, "true")
    await put(objects)


def test_a_bucket_in_the_name_of_the_host(s3: str) -> None:
    client = opened("s3:http://s3.example.org:8333/mail?style=virtual")._client("read")
    assert client.config["endpoint_url_s3"] == "http://mail.s3.example.org:8333"  # type: ignore[typeddict-item]


# --- what each call costs


async def test_the_end_is_asked_for_only_where_a_part_begins_behind_it(
    objects: Objects, way: Between
) -> None:
    await objects.put("there", b"0123456789")
    way.asked.clear()
    assert await objects.get("there", 5, 99) == b"56789"
    assert await objects.get("there", 9) == b"9"
    with pytest.raises(NotStored):
        await objects.get("gone", 5, 99)
    assert way.methods() == ["GET"] * 3
    way.asked.clear()
    for start, stop in ((10, 20), (10, None), (5, 5), (1 << 40, None)):
        assert await objects.get("there", start, stop) == b""
    assert Counter(way.methods()) == {"GET": 3, "HEAD": 4}
    with pytest.raises(NotStored):
        await objects.get("gone", 5, 5)


async def test_many_at_once_but_not_all(objects: Objects, way: Between) -> None:
    names = [f"{n}" for n in range(2 * AT_ONCE)]
    await objects.put_many([(name, name.encode()) for name in names])
    now, most, lock = 0, 0, threading.Lock()
    full = threading.Barrier(AT_ONCE, timeout=60)

    def rule(asked: Asked) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        full.wait()  # so many are under way
        with lock:
            now -= 1

    way.rule = rule
    assert await objects.get_many([Part(name) for name in names]) == [name.encode() for name in names]
    assert most == AT_ONCE


async def test_a_failure_among_many_ends_all(objects: Objects, way: Between) -> None:
    way.rule = lambda asked: (403, "AccessDenied") if asked.name.endswith("/5") else Fate.HELD
    with pytest.raises(Unavailable):
        await objects.get_many([f"{n}" for n in range(9)])
    with pytest.raises(Unavailable):
        await objects.put_many([(f"{n}", b"") for n in range(9)])


async def test_no_plain_connection_is_used_twice(objects: Objects, way: Between) -> None:
    await objects.put("there", b"0123456789")
    for _ in range(3):
        await get(objects)
    assert way.connections == len(way.asked) == 4


async def test_more_names_than_one_answer_has(objects: Objects, way: Between) -> None:
    names = sorted(f"piece/{n:04}" for n in range(PAGE + 100))
    await objects.put_many([(name, b"") for name in [*names, "piece", "piece0", "pie"]])
    assert await objects.list("piece/") == names
    assert await objects.list("piece/", after=names[50]) == names[51:]
    way.asked.clear()
    assert await objects.list("piece/", limit=PAGE // 2) == names[: PAGE // 2]
    assert len(way.asked) == 1
    await objects.delete(names)
    assert await objects.list("p") == ["pie", "piece", "piece0"]


async def test_a_store_that_lists_the_same_again_is_not_listened_to_for_ever() -> None:
    class Same:
        async def read(self, _ask: object) -> list[tuple[str, int]]:
            await trio.lowlevel.checkpoint()
            return [(f"{n:04}", 1) for n in range(PAGE)]

    with pytest.raises(Unavailable) as raised:
        await Objects(cast("Bucket", Same()), "o/").list("")
    assert "same names" in raised.value.hint


@pytest.mark.parametrize("name", ["~", "a b", "a%b", "a%2Fb", "a+b", "a#?b", "a&b=<c>", 'a"b', "a*[b]{c}|^`"])
async def test_any_printable_name(objects: Objects, name: str) -> None:
    """But for the backslash, which SeaweedFS takes for a slash."""
    await objects.put(name, b"1")
    await objects.put(f"below/{name}/x", b"2")
    assert await objects.get(name) == b"1"
    assert await objects.list("") == sorted([name, f"below/{name}/x"])
    assert await objects.list(name) == [name]
    await objects.delete([name, f"below/{name}/x"])
    assert await objects.list("") == []


# --- long objects


def uploads(server: Seaweed, prefix: str) -> list[str]:
    """The uploads that the server has not seen the end of."""
    config = Config(proxies={}, s3={"addressing_style": "path"})
    session = boto3.Session(KEY, SECRET, region_name="us-east-1")
    s3 = session.client("s3", endpoint_url=server.endpoint, config=config)
    try:
        answer = s3.list_multipart_uploads(Bucket=BUCKET)
        return [each["Key"] for each in answer.get("Uploads", []) if each["Key"].startswith(prefix)]
    finally:
        s3.close()


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1])
async def test_objects_about_as_long_as_a_part(objects: Objects, way: Between, size: int) -> None:
    body = noise(size)
    await objects.put("bytes", body)
    await objects.put("stream", pieces(body, 1_000_000))
    assert await objects.get("bytes") == await objects.get("stream") == body
    assert any("uploadId" in asked.query for asked in way.asked) == (size > PART)


async def test_an_upload_that_fails_is_taken_back(
    objects: Objects, bucket: Bucket, server: Seaweed, way: Between
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for piece in pieces(noise(3 * PART)):
            yield piece
        assert uploads(server, bucket.place.prefix) != []
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await objects.put("long", broken())
    assert await objects.list("") == []
    await trio.to_thread.run_sync(way.wait_until, lambda: "DELETE" in way.methods())
    while uploads(server, bucket.place.prefix):
        await trio.lowlevel.checkpoint()


async def test_an_upload_that_is_refused_is_taken_back(objects: Objects, way: Between) -> None:
    way.rule = lambda asked: (403, "AccessDenied") if "partNumber=2" in asked.query else None
    with pytest.raises(Unavailable) as refused:
        await objects.put("long", noise(3 * PART))
    assert "credentials" in refused.value.hint
    await trio.to_thread.run_sync(way.wait_until, lambda: "DELETE" in way.methods())
    assert await objects.list("") == []


async def test_who_cancels_an_upload_does_not_wait_for_the_store(objects: Objects, way: Between) -> None:
    way.rule = lambda asked: Fate.HELD if "partNumber" in asked.query else None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(objects.put, "long", noise(4 * PART))
        held = partial(way.wait_until, lambda: any("partNumber" in asked.query for asked in way.asked))
        await trio.to_thread.run_sync(held)
        nursery.cancel_scope.cancel()
    assert not way.released.is_set()
    way.rule = lambda _: None
    way.released.set()
    await trio.to_thread.run_sync(way.wait_until, lambda: "DELETE" in way.methods())
    assert await objects.list("") == []


async def test_a_stream_is_taken_in_no_faster_than_it_is_sent(objects: Objects, way: Between) -> None:
    piece = noise(1 << 20)
    ahead = []

    async def stream() -> AsyncIterator[bytes]:
        for n in range(30):
            yield piece
            await trio.lowlevel.checkpoint()
            ahead.append((n + 1) * len(piece) - way.received)

    await objects.put("long", stream())
    assert max(ahead) <= 4 * PART
    assert len(await objects.get("long")) == 30 << 20


# --- clocks and certificates


async def test_clocks_that_differ(bucket: Bucket, way: Between, autojump_clock: MockClock) -> None:
    way.date = "Wed, 25 Nov 2015 16:00:00 GMT"
    with pytest.raises(Unavailable, match="clocks"):
        await bucket.check_clock()
    way.date = None
    await bucket.check_clock()
    way.asked.clear()
    await bucket.check_clock()
    assert way.asked == []
    await trio.sleep(CLOCK_AGE)
    way.rule = first(2, "HEAD", (503, ""))  # even this has a date
    await bucket.check_clock()
    assert way.methods() == ["HEAD"]
    await trio.sleep(CLOCK_AGE)
    way.rule = first(2, "HEAD", Fate.DROPPED)
    await bucket.check_clock()
    assert way.methods() == ["HEAD"] * 4


async def test_certificates(s3: str, tmp_path: Path) -> None:
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
    certificate(tmp_path / "theirs", authority=False)
    with fake_s3(certificate(tmp_path / "ours", authority=False)) as server:
        server.objects["x"] = b"sealed"
        for way in (f"ca={tmp_path}/ours/cert.pem", "verify=no"):
            bucket = opened(f"{server.place}?{way}")
            assert await Objects(bucket, "").get("x") == b"sealed"
            await bucket.check_clock()
        for way in ("verify=yes", f"ca={tmp_path}/theirs/cert.pem"):
            with pytest.raises(Unavailable, match="certificate") as distrusted:
                await Objects(opened(f"{server.place}?{way}"), "").get("x")
            assert "ca=" in distrusted.value.hint
        for wrong in ("missing.pem", "ours/key.pem"):
            with pytest.raises(BadConfiguration, match=wrong):
                await Objects(opened(f"{server.place}?ca={tmp_path}/{wrong}"), "").get("x")


async def test_the_certificate_of_an_authority_is_no_servers(s3: str, tmp_path: Path) -> None:
    with fake_s3(certificate(tmp_path)) as server, pytest.raises(Unavailable, match="certificate") as refused:
        await Objects(opened(f"{server.place}?ca={tmp_path}/cert.pem"), "").get("x")
    assert "authority" in refused.value.hint
