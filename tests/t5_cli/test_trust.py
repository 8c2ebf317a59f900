"""A store that was tampered with is found by `check`; a backup that was restored is refused until
`account trust`."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account


def test_a_restored_backup(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    where = (ADDRESS, "--data", str(data))
    secret = f"{PASSWORD}\n"
    shown = aerogramme("account", "show", *where, "--password-stdin", stdin=secret)
    assert shown.returncode == 0, shown.stderr
    shutil.copytree(data / "accounts", tmp_path / "backup")
    changed = aerogramme("account", "passwd", *where, "--password-stdin", stdin=f"{PASSWORD}\nanother one\n")
    assert changed.returncode == 0, changed.stderr
    shown = aerogramme("account", "show", *where, "--password-stdin", stdin="another one\n")
    assert shown.returncode == 0, shown.stderr

    shutil.rmtree(data / "accounts")
    shutil.copytree(tmp_path / "backup", data / "accounts")
    for password in (PASSWORD, "another one"):
        refused = aerogramme(
            "account", "show", *where, "--password-stdin", stdin=f"{password}\n", check=False
        )
        assert refused.returncode == 79 and b"account trust" in refused.stderr, refused.stderr
    for command in (("account", "recovery-code"), ("key", "list"), ("key", "rotate")):
        refused = aerogramme(*command, *where, "--password-stdin", stdin=secret, check=False)
        assert refused.returncode == 79, "a password that was changed opens no keys"
    trusted = aerogramme("account", "trust", *where)
    assert trusted.returncode == 0 and b"as it is" in trusted.stderr
    shown = aerogramme("account", "show", *where, "--password-stdin", stdin=secret)
    assert shown.returncode == 0, shown.stderr


def test_what_was_changed_in_the_store_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    where = (ADDRESS, "--data", str(data))
    for n in range(2):
        aerogramme("deliver", *where, stdin=f"Subject: {n}\n\nhello\n")
    sound = aerogramme("check", *where, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert sound.stdout == b"" and b"everything is there" in sound.stderr
    [file] = (data / "accounts").glob("*.sqlite")
    with closing(sqlite3.connect(file)) as database, database:
        [(key,), *_] = database.execute("SELECT key FROM rows WHERE part = 'log' ORDER BY key").fetchall()
        database.execute("UPDATE rows SET value = substr(value, 2) WHERE key = ?", (key,))
    found = aerogramme("check", *where, "--password-stdin", stdin=f"{PASSWORD}\n", check=False)
    assert found.returncode == 65 and f"entry {key} cannot be read" in found.stdout.decode(), found
