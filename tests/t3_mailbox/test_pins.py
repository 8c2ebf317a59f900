"""Which public key letters are sealed to: the newest (of those that are pinned), and no older one again."""

import logging
from collections.abc import AsyncIterator

import pytest
import trio

from aerogramme.errors import Damaged
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes, fingerprint
from aerogramme.mailbox.keys.keys import PARTITION, StoredKeys, publish
from aerogramme.mailbox.keys.passwords import add_generation
from aerogramme.seal import IncomingPublic, Keyring
from aerogramme.seal.incoming import sealed_generation
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row, Store
from tests.t3_mailbox.conftest import CHEAP, PASSWORD

ID = "00" * 16


class Post:
    """A server's letter boxes, and the account's keys as its owner, or somebody else, writes them."""

    def __init__(self, stores: MemoryStores, store: Store, nursery: trio.Nursery) -> None:
        self.store = store
        self.boxes = LetterBoxes(stores, nursery)

    async def seals_to(self, *pins: str) -> int:
        """The generation that the next letter is sealed to."""
        before, _ = await self.store.read("incoming")
        await (await self.boxes.open(ID, pins)).letter("a@example.org", "b@example.org").send()
        rows, _ = await self.store.read("incoming")
        (value,) = {row.key: row.value for row in rows if row not in before}.values()
        return sealed_generation(value)

    async def newest(self) -> IncomingPublic:
        public = (await StoredKeys.read(self.store)).public
        return IncomingPublic.from_bytes(public[max(public)])

    async def rotate(self) -> IncomingPublic:
        """A generation more, published; gives its public key."""
        stored = await StoredKeys.read(self.store)
        unlocked = await stored.unlock(ID, PASSWORD)
        keyring = await add_generation(self.store, ID, stored, unlocked.slot)
        await publish(self.store, keyring)
        return keyring.incoming_public()

    async def slip_in(self, generation: int) -> IncomingPublic:
        """A key of somebody who can write to the store, as of that generation."""
        public = IncomingPublic(
            bytes.fromhex(ID), generation, Keyring.create(bytes.fromhex(ID)).incoming_public().key
        )
        await self.put(public)
        return public

    async def put(self, public: IncomingPublic) -> None:
        await self.store.append(PARTITION, [Row(f"public-{public.generation:08x}", public.to_bytes())])

    async def take_away(self, public: IncomingPublic) -> None:
        await self.store.delete_rows(PARTITION, [f"public-{public.generation:08x}"])


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    stores = MemoryStores(serial=True)
    await Account.create(stores, ID, PASSWORD, params=CHEAP)
    async with trio.open_nursery() as nursery:
        post = Post(stores, await stores.open(ID), nursery)
        yield post
        await post.boxes.aclose()


async def test_without_pins_the_newest(post: Post) -> None:
    first = await post.newest()
    assert await post.seals_to() == first.generation
    second = await post.rotate()
    assert await post.seals_to() == second.generation > first.generation


async def test_with_pins_the_newest_of_those(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    first = await post.newest()
    second = await post.rotate()
    assert await post.seals_to(fingerprint(first), fingerprint(second)) == second.generation
    assert caplog.records == []
    assert await post.seals_to(fingerprint(first)) == first.generation
    (record,) = caplog.records  # and says so, once
    assert record.levelno == logging.WARNING and fingerprint(second) in record.getMessage()
    assert await post.seals_to(fingerprint(first)) == first.generation
    assert len(caplog.records) == 1
    assert await post.seals_to(fingerprint(second)) == second.generation  # the pin was changed meanwhile


async def test_a_key_that_was_slipped_in_is_not_used_where_there_is_a_pin(post: Post) -> None:
    own = await post.newest()
    theirs = await post.slip_in(own.generation + 1)
    assert await post.seals_to(fingerprint(own)) == own.generation
    assert await post.seals_to() == theirs.generation, "this is what pins are for"


async def test_none_that_is_pinned(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    own = await post.newest()
    await post.take_away(own)
    await post.slip_in(own.generation)
    for _ in range(2):
        with pytest.raises(Damaged, match="pinned") as raised:
            await post.boxes.open(ID, (fingerprint(own),))
        assert raised.value.lmtp_reply.startswith("451") and "account pin" in raised.value.hint
    assert all(record.levelno == logging.ERROR for record in caplog.records) and caplog.records
    await post.take_away(own)
    await post.put(own)  # it is there again: so is the mail
    assert await post.seals_to(fingerprint(own)) == own.generation


async def test_it_never_goes_back(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    second = await post.rotate()
    assert await post.seals_to() == second.generation
    await post.take_away(second)
    assert await post.seals_to() == second.generation
    theirs = await post.slip_in(second.generation)
    letter = (await post.boxes.open(ID)).letter("a@example.org", "b@example.org")
    assert letter._box.public.key.raw == second.key.raw != theirs.key.raw
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    third = await post.rotate()
    assert await post.seals_to() == third.generation


async def test_what_is_damaged_is_no_reason_to_take_an_older_one(post: Post) -> None:
    first = await post.newest()
    second = await post.rotate()
    await post.take_away(second)
    damaged = bytearray(second.to_bytes())
    damaged[-1] ^= 1
    await post.store.append(PARTITION, [Row(f"public-{second.generation:08x}", bytes(damaged))])
    with pytest.raises(Damaged, match="newest public key"):
        await post.boxes.open(ID)
    assert await post.seals_to(fingerprint(first)) == first.generation


async def test_a_key_under_the_name_of_another_generation_is_none(post: Post) -> None:
    own = await post.newest()
    await post.take_away(own)
    await post.store.append(PARTITION, [Row(f"public-{own.generation + 1:08x}", own.to_bytes())])
    with pytest.raises(Damaged):
        await post.boxes.open(ID, (fingerprint(own),))
