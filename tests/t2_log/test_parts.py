"""The parts that tables and segments are made of, each against a list or a dict."""

import msgpack
import pytest
import trio
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import Damaged
from aerogramme.log.clock import COUNTER_BITS, MAX_CLOCK, Clock
from aerogramme.log.columns import IdMap, array
from aerogramme.log.entry import SegmentRef
from aerogramme.log.ids import MAX_ID, CompactRuns, Runs, each_once
from aerogramme.log.packing import compress, decompress, unpacked_size
from aerogramme.log.records import Records
from aerogramme.log.segment import Column, ContentMap, Segments, pack, pack_group, read_group, unpack_group
from aerogramme.seal import Keyring
from aerogramme.store.faults import CrashAt
from aerogramme.store.memory import MemoryStores

ACCOUNT = bytes(range(16))
KEYRING = Keyring.create(ACCOUNT)
small = st.integers(0, 30)
any_id = st.one_of(st.integers(1, 30), st.integers(MAX_ID - 9, MAX_ID), st.integers(1, MAX_ID))  # 0 is no id


@given(st.lists(any_id))
def test_runs_are_the_sequence_they_were_made_of(values):
    runs = Runs.of(values)
    assert list(runs) == values and len(runs) == len(values)
    assert [runs[n] for n in range(-len(values), len(values))] == values + values
    assert Runs.from_wire(runs.wire()) == runs == values
    assert list(runs.array("Q")) == values
    assert list(runs[1:-1:2]) == values[1:-1:2]
    assert set(each_once(values)) == set(values) and len(each_once(values)) == len(set(values))


@given(st.lists(any_id))
def test_compact_runs_are_the_same_runs(values):
    runs, compact = Runs.of(values), CompactRuns(Runs.of(values).runs)
    assert compact == runs and hash(compact) == hash(runs) and compact.runs == runs.runs
    assert len(compact) == len(values) and list(compact) == values and compact.wire() == runs.wire()
    assert [compact[n] for n in range(-len(values), len(values))] == values + values
    assert list(compact[1:-1:2]) == values[1:-1:2] and compact.compact() is compact
    assert list(compact.array("Q")) == values and repr(compact) == repr(runs)


@given(st.lists(st.one_of(st.integers(-(1 << 64), 1 << 65), st.none()), max_size=6))
def test_what_are_no_runs_is_damaged(flat):
    try:
        runs = Runs.from_wire(flat)
    except Damaged:
        return
    assert Runs.of(list(runs) if len(runs) < 1000 else runs).runs == runs.runs


@pytest.mark.parametrize("flat", [[0, (1 << 64) - 1], [0, 1 << 63], [5, 1 << 62, 5, 1 << 62]])
def test_more_ids_than_a_sequence_can_have_are_damaged(flat):
    with pytest.raises(Damaged):
        Runs.from_wire(flat)
    with pytest.raises(Damaged):
        read_group(compress(msgpack.packb([2, flat, [["a", b"", b""]]])))


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "new", "cut", "keep"]), st.lists(small, max_size=20)), max_size=8
    )
)
def test_an_id_map_is_a_dict(steps):
    real, model = IdMap("I"), {}
    for n, (verb, ids) in enumerate(steps):
        if verb == "put":
            for i in ids:
                real.put(i, n)
                model[i] = n
        elif verb == "new":
            fresh = list(dict.fromkeys(i for i in ids if i not in model))
            real.put_new(array("Q", fresh), array("I", [n] * len(fresh)))
            model.update(dict.fromkeys(fresh, n))
        elif verb == "cut" and ids:
            start, stop = real.span(ids[0], len(ids))
            assert list(real.ids[start:stop]) == sorted(i for i in model if ids[0] <= i < ids[0] + len(ids))
            for i in real.ids[start:stop]:
                del model[i]
            real.delete(start, stop)
        else:
            real.keep([i in ids for i in real.ids])
            model = {i: v for i, v in model.items() if i in ids}
        assert list(real.rows()) == sorted(model.items())
        assert all((i in real) == (i in model) for i in range(32))


@pytest.mark.parametrize("step", [1, 3, 200])  # a gap for each id, for some, for all
def test_many_ids_are_put_into_a_map_that_has_many(step):
    old, new = range(0, 2000, 2), [n + 1 for n in range(0, 2000, 2) if n // step % 2]
    real = IdMap("I")
    real.put_new(array("Q", old), array("I", old))
    real.put_new(array("Q", reversed(new)), array("I", reversed(new)))
    assert list(real.rows()) == [(n, n) for n in sorted([*old, *new])]


@given(st.lists(st.lists(small, unique=True), max_size=6))
def test_a_content_has_the_first_place_it_was_given(segments):
    real, model = ContentMap(), {}
    for number, contents in enumerate(segments):
        real.put(number, contents)
        for position, content in enumerate(contents):
            model.setdefault(content, (number, position))
    assert {c: real.find(c) for c in range(32) if c in real} == model
    assert real.segments() == {segment for segment, _ in model.values()}
    asked = list(range(32))
    spans = [(s, p + n if s >= 0 else 0) for s, p, count in real.spans(asked) for n in range(count)]
    assert spans == [model.get(c, (-1, 0)) for c in asked]


@given(st.lists(st.lists(small, unique=True), max_size=8))
def test_a_map_of_contents_that_is_built_anew_is_as_it_was(segments):
    one, two = ContentMap(), ContentMap()
    two.put(99, [1, 2])  # forgotten
    refs = {}
    for number, contents in enumerate(segments):
        one.put(number, contents)
        refs[number] = SegmentRef("0" * 32, contents, ("digest",))
    two.rebuild(refs)
    assert list(map(two.find, range(32))) == list(map(one.find, range(32)))
    assert list(two.spans(range(32))) == list(one.spans(range(32)))
    assert len(one) == len(two) and two.segments() == one.segments()
    two.put(99, range(32))  # what has no place yet
    assert all(two.find(n) == (one.find(n) or (99, n)) for n in range(32))


class Counted(ContentMap):
    """Counts the runs that are inserted one by one."""

    __slots__ = ("inserted",)
    inserted: int

    def _put_run(self, *run):
        self.inserted += 1
        super()._put_run(*run)


def test_a_map_of_very_many_scattered_contents_is_built_at_once():
    # Mail of a server with many users, from before and after it was started anew: no two ids are neighbours.
    every = [n for base in (2 << 24, 1 << 24) for n in range(base, base + 40_000, 2)]
    refs = {n: SegmentRef("0" * 32, every[n * 1000 : n * 1000 + 1000], ("digest",)) for n in range(40)}
    contents = Counted()
    contents.inserted = 0
    contents.rebuild(refs)
    assert contents.inserted == 0
    assert [contents.find(every[n]) for n in (0, 19_999, 20_000, 39_999)] == [
        (0, 0),
        (19, 999),
        (20, 0),
        (39, 999),
    ]
    assert len(contents) == 40_000


def test_the_clock_is_above_all_it_has_seen():
    now = 5
    clock = Clock(lambda: now)
    assert clock.next() == 5 << COUNTER_BITS
    assert clock.next() == (5 << COUNTER_BITS) + 1
    clock.saw(9 << COUNTER_BITS)
    now = 7
    assert clock.next() == (9 << COUNTER_BITS) + 1
    now = 10
    assert clock.next() == 10 << COUNTER_BITS
    clock.saw(MAX_CLOCK)
    with pytest.raises(Damaged):
        clock.next()


@given(
    st.dictionaries(st.text(max_size=3), st.lists(st.binary(max_size=9), min_size=3, max_size=3)), st.data()
)
@settings(max_examples=60)
def test_a_group_is_packed_and_unpacked(fields, data):
    packed = pack_group([7, 8, 9], fields)
    columns = unpack_group(packed, [7, 8, 9])
    assert {name: list(column) for name, column in columns.items()} == fields
    for name, column in columns.items():
        assert [column[n] for n in range(-3, 3)] == fields[name] * 2
        ends = [0, *column.ends]
        assert [column.joined[ends[n] : ends[n + 1]] for n in range(3)] == fields[name]
    if fields:
        with pytest.raises(Damaged):
            unpack_group(packed, [7, 8, 9, 10])
    broken = bytearray(packed)
    broken[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        unpack_group(bytes(broken), [7, 8, 9])
    except Damaged:
        return


def test_what_is_packed_is_no_larger_than_asked_for():
    packed = compress(bytes(1000))
    assert unpacked_size(packed) == 1000 and decompress(packed, 1000) == bytes(1000)
    without_size = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(10))
    huge = packed[:4] + b"\xe0" + (1 << 45).to_bytes(8, "little") + b"\1\0\0"  # RFC 8878 §3.1.1.1
    for wrong, most in (packed, 999), (without_size, 1000), (huge, 1 << 50), (packed[:-1], 1000), (b"", 1000):
        with pytest.raises(Damaged):
            decompress(wrong, most)


async def test_segments_load_what_was_packed_and_keep_to_their_budget():
    groups = {"digest": {"a": [b"1", b"22"], "b": [b"", b"x"]}, "text": {"t": [b"T" * 500, b"U" * 500]}}
    calls = CrashAt(0)
    store = await MemoryStores(calls).open(ACCOUNT.hex(), create=True)
    inline, outside = pack(KEYRING, [7, 8], groups), pack(KEYRING, [1, 5], groups, inline_max=0)
    assert inline.ref.inline is not None and outside.ref.inline is None
    for name, body in outside.objects:
        await store.put(name, body)
    segments = Segments(Records(store, KEYRING), KEYRING, [inline.ref, outside.ref], budget=1500)
    before = calls.calls

    async def load():
        for columns in await segments.load([1, 0, 1], "digest"):
            assert {name: list(column) for name, column in columns.items()} == groups["digest"]

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(load)
    assert calls.calls == before + 1  # those who want the same at once wait for one request
    await load()
    assert calls.calls == before + 1
    await segments.load([0, 1], "text")  # over the budget: what was used longest ago goes
    await load()
    assert calls.calls == before + 3
    merged = await segments.merge([0, 1])
    assert list(merged.ref.contents) == [7, 8, 1, 5] and merged.ref.inline is None
    for name, body in merged.objects:
        await store.put(name, body)
    [columns] = await Segments(Records(store, KEYRING), KEYRING, [merged.ref]).load([0], "digest")
    assert list(columns["a"]) == [b"1", b"22", b"1", b"22"]


async def test_while_segments_are_unpacked_others_have_their_turn():
    store = await MemoryStores().open(ACCOUNT.hex(), create=True)
    packed = [pack(KEYRING, [n], {"digest": {"a": [b"1"]}}, inline_max=0) for n in range(1, 9)]
    for each in packed:
        for name, body in each.objects:
            await store.put(name, body)
    segments = Segments(Records(store, KEYRING), KEYRING, [each.ref for each in packed])
    turns = 0

    async def another():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(another)
        await segments.load(range(8), "digest")
        nursery.cancel_scope.cancel()
    assert turns >= 7


async def test_a_segment_that_cannot_be_read_is_damaged():
    store = await MemoryStores().open(ACCOUNT.hex(), create=True)
    packed = pack(KEYRING, [1], {"digest": {"a": [b"1"]}}, inline_max=0)
    broken = SegmentRef("0" * 32, [2], ("digest",), {"digest": b"no"})
    segments = Segments(Records(store, KEYRING), KEYRING, [packed.ref, broken])
    for index in 0, 1:
        with pytest.raises(Damaged):
            await segments.load([index], "digest")
    [(name, body)] = packed.objects
    await store.put(name, body[:-1])
    with pytest.raises(Damaged):
        await segments.load([0], "digest")


def test_a_column_is_a_list_of_values():
    column = Column.of([b"a", b"", b"bc"])
    assert column[0:2] == [b"a", b""] and len(column) == 3
    with pytest.raises(IndexError):
        column[3]
