"""The cache before a store: what it saves, what it survives, and that it never gives anything but what was
stored."""

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from aerogramme.errors import NotStored, Unavailable
from aerogramme.store import Faults, MemoryStores, Part, Row, Store
from aerogramme.store.cache import REST_SECONDS, SHARE, Cache, CachedStore, CachedStores
from aerogramme.store.cache_files import (
    CHECK,
    FRAME,
    LEFT_SECONDS,
    NOTE_SECONDS,
    STRETCH,
    Draft,
    Folder,
    on_disk,
)
from aerogramme.store.memory import MemoryStore

ACCOUNT, OTHER = "a1" * 16, "b2" * 16
MIB = 1 << 20
HEAD = 28
NONE = {"latency": 0.0, "refused": 0.0, "lost": 0.0, "limbo": 0.0, "again": 0.0}
SIZES = [0, 1, 5000, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 3 * FRAME + 7]


def pattern(size: int, seed: int = 0) -> bytes:
    return Random(seed).randbytes(size)


async def pieces(body: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


class Far:
    """A store in memory behind a network that can be cut, and a folder for caches before it.

    `asked`: what was read from the store.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.faults = Faults(Random(0))
        self.faults.reliable = True  # nothing goes wrong, but that it can be cut off
        self.stores = MemoryStores(self.faults)
        self.asked: list[str | Part] = []
        real = MemoryStore.get_many

        async def get_many(store: MemoryStore, wanted: Sequence[str | Part]) -> list[bytes | None]:
            self.asked += wanted
            return await real(store, wanted)

        monkeypatch.setattr(MemoryStore, "get_many", get_many)

    async def open(self, size: int = 64 * MIB, account: str = ACCOUNT) -> CachedStore:
        """As a process that has just begun sees it."""
        return await CachedStores(self.stores, Cache(self.folder, size)).open(account, create=True)

    async def direct(self, account: str = ACCOUNT) -> Store:
        """The same account without a cache, from where it can always be reached."""
        return await self.stores.another().open(account, create=True)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if not path.is_dir())

    def octets(self) -> int:
        return sum(on_disk(path.stat().st_size) for path in self.files())


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Far:
    return Far(tmp_path / "cache", monkeypatch)


# --- what it saves


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_read_once_is_there_without_the_store(far: Far, size: int) -> None:
    body = pattern(size)
    await (await far.direct()).put("body/1", body)
    assert await (await far.open()).get("body/1") == body
    far.faults.reachable = False
    store = await far.open()  # another process, later
    assert await store.get("body/1") == body
    assert await store.get_many(["body/1", Part("body/1", 3, 9)]) == [body, body[3:9]]
    with pytest.raises(Unavailable):
        await store.get("body/2")


@pytest.mark.parametrize("how", ["bytes", "stream", "append"])
@pytest.mark.parametrize("size", SIZES)
async def test_what_was_written_is_there_without_the_store(far: Far, size: int, how: str) -> None:
    body, store = pattern(size), await far.open()
    match how:
        case "bytes":
            await store.put("body/1", body)
        case "stream":
            await store.put("body/1", pieces(body))
        case "append":
            await store.append("log", [Row("a", b"")], objects=[("body/1", body)])
    assert await (await far.direct()).get("body/1") == body
    far.faults.reachable = False
    assert await store.get("body/1") == body
    assert await (await far.open()).get("body/1", 2, size) == body[2:]


async def test_many_are_asked_for_in_one_trip_and_each_once(far: Far) -> None:
    direct, store = await far.direct(), await far.open()
    for n in range(4):
        await direct.put(f"body/{n}", b"%d" % n * 10)
    await store.get("body/2")
    wanted: list[str | Part] = ["body/0", "body/2", "gone", Part("body/3", 4), "body/0", Part("body/1", 2, 4)]
    far.asked.clear()
    found = [b"0" * 10, b"2" * 10, None, b"3" * 6, b"0" * 10, b"11"]
    assert await store.get_many(wanted) == found
    assert far.asked == [Part("body/0"), Part("gone"), Part("body/3", 4), Part("body/1", 0, STRETCH)]
    far.asked.clear()
    assert await store.get_many(wanted) == found
    assert far.asked == [Part("gone"), Part("body/3", 4)]  # not known to be there; not known to be whole


async def test_of_a_large_object_what_was_asked_for_is_read_and_kept(far: Far) -> None:
    body, store = pattern(5 * MIB), await far.open()
    await (await far.direct()).put("pack/1", body)
    assert await store.get("pack/1", MIB + 5, MIB + 10) == body[MIB + 5 : MIB + 10]
    assert far.asked == [Part("pack/1", MIB, MIB + STRETCH)]
    far.asked.clear()
    parts = [
        Part("pack/1", 10, 20),
        Part("pack/1", MIB + 100, MIB + 200),
        Part("pack/1", 4 * MIB - 1, 9 * MIB),
    ]
    assert await store.get_many(parts) == [body[part.start : part.stop] for part in parts]
    assert far.asked == [Part("pack/1", 0, STRETCH), Part("pack/1", 4 * MIB - STRETCH, 9 * MIB)]
    far.faults.reachable = False
    store = await far.open()
    assert await store.get_many(parts) == [body[part.start : part.stop] for part in parts]
    assert await store.get("pack/1", 5 * MIB - 1, 5 * MIB) == body[-1:]
    with pytest.raises(Unavailable):
        await store.get("pack/1", STRETCH - 1, STRETCH + 1)
    with pytest.raises(Unavailable):
        await store.get("pack/1")


async def test_parts_of_a_small_object_are_one_read_that_keeps_it(far: Far) -> None:
    body, store = pattern(STRETCH - 1), await far.open()
    await (await far.direct()).put("pack/1", body)
    wanted = [Part("pack/1", n, n + 100) for n in range(0, 1000, 100)]
    assert await store.get_many(wanted) == [body[n : n + 100] for n in range(0, 1000, 100)]
    assert far.asked == [Part("pack/1", 0, STRETCH)]
    far.faults.reachable = False
    assert await store.get("pack/1") == body


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.sampled_from([0, 1, STRETCH, 3 * STRETCH]) | st.integers(0, 4 * STRETCH),
    ranges=st.lists(st.tuples(st.integers(0, 5 * STRETCH), st.none() | st.integers(0, 5 * STRETCH))),
)
async def test_any_ranges_in_any_order_are_those_of_the_object(
    tmp_path_factory: pytest.TempPathFactory, size: int, ranges: list[tuple[int, int | None]]
) -> None:
    memory = MemoryStores()
    cache = Cache(tmp_path_factory.mktemp("cache"), 16 * MIB)
    store = await CachedStores(memory, cache).open(ACCOUNT, create=True)
    body = pattern(size)
    await (await memory.open(ACCOUNT)).put("pack/1", body)
    for start, stop in ranges:
        assert await store.get("pack/1", start, stop) == body[start:stop]
    parts = [Part("pack/1", start, stop) for start, stop in ranges]
    assert await store.get_many(parts) == [body[start:stop] for start, stop in ranges]
    await store.delete(["pack/1"])
    assert await store.get_many(parts) == [None] * len(parts)
    assert [path for path in cache.folder.rglob("*") if path.is_file()] == []


async def test_rows_are_the_stores_alone(far: Far) -> None:
    store = await far.open()
    await store.append("log", [Row("a", b"value")])
    assert (await store.read("log"))[0] == [Row("a", b"value")]
    assert far.files() == []
    far.faults.reachable = False
    with pytest.raises(Unavailable):
        await store.read("log")
    with pytest.raises(Unavailable):
        await store.list("")


# --- nothing that is not in the store


@pytest.mark.parametrize("fault", ["refused", "lost", "limbo"])
@pytest.mark.parametrize("how", ["bytes", "stream", "append"])
async def test_what_may_not_be_stored_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, how: str
) -> None:
    far = Far(tmp_path / "cache", monkeypatch)
    far.stores.faults = Faults(Random(0), **{**NONE, fault: 1.0})
    store = await far.open()
    with pytest.raises(Unavailable):
        match how:
            case "bytes":
                await store.put("body/1", b"x" * 300_000)
            case "stream":
                await store.put("body/1", pieces(b"x" * 300_000))
            case "append":
                await store.append("log", [Row("a", b"")], objects=[("body/1", b"x")])
    assert far.files() == []


async def test_a_stream_that_ends_early_leaves_nothing(far: Far) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield pattern(300_000)
        raise ConnectionResetError

    store = await far.open()
    with pytest.raises(ConnectionResetError):
        await store.put("body/1", broken())
    with trio.CancelScope() as scope:

        async def cancelled() -> AsyncIterator[bytes]:
            yield pattern(300_000)
            scope.cancel()
            await trio.lowlevel.checkpoint()

        await store.put("body/1", cancelled())
    assert scope.cancelled_caught
    assert far.files() == []
    with pytest.raises(NotStored):
        await store.get("body/1")


@pytest.mark.parametrize("reachable", [True, False])
async def test_what_is_deleted_goes_also_if_nothing_is_heard_of_it(far: Far, reachable: bool) -> None:
    store = await far.open()
    await store.put("body/1", b"one")
    await store.put("body/2", b"two")
    far.faults.reachable = reachable
    try:
        await store.delete(name for name in ["body/1", "body/3"])
    except Unavailable:
        assert not reachable
    assert len(far.files()) == 1
    assert await store.get("body/2") == b"two"


async def test_an_erased_account_takes_its_files_along(far: Far) -> None:
    stores = CachedStores(far.stores, Cache(far.folder, MIB))
    for account in (ACCOUNT, OTHER):
        store = await stores.open(account, create=True)
        await store.put("body/1", account.encode())
        await (await far.direct(account)).put("pack/1", pattern(MIB))
        await store.get("pack/1", 0, 100)
    assert len(far.files()) == 4
    await stores.erase(ACCOUNT)
    assert await stores.list() == [OTHER]
    assert len(far.files()) == 2 and len(list(far.folder.iterdir())) == 1
    far.faults.reachable = False
    assert await (await stores.open(OTHER)).get("body/1") == OTHER.encode()
    await stores.aclose()


# --- files


async def test_files_are_the_owners_alone_and_their_names_tell_nothing(far: Far) -> None:
    os.umask(os.umask(0))  # whatever it is, the modes must not depend on it
    store = await far.open()
    await store.put("body/0123", b"sealed")
    await store.put("body/4567", pieces(b"sealed" * 50_000))
    await (await far.direct()).put("body/89ab", b"sealed" * 50_000)
    await store.get("body/89ab", 0, 10)
    assert len(far.files()) == 3
    for path in [far.folder, *far.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert ACCOUNT not in path.name and "body" not in path.name and "0123" not in path.name
    assert b"sealed" in far.files()[0].read_bytes()


async def test_a_file_is_as_docs_format_says(far: Far) -> None:
    from hashlib import blake2b

    def digest(data: bytes, size: int, **more: Any) -> bytes:
        return blake2b(data, digest_size=size, **more).digest()

    body, store = pattern(FRAME + 10), await far.open()
    await store.put("body/1", body)
    account = bytes.fromhex(ACCOUNT)
    key = digest(account + b"body/1", 32, person=b"aerogramme cache")
    path = far.folder / digest(account, 16, person=b"aerogramme cache").hex() / key.hex()
    head = b"AGC\x01" + len(body).to_bytes(8, "big")
    parts = [head, digest(head, 16, key=key, salt=bytes(8))]
    for n, frame in ((1, body[:FRAME]), (2, body[FRAME:])):
        parts += [digest(frame, 16, key=key, salt=n.to_bytes(8, "big")), frame]
    assert path.read_bytes() == b"".join(parts)
    await (await far.direct()).put("body/2", body)
    await store.get("body/2", FRAME, FRAME + 10)
    key = digest(account + b"body/2", 32, person=b"aerogramme cache")
    inner = digest(bytes(7) + b"\x01", 32, key=key, person=b"aerogramme cache")
    head = b"AGC\x01" + (10).to_bytes(8, "big")
    parts = [head, digest(head, 16, key=inner, salt=bytes(8))]
    parts += [digest(body[FRAME:], 16, key=inner, salt=bytes(7) + b"\x01"), body[FRAME:]]
    assert (path.with_name(key.hex() + ".part") / "00000001").read_bytes() == b"".join(parts)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), size=st.sampled_from(SIZES))
def test_a_file_that_is_not_whole_or_not_its_own_is_not_there(
    tmp_path: Path, data: st.DataObject, size: int
) -> None:
    folder, body, other = Folder(tmp_path), pattern(size), pattern(size, 1)
    for name, content in (("body/1", body), ("body/2", other)):
        draft = folder.begin(ACCOUNT, name)
        draft.write(content)
        draft.keep()
    path, foreign = folder._place(ACCOUNT, "body/1")[0], folder._place(ACCOUNT, "body/2")[0]
    octets = bytearray(path.read_bytes())
    match data.draw(st.sampled_from(["cut", "longer", "flipped", "zeros", "foreign", "other account"])):
        case "cut":
            del octets[data.draw(st.integers(0, len(octets) - 1)) :]
        case "longer":
            octets += bytes(data.draw(st.integers(1, 2 * (FRAME + CHECK))))
        case "flipped":
            octets[data.draw(st.integers(0, len(octets) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        case "zeros":  # what a power cut can leave: the length, and nothing else
            octets[data.draw(st.integers(0, len(octets) - 1)) :] = bytes(len(octets))
            del octets[HEAD + size + -(-size // FRAME) * CHECK :]
        case "foreign":
            octets[:] = foreign.read_bytes()
        case "other account":
            octets[:] = b""
            draft = folder.begin(OTHER, "body/1")
            draft.write(body)
            draft.keep()
            octets[:] = folder._place(OTHER, "body/1")[0].read_bytes()
    changed = octets != path.read_bytes()
    path.write_bytes(octets)
    assert folder.read(ACCOUNT, "body/1", 0, None) == (None if changed else body)
    assert path.exists() == (not changed)
    assert folder.read(ACCOUNT, "body/2", 0, None) == other


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.sampled_from(SIZES) | st.integers(0, 4 * FRAME),
    cuts=st.lists(st.integers(0, 5 * FRAME), max_size=4),
    start=st.integers(0, 5 * FRAME),
    stop=st.none() | st.integers(0, 5 * FRAME),
    damaged=st.none() | st.integers(0, 3),
)
def test_any_range_of_a_file_is_what_was_written_or_nothing(
    tmp_path: Path, size: int, cuts: list[int], start: int, stop: int | None, damaged: int | None
) -> None:
    folder, body = Folder(tmp_path), pattern(size)
    draft = folder.begin(ACCOUNT, "body/1")
    edges = [0, *sorted(cuts), size]
    for a, b in pairwise(edges):
        draft.write(body[a:b] if b > a else b"")
    draft.keep()
    draft.drop()
    if damaged is not None and damaged * FRAME < size:
        with folder._place(ACCOUNT, "body/1")[0].open("r+b") as file:
            file.seek(HEAD + damaged * (CHECK + FRAME) + CHECK)
            octet = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([octet[0] ^ 1]))
        last = size if stop is None else min(stop, size)
        hit = start < last and start // FRAME <= damaged <= (last - 1) // FRAME
        assert folder.read(ACCOUNT, "body/1", start, stop) == (None if hit else body[start:stop])
    else:
        assert folder.read(ACCOUNT, "body/1", start, stop) == body[start:stop]


@pytest.mark.parametrize("what", ["pipe", "link", "dangling"])
async def test_what_is_no_file_in_the_place_of_one(far: Far, tmp_path: Path, what: str) -> None:
    store = await far.open()
    await store.put("body/1", b"one")
    [path] = far.files()
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    if what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(elsewhere if what == "link" else tmp_path / "nowhere")
    assert await store.get("body/1") == b"one"  # and waits for nobody at the other end
    await store.get("body/1")
    assert elsewhere.exists()


# --- its size


async def test_it_stays_within_its_size_and_drops_what_was_used_longest_ago(far: Far) -> None:
    store, size = await far.open(4 * MIB), 100_000
    await (await far.direct()).put("old", pattern(size, 1))
    await (await far.direct()).put("used", pattern(size, 2))
    for name in ("old", "used"):
        await store.get(name)
    for path in far.files():  # a day goes by
        os.utime(path, (time.time() - 86_400,) * 2)
    await store.get("used")
    for n in range(100):
        await store.put(f"body/{n}", pattern(size, n))
        assert far.octets() <= 4 * MIB
        if n == 30:
            far.asked.clear()
            await store.get("used")
            assert far.asked == []
    assert far.octets() > 2 * MIB
    far.asked.clear()
    await store.get("body/99")
    assert far.asked == []
    await store.get("old")
    assert far.asked == [Part("old")]


async def test_two_processes_share_a_folder_and_its_size(far: Far) -> None:
    stores = [await far.open(4 * MIB) for _ in range(2)]
    for n in range(60):
        await stores[n % 2].put(f"body/{n}", pattern(100_000, n))
        assert far.octets() <= 4 * MIB
    far.asked.clear()
    assert await stores[0].get("body/59") == pattern(100_000, 59)
    assert far.asked == []


async def test_processes_that_write_little_do_not_fill_the_disk(far: Far) -> None:
    for n in range(300):
        store = await far.open(MIB)
        await store.put(f"body/{n}", pattern(20_000, n))
    assert far.octets() < 2 * MIB  # each sweeps with a probability of 3 in 8: by chance it never fails


async def test_an_object_that_would_drive_out_many_is_not_kept(far: Far) -> None:
    store = await far.open(MIB)
    large = pattern(MIB // SHARE + 1)
    await store.put("body/1", large)
    await store.put("body/2", pieces(large))
    assert far.files() == []
    await store.put("body/3", pieces(large[:-1]))
    assert len(far.files()) == 1
    await store.get("body/1", 0, len(large) - 1)  # but of what is read in part, the beginning is
    assert len(far.files()) == 1 + MIB // SHARE // STRETCH
    assert await store.get_many(["body/1", "body/2", "body/3"]) == [large, large, large[:-1]]


async def test_a_use_is_noted_once_an_hour(far: Far) -> None:
    store = await far.open()
    await store.put("body/1", b"one")
    [path] = far.files()
    for age, noted in ((NOTE_SECONDS - 60, False), (NOTE_SECONDS + 60, True), (-2 * NOTE_SECONDS, True)):
        before = time.time() - age
        os.utime(path, (before, before))
        await store.get("body/1")
        assert (abs(path.stat().st_mtime - before) > 1) == noted


def test_a_sweep_takes_what_crashes_left_and_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for n in range(3):
        draft = folder.begin(ACCOUNT, f"body/{n}")
        draft.write(b"x")
        draft.keep()
    mine = folder._account(ACCOUNT)
    kept = folder.begin(ACCOUNT, "body/9")
    left = kept._temporary.with_name(kept._temporary.name.replace(kept._temporary.name[:8], "0" * 8))
    left.write_bytes(b"half")
    draft = folder.begin(ACCOUNT, "pack/1", 5)
    draft.write(b"y")
    draft.keep()
    [stretches] = mine.glob("*.part")
    strangers = [tmp_path / "notes", mine / "notes", tmp_path / ("c" * 32), mine / ("f" * 64 + ".part")]
    for path in strangers:
        path.write_text("not of a cache")
    (mine / ("d" * 64)).mkdir()
    empty = tmp_path / ("e" * 32)
    empty.mkdir()
    for path in (left, empty, stretches):
        os.utime(path, (time.time() - LEFT_SECONDS - 60,) * 2)
    folder.sweep(2 * 4096)
    assert len([path for path in mine.iterdir() if path.is_file() and len(path.name) == 64]) <= 2
    assert kept._temporary.exists() and not left.exists() and not empty.exists()
    folder.sweep(0)
    assert kept._temporary.exists()  # it is being written
    kept.drop()
    assert sorted(strangers) == sorted(path for path in tmp_path.rglob("*") if path.is_file())


def test_many_threads_on_one_folder(tmp_path: Path) -> None:
    """As processes would: write, read, remove and sweep the same few objects at once."""
    names = [f"body/{n}" for n in range(4)]
    bodies = {name: pattern(2 * FRAME + n, n) for n, name in enumerate(names)}
    wrong: list[object] = []

    def hammer(seed: int) -> None:
        folder, random = Folder(tmp_path), Random(seed)
        try:
            for _ in range(150):
                name = random.choice(names)
                match random.randrange(6):
                    case 0 | 1:
                        draft = folder.begin(ACCOUNT, name)
                        draft.write(bodies[name])
                        draft.keep()
                        draft.drop()
                    case 2:
                        folder.remove(ACCOUNT, [name])
                    case 3:
                        folder.sweep(random.choice([0, 300_000]))
                    case _:
                        start = random.randrange(3 * FRAME)
                        found = folder.read(ACCOUNT, name, start, start + 5000)
                        if found not in (None, bodies[name][start : start + 5000]):
                            wrong.append((name, start))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- a disk that does not play along


async def test_a_full_disk_keeps_nobody_from_reading_or_writing(
    far: Far, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mock_clock: MockClock
) -> None:
    caplog.set_level(logging.DEBUG)
    store, tries = await far.open(), 0

    def full(draft: Draft, data: bytes) -> None:
        nonlocal tries
        tries += 1
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "_frame", full)
        for n in range(5):
            await store.put(f"body/{n}", b"x" * 10)
            await store.put(f"large/{n}", pieces(pattern(300_000)))
            assert await store.get(f"body/{n}") == b"x" * 10
            assert await store.get(f"large/{n}") == pattern(300_000)
    assert tries == 1  # it is not tried again and again
    assert far.files() == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text and "body/" not in caplog.text and ACCOUNT not in caplog.text
    mock_clock.jump(REST_SECONDS)
    await store.get("body/1")
    far.faults.reachable = False
    assert await store.get("body/1") == b"x" * 10


async def test_a_disk_that_gets_full_while_a_stream_passes(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    store, real = await far.open(), Draft._frame

    def full_soon(draft: Draft, data: bytes) -> None:
        if draft._frames == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(draft, data)

    monkeypatch.setattr(Draft, "_frame", full_soon)
    await store.put("body/1", pieces(pattern(300_000), 1000))
    assert far.files() == []
    assert await store.get("body/1") == pattern(300_000)


async def test_a_folder_that_cannot_be_used(far: Far, caplog: pytest.LogCaptureFixture) -> None:
    far.folder.parent.mkdir(exist_ok=True)
    far.folder.write_text("a file where the folder should be")
    store = await far.open()
    for n in range(3):
        await store.put(f"body/{n}", b"x")
        await store.put(f"large/{n}", pieces(b"y" * 300_000))
        assert await store.get(f"body/{n}") == b"x"
        await store.delete([f"body/{n}"])
    await store.append("log", [Row("a", b"")], objects=[("o", b"z")])
    assert await store.get_many(["o", Part("large/1", 5, 7), "gone"]) == [b"z", b"yy", None]
    await CachedStores(far.stores, Cache(far.folder, MIB)).erase(ACCOUNT)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_fault_of_ours_is_not_taken_for_one_of_the_disk(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise ValueError("a fault of the program")

    store = await far.open()
    monkeypatch.setattr(Folder, "read", broken)
    with pytest.raises(ValueError, match="of the program"):
        await store.get("body/1")
