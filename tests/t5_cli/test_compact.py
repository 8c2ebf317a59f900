"""`aerogramme compact`: what it says, what it does, and how it goes about many accounts."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account

OTHER = "other@example.org"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An account with a letter, and an object that a crash has left."""
    data = tmp_path / "data"
    create_account(data, ADDRESS)
    aerogramme("deliver", ADDRESS, "--data", str(data), stdin="Subject: mail\n\nhello\n")
    with closing(sqlite3.connect(file_of(data, ADDRESS))) as database, database:
        [number] = database.execute("SELECT max(id) + 1 FROM objects").fetchone()
        name = "body/00000000000000aa"
        database.execute("INSERT INTO objects VALUES (?, ?, 3, 0)", (number, name))
        database.execute("INSERT INTO chunks VALUES (?, 'abc')", (number << 20,))
    return data


def file_of(data: Path, address: str) -> Path:
    listed = aerogramme("account", "list", "--data", str(data), "--json")
    [account] = [each["account"] for each in json.loads(listed.stdout) if each["address"] == address]
    return data / "accounts" / f"{account}.sqlite"


def compact(data: Path, *args: str, code: int = 0):
    given = () if "--all" in args else ("--password-stdin",)
    done = aerogramme("compact", *args, "--data", str(data), *given, stdin=f"{PASSWORD}\n", check=False)
    assert done.returncode == code, done
    return done


def test_it_says_what_would_leave_and_then_lets_go_of_it(data: Path) -> None:
    said = compact(data, ADDRESS, "--dry-run").stdout.decode()
    assert f"{ADDRESS}: 1 object, 3 bytes (1 body) would be let go of" in said
    assert f"{ADDRESS}: 0 entries would leave the log" in said
    assert compact(data, ADDRESS, "--dry-run").stdout.decode() == said
    done = json.loads(compact(data, ADDRESS, "--json").stdout)
    assert done["let_go"] == {"body": {"count": 1, "octets": 3}} and not done["damaged"]
    assert json.loads(compact(data, ADDRESS, "--json").stdout)["let_go"] == {}


def test_nothing_leaves_what_is_damaged(data: Path) -> None:
    with closing(sqlite3.connect(file_of(data, ADDRESS))) as database, database:
        database.execute("UPDATE rows SET value = substr(value, 1, 40) WHERE part = 'log'")
    done = compact(data, ADDRESS, code=65)
    assert b"cannot be read" in done.stdout and b"let go of" not in done.stdout
    assert b"aerogramme check" in done.stderr


def test_all_accounts_with_the_passwords_that_are_given(data: Path, tmp_path: Path) -> None:
    create_account(data, OTHER)
    passwords = tmp_path / "passwords"
    with open(os.open(passwords, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(f"{ADDRESS} {PASSWORD}\n")
    done = compact(data, "--all", "--passwords-from", str(passwords))
    assert f"{ADDRESS}: 1 object,".encode() in done.stdout
    assert f"{OTHER}: left out".encode() in done.stderr and OTHER.encode() not in done.stdout
    passwords.write_text(f"{ADDRESS} {PASSWORD}\n{OTHER} wrong\n")
    done = compact(data, "--all", "--passwords-from", str(passwords), code=65)
    assert f"{ADDRESS}: 0 objects".encode() in done.stdout and OTHER.encode() in done.stderr
    assert compact(data, code=2).stderr and compact(data, ADDRESS, "--all", code=2).stderr
