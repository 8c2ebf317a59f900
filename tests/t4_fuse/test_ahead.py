"""What a mount lists by itself."""

from pathlib import Path

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


async def test_a_folder_is_read_and_one_that_is_not_there_is_nothing(
    account: Account, tmp_path: Path
) -> None:
    await put(account, "INBOX", LETTER)
    (tmp_path / "cur").mkdir()
    (tmp_path / "cur" / "one").touch()
    await look_ahead(Tree(account), tmp_path)
