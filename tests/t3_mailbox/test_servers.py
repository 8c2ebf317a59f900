"""Several servers on one account: what goes wrong when neither has seen what the other does."""

from types import SimpleNamespace

import pytest

from aerogramme.mailbox import account as account_module
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit import audit
from aerogramme.store.memory import MemoryStores
from tests.t3_mailbox.conftest import World

ID = "00" * 16


@pytest.fixture
async def servers() -> tuple[Account, Account]:
    """One account, opened by two processes, on a store that does not serialize."""
    world = World()
    world.stores = MemoryStores()
    return await world.open(), await world.open()


async def test_mailboxes_made_in_one_second_do_not_share_a_uidvalidity(servers, monkeypatch) -> None:
    monkeypatch.setattr(account_module, "time", SimpleNamespace(time=lambda: 4_000_000_000.0))
    one, other = servers
    await one.create_mailbox("Work")
    told = one.find("Work").uidvalidity
    await other.create_mailbox("Work")
    assert other.find("Work").uidvalidity != told, "who makes one looks whether others do"
    for server in servers:
        await server.refresh()
    for server in servers:
        await server.refresh()
        now = [server.find(name).uidvalidity for name in ("Work", "Work (2)")]
        assert len({told, *now}) == 3, "a client may know either by what was told first"
        assert await audit(server) == []
    assert one.find("Work").uidvalidity == other.find("Work").uidvalidity
