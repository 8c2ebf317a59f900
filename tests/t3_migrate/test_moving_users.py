"""Users get accounts: which, with which names, what happens when it is done again, and when it dies."""

from dataclasses import replace
from pathlib import Path

import pytest

from aerogramme.errors import AlreadyExists, AuthenticationFailed, BadConfiguration, Unavailable
from aerogramme.mailbox.keys import invitations, keys
from aerogramme.migrate.users import moving
from aerogramme.migrate.users.aliases import Names
from aerogramme.migrate.users.key import ImportKey
from aerogramme.migrate.users.lists import Entry, read_list
from aerogramme.migrate.users.moving import Movers, Outcome
from aerogramme.seal import Secret
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStores
from aerogramme.users import StaticDirectory, User
from tests.t3_mailbox.conftest import CHEAP

KEY = ImportKey(bytes(range(32)))


class Here:
    """A server to which users are moved."""

    def __init__(self, path: Path) -> None:
        self.stores = MemoryStores(serial=True)
        self.directory = StaticDirectory(path)
        self.failed: list[Exception] = []

    async def move(
        self, *lines: str, names: dict[str, Names] | None = None, key: ImportKey = KEY
    ) -> list[Outcome]:
        """`address:password`, as a passwd-file has it."""
        told: list[Outcome] = []
        movers = Movers(self.directory, self.stores, key, told.append, CHEAP)
        await movers.move(read_list("\n".join(lines)).entries, names or {})
        self.failed = list(movers.failed)
        return told

    async def enter(self, address: str, password: str) -> bool:
        user = self.directory.by_login(address)
        assert user is not None
        stored = await keys.StoredKeys.read(await self.stores.open(user.account))
        try:
            unlocked = await invitations.unlock(user.account, Secret(password), stored, params=CHEAP)
        except AuthenticationFailed:
            return False
        return unlocked.keyring.account.hex() == user.account


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path / "users.toml")


def done(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.address: outcome.done for outcome in outcomes}


async def test_users_are_made_and_log_in_with_what_they_have(here: Here) -> None:
    told = await here.move("alice@a.org:{PLAIN}pass", "bob@a.org", "carol@a.org:{OTP}x")
    assert done(told) == {"alice@a.org": "made", "bob@a.org": "made", "carol@a.org": "made"}
    assert [user.address for user in here.directory.users()] == ["alice@a.org", "bob@a.org", "carol@a.org"]
    alice, bob, carol = told
    assert (alice.code, alice.why, alice.weak) == (None, "", "plain")
    assert bob.code is not None and carol.code is not None and "OTP" in carol.why
    assert bob.code.reveal() not in repr(told)
    assert not await here.enter("alice@a.org", "wrong") and await here.enter("alice@a.org", "pass")
    assert not await here.enter("bob@a.org", "pass")
    assert here.failed == []


async def test_again_it_adds_and_renews_and_takes_nothing_away(here: Here) -> None:
    await here.move("alice@a.org:{PLAIN}old", "bob@a.org:{PLAIN}bob", "carol@a.org:{PLAIN}carol")
    assert await here.enter("bob@a.org", "bob")
    before = here.directory.users()
    told = await here.move(
        "alice@a.org:{PLAIN}new", "bob@a.org:{PLAIN}new", "carol@a.org:{PLAIN}carol", "dave@a.org"
    )
    assert done(told) == {
        "alice@a.org": "renewed",
        "bob@a.org": "there",
        "carol@a.org": "waiting",
        "dave@a.org": "made",
    }
    assert here.directory.users()[:3] == before
    assert not await here.enter("alice@a.org", "old") and await here.enter("alice@a.org", "new")
    assert await here.enter("bob@a.org", "bob") and not await here.enter("bob@a.org", "new")
    told = await here.move("carol@a.org", "dave@a.org:{PLAIN}dave", "bob@a.org")
    assert done(told) == {"carol@a.org": "waiting", "dave@a.org": "renewed", "bob@a.org": "there"}
    assert await here.enter("carol@a.org", "carol") and await here.enter("dave@a.org", "dave")


async def test_without_the_key_nothing_is_renewed(here: Here) -> None:
    await here.move("alice@a.org:{PLAIN}old")
    told = await here.move("alice@a.org:{PLAIN}new", "bob@a.org:{PLAIN}bob", key=ImportKey(bytes(32)))
    assert done(told) == {"alice@a.org": "failed", "bob@a.org": "made"} and "another key" in told[0].why
    assert [type(error) for error in here.failed] == [AuthenticationFailed]
    assert await here.enter("alice@a.org", "old")


async def test_names(here: Here) -> None:
    names = {
        "alice@a.org": Names(["al@a.org", "bob@a.org", "x@a.org"], ["b.org"]),
        "bob@a.org": Names(["x@a.org", "b@a.org"], ["B.org", "c.org"]),
    }
    alice, bob = await here.move("alice@a.org:{PLAIN}a", "bob@a.org:{PLAIN}b", names=names)
    assert (alice.added, alice.left) == (("al@a.org", "x@a.org", "@b.org"), ("bob@a.org",))
    assert (bob.added, bob.left) == (("b@a.org", "@c.org"), ("x@a.org", "@B.org"))
    users = here.directory.users()
    assert [(user.aliases, user.catch_all) for user in users] == [
        (("al@a.org", "x@a.org"), ("b.org",)),
        (("b@a.org",), ("c.org",)),
    ]
    again = await here.move("alice@a.org:{PLAIN}a", "bob@a.org:{PLAIN}b", names=names)
    assert here.directory.users() == users and all(not each.added for each in again)
    more = {"alice@a.org": Names(["new@a.org"], ["c.org"]), "bob@a.org": Names(["bobby@a.org"])}
    alice, bob = await here.move("alice@a.org:{PLAIN}a", "bob@a.org:{PLAIN}b", names=more)
    assert (alice.added, alice.left, bob.added) == (("new@a.org",), ("@c.org",), ("bobby@a.org",))
    assert here.directory.users()[0].aliases == ("al@a.org", "x@a.org", "new@a.org")


async def test_an_address_that_is_somebody_elses_is_refused(here: Here) -> None:
    here.directory.add(User("old@a.org", "1" * 32, ("alice@a.org",)), User("gone@a.org", "2" * 32, deleted=1))
    told = await here.move("alice@a.org:{PLAIN}a", "gone@a.org:{PLAIN}g", "bob@a.org:{PLAIN}b")
    assert done(told) == {"alice@a.org": "failed", "gone@a.org": "failed", "bob@a.org": "made"}
    assert "alias of old@a.org" in told[0].why and "deleted" in told[1].why


async def test_users_of_end_to_end_are_left_alone(here: Here) -> None:
    here.directory.add(User("alice@a.org", "1" * 32, end_to_end=True))
    assert done(await here.move("alice@a.org:{PLAIN}a")) == {"alice@a.org": "there"}


async def test_one_that_fails_does_not_keep_the_others(here: Here, monkeypatch) -> None:
    real = here.stores.open

    async def open_(account: str, *, create: bool = False):
        if create and not here.failed:
            here.failed.append(Unavailable())
            raise Unavailable("away")
        return await real(account, create=create)

    monkeypatch.setattr(here.stores, "open", open_)
    told = await here.move("alice@a.org:{PLAIN}a", "bob@a.org:{PLAIN}b")
    assert sorted(done(told).values()) == ["failed", "made"] and len(here.directory.users()) == 1


async def test_somebody_else_writes_the_users_file_meanwhile(here: Here, monkeypatch, tmp_path) -> None:
    add = StaticDirectory.add
    first = True

    def other(self: StaticDirectory, *users: User) -> None:
        nonlocal first
        if first:
            first = False
            add(StaticDirectory(tmp_path / "users.toml"), User("alice@a.org", "1" * 32))
        add(self, *users)

    monkeypatch.setattr(StaticDirectory, "add", other)
    told = await here.move("alice@a.org:{PLAIN}a", "bob@a.org:{PLAIN}b")
    assert done(told) == {"alice@a.org": "failed", "bob@a.org": "made"}
    assert [type(error) for error in here.failed] == [AlreadyExists]


async def test_a_crash_at_any_call_and_it_is_done_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(moving, "AT_ONCE", 1)
    monkeypatch.setattr(moving, "BATCH", 2)
    lines = [f"{name}@a.org:{{PLAIN}}{name}" for name in ("alice", "bob", "carol")]
    for call in range(1, 200):
        here = Here(tmp_path / f"{call}.toml")
        whole, here.stores = here.stores, here.stores.another(CrashAt(call))  # type: ignore[assignment]
        try:
            await here.move(*lines)
            finished = True
        except BaseExceptionGroup as died:
            assert died.split(Crash)[1] is None
            finished = False
        here.stores = whole
        told = await here.move(*lines)
        assert [outcome.done for outcome in told].count("failed") == 0, call
        for name in ("alice", "bob", "carol"):
            assert await here.enter(f"{name}@a.org", name), (call, name)
        if finished:
            assert set(done(told).values()) == {"waiting"}
            return
    raise AssertionError("it never came to an end")


async def test_a_renewal_that_dies_is_done_again(tmp_path: Path) -> None:
    for call in range(1, 60):
        here = Here(tmp_path / f"{call}.toml")
        await here.move("alice@a.org:{PLAIN}old")
        whole, here.stores = here.stores, here.stores.another(CrashAt(call))  # type: ignore[assignment]
        try:
            await here.move("alice@a.org:{PLAIN}new")
            finished = True
        except BaseExceptionGroup as died:
            assert died.split(Crash)[1] is None
            finished = False
        here.stores = whole
        await here.move("alice@a.org:{PLAIN}new")
        assert await here.enter("alice@a.org", "new") and not await here.enter("alice@a.org", "old")
        if finished:
            return
    raise AssertionError("it never came to an end")


def test_the_key_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "first-login.key"
    key = ImportKey.load(path)
    assert (path.stat().st_mode & 0o777, path.stat().st_size) == (0o600, 32)
    account, other = "1" * 32, "2" * 32
    assert key.of(account) == ImportKey.load(path).of(account) != key.of(other)
    path.chmod(0o640)
    with pytest.raises(BadConfiguration, match="read by others"):
        ImportKey.load(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(BadConfiguration, match="is no key"):
        ImportKey.load(path)
    with pytest.raises(BadConfiguration, match="cannot read"):
        ImportKey.load(tmp_path)


def test_an_entry_shows_no_hash() -> None:
    [entry] = read_list("alice@a.org:{PLAIN}hunter2").entries
    assert entry == replace(entry) and isinstance(entry, Entry) and "hunter2" not in repr(entry)
