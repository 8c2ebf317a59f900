"""`aerogramme restore`, while a server runs and a mail program looks on."""

import imaplib
import json
import time
from pathlib import Path

import pytest

from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account, serving

MAIL = b"From: bob@example.net\r\nSubject: mail %d\r\n\r\nHello %d\r\n"


def run(data: Path, *args: str, check: bool = True):
    where = ("--data", str(data), "--password-stdin")
    return aerogramme("restore", ADDRESS, *where, *args, stdin=PASSWORD + "\n", check=check)


def report(data: Path, *args: str) -> dict:
    found = json.loads(run(data, *args, "--json").stdout)
    assert isinstance(found, dict)
    return found


def append(client: imaplib.IMAP4, mailbox: str, *numbers: int) -> None:
    for n in numbers:
        client.append(mailbox, "(\\Flagged)", imaplib.Time2Internaldate(1_700_000_000), MAIL % (n, n))


def test_what_was_deleted_by_mistake(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    with serving(data) as server:
        client = server.imap()
        client.create("Work")
        append(client, "Work", 1, 2)
        append(client, "INBOX", 3, 4, 5)
        since = f"@{time.time():.3f}"
        client.select("INBOX")
        client.store("1:2", "+FLAGS", "\\Deleted")
        client.expunge()
        client.delete("Work")

        dry = report(data, "--since", since, "--dry-run")
        assert {name: (line["messages"], line["made"]) for name, line in dry["mailboxes"].items()} == {
            "INBOX": (2, False),
            "Work": (2, True),
        }
        assert client.status("INBOX", "(MESSAGES)")[1] == [b'"INBOX" (MESSAGES 1)']

        done = run(data, "--since", since)
        table = done.stdout.decode()
        assert "Work (made again)" in table and "4-5" in table
        assert b"4 messages brought back" in done.stderr
        client.noop()
        assert client.select("INBOX")[1] == [b"3"]
        _, found = client.fetch("2", "(UID FLAGS INTERNALDATE BODY.PEEK[])")
        assert found[0][1] == MAIL % (3, 3)
        assert b"UID 4" in found[0][0] and b"\\Flagged" in found[0][0] and b"\\Deleted" not in found[0][0]
        assert b"14-Nov-2023" in found[0][0]
        assert client.select("Work")[1] == [b"2"]
        assert b"Work" in b" ".join(client.lsub()[1])

        again = report(data, "--since", since)
        assert (again["mailboxes"], again["there"]) == ({}, 4)
        span = done.stderr.decode().partition("--since ")[2].split()
        assert span[1] == "--until" and span[3] == "--undo"
        undone = report(data, "--since", *span[:4])
        assert {name: line["messages"] for name, line in undone["mailboxes"].items()} == {
            "INBOX": 2,
            "Work": 2,
        }
        assert client.select("INBOX")[1] == [b"1"]
        client.logout()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("restore") / "data"
    create_account(data)
    return data


def test_nothing_to_bring_back(data: Path) -> None:
    done = run(data, "--since", f"@{time.time():.3f}")
    assert done.stdout == b""
    assert done.stderr == b"nothing was expunged in that time\n0 messages brought back\n"
    assert report(data, "--since", "2001-01-01")["mailboxes"] == {}  # before there was an account


def test_mistakes(data: Path) -> None:
    nowhere = run(data, "--since", f"@{time.time():.3f}", "--mailbox", "nowhere", check=False)
    assert nowhere.returncode == 66 and b"no mailbox nowhere" in nowhere.stderr
    backwards = run(data, "--since", "1h", "--until", "2h", check=False)
    assert backwards.returncode == 2 and b"--until is before --since" in backwards.stderr
    assert run(data, "--since", "soon", check=False).returncode == 2
