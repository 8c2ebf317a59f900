"""The command line as people and scripts use it: a real process each time."""

import json
import os
import pwd
import re
import signal
import stat
from pathlib import Path

import pytest
import trio
import typer

from aerogramme import errors
from aerogramme_cli import common
from aerogramme_cli.main import app
from aerogramme_cli.many import key_of
from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account

DOCS = Path(__file__).parents[2] / "docs"
MAIL = b"From: bob@example.net\nSubject: Hi\n\nHello\n"


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]

    def walk(group: typer.core.TyperGroup, path: tuple[str, ...]) -> None:
        for name, command in group.commands.items():
            found.append((*path, name))
            if isinstance(command, typer.core.TyperGroup):
                walk(command, (*path, name))

    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    walk(group, ())
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    text = aerogramme(*command, "--help").stdout.decode()
    assert "Usage: aerogramme" in text
    if not any(other[:-1] == command for other in commands() if other):  # of a group its commands have them
        assert re.search(r"Examples?:\n +(\S.* \| )?(printf .* \| )?aerogramme", text), text


@pytest.mark.parametrize("group", sorted({command[:-1] for command in commands() if command}), ids=" ".join)
def test_what_a_command_does_is_not_cut_in_the_list_of_its_group(group: tuple[str, ...]) -> None:
    listed = aerogramme(*group, "--help").stdout.decode().split("\nCommands:\n")[1]
    assert "..." not in listed


def test_the_exit_codes_in_the_docs_are_those_of_the_code() -> None:
    documented = {
        int(code) for code in re.findall(r"^\| (\d+) \|", (DOCS / "exit-codes.md").read_text(), re.MULTILINE)
    }
    classes = [errors.AerogrammeError, *errors.AerogrammeError.__subclasses__()]
    assert {cls.exit_code for cls in classes} <= documented


def test_an_account_from_its_creation_to_its_deletion(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = aerogramme(
        "account", "create", ADDRESS, "--data", str(data), "--password-stdin", stdin=PASSWORD + "\n"
    )
    code = made.stdout.decode().strip()
    assert re.fullmatch(r"[0-9A-Z]+(-[0-9A-Z]+)+", code), "only the recovery code is on standard output"
    where = ("--data", str(data))

    again = aerogramme("account", "create", ADDRESS, *where, "--password-stdin", stdin="x\n", check=False)
    assert again.returncode == 73 and b"already" in again.stderr
    listed = json.loads(aerogramme("account", "list", *where, "--json").stdout)
    assert [user["address"] for user in listed] == [ADDRESS]

    def show(password: str) -> dict[str, object]:
        done = aerogramme(
            "account", "show", ADDRESS, *where, "--password-stdin", "--json", stdin=password + "\n"
        )
        shown = json.loads(done.stdout)
        assert isinstance(shown, dict)
        return shown

    aerogramme("deliver", ADDRESS, *where, "--from", "bob@example.net", stdin=MAIL)
    boxes = {box["name"]: box for box in show(PASSWORD)["mailboxes"]}  # type: ignore[attr-defined]  # JSON
    assert boxes["INBOX"]["messages"] == 1 and boxes["Drafts"]["role"] == "\\Drafts"

    changed = aerogramme(
        "account", "passwd", ADDRESS, *where, "--password-stdin", stdin=f"{PASSWORD}\nanother one\n"
    )
    assert b"0 messages rewritten" in changed.stderr
    old = aerogramme(
        "account", "show", ADDRESS, *where, "--password-stdin", stdin=PASSWORD + "\n", check=False
    )
    assert old.returncode == 77 and old.stderr.startswith(b"aerogramme: error: ")
    show("another one")
    aerogramme("account", "passwd", ADDRESS, *where, "--password-stdin", stdin=f"{code.lower()}\na third\n")
    show("a third")

    aerogramme("account", "delete", ADDRESS, *where, "--now", "--yes")
    assert json.loads(aerogramme("account", "list", *where, "--json").stdout) == []
    assert not list((data / "accounts").glob("*"))
    assert aerogramme("deliver", ADDRESS, *where, stdin=MAIL, check=False).returncode == 67


def test_accounts_are_where_store_says(tmp_path: Path) -> None:
    where = ("--data", str(tmp_path / "data"), "--store", f"sqlite:{tmp_path}/elsewhere")
    aerogramme("account", "create", ADDRESS, *where, "--password-stdin", stdin=PASSWORD + "\n")
    assert len(list((tmp_path / "elsewhere").glob("*.sqlite"))) == 1
    assert [path.name for path in (tmp_path / "data").glob("*.toml")] == ["users.toml"]
    assert not (tmp_path / "data" / "accounts").exists()
    aerogramme("deliver", ADDRESS, *where, stdin=MAIL)
    shown = aerogramme("account", "show", ADDRESS, *where, "--password-stdin", "--json", stdin=PASSWORD)
    assert any(box["messages"] == 1 for box in json.loads(shown.stdout)["mailboxes"])
    missing = aerogramme(
        "account", "show", ADDRESS, *where[:2], "--password-stdin", stdin=PASSWORD, check=False
    )
    assert missing.returncode == 67
    alone = aerogramme("deliver", ADDRESS, *where[2:], stdin=MAIL, check=False)
    assert alone.returncode == 78 and b"--store goes with --data" in alone.stderr


def test_log_show_as_table_and_json(tmp_path: Path) -> None:
    create_account(tmp_path / "data")
    where = ("--data", str(tmp_path / "data"))
    aerogramme("deliver", ADDRESS, *where, stdin=MAIL)
    aerogramme("account", "show", ADDRESS, *where, "--password-stdin", stdin=PASSWORD)  # opens, and so drains
    lines = aerogramme("log", "show", ADDRESS, *where, "--password-stdin", "--json", stdin=PASSWORD).stdout
    entries = [json.loads(line) for line in lines.splitlines()]
    assert next(op["name"] for op in entries[0]["operations"] if op["op"] == "subscribe") == "INBOX"
    (added,) = entries[-1]["operations"]
    assert (added["op"], added["mailbox"], added["uids"]) == ("add", "INBOX", [1])
    table = aerogramme("log", "show", ADDRESS, *where, "--password-stdin", stdin=PASSWORD).stdout.decode()
    assert "1 message added to INBOX" in " ".join(table.replace("│", " ").split())


def test_mistakes_are_one_line_and_a_hint(tmp_path: Path) -> None:
    nowhere = aerogramme("account", "list", check=False)
    assert nowhere.returncode == 78
    assert nowhere.stderr.decode().splitlines()[0].startswith("aerogramme: error: ")
    assert nowhere.stderr.decode().splitlines()[1].startswith("aerogramme: hint: ")
    unknown = aerogramme("deliver", "nobody@example.org", "--data", str(tmp_path), stdin=MAIL, check=False)
    assert unknown.returncode == 67
    no_terminal = aerogramme("account", "create", ADDRESS, "--data", str(tmp_path / "d"), check=False)
    assert no_terminal.returncode == 2 and b"--password-stdin" in no_terminal.stderr
    for wrong in (["alice"], [ADDRESS, "--alias", "al"], [ADDRESS, "--catch-all", "exa mple.org"]):
        nothing_is_asked = aerogramme("account", "create", *wrong, "--data", str(tmp_path), check=False)
        assert nothing_is_asked.returncode == 2
        assert wrong[-1].encode() in nothing_is_asked.stderr and b"terminal" not in nothing_is_asked.stderr
    empty = aerogramme(
        "account",
        "create",
        ADDRESS,
        "--data",
        str(tmp_path / "d"),
        "--password-stdin",
        stdin="\n",
        check=False,
    )
    assert empty.returncode == 2 and not (tmp_path / "d").exists()


def test_a_data_folder_that_is_not_there_is_not_one_without_accounts(tmp_path: Path) -> None:
    where = ("--data", str(tmp_path / "misspelt"))
    for command in (["account", "list"], ["account", "purge"], ["compact", "--all"], ["check", ADDRESS]):
        done = aerogramme(*command, *where, check=False)
        assert done.returncode == 78 and b"there is no data folder" in done.stderr
    # Its disk may be away: the mail must not be returned to its sender.
    assert aerogramme("deliver", ADDRESS, *where, stdin=MAIL, check=False).returncode == 75
    assert not (tmp_path / "misspelt").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="root only can work in the folders of others")
def test_root_hears_that_the_data_is_of_another_user(tmp_path: Path) -> None:
    assert aerogramme("account", "list", "--data", str(tmp_path)).stderr == b""
    os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)
    assert b"runuser -u nobody" in aerogramme("account", "list", "--data", str(tmp_path)).stderr
    os.chown(tmp_path, 54321, -1)
    assert b"user 54321" in aerogramme("account", "list", "--data", str(tmp_path)).stderr


def test_a_password_that_opens_nothing_is_called_wrong_and_what_helps_is_said(tmp_path: Path) -> None:
    where = ("--data", str(tmp_path), "--password-stdin")
    aerogramme("account", "create", ADDRESS, "--data", str(tmp_path), "--invite")
    for command in (["account", "show"], ["key", "list"], ["log", "show"]):
        done = aerogramme(*command, ADDRESS, *where, stdin="hm\n", check=False)
        assert done.returncode == 77 and b"has no password yet" in done.stderr
        assert b"account accept" in done.stderr
    create_account(tmp_path, "other@example.org")
    done = aerogramme("log", "show", "other@example.org", *where, stdin="hm\n", check=False)
    assert done.returncode == 77 and b"the password is wrong" in done.stderr
    assert b"account recover" in done.stderr


def test_files_that_cannot_be_looked_at_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a folder above is not for who runs the command; root may look into all."""
    odd = tmp_path / ("x" * 300)
    monkeypatch.setattr(common, "DEFAULT_CONFIG", odd)
    with pytest.raises(errors.BadConfiguration, match="cannot read"):
        common.settings(None, None)
    with pytest.raises(typer.BadParameter, match="cannot be read"):
        key_of(odd)


def test_the_data_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    create_account(tmp_path / "data")
    for file in (tmp_path / "data").rglob("*"):
        assert not stat.S_IMODE(file.stat().st_mode) & 0o077, file


def test_an_interruption_is_not_lost_in_a_finalizer() -> None:
    class Object:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    async def work() -> None:
        Object()
        for _ in range(3):
            await trio.lowlevel.checkpoint()

    with pytest.raises(KeyboardInterrupt):
        common.run(work)
