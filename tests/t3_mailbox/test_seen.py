"""A store that goes back in time is found by every machine that has seen it later, until told to trust."""

import copy
import json
from pathlib import Path

import pytest
import trio.testing

from aerogramme.errors import AuthenticationFailed, RolledBack
from aerogramme.mailbox.accounts import Accounts
from aerogramme.mailbox.keys import passwords
from aerogramme.mailbox.keys.seen import Seen
from aerogramme.seal import Secret
from aerogramme.store.memory import MemoryStores
from tests.t3_mailbox.conftest import CHEAP, PASSWORD, World, put

ID = "00" * 16
NEW = Secret("a newer one")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "seen"


class Machine:
    """A server with a memory of its own."""

    def __init__(self, stores: MemoryStores, folder: Path | None, nursery) -> None:
        self.stores, self.seen, self.nursery = stores, Seen(folder), nursery

    async def start(self) -> "Machine":
        self.pool = Accounts(self.stores, linger=0, seen=self.seen)
        await self.nursery.start(self.pool.run)
        return self

    async def visit(self, secret: Secret, *letters: bytes) -> int:
        """Logs in, leaves some messages in INBOX, and goes. Returns how many there are."""
        login = await self.pool.login(ID, secret, None)
        if letters:
            await put(login.account, "INBOX", *letters)
        count = len(login.account.find("INBOX"))
        await self.seen.note(login.account)
        login.release()
        while self.pool.opened():
            await trio.testing.wait_all_tasks_blocked(0.01)
        return count


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_older_keys_are_refused_with_any_password(world: World, folder: Path, nursery) -> None:
    await world.create()
    machine = await Machine(world.stores, folder, nursery).start()
    await machine.visit(PASSWORD)
    before = copy.deepcopy(world.stores._accounts)
    store = await world.stores.open(ID)
    await passwords.change_password(store, ID, PASSWORD, NEW, CHEAP)
    await machine.visit(NEW)

    after = world.stores._accounts
    world.stores._accounts = copy.deepcopy(before)
    for secret in (PASSWORD, NEW):
        with pytest.raises(RolledBack) as refused:
            await machine.visit(secret)
        assert "account trust" in refused.value.hint and refused.value.imap_code == "CONTACTADMIN"
    stranger = await Machine(world.stores, None, nursery).start()
    assert await stranger.visit(PASSWORD) == 0, "who has seen nothing cannot know"

    world.stores._accounts = after
    assert await machine.visit(NEW) == 0, "nothing has changed for who comes back to the newer one"
    with pytest.raises(AuthenticationFailed):
        await machine.visit(PASSWORD)

    world.stores._accounts = before
    assert machine.seen.forget(ID) and not machine.seen.forget(ID)
    assert await machine.visit(PASSWORD) == 0


@pytest.mark.parametrize("fold", [False, True])
async def test_entries_that_are_gone(world: World, folder: Path, nursery, fold: bool) -> None:
    await world.create()
    machine = await Machine(world.stores, folder, nursery).start()
    assert await machine.visit(PASSWORD, b"Subject: one\r\n\r\n") == 1
    before = copy.deepcopy(world.stores._accounts)
    assert await machine.visit(PASSWORD, b"Subject: two\r\n\r\n") == 2
    if fold:
        account = await world.open()
        await account.fold(force=True)
    world.stores._accounts, after = before, world.stores._accounts
    with pytest.raises(RolledBack):
        await machine.visit(PASSWORD)
    assert not machine.pool.opened()
    world.stores._accounts = after
    assert await machine.visit(PASSWORD) == 2


async def test_one_last_entry_that_is_gone(world: World, folder: Path, nursery) -> None:
    """Which nobody can miss who has not seen it: see tests/t3_mailbox/test_tampering.py."""
    await world.create()
    machine = await Machine(world.stores, folder, nursery).start()
    await machine.visit(PASSWORD, b"Subject: one\r\n\r\n")
    rows = world.stores._accounts[ID].partitions["log"].rows
    del rows[max(rows)]
    with pytest.raises(RolledBack):
        await machine.visit(PASSWORD)


async def test_the_file(world: World, folder: Path, nursery, caplog) -> None:
    await world.create()
    machine = await Machine(world.stores, folder, nursery).start()
    await machine.visit(PASSWORD, b"Subject: one\r\n\r\n")
    [file] = files(folder)
    assert (file.name, mode(file), mode(folder)) == (ID, 0o600, 0o700)
    known = json.loads(file.read_text())
    assert known.keys() == {"version", "keyring", "generation", "entries"} and known["entries"]

    for damage in ("", "{}", "[]", file.read_text().replace("-", "?"), "\udcff"):
        file.write_bytes(damage.encode(errors="surrogateescape"))
        caplog.clear()
        assert await machine.visit(PASSWORD, b"Subject: another\r\n\r\n")
        assert "cannot be read" in caplog.text, damage
        assert json.loads(file.read_text()).keys() == known.keys(), "it is written anew"


async def test_two_processes_note_what_each_has_seen(world: World, folder: Path, nursery) -> None:
    await world.create()
    one = await Machine(world.stores, folder, nursery).start()
    two = await Machine(world.stores, folder, nursery).start()
    await one.visit(PASSWORD, b"Subject: one\r\n\r\n")
    await two.visit(PASSWORD, b"Subject: two\r\n\r\n")
    [file] = files(folder)
    first = json.loads(file.read_text())
    store = await world.stores.open(ID)
    await passwords.change_password(store, ID, PASSWORD, NEW, CHEAP)
    await two.visit(NEW, b"Subject: three\r\n\r\n")
    await one.visit(NEW)
    last = json.loads(file.read_text())
    assert last["keyring"] > first["keyring"] and set(first["entries"]) < set(last["entries"])
