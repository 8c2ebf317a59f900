"""`aerogramme store copy`: whole accounts between stores, by the command line alone."""

import json
import os
import signal
import sqlite3
import subprocess
from base64 import encodebytes
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.audit import audit_data
from tests.helpers.server import (
    ADDRESS,
    PASSWORD,
    PROGRAM,
    aerogramme,
    create_account,
    serving,
    wait_until_it_has_open,
)

LETTERS = [
    b"Subject: short\n\nHello\n",
    b"Subject: longer\n\n" + b"0123456789abcdef\n" * 5000,
    b"Subject: large when it is sealed\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\n"
    + encodebytes(os.urandom(1_200_000)),
]


def data_with_mail(data: Path) -> str:
    """A data folder with one account, two messages drained and one letter that waits. The account's id."""
    create_account(data)
    for letter in LETTERS[:2]:
        aerogramme("deliver", ADDRESS, "--data", str(data), stdin=letter)
    drain(data)
    aerogramme("deliver", ADDRESS, "--data", str(data), stdin=LETTERS[2])
    (user,) = json.loads(aerogramme("account", "list", "--data", str(data), "--json").stdout)
    return str(user["account"])


def drain(data: Path) -> None:
    aerogramme("account", "show", ADDRESS, "--data", str(data), "--password-stdin", stdin=PASSWORD + "\n")


def copy(source: Path, target: Path, *options: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return aerogramme("store", "copy", str(source), f"sqlite:{target}", *options, check=check)


def with_users(source: Path, data: Path) -> Path:
    """The users file goes to another data folder by hand, as docs/stores.md says."""
    data.mkdir(mode=0o700, exist_ok=True)
    (data / "users.toml").write_bytes((source / "users.toml").read_bytes())
    return data


def fetched(data: Path, store: str | None = None) -> list[object]:
    """All that a client sees of INBOX: every message with its UID, flags, date and bytes."""
    with serving(data, store=store) as server, server.imap() as client:
        client.select("INBOX")
        return client.fetch("1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY.PEEK[])")[1]


def test_an_account_that_cannot_be_read_does_not_keep_the_others(tmp_path: Path) -> None:
    data, accounts = tmp_path / "data", tmp_path / "data" / "accounts"
    for address in (ADDRESS, "other@example.org"):
        create_account(data, address)
    first, second = sorted(path.stem for path in accounts.glob("*.sqlite"))
    (accounts / f"{first}.sqlite").write_bytes(b"no database " * 1000)
    done = copy(accounts, tmp_path / "new", "--all", check=False)
    assert done.returncode == 65 and f"{first}: not copied: ".encode() in done.stderr
    assert [path.stem for path in (tmp_path / "new").glob("*.sqlite")] == [second]


def test_an_account_is_the_same_at_the_other_store(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    account = data_with_mail(old)
    done = copy(old / "accounts", new / "accounts", "--all")
    assert account in done.stdout.decode() and b"whole" in done.stdout and b"copied" in done.stderr
    with_users(old, new)
    before, after = fetched(old), fetched(new)
    assert len([part for part in after if isinstance(part, tuple)]) == 3
    assert after == before
    assert audit_data(new, ADDRESS) == []


@pytest.mark.parametrize("kind", ["s3", pytest.param("garage", marks=pytest.mark.garage)])
def test_to_a_distant_store_and_back(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    far = str(request.getfixturevalue(kind))
    old, new = tmp_path / "old", tmp_path / "new"
    data_with_mail(old)
    fetched(old)  # from now on no message is \\Recent
    before = fetched(old)
    for _ in range(2):
        assert b"whole" in aerogramme("store", "copy", str(old / "accounts"), far, "--all").stdout
    away = with_users(old, tmp_path / "away")
    assert fetched(away, store=far) == before
    assert audit_data(away, ADDRESS, store=far) == []
    aerogramme("deliver", ADDRESS, "--data", str(away), "--store", far, stdin=LETTERS[0])
    aerogramme("store", "copy", far, str(new / "accounts"), "--all")
    with_users(old, new)
    after = fetched(new)
    assert after[: len(before) - 1] == before[:-1] and len(after) > len(before)
    assert audit_data(new, ADDRESS) == []
    aerogramme("store", "copy", far, str(old / "accounts"), "--all")
    assert fetched(old) == after and audit_data(old, ADDRESS) == []


def test_what_came_since_is_copied_and_what_is_there_stays(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    data_with_mail(old)
    where = (old / "accounts", new / "accounts", "--account", ADDRESS, "--data", str(old))
    copy(*where)
    drain(old)
    aerogramme(
        "account", "passwd", ADDRESS, "--data", str(old), "--password-stdin", stdin=f"{PASSWORD}\nanother\n"
    )
    again = copy(*where)
    assert b"gone in FROM since they were copied" in again.stderr
    with_users(old, new)
    assert audit_data(new, ADDRESS, "another") == []
    assert copy(*where, "--verify-only").stdout == copy(*where, "--verify-only").stdout
    # And the other way, now that the new one is in use.
    aerogramme("deliver", ADDRESS, "--data", str(new), stdin=LETTERS[0])
    aerogramme(
        "account", "passwd", ADDRESS, "--data", str(new), "--password-stdin", stdin=f"another\n{PASSWORD}\n"
    )
    assert b"in TO alone" in copy(*where).stderr
    copy(new / "accounts", old / "accounts", "--all")
    assert audit_data(old, ADDRESS) == [] == audit_data(new, ADDRESS)
    assert len(fetched(old)) == len(fetched(new))


def test_damage_has_a_name_and_an_exit_code(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    account = data_with_mail(old)
    copy(old / "accounts", new / "accounts", "--all")
    with closing(sqlite3.connect(new / "accounts" / f"{account}.sqlite")) as connection, connection:
        (number, name), (lost, missing) = connection.execute(
            "SELECT id, name FROM objects WHERE name LIKE 'body/%' ORDER BY name"
        ).fetchmany(2)
        connection.execute("UPDATE chunks SET data = zeroblob(length(data)) WHERE id >> 20 = ?", (number,))
        connection.execute("DELETE FROM chunks WHERE id >> 20 = ?", (lost,))
        connection.execute("DELETE FROM objects WHERE id = ?", (lost,))
    checked = copy(old / "accounts", new / "accounts", "--all", "--verify-only", check=False)
    assert checked.returncode == 65 and b"NOT WHOLE: 2" in checked.stdout
    assert f"missing in TO: {missing}\n" in checked.stderr.decode()
    assert f"damaged one): {name}\n" in checked.stderr.decode()
    mended = copy(old / "accounts", new / "accounts", "--all", check=False)
    assert mended.returncode == 65 and b"NOT WHOLE: 1" in mended.stdout and b"missing" not in mended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("a", "b"), 2, "--all"),
        (("a", "b", "--all", "--account", "0" * 32), 2, "--all"),
        (("a", "a", "--all"), 2, "same store"),
        (("nowhere", "b", "--all"), 67, "no accounts"),
        ((".", "b", "--all"), 67, "accounts was meant"),
        (("a", "b", "--account", "0" * 32), 67, "0" * 32),
        (("a", "b", "--account", ADDRESS), 78, "--data"),
        (("ftp:x", "b", "--all"), 78, "ftp"),
    ],
)
def test_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "accounts").mkdir()
    done = aerogramme("store", "copy", *arguments, check=False)
    assert done.returncode == code and said in done.stderr.decode(), done.stderr
    assert not (tmp_path / "b").exists()


def test_an_interruption_says_how_to_go_on(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    account = data_with_mail(old)
    create_account(new, "other@example.org")
    (file,) = (new / "accounts").iterdir()
    file = file.rename(file.with_name(f"{account}.sqlite"))
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("DELETE FROM rows")  # an empty account, which nobody can write to for now
        connection.execute("BEGIN IMMEDIATE")
        command = [PROGRAM, "store", "copy", str(old / "accounts"), str(new / "accounts"), "--all"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until_it_has_open(process.pid, file)
        process.send_signal(signal.SIGINT)
        connection.execute("ROLLBACK")
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (1, b"")
    assert errors == b"interrupted; nothing is lost: the same command again goes on where it stopped\n"
    assert b"whole" in copy(old / "accounts", new / "accounts", "--all").stdout
    assert audit_data(with_users(old, new), ADDRESS) == []
