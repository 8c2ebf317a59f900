"""The ways into an account, from the command line."""

import json
import re
from pathlib import Path

from tests.helpers.server import ADDRESS, PASSWORD, Server, aerogramme, create_account

MAIL = b"From: bob@example.net\nSubject: Hi\n\nHello\n"


def account(data: Path, *command: str, stdin: str, check: bool = True) -> tuple[int, str, str]:
    """Exit code, output and messages."""
    *verb, address = command[: command.index(ADDRESS) + 1]
    rest = command[len(verb) + 1 :]
    where = ["--data", str(data), "--password-stdin"]
    done = aerogramme("account", *verb, address, *rest, *where, stdin=stdin, check=check)
    return done.returncode, done.stdout.decode().strip(), done.stderr.decode()


def opens(data: Path, secret: str) -> bool:
    return account(data, "show", ADDRESS, stdin=secret, check=False)[0] == 0


def test_every_way_in_is_made_used_and_taken_back(tmp_path: Path) -> None:
    create_account(tmp_path)
    aerogramme("deliver", ADDRESS, "--data", str(tmp_path), stdin=MAIL)

    _, phone, told = account(tmp_path, "app-password", "create", ADDRESS, "phone", stdin=PASSWORD)
    assert re.fullmatch(r"([0-9a-z]{5}-){5}[0-9a-z]{5}", phone) and "0 messages rewritten" in told
    _, backup, _ = account(
        tmp_path, "app-password", "create", ADDRESS, "backup", "--read-only", stdin=PASSWORD
    )
    again = account(tmp_path, "app-password", "create", ADDRESS, "phone", stdin=PASSWORD, check=False)
    assert again[0] == 73 and not again[1]

    server = Server(tmp_path)
    try:
        client = server.imap(password=phone)
        assert client.select("INBOX") == ("OK", [b"1"])
        assert client.store("1", "+FLAGS", "\\Flagged")[0] == "OK"
        reader = server.imap(password=backup)
        assert reader.select("INBOX", readonly=True)[0] == "OK"
        assert reader.store("1", "+FLAGS", "\\Seen")[0] == "NO"
        for each in (client, reader):
            each.logout()
    finally:
        server.stop()

    listed = json.loads(account(tmp_path, "app-password", "list", ADDRESS, "--json", stdin=PASSWORD)[1])
    assert sorted((slot["kind"], slot["label"], slot["read_only"]) for slot in listed) == [
        ("app", "backup", True),
        ("app", "phone", False),
        ("password", "", False),
        ("recovery", "", False),
    ]
    assert all((slot["last_used"] is not None) == (slot["kind"] == "app") for slot in listed)
    table = account(tmp_path, "app-password", "list", ADDRESS, stdin=PASSWORD)[1]
    assert "backup" in table and "read" in table

    # An app password opens the mailbox and changes no way into it.
    refused = account(tmp_path, "app-password", "revoke", ADDRESS, "backup", stdin=phone, check=False)
    assert refused[0] == 65 and opens(tmp_path, backup)
    unknown = account(tmp_path, "app-password", "revoke", ADDRESS, "tablet", stdin=PASSWORD, check=False)
    assert unknown[0] == 65 and "app-password list" in unknown[2]
    _, _, told = account(tmp_path, "app-password", "revoke", ADDRESS, "phone", stdin=PASSWORD)
    assert "0 messages rewritten" in told and "key rotate" in told
    assert (opens(tmp_path, phone), opens(tmp_path, backup)) == (False, True)


def test_a_forgotten_password(tmp_path: Path) -> None:
    create_account(tmp_path)
    aerogramme("deliver", ADDRESS, "--data", str(tmp_path), stdin=MAIL)
    _, code, told = account(tmp_path, "recovery-code", ADDRESS, stdin=PASSWORD)
    assert "0 messages rewritten" in told and "shown only now" in told
    returned, _, told = account(tmp_path, "recover", ADDRESS, stdin="what was it\nnew\n", check=False)
    assert returned == 77 and f"not the recovery code of {ADDRESS}; nothing was changed" in told
    assert "1 letter, 1 of which nobody has read" in told, "what would be lost"
    typed = code.lower().replace("-", " ")
    _, _, told = account(tmp_path, "recover", ADDRESS, stdin=f"{typed}\nnew\n")
    assert "0 messages rewritten" in told
    assert (opens(tmp_path, PASSWORD), opens(tmp_path, "new")) == (False, True)
    assert "Hello" not in told


def test_no_secret_is_shown_in_the_list_of_processes_or_in_messages(tmp_path: Path) -> None:
    create_account(tmp_path)
    _, code, told = account(tmp_path, "app-password", "create", ADDRESS, "phone", stdin=PASSWORD)
    assert PASSWORD not in told and code not in told, "the secret is on standard output alone"
