"""What an account takes up: everything that is stored is counted once, under what it is and who needs it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from aerogramme.log.entry import Subscribe
from aerogramme.log.journal import Draft
from aerogramme.log.resealing import Tally
from aerogramme.log.suffix import sealed_for
from aerogramme.mailbox.audit import setting_aside
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.history import statistics
from aerogramme.mailbox.history.compaction import compact
from aerogramme.mailbox.history.statistics import NEEDS, Statistics
from aerogramme.mailbox.keys import rotation
from aerogramme.mailbox.policy import DAY
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row
from tests.helpers.life import Calendar, calendar
from tests.helpers.packed import ID, letters, small_packs
from tests.t3_mailbox.conftest import World, put
from tests.t3_mailbox.test_letters import send


@pytest.fixture
def now() -> Iterator[Calendar]:
    with calendar() as now:
        yield now


def octets_of(world: World) -> int:
    """All that the store holds of the account."""
    data = world.stores._accounts[ID]
    rows = [value for partition in data.partitions.values() for value in partition.rows.values()]
    return sum(map(len, data.objects.values())) + sum(map(len, rows))


async def look(world: World) -> Statistics:
    """As somebody sees it who opens the account now."""
    account = await world.open()
    before, asked, told = octets_of(world), list[str](), dict[str, int]()
    get_many = account.store.get_many

    async def noted(wanted):
        asked.extend(each if isinstance(each, str) else each.name for each in wanted)
        return await get_many(wanted)

    account.store.get_many = noted
    found = await statistics.statistics(account, told.__setitem__)
    assert not any(name.startswith(("body/", "pack/")) for name in asked), "no mail is read"
    assert told.get("entries", 0) >= sum_of(found, "entries").count
    assert octets_of(world) == before, "looking changes nothing"
    assert found.total().octets == before, "all is counted, and nothing twice"
    return found


def sum_of(found: Statistics, what: str) -> Tally:
    """For whatever need."""
    tallies = found.stored[what].values()
    return Tally(sum(tally.count for tally in tallies), sum(tally.octets for tally in tallies))


def counts(found: Statistics, need: str) -> dict[str, int]:
    """What there is any of."""
    return {what: by_need[need].count for what, by_need in found.stored.items() if by_need[need].count}


@pytest.mark.parametrize("packed", [False, True])
async def test_all_of_an_account_is_counted(world: World, monkeypatch, packed) -> None:
    small_packs(monkeypatch)
    world.stores = MemoryStores(serial=not packed, object_costs_request=packed)
    account = await world.open()
    await put(account, "INBOX", *letters(0, 45, size=300))
    await account.fold(force=True)
    await put(account, "INBOX", *letters(45, 3))
    table = account.find("INBOX")
    await account.copy(table, table.uids[:5], "Archive")
    await account.move(table, table.uids[5:7], "Archive")
    await send(world.stores, *letters(48, 2))
    found = await look(world)
    live = counts(found, "live")
    assert (found.mailboxes, found.messages) == (len(account.state.names), 48 + 5)
    assert found.mail == sum(sum(table.sizes) for table in account.state.tables.values())
    assert live["bodies"] == 48 + 2 or packed, "letters that wait have bodies"
    assert live["letters"] == 2 and live["checkpoints"] == 1 and live["segments"] >= 1
    assert ("packs" in live) == packed
    assert live["keys"] == len(world.stores._accounts[ID].partitions["keys"].rows)
    assert live["entries"] == 3, "those since the checkpoint"
    days = found.days.values()
    assert sum(day.entries for day in days) == sum_of(found, "entries").count
    assert sum(day.log for day in days) == sum_of(found, "entries").octets
    assert sum(day.messages for day in days) == 48, "copies and moves bring nothing"
    assert found.newest_checkpoint is not None and found.newest_entry is not None
    assert found.newest_checkpoint <= found.newest_entry


async def test_a_large_entry_is_one_and_so_are_the_parts_of_a_segment(world: World, account) -> None:
    await put(account, "INBOX", *letters(0, 100, size=600))
    names = [f"{n:03}{'x' * 900}" for n in range(60)]
    await account.journal.commit(lambda _: Draft([Subscribe(name, True) for name in names]))
    found = await look(world)
    large, segments = await account.store.sizes("entry/"), await account.store.sizes("segment/")
    assert large and len({name.split("/")[1] for name, _ in segments}) == 1 < len(segments)
    rows = world.stores._accounts[ID].partitions["log"].rows
    assert found.stored["entries"]["live"] == Tally(
        len(rows), sum(map(len, rows.values())) + sum(octets for _, octets in large)
    )
    assert found.stored["segments"]["live"] == Tally(1, sum(octets for _, octets in segments))


async def test_what_was_sealed_again_counts_once(world: World, account) -> None:
    await put(account, "INBOX", *letters(0, 300, size=600))
    await account.fold(force=True)
    await put(account, "INBOX", *letters(300, 1))
    data = world.stores._accounts[ID]
    objects, rows = dict(data.objects), dict(data.partitions["log"].rows)
    await rotation.rotate(account, world.unlocked[ID].slot, lag=0.0)
    before = await look(world)
    # A crash before the old names are deleted leaves both.
    current = account.keyring.current
    both = {name: body for name, body in objects.items() if sealed_for(name, current) in data.objects}
    again = data.partitions["log"].rows
    data.objects |= both
    again |= {key: value for key, value in rows.items() if sealed_for(key, current) in again}
    after = await look(world)
    assert both and after.total().octets > before.total().octets + sum(map(len, both.values()))
    for what in before.stored:
        assert sum_of(after, what).count == sum_of(before, what).count, what
    assert sum(day.messages for day in after.days.values()) == 301
    assert sum(day.entries for day in after.days.values()) == sum_of(after, "entries").count


async def test_what_is_removed_is_history_until_it_is_let_go_of_and_gone(world: World, now: Calendar) -> None:
    account = await world.open()
    began = now.now
    await put(account, "INBOX", *letters(0, 10, size=600))
    now.now += 60
    table = account.find("INBOX")
    await account.store_flags(table, table.uids[:4], "+", ["\\Deleted"])
    await account.expunge(table)
    found = await look(world)
    assert counts(found, "live")["bodies"] == 6 and counts(found, "history") == {"bodies": 4}
    assert counts(found, "going") == counts(found, "orphan") == counts(found, "lost") == {}
    seen = []
    for _ in range(12):
        await compact(account)
        now.now += DAY
        found = await look(world)
        seen.append(tuple(found.stored["bodies"][need].count for need in NEEDS))
    kept, past_retention, let_go, deleted = (6, 4, 0, 0, 0), (6, 0, 0, 0, 4), (6, 0, 4, 0, 0), (6, 0, 0, 0, 0)
    assert [*dict.fromkeys(seen)] == [kept, past_retention, let_go, deleted]
    assert counts(found, "live")["bodies"] == found.messages == 6
    assert found.oldest_checkpoint is not None and began < found.oldest_checkpoint < now.now
    assert "unneeded" in counts(found, "live"), "the notes of compaction are counted, too"


async def test_entries_that_compaction_deletes_next_are_going(world: World, now: Calendar) -> None:
    account = await world.open()
    await put(account, "INBOX", *letters(0, 3))
    await account.fold(force=True)
    entries = sum_of(await look(world), "entries").count
    assert counts(await look(world), "history")["entries"] == entries
    now.now += account.policy.retention + 60
    await put(account, "INBOX", *letters(3, 1))
    found = await look(world)
    assert found.stored["entries"]["going"].count == entries
    assert found.stored["entries"]["live"].count == 1
    began, came = next(iter(found.days.items())), [*found.days.values()]
    assert began[0] == datetime.fromtimestamp(now.now - account.policy.retention - 60, UTC).date()
    assert [day.messages for day in came] == [3, 1] and came[1].entries == 1
    assert (await compact(account)).entries == entries
    assert sum_of(await look(world), "entries").count == 1


async def test_what_nothing_names_is_an_orphan_until_compaction_lets_it_go(world: World, account) -> None:
    await put(account, "INBOX", *letters(0, 2))
    await account.store.put(body_name(0x123456), b"of a crash")
    found = await look(world)
    assert counts(found, "orphan") == {"bodies": 1} and found.total("orphan") == Tally(1, 10)
    await compact(account)
    found = await look(world)
    assert counts(found, "orphan") == {} and found.total("going").octets >= 10
    assert found.stored["bodies"]["going"] == Tally(1, 10)


async def test_what_nobody_knows_stays_and_is_told_of(world: World, account) -> None:
    await put(account, "INBOX", *letters(0, 2))
    store = account.store
    for name in ("a", "body", "boot/1", "zebra/1", "zebra/2"):
        await store.put(name, b"12345")
    await store.put(setting_aside.OBJECTS + "body/1", b"123")
    await store.append(setting_aside.PARTITION, [Row("log-1", b"1234")])
    found = await look(world)
    assert found.stored["other"]["lost"] == Tally(5, 25)
    assert found.stored[setting_aside.PARTITION]["lost"] == Tally(2, 7)
    assert counts(found, "orphan") == {}
    world.expected = await world.audit()


async def test_mail_whose_entry_is_gone_is_lost(world: World, account) -> None:
    await put(account, "INBOX", *letters(0, 100, size=600))
    newest = (await account.store.read("log"))[0][-1]
    await account.store.delete_rows("log", [newest.key])
    found = await look(world)
    assert found.messages == 0 and counts(found, "lost") == {"segments": 1}
    assert counts(found, "history")["bodies"] == 100, "compaction keeps what goes with it"


async def test_things_that_cannot_be_read_are_counted(world: World, account) -> None:
    await put(account, "INBOX", *letters(0, 2))
    rows = world.stores._accounts[ID].partitions["log"].rows
    rows[max(rows)] = rows[max(rows)][:-1]
    found = await look(world)
    assert found.damaged == 1 and found.messages == 0
    assert sum_of(found, "entries").count == len(rows)
    world.expected = await world.audit()
