"""Undo: what was expunged comes back as it was, once, whatever has happened since; and goes again."""

import os
import time
from collections import Counter
from contextlib import suppress
from random import Random

import pytest
import trio
from trio.testing import MockClock

from aerogramme.errors import Forgotten, NoSuchMailbox, OverQuota, Refused, Unavailable
from aerogramme.log import checkpoint
from aerogramme.log.clock import ms_of
from aerogramme.log.past import clock_at
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.body_record import body_name, pack_name
from aerogramme.mailbox.history import letting_go, undo
from aerogramme.mailbox.history.compaction import compact
from aerogramme.mailbox.history.past import past_of
from aerogramme.mailbox.history.undo import Report, Undo, Wanted
from aerogramme.mailbox.keys.reencrypting import Reencrypting
from aerogramme.mailbox.policy import Policy
from aerogramme.store.faults import Crash, CrashAt, Faults
from aerogramme.store.memory import MemoryStores
from tests.helpers.packed import small_packs
from tests.t3_mailbox.conftest import World, put
from tests.t3_mailbox.test_rotation import contents, fill, opened, rotate

DAY_MS = 24 * 60 * 60 * 1000


def letter(n: int) -> bytes:
    return b"From: a%d@example.org\r\nSubject: mail %d\r\n\r\ntext of %d\r\n" % (n, n, n)


def moment(account: Account) -> float:
    """Now, in unix seconds: what was done so far is before it, all else is after it."""
    last = ms_of(account.state.clock)
    while int(time.time() * 1000) <= last:
        pass
    return last / 1000


async def expunge(account: Account, name: str, *uids: int) -> None:
    table = account.find(name)
    await account.store_flags(table, uids, "+", ["\\Deleted"])
    await account.expunge(table, uids)


async def bring_back(account: Account, since: float, until: float | None = None, **wanted) -> Report:
    run = Undo(account, Wanted(since, time.time() + 60 if until is None else until, **wanted))
    await run.plan()
    return await run.bring_back()


async def take_back(account: Account, since: float, until: float | None = None, **wanted) -> Report:
    run = Undo(account, Wanted(since, time.time() + 60 if until is None else until, **wanted))
    await run.plan()
    return await run.take_back()


async def shown(account: Account, name: str) -> list[tuple]:
    """What IMAP says of each message of a mailbox, but its UID."""
    table = account.find(name)
    subjects, sizes = await account.digests(table.contents, ["subject", "record"])
    bodies = [await account.body(content) for content in table.contents]
    assert len(sizes) == len(bodies)
    flags = [set(account.flags_of(number)) for number in table.flags]
    return sorted(zip(subjects, bodies, flags, table.dates, table.sizes, strict=True), key=lambda row: row[0])


async def test_what_was_expunged_comes_back_as_it_was(account: Account) -> None:
    await put(account, "INBOX", letter(1), letter(2), flags=["\\Seen", "work"], date=1_000_000_000)
    await put(account, "INBOX", letter(3), date=7)
    before = await shown(account, "INBOX")
    since = moment(account)
    await expunge(account, "INBOX", 1, 3)
    report = await bring_back(account, since)
    assert await shown(account, "INBOX") == before
    assert list(account.find("INBOX").uids) == [2, 4, 5]  # numbers are never used again
    line = report.mailboxes["INBOX"]
    assert (line.messages, line.uids, line.made) == (2, [4, 5], False)
    assert line.octets == len(letter(1)) + len(letter(3))


async def test_only_what_went_in_that_time(account: Account) -> None:
    await put(account, "INBOX", *map(letter, range(5)))
    await expunge(account, "INBOX", 1)
    since = moment(account)
    await expunge(account, "INBOX", 2)
    await put(account, "INBOX", letter(6))  # came and went within it
    await expunge(account, "INBOX", 6)
    until = moment(account)
    await expunge(account, "INBOX", 3)
    assert (await bring_back(account, since, until)).messages == 2
    assert [row[0] for row in await shown(account, "INBOX")] == [b"mail 1", b"mail 3", b"mail 4", b"mail 6"]


async def test_nothing_is_brought_back_twice(account: Account, world: World) -> None:
    await put(account, "INBOX", *map(letter, range(4)))
    since = moment(account)
    await expunge(account, "INBOX", 1, 2, 3)
    assert (await bring_back(account, since)).messages == 3
    again = await bring_back(await world.open(), since)
    assert (again.messages, again.there, again.mailboxes) == (0, 3, {})
    await account.refresh()
    assert len(account.find("INBOX")) == 4
    # Also when it was filed elsewhere since, and where there is another copy of the content by then.
    await account.move(account.find("INBOX"), [5], "Archive")
    await account.copy(account.find("INBOX"), [6], "Archive")
    again = await bring_back(account, since)
    assert (again.messages, again.there) == (0, 3)


async def test_what_came_back_and_was_expunged_again_comes_back_again(account: Account) -> None:
    await put(account, "INBOX", letter(1), letter(2))
    since = moment(account)
    await expunge(account, "INBOX", 1)
    until = moment(account)
    for uid in (3, 4, 5):
        assert (await bring_back(account, since, until)).mailboxes["INBOX"].uids == [uid]
        await expunge(account, "INBOX", uid)
    # It is one message, however often it went in that time.
    assert (await bring_back(account, since)).mailboxes["INBOX"].uids == [6]
    assert (await bring_back(account, since)).messages == 0
    assert (await bring_back(account, since, until)).messages == 0


async def test_what_was_moved_was_not_expunged(account: Account) -> None:
    await put(account, "INBOX", *map(letter, range(3)))
    since = moment(account)
    await account.move(account.find("INBOX"), [1], "Archive")
    await account.rename_mailbox("INBOX", "Old")
    report = await bring_back(account, since)
    assert (report.messages, report.there, report.elsewhere, report.mailboxes) == (0, 0, 0, {})


async def test_what_another_mailbox_has_is_left_out_unless_asked_for(account: Account) -> None:
    """Mail programs without MOVE copy, and expunge."""
    await put(account, "INBOX", letter(1), letter(2))
    since = moment(account)
    await account.copy(account.find("INBOX"), [1], "Archive")
    await expunge(account, "INBOX", 1, 2)
    report = await bring_back(account, since)
    assert (report.messages, report.elsewhere) == (1, 1)
    assert [row[0] for row in await shown(account, "INBOX")] == [b"mail 2"]
    report = await bring_back(account, since, copies=True)
    assert (report.messages, report.there) == (1, 1)
    assert [row[0] for row in await shown(account, "INBOX")] == [b"mail 1", b"mail 2"]


async def test_both_of_two_copies_that_went_come_back(account: Account) -> None:
    await put(account, "INBOX", letter(1))
    await account.copy(account.find("INBOX"), [1], "Archive")
    since = moment(account)
    await expunge(account, "INBOX", 1)
    await expunge(account, "Archive", 1)
    assert (await bring_back(account, since)).messages == 2
    assert (await bring_back(account, since)).there == 2
    assert await shown(account, "INBOX") == await shown(account, "Archive")


async def test_a_deleted_mailbox_is_made_again(account: Account) -> None:
    await account.create_mailbox("Work/2024/May")
    await put(account, "Work/2024", letter(1), letter(2), flags=["\\Flagged"])
    await account.copy(account.find("Work/2024"), [1], "Archive")
    await put(account, "Junk", letter(3))
    since = moment(account)
    await account.subscribe("Junk", False)
    for name in ("Work/2024/May", "Work/2024", "Work", "Junk", "Drafts"):
        await account.delete_mailbox(name)
    await account.create_mailbox("Concepts", "\\Drafts")  # another has the use by now
    report = await bring_back(account, since)
    assert {name for name, line in report.mailboxes.items() if line.made} == {
        *("Work", "Work/2024", "Work/2024/May", "Junk", "Drafts")
    }
    roles = {info.name: info.role for info in account.mailboxes()}
    assert (roles["Junk"], roles["Drafts"], roles["Concepts"]) == ("\\Junk", None, "\\Drafts")
    assert {"Work/2024/May", "Junk", "Drafts"} <= set(account.subscriptions())
    assert [row[0] for row in await shown(account, "Work/2024")] == [b"mail 1", b"mail 2"]  # whole
    assert len(account.find("Junk")) == 1 and len(account.find("Archive")) == 1
    again = await bring_back(account, since)
    assert (again.messages, again.mailboxes) == (0, {})


async def test_mail_goes_where_its_mailbox_is_now(account: Account) -> None:
    """Renamed; or deleted, and another has the name."""
    for name in ("One", "Two"):
        await account.create_mailbox(name)
        await put(account, name, letter(1), letter(2))
    since = moment(account)
    await expunge(account, "One", 1)
    await account.rename_mailbox("One", "Uno")
    await account.delete_mailbox("Two")
    await account.create_mailbox("Two")
    await put(account, "Two", letter(9))
    report = await bring_back(account, since, copies=True)
    assert {name: (line.messages, line.made) for name, line in report.mailboxes.items()} == {
        "Uno": (1, False),
        "Two": (2, False),
    }
    assert list(account.find("Two").uids) == [1, 2, 3]


async def test_mailboxes_are_chosen_and_mail_goes_into_one(account: Account) -> None:
    await put(account, "Archive", letter(1))
    await put(account, "INBOX", letter(2))
    await put(account, "Junk", letter(3))
    since = moment(account)
    await expunge(account, "INBOX", 1)
    await account.delete_mailbox("Archive")
    await account.delete_mailbox("Junk")
    report = await bring_back(account, since, mailboxes=("inbox", "Junk"), into="Back/Here")
    assert {name: line.messages for name, line in report.mailboxes.items()} == {"Back/Here": 2}
    assert "Junk" not in account.state.names and "Back" in account.state.names
    assert (await bring_back(account, since)).mailboxes.keys() == {"Archive", "Junk"}
    assert len(account.find("Junk")) == len(account.find("INBOX")) == 0  # it is there
    with pytest.raises(NoSuchMailbox, match="nowhere"):
        await bring_back(account, since, mailboxes=("INBOX", "nowhere"))
    with pytest.raises(Refused):
        await bring_back(account, since, into="a//b")


async def test_a_time_before_the_account_was_made(account: Account) -> None:
    """All that was ever expunged."""
    await put(account, "INBOX", letter(1))
    await expunge(account, "INBOX", 1)
    assert (await bring_back(account, 1.0)).messages == 1


async def test_times_that_make_no_sense(account: Account) -> None:
    with pytest.raises(Refused):
        await bring_back(account, time.time(), time.time() - 1)


async def test_dry_run_tells_and_does_nothing(account: Account) -> None:
    await put(account, "Archive", letter(1), letter(2))
    since = moment(account)
    await account.delete_mailbox("Archive")
    clock = account.state.clock
    run = Undo(account, Wanted(since, time.time() + 1))
    await run.plan()
    dry = await run.bring_back(dry_run=True)
    assert account.state.clock == clock
    report = await bring_back(account, since)
    report.mailboxes["Archive"].uids = []
    assert dry == report


async def test_it_is_taken_back(account: Account) -> None:
    await put(account, "INBOX", *map(letter, range(4)))
    since = moment(account)
    await expunge(account, "INBOX", 1, 2, 3)
    until = moment(account)
    await bring_back(account, since, until)
    await account.move(account.find("INBOX"), [5], "Archive")  # the user's now
    await put(account, "INBOX", letter(9))
    report = await take_back(account, since, until)
    assert report.mailboxes["INBOX"].messages == 2
    assert [row[0] for row in await shown(account, "INBOX")] == [b"mail 3", b"mail 9"]
    assert len(account.find("Archive")) == 1
    assert (await take_back(account, since, until)).messages == 0
    report = await bring_back(account, since, until)
    assert (report.messages, report.there) == (2, 1)


@pytest.mark.parametrize("packed", [False, True])
async def test_contents_that_the_state_has_no_more(packed: bool, monkeypatch) -> None:
    """Their digests have left the newest checkpoint, their bodies lie in packs that it does not name."""
    monkeypatch.setattr("aerogramme.mailbox.packs.LEAST", 2)
    world = World()
    world.stores = MemoryStores(serial=True, object_costs_request=packed)
    account = await world.open()
    await put(account, "INBOX", *map(letter, range(40)))
    await account.fold(force=True)
    since = moment(account)
    await expunge(account, "INBOX", *range(1, 41))
    await put(account, "INBOX", *map(letter, range(50, 90)))
    gone = account.state.contents._firsts[0]
    await account.fold(force=True, without=_Everything(account))
    assert await account.store.list(pack_name("")) if packed else True
    await account.store.delete(await account.store.list("body/") if packed else [])
    later = await world.open()
    assert gone not in later.state.contents
    report = await bring_back(later, since)
    assert (report.messages, report.lost) == (40, 0)
    rows = await shown(later, "INBOX")
    assert {row[1] for row in rows} == {letter(n) for n in (*range(40), *range(50, 90))}
    await later.fold(force=True)
    fresh = await world.open()
    assert await shown(fresh, "INBOX") == rows
    assert await world.audit() == []


class _Everything:
    """The contents that no message has."""

    def __init__(self, account: Account) -> None:
        self._live = {c for table in account.state.tables.values() for c in table.contents}

    def __contains__(self, content: object) -> bool:
        return content not in self._live


async def test_a_body_that_is_gone_is_told(account: Account) -> None:
    await put(account, "INBOX", letter(1), letter(2))
    contents = list(account.find("INBOX").contents)
    since = moment(account)
    await expunge(account, "INBOX", 1, 2)
    await account.store.delete([body_name(contents[0])])
    report = await bring_back(account, since)
    assert (report.messages, report.lost) == (1, 1)
    assert [row[0] for row in await shown(account, "INBOX")] == [b"mail 2"]


async def test_many_come_back_some_with_each_entry(account: Account, monkeypatch) -> None:
    monkeypatch.setattr(undo, "BATCH", 3)
    await put(account, "INBOX", *map(letter, range(8)))
    since = moment(account)
    await expunge(account, "INBOX", *range(1, 9))
    told: list[int] = []
    run = Undo(account, Wanted(since, time.time() + 1), told.append)
    await run.plan()
    entries = account.state.vector
    report = await run.bring_back()
    assert report.mailboxes["INBOX"].uids == list(range(9, 17))
    assert (run.total, told) == (8, [3, 6, 8])
    assert sum(account.state.vector.values()) - sum(entries.values()) == 3
    # In the order that they had.
    subjects, *_ = await account.digests(account.find("INBOX").contents, ["subject"])
    assert subjects == [b"mail %d" % n for n in range(8)]


async def test_bodies_in_packs_come_a_few_at_a_time(monkeypatch) -> None:
    small_packs(monkeypatch)
    monkeypatch.setattr(undo, "BATCH_OCTETS", 1000)
    world = World()
    world.stores = MemoryStores(serial=True, object_costs_request=True)
    account = await world.open()
    await put(account, "INBOX", *(os.urandom(300) for _ in range(12)))
    await account.fold(force=True)
    await account.store.delete(await account.store.list("body/"))
    since = moment(account)
    await expunge(account, "INBOX", *range(1, 13))
    read, most = account.store.get_many, 0

    async def get_many(wanted):
        nonlocal most
        got = await read(wanted)
        if wanted and str(wanted[0][0]).startswith("pack/"):
            most = max(most, sum(map(len, got)))
        return got

    monkeypatch.setattr(account.store, "get_many", get_many)
    assert (await bring_back(account, since)).messages == 12
    assert 300 < most <= 1000
    assert await world.audit() == []


async def test_nothing_comes_back_if_there_is_no_room_for_all_of_it(account: Account) -> None:
    await put(account, "INBOX", *map(letter, range(3)))
    await put(account, "Archive", letter(9))
    since = moment(account)
    await expunge(account, "INBOX", 1, 2)
    await account.delete_mailbox("Archive")
    account.policy = Policy(quota=4 * len(letter(1)) - 1)
    for dry_run in True, False:
        run = Undo(account, Wanted(since, time.time() + 60))
        await run.plan()
        with pytest.raises(OverQuota):
            await run.bring_back(dry_run=dry_run)
    assert len(account.find("INBOX")) == 1 and "Archive" not in account.state.names
    account.policy = Policy(quota=4 * len(letter(1)))
    assert (await bring_back(account, since)).messages == 3
    assert (await bring_back(account, since)).there == 3, "what is there takes no room"


async def test_a_crash_at_any_call_and_it_is_done_again() -> None:
    for packed in (False, True):
        for call in range(1, 60):
            if await _crashes(call, packed=packed):
                break
        else:
            raise AssertionError("it never ends")


async def _crashes(call: int, *, packed: bool) -> bool:
    """Whether the run has come to its end before that call."""
    world = World()
    world.stores = MemoryStores(serial=True, object_costs_request=packed)
    account = await world.open()
    await put(account, "INBOX", *map(letter, range(3)))
    await account.create_mailbox("Work/Here")
    await put(account, "Work/Here", letter(7))
    await account.fold(force=True)
    since = moment(account)
    await expunge(account, "INBOX", 1, 2)
    await account.delete_mailbox("Work/Here")
    await account.delete_mailbox("Work")
    whole = False
    try:
        crashing = await world.open(stores=world.stores.another(CrashAt(call)))
        await bring_back(crashing, since)
        whole = True
    except Crash:
        pass
    again = await world.open()
    report = await bring_back(again, since)
    assert not whole or report.messages == 0
    assert [row[0] for row in await shown(again, "INBOX")] == [b"mail 0", b"mail 1", b"mail 2"]
    assert [row[0] for row in await shown(again, "Work/Here")] == [b"mail 7"]
    assert await world.audit() == []
    return whole


@pytest.mark.parametrize("seed", range(6))
async def test_two_at_once_bring_it_back_once(seed: int, autojump_clock: MockClock) -> None:
    """On two servers, to which a store answers late, not at all, or in part."""
    world, rng = World(), Random(seed)
    world.stores = MemoryStores(serial=seed == 0)
    account = await world.open()
    await put(account, "INBOX", *map(letter, range(5)))
    await account.create_mailbox("Work/Here")
    await put(account, "Work/Here", letter(7))
    since = moment(account)
    await expunge(account, "INBOX", 1, 2, 3)
    await account.delete_mailbox("Work/Here")
    await account.delete_mailbox("Work")
    faults = [Faults(Random(rng.random())) for _ in range(2)]
    async with trio.open_nursery() as nursery:
        for each in faults:
            nursery.start_soon(until_done, world, world.stores.another(each), since)
    for each in faults:
        each.reliable = True
    await world.open()
    for server in world.opened[1:]:
        await server.refresh()
        assert [row[0] for row in await shown(server, "INBOX")] == [b"mail %d" % n for n in range(5)]
        assert [row[0] for row in await shown(server, "Work/Here")] == [b"mail 7"]
        assert [name for name in server.state.names if "Work/Here" in name] == ["Work/Here"]
        assert (await bring_back(server, since)).messages == 0
    assert await world.audit() == []


async def until_done(world: World, stores: MemoryStores, since: float) -> None:
    while True:
        with suppress(Unavailable):
            account = await world.open(stores=stores)
            await bring_back(account, since)
            return


async def test_compaction_leaves_what_can_come_back(account: Account) -> None:
    """For as long as the retention, and not for longer; then that is said."""
    await put(account, "INBOX", *map(letter, range(5)))
    await account.fold(force=True)
    since = moment(account)
    await expunge(account, "INBOX", 1, 2)
    until = moment(account)
    now = time.time_ns() // 1_000_000
    for days in range(7):
        report = await compact(account, now_ms=lambda at=now + days * DAY_MS: at)
        assert not report.damaged
    assert (await bring_back(account, since, until)).messages == 2
    assert len(await shown(account, "INBOX")) == 5
    assert (await take_back(account, since, until)).messages == 2
    bodies = len(await account.store.list("body/"))
    for days in range(8, 20):
        # What happens is of now, as the clock of the account is: so compaction is told that it was long ago.
        await compact(account, now_ms=lambda at=now + days * DAY_MS: at)
    assert len(await account.store.list("body/")) < bodies
    with pytest.raises(Forgotten, match="goes back to"):
        await bring_back(account, since, until)


async def test_bodies_that_were_erased_with_their_keys_do_not_come_back(account: Account) -> None:
    await put(account, "INBOX", letter(1), letter(2))
    since = moment(account)
    await expunge(account, "INBOX", 1)
    await Reencrypting(account, lambda: None).run(0)
    report = await bring_back(account, since)
    assert (report.messages, report.lost) == (0, 1)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_nothing_is_lost_and_all_can_be_taken_back(seed: int) -> None:
    """Every mail that was there since is there afterwards; a second run does nothing; and --undo is exact."""
    world, rng = World(), Random(seed)
    world.stores = MemoryStores(serial=rng.random() < 0.7)
    account = await world.open()
    names = ["INBOX", "Archive", "Work", "Work/Old"]
    letters: set[bytes] = set()
    since = 0.0
    for step in range(40):
        if step == 12:
            since, letters = moment(account), set(await everywhere(account))
            letters = {each for _, each in letters}
        there = [name for name in names if name in account.state.names]
        table = account.find(rng.choice(there))
        name = account.name_of(table.mailbox)
        some = rng.sample(list(table.uids), min(len(table.uids), rng.randint(1, 3)))
        match rng.randrange(8):
            case 0 | 1:
                new = [letter(step * 10 + n) for n in range(rng.randint(1, 3))]
                await put(account, name, *new)
                letters.update(new)
            case 2 | 3:
                await expunge(account, name, *some)
            case 4:
                await account.move(table, some, rng.choice(there))
            case 5:
                await account.copy(table, some, rng.choice(there))
            case 6:
                await account.fold(force=True)
            case _ if name != "INBOX" and rng.random() < 0.5:
                await account.delete_mailbox(name)
            case _:
                for missing in set(names) - set(there):
                    await account.create_mailbox(missing)
                    break
    before = await everywhere(account)
    until = moment(account)
    copies = rng.random() < 0.5
    report = await bring_back(account, since, until, copies=copies)
    after = await everywhere(account)
    assert sum(after.values()) == sum(before.values()) + report.messages
    assert before <= after and letters <= {each for _, each in after}
    fresh = await world.open()
    assert (await bring_back(fresh, since, until, copies=copies)).messages == 0
    assert await everywhere(fresh) == after
    assert (await take_back(fresh, since, until)).messages == report.messages
    assert await everywhere(fresh) == before
    assert await world.audit() == []


async def everywhere(account: Account) -> Counter[tuple[str, bytes]]:
    """Mailbox and letter of every message."""
    found: Counter[tuple[str, bytes]] = Counter()
    for name in account.state.names:
        for content in account.find(name).contents:
            found[name, await account.body(content)] += 1
    return found


@pytest.mark.parametrize("kind", ["serial", "packed"])
async def test_keys_that_were_rotated_since(kind: str, monkeypatch) -> None:
    """What the past is sealed with is found under its new names; what was expunged comes back, too."""
    stores = MemoryStores(serial=kind == "serial", object_costs_request=kind == "packed")
    before = await fill(stores, monkeypatch)
    account = await opened(stores)
    since = moment(account)
    await expunge(account, "INBOX", 1, 2, 3, 4, 5, 6, 7)
    await account.delete_mailbox("Archive")
    await account.drain.all_waiting()
    await account.fold(force=True)
    await account.aclose()
    await rotate(stores)
    account = await opened(stores)
    past = await past_of(account, since)
    assert await contents(past) == {name: letters for name, letters in before.items() if name != "letters"}
    assert (await bring_back(account, since)).messages == sum(map(len, before.values())) - 1
    fresh = await opened(stores)
    assert sorted((await contents(fresh))["INBOX"]) == sorted(before["INBOX"] + before["letters"])
    assert (await contents(fresh))["Archive"] == before["Archive"]
    assert await audit(fresh) == []


async def test_where_a_checkpoint_cannot_be_read() -> None:
    """It goes on from an older one, if all entries since are there; else it says so."""
    world = World()
    account = await world.open()
    await put(account, "INBOX", letter(1))
    await account.fold(force=True)
    await put(account, "INBOX", letter(2), letter(3))
    await account.fold(force=True)
    newest, oldest = await account.store.list(checkpoint.PREFIX)
    since = moment(account)
    await expunge(account, "INBOX", 1, 2)
    data = account.store._data
    data.objects[newest] = b"?"
    fresh = await world.open()
    run = Undo(fresh, Wanted(since, time.time() + 1))
    await run.plan()
    assert (await run.bring_back(dry_run=True)).messages == 2
    # Now it is let go of, and the entries between the two are deleted.
    await account.store.append(letting_go.PARTITION, [letting_go.row(account.keyring, 1, [oldest])])
    rows, _ = await account.store.read("log")
    await account.store.delete_rows("log", [key for key, _ in rows if key < f"{clock_at(since):016x}"])
    with pytest.raises(Forgotten):
        await bring_back(account, since)
