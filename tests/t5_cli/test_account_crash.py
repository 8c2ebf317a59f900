"""Accounts exported by a process that dies at any step of it: what is left, and that the same command
finishes."""

from dataclasses import replace
from pathlib import Path

import pytest

from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row
from aerogramme.users import static
from aerogramme.users.directory import User
from aerogramme.users.static import StaticDirectory
from aerogramme_cli.account_export import export_account
from tests.helpers.file_steps import FileSteps

ALICE = User("alice@example.org", "a" * 32, ("al@example.org",), deleted=1764072000)
HERE = replace(ALICE, deleted=None)


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
