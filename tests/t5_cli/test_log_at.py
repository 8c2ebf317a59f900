"""`aerogramme log at`: an account as it stood, for people and for scripts."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account

MAIL = b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.net>\nSubject: Hi\x1b[31m there\n\nHello\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An account with a mail, which has it no more: and when it had."""
    data = tmp_path_factory.mktemp("at") / "data"
    create_account(data)
    aerogramme("deliver", ADDRESS, "--data", str(data), stdin=MAIL)
    run(data, "account", "show", ADDRESS)  # opens, and so drains
    return data


def run(data: Path, *args: str, check: bool = True):
    return aerogramme(*args, "--data", str(data), "--password-stdin", stdin=PASSWORD + "\n", check=check)


def lines(data: Path, *args: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in run(data, "log", "at", ADDRESS, *args, "--json").stdout.splitlines()]


def test_mailboxes_messages_and_a_mail(data: Path) -> None:
    boxes = {box["name"]: box for box in lines(data, "now")}
    assert (boxes["INBOX"]["messages"], boxes["INBOX"]["unseen"]) == (1, 1)
    assert boxes["Drafts"]["role"] == "\\Drafts" and boxes["Drafts"]["subscribed"]
    (message,) = lines(data, "now", "--mailbox", "INBOX")
    assert message["from"] == "Jürgen <j@example.net>" and message["uid"] == 1 and message["flags"] == []
    assert abs(datetime.fromisoformat(str(message["date"])) - datetime.now(UTC)).total_seconds() < 600
    mail = run(data, "log", "at", ADDRESS, "now", "--message", "1").stdout
    assert mail.endswith(b"\r\n\r\nHello\r\n") and b"Subject: Hi" in mail

    table = run(data, "log", "at", ADDRESS, "now").stdout.decode()
    assert any(line.split()[:2] == ["INBOX", "1"] for line in table.splitlines())
    listed = run(data, "log", "at", ADDRESS, "now", "--mailbox", "inbox").stdout.decode()
    assert "Jürgen" in listed and "there" in listed and "\x1b" not in listed


def test_the_log_says_when_it_was_otherwise(data: Path) -> None:
    entries = [json.loads(line) for line in run(data, "log", "show", ADDRESS, "--json").stdout.splitlines()]
    made = entries[0]["time"]
    before = {box["name"]: box["messages"] for box in lines(data, made)}
    assert before["INBOX"] == 0 and len(before) == 6
    assert lines(data, made, "--mailbox", "INBOX") == []


def test_mistakes(data: Path) -> None:
    early = run(data, "log", "at", ADDRESS, "2001-01-01", check=False)
    assert early.returncode == 66 and b"goes back to 20" in early.stderr
    assert b"when the account was made" in early.stderr
    nowhere = run(data, "log", "at", ADDRESS, "now", "--mailbox", "nowhere", check=False)
    assert nowhere.returncode == 66 and b"no mailbox nowhere" in nowhere.stderr
    nothing = run(data, "log", "at", ADDRESS, "now", "--message", "7", check=False)
    assert nothing.returncode == 66 and b"no message 7" in nothing.stderr
    for args in (["soon"], ["2999-01-01"], ["now", "--message", "1", "--json"]):
        assert run(data, "log", "at", ADDRESS, *args, check=False).returncode == 2
