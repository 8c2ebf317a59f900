"""A listing that is kept up to date is what it would be anew, whatever happens; it costs what has changed."""

from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest
import trio

from aerogramme.log import flagsets
from aerogramme.mailbox.account import Account
from aerogramme_fuse import listing as listings
from aerogramme_fuse import tree as trees
from aerogramme_fuse.listing import LISTED
from aerogramme_fuse.tree import Tree
from tests.t3_mailbox.conftest import World, put

LETTERS = [b"A: b\r\n" * n + b"\r\nc" for n in range(1, 5)]
SYSTEM = sorted(flagsets.SYSTEM)


@pytest.fixture
async def account() -> AsyncIterator[Account]:
    world = World()
    account = await world.open()
    yield account
    await account.aclose()


def files(listing: listings.Listing) -> list[tuple[str, bytes, int, int, int, int]]:
    return [
        (part, *file)
        for part in LISTED
        for some in listing.files(part)
        for file in zip(some.names, some.inodes, some.sizes, some.dates, some.modseqs, strict=True)
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_it_is_what_it_would_be_anew(account: Account, monkeypatch, seed: int) -> None:
    monkeypatch.setattr(listings, "CHUNK_BITS", 3)
    random = Random(seed)
    tree = Tree(account)
    table = account.find("INBOX")
    shown: set[tuple[str, bytes]] = set()
    part_of: dict[int, str] = {}
    for part in LISTED:
        node = await tree.lookup(tree.folder_of("INBOX"), part)
        assert node is not None
        part_of[node.inode] = part
    for _ in range(60):
        uids = random.sample(list(table.uids), min(len(table), random.randrange(4)))
        match random.randrange(6):
            case 0 | 1:
                await put(account, "INBOX", *LETTERS[: random.randrange(1, 5)])
            case 2:
                await account.remove(table, uids)
            case 3 | 4:
                flags = random.sample([*SYSTEM, "work", "later"], 1)
                await account.store_flags(table, uids, random.choice("+-"), flags)
            case 5:
                for uid in uids:
                    row = table.row_of_uid(uid)
                    assert row is not None
                    tree.given.move_to_cur(table.ids[row], table.mailbox)
        listing = await tree.listing(table.mailbox)
        anew = Tree(account)
        anew.given.in_cur = tree.given.in_cur
        assert files(listing) == files(await anew.listing(table.mailbox))
        assert len(files(listing)) == len(table)
        now = {(part, name) for part, name, *_ in files(listing)}
        assert {(part_of[folder], name) for folder, name in tree.gone} >= shown - now
        assert not {(part_of[folder], name) for folder, name in tree.gone} - shown
        assert bool(tree.changed) == (shown != now) or not shown
        tree.gone.clear()
        tree.changed.clear()
        shown = now


async def test_one_change_is_not_all(account: Account, monkeypatch) -> None:
    """What is named anew after a change are the messages near it."""
    made: list[int] = []

    def counted(table, start, stop, *rest):
        made.append(stop - start)
        return listings.chunk_of(table, start, stop, *rest)

    monkeypatch.setattr(trees, "chunk_of", counted)
    for _ in range(4):
        await put(account, "INBOX", *LETTERS * 128)
    tree, table = Tree(account), account.find("INBOX")
    await tree.listing(table.mailbox)
    assert sum(made) == 2048
    made.clear()
    await account.store_flags(table, [700], "+", ["\\Seen"])
    before = await tree.listing(table.mailbox)
    assert made == [512]
    assert await tree.listing(table.mailbox) is before
    await account.remove(table, [3])
    await tree.listing(table.mailbox)
    assert len(made) == 2
    await put(account, "INBOX", LETTERS[0])
    await tree.listing(table.mailbox)
    assert len(made) == 3


async def test_many_who_list_at_once_while_it_changes(account: Account, monkeypatch) -> None:
    """It is named once, some of it at a time; what has changed meanwhile is named again, and no more."""
    monkeypatch.setattr(listings, "CHUNK_BITS", 3)
    made: list[int] = []
    flagged = [1, 100]

    def counted(table, start, *rest):
        made.append(table.uids[start])
        return listings.chunk_of(table, start, *rest)

    async def change() -> None:
        while not made:
            await trio.lowlevel.checkpoint()
        await account.store_flags(table, flagged, "+", ["\\Seen"])

    monkeypatch.setattr(trees, "chunk_of", counted)
    await put(account, "INBOX", *LETTERS * 50)
    tree, table = Tree(account), account.find("INBOX")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        for _ in range(3):
            nursery.start_soon(tree.listing, table.mailbox)
    listing = await tree.listing(table.mailbox)
    assert files(listing) == files(await Tree(account).listing(table.mailbox))
    again = Counter(made[: len(made) - 26])  # less those of the other tree
    assert len(again) == 26 and again.total() <= 26 + len(flagged)
    assert {table.uids[row] for row in range(len(table)) if table.flags[row]} == set(flagged)
