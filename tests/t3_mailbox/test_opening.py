"""What it costs to open an account where each call to the store is a request: how many calls and waits."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from aerogramme.log.checkpoint import INLINE_ROWS
from aerogramme.mailbox.accounts import Accounts
from aerogramme.store.memory import MemoryStore, MemoryStores
from tests.t3_mailbox.conftest import PASSWORD, World, put

ID = "00" * 16


class Calls:
    """Every call to the store takes a second: so the seconds are the calls that wait for one another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.began = trio.current_time()
        for name in ("put", "get", "get_many", "delete", "append", "read", "confirm", "delete_rows", "list"):
            monkeypatch.setattr(MemoryStore, name, self._slowed(name, getattr(MemoryStore, name)))

    def _slowed(self, name: str, real: Any) -> Any:
        async def call(store: MemoryStore, *args: Any, **options: Any) -> Any:
            self.made.append(f"{name} {args[0]}" if name in ("read", "confirm", "append") else name)
            await trio.sleep(1)
            return await real(store, *args, **options)

        return call

    def take(self) -> tuple[list[str], float]:
        """What was called since the last time, and how long it took."""
        made, seconds = sorted(self.made), trio.current_time() - self.began
        self.made.clear()
        self.began = trio.current_time()
        return made, seconds


@pytest.fixture
async def far() -> AsyncIterator[World]:
    world = World()
    world.stores = MemoryStores(object_costs_request=True)
    yield world
    assert await world.audit() == []


KEYS, CHECKPOINT, TAIL = ["read keys"], ["get_many", "list"], ["read log"]


@pytest.mark.parametrize(
    ("mails", "later", "calls", "seconds"),
    [
        (0, 0, [*KEYS, *CHECKPOINT, *TAIL], 3),
        # The newest entry: nobody is known to have seen it.
        (3, 1, [*KEYS, *CHECKPOINT, *TAIL, "confirm log"], 4),
        # A large mailbox is not in the manifest itself.
        (INLINE_ROWS + 1, 100, [*KEYS, *CHECKPOINT, "get_many", *TAIL, "confirm log"], 5),
    ],
)
async def test_a_login_to_an_account_that_nobody_has_open(
    far: World,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    mails: int,
    later: int,
    calls: list[str],
    seconds: int,
) -> None:
    writer = await far.open()
    if mails:
        await put(writer, "INBOX", *[b"x"] * mails)
    await writer.fold(force=True)
    for _ in range(later):
        await put(writer, "INBOX", b"x")
    pool = Accounts(far.stores)
    await nursery.start(pool.run)
    store = Calls(monkeypatch)
    login = await pool.login(ID, PASSWORD, None)
    assert store.take() == (sorted(calls), seconds)
    await trio.sleep(5)
    assert store.take()[0] == ["read incoming"], "the drain looks once, and nobody reads anything twice"
    view = await login.account.open_mailbox("INBOX")
    assert len(view) == mails + later
    assert store.take() == (["read incoming", "read log"], 1)
    nursery.cancel_scope.cancel()


async def test_what_others_write_is_read_once_and_told_after_a_look(
    far: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    one, other = await far.open(), await far.open()
    await one.refresh()
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await wait_all_tasks_blocked()
        store = Calls(monkeypatch)
        version = one.version
        nursery.start_soon(put, other, "INBOX", b"x")
        await one.wait_changed(version)
        assert len(one.find("INBOX")) == 1
        made, _ = store.take()
        assert made.count("append log") == 1 and made.count("confirm log") == 1
        assert made.count("read log") == 1 + 2, "the look of who appends, and two of who hears of it"
        nursery.cancel_scope.cancel()
