"""Accounts in memory, looked at as a tree of files; nothing is mounted."""

from collections.abc import AsyncIterator, Iterator

import pytest

from aerogramme.mailbox.account import Account
from aerogramme.seal import scram, slots
from aerogramme_fuse.tree import Folder, Tree
from tests.t3_mailbox.conftest import CHEAP, World


@pytest.fixture(autouse=True, scope="module")  # of a package it would last to the end: these are none
def cheap_passwords() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "Argon2Params", lambda: CHEAP)
        patch.setattr(scram, "ITERATIONS", 1)
        yield


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Every account that a test has used is audited when the test is over."""
    world = World()
    yield world
    found = await world.audit()
    for account in world.opened:
        await account.aclose()
    assert found == world.expected


@pytest.fixture
async def account(world: World) -> Account:
    return await world.open()


async def entries(tree: Tree, folder: Folder) -> list[tuple[str, int]]:
    """Names and inode numbers of all that is in a folder, without . and .."""
    messages = [
        (name.decode(), inode)
        for files in await tree.files(folder)
        for name, inode in zip(files.names, files.inodes, strict=True)
    ]
    return [*messages, *tree.children(folder).items()]
