"""`aerogramme import mbox` and `eml`, and mbox files of Dovecot."""

import json
from pathlib import Path

import pytest

from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One account for all: each test has mailboxes of its own."""
    path = tmp_path_factory.mktemp("account") / "data"
    create_account(path)
    return path


def run(data: Path, *args: str, code: int = 0) -> tuple[dict, str]:
    """What is on standard output, and on standard error."""
    words = ("import", *args, ADDRESS, "--data", str(data), "--password-stdin", "--json")
    done = aerogramme(*words, stdin=PASSWORD + "\n", check=False)
    assert done.returncode == code, done
    return json.loads(done.stdout), done.stderr.decode()


def mbox(*numbers: int, base: str = "") -> str:
    """Some messages."""
    letters = [
        f"From x Tue Jan  7 10:00:{n:02} 2020\n{base}Message-ID: <{n}@x>\nStatus: R\n\n>From {n}\n\n"
        for n in numbers
    ]
    return "".join(letters)


def landed(said: dict) -> dict[str, int]:
    assert said["whole"]
    return {mailbox["name"]: mailbox["landed"] for mailbox in said["mailboxes"]}


def test_an_mbox_comes_in_and_what_is_appended_to_it_later(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.mbox"
    path.write_text(mbox(1, 2, 3))
    said, _ = run(data, "mbox", str(path), "--utc", "--into", "Archive/2020")
    assert landed(said) == {"Archive/2020": 3}
    path.write_text(mbox(1, 2, 3, 4))
    said, _ = run(data, "mbox", str(path), "--verify", "--utc", "--into", "Archive/2020")
    assert landed(said) == {"Archive/2020": 1}


def test_a_folder_of_mbox_files_comes_in(data: Path, tmp_path: Path) -> None:
    (tmp_path / "Mail" / "Lists.sbd").mkdir(parents=True)
    (tmp_path / "Mail" / "Inbox").write_text(mbox(1))
    (tmp_path / "Mail" / "Lists.sbd" / "trio").write_text(mbox(2, 3))
    (tmp_path / "Mail" / "Entwürfe").write_text(mbox(4))
    said, _ = run(data, "mbox", str(tmp_path / "Mail"), "--under", "Old", "--verify")
    assert landed(said) == {"Old/INBOX": 1, "Old/Lists/trio": 2, "Old/Entwürfe": 1}


def test_mbox_files_of_dovecot_come_in_with_their_uids(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "Sent").write_text(mbox(1, base="X-IMAPbase: 77 9\nX-UID: 5\n") + mbox(2))
    said, _ = run(data, "dovecot", str(tmp_path / "mail"), "--verify")
    assert landed(said) == {"Sent": 2}
    assert said["mailboxes"][0]["keeps"]


def test_files_with_one_letter_come_in(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "saved"
    (root / "Work").mkdir(parents=True)
    (root / "Work" / "1.eml").write_bytes(b"Message-ID: <1@x>\nDate: Tue, 7 Jan 2020 10:00:00 GMT\n\n1\n")
    (root / "2.eml").write_bytes(b"Message-ID: <2@x>\n\n2\n")
    said, _ = run(data, "eml", str(root), "--into", "INBOX", "--verify")
    assert landed(said) == {"INBOX": 1, "Work": 1}
    (root / "3.eml").symlink_to("2.eml")
    (root / "4.eml").write_bytes(b"\n4\n")
    said, _ = run(data, "eml", str(root), "--into", "INBOX", code=65)
    assert not said["whole"] and [mailbox["landed"] for mailbox in said["mailboxes"]] == [1, 0]
    assert "3.eml" in json.dumps(said["faults"])
