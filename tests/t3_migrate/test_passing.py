"""Passes from a source in memory into an opened account."""

import dataclasses
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from random import Random

import pytest

from aerogramme.errors import Unavailable, Unreadable
from aerogramme.log import folding
from aerogramme.mailbox.account import Account
from aerogramme.migrate import passing
from aerogramme.migrate.passed import Memory
from aerogramme.migrate.passing import Options, run_pass
from aerogramme.migrate.report import Report
from aerogramme.migrate.sealing import Sealing, sealing
from aerogramme.migrate.targets.opened import Opened, opened
from aerogramme.migrate.verifying import Verified, verify
from tests.helpers.fake_source import Box, FakeSource
from tests.t3_mailbox.conftest import put


class Moving:
    """A source, an account, and what the passes between them remember."""

    workers = 0

    def __init__(self, account: Account, path: Path) -> None:
        self.account, self.path = account, path
        self.source = FakeSource()
        self.inbox = self.source.boxes["INBOX"] = Box(77)

    async def run(self, **options) -> Report:
        report = Report()
        self.source.faults.clear()
        async with opened(self.account) as target, sealing(self.workers) as beside:
            await run_pass(
                self.source,
                target,
                Memory.load(self.path),
                Options(**options),
                report,
                lambda: None,
                beside,
            )
        return report

    async def verify(self) -> Verified:
        found = Verified()
        async with opened(self.account) as target:
            await verify(self.source, target, Memory.load(self.path), Options(), found, lambda: None)
        return found

    async def seen(self, name: str) -> dict[int, tuple[bytes, int, frozenset[str]]]:
        """UID -> letter, date, flags."""
        table = self.account.find(name)
        return {
            uid: (
                await self.account.body(table.contents[row]),
                table.dates[row],
                frozenset(self.account.flags_of(table.flags[row])),
            )
            for row, uid in enumerate(table.uids)
        }

    async def same(self, name: str) -> bool:
        """Whether the mailbox is as that of the source."""
        box = self.source.boxes[name]
        held = {uid: (h.letter, h.date, frozenset(h.flags)) for uid, h in box.messages.items()}
        table = self.account.find(name)
        return await self.seen(name) == held and table.uidvalidity == box.uidvalidity


@pytest.fixture
async def moving(account: Account, tmp_path: Path) -> Moving:
    return Moving(account, tmp_path / "import" / "a")


def letter(n: int, size: int = 0) -> bytes:
    return b"Message-ID: <%d@x>\r\nSubject: mail %d\r\n\r\n%b\r\n" % (n, n, b"." * size)


def counts(report: Report, *names: str) -> list[int]:
    return [report.total(name) for name in names]


async def test_all_is_taken_over_as_it_is(moving: Moving):
    for n in range(5):
        moving.inbox.put(letter(n), ("\\Seen", "$Label1") if n % 2 else (), date=1_000_000_000 + n)
    del moving.inbox.messages[2]
    moving.source.boxes["Work/größer"] = Box(77, subscribed=True)
    moving.source.boxes["Gesendet"] = Box(12, role="\\Sent", subscribed=False)
    moving.source.boxes["Gesendet"].put(letter(9))
    report = await moving.run()
    assert counts(report, "messages", "landed", "renumbered", "lost") == [5, 5, 0, 0] and not report.lost
    assert [await moving.same(name) for name in moving.source.boxes] == [True] * 3
    assert moving.account.find("INBOX").uidnext == 6
    roles = {each.name: each.role for each in moving.account.mailboxes()}
    assert roles["Gesendet"] == "\\Sent"
    assert "Work/größer" in moving.account.subscriptions()
    assert "Gesendet" not in moving.account.subscriptions()
    again = await moving.run()
    assert counts(again, "landed", "flags", "removed", "gone") == [0, 0, 0, 0]
    assert len(moving.source.read) == 5
    assert (await moving.verify()).same


async def test_a_checkpoint_that_is_being_written_at_the_end_is_whole(moving: Moving, monkeypatch):
    monkeypatch.setattr(folding, "FOLD_ENTRIES", 1)
    moving.inbox.put(letter(1))
    await moving.run()
    assert moving.account.state.history.tail == 0
    assert moving.account.state.checkpoint in await moving.account.store.list("checkpoint/")


async def test_a_second_pass_moves_what_has_changed(moving: Moving):
    for n in range(6):
        moving.inbox.put(letter(n))
    await moving.run()
    table = moving.account.find("INBOX")
    await moving.account.store_flags(table, [2, 3], "+", ["\\Flagged"])  # by the user, here
    await moving.account.remove(table, [4])
    box = moving.inbox
    box.messages[1].flags = ("\\Seen",)  # there
    box.messages[3].flags = ("\\Seen",)
    del box.messages[5]
    box.put(letter(7))
    version = moving.account.version
    would = await moving.run(dry_run=True)
    assert moving.account.version == version
    report = await moving.run()
    names = "landed", "flags", "disputed", "gone", "removed"
    assert counts(report, *names) == counts(would, *names) == [1, 1, 1, 1, 0]
    flags = {uid: seen[2] for uid, seen in (await moving.seen("INBOX")).items()}
    assert flags == {1: {"\\Seen"}, 2: {"\\Flagged"}, 3: {"\\Flagged"}, 5: set(), 6: set(), 7: set()}
    assert counts(await moving.run(), *names) == [0, 0, 0, 1, 0]
    assert counts(await moving.run(delete=True), *names) == [0, 0, 0, 1, 1]
    assert set(await moving.seen("INBOX")) == {1, 2, 3, 6, 7}
    found = await moving.verify()
    assert found.same and (found.mailboxes[0].removed, found.mailboxes[0].changed) == (1, 2)
    moving.inbox.messages[1].flags = ("\\Answered",)
    found = await moving.verify()
    assert not found.same and found.mailboxes[0].flags == 1


async def test_without_what_was_remembered_the_source_is_right(moving: Moving):
    for n in range(3):
        moving.inbox.put(letter(n))
    await moving.run()
    await moving.account.store_flags(moving.account.find("INBOX"), [2], "+", ["\\Flagged"])
    moving.path.unlink()
    assert counts(await moving.run(), "landed", "flags") == [0, 1]
    assert await moving.same("INBOX")


async def test_flags_that_the_source_has_lost_for_a_while(moving: Moving):
    moving.inbox.put(letter(1), ("\\Seen",))
    await moving.run()
    moving.source.flags_lost, moving.inbox.messages[1].flags = True, ()
    moving.inbox.put(letter(2), ("\\Flagged",))
    assert counts(await moving.run(), "landed", "flags") == [1, 0]
    moving.source.flags_lost = False
    for uid in 1, 2:
        moving.inbox.messages[uid].flags = ("\\Seen", "\\Answered")
    assert counts(await moving.run(), "flags", "disputed") == [2, 0]
    assert await moving.same("INBOX")


async def test_mail_that_came_here_between_passes_keeps_its_uid(moving: Moving):
    moving.inbox.put(letter(1))
    await moving.run()
    await put(moving.account, "INBOX", b"Subject: own\r\n\r\n")
    moving.inbox.put(letter(2))  # UID 2, which is taken here
    moving.inbox.put(letter(3))
    report = await moving.run()
    assert counts(report, "landed", "renumbered") == [2, 1]
    seen = await moving.seen("INBOX")
    assert {uid: each[0] for uid, each in seen.items()} == {
        1: letter(1),
        2: b"Subject: own\r\n\r\n",
        3: letter(3),
        4: letter(2),
    }
    for forget in False, True:
        if forget:
            moving.path.unlink()
        assert counts(await moving.run(), "landed", "renumbered") == [0, 0]
    found = await moving.verify()
    assert (found.mailboxes[0].uid, found.mailboxes[0].extra, found.mailboxes[0].missing) == (1, 1, 0)
    assert not found.same and "its UID is 4 here" in found.mailboxes[0].said[0]


@pytest.mark.parametrize("uidvalidity", [77, 0])
async def test_into_a_mailbox_with_mail_of_its_own(moving: Moving, uidvalidity):
    moving.inbox.uidvalidity = uidvalidity
    await put(moving.account, "INBOX", letter(1), date=1_000_000_000)
    for n in 1, 2, 2, 3:
        moving.inbox.put(letter(n), ("\\Seen",))
    moving.inbox.messages[4].date += 1
    moving.inbox.messages[2].size = 7  # is not true
    report = await moving.run()
    assert counts(report, "landed", "messages", "flags") == [3, 4, bool(uidvalidity)]
    assert sorted(each[0] for each in (await moving.seen("INBOX")).values()) == sorted(
        map(letter, (1, 2, 2, 3))
    )
    for forget in False, True:
        if forget:
            moving.path.unlink()
        assert counts(await moving.run(), "landed", "flags") == [0, 0]
    assert (await moving.verify()).same


async def test_a_mailbox_that_was_renamed_here_is_found(moving: Moving):
    box = moving.source.boxes["Work"] = Box(77)  # the same as that of INBOX
    box.put(letter(1))
    moving.inbox.put(letter(2))
    await moving.run()
    await moving.account.rename_mailbox("Work", "Job")
    box.put(letter(3))
    box.messages[1].flags = ("\\Seen",)
    report = await moving.run()
    assert counts(report, "landed", "flags") == [1, 1]
    assert "Work" not in moving.account.state.names
    assert [each[0] for each in (await moving.seen("Job")).values()] == [letter(1), letter(3)]


async def test_what_cannot_be_read_is_a_fault_and_all_else_is_moved(moving: Moving):
    for n in range(6):
        moving.inbox.put(letter(n))
    moving.source.unreadable.add(("INBOX", 2))
    moving.source.breaking.add(("INBOX", 4))
    moving.source.boxes["Work"] = Box(5)
    moving.source.broken.add("Work")
    moving.source.boxes["bad\nname"] = Box(5)
    report = await moving.run()
    assert report.lost and counts(report, "landed", "lost") == [4, 2]
    assert sorted(fault.origin for fault in report.faults) == [
        "box INBOX, UID 2",
        "box INBOX, UID 4",
        "box Work",
        "box bad\nname",
    ]
    assert set(await moving.seen("INBOX")) == {1, 3, 5, 6}
    found = await moving.verify()
    assert not found.same and found.mailboxes[0].unread == 2
    # Mended: they come with new UIDs, for clients have been told of higher ones.
    moving.source.unreadable.clear()
    moving.source.breaking.clear()
    moving.inbox.put(letter(7))
    again = await moving.run()
    assert counts(again, "landed", "renumbered", "lost") == [3, 2, 0]
    assert {uid: each[0] for uid, each in (await moving.seen("INBOX")).items()} == {
        **{uid: letter(uid - 1) for uid in (1, 3, 5, 6)},
        7: letter(7),
        8: letter(1),
        9: letter(3),
    }
    assert counts(await moving.run(), "landed") == [0]


async def test_a_letter_that_is_too_large_is_said(moving: Moving, monkeypatch):
    moving.inbox.put(letter(1, 10_000_000))
    moving.inbox.put(letter(2, 2_000_000))
    report = Report()
    async with opened(moving.account, limit=9_500_000) as target, sealing(0) as here:
        await run_pass(moving.source, target, Memory.load(moving.path), Options(), report, lambda: None, here)
    assert report.lost and "9500000" in report.faults[0].what
    assert {uid: each[0] for uid, each in (await moving.seen("INBOX")).items()} == {2: letter(2, 2_000_000)}


async def test_with_delete_mailboxes_go_too(moving: Moving):
    for name in "Work", "Work/old", "Other":
        moving.source.boxes[name] = Box(5)
        moving.source.boxes[name].put(letter(1))
    await moving.run()
    await put(moving.account, "Other", b"Subject: own\r\n\r\n")
    for name in "Work", "Work/old", "Other":
        del moving.source.boxes[name]
    await moving.run()
    assert {"Work", "Work/old", "Other"} <= set(moving.account.state.names)
    assert (await moving.run(delete=True, dry_run=True)).total("removed") == 3
    assert (await moving.run(delete=True)).total("removed") == 3
    assert "Work" not in moving.account.state.names and "Work/old" not in moving.account.state.names
    assert [each[0] for each in (await moving.seen("Other")).values()] == [b"Subject: own\r\n\r\n"]


async def test_with_delete_mailboxes_of_another_source_stay(moving: Moving):
    """As they do where one was renamed here."""
    own, other = moving.source, FakeSource()
    for source, name in (own, "Work"), (own, "Plans"), (other, "Public/News"):
        source.boxes[name] = Box(5)
        source.boxes[name].put(letter(1))
    moving.source = other
    await moving.run(origin="public")
    moving.source = own
    await moving.run(origin="own")
    await moving.account.rename_mailbox("Plans", "Planned")
    assert (await moving.run(origin="own", delete=True)).total("removed") == 0
    assert {"Work", "Planned", "Public/News"} <= set(moving.account.state.names)
    assert await moving.same("Work") and len(moving.account.find("Public/News"))
    del own.boxes["Work"]
    assert (await moving.run(origin="own", delete=True)).total("removed") == 1
    moving.source = other
    del other.boxes["Public/News"]
    assert (await moving.run(origin="public", delete=True)).total("removed") == 1
    assert {"Planned"} == {"Work", "Planned", "Public/News"} & set(moving.account.state.names)


async def test_of_a_source_that_is_damaged_nothing_is_removed(moving: Moving):
    moving.inbox.put(letter(1))
    moving.source.boxes["Work"] = Box(5)
    moving.source.boxes["Work"].put(letter(2))
    await moving.run()
    moving.source.broken.add("INBOX")
    report = await moving.run(delete=True)
    assert report.lost and report.total("removed") == 0
    assert await moving.same("Work") and await moving.same("INBOX")


async def test_two_folders_with_one_name_are_two_mailboxes(moving: Moving):
    class Twins(FakeSource):
        async def folders(self):
            found = await super().folders()
            return [dataclasses.replace(each, name="INBOX") for each in found]

        async def messages(self, folder):
            return await super().messages(dataclasses.replace(folder, name=folder.origin[4:]))

        def letters(self, folder, uids):
            return super().letters(dataclasses.replace(folder, name=folder.origin[4:]), uids)

    boxes, moving.source = moving.source.boxes, Twins()
    moving.source.boxes = boxes
    moving.inbox.put(letter(1))
    moving.source.boxes["inbox"] = Box(5)
    moving.source.boxes["inbox"].put(letter(2))
    report = await moving.run()
    assert not report.lost and "INBOX (2) here" in report.faults[0].done
    assert [each[0] for each in (await moving.seen("INBOX (2)")).values()] == [letter(2)]


async def test_only_the_mailboxes_that_are_asked_for(moving: Moving):
    moving.inbox.put(letter(1))
    moving.source.boxes["Work"] = Box(5)
    await moving.run(only=("Work",), delete=True)
    assert not len(moving.account.find("INBOX")) and moving.account.find("Work").uidvalidity == 5


async def test_many_land_with_one_entry(moving: Moving, monkeypatch):
    monkeypatch.setattr(passing, "BATCH", 10)
    for n in range(25):
        moving.inbox.put(letter(n))
    before = moving.account.state.history.vector()
    await moving.run()
    after = moving.account.state.history.vector()
    assert sum(after.values()) - sum(before.values()) == 3
    assert await moving.same("INBOX")


async def test_a_store_that_goes_away_ends_the_pass_and_the_next_goes_on(moving: Moving, monkeypatch):
    monkeypatch.setattr(passing, "BATCH", 3)
    for n in range(10):
        moving.inbox.put(letter(n))
    land, left = Account.land, [2]

    async def falling(self, *args):
        left[0] -= 1
        if left[0] < 0:
            raise Unavailable("gone")
        return await land(self, *args)

    monkeypatch.setattr(Account, "land", falling)
    with pytest.raises(Unavailable):
        await moving.run()
    monkeypatch.setattr(Account, "land", land)
    assert 0 < len(moving.account.find("INBOX")) < 10
    assert not (await moving.verify()).same
    report = await moving.run()
    assert 0 < report.total("landed") < 10
    assert await moving.same("INBOX")


async def test_uids_that_do_not_ascend_are_not_believed(moving: Moving):
    class Odd(FakeSource):
        async def messages(self, folder):
            found = await super().messages(folder)
            found.uids.reverse()
            return found

    boxes, moving.source = moving.source.boxes, Odd()
    moving.source.boxes = boxes
    moving.inbox.put(letter(1))
    moving.inbox.put(letter(2))
    report = await moving.run()
    assert report.lost and not len(moving.account.find("INBOX"))


class Cut(BaseException):
    """The process was killed."""


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_happens_no_message_is_missing_or_doubled(world, tmp_path, seed, monkeypatch):
    """Mail comes and goes on both sides, passes are cut off before or after something was written, what they
    remember gets lost: in the end all that the source has is here once, but what was removed here."""
    random = Random(seed)
    monkeypatch.setattr(passing, "BATCH", 3)
    moving = Moving(await world.open(), tmp_path / "a")
    boxes = moving.source.boxes
    boxes["Work"] = Box(random.choice([0, 77]))
    if random.random() < 0.3:
        await put(moving.account, "INBOX", b"Subject: first\r\n\r\n")
    number, removed = 0, set()
    for _ in range(8):
        for _ in range(random.randrange(8)):
            name = random.choice(list(boxes))
            box = boxes[name]
            number += 1
            match random.randrange(6):
                case 0 | 1 | 2:
                    box.put(letter(number), date=1_000_000_000 + random.randrange(2))
                case 3 if box.messages:
                    del box.messages[random.choice(list(box.messages))]
                case 4 if name in moving.account.state.names and random.random() < 0.3:
                    await put(moving.account, name, b"Subject: own %d\r\n\r\n" % number)
                case 5 if box.messages:
                    box.messages[random.choice(list(box.messages))].flags = ("\\Seen",)
        table = moving.account.find("INBOX")
        if len(table) and moving.path.exists() and random.random() < 0.3:
            uid = random.choice(table.uids)
            removed.add((await moving.seen("INBOX"))[uid][0])
            await moving.account.remove(table, [uid])
        if random.random() < 0.6:
            store, calls, late = moving.account.store, random.randrange(6), random.random() < 0.5
            append = store.append

            async def cut(*args, append=append, late=late, **kwargs):
                nonlocal calls
                calls -= 1
                if calls >= 0:
                    return await append(*args, **kwargs)
                if late:
                    await append(*args, **kwargs)
                raise Cut

            store.append = cut
            try:
                await moving.run(delete=random.random() < 0.3)
            except BaseExceptionGroup as group:
                assert group.split(Cut)[1] is None
            moving.account = await world.open()
        if not removed and random.random() < 0.2:
            moving.path.unlink(missing_ok=True)
    report = await moving.run()
    assert not report.lost
    for name, box in boxes.items():
        here = Counter(each[0] for each in (await moving.seen(name)).values())
        there = Counter(held.letter for held in box.messages.values())
        assert max(here.values(), default=1) == 1
        assert there.keys() - here.keys() <= removed
    assert counts(await moving.run(), "landed", "removed") == [0, 0]


async def test_a_letter_that_could_not_be_read_before_a_kill_comes_later(moving: Moving, monkeypatch):
    for n in range(6):
        moving.inbox.put(letter(n))
    moving.source.unreadable.add(("INBOX", 3))
    with monkeypatch.context() as killed:
        killed.setattr(Memory, "save", lambda self: None)
        await moving.run()
    moving.source.unreadable.clear()
    report = await moving.run()
    assert counts(report, "landed", "gone") == [1, 0]
    assert set(await moving.seen("INBOX")) == {1, 2, 4, 5, 6, 7}
    assert counts(await moving.run(), "landed", "gone") == [0, 0]


@pytest.mark.parametrize("later", [("\\Seen",), ("\\Draft",)])
async def test_flags_that_landed_before_a_kill_are_not_the_users(moving: Moving, monkeypatch, later):
    held = moving.inbox.messages[moving.inbox.put(letter(0), flags=("\\Seen",))]
    await moving.run()
    remembered = b""
    set_flags = Opened.set_flags

    async def killed(self, *args) -> None:
        nonlocal remembered
        await set_flags(self, *args)
        remembered = moving.path.read_bytes()

    with monkeypatch.context() as patched:
        patched.setattr(Opened, "set_flags", killed)
        held.flags = ("\\Flagged",)
        await moving.run()
    moving.path.write_bytes(remembered)
    held.flags = later
    await moving.run()
    assert await moving.same("INBOX")


async def test_flags_that_could_not_land_are_set_by_the_next_pass(moving: Moving, monkeypatch):
    held = moving.inbox.messages[moving.inbox.put(letter(0))]
    await moving.run()

    async def away(self, *args) -> None:
        raise Unavailable("the store is away")

    held.flags = ("\\Flagged",)
    with monkeypatch.context() as patched:
        patched.setattr(Opened, "set_flags", away)
        with pytest.raises(Unavailable):
            await moving.run()
    await moving.run()
    assert await moving.same("INBOX")


@pytest.mark.parametrize("workers", [0, 2])
async def test_letters_of_all_sizes_are_sealed_beside(moving: Moving, monkeypatch, workers):
    monkeypatch.setattr("aerogramme.migrate.sealing.WORTH_IT", 1)
    moving.workers = workers
    sizes = 0, 100, 2_000_000, 1_048_000, 1_100_000, *[30_000] * 60, 5_000_000, 9_000_000, 5
    for n, size in enumerate(sizes):
        moving.inbox.put(letter(n, size))
    moving.source.breaking.update({("INBOX", 3), ("INBOX", 7)})
    report = await moving.run()
    assert counts(report, "landed", "lost") == [66, 2]
    del moving.inbox.messages[3], moving.inbox.messages[7]
    assert await moving.same("INBOX")
    text = await moving.account.digests([moving.account.find("INBOX").contents[1]], ["subject", "message_id"])
    assert text == [[b"mail 1"], [b"<1@x>"]]


async def test_a_process_that_ends_ends_the_pass(moving: Moving, monkeypatch):
    monkeypatch.setattr("aerogramme.migrate.sealing.WORTH_IT", 1)
    monkeypatch.setattr("aerogramme.migrate.arrivals.GROUP", 1)
    for n in range(30):
        moving.inbox.put(letter(n))
    moving.workers = 1
    seal, left = Sealing.seal, [3]

    async def killing(self, *args):
        left[0] -= 1
        if not left[0]:
            self._beside[0].process.kill()
        return await seal(self, *args)

    monkeypatch.setattr(Sealing, "seal", killing)
    with pytest.raises(Unavailable):
        await moving.run()
    monkeypatch.setattr(Sealing, "seal", seal)
    await moving.run()
    assert await moving.same("INBOX")


async def test_a_mailbox_that_breaks_off_does_not_keep_the_others(moving: Moving, monkeypatch):
    class Breaking(FakeSource):
        async def letters(self, folder, uids):
            async with aclosing(super().letters(folder, uids)) as letters:
                async for each in letters:
                    yield each
                    if folder.name == "Broken":
                        raise Unreadable("the disk has a hole")

    boxes, moving.source = moving.source.boxes, Breaking()
    moving.source.boxes = boxes
    for name in "Broken", "Work":
        boxes[name] = Box(5)
        for n in range(3):
            boxes[name].put(letter(n))
    report = await moving.run()
    assert report.lost and "a hole" in report.faults[0].what
    assert await moving.same("Work")
    assert not (await moving.verify()).same
