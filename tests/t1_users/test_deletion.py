"""Tombstones: what they keep, what brings an account back, and what is left by a process that dies."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from aerogramme.errors import AlreadyExists, BadConfiguration, NoSuchUser, Refused, Unavailable
from aerogramme.store.faults import Crash
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row
from aerogramme.users import static
from aerogramme.users.deletion import Retention, delete, erase, purge, undelete
from aerogramme.users.directory import User
from aerogramme.users.static import StaticDirectory
from tests.helpers.file_steps import FileSteps

ALICE = User("alice@example.org", "a" * 32, ("al@example.org",), pins=("1" * 32,))
BOB = User("bob@example.org", "b" * 32)
NOW = 1764072000
MONTH = Retention(30 * 86400)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory = StaticDirectory(tmp_path / "users.toml")
    directory.add(ALICE)
    directory.add(BOB)
    return tmp_path / "users.toml"


def users(path: Path) -> list[User]:
    return list(StaticDirectory(path).users())


async def stores_with_mail() -> MemoryStores:
    stores = MemoryStores(serial=True)
    for user in (ALICE, BOB):
        store = await stores.open(user.account, create=True)
        await store.append("log", [Row("entry", b"sealed")])
        await store.aclose()
    return stores


def test_what_comes_back_is_what_was_deleted(path):
    directory = StaticDirectory(path)
    gone = delete(directory, "Alice@example.org", NOW)
    assert gone == replace(ALICE, deleted=NOW)
    assert users(path) == [gone, BOB]
    assert directory.by_login(ALICE.address) is None and directory.by_address("al@example.org") is None
    with pytest.raises(AlreadyExists):
        delete(directory, ALICE.address, NOW + 5)
    with pytest.raises(AlreadyExists):
        directory.add(User("al@example.org", "c" * 32))
    assert undelete(directory, ALICE.address) == ALICE
    assert users(path) == [ALICE, BOB]
    with pytest.raises(Refused, match="is not deleted"):
        undelete(directory, ALICE.address)
    for verb in (
        lambda: undelete(directory, "eve@example.org"),
        lambda: delete(directory, "eve@example.org", 1),
    ):
        with pytest.raises(NoSuchUser):
            verb()


async def test_a_purge_takes_those_whose_time_is_over_and_no_others(path):
    directory, stores = StaticDirectory(path), await stores_with_mail()
    delete(directory, ALICE.address, NOW)
    delete(directory, BOB.address, NOW + 1)
    erased: list[str] = []

    async def purge_at(when: float) -> None:
        await purge(directory, stores, int(when), MONTH, lambda user: erased.append(user.address))

    await purge_at(NOW + MONTH.seconds - 1)
    assert (erased, await stores.list()) == ([], [ALICE.account, BOB.account])
    await purge_at(NOW + MONTH.seconds)
    assert (erased, await stores.list()) == ([ALICE.address], [BOB.account])
    assert users(path) == [replace(BOB, deleted=NOW + 1)]
    directory.add(ALICE)
    undelete(directory, BOB.address)
    await purge_at(NOW + 2 * MONTH.seconds)
    assert erased == [ALICE.address] and users(path) == [BOB, ALICE]


async def test_an_erasure_that_has_begun_is_finished_by_the_next_purge(path):
    directory, stores = StaticDirectory(path), await stores_with_mail()
    away = Faulty(stores, Unavailable())
    with pytest.raises(Unavailable):
        await erase(directory, away, ALICE, NOW, due=lambda _: True)
    assert users(path)[0] == replace(ALICE, deleted=NOW, erasing=True)
    with pytest.raises(Refused, match="nothing brings it back"):
        undelete(directory, ALICE.address)
    await purge(directory, stores, NOW, MONTH)
    assert users(path) == [BOB] and await stores.list() == [BOB.account]


async def test_one_that_cannot_be_erased_does_not_keep_the_others(path):
    directory, stores = StaticDirectory(path), await stores_with_mail()
    for user in (ALICE, BOB):
        delete(directory, user.address, NOW)
    real = stores.erase

    class Stuck(MemoryStores):
        async def erase(self, account: str) -> None:
            if account == ALICE.account:
                raise Unavailable("stuck")
            await real(account)

    erased: list[User] = []
    with pytest.raises(Unavailable, match="stuck"):
        await purge(directory, Stuck(), NOW, Retention(0), erased.append)
    assert [user.address for user in erased] == [BOB.address]
    assert users(path) == [replace(ALICE, deleted=NOW, erasing=True)]
    await purge(directory, stores, NOW, MONTH)
    assert users(path) == [] and await stores.list() == []


async def test_who_is_undeleted_in_the_last_moment_stays(path):
    directory, stores = StaticDirectory(path), await stores_with_mail()
    delete(directory, ALICE.address, NOW)
    stale = StaticDirectory(path).users()
    undelete(directory, ALICE.address)
    late = Remembers(path, stale)
    erased: list[User] = []
    await purge(late, stores, NOW + 10**9, MONTH, erased.append)
    assert users(path) == [ALICE, BOB] and erased == []
    assert await stores.list() == [ALICE.account, BOB.account]


async def test_an_address_that_is_another_accounts_by_now_is_left_alone(path):
    directory, stores = StaticDirectory(path), await stores_with_mail()
    delete(directory, ALICE.address, NOW)
    stale = StaticDirectory(path).users()
    directory.remove(ALICE)
    new = replace(ALICE, account="c" * 32)
    directory.add(new)
    await purge(Remembers(path, stale), stores, NOW + 10**9, MONTH)
    assert users(path) == [BOB, new] and await stores.list() == [ALICE.account, BOB.account]


async def test_two_purges_at_once(path):
    stores = await stores_with_mail()
    delete(StaticDirectory(path), ALICE.address, NOW)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(purge, StaticDirectory(path), stores, NOW + 10**9, MONTH)
    assert users(path) == [BOB] and await stores.list() == [BOB.account]


async def test_others_are_served_while_the_file_is_written(path, monkeypatch):
    directory, stores = StaticDirectory(path), await stores_with_mail()
    written, looked = threading.Event(), trio.Event()
    replace_file = static._replace

    def slowly(target: Path, data: bytes) -> None:
        trio.from_thread.run_sync(looked.set)
        assert written.wait(60), "nothing else was done meanwhile"
        written.clear()
        replace_file(target, data)

    async def serve() -> None:
        nonlocal looked
        for _ in range(2):
            await looked.wait()
            looked = trio.Event()
            assert directory.by_address(BOB.address) is not None
            written.set()

    monkeypatch.setattr(static, "_replace", slowly)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await erase(directory, stores, ALICE, NOW, due=lambda _: True)
    assert users(path) == [BOB]


async def test_a_crash_at_any_step_leaves_what_the_next_run_finishes(path, monkeypatch):
    """Each step is one of the users file or of the store. Whatever stands afterwards, the account is there
    whole and can come back, or is marked as being erased, or is gone with its line; and then all is gone."""
    text = path.read_text()
    steps = FileSteps(static, monkeypatch)
    outcomes = set()
    for n in range(1, 100):
        steps.begin(0)
        path.write_text(text)
        stores = await stores_with_mail()
        delete(StaticDirectory(path), ALICE.address, NOW)
        dying = StaticDirectory(path)
        steps.begin(n)
        try:
            await purge(dying, Faulty(stores, Crash(), steps), NOW + 10**9, MONTH)
        except Crash:
            done = False
        else:
            done = True
        steps.begin(0)
        left = StaticDirectory(path).owner(ALICE.address)
        stored = ALICE.account in await stores.list()
        outcomes.add((left is not None, left is not None and left.erasing, stored))
        if left is None:
            assert not stored
        elif not left.erasing:
            assert stored and undelete(StaticDirectory(path), ALICE.address) == ALICE
            delete(StaticDirectory(path), ALICE.address, NOW)
        await purge(StaticDirectory(path), stores, NOW + 10**9, MONTH)
        assert users(path) == [BOB] and await stores.list() == [BOB.account]
        if done:
            break
    assert done and n > 10
    assert outcomes == {
        (True, False, True),  # nothing has happened
        (True, True, True),  # marked
        (True, True, False),  # the store is erased
        (False, False, False),  # all is done, but the folder is not told
    }


@pytest.mark.parametrize(
    "verb", [lambda d: delete(d, ALICE.address, NOW), lambda d: undelete(d, BOB.address)]
)
def test_a_crash_at_any_step_of_a_tombstone_leaves_it_or_not(path, monkeypatch, verb: Callable[..., User]):
    delete(StaticDirectory(path), BOB.address, NOW)
    text = path.read_text()
    steps = FileSteps(static, monkeypatch)
    verb(StaticDirectory(path))
    after = path.read_text()
    assert after != text and steps.calls > 4
    for n in range(1, steps.calls + 1):
        steps.begin(0)
        path.write_text(text)
        directory = StaticDirectory(path)
        steps.begin(n)
        with pytest.raises(Crash):
            verb(directory)
        steps.begin(0)
        assert path.read_text() in (text, after)
        if path.read_text() == text:
            verb(StaticDirectory(path))
        assert path.read_text() == after


def test_a_file_that_cannot_be_written_is_told(path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(static.os, "fsync", full)
    text = path.read_text()
    with pytest.raises(BadConfiguration, match=r"cannot write .*users\.toml: No space left on device"):
        delete(StaticDirectory(path), ALICE.address, NOW)
    assert path.read_text() == text


class Remembers(StaticDirectory):
    """Says first what the file said before: the look of a process that has decided, and not acted yet."""

    def __init__(self, path: Path, stale) -> None:
        super().__init__(path)
        self._stale = stale

    def users(self):
        return self._stale


class Faulty:
    """Stores that fail, before or after they have erased an account."""

    def __init__(self, stores: MemoryStores, error: BaseException, steps: FileSteps | None = None) -> None:
        self._stores, self._error, self._steps = stores, error, steps

    async def erase(self, account: str) -> None:
        if self._steps is None:
            raise self._error
        self._steps.step()
        await self._stores.erase(account)
        self._steps.step()
