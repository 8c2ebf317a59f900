"""`aerogramme export`: what it says, where it writes, and how it goes about many accounts."""

import json
import os
import pwd
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aerogramme.errors import BadConfiguration, NoSuchUser
from aerogramme_cli.main import app
from tests.helpers import exports
from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account

OTHER = "other@example.org"
LETTER = "Subject: mail %d\n\nhello\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two accounts with a letter each, and what a run has written for both."""
    path = tmp_path_factory.mktemp("made")
    data = path / "data"
    for address in (ADDRESS, OTHER):
        create_account(data, address)
        aerogramme("deliver", address, "--data", str(data), stdin=LETTER % 1)
    return path


def export(data: Path, *args: str, code: int = 0, stdin: str = PASSWORD + "\n"):
    given = () if "--all" in args else ("--password-stdin",)
    done = aerogramme("export", *args, "--data", str(data), *given, stdin=stdin, check=False)
    assert done.returncode == code, done
    return done


def test_it_says_what_it_has_done_and_what_dovecot_needs(made: Path, tmp_path: Path) -> None:
    done = export(made / "data", "dovecot", str(tmp_path / "out"), ADDRESS)
    said = done.stdout.decode()
    assert f"{ADDRESS}: 1 message in 6 mailboxes at {tmp_path / 'out'}: 1 written" in said
    assert f"mail_location = maildir:{tmp_path / 'out'}\n" in said and "special_use = \\Sent" in said
    assert done.stderr == b""
    box = exports.maildir(tmp_path / "out")
    assert [shown.content[-17:] for shown in box.mails.values()] == [b"mail 1\r\n\r\nhello\r\n"]
    again = export(made / "data", "dovecot", str(tmp_path / "out"), ADDRESS)
    assert b"nothing to do" in again.stdout


def test_dovecot_needs_one_configuration_for_all_accounts(tmp_path: Path) -> None:
    data, passwords = tmp_path / "data", tmp_path / "passwords"
    for address in (ADDRESS, OTHER):
        create_account(data, address)
    with open(os.open(passwords, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(f"{ADDRESS} {PASSWORD}\n{OTHER} {PASSWORD}\n")
    (tmp_path / "Starred").write_text(f"From x  Thu Jan  1 00:00:00 1970\n{LETTER % 1}")
    starred = (str(tmp_path / "Starred"), OTHER, "--role", "Starred=Flagged", "--password-stdin")
    aerogramme("import", "mbox", *starred, "--data", str(data), stdin=PASSWORD + "\n")
    done = export(data, "dovecot", f"{tmp_path}/%d/%n", "--all", "--passwords-from", str(passwords))
    said = done.stdout.decode()
    assert said.count("# dovecot.conf") == said.count("namespace inbox {") == 1
    assert f"mail_location = maildir:{tmp_path}/%d/%n\n" in said
    assert said.count("special_use = \\Sent") == 1
    assert '  mailbox "Starred" {\n    special_use = \\Flagged\n  }\n' in said


def test_for_programs(made: Path, tmp_path: Path) -> None:
    done = export(made / "data", "mbox", str(tmp_path / "out"), ADDRESS, "--json")
    said = json.loads(done.stdout)
    assert (said["address"], said["kind"], said["lost"], said["faults"]) == (ADDRESS, "mbox", False, [])
    inbox = said["mailboxes"][0]
    assert (inbox["name"], inbox["path"], inbox["messages"], inbox["written"]) == (
        "INBOX",
        "INBOX.mbox",
        1,
        1,
    )
    assert len(exports.mbox(tmp_path / "out" / "INBOX.mbox")) == 1


def test_all_accounts_each_in_a_folder_of_its_own(made: Path, tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    with open(os.open(passwords, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(f"{ADDRESS} {PASSWORD}\n{OTHER} {PASSWORD}\n")
    every = ("--all", "--passwords-from", str(passwords))
    done = export(made / "data", "maildir", f"{tmp_path}/%d/%n", *every, "--layout", "fs")
    assert done.stdout.count(b": 1 written") == 2
    for name in ("alice", "other"):
        assert len(exports.maildir(tmp_path / "example.org" / name, dovecot=False).mails) == 1
        assert (tmp_path / "example.org" / name / "Sent" / "cur").is_dir()
    passwords.write_text(f"{ADDRESS} wrong\n")
    done = export(made / "data", "maildir", f"{tmp_path}/%d/%n", *every, "--layout", "fs", code=65)
    assert f"{ADDRESS}: not exported".encode() in done.stderr
    assert f"{OTHER}: left out".encode() in done.stderr and b"2 accounts are not" in done.stderr


def test_as_it_was(made: Path, tmp_path: Path) -> None:
    data = made / "data"
    then = time.time()
    aerogramme("deliver", OTHER, "--data", str(data), stdin=LETTER % 2)
    export(data, "maildir", str(tmp_path / "now"), OTHER)
    export(data, "maildir", str(tmp_path / "then"), OTHER, "--at", f"@{then:.6f}")
    found = [len(exports.maildir(tmp_path / when, dovecot=False).mails) for when in ("now", "then")]
    assert found[0] == 2 and found[1] <= 1  # a letter counts from when it was drained


def test_what_is_asked_for_wrongly(made: Path, tmp_path: Path) -> None:
    data = made / "data"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert b"other things in it" in export(data, "dovecot", str(tmp_path / "full"), ADDRESS, code=65).stderr
    assert b"passw" in export(data, "mbox", str(tmp_path / "x"), ADDRESS, code=77, stdin="wrong\n").stderr
    to = str(tmp_path / "x")
    for args, error in (
        (("dovecot", to, "nobody@example.org"), NoSuchUser),
        (("dovecot", to, ADDRESS, "--owner", "no-such-user"), BadConfiguration),
        (("dovecot", to, "--all"), BadConfiguration),
        (("dovecot", to), SystemExit),
        (("maildir", to, ADDRESS, "--at", "sometime"), SystemExit),
        (("mbox", to, ADDRESS, "--layout", "fs"), SystemExit),
    ):
        found = CliRunner().invoke(app, ["export", *args, "--data", str(data)])
        assert isinstance(found.exception, error), (args, found.exception)
    assert [each.name for each in tmp_path.iterdir()] == ["full"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_for_somebody_else(made: Path, tmp_path: Path) -> None:
    export(made / "data", "dovecot", str(tmp_path / "out"), ADDRESS, "--owner", "nobody")
    nobody = pwd.getpwnam("nobody").pw_uid
    assert {each.stat().st_uid for each in (tmp_path / "out").rglob("*")} == {nobody}
