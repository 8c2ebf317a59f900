"""Compaction: what is not needed leaves, a day after it was let go of; what is needed stays as it is."""

from types import SimpleNamespace

import pytest
import trio

from aerogramme.log import clock
from aerogramme.log.clock import wall_ms
from aerogramme.log.entry import PARTITION
from aerogramme.mailbox import account as accounts
from aerogramme.mailbox.history import compaction, letting_go
from aerogramme.mailbox.history import survey as survey_module
from aerogramme.mailbox.history.compaction import compact
from aerogramme.mailbox.history.survey import kept_of, survey
from aerogramme.mailbox.policy import DAY, Policy
from aerogramme.store.memory import MemoryStores
from tests.helpers.damage import other_end
from tests.helpers.packed import small_packs
from tests.t3_mailbox.conftest import World, put

START = 1_700_000_000


class Wall:
    """The time of day."""

    def __init__(self) -> None:
        self.now = float(START)

    def days(self, days: float) -> None:
        self.now += days * DAY

    def ms(self) -> int:
        return int(self.now * 1000)


@pytest.fixture
def wall(monkeypatch) -> Wall:
    wall = Wall()
    module = SimpleNamespace(time=lambda: wall.now, time_ns=lambda: int(wall.now * 1e9))
    for each in clock, accounts:
        monkeypatch.setattr(each, "time", module)
    return wall


@pytest.fixture(params=["sqlite", "garage"])
def world(world: World, request, monkeypatch) -> World:
    """Accounts on a store like these: memory, in their manner."""
    if request.param == "garage":
        world.stores = MemoryStores(object_costs_request=True)
        small_packs(monkeypatch)
    return world


def letter(number: int, octets: int = 200) -> bytes:
    return b"Message-ID: <%d@test>\r\nSubject: %d\r\n\r\n" % (number, number) + b"%08d" % number * (
        octets // 8
    )


async def stored(account):
    return (await survey(account, account.journal._clock.now_ms())).stored


async def all_letters(account):
    table = account.find("INBOX")
    return [body async for body in account.read_bodies(list(table.contents))]


async def expunge(account, uids):
    table = account.find("INBOX")
    await account.store_flags(table, uids, "+", ["\\Deleted"])
    return await account.expunge(table)


async def test_what_is_needed_no_more_leaves(world: World, wall: Wall) -> None:
    account = await world.open()
    account.policy = Policy(retention=7 * DAY)
    for number in range(60):
        await put(account, "INBOX", letter(number))
    await expunge(account, list(range(1, 51)))
    assert sum(name.startswith("body/") for name in await stored(account)) == 60
    for _ in range(12):
        wall.days(1)
        await compact(account)
    found = await survey(account, wall.ms())
    others = [name for name in found.stored if found.standing(name) != "live"]
    assert len(others) == 1 and others[0].startswith("checkpoint/")  # a second that says the same
    assert not found.damaged
    assert not found.old and found.entries <= 2
    bodies = [name for name in found.stored if name.startswith(("body/", "pack/"))]
    assert len(bodies) == (
        10 if world.stores.open and not account.store.object_costs_request else len(bodies)
    )
    assert sum(len(account.state.segments[i].contents) for i in account.state.named_segments()) == 10
    assert len(found.kept) <= 3
    assert await all_letters(account) == [letter(n) for n in range(50, 60)]
    again = await world.open()
    assert await all_letters(again) == [letter(n) for n in range(50, 60)]


async def test_nothing_of_the_retention_leaves(world: World, wall: Wall) -> None:
    account = await world.open()
    for number in range(5):
        await put(account, "INBOX", letter(number))
    await expunge(account, [1, 2])
    bodies = {name for name in await stored(account) if name.startswith("body/")}
    for _ in range(6):
        wall.days(1)
        report = await compact(account)
        assert report.entries == 0 and not report.deleted.count
        assert bodies <= set(await stored(account)) or account.store.object_costs_request
    rows, _ = await account.store.read(PARTITION)
    assert len(rows) >= 7


async def test_a_dry_run_changes_nothing_and_says_what_would_go(world: World, wall: Wall) -> None:
    account = await world.open()
    for number in range(5):
        await put(account, "INBOX", letter(number))
    await account.fold(force=True)
    await account.store.put("piece/" + "0" * 32, b"left by a crash")
    wall.days(20)
    await put(account, "INBOX", letter(6))
    await account.fold(force=True)
    before = await stored(account), await account.store.read(PARTITION), await account.store.read("unneeded")
    said = await compact(account, dry_run=True)
    after = await stored(account), await account.store.read(PARTITION), await account.store.read("unneeded")
    assert before[0] == after[0] and before[1][0] == after[1][0] and before[2][0] == after[2][0]
    assert said.entries > 0 and said.let_go.count
    done = await compact(account)
    assert (done.entries, done.let_go, done.dropped) == (said.entries, said.let_go, said.dropped)
    wall.days(2)
    assert (await compact(account)).deleted.count["piece"] == 1


async def test_what_is_let_go_of_and_named_again_stays(world: World, wall: Wall) -> None:
    """Say, an upload that took long: the body was there, and nothing named it yet."""
    account = await world.open()
    upload = account.upload()
    await upload.write(letter(1))
    content, sealed = await upload.finish()
    assert sealed is not None
    name = f"body/{content.id:016x}"
    await account.store.put(name, sealed)
    wall.days(1)
    report = await compact(account)
    assert report.let_go.count == {"body": 1}
    from aerogramme.mailbox.contents import NewMessage

    class Done:
        async def finish(self):
            return content, None

        def drop(self):
            pass

    await account.append("INBOX", [NewMessage(Done())])  # type: ignore[arg-type]
    wall.days(1.5)
    report = await compact(account)
    assert not report.deleted.count and name in await stored(account)
    assert all(
        name not in row.names for row in (await letting_go.read(account.store, account.journal.records))[0]
    )
    assert await all_letters(account) == [letter(1)]


async def test_who_has_not_heard_of_a_checkpoint_may_mention_what_it_forgets(
    world: World, wall: Wall, monkeypatch
) -> None:
    """An entry that comes while the log is cut: its writer has opened the account before."""
    account = await world.open()
    account.policy = Policy(retention=7 * DAY)
    wall.days(2)
    await put(account, "INBOX", letter(1))
    wall.days(8)
    other = await world.open()
    await compact(account)  # writes the first checkpoint, which forgets who made the account

    async def survey_and_others(*given):
        found = await survey(*given)
        await put(other, "INBOX", letter(2))
        return found

    monkeypatch.setattr(compaction, "survey", survey_and_others)
    assert (await compact(account)).entries > 0
    assert await world.audit() == []


async def test_who_was_forgotten_long_ago_is_said_no_more(world: World, wall: Wall) -> None:
    cut = []
    for number in range(40):
        account = await world.open()  # as another replica
        account.policy = Policy(retention=7 * DAY)
        await put(account, "INBOX", letter(number))
        await compact(account)
        wall.days(1)
        cut.append(len(account.state.cut))
    assert 0 < max(cut) <= 6, "of 40 who wrote, those of some days"
    assert await world.audit() == []


async def test_what_is_left_of_what_was_let_go_of_is_no_lost_mail(world: World, wall: Wall) -> None:
    account = await world.open()
    account.policy = Policy(retention=7 * DAY)
    await put(account, "INBOX", letter(1))
    [content] = account.find("INBOX").contents
    await account.fold(force=True)
    names = await account.store.list("segment/")
    merged = [(name, await account.store.get(name)) for name in names]
    await expunge(account, [1])
    for day in range(20):
        wall.days(1)
        if day == 10:
            await put(account, "INBOX", letter(2))
        await compact(account)
    assert not set(names) & set(await account.store.list("segment/"))
    assert content not in account.find("INBOX").tombs, "nobody knows any more that it was there"
    for name, sealed in merged:  # one server has merged it, while another left it out, and no checkpoint came
        await account.store.put(name, sealed)
    found = await survey(account, wall.ms())
    assert {found.standing(name) for name in names} == {"lost"}
    for known in names[0], f"body/{content:016x}":
        row = letting_go.row(account.keyring, wall.ms() << clock.COUNTER_BITS, [known])
        await account.store.append(letting_go.PARTITION, [row])
        found = await survey(account, wall.ms())
        assert {found.standing(name) for name in names} <= {"going", "orphan"}
        await account.store.delete_rows(letting_go.PARTITION, [row.key])
    await account.store.delete(names)


async def test_what_is_damaged_stops_all_deleting(world: World, wall: Wall) -> None:
    account = await world.open()
    await put(account, "INBOX", letter(1))
    await account.store.put("body/00000000000000aa", b"left over")
    rows, _ = await account.store.read(PARTITION)
    await account.store.delete_rows(PARTITION, [rows[-1].key])
    await account.store.append(PARTITION, [rows[-1]._replace(value=other_end(rows[-1].value))])
    wall.days(3)
    report = await compact(account)
    assert list(report.damaged) == [f"log/{rows[-1].key}"]
    assert not report.let_go.count and not report.deleted.count
    await account.store.delete_rows(PARTITION, [rows[-1].key])
    await account.store.append(PARTITION, [rows[-1]])
    await account.store.delete(["body/00000000000000aa"])


def test_which_checkpoints_are_kept() -> None:
    now = 1_000 * DAY * 1000

    def name(days: float) -> str:
        ms = int(now - days * DAY * 1000)
        return (
            f"checkpoint/{clock.MAX_CLOCK - (ms << clock.COUNTER_BITS):016x}-{(1 << 44) - 1 - ms:011x}00000"
        )

    ages = [0.1, 0.2, 0.3, 0.9, 1.2, 1.3, 3, 5.1, 5.2, 6.9, 7.5, 8, 30]
    kept, base = kept_of([name(age) for age in ages], now, 7 * DAY * 1000)
    assert base == name(7.5)
    gone = set(map(name, ages)) - set(kept)
    assert {name(8), name(30)} <= gone and name(7.5) in kept
    # That of 1.2 days ago was the newest until 0.9 days ago.
    assert all(name(age) in kept for age in (0.1, 0.2, 0.3, 0.9, 1.2, 3, 6.9))
    assert len({name(5.1), name(5.2)} & gone) <= 1 and len(kept) <= 4 + 8 + 1
    assert kept_of([name(30)], now, 7 * DAY * 1000) == ([name(30)], name(30))
    assert kept_of([], now, 7 * DAY * 1000) == ([], None)
    assert kept_of([name(2)], now, 7 * DAY * 1000) == ([name(2)], None)


async def test_others_have_their_turn_while_old_entries_are_gone_through(account, monkeypatch) -> None:
    for n in range(20):
        await put(account, "INBOX", b"%d" % n)
    monkeypatch.setattr(survey_module, "TURN", 1)
    surveying = survey_module._Surveying(account, wall_ms())
    surveying._found.base = SimpleNamespace(vector={}, covers=lambda *_: True)
    rows, _ = await account.store.read(PARTITION)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await surveying._entries(rows)
        nursery.cancel_scope.cancel()
    assert len(surveying._found.old) == len(rows) > 20 and turns > 10
