"""Accounts on a store in memory; every account that a test has used is audited when the test is over."""

from collections.abc import AsyncIterator, Iterator

import pytest

from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.contents import NewMessage
from aerogramme.mailbox.incoming.letterboxes import key_to_seal_to
from aerogramme.mailbox.keys import keys
from aerogramme.seal import Argon2Params, IncomingPublic, Secret, scram, slots
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Store

CHEAP = Argon2Params(memory=8, passes=1, lanes=1)  # a password that takes no time; never outside of tests
PASSWORD = Secret("correct horse")


@pytest.fixture(autouse=True, scope="module")  # of a package it would last to the end: these are none
def cheap_passwords() -> Iterator[None]:
    """Where nothing else is said, too: a password that is refused costs as much as one by the defaults, and
    each is tried on all app passwords."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "Argon2Params", lambda: CHEAP)
        patch.setattr(scram, "ITERATIONS", 1)
        yield


class World:
    """Accounts, and the stores they are in. `expected`: what the audit shall find, by default nothing."""

    def __init__(self) -> None:
        self.stores = MemoryStores(serial=True)
        self.unlocked: dict[str, keys.Unlocked] = {}
        self.opened: list[Account] = []
        self.expected: list[str] = []

    async def create(self, account_id: str = "00" * 16) -> str:
        await Account.create(self.stores, account_id, PASSWORD, params=CHEAP)
        store = await self.stores.open(account_id)
        self.unlocked[account_id] = await keys.unlock(store, account_id, PASSWORD)
        return account_id

    async def open(self, account_id: str = "00" * 16, stores: MemoryStores | None = None) -> Account:
        """Opens the account once more, as another process would; makes it first, if it is not there."""
        if account_id not in self.unlocked:
            await self.create(account_id)
        store = await (stores or self.stores).open(account_id)
        account = await Account.open(store, account_id, self.unlocked[account_id])
        self.opened.append(account)
        return account

    async def audit(self) -> list[str]:
        problems = []
        for account_id, unlocked in self.unlocked.items():
            fresh = await Account.open(await self.stores.open(account_id), account_id, unlocked)
            problems += await audit(fresh)
            await fresh.aclose()
        return problems


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    found = await world.audit()
    for account in world.opened:
        await account.aclose()
    assert found == world.expected


@pytest.fixture
async def account(world: World) -> Account:
    """One account with its first mailboxes."""
    return await world.open()


async def put(account: Account, mailbox: str, *letters: bytes, flags=(), date=None):
    """Appends letters in one entry."""
    messages = []
    for letter in letters:
        upload = account.upload()
        await upload.write(letter)
        messages.append(NewMessage(upload, flags, date))
    return await account.append(mailbox, messages)


async def public_key(store: Store, account_id: str) -> IncomingPublic:
    """What letters are sealed to."""
    return key_to_seal_to(await keys.StoredKeys.read(store), account_id, ())
