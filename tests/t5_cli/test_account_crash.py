"""Accounts invited and exported by a process that dies at any step of it: what is left, and that the same
command finishes."""

from dataclasses import replace
from pathlib import Path

import pytest

from aerogramme.mailbox.keys import keys
from aerogramme.mailbox.keys.invitations import Acceptance, accept
from aerogramme.seal import Argon2Params, Code, Secret
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row
from aerogramme.users import static
from aerogramme.users.directory import User
from aerogramme.users.static import StaticDirectory
from aerogramme_cli.account import make_account
from aerogramme_cli.account_export import export_account
from tests.helpers.file_steps import FileSteps

ALICE = User("alice@example.org", "a" * 32, ("al@example.org",), deleted=1764072000)
HERE = replace(ALICE, deleted=None)
CODE = Code.generate("invitation")
CHEAP = Argon2Params(memory=8, passes=1, lanes=1)


async def source() -> MemoryStores:
    stores = MemoryStores(serial=False)
    store = await stores.open(ALICE.account, create=True)
    await store.append("log", [Row("entry", b"sealed")], objects=[("body/1", b"a body")])
    await store.append("keys", [Row("keyring", b"sealed")])
    await store.aclose()
    return stores


async def whole(stores: MemoryStores) -> bool:
    store = await stores.open(ALICE.account)
    rows = [await store.read(partition) for partition in ("log", "keys")]
    return await store.get("body/1") == b"a body" and all(found for found, _ in rows)


@pytest.mark.parametrize("partly", [0, 1, 2])
async def test_an_export_that_dies_at_a_call_of_the_store(tmp_path: Path, partly: int) -> None:
    n, done = 0, False
    while not done:
        n += 1
        here, there = await source(), MemoryStores(serial=True)
        users = tmp_path / f"{n}.toml"
        dying = there.another(CrashAt(n, steps=partly))
        try:
            await export_account(here, dying, StaticDirectory(users), ALICE, lambda _: None)
            done = True
        except Crash:
            assert StaticDirectory(users).owner(ALICE.address) is None
        report = await export_account(here, there, StaticDirectory(users), ALICE, lambda _: None)
        assert report.whole and await whole(there)
        assert list(StaticDirectory(users).users()) == [HERE]
    assert n > 5


async def test_an_export_that_dies_at_a_step_of_the_users_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = FileSteps(static, monkeypatch)
    n, done = 0, False
    while not done:
        n += 1
        here, there = await source(), MemoryStores(serial=True)
        users = tmp_path / f"{n}.toml"
        steps.begin(n)
        try:
            await export_account(here, there, StaticDirectory(users), ALICE, lambda _: None)
            done = True
        except Crash:
            pass
        steps.begin(0)
        assert StaticDirectory(users).owner(ALICE.address) in (None, HERE) and await whole(there)
        await export_account(here, there, StaticDirectory(users), ALICE, lambda _: None)
        assert list(StaticDirectory(users).users()) == [HERE]
    assert n > 4


async def invite(stores: MemoryStores, directory: StaticDirectory, account: str) -> None:
    user = replace(HERE, account=account)
    await make_account(stores, directory, user, CODE.secret, invitation=True, params=CHEAP)


async def accepted(stores: MemoryStores, users: Path) -> bool:
    """Whether the account that the users file names takes the invitation."""
    user = StaticDirectory(users).by_login(ALICE.address)
    assert user is not None
    found = await keys.StoredKeys.read(await stores.open(user.account))
    unlocked = await accept(user.account, Acceptance(CODE.secret, Secret("new")), found, params=CHEAP)
    return unlocked.keyring.account.hex() == user.account


async def dead(account: str) -> None:
    """A dead process erases nothing."""
    raise Crash


@pytest.mark.parametrize("serial", [True, False], ids=["serial", "not serial"])
@pytest.mark.parametrize("partly", [0, 1, 2, 3])
async def test_an_invitation_that_dies_at_a_call_of_the_store(
    tmp_path: Path, serial: bool, partly: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, done = 0, False
    while not done:
        n += 1
        stores, users = MemoryStores(serial=serial), tmp_path / f"{n}.toml"
        dying = stores.another(CrashAt(n, steps=partly))
        monkeypatch.setattr(dying, "erase", dead)
        try:
            await invite(dying, StaticDirectory(users), "1" * 32)
            done = True
        except Crash:
            assert StaticDirectory(users).owner(ALICE.address) is None
            await invite(stores, StaticDirectory(users), "2" * 32)
        assert await accepted(stores, users)
    assert n > 4


async def test_an_invitation_that_dies_at_a_step_of_the_users_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = FileSteps(static, monkeypatch)
    n, done, named = 0, False, 0
    while not done:
        n += 1
        stores, users = MemoryStores(serial=True), tmp_path / f"{n}.toml"
        steps.begin(n)
        try:
            await invite(stores, StaticDirectory(users), "1" * 32)
            done = True
        except Crash:
            pass
        steps.begin(0)
        if StaticDirectory(users).owner(ALICE.address) is None:
            assert await stores.list() == [], "what failed without a crash leaves nothing"
            await invite(stores, StaticDirectory(users), "2" * 32)
        else:
            named += 1
        assert await accepted(stores, users)
    assert n > 4 and named == 3  # told to the folder; and not; and done
