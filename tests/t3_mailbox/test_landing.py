"""Messages that land from another mail store: their UIDs, in mailboxes that are new, in use, or imported
before; in opened accounts, and as parcels, which are the same thing later.
"""

from dataclasses import replace

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Damaged
from aerogramme.log.entry import NO_LINK, Add, Entry, MailboxOp, SegmentRef
from aerogramme.log.entry_bytes import encode
from aerogramme.log.packing import compress
from aerogramme.mail.digest import render
from aerogramme.mailbox.audit.faults import Kind
from aerogramme.mailbox.audit.keys import letters as letters_audited
from aerogramme.mailbox.body_record import BodyRecord, Place, body_name
from aerogramme.mailbox.contents import GROUP_OF, Content, Upload, segment_columns
from aerogramme.mailbox.history.survey import survey
from aerogramme.mailbox.incoming import landing as landing_module
from aerogramme.mailbox.incoming.landing import Landed, Landing, from_bytes, to_bytes
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes
from aerogramme.seal import ContentKey
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStores
from tests.t3_mailbox.conftest import World, put
from tests.t3_mailbox.test_letters import bodies, rows, send

ID = "00" * 16
OTHER = 1_234_567  # the UIDVALIDITY of another store


async def made(store, ids, letters) -> tuple[list[Content], list[tuple[str, bytes]]]:
    contents, objects = [], []
    for number, letter in zip(ids, letters, strict=True):
        upload = Upload(number, bytes.fromhex(ID), store, 1 << 20, None)
        await upload.write(letter)
        content, sealed = await upload.finish()
        assert sealed is not None
        contents.append(content)
        objects.append((body_name(number), sealed))
    return contents, objects


def letters(uids) -> list[bytes]:
    return [b"Subject: %d\r\n\r\n" % uid for uid in uids]


def of(name, contents, uids, **said) -> Landing:
    flags = [("\\Seen", f"of{uid}") for uid in uids]
    return Landing.of(name, contents, uids, [1000 + uid for uid in uids], flags, **said)


class Opened:
    """Lands in the opened account."""

    def __init__(self, world: World, account) -> None:
        self.world, self.account = world, account

    async def land(self, name, uids, **said) -> Landed | None:
        ids = self.account.journal.new_ids(len(uids))
        contents, objects = await made(self.account.store, ids, letters(uids))
        return await self.account.land(of(name, contents, uids, **said), objects)


class Sealed(Opened):
    """Sends parcels, which are drained at once."""

    async def send(self, name, uids, **said) -> str:
        async with trio.open_nursery() as nursery:
            boxes = LetterBoxes(self.world.stores, nursery)
            box = await boxes.open(ID)
            ids = box.new_ids(len(uids))
            store = await self.world.stores.open(ID)
            contents, objects = await made(store, ids, letters(uids))
            for body, sealed in objects:
                await store.put(body, sealed)
            key = await box.parcel(of(name, contents, uids, **said))
            await boxes.aclose()
        return key

    async def land(self, name, uids, **said) -> None:
        await self.send(name, uids, **said)
        await self.account.drain.all_waiting()
        assert await rows(self.world.stores) == []


@pytest.fixture(params=[Opened, Sealed])
def way(request, world, account):
    return request.param(world, account)


def uids(account, name="INBOX") -> list[int]:
    return list(account.find(name).uids)


async def test_uids_and_all_else_are_those_of_the_other_store(world, account, way) -> None:
    await way.land("INBOX", [3, 7, 8], uidvalidity=OTHER, imported=20)
    table = account.find("INBOX")
    assert (table.uidvalidity, uids(account), table.uidnext) == (OTHER, [3, 7, 8], 20)
    assert list(table.dates) == [1003, 1007, 1008]
    assert [set(account.flags_of(n)) for n in table.flags] == [{"\\Seen", f"of{uid}"} for uid in (3, 7, 8)]
    assert await bodies(account) == letters([3, 7, 8])
    assert [m.name for m in account.mailboxes()].count("INBOX") == 1
    again = await world.open()
    assert (again.find("INBOX").uidvalidity, uids(again), again.find("INBOX").uidnext) == (
        OTHER,
        [3, 7, 8],
        20,
    )
    await account.fold(force=True)
    again = await world.open()
    assert (again.find("INBOX").uidvalidity, again.find("INBOX").uidnext) == (OTHER, 20)
    assert (await put(again, "INBOX", b"new")).uids == [20]


async def test_what_is_there_is_skipped_and_what_is_new_comes(account, way) -> None:
    await way.land("A", [1, 2, 5], uidvalidity=OTHER, imported=6)
    await account.remove(account.find("A"), [2])
    await way.land("A", [1, 2, 5, 6, 9], uidvalidity=OTHER, imported=10)
    assert uids(account, "A") == [1, 5, 6, 9]
    assert await bodies(account, "A") == letters([1, 5, 6, 9])
    await way.land("A", [], uidvalidity=OTHER, imported=50)
    assert account.find("A").uidnext == 50


async def test_a_mailbox_with_mail_of_its_own_keeps_its_numbers(account, way) -> None:
    await put(account, "INBOX", b"mine")
    before = account.find("INBOX").uidvalidity
    await way.land("INBOX", [10, 11], uidvalidity=OTHER, imported=20)
    assert (account.find("INBOX").uidvalidity, uids(account)) == (before, [1, 2, 3])


async def test_mail_that_comes_between_two_passes_is_nobody_elses(account, way) -> None:
    await way.land("INBOX", [1, 2], uidvalidity=OTHER, imported=3)
    assert (await put(account, "INBOX", b"mine")).uids == [3]
    await way.land("INBOX", [3, 5], uidvalidity=OTHER, imported=6)
    assert uids(account) == [1, 2, 3, 5, 6]
    texts = dict(zip(uids(account), await bodies(account), strict=True))
    assert texts[3] == b"mine"
    assert texts[5] == letters([5])[0], "above all that there was: it keeps its UID"
    assert texts[6] == letters([3])[0]
    assert account.state.attribute(account.find("INBOX").mailbox, "imported") == 3


async def test_a_special_use_goes_to_the_mailbox_with_mail(account, way) -> None:
    await way.land("Sent Items", [4], uidvalidity=OTHER, imported=5, role="\\Sent")
    found = {info.name: info.role for info in account.mailboxes()}
    assert found["Sent Items"] == "\\Sent" and "Sent" not in found
    assert "Sent" not in account.subscriptions() and "Sent Items" in account.subscriptions()
    await way.land("Sent", [1], uidvalidity=OTHER + 1, imported=2, role="\\Sent", subscribed=False)
    found = {info.name: (info.role, info.subscribed) for info in account.mailboxes()}
    assert found["Sent"] == (None, False) and found["Sent Items"] == ("\\Sent", True)
    await way.land("Trash", [1], uidvalidity=OTHER + 2, imported=2)
    assert {info.name: info.role for info in account.mailboxes()}["Trash"] == "\\Trash"


async def test_mailboxes_of_one_uidvalidity(world, account, way) -> None:
    """Dovecot's have the second of their creation. Under one name two of them must never be seen."""
    for name in "A", "B", "C/D":
        await way.land(name, [1], uidvalidity=OTHER, imported=2)
    assert [account.find(name).uidvalidity for name in ("A", "B", "C/D")] == [OTHER] * 3
    await account.create_mailbox("New")
    assert account.find("New").uidvalidity > OTHER
    await account.rename_mailbox("A", "Else")
    assert account.find("Else").uidvalidity not in (OTHER, account.find("New").uidvalidity)
    await way.land("E", [1], uidvalidity=OTHER, imported=2)
    await account.delete_mailbox("B")
    await account.create_mailbox("B")
    assert account.find("B").uidvalidity > OTHER
    again = await world.open()
    assert again.find("C/D").uidvalidity == again.find("E").uidvalidity == OTHER


async def test_a_number_that_leaves_no_room_is_not_taken_over(account, way) -> None:
    await way.land("A", [5], uidvalidity=0xFFFFFFFF, imported=6)
    assert account.find("A").uidvalidity < 0xF0000000 and uids(account, "A") == [1]


async def test_where_there_are_no_uids_messages_get_the_next(account, way) -> None:
    await way.land("A", [9, 9000], imported=0)
    await way.land("A", [9], imported=0)
    assert uids(account, "A") == [1, 2, 3]


async def test_parcels_come_before_letters(world, account) -> None:
    await send(world.stores, b"a letter", now=1.0)
    sealed = Sealed(world, account)
    await sealed.send("INBOX", [4, 6], uidvalidity=OTHER, imported=9)
    await account.open_mailbox("INBOX")
    assert (uids(account), account.find("INBOX").uidvalidity) == ([4, 6, 9], OTHER)


async def test_a_parcel_is_needed_while_it_waits_and_its_own_body_not_afterwards(world, account) -> None:
    key = await Sealed(world, account).send("INBOX", [1, 2], uidvalidity=OTHER, imported=3)
    found = await survey(account, 0)
    assert len(found.stored) >= 3 and {found.standing(n) for n in found.stored if n[:5] == "body/"} == {
        "history"
    }
    await account.drain.all_waiting()
    found = await survey(account, 0)
    own = f"body/{key[13:29]}"
    standing = {name: found.standing(name) for name in found.stored if name.startswith("body/")}
    assert standing.pop(own) == "orphan" and set(standing.values()) == {"live"}


async def test_two_servers_drain_one_parcel(world) -> None:
    one, two = await world.open(), await world.open()
    box = one.journal.new_ids(1)[0]
    await Sealed(world, one).send("INBOX", [1, 2], uidvalidity=OTHER, imported=3, mailbox=box)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.drain.all_waiting)
        nursery.start_soon(two.drain.all_waiting)
    for account in one, two:
        await account.refresh()
        assert [info.name for info in account.mailboxes()].count("INBOX") == 1
        assert uids(account) == [1, 2] and account.find("INBOX").mailbox == box


async def test_a_renamed_mailbox_gets_what_comes_later(world, account) -> None:
    box = account.journal.new_ids(1)[0]
    sealed = Sealed(world, account)
    await sealed.land("A", [1], uidvalidity=OTHER, imported=2, mailbox=box)
    await account.rename_mailbox("A", "B")
    await sealed.land("A", [1, 2], uidvalidity=OTHER, imported=3, mailbox=box)
    assert uids(account, "B") == [1, 2]


async def test_a_deleted_mailbox_gets_what_comes_later_and_nothing_else(world, account) -> None:
    box = account.journal.new_ids(1)[0]
    sealed = Sealed(world, account)
    await sealed.land("A", [1, 2], uidvalidity=OTHER, imported=3, mailbox=box)
    await account.delete_mailbox("A")
    await sealed.land("A", [1, 2, 5], uidvalidity=OTHER, imported=6, mailbox=box)
    assert (uids(account, "A"), account.find("A").uidvalidity) == ([5], OTHER)
    assert account.find("A").mailbox == box and account.state.attribute(box, "deleted") is False


async def test_a_mailbox_that_was_renamed_and_emptied_stays(world, account) -> None:
    box = account.journal.new_ids(1)[0]
    sealed = Sealed(world, account)
    await sealed.land("A", [1], uidvalidity=OTHER, imported=2, mailbox=box)
    await sealed.land("Other", [1], uidvalidity=OTHER, imported=2)  # so that the new name has a new number
    await account.rename_mailbox("A", "B")
    await account.remove(account.find("B"), [1])
    await sealed.land("A", [2], uidvalidity=OTHER, imported=3, mailbox=box)
    assert account.find("B").mailbox == box and len(uids(account, "B")) == 1
    assert account.state.attribute(box, "deleted") is False and account.find("B").uidvalidity != OTHER


def with_field(landing: Landing, field: str, value: bytes) -> Landing:
    group = GROUP_OF[field]
    columns = {**landing.digests[group], field: [value]}
    return replace(landing, digests={**landing.digests, group: columns})


ELSEWHERE = BodyRecord(ContentKey.generate(), 1, len(letters([1])[0]), Place("ab" * 16, 0)).to_bytes()
WRONG = {
    "contents": lambda _: of("A", [], []),
    "columns": lambda landing: replace(landing, digests={**landing.digests, "text": {"text": [b""]}}),
    "name": lambda landing: replace(landing, name="A//B"),
    "role": lambda landing: replace(landing, role="\\Sent) NIL x\r\n* BYE"),
    "long flag": lambda landing: replace(landing, flags=[("x" * 1000,)]),
    "flag": lambda landing: replace(landing, flags=[("x)\r\n* BYE",)]),
    "record": lambda landing: with_field(landing, "record", b""),
    "place": lambda landing: with_field(landing, "record", ELSEWHERE),
    "size": lambda landing: replace(landing, sizes=[1 << 30]),
    "sent": lambda landing: with_field(landing, "sent", b"tomorrow"),
    "lines": lambda landing: with_field(landing, "lines", b""),
    "envelope": lambda landing: with_field(landing, "envelope", b"()\r\n* BYE"),
    "structure": lambda landing: with_field(landing, "bodystructure", b"("),
}


@pytest.mark.parametrize("wrong", [*WRONG, "nothing"])
async def test_a_parcel_that_makes_no_sense_stays_and_is_reported(world, account, wrong, monkeypatch) -> None:
    def bad(landing: Landing) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(landing_module, "normal_flags", tuple)
            return to_bytes(WRONG[wrong](landing)) if wrong in WRONG else b"nothing"

    monkeypatch.setattr("aerogramme.mailbox.incoming.incoming.to_bytes", bad)
    key = await Sealed(world, account).send("A", [1])
    await account.drain.all_waiting()
    assert list(account.drain.unreadable) == [key] == await rows(world.stores)
    assert account.mailboxes() == (await world.open()).mailboxes()
    [fault] = await letters_audited(account)
    assert fault.kind == Kind.LETTER and key in fault.what
    world.expected = [fault.what]


async def test_a_parcel_that_is_too_large_stays_and_is_reported(world, account, monkeypatch) -> None:
    monkeypatch.setattr("aerogramme.mailbox.incoming.drain.MAX_PARCEL_OCTETS", 10)
    key = await Sealed(world, account).send("A", [1])
    await account.drain.all_waiting()
    assert list(account.drain.unreadable) == [key] == await rows(world.stores)


def test_no_parcel_takes_more_memory_than_its_letters_do(monkeypatch) -> None:
    """It says so before anything is unpacked: a frame of some hundred octets can be that of gigabytes."""
    half, unpacked = compress(bytes(500)), []
    monkeypatch.setattr(landing_module, "MAX_DIGESTS", 1000)
    monkeypatch.setattr(landing_module, "read_group", unpacked.append)
    for groups in {"a": half, "b": half, "c": compress(b"1")}, {"a": b"no frame"}:
        packed = SegmentRef("00" * 16, [1], tuple(groups), groups)
        ops = MailboxOp(1, "A"), Add(1, [1], [1], [0], [1], [()], [1], packed)
        with pytest.raises(Damaged):
            from_bytes(encode(Entry(1, 1, 1, NO_LINK, ops)), range(1, 2))
    assert not unpacked


@pytest.mark.parametrize("serial", [True, False], ids=["serial", "not"])
@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_a_crash_at_each_call_of_a_drain(steps, serial) -> None:
    for call in range(1, 40):
        world = World()
        world.stores = MemoryStores(serial=serial)
        account = await world.open()
        sealed = Sealed(world, account)
        box = account.journal.new_ids(1)[0]
        await sealed.send("INBOX", [1, 2, 5], uidvalidity=OTHER, imported=6, mailbox=box)
        await sealed.send("INBOX", [6], uidvalidity=OTHER, imported=8, mailbox=box)
        await send(world.stores, b"a letter")
        crash = CrashAt(0)
        account = await world.open(stores=world.stores.another(crash))
        crash.n, crash.steps = crash.calls + call, steps
        try:
            await account.drain.all_waiting()
            finished = True
        except Crash:
            finished = False
        after = await world.open()
        await after.drain.all_waiting()
        assert uids(after) == [1, 2, 5, 6, 8]
        assert [info.name for info in after.mailboxes()].count("INBOX") == 1
        assert await rows(world.stores) == [] and await world.audit() == []
        if finished:
            assert call > 4
            return
    raise AssertionError("the drain never finished")


async def test_a_crash_at_each_call_of_a_landing(world) -> None:
    """The entry is there, or nothing of it: landing again completes it, and doubles nothing."""
    batches = [([1, 2], 3), ([4], 9)]
    for call in range(1, 40):
        world = World()
        await world.create()
        crash = CrashAt(0)
        account = await world.open(stores=world.stores.another(crash))
        crash.n = crash.calls + call
        try:
            for batch, imported in batches:
                await Opened(world, account).land("INBOX", batch, uidvalidity=OTHER, imported=imported)
            finished = True
        except Crash:
            finished = False
        after = await world.open()
        for batch, imported in batches:
            await Opened(world, after).land("INBOX", batch, uidvalidity=OTHER, imported=imported)
        assert (uids(after), after.find("INBOX").uidnext) == ([1, 2, 4], 9)
        assert await world.audit() == []
        if finished:
            return
    raise AssertionError("it never landed")


messages = st.lists(st.integers(1, 1 << 32 - 1), max_size=5, unique=True).map(sorted)


@given(
    messages,
    st.integers(0, 1 << 32 - 1),
    st.sampled_from([None, "\\Sent"]),
    st.sampled_from([None, True, False]),
    st.integers(0, 1 << 40),
)
def test_the_form_of_a_parcel(uids, uidvalidity, role, subscribed, first) -> None:
    contents = range(first + 1, first + 1 + len(uids))
    digests = segment_columns(
        [
            Content(n, BodyRecord(ContentKey.generate(), n, uid), render(b"Subject: %d" % n))
            for n, uid in zip(contents, uids, strict=True)
        ]
    )
    flags = [("\\Seen",) if uid % 2 else () for uid in uids]
    said = Landing("A/b", uidvalidity, 9, role, subscribed, 7, contents, uids, uids, uids, flags, digests)
    found = from_bytes(to_bytes(said), contents)
    assert found.name == said.name and list(found.contents) == list(contents)
    if uidvalidity:
        assert list(found.uids) == uids
    assert (found.role, found.subscribed, found.mailbox, found.imported) == (role, subscribed, 7, 9)
    assert list(found.flags) == flags
    assert {g: {f: list(v) for f, v in fields.items()} for g, fields in found.digests.items()} == digests
    with pytest.raises(Damaged):
        from_bytes(to_bytes(said), range(first + 2, first + 2 + len(uids)) if uids else range(1, 2))
