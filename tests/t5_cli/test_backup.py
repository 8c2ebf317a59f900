"""Backups by the command line: taken beside a running server, verified, and put back into any store."""

import json
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aerogramme.config import Config
from aerogramme.errors import AerogrammeError
from aerogramme.store import Crash, MemoryStores
from aerogramme.users import static
from aerogramme.users.static import StaticDirectory
from aerogramme_cli import restore_backup
from aerogramme_cli.main import app
from tests.helpers.audit import audit_data
from tests.helpers.backups import contents, fill, new_backup, taken
from tests.helpers.file_steps import FileSteps
from tests.helpers.server import (
    ADDRESS,
    PROGRAM,
    aerogramme,
    create_account,
    serving,
    wait_until_it_has_open,
)

CAROL = "carol@example.org"
LETTER = b"From: bob@example.net\r\nSubject: Hi\r\n\r\nHello\r\n"


@dataclass
class Done:
    stdout: bytes
    stderr: bytes


def run(*args: str | Path, code: int = 0) -> Done:
    """A command in this process, which is many times faster than one of its own."""
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    exit_code, stderr = done.exit_code, done.stderr
    if isinstance(done.exception, AerogrammeError):  # what `main` makes of it
        exit_code, stderr = done.exception.exit_code, f"{stderr}{done.exception}\n{done.exception.hint}\n"
    elif done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert exit_code == code, stderr
    return Done(done.stdout.encode(), stderr.encode())


def deliver(data: Path, address: str = ADDRESS) -> None:
    aerogramme("deliver", address, "--data", str(data), stdin=LETTER)


def listed(folder: Path) -> list[dict[str, object]]:
    found = json.loads(run("backup", "list", folder, "--json").stdout)
    assert isinstance(found, list)
    return found


def messages(data: Path, store: str | None = None) -> int:
    with serving(data, store=store) as server, server.imap() as client:
        return int(client.select("INBOX")[1][0] or b"")


def test_there_and_back_beside_a_running_server(tmp_path: Path) -> None:
    data, folder, back = tmp_path / "data", tmp_path / "backup", tmp_path / "back"
    create_account(data)
    aerogramme("account", "pin", ADDRESS, "--current", "--data", str(data))
    with serving(data) as server:
        with server.lmtp() as client:
            client.sendmail("bob@example.net", [ADDRESS], LETTER)
        with server.imap() as imap:
            imap.select("INBOX")
            before = imap.fetch("1:*", "(UID RFC822.SIZE BODY.PEEK[])")[1]
            validity = imap.response("UIDVALIDITY")[1]
            run("backup", ADDRESS, folder, "--data", data)
            imap.append("INBOX", "", "", LETTER)
            again = json.loads(run("backup", ADDRESS, folder, "--data", data, "--json").stdout)
        assert again[0]["snapshot"] == 2 and 0 < again[0]["copied"] < 5
    assert b"whole: 2 snapshots" in run("backup", "verify", folder).stdout
    done = run("restore-backup", folder, "--at", "1", "--data", back)
    assert b"whole" in done.stdout and b"is as it was at" in done.stderr
    assert (back / "users.toml").read_bytes() == (data / "users.toml").read_bytes()
    with serving(back) as server, server.imap() as imap:
        assert imap.select("INBOX")[1] == [b"1"]
        assert imap.fetch("1:*", "(UID RFC822.SIZE BODY.PEEK[])")[1] == before
        assert imap.response("UIDVALIDITY")[1] > validity
    assert audit_data(back, ADDRESS) == []
    assert {path.stat().st_mode & 0o077 for path in folder.rglob("*")} == {0}


def test_all_accounts_and_what_was_deleted(tmp_path: Path) -> None:
    data, folder, back = tmp_path / "data", tmp_path / "backup", tmp_path / "back"
    for address in (ADDRESS, CAROL):
        create_account(data, address)
    aerogramme("account", "delete", CAROL, "--yes", "--data", str(data))
    for _ in range(3):
        run("backup", "--all", folder, "--keep", "2", "--data", data)
    assert [(each["address"], each["snapshot"]) for each in listed(folder)] in (
        [(ADDRESS, 2), (ADDRESS, 3), (CAROL, 2), (CAROL, 3)],
        [(CAROL, 2), (CAROL, 3), (ADDRESS, 2), (ADDRESS, 3)],
    )
    assert b"say which" in run("restore-backup", folder, "--data", back, code=2).stderr
    unfinished = folder / ("f" * 32)
    (unfinished / "snapshots").mkdir(parents=True)  # a first backup that was cut off keeps no others
    done = run("restore-backup", folder, "--all", "--data", back, code=66)
    assert b"not restored: no backup of ffff" in done.stderr
    shutil.rmtree(unfinished)
    assert StaticDirectory(back / "users.toml").owner(CAROL).deleted, "deleted it was"
    other = tmp_path / "other"
    run("restore-backup", folder, CAROL, "--data", other)
    assert StaticDirectory(other / "users.toml").owner(CAROL).deleted is None, "asked for by its name"
    assert StaticDirectory(other / "users.toml").owner(ADDRESS) is None
    assert audit_data(back, ADDRESS) == [] and audit_data(other, CAROL) == []


def test_never_over_an_account_or_an_address_of_another(tmp_path: Path) -> None:
    data, folder, other = tmp_path / "data", tmp_path / "backup", tmp_path / "other"
    create_account(data)
    deliver(data)
    run("backup", ADDRESS, folder, "--data", data)
    assert b"never writes over" in run("restore-backup", folder, "--data", data, code=73).stderr
    create_account(other)
    taken = run("restore-backup", folder, "--data", other, code=73)
    assert b"the address of another account" in taken.stderr
    assert len(list((other / "accounts").glob("*.sqlite"))) == 1, "nothing was copied"
    # The disk with the accounts is gone; the users file, and what this machine has seen, are not.
    assert messages(data) == 1
    deliver(data)
    assert messages(data) == 2
    shutil.rmtree(data / "accounts")
    run("restore-backup", folder, ADDRESS, "--data", data)
    assert messages(data) == 1
    assert audit_data(data, ADDRESS) == []


def test_what_is_damaged_is_found_and_copied_again(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "backup"
    create_account(data)
    deliver(data)
    run("backup", ADDRESS, folder, "--data", data)
    [file] = folder.glob("*/volumes/*.data")
    whole = bytearray(file.read_bytes())
    whole[100] ^= 1
    file.write_bytes(whole)
    found = run("backup", "verify", folder, ADDRESS, code=65)
    assert b"1 items are damaged" in found.stdout and b"--verify" in found.stderr
    [said] = json.loads(run("backup", "verify", folder, "--json", code=65).stdout)
    assert len(said["problems"]) == 1
    assert b"damaged in the backup" in run("restore-backup", folder, "--data", tmp_path / "x", code=65).stderr
    done = run("backup", ADDRESS, folder, "--verify", "--data", data)
    assert b"1 items that were damaged" in done.stderr
    run("backup", "verify", folder)
    run("restore-backup", folder, "--at", "1", "--data", tmp_path / "back")
    assert audit_data(tmp_path / "back", ADDRESS) == []


def test_what_makes_no_sense(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "backup"
    create_account(data)
    for args in (["backup", folder], ["backup", ADDRESS, "--all", folder]):
        assert b"say which accounts" in run(*args, "--data", data, code=2).stderr
    run("backup", "eve@example.org", folder, "--data", data, code=67)
    assert not folder.exists()
    assert b"other things" in run("backup", ADDRESS, data, "--data", data, code=78).stderr
    assert b"no folder of backups" in run("restore-backup", data, "--data", data, code=66).stderr
    assert b"no folder of backups" in run("backup", "verify", tmp_path / "none", code=66).stderr
    run("backup", ADDRESS, folder, "--data", data)
    run("restore-backup", folder, "eve@example.org", "--data", tmp_path / "x", code=67)
    assert b"no snapshot 9" in run("restore-backup", folder, "--at", "9", "--data", data, code=66).stderr
    assert b"as old as that" in run("restore-backup", folder, "--at", "2d", "--data", data, code=66).stderr
    assert b"is no time" in run("restore-backup", folder, "--at", "soon", "--data", data, code=2).stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert b"there are no accounts" in run("backup", "--all", tmp_path / "y", "--data", empty, code=67).stderr


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_restore_that_is_cut_off_goes_on(tmp_path: Path, ending: signal.Signals) -> None:
    data, folder, back = tmp_path / "data", tmp_path / "backup", tmp_path / "back"
    create_account(data)
    deliver(data)
    run("backup", ADDRESS, folder, "--data", data)
    run("restore-backup", folder, "--data", back)
    [file] = (back / "accounts").glob("*.sqlite")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("DELETE FROM rows WHERE part <> 'keys' OR key NOT GLOB 'restored-*'")
        (back / "users.toml").unlink()
        connection.execute("BEGIN IMMEDIATE")  # nobody else can write to it for now
        command = [PROGRAM, "restore-backup", str(folder), "--data", str(back)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until_it_has_open(process.pid, file)
        process.send_signal(ending)
        connection.execute("ROLLBACK")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == (1 if ending == signal.SIGINT else -signal.SIGKILL)
    assert (b"nothing is lost" in errors) == (ending == signal.SIGINT)
    assert not (back / "users.toml").exists()
    run("restore-backup", folder, "--data", back)
    assert messages(back) == 1
    assert audit_data(back, ADDRESS) == []


@pytest.mark.parametrize("kind", ["s3", pytest.param("garage", marks=pytest.mark.garage)])
def test_from_a_bucket_into_a_file_and_into_a_bucket_again(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    far = str(request.getfixturevalue(kind))
    data, folder, back = tmp_path / "data", tmp_path / "backup", tmp_path / "back"
    create_account(data, store=far)
    aerogramme("deliver", ADDRESS, "--data", str(data), "--store", far, stdin=LETTER)
    run("backup", ADDRESS, folder, "--data", data, "--store", far)
    run("restore-backup", folder, "--data", back)
    assert messages(back) == 1 and audit_data(back, ADDRESS) == []
    run("restore-backup", folder, "--data", data, "--store", far, code=73)
    aerogramme("account", "delete", ADDRESS, "--now", "--yes", "--data", str(data), "--store", far)
    run("restore-backup", folder, "--data", data, "--store", far)
    assert messages(data, far) == 1 and audit_data(data, ADDRESS, store=far) == []


async def test_a_restore_that_dies_at_a_step_of_the_users_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = MemoryStores()
    await fill(stores, {"body/1": b"a body"})
    its = new_backup(tmp_path / "backup")
    await taken(stores, its)
    [named] = its.snapshots.all()
    steps = FileSteps(static, monkeypatch)
    n, done = 0, False
    while not done:
        n += 1
        settings, target = Config.for_data(tmp_path / str(n)), MemoryStores()

        async def restored(settings: Config = settings, target: MemoryStores = target) -> None:
            await restore_backup.restore_one(
                settings, target, its, named, {}, lambda _: None, asked_for=False
            )

        steps.begin(n)
        try:
            await restored()
            done = True
        except Crash:
            pass
        steps.begin(0)
        assert await contents(target) == await contents(stores)
        await restored()
        assert StaticDirectory(settings.users_file).owner(ADDRESS).account == its.account
    assert n > 4
