"""Messages and mailboxes of one account: one behaviour a test; damage; a crash at every step of changes."""

import os
from collections.abc import Callable

import pytest
import trio
import trio.testing

from aerogramme.errors import AlreadyExists, Damaged, NoSuchMailbox, Refused, TooLarge, Unavailable
from aerogramme.log.state import State
from aerogramme.mailbox import changes
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.contents import GROUPS, NewMessage
from aerogramme.mailbox.flags import MAX_FLAGS, MAX_KEYWORD, normal_flags
from aerogramme.mailbox.names import FIRST_MAILBOXES
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStore, MemoryStores
from tests.t3_mailbox.conftest import World, put
from tests.t3_mailbox.test_letters import send

LETTER = b"From: a@example.org\r\nSubject: one\r\n\r\ntext\r\n"


def flags_in(account: Account, name: str) -> list[tuple[str, ...]]:
    return [account.flags_of(number) for number in account.find(name).flags]


async def test_a_new_account(account: Account) -> None:
    assert [(i.name, i.role) for i in account.mailboxes()] == [
        ("INBOX", None),
        ("Archive", "\\Archive"),
        ("Drafts", "\\Drafts"),
        ("Junk", "\\Junk"),
        ("Sent", "\\Sent"),
        ("Trash", "\\Trash"),
    ]
    assert account.subscriptions() == sorted(name for name, _ in FIRST_MAILBOXES)
    assert all(i.subscribed and i.selectable and not i.children for i in account.mailboxes())


async def test_a_second_account_is_another(world: World) -> None:
    one, two = await world.open("00" * 16), await world.open("11" * 16)
    await put(one, "INBOX", LETTER)
    await two.refresh()
    assert len(two.find("INBOX")) == 0
    with pytest.raises(AlreadyExists):
        await world.create("00" * 16)


# --- messages


async def test_what_is_appended_comes_back(account: Account) -> None:
    body = b"".join(b"Line %d\r\n" % n for n in range(1000))
    placed = await put(account, "inbox", body, LETTER, b"", date=1_000_000_000)
    table = account.find("INBOX")
    assert placed.uidvalidity == table.uidvalidity
    assert list(placed.uids) == [1, 2, 3]
    assert list(table.sizes) == [len(body), len(LETTER), 0]
    assert list(table.dates) == [1_000_000_000] * 3
    assert [await account.body(content) for content in table.contents] == [body, LETTER, b""]
    assert await account.digests(table.contents, ["subject", "from_"]) == [
        [b"", b"one", b""],
        [b"", b"a@example.org", b""],
    ]


async def test_a_large_body_is_read_in_part(account: Account) -> None:
    body = os.urandom(700_000) + b"x" * 3_000_000 + os.urandom(700_000)
    await put(account, "INBOX", body)
    [content] = account.find("INBOX").contents
    for start, stop in [(0, None), (0, 10), (699_990, 700_010), (1_048_575, 2_097_153), (4_399_999, 9**9)]:
        pieces = [piece async for piece in account.stream_body(content, start, stop)]
        assert b"".join(pieces) == body[start:stop]
        assert max(map(len, pieces)) <= 1024 * 1024
    assert [piece async for piece in account.stream_body(content, 5_000_000, 6_000_000)] == []


async def test_a_small_body_is_read_in_part(account: Account) -> None:
    await put(account, "INBOX", LETTER)
    [content] = account.find("INBOX").contents
    for start, stop in [(0, None), (3, 7), (20, 10_000), (500, 600)]:
        assert b"".join([p async for p in account.stream_body(content, start, stop)]) == LETTER[start:stop]


async def test_bodies_come_in_the_order_asked(account: Account, monkeypatch) -> None:
    monkeypatch.setattr("aerogramme.mailbox.bodies.BATCH_OCTETS", 3000)
    monkeypatch.setattr("aerogramme.mailbox.bodies.BATCH_COUNT", 7)
    letters = [b"%d" % n + os.urandom(n * 100) for n in range(20)]
    await put(account, "INBOX", *letters)
    contents = account.find("INBOX").contents
    order = [n * 7 % 20 for n in range(20)]
    found = [body async for body in account.read_bodies([contents[n] for n in order])]
    assert found == [letters[n] for n in order]


async def test_an_upload_over_the_limit(account: Account) -> None:
    upload = account.upload(limit=10)
    await upload.write(b"12345")
    with pytest.raises(TooLarge):
        await upload.write(b"678901")


async def test_append_to_nowhere_leaves_nothing(account: Account) -> None:
    with pytest.raises(NoSuchMailbox):
        await put(account, "nowhere", LETTER)
    assert await account.store.list("body/") == []


async def test_a_copy_shares_its_content(account: Account) -> None:
    await put(account, "INBOX", LETTER, flags=["\\Seen", "work"], date=7)
    placed = await account.copy(account.find("INBOX"), [1, 5], "Archive")
    assert (list(placed.sources), list(placed.uids)) == ([1], [1])
    inbox, archive = account.find("INBOX"), account.find("Archive")
    assert archive.contents == inbox.contents
    assert archive.ids != inbox.ids
    assert (flags_in(account, "Archive"), list(archive.dates)) == ([("\\Seen", "work")], [7])
    assert len(await account.store.list("body/")) == 1
    assert list((await account.copy(inbox, [5], "Archive")).uids) == []
    with pytest.raises(NoSuchMailbox):
        await account.copy(inbox, [1], "nowhere")


async def test_a_move_within_a_mailbox_gives_new_uids(account: Account) -> None:
    await put(account, "INBOX", LETTER, LETTER)
    view = await account.open_mailbox("INBOX")
    placed = await account.move(view.table, [1], "INBOX")
    assert (list(placed.sources), list(placed.uids)) == ([1], [3])
    changes = view.sync()
    assert (changes.expunged, changes.exists, list(view.uids)) == ([1], 2, [2, 3])


async def test_a_full_mailbox_refuses(account: Account) -> None:
    account.find("INBOX").told = 0xFFFFFFFF
    with pytest.raises(Refused):
        await put(account, "INBOX", LETTER)


# --- flags


def test_flags_as_they_are_stored() -> None:
    assert normal_flags(["\\seen", "\\RECENT", "\\unknown", "Work", "WORK", "\\Seen"]) == ("\\Seen", "Work")
    with pytest.raises(Refused):
        normal_flags([str(n) for n in range(MAX_FLAGS + 1)])
    for keyword in ("", "x" * (MAX_KEYWORD + 1)):
        with pytest.raises(Refused):
            normal_flags([keyword])


async def test_keywords_keep_their_first_spelling(account: Account) -> None:
    await put(account, "INBOX", LETTER, LETTER)
    table = account.find("INBOX")
    await account.store_flags(table, [1], "+", ["$MdnSent"])
    await account.store_flags(table, [2], "+", ["$MDNSENT"])
    assert flags_in(account, "INBOX") == [("$MdnSent",), ("$MdnSent",)]
    again = await account.store_flags(table, [1, 2], "=", ["$mdnsent"])
    assert (list(again.changed), again.modseq) == ([], 0), "nothing to change, and no entry"
    assert account.keywords() == ("$MdnSent",)
    await account.store_flags(table, [1], "-", ["$MDNsent"])
    assert flags_in(account, "INBOX") == [(), ("$MdnSent",)]


async def test_a_store_on_messages_with_different_flags_is_one_entry(account: Account) -> None:
    await put(account, "INBOX", LETTER, LETTER, flags=["\\Seen"])
    await put(account, "INBOX", LETTER, LETTER, flags=["work", "\\Flagged"])
    version = account.version
    result = await account.store_flags(account.find("INBOX"), [1, 2, 3, 4], "=", ["\\Seen", "work"])
    assert account.version == version + 1
    assert list(result.changed) == [1, 2, 3, 4]
    assert flags_in(account, "INBOX") == [("\\Seen", "work")] * 4
    assert set(account.find("INBOX").modseqs) == {result.modseq}


async def test_unchanged_since(account: Account) -> None:
    await put(account, "INBOX", LETTER, LETTER, LETTER)
    table = account.find("INBOX")
    seen = table.highestmodseq
    await account.store_flags(table, [2], "+", ["a"])
    result = await account.store_flags(table, [1, 2, 3], "+", ["b"], unchanged_since=seen)
    assert (list(result.changed), list(result.modified)) == ([1, 3], [2])
    nothing = await account.store_flags(table, [1], "+", ["c"], unchanged_since=0)
    assert (list(nothing.changed), list(nothing.modified)) == ([], [1])


async def test_expunge_some_or_all(account: Account) -> None:
    await put(account, "INBOX", LETTER, LETTER, LETTER, flags=["\\Deleted"])
    await put(account, "INBOX", LETTER)
    table = account.find("INBOX")
    assert await account.expunge(table, [2, 4, 9]) == [2]
    assert await account.expunge(table) == [1, 3]
    assert await account.expunge(table) == []
    assert list(table.uids) == [4]


# --- mailboxes


async def test_create_makes_the_levels_above_and_subscribes_all(account: Account) -> None:
    await account.create_mailbox("a/b/c/")
    assert {"a", "a/b", "a/b/c"} <= set(account.state.names)
    assert {"a", "a/b", "a/b/c"} <= set(account.subscriptions())
    with pytest.raises(AlreadyExists):
        await account.create_mailbox("a/b")
    with pytest.raises(AlreadyExists):
        await account.create_mailbox("Inbox")
    with pytest.raises(Refused):
        await account.create_mailbox("a//b")
    with pytest.raises(Refused):
        await account.create_mailbox("My Drafts", role="\\Drafts")


async def test_too_many_mailboxes(account: Account, monkeypatch) -> None:
    monkeypatch.setattr("aerogramme.mailbox.hierarchy.MAX_MAILBOXES", 8)
    await account.create_mailbox("one")
    with pytest.raises(Refused):
        await account.create_mailbox("two/three")


async def test_a_deleted_mailbox_with_mailboxes_below_stays_as_a_level(account: Account) -> None:
    await account.create_mailbox("a/b")
    await put(account, "a", LETTER)
    await account.delete_mailbox("a")
    infos = {i.name: i for i in account.mailboxes()}
    assert (infos["a"].selectable, infos["a"].children, infos["a/b"].selectable) == (False, True, True)
    with pytest.raises(NoSuchMailbox):
        account.find("a")
    with pytest.raises(Refused):
        await account.delete_mailbox("a")
    await account.create_mailbox("a")  # Outlook files mail into it
    assert len(account.find("a")) == 0
    await account.delete_mailbox("a/b")
    await account.delete_mailbox("a")
    assert "a" not in {i.name for i in account.mailboxes()}


async def test_a_name_that_comes_again_has_another_uidvalidity(account: Account) -> None:
    seen = set()
    for _ in range(3):
        await account.create_mailbox("again")
        seen.add(account.find("again").uidvalidity)
        await account.delete_mailbox("again")
    await account.rename_mailbox("Archive", "again")
    seen.add(account.find("again").uidvalidity)
    assert len(seen) == 4


async def test_deleting_while_another_server_adds_loses_nothing(world: World) -> None:
    world.stores = MemoryStores()  # appends are not serialized: nobody is told to look first
    one, two = await world.open(), await world.open()
    await put(one, "Archive", b"old")
    await two.refresh()
    await put(two, "Archive", b"new")
    await one.delete_mailbox("Archive")  # which has seen only the old one
    for account in (one, two):
        await account.refresh()
        bodies = [body async for body in account.read_bodies(account.find("Archive").contents)]
        assert bodies == [b"new"]


async def test_rename_takes_along_what_is_below(account: Account) -> None:
    await account.create_mailbox("a/b/c")
    await account.create_mailbox("ab")
    await put(account, "a/b", LETTER)
    mailbox = account.state.names["a/b"]
    await account.rename_mailbox("a", "x/y")
    names = set(account.state.names)
    assert {"x", "x/y", "x/y/b", "x/y/b/c", "ab"} <= names
    assert not {"a", "a/b", "a/b/c"} & names
    assert account.state.names["x/y/b"] == mailbox
    assert account.name_of(mailbox) == "x/y/b"
    assert {"x/y/b", "a/b"} <= set(account.subscriptions())
    for name, new, error in [
        ("x", "x/z", Refused),
        ("nowhere", "z", NoSuchMailbox),
        ("x", "ab", AlreadyExists),
        ("x", "inbox", AlreadyExists),
        ("x", "z//z", Refused),
        ("x/y", "z" * 250 + "/" + "z" * 250 + "/" + "z" * 250 + "/" + "z" * 245, Refused),
    ]:
        with pytest.raises(error):
            await account.rename_mailbox(name, new)


async def test_a_rename_looks_at_each_mailbox_some_times_however_many_there_are(account, monkeypatch) -> None:
    looked = 0
    attribute = State.attribute

    def counted(self, mailbox, name):
        nonlocal looked
        looked += 1
        return attribute(self, mailbox, name)

    async def looks(name: str, new: str) -> int:
        nonlocal looked
        looked = 0
        with monkeypatch.context() as patch:
            patch.setattr(State, "attribute", counted)
            await account.rename_mailbox(name, new)
        return looked

    for n in range(20):
        await account.create_mailbox(f"A/{n}")
    few = await looks("A", "B")
    for n in range(20, 80):
        await account.create_mailbox(f"B/{n}")
    assert await looks("B", "C") < 5 * few, "four times as many"


async def test_rename_of_a_level_that_is_no_mailbox(account: Account) -> None:
    await account.create_mailbox("a/b")
    await account.delete_mailbox("a")
    await account.rename_mailbox("a", "z")
    assert "z/b" in account.state.names


async def test_rename_of_inbox_moves_its_messages(account: Account) -> None:
    await account.create_mailbox("INBOX/sub")
    await put(account, "INBOX", b"1", b"2", flags=["\\Seen"])
    await account.expunge(account.find("INBOX"))
    view = await account.open_mailbox("INBOX")
    await account.rename_mailbox("inbox", "old/mail")
    assert view.sync().expunged == [2, 1]
    table = account.find("old/mail")
    assert [body async for body in account.read_bodies(table.contents)] == [b"1", b"2"]
    assert flags_in(account, "old/mail") == [("\\Seen",)] * 2
    assert {"INBOX", "INBOX/sub"} <= set(account.state.names)


async def test_subscriptions_are_names(account: Account) -> None:
    await account.subscribe("not/there")
    await account.subscribe("Trash", False)
    version = account.version
    await account.subscribe("Trash", False)
    assert account.version == version, "no entry for what is so already"
    assert "not/there" in account.subscriptions()
    assert "Trash" not in account.subscriptions()
    await account.delete_mailbox("Junk")
    assert "Junk" in account.subscriptions()  # RFC 3501 §6.3.6
    with pytest.raises(Refused):
        await account.subscribe("a\x00b")


# --- damage


async def test_a_damaged_body_is_damaged_for_its_message_only(world: World, account: Account) -> None:
    letters = [b"Subject: %d\r\n\r\n" % n for n in range(4)]
    await put(account, "INBOX", *letters)
    contents = list(account.find("INBOX").contents)
    objects = world.stores._accounts["00" * 16].objects
    one, two = body_name(contents[1]), body_name(contents[2])
    objects[one] = objects[one][:-1] + bytes([objects[one][-1] ^ 1])
    del objects[two]
    found = [body async for body in account.read_bodies(contents)]
    assert [type(body) for body in found] == [bytes, Damaged, Damaged, bytes]
    for content in contents[1:3]:
        with pytest.raises(Damaged):
            await account.body(content)
        with pytest.raises(Damaged):
            [piece async for piece in account.stream_body(content)]
    assert await account.digests(contents, ["subject"]) == [[b"0", b"1", b"2", b"3"]]
    world.expected = await world.audit()
    assert len(world.expected) == 2


async def test_a_damaged_segment_is_shown_as_such(world: World, account: Account, caplog) -> None:
    await put(account, "INBOX", b"Subject: fine\r\n\r\n")
    await put(account, "INBOX", *(b"Subject: %d\r\n\r\n" % n + os.urandom(20_000) for n in range(4)))
    contents = list(account.find("INBOX").contents)
    objects = world.stores._accounts["00" * 16].objects
    digests = [name for name in objects if name.startswith("segment/") and name.endswith("/digest")]
    for name in digests:
        objects[name] = objects[name][:-1]
    assert len(digests) == 1
    [subjects] = await account.digests(contents, ["subject"])
    assert subjects == [b"fine", *[b"[this message is damaged]"] * 4]
    found = [body async for body in account.read_bodies(contents)]
    assert [type(body) for body in found] == [bytes, *[Damaged] * 4]
    assert await account.digests(contents[1:], [field for fields in GROUPS.values() for field in fields])
    assert "\\x" not in caplog.text
    world.expected = await world.audit()
    assert any("group digest" in line for line in world.expected)


# --- crashes and lost replies


async def one_of_each(account: Account) -> None:
    await put(account, "INBOX", b"new", flags=["\\Seen"])
    table = account.find("INBOX")
    await account.store_flags(table, [1, 2], "+", ["\\Deleted"])
    await account.copy(table, [1], "Archive")
    await account.move(table, [3], "Trash")
    await account.expunge(table, [1])
    await account.create_mailbox("a/b")
    await account.rename_mailbox("a", "c")
    await account.delete_mailbox("c/b")


def seen(account: Account) -> dict[str, list[tuple[int, tuple[str, ...]]]]:
    return {
        name: [(uid, account.flags_of(n)) for uid, n in zip(table.uids, table.flags, strict=True)]
        for name, table in ((name, account.find(name)) for name in account.state.names)
    }


async def start() -> World:
    world = World()
    account = await world.open()
    await put(account, "INBOX", b"1", b"2", b"3")
    return world


@pytest.mark.parametrize("serial", [True, False])
async def test_a_crash_at_any_step_leaves_a_whole_change_or_none(serial) -> None:
    """The states that a restart may find are those between the commands."""
    world = await start()
    account = await world.open()
    states = [seen(account)]
    version = account.version
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            nonlocal version
            while True:
                version = await account.wait_changed(version)
                states.append(seen(account))

        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        await one_of_each(account)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    reached = 0
    for call in range(1, 100):
        for steps in (0, 1, 2):
            world = await start()
            world.stores.serial = serial
            crash = CrashAt(0)
            crashing = await world.open(stores=world.stores.another(crash))
            crash.n, crash.steps = crash.calls + call, steps
            try:
                await one_of_each(crashing)
                return
            except Crash:
                ...
            found = seen(await world.open())
            assert found in states[reached:], "what was acknowledged is there, and no half of a change"
            reached = states.index(found)
            assert await world.audit() == []
    raise AssertionError("it never finished")


async def test_a_lost_reply_is_unavailable_and_the_account_goes_on(world: World) -> None:
    await world.create()
    for steps in (0, 9):  # nothing has happened, all has happened
        crash = CrashAt(0, error=Unavailable())
        account = await world.open(stores=world.stores.another(crash))
        before = len(account.find("INBOX"))
        crash.n, crash.steps = crash.calls + 1, steps
        with pytest.raises(Unavailable):
            await put(account, "INBOX", LETTER)
        await put(account, "INBOX", LETTER)
        await account.refresh()
        assert len(account.find("INBOX")) - before == (1 if steps == 0 else 2)


# --- the background


async def test_a_running_account_follows_others_and_drains(world: World, nursery) -> None:
    account, other = await world.open(), await world.open()
    await nursery.start(account.run)
    version = account.version
    await put(other, "INBOX", LETTER)
    await account.wait_changed(version)
    assert len(account.find("INBOX")) == 1
    version = account.version
    await send(world.stores, LETTER)
    await account.wait_changed(version)
    assert len(account.find("INBOX")) == 2
    nursery.cancel_scope.cancel()


async def test_a_running_account_outlives_a_store_that_is_away(world: World, autojump_clock) -> None:
    await world.create()
    crash = CrashAt(0, error=Unavailable())
    account, other = await world.open(stores=world.stores.another(crash)), await world.open()
    async with trio.open_nursery() as nursery:
        crash.n = crash.calls + 2
        await nursery.start(account.run)
        await trio.sleep(5)
        version = account.version
        await put(other, "INBOX", LETTER)
        with trio.fail_after(300):
            await account.wait_changed(version)
        nursery.cancel_scope.cancel()
    assert len(account.find("INBOX")) == 1


async def test_a_long_log_is_folded_in_the_background(world: World, nursery) -> None:
    account = await world.open()
    await nursery.start(account.run)
    for _ in range(300):
        await account.store_flags(account.find("INBOX"), [1], "+", ["\\Seen"])
        await account.subscribe("x")
        await account.subscribe("x", False)
    await trio.testing.wait_all_tasks_blocked()
    assert await account.store.list("checkpoint/")
    nursery.cancel_scope.cancel()


async def test_an_upload_is_used_once(account: Account) -> None:
    upload = account.upload()
    await upload.write(LETTER)
    await account.append("INBOX", [NewMessage(upload)])
    with pytest.raises(ValueError, match="once"):
        await account.append("INBOX", [NewMessage(upload)])


async def test_a_store_that_is_polled_knows_whether_somebody_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Callable[[], bool]] = {}

    async def watch(store: object, partition: str, cursor: object, *, eager: Callable[[], bool]) -> None:
        asked[partition] = eager
        await trio.sleep_forever()

    account = await world.open()
    monkeypatch.setattr(MemoryStore, "watch", watch)
    async with trio.open_nursery() as nursery:
        await nursery.start(account.run)
        await trio.testing.wait_all_tasks_blocked()
        assert set(asked) == {"incoming", "log", "keys"} and not any(eager() for eager in asked.values())
        nursery.start_soon(account.wait_changed, account.version)
        await trio.testing.wait_all_tasks_blocked()
        assert {partition for partition in asked if asked[partition]()} == {"incoming", "log"}
        nursery.cancel_scope.cancel()
    assert not any(eager() for eager in asked.values())


async def test_a_message_that_must_have_a_uid_takes_no_other(world: World) -> None:
    account, other = await world.open(), await world.open()
    large = b"x" * (2 * changes.LARGE)
    for uid, letter in (1, b"one"), (2, large):
        await put(account, "INBOX", letter)
        upload = other.upload()
        await upload.write(letter)
        with pytest.raises(AlreadyExists):  # it has not heard of the message that has it
            await other.append("INBOX", [NewMessage(upload)], uid)
    upload = other.upload()
    await upload.write(b"three")
    assert list((await other.append("INBOX", [NewMessage(upload)], 3)).uids) == [3]
    await account.refresh()
    assert list(account.find("INBOX").contents) == list(other.find("INBOX").contents)
    assert len(await account.store.list("body/")) == 3, "nothing is left of those that were refused"
