"""What a mount lists by itself."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from aerogramme.mailbox.account import Account
from aerogramme_fuse import ahead
from aerogramme_fuse.ahead import look_ahead
from aerogramme_fuse.tree import Tree
from tests.t3_mailbox.conftest import put

LETTER = b"A: b\r\n\r\nc\r\n"


@pytest.fixture
def listed(monkeypatch) -> list[str]:
    """Of a mount at /at."""
    folders: list[str] = []

    async def note(folder: Path) -> None:
        folders.append(str(folder.relative_to("/at")))

    monkeypatch.setattr(ahead, "_list", note)
    return folders


async def test_inbox_is_first_and_what_has_no_mail_is_left_out(account: Account, listed: list[str]) -> None:
    for name in "Empty", "All/Work":
        await account.create_mailbox(name)
    await put(account, "All/Work", LETTER)
    await put(account, "INBOX", LETTER)
    await look_ahead(Tree(account), Path("/at"))
    assert listed == ["cur", "new", ".All.Work/cur", ".All.Work/new"]
    listed.clear()
    await look_ahead(Tree(account, "fs"), Path("/at"))
    assert listed == ["cur", "new", "All/Work/cur", "All/Work/new"]


async def test_no_more_than_there_is_room_for(account: Account, listed: list[str], monkeypatch) -> None:
    monkeypatch.setattr(ahead, "AHEAD", 3)
    for name, count in ("Large", 4), ("Medium", 2), ("Small", 1):
        await account.create_mailbox(name)
        await put(account, name, *[LETTER] * count)
    await put(account, "INBOX", LETTER)
    await look_ahead(Tree(account), Path("/at"))
    assert listed == ["cur", "new", ".Medium/cur", ".Medium/new"]


async def test_what_cannot_be_listed_is_left_to_others(account: Account, tmp_path: Path, monkeypatch) -> None:
    """A folder that is read, one that is not there, and one with a name that the locale cannot spell."""
    scanned: list[str] = []

    def scan(folder: Path):
        scanned.append(folder.parent.name)
        if "Zoë" in str(folder):
            str(folder).encode("ascii")
        return os.scandir(folder)

    monkeypatch.setattr(ahead, "os", SimpleNamespace(scandir=scan))
    for name in "INBOX", "Zoë", "Zz":
        if name != "INBOX":
            await account.create_mailbox(name)
        await put(account, name, LETTER)
    (tmp_path / "cur").mkdir()
    (tmp_path / "cur" / "one").touch()
    await look_ahead(Tree(account, "fs"), tmp_path)
    assert scanned == [tmp_path.name] * 2 + ["Zoë"] * 2 + ["Zz"] * 2
