"""Packs: which parts are read, and what lies where."""

import os
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import Damaged
from aerogramme.mailbox import packs
from aerogramme.mailbox.body_record import BodyRecord, Place, body_name, pack_name
from aerogramme.mailbox.incoming.incoming import decode_letter
from aerogramme.mailbox.packs import GAP, LEAST, WASTE, Trip
from aerogramme.seal import ContentKey
from aerogramme.seal.strict import pack as strict_pack
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Part
from tests.helpers.damage import other_end
from tests.helpers.packed import ID, bodies_of, letters, objects_of, records_of, small_packs
from tests.t3_mailbox.conftest import World, put

KEY = ContentKey.generate()


@pytest.fixture
async def world(world: World) -> World:
    """Accounts on a store where an object costs a request."""
    world.stores = MemoryStores(object_costs_request=True)
    return world


@pytest.fixture
def few(monkeypatch) -> None:
    small_packs(monkeypatch)


# --- reading: which parts are asked for


@st.composite
def bodies_in_packs(draw):
    """Packs (name -> bytes), and bodies in them (content, record, bytes) in any order; some are single."""
    stored, bodies = {}, []
    for number in range(draw(st.integers(1, 3))):
        pack, octets = f"{number:032x}", bytearray()
        for _ in range(draw(st.integers(0, 12))):
            gap = draw(st.sampled_from([0, 0, 0, 1, GAP - 1, GAP, GAP + 1, 3 * GAP]))
            size = draw(st.integers(1, 300))
            octets += bytes(gap)
            sealed = os.urandom(size)
            bodies.append((len(bodies) + 1, BodyRecord(KEY, size, 1, Place(pack, len(octets))), sealed))
            octets += sealed
        stored[pack_name(pack)] = bytes(octets)
    for _ in range(draw(st.integers(0, 3))):
        content, sealed = len(bodies) + 1, os.urandom(50)
        stored[body_name(content)] = sealed
        bodies.append((content, BodyRecord(KEY, 50, 1), sealed))
    bodies += draw(st.lists(st.sampled_from(bodies), max_size=3)) if bodies else []  # asked for twice
    return stored, draw(st.permutations(bodies))


def asked(stored, wanted):
    return [stored[w] if isinstance(w, str) else stored[w.name][w.start : w.stop] for w in wanted]


@given(bodies_in_packs(), st.sampled_from([WASTE, 2 * GAP, 0]))
@settings(max_examples=150)
def test_a_trip_brings_each_body_and_joins_what_lies_together(made, waste):
    stored, bodies = made
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "WASTE", waste)
        trip = Trip([(content, record) for content, record, _ in bodies])
    got = asked(stored, trip.wanted)
    assert [trip.sealed(n, got) for n in range(len(bodies))] == [sealed for _, _, sealed in bodies]

    parts = [each for each in trip.wanted if isinstance(each, Part)]
    needed = {record.place: record.sealed_size for _, record, _ in bodies if record.place}
    octets = sum(part.stop - part.start for part in parts)
    assert octets <= sum(needed.values()) + waste
    assert parts == sorted(parts)
    for one, two in pairwise(parts):
        if one.name == two.name:
            gap = two.start - one.stop
            assert gap > GAP or octets - sum(needed.values()) + gap > waste, "one part would have done"


@given(bodies_in_packs(), st.data())
def test_what_the_store_has_not_is_none(made, data):
    stored, bodies = made
    trip = Trip([(content, record) for content, record, _ in bodies])
    got = asked(stored, trip.wanted)
    for n, part in enumerate(got):
        got[n] = data.draw(st.sampled_from([part, None, part[:-1], b""]), "part")
    for n, (_, record, sealed) in enumerate(bodies):
        found = trip.sealed(n, got)
        if record.place is not None:
            assert found in (sealed, None)


def test_a_body_that_is_damaged_already_is_not_asked_for():
    trip = Trip([(1, Damaged()), (2, BodyRecord(KEY, 5, 5))])
    assert trip.wanted == [body_name(2)] and trip.sealed(0, [b"12345"]) is None


@given(st.integers(0, (1 << 64) - 1), st.integers(0, 1 << 40), st.binary(min_size=16, max_size=16))
def test_records(offset, size, pack):
    written = BodyRecord(KEY, size, 7, Place(pack.hex(), offset))
    raw = written.to_bytes()
    if offset + size >= 1 << 63:
        with pytest.raises(Damaged):
            BodyRecord.from_bytes(raw)
        return
    read = BodyRecord.from_bytes(raw)
    assert read[1:] == written[1:] and len(raw) == 72 and read.to_bytes() == raw
    assert len(BodyRecord(KEY, size, 7).to_bytes()) == 48
    for length in (0, 47, 49, 71):
        with pytest.raises(Damaged):
            BodyRecord.from_bytes(raw[:length])


def test_a_letter_knows_no_packs():
    key = f"{1:012x}-{2:016x}"
    record = BodyRecord(KEY, 5, 5)
    letter = decode_letter(key, strict_pack([1, record.to_bytes(), 3, "", "", None]))
    assert letter.record.to_bytes() == record.to_bytes()
    placed = record._replace(place=Place("0" * 32, 0))
    with pytest.raises(Damaged):
        decode_letter(key, strict_pack([1, placed.to_bytes(), 3, "", "", None]))


# --- writing: what is in packs


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=60))
def test_shares_are_few_and_fit(sizes):
    bodies = {n: BodyRecord(KEY, size, 1) for n, size in enumerate(sizes, 1)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "PACK", 5000)
        patch.setattr(packs, "SMALL", 1000)
        shares = packs._shares(bodies)
    assert [content for share in shares for content in share] == list(bodies)
    for share in shares:
        assert 0 < sum(record.sealed_size for record in share.values()) <= 5000
    assert len(shares) <= -(-sum(sizes) // 4000)


async def test_packs_hold_the_small_bodies_of_messages_end_to_end(world: World, few) -> None:
    account = await world.open()
    await put(account, "INBOX", *letters(0, 40), *letters(40, 3, size=1500), *letters(43, 10))
    before = await bodies_of(account)
    assert await account.fold(force=True)
    records = await records_of(account)
    stored = objects_of(world)
    lying = {}
    for content, record in records.items():
        single = stored[body_name(content)]
        assert (record.place is None) == (len(single) > 1000)
        if record.place is not None:
            lying.setdefault(record.place.pack, []).append((record.place.offset, content, single))
    assert {pack_name(pack) for pack in lying} == {n for n in stored if n.startswith("pack/")}
    assert len(lying) > 1
    for pack, bodies in lying.items():
        bodies.sort()
        assert [content for _, content, _ in bodies] == sorted(content for _, content, _ in bodies)
        assert stored[pack_name(pack)] == b"".join(single for _, _, single in bodies)
        assert len(stored[pack_name(pack)]) <= 3000
    assert await bodies_of(account) == before
    assert await bodies_of(await world.open()) == before


async def test_only_what_a_message_has_is_packed(world: World) -> None:
    account = await world.open()
    await put(account, "INBOX", *letters(0, LEAST + 9))
    table = account.find("INBOX")
    contents = list(table.contents)
    await account.copy(table, [1], "Archive")
    await account.store_flags(table, range(1, 6), "+", ["\\Deleted"])
    await account.expunge(table)
    await account.fold(force=True)
    archived = await records_of(account, "Archive")
    assert archived[contents[0]].place is not None
    for content in contents[1:5]:
        assert (await account.bodies.record(content)).place is None
    [pack] = objects_of(world, "pack/").values()
    assert len(pack) == sum(r.sealed_size for r in (await records_of(account)).values()) + sum(
        r.sealed_size for r in archived.values()
    )


async def test_few_bodies_wait_until_more_come(world: World) -> None:
    account = await world.open()
    await put(account, "INBOX", *letters(0, LEAST - 1))
    await account.fold(force=True)
    assert not objects_of(world, "pack/")
    await put(account, "INBOX", *letters(LEAST, LEAST // 2))
    await account.fold(force=True)
    assert len(objects_of(world, "pack/")) == 1


async def test_few_bodies_wait_also_beside_a_pack_that_is_mostly_waste(world: World) -> None:
    account = await world.open()
    await put(account, "INBOX", *letters(0, LEAST))
    await account.fold(force=True)
    table = account.find("INBOX")
    contents = list(table.contents)
    await account.store_flags(table, range(1, LEAST - 4), "+", ["\\Deleted"])
    await account.expunge(table)
    await account.fold(force=True, without=set(contents[: LEAST - 10]))
    assert len(objects_of(world, "pack/")) == 2  # what is left, and the first, which others expunged need
    await put(account, "INBOX", *letters(LEAST, 8))
    await account.fold(force=True)
    assert len(account.state.named_segments()) == 1  # in which all is
    assert len(objects_of(world, "pack/")) == 2


async def test_what_is_packed_is_not_packed_again(world: World) -> None:
    account = await world.open()
    await put(account, "INBOX", *letters(0, 50))
    await account.fold(force=True)
    first = await records_of(account)
    await put(account, "INBOX", *letters(50, 60))
    other = await world.open()
    await other.fold(force=True)
    second = await records_of(other)
    assert {content: second[content].place for content in first} == {c: r.place for c, r in first.items()}
    assert len({record.place.pack for record in second.values()}) == 2 == len(objects_of(world, "pack/"))
    third = await world.open()
    assert set(objects_of(world, "pack/")) == {
        pack_name(pack) for ref in third.state.segments for pack in ref.packs or ()
    }
    await put(third, "Archive", b"one more")
    await third.fold(force=True)
    assert len(objects_of(world, "pack/")) == 2


async def test_large_segments_are_packed_once_where_they_were_not(world: World, few) -> None:
    """As of an account that was brought from a store where objects cost nothing."""
    account = await world.open()
    await put(account, "INBOX", *letters(0, 30))
    await put(account, "INBOX", *letters(30, 15))
    await account.journal.fold(force=True)
    assert not objects_of(world, "pack/")
    assert [len(account.state.segments[n].contents) for n in account.state.named_segments()] == [30, 15]
    account = await world.open()
    before = await bodies_of(account)
    await account.fold(force=True)
    assert all(record.place for record in (await records_of(account)).values())
    segments, packed = objects_of(world, "segment/"), objects_of(world, "pack/")
    await account.fold(force=True)
    assert (objects_of(world, "segment/"), objects_of(world, "pack/")) == (segments, packed)
    assert await bodies_of(account) == before


async def test_where_objects_cost_nothing_places_stay_but_nothing_is_packed(world: World) -> None:
    account = await world.open()
    await put(account, "INBOX", *letters(0, 50))
    await account.fold(force=True)
    world.stores.object_costs_request = False
    account = await world.open()
    await put(account, "INBOX", *letters(50, 50))
    await account.fold(force=True)
    records = list((await records_of(account)).values())
    assert [record.place is not None for record in records] == [True] * 50 + [False] * 50
    [ref] = [account.state.segments[n] for n in account.state.named_segments()]
    assert list(ref.packs) == [records[0].place.pack]
    assert len(await bodies_of(await world.open())) == 100


async def test_what_cannot_be_read_is_left_as_it_is(world: World, caplog) -> None:
    account = await world.open()
    await put(account, "INBOX", *letters(0, LEAST + 5))
    missing, cut, broken = account.find("INBOX").contents[3:6]
    objects = world.stores._accounts[ID].objects
    del objects[body_name(missing)]
    objects[body_name(cut)] = objects[body_name(cut)][:-1]
    objects[body_name(broken)] = other_end(objects[body_name(broken)])
    await account.fold(force=True)
    records = await records_of(account)
    assert {content for content, record in records.items() if record.place is None} == {missing, cut, broken}
    assert caplog.text.count("is not packed") == 3
    found = await bodies_of(await world.open())
    assert [type(body) for body in found] == [bytes] * 3 + [Damaged] * 3 + [bytes] * (LEAST - 1)
    world.expected = await world.audit()
    assert len(world.expected) == 3
