"""SCRAM with a real server: an app password from the command line, mbsync, imaplib, a client of ours."""

import imaplib
import shutil
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.helpers.scram_client import ImapConnection, Refused, ScramClient
from tests.helpers.server import ADDRESS, PASSWORD, Server, aerogramme, create_account, serving
from tests.t4_imap.test_read_only import COMMANDS

MAIL = (
    b"From: Bob <bob@example.net>\r\nTo: alice@example.org\r\nSubject: Lunch %d\r\n\r\nAt noon, table %d?\r\n"
)


def deliver(server: Server, count: int) -> None:
    with server.lmtp() as client:
        for n in range(count):
            assert client.sendmail("bob@example.net", [ADDRESS], MAIL % (n, n)) == {}


def app_password(data: Path, label: str, *options: str) -> str:
    """A new one, as it is printed."""
    made = aerogramme(
        *("account", "app-password", "create", ADDRESS, label, "--data", str(data), "--password-stdin"),
        *options,
        stdin=PASSWORD + "\n",
    )
    return made.stdout.decode().strip()


def revoke(data: Path, label: str) -> None:
    aerogramme(
        *("account", "app-password", "revoke", ADDRESS, label, "--data", str(data), "--password-stdin"),
        "--no-rotate",
        stdin=PASSWORD + "\n",
    )


def connect(server: Server) -> ImapConnection:
    """A connection whose greeting has been read."""
    connection = ImapConnection(socket.create_connection(("127.0.0.1", server.imap_port), 120))
    assert connection.line().startswith(b"* OK [CAPABILITY IMAP4rev1 ")
    return connection


def logged_in(server: Server, secret: str) -> ImapConnection:
    connection = connect(server)
    try:
        connection.authenticate(ScramClient(ADDRESS, secret), "SCRAM-SHA-256")
    except BaseException:
        connection.close()
        raise
    return connection


def test_the_whole_way(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    phone, laptop = app_password(data, "phone"), app_password(data, "laptop")
    with serving(data) as server:
        deliver(server, 2)
        for secret in phone, laptop, phone:
            connection = logged_in(server, secret)
            assert b"* 2 EXISTS" in connection.command(b"SELECT INBOX")
            assert any(b"Lunch 1" in line for line in connection.command(b"FETCH 2 BODY.PEEK[HEADER]"))
            connection.close()
        revoke(data, "phone")
        with pytest.raises(Refused, match="AUTHENTICATIONFAILED"):
            logged_in(server, phone)
        with pytest.raises(Refused, match="AUTHENTICATIONFAILED"):
            logged_in(server, PASSWORD)
        logged_in(server, laptop).close()
        server.imap(password=laptop).logout()  # by LOGIN it opens the account too
        assert server.stop() == 0
    log = server.log.read_text()
    assert phone not in log and laptop not in log


def test_a_name_that_nobody_has_keeps_its_salt_when_the_server_starts_anew(tmp_path: Path) -> None:
    create_account(tmp_path / "data")
    salts = []
    for _ in range(2):
        with serving(tmp_path / "data") as server:
            scram, connection = ScramClient("nobody@example.org", "x"), connect(server)
            with pytest.raises(Refused):
                connection.authenticate(scram, "SCRAM-SHA-256")
            connection.close()
            salts.append(scram.salt)
    assert salts[0] == salts[1]


def test_imaplib(tmp_path: Path) -> None:
    create_account(tmp_path / "data")
    scram = ScramClient(ADDRESS, app_password(tmp_path / "data", "script"))
    with serving(tmp_path / "data") as server:
        client = imaplib.IMAP4("127.0.0.1", server.imap_port, timeout=120)
        asked: list[bytes] = []

        def respond(challenge: bytes) -> bytes:
            asked.append(challenge)
            if len(asked) == 1:
                return scram.first()
            if len(asked) == 2:
                return scram.final(challenge)
            scram.verify(challenge)
            return b""

        assert client.authenticate("SCRAM-SHA-256", respond)[0] == "OK"
        assert len(asked) == 3
        assert client.select("INBOX")[0] == "OK"
        client.logout()


@pytest.mark.clients
def test_mbsync(tmp_path: Path) -> None:
    mbsync = shutil.which("mbsync")
    if mbsync is None or not list(Path("/usr/lib").glob("*/sasl2/libscram.so")):
        pytest.skip("mbsync, or its plugin for SCRAM (libsasl2-modules), is not installed")
    data, maildir = tmp_path / "data", tmp_path / "Maildir"
    create_account(data)
    maildir.mkdir()
    (tmp_path / "password").write_text(app_password(data, "mbsync"))
    config = tmp_path / "mbsyncrc"
    with serving(data) as server:
        config.write_text(
            f"IMAPStore server\nHost 127.0.0.1\nPort {server.imap_port}\nUser {ADDRESS}\n"
            f'PassCmd "cat {tmp_path / "password"}"\nSSLType None\nAuthMechs SCRAM-SHA-256\n\n'
            f"MaildirStore local\nPath {maildir}/\nInbox {maildir}/INBOX\nSubFolders Verbatim\n\n"
            f"Channel all\nFar :server:\nNear :local:\nPatterns *\nCreate Both\nExpunge Both\nSync All\n"
            f"SyncState {maildir}/.state-\n"
        )
        deliver(server, 3)
        done = subprocess.run([mbsync, "-c", str(config), "all"], capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        assert len(list((maildir / "INBOX" / "new").iterdir())) == 3

        (tmp_path / "password").write_text(PASSWORD)  # the user's own, which is not for SCRAM
        done = subprocess.run([mbsync, "-c", str(config), "all"], capture_output=True, timeout=120)
        assert done.returncode != 0
        assert b"SCRAM is for app passwords" in done.stdout + done.stderr


def stored(data: Path) -> list[tuple[object, ...]]:
    """All that the account's file holds, but for the days on which app passwords were used."""
    [file] = (data / "accounts").glob("*.sqlite")
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables.remove("sqlite_sequence")  # numbers of rows; the rows themselves are compared
        rows = [
            (table, *row) for table in sorted(tables) for row in database.execute(f"SELECT * FROM {table}")
        ]
    database.close()
    return sorted((row for row in rows if "uses" not in row), key=repr)


def test_a_read_only_app_password_changes_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    secret = app_password(data, "backup", "--read-only")
    with serving(data) as server:
        deliver(server, 2)
        owner = server.imap()
        owner.select("INBOX")  # the letters are in the log now
        owner.store("1", "+FLAGS.SILENT", "\\Deleted")
        before = stored(data)
        for texts in COMMANDS.values():
            connection = logged_in(server, secret)
            connection.command(b"SELECT INBOX")
            for text in texts:
                connection.send(b"t " + text)
                while not (line := connection.line()).startswith(b"t "):
                    pass
                assert not line.startswith(b"t NO [SERVERBUG]"), text
            connection.close()
        assert stored(data) == before
        owner.store("2", "+FLAGS.SILENT", "\\Seen")
        assert stored(data) != before, "that a change is seen"
        owner.logout()
