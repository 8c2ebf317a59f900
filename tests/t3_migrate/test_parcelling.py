"""Passes into an account that nobody can open yet, and what the user finds at the first login."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
import trio

from aerogramme.mailbox.account import Account
from aerogramme.mailbox.incoming.incoming import LetterBox
from aerogramme.mailbox.incoming.letterboxes import key_to_seal_to
from aerogramme.mailbox.keys.keys import StoredKeys
from aerogramme.migrate import parcelling
from aerogramme.migrate.parcelling import run_sealed_pass
from aerogramme.migrate.passed import Memory
from aerogramme.migrate.passing import Options
from aerogramme.migrate.report import Report
from aerogramme.migrate.targets.sealed import sealed
from tests.helpers.fake_source import Box, FakeSource
from tests.t3_mailbox.conftest import World
from tests.t3_migrate.test_passing import Cut, Moving, counts, letter

ID = "00" * 16


class Sealing(Moving):
    """A source, and an account that the passes cannot open."""

    def __init__(self, world: World, path: Path) -> None:
        self.world, self.path = world, path
        self.source = FakeSource()
        self.inbox = self.source.boxes["INBOX"] = Box(77)

    @property
    async def store(self):
        return await self.world.stores.open(ID)

    async def run(self, **options) -> Report:
        report = Report()
        self.source.faults.clear()
        store = await self.store
        public = key_to_seal_to(await StoredKeys.read(store), ID, ())
        async with sealed(store, ID, public) as target:
            memory = Memory.load(self.path)
            await run_sealed_pass(self.source, target, memory, Options(**options), report, lambda: None)
        return report

    async def login(self) -> Account:
        """The user comes, and all that waits is opened."""
        self.account = await self.world.open()
        await self.account.drain.all_waiting()
        assert not self.account.drain.unreadable
        return self.account

    async def waiting(self) -> int:
        rows, _ = await (await self.store).read("incoming")
        return len(rows)


@pytest.fixture
async def sealing(world: World, tmp_path: Path) -> Sealing:
    await world.create()
    return Sealing(world, tmp_path / "import" / "a")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Parcels of four letters."""
    monkeypatch.setattr(parcelling, "MAX_PARCEL", 4)


async def test_all_is_there_at_the_first_login(sealing: Sealing):
    for n in range(11):
        sealing.inbox.put(letter(n, 3_000_000 if n == 5 else 0), ("\\Seen",) if n % 2 else ())
    del sealing.inbox.messages[11], sealing.inbox.messages[2]
    sealing.source.boxes["Work/empty"] = Box(77, subscribed=False)
    sealing.source.boxes["Gesendet"] = Box(12, role="\\Sent")
    sealing.source.boxes["Gesendet"].put(letter(99))
    report = await sealing.run()
    assert counts(report, "messages", "landed", "lost") == [10, 10, 0]
    account = await sealing.login()
    assert [await sealing.same(name) for name in sealing.source.boxes] == [True] * 3
    assert account.find("INBOX").uidnext == 12
    assert "Work/empty" not in account.subscriptions()
    assert {each.name: each.role for each in account.mailboxes()}["Gesendet"] == "\\Sent"


async def test_what_has_changed_is_sent_again_and_what_is_new_besides(sealing: Sealing):
    for n in range(12):
        sealing.inbox.put(letter(n))
    await sealing.run()
    waiting = await sealing.waiting()
    sealing.inbox.messages[6].flags = ("\\Flagged",)
    sealing.inbox.put(letter(20))
    sealing.source.read.clear()
    assert counts(await sealing.run(dry_run=True), "landed", "again") == [1, 4]
    assert sealing.source.read == []
    assert counts(await sealing.run(), "landed", "again", "removed") == [1, 4, 0]
    assert sealing.source.read == [("INBOX", uid) for uid in (5, 6, 7, 8, 13)]
    assert await sealing.waiting() == waiting + 1
    assert counts(await sealing.run(), "landed", "again") == [0, 0]
    await sealing.login()
    assert await sealing.same("INBOX")


async def test_what_is_gone_goes_only_with_delete(sealing: Sealing):
    for n in range(12):
        sealing.inbox.put(letter(n))
    await sealing.run()
    for uid in 2, 5, 6, 7, 8:
        del sealing.inbox.messages[uid]
    report = await sealing.run()
    assert counts(report, "again", "removed") == [0, 0] and "--delete" in report.faults[0].what
    assert not report.lost
    assert counts(await sealing.run(delete=True), "again", "removed") == [3, 5]
    await sealing.login()
    assert await sealing.same("INBOX")


async def test_once_the_user_was_there_only_new_mail_comes(sealing: Sealing):
    for n in range(6):
        sealing.inbox.put(letter(n))
    await sealing.run()
    account = await sealing.login()
    await account.remove(account.find("INBOX"), [3])
    sealing.inbox.messages[1].flags = ("\\Seen",)
    sealing.inbox.put(letter(7))
    report = await sealing.run(delete=True)
    assert counts(report, "landed", "again") == [1, 0] and "with the password" in report.faults[0].what
    await sealing.login()
    assert {uid: each[2] for uid, each in (await sealing.seen("INBOX")).items()} == {
        uid: set() for uid in (1, 2, 4, 5, 6, 7)
    }


async def test_what_cannot_be_read_is_tried_again(sealing: Sealing):
    for n in range(6):
        sealing.inbox.put(letter(n))
    sealing.source.unreadable.add(("INBOX", 2))
    sealing.source.breaking.add(("INBOX", 6))
    report = await sealing.run()
    assert report.lost and counts(report, "landed", "lost") == [4, 2]
    assert (await sealing.run()).lost
    sealing.source.unreadable.clear()
    sealing.source.breaking.clear()
    assert not (await sealing.run()).lost
    await sealing.login()
    assert await sealing.same("INBOX")


@pytest.mark.parametrize("count, comes", [(7, True), (13, False)])
async def test_of_a_mailbox_the_first_letters_cannot_be_read(sealing: Sealing, count, comes):
    """More than go into a parcel: the others are sent. What can be read later takes the place of their
    parcel, unless it is too much for one."""
    for n in range(count):
        sealing.inbox.put(letter(n))
    sealing.source.unreadable |= {("INBOX", uid) for uid in range(1, count - 2)}
    assert counts(await sealing.run(), "landed", "lost") == [3, count - 3]
    sealing.source.unreadable.clear()
    sealing.inbox.put(letter(count))
    report = await sealing.run()
    assert counts(report, "landed", "again") == [1, count if comes else 0]
    assert bool(report.faults) != comes
    await sealing.login()
    assert len(await sealing.seen("INBOX")) == (count + 1 if comes else 4)


async def test_what_was_sent_and_cannot_be_read_any_more_stays(sealing: Sealing):
    for n in range(3):
        sealing.inbox.put(letter(n))
    await sealing.run()
    sealing.inbox.messages[1].flags = ("\\Seen",)
    sealing.source.breaking.add(("INBOX", 2))
    assert (await sealing.run()).lost
    await sealing.login()
    assert set(await sealing.seen("INBOX")) == {1, 2, 3}


async def test_a_source_without_uids(sealing: Sealing):
    sealing.inbox.uidvalidity = 0
    for n in 1, 2, 2, 3, 4, 5:
        sealing.inbox.put(letter(n))
    assert counts(await sealing.run(), "landed") == [6]
    sealing.inbox.put(letter(2))
    sealing.inbox.put(letter(6))
    assert counts(await sealing.run(), "landed") == [2]
    await sealing.login()
    assert Counter(each[0] for each in (await sealing.seen("INBOX")).values()) == Counter(
        map(letter, (1, 2, 2, 2, 3, 4, 5, 6))
    )
    assert counts(await sealing.run(), "landed") == [0]


@pytest.mark.parametrize("forget", [False, True])
async def test_without_what_was_remembered_nothing_is_doubled(sealing: Sealing, forget):
    for n in range(6):
        sealing.inbox.put(letter(n))
    await sealing.run()
    if forget:
        sealing.path.unlink()
    sealing.inbox.put(letter(7))
    await sealing.run()
    await sealing.login()
    assert await sealing.same("INBOX")


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_happens_the_last_pass_counts(sealing: Sealing, seed):
    """Mail comes and goes, passes are cut off before or after something was written: when the user comes,
    all is as the last pass has found it."""
    random = Random(seed)
    boxes = sealing.source.boxes
    boxes["Work"] = Box(77)
    number = 0
    store = await sealing.store
    append, delete_rows = type(store).append, type(store).delete_rows
    for turn in range(6):
        for _ in range(random.randrange(10)):
            name = random.choice(list(boxes))
            box = boxes[name]
            number += 1
            match random.randrange(5):
                case 0 | 1 | 2:
                    box.put(letter(number))
                case 3 if box.messages:
                    del box.messages[random.choice(list(box.messages))]
                case 4 if box.messages:
                    box.messages[random.choice(list(box.messages))].flags = (f"k{number}",)
        calls, late = random.randrange(6), random.random() < 0.5

        def cutting(method, late=late):
            async def cut(*args, **kwargs):
                nonlocal calls
                calls -= 1
                if calls >= 0:
                    return await method(*args, **kwargs)
                if late:
                    await method(*args, **kwargs)
                raise Cut

            return cut

        with pytest.MonkeyPatch.context() as patch:
            if turn < 5:
                patch.setattr(type(store), "append", cutting(append))
                patch.setattr(type(store), "delete_rows", cutting(delete_rows))
            try:
                report = await sealing.run(delete=True)
            except BaseExceptionGroup as group:
                assert group.split(Cut)[1] is None
    assert not report.lost
    await sealing.login()
    assert [await sealing.same(name) for name in boxes] == [True, True]


async def test_a_letter_that_no_parcel_could_have_comes_with_the_password(sealing: Sealing):
    for n in range(6):
        sealing.inbox.put(letter(n))
    sealing.source.unreadable |= {("INBOX", 2), ("INBOX", 4)}
    await sealing.run()
    sealing.source.unreadable = {("INBOX", 4)}
    await sealing.run()
    sealing.account = await sealing.world.open()
    assert counts(await Moving.run(sealing), "landed", "lost", "gone") == [0, 1, 0]
    sealing.source.unreadable.clear()
    assert counts(await Moving.run(sealing), "landed", "renumbered", "gone") == [1, 1, 0]
    seen = await sealing.seen("INBOX")
    assert sorted(seen) == [1, 2, 3, 5, 6, 7] and seen[7][0] == letter(3)


async def test_a_pass_with_the_password_goes_on_where_parcels_have_ended(sealing: Sealing):
    for n in range(6):
        sealing.inbox.put(letter(n))
    await sealing.run()
    store = await sealing.store
    public = key_to_seal_to(await StoredKeys.read(store), ID, ())
    async with trio.open_nursery() as nursery:
        late = LetterBox(store, ID, public, nursery).letter("", "a@b")
        await late.write(b"Subject: by LMTP\r\n\r\n")
        await late.send()
    sealing.inbox.messages[1].flags = ("\\Seen",)
    sealing.inbox.put(letter(7))
    sealing.account = await sealing.world.open()
    assert counts(await Moving.run(sealing), "landed", "flags", "renumbered") == [1, 1, 0]
    assert await sealing.same("INBOX")
    assert await sealing.waiting() == 1  # the letter: its UID comes after those of the source
    await sealing.account.drain.all_waiting()
    assert max(await sealing.seen("INBOX")) == 8
