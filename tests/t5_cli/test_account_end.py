"""An account's end and the way back, and its export: by the command line, beside a running server."""

import imaplib
import json
import signal
import smtplib
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
import trio

from aerogramme.store import open_stores
from aerogramme.users.static import StaticDirectory
from tests.helpers.audit import audit_data
from tests.helpers.server import (
    ADDRESS,
    GLANCE,
    PROGRAM,
    Server,
    aerogramme,
    create_account,
    serving,
    wait_until_it_has_open,
)

LETTER = b"From: bob@example.net\r\nSubject: Hi\r\n\r\nHello\r\n"
SENDER = "bob@example.net"


def account(*args: str, data: Path, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[bytes]:
    done = aerogramme("account", *args, "--data", str(data), stdin=stdin, check=False)
    assert done.returncode == code, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return done


def deliver(server: Server) -> None:
    with server.lmtp() as client:
        client.sendmail(SENDER, [ADDRESS], LETTER)


def messages(server: Server) -> int:
    with server.imap() as client:
        return int(client.select("INBOX")[1][0] or b"")


def listed(data: Path) -> list[dict[str, object]]:
    found = json.loads(account("list", "--json", data=data).stdout)
    assert isinstance(found, list)
    return found


def test_deleted_and_brought_back_under_a_running_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    with serving(data) as server:
        deliver(server)
        client = server.imap()
        client.select("INBOX")
        account("delete", ADDRESS, "--yes", data=data)
        assert client.readline().startswith(b"* BYE"), "its session ends soon"
        client.shutdown()
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            server.imap()
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            deliver(server)
        assert refused.value.recipients[ADDRESS][0] == 550
        assert b"deleted" in account("list", data=data).stdout
        [entry] = listed(data)
        assert (entry["address"], entry["erasing"]) == (ADDRESS, False) and entry["deleted"]
        taken = account("create", ADDRESS, "--password-stdin", data=data, stdin="x\n", code=73)
        assert b"undelete" in taken.stderr
        assert b"is deleted" in account("show", ADDRESS, data=data, code=67).stderr
        assert b"is deleted" in account("delete", ADDRESS, "--yes", data=data, code=67).stderr
        account("purge", data=data)
        account("undelete", ADDRESS, data=data)
        assert b"is not deleted" in account("undelete", ADDRESS, data=data, code=65).stderr
        deliver(server)
        assert messages(server) == 2, "all mail is there, and new mail comes in"
        assert server.stop() == 0
    assert audit_data(data, ADDRESS) == []


def test_erased_at_once_under_a_running_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    with serving(data) as server:
        deliver(server)
        client = server.imap()
        account("delete", ADDRESS, "--now", "--yes", data=data)
        assert client.readline().startswith(b"* BYE")
        client.shutdown()
        assert listed(data) == [] and list((data / "accounts").iterdir()) == []
        create_account(data)
        deliver(server)
        assert messages(server) == 1, "the address is a new account, without anything of the old one"
        assert server.stop() == 0


def test_what_a_server_finds_overdue_when_it_starts_is_erased(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    create_account(data, "carol@example.org")
    account("delete", ADDRESS, "--yes", data=data)
    directory = StaticDirectory(data / "users.toml")
    long_ago = (data / "users.toml").read_text().replace("deleted = 20", "deleted = 19")
    (data / "users.toml").write_text(long_ago)
    gone = directory.owner(ADDRESS)
    assert gone is not None
    file = data / "accounts" / f"{gone.account}.sqlite"
    assert file.exists()
    with serving(data) as server:
        while directory.owner(ADDRESS) is not None:  # the purge is under way; the tombstone is the last to go
            assert server.process.poll() is None
            time.sleep(GLANCE)
        assert not file.exists()
        assert server.stop() == 0
    assert [entry["address"] for entry in listed(data)] == ["carol@example.org"]
    assert gone.account in server.log.read_text()


def test_purge_erases_by_the_settings_of_the_configuration(tmp_path: Path) -> None:
    data, config = tmp_path / "data", tmp_path / "aerogramme.toml"
    create_account(data)
    account("delete", ADDRESS, "--yes", data=data)
    config.write_text(f'data = "{data}"\n[accounts]\ndeleted_retention = 0\n')
    assert b"0 accounts" in account("purge", data=data).stderr
    done = aerogramme("account", "purge", "--config", str(config))
    assert b"erased alice@example.org\n1 account erased" in done.stderr
    assert listed(data) == [] and list((data / "accounts").iterdir()) == []


def test_a_deletion_asks_for_the_address(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    for option in ((), ("--now",)):
        asked = account("delete", ADDRESS, *option, data=data, stdin="bob@example.org\n", code=1)
        assert b"nothing was deleted" in asked.stderr
        assert "deleted" not in listed(data)[0]
    account("delete", ADDRESS, data=data, stdin=f"{ADDRESS}\n")
    assert listed(data)[0]["deleted"]
    assert b"erased" in account("delete", ADDRESS, "--now", data=data, stdin=f"{ADDRESS}\n").stderr
    assert listed(data) == []


def test_an_export_is_served_by_itself(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    create_account(data)
    aerogramme("deliver", ADDRESS, "--data", str(data), stdin=LETTER)
    assert b"whole" in account("export", ADDRESS, str(copy), data=data).stdout
    aerogramme("deliver", ADDRESS, "--data", str(data), stdin=LETTER)
    account("delete", ADDRESS, "--yes", data=data)
    account("export", ADDRESS, str(copy), data=data)
    assert StaticDirectory(copy / "users.toml").by_login(ADDRESS), "no tombstone goes with it"
    with serving(copy) as server:
        assert messages(server) == 2
        deliver(server)
        assert messages(server) == 3
        assert server.stop() == 0
    assert audit_data(copy, ADDRESS) == []
    assert {path.stat().st_mode & 0o077 for path in copy.rglob("*")} == {0}


def test_exports_of_several_accounts_into_one_folder(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    create_account(data)
    create_account(data, "carol@example.org")
    for address in (ADDRESS, "carol@example.org"):
        account("export", address, str(copy), data=data)
    assert listed(copy) == listed(data)
    other = tmp_path / "other"
    create_account(other)
    taken = account("export", ADDRESS, str(copy), data=other, code=73)
    assert b"another account with the address" in taken.stderr
    assert b"where the account is now" in account("export", ADDRESS, str(data), data=data, code=2).stderr
    account("export", "eve@example.org", str(copy), data=data, code=67)
    assert listed(copy) == listed(data)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_an_export_that_is_cut_off_goes_on(tmp_path: Path, ending: signal.Signals) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    create_account(data)
    account("export", ADDRESS, str(copy), data=data)
    (copy / "users.toml").unlink()
    (file,) = (copy / "accounts").iterdir()
    aerogramme("deliver", ADDRESS, "--data", str(data), stdin=LETTER)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # nobody else can write to it for now
        command = [PROGRAM, "account", "export", ADDRESS, str(copy), "--data", str(data)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until_it_has_open(process.pid, file)
        process.send_signal(ending)
        connection.execute("ROLLBACK")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == (1 if ending == signal.SIGINT else -signal.SIGKILL)
    assert (b"nothing is lost" in errors) == (ending == signal.SIGINT)
    assert not (copy / "users.toml").exists(), "what is not whole has no name"
    account("export", ADDRESS, str(copy), data=data)
    with serving(copy) as server:
        assert messages(server) == 1
    assert audit_data(copy, ADDRESS) == []


@pytest.mark.parametrize("kind", ["s3", pytest.param("garage", marks=pytest.mark.garage)])
def test_an_account_in_a_bucket_is_exported_deleted_and_erased(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    far = str(request.getfixturevalue(kind))
    data, copy = tmp_path / "data", tmp_path / "copy"
    there = ("--store", far)
    create_account(data, store=far)
    aerogramme("deliver", ADDRESS, "--data", str(data), *there, stdin=LETTER)
    with serving(data, store=far) as server:
        client = server.imap()
        client.select("INBOX")
        account("delete", ADDRESS, "--yes", data=data)
        assert client.readline().startswith(b"* BYE")
        client.shutdown()
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            deliver(server)
        account("export", ADDRESS, str(copy), *there, data=data)
        account("undelete", ADDRESS, data=data)
        assert messages(server) == 1
        assert server.stop() == 0
    account("delete", ADDRESS, "--now", "--yes", *there, data=data)
    assert trio.run(_accounts, far) == [] and listed(data) == []
    with serving(copy) as server:
        assert messages(server) == 1
    assert audit_data(copy, ADDRESS) == []


async def _accounts(url: str) -> list[str]:
    stores = open_stores(url)
    try:
        return await stores.list()
    finally:
        await stores.aclose()
