"""Records of the log are found under whatever name they were sealed again, with no more calls than needed."""

import pytest

from aerogramme.errors import Damaged, UnknownGeneration
from aerogramme.log.records import Missing, Records
from aerogramme.log.suffix import sealed_for
from aerogramme.seal import Keyring
from aerogramme.store.memory import MemoryStores
from tests.helpers.counting import CountingStores

ACCOUNT = bytes(range(16))
NAMES = ["piece/a", "piece/b", "piece/c"]


class Keys:
    """Those of a reader, and those that another has made since."""

    def __init__(self):
        self.held = Keyring.create(ACCOUNT)
        self.newest = self.held
        self.renewals = 0

    def rotate(self):
        self.newest = self.newest.rotate()

    async def renew(self, _age):
        self.renewals += 1
        return self.held.adopt(self.newest)


@pytest.fixture
def keys():
    return Keys()


@pytest.fixture
async def stores(keys):
    stores = CountingStores(MemoryStores())
    store = await stores.open(ACCOUNT.hex(), create=True)
    for name in NAMES:
        await store.put(name, keys.held.seal("piece", name, name.encode()))
    stores.calls.clear()
    return stores


async def seal_again(stores, keys, *names):
    store = await stores.open(ACCOUNT.hex())
    for name in names:
        [there] = await store.list(name)
        again = sealed_for(name, keys.newest.current)
        plain = keys.newest.open("piece", there, await store.get(there))
        await store.put(again, keys.newest.seal("piece", again, plain))
        await store.delete([there])
    stores.calls.clear()


async def read(stores, keys):
    return await Records(await stores.open(ACCOUNT.hex()), keys.held, keys.renew).read("piece", NAMES)


PLAIN = [name.encode() for name in NAMES]


async def test_what_lies_where_it_was_takes_one_trip(stores, keys):
    keys.rotate()
    keys.held.adopt(keys.newest)
    assert await read(stores, keys) == PLAIN
    assert (stores.calls, keys.renewals) == (["get_many"], 0)


async def test_what_was_sealed_again_takes_another(stores, keys):
    keys.rotate()
    keys.held.adopt(keys.newest)
    await seal_again(stores, keys, *NAMES[1:])
    assert await read(stores, keys) == PLAIN
    assert (stores.calls, keys.renewals) == (["get_many", "get_many"], 0)


async def test_what_was_sealed_again_with_keys_not_heard_of_yet_is_found_with_them(stores, keys):
    keys.rotate()
    await seal_again(stores, keys, NAMES[0])
    keys.rotate()  # and once more, while the reader slept
    await seal_again(stores, keys, *NAMES[:2])
    assert await read(stores, keys) == PLAIN
    assert (stores.calls, keys.renewals) == (["get_many"] * 3, 1)


async def test_a_record_that_names_keys_not_heard_of_yet_is_opened_with_them(stores, keys):
    keys.rotate()
    sealed = keys.newest.seal("piece", "piece/d", b"d")
    records = Records(await stores.open(ACCOUNT.hex()), keys.held, keys.renew)
    assert await records.open("piece", "piece/d", sealed) == b"d"
    keys.rotate()
    stranger = Keyring.create(ACCOUNT).rotate()
    with pytest.raises(UnknownGeneration):
        await records.open("piece", "piece/d", stranger.seal("piece", "piece/d", b"d"))


async def test_what_is_lost_or_damaged_harms_no_other(stores, keys):
    store = await stores.open(ACCOUNT.hex())
    sealed = await store.get(NAMES[1])
    await store.delete(NAMES[:2])
    await store.put(NAMES[1], sealed[:-1] + bytes([sealed[-1] ^ 1]))
    missing, damaged, good = await read(stores, keys)
    assert isinstance(missing, Missing) and good == PLAIN[2]
    assert isinstance(damaged, Damaged) and not isinstance(damaged, Missing | UnknownGeneration)
