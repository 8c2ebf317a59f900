"""Letters: put down with the public key alone, drained by whoever has the keys; crashes, faults and damage
between.
"""

import os
from random import Random

import pytest
import trio

from aerogramme.errors import Damaged, TooLarge, Unavailable
from aerogramme.mailbox.body_record import BodyRecord, body_name
from aerogramme.mailbox.incoming import incoming
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes
from aerogramme.seal import Binding
from aerogramme.seal.strict import pack
from aerogramme.store.faults import Crash, CrashAt, Faults
from aerogramme.store.memory import MemoryStores
from tests.helpers.damage import other_end
from tests.t3_mailbox.conftest import World

ID = "00" * 16
LARGE = os.urandom(1 << 20) * 3  # does not compress, and is larger than what is held back


async def send(stores: MemoryStores, *letters: bytes, detail=None, now=1_600_000_000.0) -> int:
    """Brings letters one after the other, until the store fails: how many were acknowledged."""
    acknowledged = 0
    async with trio.open_nursery() as nursery:
        boxes = LetterBoxes(stores, nursery)
        try:
            for n, letter in enumerate(letters):
                box = await boxes.open(ID)
                new = box.letter("from@example.org", "to@example.org", detail, now + n)
                for at in range(0, len(letter), 100_000):
                    await new.write(letter[at : at + 100_000])
                await new.send()
                acknowledged += 1
        except Unavailable:
            nursery.cancel_scope.cancel()
        else:
            await boxes.aclose()
    return acknowledged


async def bodies(account, name="INBOX") -> list[bytes]:
    return [body async for body in account.read_bodies(account.find(name).contents)]


async def rows(stores: MemoryStores) -> list[str]:
    found, _ = await (await stores.open(ID)).read(incoming.PARTITION)
    return [key for key, _ in found]


@pytest.mark.parametrize("letter", [b"", b"Subject: x\r\n\r\nhi\r\n", LARGE], ids=["empty", "small", "large"])
async def test_a_letter_becomes_a_message(world: World, account, letter) -> None:
    await send(world.stores, letter)
    assert len(await rows(world.stores)) == 1
    view = await account.open_mailbox("INBOX")
    assert await bodies(account) == [letter]
    assert list(view.table.dates) == [1_600_000_000]
    assert view.recent_count == 1
    assert await rows(world.stores) == []


async def test_a_mailbox_opens_while_nothing_can_be_written(
    world: World, account, monkeypatch, caplog
) -> None:
    await send(world.stores, b"here")
    await account.open_mailbox("INBOX")
    await send(world.stores, b"waiting")

    async def full(*_: object) -> None:
        raise Unavailable(hint="the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(account.journal, "commit", full)
        view = await account.open_mailbox("INBOX")
    assert len(view) == 1
    assert "the disk is full" in caplog.text
    await account.open_mailbox("INBOX")
    assert await bodies(account) == [b"here", b"waiting"]


async def test_many_letters_are_one_entry_in_their_order(world: World, account) -> None:
    letters = [b"Subject: %d\r\n\r\n" % n for n in range(40)]
    await send(world.stores, *letters)
    version = account.version
    assert await account.drain.all_waiting() == 40
    assert account.version == version + 1
    assert await bodies(account) == letters


async def test_more_than_a_batch(world: World, account, monkeypatch) -> None:
    monkeypatch.setattr("aerogramme.mailbox.incoming.drain.BATCH_LETTERS", 3)
    monkeypatch.setattr("aerogramme.mailbox.incoming.drain.BATCH_OCTETS", 3000)
    letters = [bytes([65 + n]) * (3500 if n % 4 == 0 else 10) for n in range(10)]
    await send(world.stores, *letters)
    assert await account.drain.all_waiting(patience=0) == 0, "out of patience before it began"
    assert await account.drain.all_waiting() == 10
    assert await bodies(account) == letters


async def test_letters_whose_digests_are_large_are_more_than_a_batch(
    world: World, account, monkeypatch
) -> None:
    monkeypatch.setattr("aerogramme.mailbox.incoming.drain.BATCH_OCTETS", 100_000)
    letters = [b"From: " + b"a," * 1000 + b"\r\n\r\n%d" % n for n in range(10)]  # each has 50 kB of envelope
    assert sum(map(len, letters)) < 30_000
    await send(world.stores, *letters)
    version = account.version
    assert await account.drain.all_waiting() == 10
    assert account.version == version + 5
    assert await bodies(account) == letters


@pytest.mark.parametrize(
    ("detail", "mailbox"),
    [
        ("Archive", "Archive"),
        ("archive", "Archive"),
        ("inbox", "INBOX"),
        ("none", "INBOX"),
        ("a//b", "INBOX"),
    ],
)
async def test_the_detail_names_a_mailbox_if_there_is_one(world: World, account, detail, mailbox) -> None:
    await send(world.stores, b"x", detail=detail)
    await account.drain.all_waiting()
    assert await bodies(account, mailbox) == [b"x"]


async def test_a_letter_over_the_limit_leaves_nothing(world: World, account) -> None:
    async with trio.open_nursery() as nursery:
        boxes = LetterBoxes(world.stores, nursery)
        box = await boxes.open(ID)
        for limit in (100, 2_500_000):  # before it is spilled, and after
            letter = box.letter("", "", limit=limit)
            with pytest.raises(TooLarge):
                for at in range(0, len(LARGE), 100_000):
                    await letter.write(LARGE[at : at + 100_000])
            assert await account.store.list("body/") == []
        await boxes.aclose()
    assert await rows(world.stores) == []


async def test_an_abandoned_letter_leaves_nothing(world: World, account) -> None:
    async with trio.open_nursery() as nursery:
        boxes = LetterBoxes(world.stores, nursery)
        box = await boxes.open(ID)
        letter = box.letter("", "")
        for at in range(0, len(LARGE), 100_000):
            await letter.write(LARGE[at : at + 100_000])
        await letter.abandon()
        await boxes.aclose()
    assert await account.store.list("body/") == []
    assert await rows(world.stores) == []


async def test_a_failing_store_is_told_to_the_one_who_brings_the_letter(world: World, account) -> None:
    for letter in (b"x", LARGE):
        for call in range(2, 6):
            failing = world.stores.another(CrashAt(call, error=Unavailable()))
            if await send(failing, letter):
                break
        else:
            raise AssertionError("it never got through")
    assert await account.drain.all_waiting() == 2


async def test_a_letter_that_does_not_open_stays_and_blocks_no_other(world: World, account, caplog) -> None:
    await send(world.stores, b"first", b"second", b"third", b"fourth")
    data = world.stores._accounts[ID]
    waiting = data.partitions[incoming.PARTITION].rows
    one, two, three, _ = sorted(waiting)
    waiting[one] = waiting[one][:-1]
    del data.objects[body_name(int(two.partition("-")[2], 16))]
    name = body_name(int(three.partition("-")[2], 16))
    data.objects[name] = other_end(data.objects[name])
    assert await account.drain.all_waiting() == 1
    assert await bodies(account) == [b"fourth"]
    assert set(account.drain.unreadable) == {one, two, three}
    assert await rows(world.stores) == [one, two, three]
    assert await account.drain.all_waiting() == 0
    assert caplog.text.count("cannot be read") == 3, "each is reported once"
    found = await world.audit()
    told = [line.split(":")[0] for line in found]
    assert told == [f"letter {key} cannot be read" for key in (one, two, three)]
    world.expected = found


async def test_a_letter_of_another_size_than_it_says_stays(world: World, account, monkeypatch) -> None:
    """It would be a message that nobody can read. One that is larger is not even unpacked."""
    for other in 5, -5:

        def lying(key, sealed_size, size, other=other):
            return BodyRecord(key, sealed_size, size + other)

        with monkeypatch.context() as patch:
            patch.setattr(incoming, "BodyRecord", lying)
            await send(world.stores, b"a letter")
    await send(world.stores, b"another")
    assert await account.drain.all_waiting() == 1
    assert await bodies(account) == [b"another"] and len(account.drain.unreadable) == 2
    world.expected = await world.audit()
    assert len(world.expected) == 2


async def test_a_letter_with_an_impossible_key_or_content(world: World, account) -> None:
    keyring = world.unlocked[ID].keyring
    for key, plain in (
        ("nonsense", pack([1])),
        ("00000000000a-0000000000000001", pack([1, b"", 1, "", "", None])),
        ("00000000000b-0000000000000001", b"\xc1"),
    ):
        binding = Binding(bytes.fromhex(ID), "letter", key)
        with pytest.raises(Damaged):
            incoming.decode_letter(
                key, keyring.open_incoming(keyring.incoming_public().seal(plain, binding), binding)
            )


async def test_two_servers_drain_at_once_and_nothing_is_doubled() -> None:
    """On a store that serializes, and on one that does not: there both add the same messages."""
    for serial in (True, False):
        world = World()
        world.stores = MemoryStores(serial=serial)
        one, two = await world.open(), await world.open()
        letters = [b"Subject: %d\r\n\r\n" % n for n in range(7)]
        await send(world.stores, *letters)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.drain.all_waiting)
            nursery.start_soon(two.drain.all_waiting)
        for account in (one, two, one):
            await account.refresh()
        for account in (one, two):
            assert sorted(await bodies(account)) == letters
        assert list(one.find("INBOX").uids) == list(two.find("INBOX").uids)
        assert await rows(world.stores) == []
        assert await world.audit() == []


@pytest.mark.parametrize("serial", [True, False])
async def test_a_crash_at_any_step_of_a_drain_loses_and_doubles_nothing(serial) -> None:
    letters = [b"Subject: %d\r\n\r\n" % n for n in range(3)]
    for call in range(1, 50):
        finished = False
        for steps in (0, 1, 2):
            world = World()
            world.stores = MemoryStores(serial=serial)
            await world.create()
            await send(world.stores, *letters)
            crash = CrashAt(0)
            account = await world.open(stores=world.stores.another(crash))
            crash.n, crash.steps = crash.calls + call, steps
            try:
                await account.drain.all_waiting()
                finished = True
            except Crash:
                ...
            after = await world.open()
            await after.drain.all_waiting()
            assert sorted(await bodies(after)) == letters
            assert await rows(world.stores) == []
            assert await world.audit() == []
        if finished:
            assert call > 2
            return
    raise AssertionError("the drain never finished")


@pytest.mark.parametrize("seed", range(12))
async def test_nothing_acknowledged_is_lost_under_faults(seed, autojump_clock) -> None:
    """Calls are slow, fail, fail but happen, and happen later: each acknowledged letter is a message once."""
    world = World()
    world.stores = MemoryStores()
    await world.create()
    random = Random(seed)
    faults = Faults(random)
    shaky = world.stores.another(faults)
    sent: list[bytes] = []
    tried: list[bytes] = []

    async def bring(n: int) -> None:
        body = b"Subject: %d\r\n\r\n" % n
        tried.append(body)
        if await send(shaky, body):
            sent.append(body)

    async def drain() -> None:
        for _ in range(6):
            await trio.sleep(random.random())
            try:
                account = await world.open(stores=shaky)
                await account.drain.all_waiting()
            except Unavailable:
                continue

    async with trio.open_nursery() as nursery:
        for n in range(8):
            nursery.start_soon(bring, n)
        nursery.start_soon(drain)
        nursery.start_soon(drain)
    faults.reliable = True
    account = await world.open(stores=shaky)
    await account.drain.all_waiting()
    found = await bodies(account)
    assert len(found) == len(set(found)), "none is doubled"
    assert set(sent) <= set(found) <= set(tried)
    assert await world.audit() == []
