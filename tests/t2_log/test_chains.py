"""Chains of entries: whatever is taken out, put in another's place or damaged is found, and nothing else."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from aerogramme.log import reading
from aerogramme.log.chains import broken
from aerogramme.log.entry import KIND, NO_LINK, PARTITION, Again, Entry, Subscribe, link
from aerogramme.log.entry_bytes import encode
from aerogramme.log.records import Records
from aerogramme.seal import Keyring
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row

ACCOUNT = bytes(range(16))
KEYRING = Keyring.create(ACCOUNT)
ONE, OTHER = 0xA1, 0xB2


def chain(count, replica=ONE):
    """Entries of a replica, each after the one before."""
    entries, previous = [], NO_LINK
    for seq in range(1, count + 1):
        entries.append(Entry((seq << 30) + replica, replica, seq, previous, (Subscribe(f"{seq}", True),)))
        previous = link(entries[-1].key, encode(entries[-1]))
    return entries


async def stored(entries, *more):
    """A store with these, and other rows."""
    store = await MemoryStores().open(ACCOUNT.hex(), create=True)
    rows = [Row(entry.key, KEYRING.seal(KIND, entry.key, encode(entry))) for entry in entries]
    await store.append(PARTITION, [*rows, *more])
    return store


async def found(store, known=None, cut=None, lost=()):
    """What is wrong, as (kind, seqs)."""
    breaks = await broken(Records(store, KEYRING), known or {}, cut=cut or {}, lost=lost)
    return [(each.kind, [seq for _, seq in each.positions]) for each in breaks]


async def test_a_whole_chain():
    assert await found(await stored(chain(5) + chain(3, OTHER))) == []
    assert await found(await stored([])) == []


async def test_missing_ones_at_the_start_between_and_at_the_end():
    entries = chain(9)
    store = await stored([entries[n - 1] for n in (3, 4, 7)])
    assert await found(store, known={ONE: 9}) == [
        ("missing", [1, 2]),
        ("missing", [5, 6]),
        ("missing", [8, 9]),
    ]
    breaks = await broken(Records(store, KEYRING), {ONE: 8}, cut={ONE: 2}, lost={(ONE, 5)})
    assert [each.what for each in breaks] == [
        "replica 00000000a1: entry 6 is missing",
        "replica 00000000a1: entry 8 is missing",
    ]


async def test_one_of_which_another_tells_is_missed():
    teller = replace(chain(1, OTHER)[0], seen={ONE: 3})
    assert await found(await stored([*chain(2), teller])) == [("missing", [3])]
    assert await found(await stored([teller])) == [("missing", [1, 2, 3])]
    assert await found(await stored([teller]), cut={ONE: 3}) == []
    assert await found(await stored([]), known={ONE: 2}) == [("missing", [1, 2])]


async def test_one_in_the_place_of_another():
    entries = chain(4)
    entries[1] = replace(entries[1], ops=(Subscribe("changed", True),))
    assert await found(await stored(entries)) == [("link", [2])]
    assert await found(await stored(entries), lost={(ONE, 2)}) == []
    entries[0] = replace(entries[0], previous=b"x" * 16)
    assert await found(await stored(entries[:1])) == [("link", [0])]


async def test_one_that_cannot_be_read_is_not_missing():
    one, two, three, four = chain(4)
    row = Row(two.key, b"not sealed at all")
    assert await found(await stored([one, three, four], row)) == [("unreadable", [2])]
    far = Row(replace(four, seq=1 << 31).key, b"neither")
    assert await found(await stored([one, two], far)) == [("unreadable", [1 << 31])]
    assert await found(await stored([one], Row("nonsense", b""))) == [("unreadable", [])]


async def test_one_that_is_said_again_is_not_missing_and_has_to_fit():
    one, two, three = chain(3)
    again = replace(chain(4, OTHER)[3], seq=1, previous=NO_LINK, ops=(Again(two.key, encode(two)),))
    assert await found(await stored([one, three, again])) == []
    assert await found(await stored([one, two, three, again])) == []
    twice = replace(chain(5, 0xC3)[4], seq=1, previous=NO_LINK, ops=(Again(again.key, encode(again)),))
    assert await found(await stored([one, three, twice])) == [], "it is in one that is said again"
    other = replace(two, ops=())
    again = replace(again, ops=(Again(other.key, encode(other)),))
    assert await found(await stored([one, three, again])) == [("link", [2])]


@given(st.data())
async def test_whatever_is_taken_away_is_missed_and_nothing_else(data):
    entries = chain(data.draw(st.integers(0, 8)))
    numbers = st.sets(st.integers(1, 9))
    gone, unreadable, again, lost = (data.draw(numbers) for _ in range(4))
    cut, known = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 9))
    last = replace(chain(9, OTHER)[8], seq=1, previous=NO_LINK)
    last = replace(last, ops=tuple(Again(e.key, encode(e)) for e in entries if e.seq in again))
    rows = [e for e in entries if e.seq not in gone and e.seq not in unreadable]
    bad = [Row(e.key, b"?") for e in entries if e.seq in unreadable and e.seq not in gone]
    store = await stored([*rows, last], *bad)
    there = {e.seq for e in entries if e.seq not in gone or e.seq in again} | lost
    end = max([known, *(e.seq for e in rows)])
    breaks = await broken(
        Records(store, KEYRING), {ONE: known}, cut={ONE: cut}, lost={(ONE, seq) for seq in lost}
    )
    missed = {seq for each in breaks if each.kind == "missing" for _, seq in each.positions}
    assert missed == set(range(cut + 1, end + 1)) - there
    assert {each.key for each in breaks if each.kind == "unreadable"} == {row.key for row in bad}
    assert not any(each.kind == "link" for each in breaks)


async def test_any_entry_that_was_changed_breaks_the_chain():
    for at in range(5):
        entries = chain(6)
        entries[at] = replace(entries[at], ops=())
        assert await found(await stored(entries)) == [("link", [at + 1])]


async def test_it_goes_through_the_log_a_page_at_a_time(monkeypatch):
    monkeypatch.setattr(reading, "PAGE", 3)
    entries = chain(10) + chain(7, OTHER)
    del entries[4]
    assert await found(await stored(entries)) == [("missing", [5])]
