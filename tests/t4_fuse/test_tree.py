"""What a mounted account looks like: names, numbers, sizes and contents."""

import re

import pytest

from aerogramme.mailbox.account import Account
from aerogramme.maildir import Layout
from aerogramme_fuse.tree import ROOT, Folder, Made, Message, Tree
from tests.helpers.corpus import corpus
from tests.t3_mailbox.conftest import World, put
from tests.t4_fuse.conftest import entries

LETTER = b"Subject: one\r\n\r\nText\r\n"
LAYOUTS: tuple[Layout, ...] = ("maildir++", "fs")


def root(tree: Tree) -> Folder:
    node = tree.node(ROOT)
    assert isinstance(node, Folder)
    return node


async def folder(tree: Tree, *path: str) -> Folder:
    node = root(tree)
    for name in path:
        found = await tree.lookup(node, name)
        assert isinstance(found, Folder), path
        node = found
    return node


async def names(tree: Tree, *path: str) -> list[str]:
    return [name for name, _ in await entries(tree, await folder(tree, *path))]


async def content(tree: Tree, *path: str) -> str:
    node = await tree.lookup(await folder(tree, *path[:-1]), path[-1])
    assert isinstance(node, Made)
    made = await tree.made(node)
    assert len(made) == (await tree.attributes(node)).size
    return made.decode()


async def walk(tree: Tree) -> dict[str, tuple[int, int, int]]:
    """Path -> inode, size, mtime. What is listed is found by its name, and by its number."""
    found = {}

    async def enter(node: Folder, path: str) -> None:
        listed = await entries(tree, node)
        assert len(dict(listed)) == len(listed)
        for name, inode in listed:
            child = await tree.lookup(node, name)
            assert child is not None and child.inode == inode and tree.node(inode) == child
            attributes = await tree.attributes(child)
            assert attributes.inode == inode and attributes.folder == isinstance(child, Folder)
            found[f"{path}/{name}"] = inode, attributes.size, attributes.mtime
            if isinstance(child, Folder):
                await enter(child, f"{path}/{name}")

    await enter(root(tree), "")
    inodes = [inode for inode, _, _ in found.values()]
    assert len(set(inodes)) == len(inodes) and ROOT not in inodes and all(0 < n < 1 << 64 for n in inodes)
    return found


async def fill(account: Account) -> None:
    await put(account, "INBOX", LETTER, LETTER, date=1_500_000_000)
    await put(account, "INBOX", LETTER, flags=["\\Seen", "$Label1"])
    for name in ("a/b", "a", "a/b/c", "x/y", "INBOX/in", "cur", "a.b", "&", "Entwürfe/é.ü", "." + "é" * 124):
        if name not in account.state.names:
            await account.create_mailbox(name)
        await put(account, name, LETTER, flags=["\\Flagged"])


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_what_is_listed_is_found_and_has_the_same_numbers_everywhere(
    world: World, account: Account, layout: Layout
) -> None:
    await fill(account)
    found = await walk(Tree(account, layout))
    await account.fold(force=True)
    assert await walk(Tree(account, layout)) == found
    assert await walk(Tree(await world.open(), layout)) == found  # on another machine


async def test_folders(account: Account) -> None:
    await fill(account)
    plus, tree = Tree(account), Tree(account, "fs")
    listed = await names(plus)
    assert {".a", ".a.b", ".a.b.c", ".x.y", ".INBOX.in", ".cur", ".a&AC4-b", ".&-"} < set(listed)
    assert {".Entw&APw-rfe.&AOk-&AC4-&APw-", ".Entw&APw-rfe"} < set(listed)
    assert {"a", "x", "a.b", "&AEk-NBOX", "Entwürfe"} < set(await names(tree))
    assert {"b", "cur", "new", "tmp"} < set(await names(tree, "a"))
    assert {"c", "cur", "new", "tmp"} < set(await names(tree, "a", "b"))
    assert "é.ü" in await names(tree, "Entwürfe")
    inside = await folder(tree, "&AGM-ur")  # a mailbox "cur" beside cur/ of INBOX
    assert inside.name == "cur" and not inside.part
    assert (await folder(tree, "cur")).part == "cur"


async def test_a_mailbox_that_goes_leaves_a_level_of_others(account: Account) -> None:
    tree = Tree(account, "fs")
    for name in ("x", "x/y"):
        await account.create_mailbox(name)
    mailbox = await folder(tree, "x")
    below = await folder(tree, "x", "y")
    await account.delete_mailbox("x")
    level = await folder(tree, "x")
    assert level.mailbox is None and await names(tree, "x") == ["y"]
    assert tree.node(mailbox.inode) is None
    assert await folder(tree, "x", "y") == below
    assert not (await tree.attributes(level)).size
    await account.rename_mailbox("x/y", "z")
    assert (await folder(tree, "z")).inode == below.inode  # it is the same mailbox
    assert await tree.lookup(root(tree), "x") is None
    assert tree.path_of(await folder(tree, "z")) == ["z"]


async def test_what_has_no_flags_is_new(account: Account) -> None:
    tree = Tree(account)
    placed = await put(account, "INBOX", LETTER, date=1_500_000_000)
    [name] = await names(tree, "new")
    table = account.find("INBOX")
    assert name == f"1500000000.M{table.ids[0]:x}.{account.id[:8]}.aerogramme,S=19,W=22,U=1"
    assert await names(tree, "cur") == []
    for flags, letters in [
        (["\\Seen"], "S"),
        (["\\Draft", "\\Flagged", "\\Answered", "\\Seen", "\\Deleted"], "DFRST"),
        (["custom"], "a"),
        (["$Forwarded", "custom", "\\Seen"], "Sab"),
    ]:
        await account.store_flags(table, placed.uids, "=", flags)
        assert await names(tree, "new") == []
        assert await names(tree, "cur") == [f"{name}:2,{letters}"]
    await account.store_flags(table, placed.uids, "=", [])
    assert await names(tree, "new") == [name]
    assert await content(tree, "dovecot-keywords") == "0 custom\n1 $Forwarded\n"  # whatever is in use now


async def test_only_26_keywords_have_letters(account: Account) -> None:
    tree = Tree(account)
    used = [f"word{n:02}" for n in range(30)]
    for word in used:
        await put(account, "INBOX", LETTER, flags=[word])
    listed = await names(tree, "cur")
    assert [name.partition(":2,")[2] for name in listed] == [*"abcdefghijklmnopqrstuvwxyz", "", "", "", ""]
    lines = (await content(tree, "dovecot-keywords")).splitlines()
    assert lines == [f"{n} {word}" for n, word in enumerate(used[:26])]


async def test_only_the_name_that_it_has_now_is_found(account: Account) -> None:
    tree = Tree(account)
    placed = await put(account, "INBOX", LETTER, LETTER)
    new, cur = await folder(tree, "new"), await folder(tree, "cur")
    one, two = await names(tree, "new")
    table = account.find("INBOX")
    await account.store_flags(table, placed.uids[:1], "=", ["\\Seen"])
    assert await tree.lookup(new, one) is None
    found = await tree.lookup(cur, f"{one}:2,S")
    assert isinstance(found, Message) and tree.has_name(found, f"{one}:2,S")
    for name in (
        one,
        f"{one}:2,",
        f"{one}:2,FS",
        f"{two}:2,S",
        one.replace("S=19", "S=20") + ":2,S",
        "x",
        "",
    ):
        assert await tree.lookup(cur, name) is None
    await account.remove(table, placed.uids[:1])
    assert await tree.lookup(cur, f"{one}:2,S") is None and tree.node(found.inode) is None
    assert await names(tree, "new") == [two]


async def test_files_of_dovecot(account: Account) -> None:
    tree = Tree(account)
    await account.create_mailbox("Work/Urgent")
    await put(account, "INBOX", LETTER, LETTER, LETTER, flags=["\\Seen"])
    table = account.find("INBOX")
    await account.remove(table, [2])
    # https://doc.dovecot.org: "dovecot-uidlist version 3", a header and a line for each message
    head, *lines = (await content(tree, "dovecot-uidlist")).splitlines()
    assert re.fullmatch(rf"3 V{table.uidvalidity} N4 G[0-9a-f]{{32}}", head)
    listed = [name.partition(":")[0] for name in await names(tree, "cur")]
    assert lines == [f"1 :{listed[0]}", f"3 :{listed[1]}"]
    assert (await content(tree, ".Work", "dovecot-uidlist")).startswith("3 V")
    await account.subscribe("Work/Urgent")
    await account.subscribe("gone")
    subscribed = (await content(tree, "subscriptions")).splitlines()
    assert subscribed[:2] == ["V\t2", ""] and {"Work\tUrgent", "gone"} < set(subscribed)
    assert await content(tree, ".Work", "maildirfolder") == ""
    assert "maildirfolder" not in await names(tree) and "maildirfolder" not in await names(
        Tree(account, "fs"), "Work"
    )


@pytest.mark.parametrize(
    "letter",
    [
        b"Subject: x\r\n\r\nText\r\n",
        b"Subject: x\n\nText\n",
        b"Subject: x\r\n\r\nno end",
        b"Subject: x\r\n\r\nbare\nand\rbare\r\r\n\r\n\n\r",
        b"\r\n",
        b"x",
        b"\n",
    ],
)
async def test_sizes_are_true(account: Account, letter: bytes) -> None:
    await check_sizes(account, [letter])


@pytest.mark.corpus
async def test_sizes_of_real_mails_are_true(account: Account) -> None:
    await check_sizes(account, [mail for mail in corpus()[::20] if b"\n" in mail])


async def check_sizes(account: Account, letters: list[bytes]) -> None:
    tree = Tree(account)
    for at in range(0, len(letters), 100):
        await put(account, "INBOX", *letters[at : at + 100])
    listed = await entries(tree, await folder(tree, "new"))
    assert len(listed) == len(letters)
    for name, inode in listed:
        node = tree.node(inode)
        assert isinstance(node, Message)
        letter = await account.body(tree.content_of(node))
        file = letter.replace(b"\r\n", b"\n")
        assert (await tree.attributes(node)).size == len(file)
        said = re.search(r",S=(\d+),W=(\d+),", name)
        assert said is not None and int(said[1]) == len(file)
        assert int(said[2]) == len(re.sub(rb"(?<!\r)\n", b"\r\n", file))  # as Dovecot counts it


async def test_times(account: Account) -> None:
    tree = Tree(account)
    placed = await put(account, "INBOX", LETTER, date=1_500_000_000)
    [(_, inode)] = await entries(tree, await folder(tree, "new"))
    node = tree.node(inode)
    assert node is not None
    before = await tree.attributes(node)
    assert before.mtime == 1_500_000_000 * 10**9
    cur = await folder(tree, "cur")
    was = (await tree.attributes(cur)).mtime
    await account.store_flags(account.find("INBOX"), placed.uids, "+", ["\\Seen"])
    node = tree.node(inode)
    assert node is not None
    after = await tree.attributes(node)
    assert after.mtime == before.mtime and after.ctime >= before.ctime
    assert (await tree.attributes(cur)).mtime >= was > 1_600_000_000 * 10**9
    # A folder changes when something in it is moved, also when nobody else sees that.
    was = (await tree.attributes(cur)).mtime
    tree.given.move_to_cur(inode, account.find("INBOX").mailbox)
    assert (await tree.attributes(cur)).mtime > was


async def test_what_was_shown_and_is_not_so_any_more_is_told(account: Account) -> None:
    tree = Tree(account)
    placed = await put(account, "INBOX", LETTER, LETTER)
    await tree.catch_up()
    tree.gone.clear()
    tree.changed.clear()
    new, cur = await folder(tree, "new"), await folder(tree, "cur")
    one, _ = await names(tree, "new")
    await tree.catch_up()
    assert not tree.gone and not tree.changed
    table = account.find("INBOX")
    await account.store_flags(table, placed.uids[:1], "=", ["\\Seen"])
    await names(tree, "new")  # who looks again before it is told hides nothing
    await account.create_mailbox("later")
    await tree.catch_up()
    assert tree.gone == {(new.inode, one.encode())}
    assert {new.inode, cur.inode, ROOT} <= tree.changed
    tree.gone.clear()
    tree.changed.clear()
    # Times of folders that nobody has listed change, too: who waits for mail may only look at them.
    await account.copy(table, placed.uids[:1], "Archive")
    await tree.catch_up()
    assert (await folder(tree, ".Archive", "cur")).inode in tree.changed
    assert new.inode not in tree.changed
    tree.gone.clear()
    await account.delete_mailbox("later")
    await tree.catch_up()
    assert tree.gone == {(ROOT, b".later")}


async def test_a_name_that_a_program_gave_is_found_while_its_flags_are_so(account: Account) -> None:
    tree = Tree(account)
    placed = await put(account, "INBOX", LETTER, flags=["\\Seen"])
    table = account.find("INBOX")
    tree.given.name(table.mailbox, "1.given", table.ids[0])
    cur = await folder(tree, "cur")
    node = await tree.lookup(cur, "1.given:2,S")
    assert isinstance(node, Message) and not tree.has_name(node, "1.given:2,S")
    for name in ("1.given", "1.given:2,", "1.given:2,FS"):
        assert await tree.lookup(cur, name) is None
    await account.store_flags(table, placed.uids, "=", ["\\Flagged"])
    assert await tree.lookup(cur, "1.given:2,S") is None
    assert await tree.lookup(cur, "1.given:2,F") is not None
