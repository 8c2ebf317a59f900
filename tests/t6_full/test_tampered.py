"""A hand in the store of a real server: what is damaged is one message, what went back in time is refused."""

import imaplib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account, serving

LETTERS = [f"Subject: letter {n}\r\n\r\n{n} and {n * n}\r\n".encode() for n in range(8)]


def fetched(client: imaplib.IMAP4) -> dict[int, bytes | None]:
    """Each message of INBOX, by its number; None in place of one that cannot be read."""
    _, [count] = client.select("INBOX")
    found: dict[int, bytes | None] = {}
    for number in range(1, int(count) + 1):
        answer, data = client.fetch(str(number), "(BODY.PEEK[])")
        found[number] = data[0][1] if answer == "OK" and isinstance(data[0], tuple) else None
    return found


def flip(file: Path, table: str, column: str, where: str) -> None:
    """One bit in the middle of one value."""
    with closing(sqlite3.connect(file)) as database, database:
        rowid, value = database.execute(f"SELECT rowid, {column} FROM {table} WHERE {where}").fetchone()
        changed = bytearray(value)
        changed[len(value) // 2] ^= 4
        database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (bytes(changed), rowid))


def test_a_body_and_a_letter_that_waits_are_changed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    [file] = (data / "accounts").glob("*.sqlite")
    with serving(data) as server:
        with server.lmtp() as lmtp:
            for letter in LETTERS[:4]:
                lmtp.sendmail("x@example.org", [ADDRESS], letter)
        with server.imap() as client:
            before = fetched(client)
    assert len(before) == 4 and all(LETTERS[n - 1] in (body or b"") for n, body in before.items())
    with serving(data) as server, server.lmtp() as lmtp:
        for letter in LETTERS[4:]:
            lmtp.sendmail("x@example.org", [ADDRESS], letter)

    flip(file, "chunks", "data", "id >> 20 = (SELECT min(id) FROM objects WHERE name LIKE 'body/%')")
    flip(file, "rows", "value", "part = 'incoming'")
    with serving(data) as server:
        with server.imap() as client:
            after = fetched(client)
        log = server.log.read_text()
    assert [n for n in before if before[n] != after[n]] == [1], "one message is damaged, no other"
    assert after[1] is None or LETTERS[0] not in after[1]
    assert [LETTERS[n - 1 + (n > 4)] in (after[n] or b"") for n in range(2, len(after) + 1)] == [True] * 6
    assert "cannot be read and stays where it is" in log
    found = aerogramme(
        "check",
        ADDRESS,
        "--data",
        str(data),
        "--password-stdin",
        stdin=f"{PASSWORD}\n",
        check=False,
    )
    assert found.returncode == 65 and found.stdout.count(b"\n  would be: ") == 2, found


def test_a_store_that_went_back_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    with serving(data) as server, server.imap() as client:
        client.append("INBOX", None, None, LETTERS[0])
    shutil.copytree(data / "accounts", tmp_path / "backup")
    with serving(data) as server:
        with server.imap() as client:
            client.append("INBOX", None, None, LETTERS[1])
        assert server.stop() == 0  # it notes what it has seen; one that is killed has noted it a minute ago
    shutil.rmtree(data / "accounts")
    shutil.copytree(tmp_path / "backup", data / "accounts")
    with serving(data) as server:
        with pytest.raises(imaplib.IMAP4.error, match="CONTACTADMIN"):
            server.imap().logout()
        assert "has gone back in time" in server.log.read_text()
    aerogramme("account", "trust", ADDRESS, "--data", str(data))
    with serving(data) as server, server.imap() as client:
        assert fetched(client)[1] == LETTERS[0]
