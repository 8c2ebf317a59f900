"""Letters that programs read: one is one, many one after the other come together, and memory has a bound."""

from collections.abc import AsyncIterator

import pytest
import trio

from aerogramme.errors import Unavailable
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.contents import NewMessage
from aerogramme.mailbox.keys import keys
from aerogramme.store import MemoryStores
from aerogramme_fuse import bodies as module
from aerogramme_fuse.bodies import Bodies
from tests.t3_mailbox.conftest import CHEAP, PASSWORD

ACCOUNT = "00" * 16
SIZE = 2000


class Asked(MemoryStores):
    """A store that notes which objects it is asked for, and may be away."""

    def __init__(self) -> None:
        super().__init__(object_costs_request=True)
        self.trips: list[list[str]] = []
        self.away = False

    async def open(self, account: str, *, create: bool = False):
        store = await super().open(account, create=create)
        real = store.get_many

        async def get_many(wanted):
            if self.away:
                raise Unavailable("away")
            self.trips.append(list(wanted))
            await trio.lowlevel.checkpoint()
            return await real(wanted)

        store.get_many = get_many
        return store


@pytest.fixture
async def stores() -> Asked:
    return Asked()


@pytest.fixture
async def account(stores: Asked) -> AsyncIterator[Account]:
    await Account.create(stores, ACCOUNT, PASSWORD, params=CHEAP)
    store = await stores.open(ACCOUNT)
    account = await Account.open(store, ACCOUNT, await keys.unlock(store, ACCOUNT, PASSWORD))
    new = []
    for n in range(100):
        upload = account.upload()
        await upload.write(letter(n))
        new.append(NewMessage(upload))
    await account.append("INBOX", new)
    stores.trips.clear()
    yield account
    await account.aclose()


def letter(n: int) -> bytes:
    return f"Subject: {n}\r\n\r\n{'x' * SIZE}\r\n".encode()


async def read(bodies: Bodies, account: Account, row: int, *, close: bool = True) -> bytes:
    table = account.find("INBOX")
    content = table.contents[row]
    bodies.open(content)
    try:
        return await bodies.get(content, table, table.uids[row])
    finally:
        if close:
            bodies.close(content)


def asked(stores: Asked) -> int:
    return sum(map(len, stores.trips))


async def test_one_body_is_one(account: Account, stores: Asked) -> None:
    """The object of the letter that is read is asked for, and no other: once, however often it is read."""
    bodies = Bodies(account)
    table = account.find("INBOX")
    bodies.open(table.contents[50])
    for _ in range(3):
        got = await bodies.get(table.contents[50], table, table.uids[50])
        assert got == letter(50).replace(b"\r\n", b"\n")
    assert asked(stores) == 1
    bodies.close(table.contents[50])
    assert (len(bodies), bodies.octets) == (0, 0)


async def test_here_and_there_is_each_alone(account: Account, stores: Asked) -> None:
    bodies = Bodies(account)
    for row in (90, 3, 50, 20, 70, 10, 99):
        await read(bodies, account, row)
    assert [len(trip) for trip in stores.trips] == [1] * 7


async def test_one_after_the_other(account: Account, stores: Asked) -> None:
    """Few trips, nothing twice, and nothing held at the end."""
    bodies = Bodies(account)
    for row in range(100):
        assert await read(bodies, account, row) == letter(row).replace(b"\r\n", b"\n")
    assert asked(stores) == 100
    assert len(stores.trips) < 10
    assert (len(bodies), bodies.octets) == (0, 0)


async def test_the_budget(account: Account, monkeypatch) -> None:
    """Many open files hold no more than that; what was let go of is there when it is asked for again."""
    bodies = Bodies(account, budget=10 * SIZE)
    for _ in range(2):
        for row in range(0, 100, 20):
            await read(bodies, account, row, close=False)
        for row in range(100):
            assert await read(bodies, account, row, close=False) == letter(row).replace(b"\r\n", b"\n")
            assert bodies.octets <= 10 * SIZE


async def test_at_once(account: Account, stores: Asked) -> None:
    """The kernel asks for parts of one file at once: it is fetched once."""
    bodies = Bodies(account)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(lambda: read(bodies, account, 7, close=False))
    assert asked(stores) == 1


async def test_what_fails_is_tried_again(account: Account, stores: Asked) -> None:
    bodies = Bodies(account)
    stores.away = True
    with pytest.raises(Unavailable):
        await read(bodies, account, 7)
    stores.away = False
    assert await read(bodies, account, 7) == letter(7).replace(b"\r\n", b"\n")


async def test_large_letters_are_not_read_ahead(account: Account, stores: Asked, monkeypatch) -> None:
    monkeypatch.setattr(module, "AHEAD_OCTETS", SIZE)
    bodies = Bodies(account)
    for row in range(20):
        await read(bodies, account, row)
    assert [len(trip) for trip in stores.trips] == [1] * 20
