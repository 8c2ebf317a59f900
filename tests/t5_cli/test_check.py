"""`aerogramme check`: what it says of sound and of damaged accounts, what `--repair` does, with keys and
without."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from aerogramme.config import Config
from aerogramme_cli import common
from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account

OTHER = "other@example.org"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two accounts, with two letters each; the first has its mail in messages."""
    data = tmp_path_factory.mktemp("made") / "data"
    for address in (ADDRESS, OTHER):
        create_account(data, address)
        for n in range(2):
            aerogramme("deliver", address, "--data", str(data), stdin=f"Subject: mail {n}\n\nhello {n}\n")
    shown = aerogramme(
        "account", "show", ADDRESS, "--data", str(data), "--password-stdin", stdin=f"{PASSWORD}\n"
    )
    assert shown.returncode == 0, shown.stderr
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """The same, for one test."""
    return shutil.copytree(made, tmp_path / "data")


def check(data: Path, *args: str, code: int = 0):
    done = aerogramme(
        "check", *args, "--data", str(data), "--password-stdin", stdin=f"{PASSWORD}\n", check=False
    )
    assert done.returncode == code, done
    return done


def break_a_body(data: Path, address: str) -> str:
    """One body of an account begins with another byte. Its name."""
    listed = aerogramme("account", "list", "--data", str(data), "--json")
    [account] = [each["account"] for each in json.loads(listed.stdout) if each["address"] == address]
    with closing(sqlite3.connect(data / "accounts" / f"{account}.sqlite")) as database, database:
        name, number = database.execute(
            "SELECT name, id FROM objects WHERE name LIKE 'body/%' ORDER BY name"
        ).fetchone()
        [body] = database.execute("SELECT data FROM chunks WHERE id = ?", (number << 20,)).fetchone()
        database.execute("UPDATE chunks SET data = ? WHERE id = ?", (b"X" + body[1:], number << 20))
    return str(name)


def test_break_find_repair_find_nothing(data: Path) -> None:
    sound = check(data, ADDRESS)
    assert sound.stdout == b"" and b"everything is there and opens" in sound.stderr
    break_a_body(data, ADDRESS)
    found = check(data, ADDRESS, code=65)
    assert b"the body does not open" in found.stdout and b"would be: the message becomes" in found.stdout
    assert b"check --repair" in found.stderr
    again = check(data, ADDRESS, "--json", code=65)
    [line] = again.stdout.splitlines()
    fields = json.loads(line)
    assert (fields["address"], fields["sealed"], fields["repaired"]) == (ADDRESS, False, False)
    assert [fault["kind"] for fault in fields["faults"]] == ["body"]
    mended = check(data, ADDRESS, "--repair")
    assert b"mended: content" in mended.stdout, mended
    assert b"1 things are set aside" in mended.stderr
    sound = check(data, ADDRESS, "--forget")
    assert sound.stdout == b"" and b"1 things that were set aside are deleted" in sound.stderr


def test_an_account_that_cannot_be_looked_at_does_not_keep_the_others(data: Path) -> None:
    listed = json.loads(aerogramme("account", "list", "--data", str(data), "--json").stdout)
    account = {each["address"]: each["account"] for each in listed}[ADDRESS]
    (data / "accounts" / f"{account}.sqlite").write_bytes(b"no database " * 1000)
    done = aerogramme("check", "--all", "--data", str(data), check=False)
    assert done.returncode == 65
    assert f"{ADDRESS}: it cannot be looked at: The account file is damaged" in done.stdout.decode()
    assert f"{OTHER}: everything is there" in done.stderr.decode()
    assert b"it cannot be looked at" not in check(data, ADDRESS, code=65).stdout


def test_all_with_some_passwords(data: Path, tmp_path: Path) -> None:
    sound = aerogramme("check", "--all", "--data", str(data))
    assert sound.returncode == 0 and sound.stderr.count(b"looked at from outside") == 2
    for address in (ADDRESS, OTHER):
        break_a_body(data, address)
    passwords = tmp_path / "passwords"
    passwords.write_text(f"{ADDRESS} {PASSWORD}\n")
    passwords.chmod(0o644)
    args = ("check", "--all", "--data", str(data), "--passwords-from", str(passwords))
    refused = aerogramme(*args, check=False)
    assert refused.returncode == 2 and b"can be read by others" in refused.stderr
    passwords.chmod(0o600)
    done = aerogramme(*args, "--repair", check=False)
    assert done.returncode == 65, "the other one's letter cannot be repaired without its password"
    lines = done.stdout.decode().splitlines()
    assert any(line.startswith(f"{ADDRESS}: mended: ") for line in lines)
    assert [
        line for line in lines if line.startswith(OTHER)
    ] and f"{OTHER}: looked at" in done.stderr.decode()
    passwords.write_text(f"{ADDRESS} {PASSWORD}\n{OTHER} {PASSWORD}\n")
    done = aerogramme(*args, "--repair", check=False)
    assert done.returncode == 0, done
    assert f"{OTHER}: mended: letter".encode() in done.stdout
    assert aerogramme(*args).stdout == b""


def test_wrong_use(data: Path, tmp_path: Path) -> None:
    def refused(*args: str, code: int = 2) -> bytes:
        done = aerogramme("check", *args, "--data", str(data), check=False, stdin="nonsense\n")
        assert done.returncode == code, done
        return done.stderr

    assert b"give an address, or --all" in refused()
    assert b"give an address, or --all" in refused(ADDRESS, "--all")
    assert b"goes with --all" in refused(ADDRESS, "--passwords-from", "x")
    assert b"--all takes --passwords-from" in refused("--all", "--password-stdin")
    assert b"none cannot be read" in refused("--all", "--passwords-from", str(tmp_path / "none"))
    refused(ADDRESS, "--password-stdin", code=77)
    lines = tmp_path / "lines"
    lines.touch(0o600)
    lines.write_text("no-password\n")
    assert b"line 1 of" in refused("--all", "--passwords-from", str(lines))
    lines.write_text(f"{ADDRESS} wrong\n")
    done = aerogramme("check", "--all", "--data", str(data), "--passwords-from", str(lines), check=False)
    assert done.returncode == 65 and b"it does not open" in done.stdout


def test_passwords_from_a_descriptor(data: Path) -> None:
    lines = f"{ADDRESS} {PASSWORD}\n\n"
    done = aerogramme("check", "--all", "--data", str(data), "--passwords-from", "fd:0", stdin=lines)
    assert f"{ADDRESS}: everything is there and opens".encode() in done.stderr


def test_what_is_in_the_cache_of_this_machine_counts_for_nothing(tmp_path: Path, s3: str) -> None:
    data = tmp_path / "data"
    where = (ADDRESS, "--data", str(data), "--store", s3, "--password-stdin")
    create_account(data, store=s3)
    aerogramme("deliver", *where[:-1], stdin="Subject: one\n\nhello\n")
    shown = aerogramme("account", "show", *where, stdin=f"{PASSWORD}\n")
    assert b"INBOX" in shown.stdout

    async def lose() -> None:
        cached = Config.for_data(data, store=s3)
        alone, user = replace(cached, cache_size=0), common.user_of(cached, ADDRESS)
        async with common.open_store(alone, user) as store:
            [body] = await store.list("body/")
            await store.delete([body])
        async with common.open_store(cached, user) as store:
            assert await store.get(body), "it is in the cache"

    trio.run(lose)
    found = aerogramme("check", *where, stdin=f"{PASSWORD}\n", check=False)
    assert found.returncode == 65 and b"the body is missing" in found.stdout, found
    mended = aerogramme("check", *where, "--repair", stdin=f"{PASSWORD}\n", check=False)
    assert mended.returncode == 0 and b"mended: content" in mended.stdout, mended
