"""What a program means that changes files, as changes of an account."""

from collections.abc import Callable

import pytest

pytest.importorskip("pyfuse3", reason="no pyfuse3: make mount")

from pyfuse3 import FUSEError

from aerogramme.errors import AerogrammeError, NoSuchMailbox, OverQuota
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.policy import Policy
from aerogramme_fuse.errnos import told
from aerogramme_fuse.overlay import Scratch
from aerogramme_fuse.processes import Process
from aerogramme_fuse.tree import Folder, Made, Message, Tree
from aerogramme_fuse.writing import Writing
from tests.t3_mailbox.conftest import World, put
from tests.t4_fuse.conftest import entries

LETTER = b"Subject: one\r\n\r\nText\r\n"


class View:
    """A tree and what writes to it."""

    def __init__(self, account: Account, *, trash: bool = False) -> None:
        self.account, self.tree = account, Tree(account)
        self.writing = Writing(self.tree, trash=trash)

    async def folder(self, part: str, mailbox: str = "INBOX") -> Folder:
        found = await self.tree.lookup(self.tree.folder_of(mailbox), part)
        assert isinstance(found, Folder)
        return found

    async def names(self, part: str, mailbox: str = "INBOX") -> list[str]:
        return [name for name, _ in await entries(self.tree, await self.folder(part, mailbox))]

    async def only(self, part: str, mailbox: str = "INBOX") -> Message:
        [name] = await self.names(part, mailbox)
        return await self.message(part, name, mailbox)

    async def message(self, part: str, name: str, mailbox: str = "INBOX") -> Message:
        found = await self.tree.lookup(await self.folder(part, mailbox), name)
        assert isinstance(found, Message)
        return found

    async def body(self, node: Message) -> bytes:
        return await self.account.body(self.tree.content_of(node))

    def flags(self, node: Message) -> set[str]:
        table = self.tree.table(node.mailbox)
        row = table.row_of_id(node.inode)
        assert row is not None
        return set(self.account.flags_of(table.flags[row]))


@pytest.fixture
def view(account: Account) -> View:
    return View(account)


def file(data: bytes, mtime: int = 1_500_000_000) -> Scratch:
    return Scratch(1 << 62, mtime * 10**9, bytearray(data))


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\r\nb\n", b"a\r\nb\r\n"),
        (b"a\rb\r\r\nc", b"a\rb\r\r\nc"),
        (b"\n", b"\r\n"),
    ],
)
async def test_a_letter_is_stored_with_lines_as_mail_has_them(
    view: View, written: bytes, stored: bytes
) -> None:
    await view.writing.deliver(file(written), await view.folder("new"), "x")
    node = await view.message("new", "x")
    assert await view.body(node) == stored
    assert node == await view.only("new")


@pytest.mark.parametrize(
    ("mtime", "date"), [(1_500_000_000, 1_500_000_000), (-5, 0), (1 << 40, (1 << 32) - 1), (0, 0)]
)
async def test_its_time_is_that_of_the_file(view: View, mtime: int, date: int) -> None:
    await view.writing.deliver(file(LETTER, mtime), await view.folder("new"), "x")
    assert list(view.account.find("INBOX").dates) == [date]


async def test_who_has_brought_a_letter_says_when_it_came(view: View) -> None:
    """Afterwards, as neomutt does. Nobody else does so."""
    program, other = Process(7, 1), Process(7, 2)
    await view.writing.deliver(file(LETTER), await view.folder("cur"), "x:2,Sa", program)
    node = await view.only("cur")
    uid = view.tree.table(node.mailbox).uids[node.row]
    [listed] = await view.names("cur")
    for who in other, None:
        await view.writing.set_time(node, 1_400_000_000_000_000_000, who)
    assert await view.only("cur") == node
    await view.writing.set_time(node, 1_400_000_000_000_000_001, program)
    now = await view.only("cur")
    assert now.inode != node.inode and await view.body(now) == LETTER
    assert (await view.tree.attributes(now)).mtime == 1_400_000_000 * 10**9
    assert view.tree.table(now.mailbox).uids[now.row] == uid + 1
    for name in ("x:2,Sa", listed):  # as the program knows it, which may go on to say what "a" is
        assert await view.message("cur", name) == now
    assert view.tree.node(node.inode) == now
    keywords = view.tree.node(view.tree._children[1]["dovecot-keywords"])
    assert isinstance(keywords, Made)
    await view.writing.noting.take(keywords, b"0 Work\n")
    assert view.flags(now) == {"\\Seen", "Work"}
    await view.writing.set_time(now, 1_400_000_000_000_000_000, program)  # the same time: nothing to do
    assert await view.message("cur", "x:2,Sa") == now


async def test_a_letter_stays_in_its_folder_when_its_time_is_set(view: View) -> None:
    program = Process(7, 1)
    for part, name in ("cur", "x:2,"), ("new", "y"):
        await view.writing.deliver(file(LETTER), await view.folder(part), name, program)
        node = await view.message(part, name)
        await view.writing.set_time(node, 10**18, program)
        assert (await view.message(part, name)).inode != node.inode
    assert len(await view.names("cur")) == len(await view.names("new")) == 1


async def test_it_has_the_flags_that_its_name_says(view: View) -> None:
    await put(view.account, "Archive", LETTER, flags=["$Label1", "other"])
    await view.writing.deliver(file(LETTER), await view.folder("cur"), "x:2,FSbz")
    assert view.flags(await view.only("cur")) == {"\\Flagged", "\\Seen", "other"}
    assert (await view.message("cur", "x:2,FSb")) == await view.only("cur")


async def test_what_is_moved_to_cur_without_a_flag_stays_there(view: View) -> None:
    await put(view.account, "INBOX", LETTER)
    [name] = await view.names("new")
    await view.writing.rename(await view.only("new"), await view.folder("cur"), f"{name}:2,")
    assert await view.names("new") == [] and await view.names("cur") == [f"{name}:2,"]
    assert await View(view.account).names("new") == [name]  # for this mount only: IMAP has no such state
    await view.writing.deliver(file(LETTER), await view.folder("cur"), "x")
    assert len(await view.names("cur")) == 2


async def test_flags_that_a_name_cannot_say_stay(view: View) -> None:
    many = [f"word{n:02}" for n in range(30)]
    await put(view.account, "INBOX", LETTER, flags=["\\Seen", *many])
    [name] = await view.names("cur")
    base = name.partition(":")[0]
    await view.writing.rename(await view.only("cur"), await view.folder("cur"), f"{base}:2,F")
    assert view.flags(await view.only("cur")) == {"\\Flagged", *many[26:]}


async def test_what_others_set_meanwhile_stays(world: World, view: View) -> None:
    await put(view.account, "INBOX", LETTER)
    node = await view.only("new")
    [name] = await view.names("new")
    other = await world.open()
    await other.store_flags(other.find("INBOX"), [1], "+", ["\\Answered"])
    await view.writing.rename(node, await view.folder("cur"), f"{name}:2,S")
    assert view.flags(await view.only("cur")) == {"\\Seen", "\\Answered"}


async def test_moving_takes_flags_along_and_changes_them(view: View) -> None:
    await put(view.account, "INBOX", LETTER, flags=["\\Seen", "word"], date=1_400_000_000)
    [name] = await view.names("cur")
    base = name.partition(":")[0]
    target = await view.folder("cur", "Archive")
    moved = await view.writing.rename(await view.only("cur"), target, f"{base}:2,Fa")
    node = await view.only("cur", "Archive")
    assert node.inode == moved and view.flags(node) == {"\\Flagged", "word"}
    assert list(view.account.find("Archive").dates) == [1_400_000_000]
    assert len(view.account.find("INBOX")) == 0
    assert await view.message("cur", f"{base}:2,Fa", "Archive") == node  # under the name that it was given


async def test_removing(account: Account) -> None:
    await put(account, "INBOX", LETTER)
    gone = View(account)
    await gone.writing.remove(await gone.only("new"))
    assert len(account.find("INBOX")) == len(account.find("Trash")) == 0
    await put(account, "INBOX", LETTER, flags=["\\Seen"])
    kept = View(account, trash=True)
    await kept.writing.remove(await kept.only("cur"))
    assert len(account.find("INBOX")) == 0
    await kept.writing.remove(await kept.only("cur", "Trash"))
    assert len(account.find("Trash")) == 0
    # Where there is no such mailbox, there is no keeping either.
    await account.delete_mailbox("Trash")
    await put(account, "INBOX", LETTER)
    await kept.writing.remove(await kept.only("new"))
    assert len(account.find("INBOX")) == 0


async def test_somebody_else_was_faster(world: World, view: View) -> None:
    await put(view.account, "INBOX", LETTER)
    node, cur, archive = (
        await view.only("new"),
        await view.folder("cur"),
        await view.folder("cur", "Archive"),
    )
    other = await world.open()
    await other.remove(other.find("INBOX"), [1])
    for attempt in (
        lambda: view.writing.rename(node, archive, "x:2,S"),
        lambda: view.writing.remove(node),
        lambda: view.writing.rename(node, cur, "x:2,S"),
    ):
        # To this view the message is there until it asks.
        seen = view.tree.node(node.inode)
        if seen is None:
            break
        with pytest.raises(NoSuchMailbox):
            await attempt()
    assert view.tree.node(node.inode) is None


async def test_a_letter_that_is_refused_leaves_nothing(view: View) -> None:
    view.account.policy = Policy(quota=10)
    with pytest.raises(OverQuota):
        await view.writing.deliver(file(LETTER), await view.folder("new"), "x")
    new = await view.folder("new")
    await view.account.create_mailbox("goes")
    goes = await view.folder("new", "goes")
    await view.account.delete_mailbox("goes")
    view.account.policy = Policy()
    with pytest.raises(AerogrammeError):
        await view.writing.deliver(file(LETTER), goes, "x")
    assert await entries(view.tree, new) == []


async def test_a_name_of_another_message_hides_nothing(view: View) -> None:
    await put(view.account, "INBOX", LETTER)
    [name] = await view.names("new")
    there = await view.only("new")
    await view.writing.deliver(file(b"other\n"), await view.folder("cur"), f"{name}:2,S")
    assert await view.message("new", name) == there
    assert await view.body(await view.only("cur")) == b"other\r\n"


async def test_few_of_the_names_that_programs_gave_are_kept(
    view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aerogramme_fuse.given.MOST", 3)
    for n in range(5):
        await view.writing.deliver(file(LETTER), await view.folder("new"), f"x{n}")
    new = await view.folder("new")
    assert [await view.tree.lookup(new, f"x{n}") is not None for n in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


async def test_no_name_of_the_account_is_in_the_log(view: View, caplog: pytest.LogCaptureFixture) -> None:
    """The log is plain, and mailboxes and keywords are as secret as mail."""
    await put(view.account, "INBOX", LETTER, flags=["secret"])
    keywords, subscriptions = map(made_of(view), ("dovecot-keywords", "subscriptions"))
    await view.writing.noting.take(keywords, b"0 other\n")
    await view.writing.noting.take(subscriptions, b"V\t2\n\n&secret\n")
    for name in "Old", "Old/secret", "New/secret":
        await view.account.create_mailbox(name)
    await view.account.delete_mailbox("New")
    with pytest.raises(FUSEError):
        async with told():
            await view.account.rename_mailbox("Old", "New")
    assert len(caplog.records) == 3 and "secret" not in caplog.text


def made_of(view: View) -> Callable[[str], Made]:
    def find(name: str) -> Made:
        node = view.tree.node(view.tree._children[1][name])
        assert isinstance(node, Made)
        return node

    view.tree.folder_of("INBOX")
    return find
