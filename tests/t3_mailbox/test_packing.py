"""Packs at work: what crashes and others leave, what a mailbox costs, what damage does."""

import os
from contextlib import contextmanager

import pytest
import trio

from aerogramme.errors import Damaged, Unavailable
from aerogramme.mailbox import packs
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.bodies import BATCH_OCTETS
from aerogramme.mailbox.body_record import body_name, pack_name
from aerogramme.mailbox.packs import LEAST, WASTE
from aerogramme.store import open_stores
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Part
from tests.helpers.garage import garage
from tests.helpers.packed import (
    ID,
    Counted,
    CountedStores,
    bodies_of,
    letters,
    objects_of,
    records_of,
    small_packs,
)
from tests.helpers.seaweed import seaweed
from tests.t3_mailbox.conftest import World, put
from tests.t3_mailbox.test_letters import send


@pytest.fixture
async def world(world: World) -> World:
    """Accounts on a store where an object costs a request."""
    world.stores = MemoryStores(object_costs_request=True)
    return world


@pytest.fixture
def few(monkeypatch) -> None:
    small_packs(monkeypatch)


# --- crashes, and others at work


async def some_mail(world):
    account = await world.open()
    await put(account, "INBOX", *letters(0, 30), *letters(30, 2, size=1500))
    await account.fold(force=True)
    await put(account, "INBOX", *letters(32, 25))
    return await bodies_of(account)


@pytest.mark.parametrize("steps", [0, 1])
async def test_a_fold_with_packs_that_dies_at_any_call_loses_nothing(few, steps) -> None:
    died = 0
    for call in range(1, 100):
        world = World()
        world.stores = MemoryStores(object_costs_request=True)
        before = await some_mail(world)
        crash = CrashAt(0, steps=steps)
        dying = await world.open(stores=world.stores.another(crash))
        crash.n = crash.calls + call
        try:
            await dying.fold(force=True)
            ended = True
        except Crash:
            ended = False
            died += 1
        after = await world.open()
        assert await bodies_of(after) == before
        assert await world.audit() == []
        await after.fold(force=True)
        assert await bodies_of(await world.open()) == before
        assert await world.audit() == []
        if ended:
            assert died >= 9  # packs, groups of a segment, checkpoint
            return
    pytest.fail("a fold has no end")


async def test_a_fold_with_packs_that_fails_can_be_done_again(few) -> None:
    for call in range(1, 100):
        world = World()
        world.stores = MemoryStores(object_costs_request=True)
        before = await some_mail(world)
        fault = CrashAt(0, error=Unavailable())
        account = await world.open(stores=world.stores.another(fault))
        fault.n = fault.calls + call
        try:
            await account.fold(force=True)
            return
        except Unavailable:
            assert await bodies_of(account) == before
            await account.fold(force=True)
        for each in account, await world.open():
            assert await bodies_of(each) == before
            assert sum(r.place is not None for r in (await records_of(each)).values()) == len(before) - 2
        assert await world.audit() == []
    pytest.fail("a fold has no end")


async def test_two_servers_that_pack_at_once_do_no_harm(world: World) -> None:
    one, two = await world.open(), await world.open()
    await put(one, "INBOX", *letters(0, 40))
    await put(two, "INBOX", *letters(40, 40))
    for each in one, two:
        await each.refresh()
    before = sorted(await bodies_of(one))
    async with trio.open_nursery() as nursery:
        for each in one, two:
            nursery.start_soon(lambda each=each: each.fold(force=True))
    three = await world.open()
    for each in one, two, three:
        assert sorted(await bodies_of(each)) == before
        assert all(record.place for record in (await records_of(each)).values())
    assert len(objects_of(world, "pack/")) == 2
    await put(three, "INBOX", *letters(80, 40))
    for each in one, three:
        await each.refresh()
        await each.fold(force=True)
        assert len(await bodies_of(await world.open())) == 120


async def test_letters_that_two_servers_drain_are_packed_once(world: World) -> None:
    one, two = await world.open(), await world.open()
    await send(world.stores, *letters(0, LEAST))
    async with trio.open_nursery() as nursery:
        for each in one, two:
            nursery.start_soon(each.drain.all_waiting)
    await one.refresh()
    await one.fold(force=True)
    assert len(await bodies_of(one)) == LEAST
    [pack] = objects_of(world, "pack/").values()
    assert len(pack) == sum(record.sealed_size for record in (await records_of(one)).values())


async def test_messages_that_go_while_they_are_packed(world: World) -> None:
    account = await world.open()
    await put(account, "INBOX", *letters(0, 60))
    table = account.find("INBOX")

    async def remove() -> None:
        await account.store_flags(table, range(1, 31), "+", ["\\Deleted"])
        await account.expunge(table)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: account.fold(force=True))
        nursery.start_soon(remove)
    assert len(await bodies_of(await world.open())) == 30


# --- what reading costs


async def test_a_mailbox_of_2000_small_messages_is_a_few_range_reads(world: World) -> None:
    account = await world.open()
    for start in range(0, 2000, 250):
        await put(account, "INBOX", *letters(start, 250, size=1000))
    await account.fold(force=True)
    account = await world.open(stores=CountedStores(world.stores))
    store = account.store
    store.trips.clear()
    bodies = await bodies_of(account)
    assert [body.split(b"\r\n")[0] for body in bodies] == [b"Subject: %d" % n for n in range(2000)]
    digests = [trip for trip in store.trips if all("segment/" in str(each) for each in trip)]
    ranges = [trip for trip in store.trips if trip not in digests]
    assert sum(map(len, digests)) == 2 and len(digests) <= 2  # one for each segment
    assert len(ranges) == 4 and all(isinstance(part, Part) for trip in ranges for part in trip)
    assert sum(map(len, ranges)) <= 6
    assert store.largest <= BATCH_OCTETS + WASTE

    store.trips.clear()
    content = account.find("INBOX").contents[1234]
    assert await account.body(content) == bodies[1234]
    record = await account.bodies.record(content)
    start = record.place.offset
    assert store.trips == [[Part(pack_name(record.place.pack), start, start + record.sealed_size)]]
    store.trips.clear()
    pieces = [piece async for piece in account.stream_body(content, 3, 9)]
    assert b"".join(pieces) == bodies[1234][3:9] and len(store.trips) == 1


async def test_small_and_large_in_one_mailbox(world: World) -> None:
    account = await world.open()
    mixed = []
    for n in range(120):
        mixed += letters(n, 1, size=80_000 if n % 10 == 3 else 200)
    huge = b"Subject: huge\r\n\r\n" + os.urandom(1_200_000)
    await put(account, "INBOX", *mixed[:60], huge, *mixed[60:])
    await account.fold(force=True)
    account = await world.open(stores=CountedStores(world.stores))
    store = account.store
    assert await bodies_of(account) == [*mixed[:60], huge, *mixed[60:]]
    wanted = [each for trip in store.trips for each in trip]
    singles = [each for each in wanted if str(each).startswith("body/")]
    parts = [each for each in wanted if isinstance(each, Part)]
    assert len(singles) == 13 and len(parts) == 1
    store.trips.clear()
    table = account.find("INBOX")
    pieces = [piece async for piece in account.stream_body(table.contents[60], 100, 1_100_000)]
    assert b"".join(pieces) == huge[100:1_100_000]


async def test_memory_is_bounded_while_packing_and_reading(world: World, monkeypatch) -> None:
    monkeypatch.setattr(packs, "PACK", 400_000)
    monkeypatch.setattr(packs, "SMALL", 20_000)
    monkeypatch.setattr("aerogramme.mailbox.bodies.BATCH_OCTETS", 100_000)
    account = await world.open()
    for start in range(0, 240, 20):
        await put(account, "INBOX", *letters(start, 20, size=9000))
    account = await world.open(stores=CountedStores(world.stores))
    account.store.object_costs_request = True
    await account.fold(force=True)
    records = list((await records_of(account)).values())
    assert sum(record.sealed_size for record in records) > 2_000_000
    assert (
        len(objects_of(world, "pack/")) > 5 and max(map(len, objects_of(world, "pack/").values())) <= 400_000
    )
    bodies = [t for t in account.store.trips if str(t[0]).startswith("body/")]
    assert max(sum(len(objects_of(world)[name]) for name in trip) for trip in bodies) <= 400_000

    store = (await world.open(stores=CountedStores(world.stores))).store
    account = world.opened[-1]
    await records_of(account)
    store.trips.clear()
    store.largest = 0
    table = account.find("INBOX")
    shuffled = [table.contents[n * 77 % 240] for n in range(240)]
    found = [body async for body in account.read_bodies(shuffled)]
    assert len(found) == 240 and all(isinstance(body, bytes) for body in found)
    assert store.largest <= 100_000 + max(record.sealed_size for record in records) + WASTE


async def test_packs_of_all_accounts_are_made_one_at_a_time(world: World) -> None:
    accounts = [await world.open(n * 32) for n in "0123"]
    for account in accounts:
        await put(account, "INBOX", *letters(0, LEAST))
    busy = most = 0
    real = packs.Packing._pack

    async def watched(self, bodies):
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        try:
            return await real(self, bodies)
        finally:
            busy -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs.Packing, "_pack", watched)
        async with trio.open_nursery() as nursery:
            for account in accounts:
                nursery.start_soon(lambda account=account: account.fold(force=True))
    assert most == 1
    for account in accounts:
        assert all(record.place for record in (await records_of(account)).values())


# --- damage


async def packed(world):
    account = await world.open()
    await put(account, "INBOX", *letters(0, LEAST))
    await account.fold(force=True)
    account = await world.open()
    [pack] = objects_of(world, "pack/")
    return account, pack, world.stores._accounts[ID].objects


async def test_a_pack_that_is_missing_is_made_up_for(world: World, caplog) -> None:
    account, pack, objects = await packed(world)
    before = await bodies_of(account)
    del objects[pack]
    store = Counted(account.store)
    account.bodies._store = store
    assert await bodies_of(account) == before
    assert len(store.trips) == 2  # the pack, then all single objects at once
    contents = account.find("INBOX").contents
    assert await account.body(contents[0]) == before[0]
    assert caplog.text.count("it is missing, or too short") == 1
    del objects[body_name(contents[7])]
    found = await bodies_of(account)
    assert [n for n, body in enumerate(found) if isinstance(body, Damaged)] == [7]
    with pytest.raises(Damaged):
        await account.body(contents[7])
    world.expected = await world.audit()
    assert len(world.expected) == LEAST and all(
        f"in pack {pack.removeprefix('pack/')}, the body is missing" in w for w in world.expected
    )


async def test_a_pack_that_is_damaged_is_made_up_for(world: World, caplog) -> None:
    account, pack, objects = await packed(world)
    before = await bodies_of(account)
    contents = account.find("INBOX").contents
    place = (await account.bodies.record(contents[5])).place
    octets = bytearray(objects[pack])
    octets[place.offset + 20] ^= 1
    objects[pack] = bytes(octets[:-1])
    assert await bodies_of(account) == before
    assert caplog.text.count(f"pack {place.pack}") == 1
    world.expected = await world.audit()
    assert [line.split(": ", 1)[1] for line in world.expected] == [
        f"in pack {place.pack}, the body does not open: a sealed stream is cut or changed",
        f"in pack {place.pack}, the body is missing",
    ]
    for n in 5, LEAST - 1:
        del objects[body_name(contents[n])]
    found = await bodies_of(account)
    assert [n for n, body in enumerate(found) if isinstance(body, Damaged)] == [5, LEAST - 1]


async def test_packed_bodies_need_no_single_objects(world: World) -> None:
    account, _, objects = await packed(world)
    before = await bodies_of(account)
    for content in account.find("INBOX").contents:
        del objects[body_name(content)]
    assert await bodies_of(account) == before
    assert await audit(account) == []


async def test_a_single_object_that_is_damaged_is_found_though_it_is_packed(world: World) -> None:
    account, _, objects = await packed(world)
    name = body_name(account.find("INBOX").contents[0])
    objects[name] = objects[name][:-1]
    [problem] = await audit(account)
    assert "the body does not open" in problem
    assert all(isinstance(body, bytes) for body in await bodies_of(account))
    world.expected = await world.audit()


async def test_a_segment_that_does_not_name_its_packs_is_found(world: World) -> None:
    account, pack, _ = await packed(world)
    [index] = account.state.named_segments()
    object.__setattr__(account.state.segments[index], "packs", ())
    assert (
        f"segment {account.state.segments[index].name} does not name pack {pack.removeprefix('pack/')}"
        in await audit(account)
    )


# --- on real stores


@contextmanager
def running(kind):
    """A place that can be opened, and what its clients need in the environment."""
    with (seaweed if kind == "s3" else garage)() as server:
        yield server.store("packs"), server.environment


@pytest.mark.parametrize("kind", ["s3", pytest.param("garage", marks=pytest.mark.garage)])
def test_a_mailbox_in_a_bucket_is_a_few_range_reads(kind, monkeypatch) -> None:
    with running(kind) as (place, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        trio.run(in_a_bucket, place)


async def in_a_bucket(place) -> None:
    world = World()
    world.stores = open_stores(place)
    one = await world.open()
    bodies = letters(0, 100, size=2000)
    await put(one, "INBOX", *bodies)
    await one.fold(force=True)
    two = await world.open(stores=CountedStores(world.stores))
    two.store.trips.clear()
    assert await bodies_of(two) == bodies
    assert [len(trip) for trip in two.store.trips] == [1, 1]  # the digests, the pack
    [pack] = await one.store.list("pack/")
    await one.store.delete([pack])
    assert await bodies_of(await world.open()) == bodies
    assert len(await world.audit()) == len(bodies)
    for account in world.opened:
        await account.aclose()
    await world.stores.aclose()
