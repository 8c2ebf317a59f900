"""curl, mbsync and Python's imaplib read and change what LMTP delivered."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.server import ADDRESS, PASSWORD, Server, create_account, serving

MAIL = (
    b"From: Bob <bob@example.net>\r\nTo: alice@example.org\r\nSubject: Lunch %d\r\n\r\nAt noon, table %d?\r\n"
)


def needs(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def deliver(server: Server, count: int) -> None:
    with server.lmtp() as client:
        for n in range(count):
            assert client.sendmail("bob@example.net", [ADDRESS], MAIL % (n, n)) == {}


def run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin.encode(), capture_output=True, timeout=120)
    assert done.returncode == 0, f"{command[0]}: {done.returncode}\n{done.stdout!r}\n{done.stderr.decode()}"
    return done.stdout.decode()


@pytest.mark.clients
def test_curl(tmp_path: Path) -> None:
    curl = needs("curl")
    create_account(tmp_path / "data")
    with serving(tmp_path / "data") as server:
        deliver(server, 3)

        def ask(path: str, *options: str) -> str:
            # The password comes on standard input, as a config file: not in argv.
            config = f'user = "{ADDRESS}:{PASSWORD}"\n'
            return run(
                curl, "-sS", "-K", "-", f"imap://127.0.0.1:{server.imap_port}/{path}", *options, stdin=config
            )

        assert "\\HasNoChildren" in ask("")
        assert "Subject: Lunch 1\r\n" in ask("INBOX;MAILINDEX=2")
        assert "At noon, table 2?" in ask("INBOX;MAILINDEX=3;SECTION=TEXT")
        assert ask("INBOX?SUBJECT%20lunch").split() == ["*", "SEARCH", "1", "2", "3"]
        ask("INBOX", "-X", "STORE 1 +FLAGS (\\Flagged)")
        assert ask("INBOX?FLAGGED").split() == ["*", "SEARCH", "1"]
        draft = tmp_path / "draft.eml"
        draft.write_bytes(MAIL % (9, 9))
        ask("Drafts", "-T", str(draft))
        assert "Subject: Lunch 9\r\n" in ask("Drafts;MAILINDEX=1")


@pytest.mark.clients
def test_mbsync_both_ways(tmp_path: Path) -> None:
    mbsync = needs("mbsync")
    create_account(tmp_path / "data")
    maildir = tmp_path / "Maildir"
    maildir.mkdir()
    (tmp_path / "password").write_text(PASSWORD)
    with serving(tmp_path / "data") as server:
        config = tmp_path / "mbsyncrc"
        config.write_text(
            f"IMAPStore server\nHost 127.0.0.1\nPort {server.imap_port}\nUser {ADDRESS}\n"
            f'PassCmd "cat {tmp_path / "password"}"\nSSLType None\nAuthMechs LOGIN\n\n'
            f"MaildirStore local\nPath {maildir}/\nInbox {maildir}/INBOX\nSubFolders Verbatim\n\n"
            f"Channel all\nFar :server:\nNear :local:\nPatterns *\nCreate Both\nExpunge Both\nSync All\n"
            f"SyncState {maildir}/.state-\n"
        )

        def sync() -> None:
            run(mbsync, "-c", str(config), "all")

        deliver(server, 20)
        sync()
        here = [file for folder in ("new", "cur") for file in (maildir / "INBOX" / folder).iterdir()]
        assert len(here) == 20
        for name in ("Archive", "Drafts", "Junk", "Sent", "Trash"):
            assert (maildir / name).is_dir()

        first = next(
            file for file in here if b"Subject: Lunch 0\r\n" in file.read_bytes().replace(b"\n", b"\r\n")
        )
        first.rename(
            maildir / "INBOX" / "cur" / (first.name.partition(":")[0] + ":2,FS")
        )  # flagged and seen, here
        (maildir / "Drafts" / "cur" / "1.2.here:2,D").write_bytes((MAIL % (77, 77)).replace(b"\r\n", b"\n"))
        client = server.imap()
        client.select("INBOX")
        assert client.store("2", "+FLAGS", "\\Deleted")[0] == "OK"  # and deleted, there
        client.expunge()
        sync()
        here = [file for folder in ("new", "cur") for file in (maildir / "INBOX" / folder).iterdir()]
        assert len(here) == 19
        _, answer = client.search(None, "FLAGGED", "SEEN")
        assert len(answer[0].split()) == 1
        client.select("Drafts")
        _, fetched = client.fetch("1", "(FLAGS BODY[HEADER.FIELDS (SUBJECT)])")
        assert isinstance(fetched[0], tuple)
        assert b"\\Draft" in fetched[0][0] and fetched[0][1] == b"Subject: Lunch 77\r\n\r\n"
        client.logout()
        sync()  # nothing left to do, and nothing complains


def test_imaplib_reads_and_changes(tmp_path: Path) -> None:
    create_account(tmp_path / "data")
    with serving(tmp_path / "data") as server:
        deliver(server, 5)
        client = server.imap()
        assert client.select("INBOX") == ("OK", [b"5"])
        _, fetched = client.fetch("3", "(RFC822)")
        assert isinstance(fetched[0], tuple) and fetched[0][1].endswith(MAIL % (2, 2))
        assert client.search(None, "SEEN")[1] == [b"3"]
        assert client.uid("STORE", "1:2", "+FLAGS", "(\\Deleted)")[0] == "OK"
        assert client.expunge() == ("OK", [b"2", b"1"])  # highest first
        assert client.create("Work/2026")[0] == "OK"
        assert client.copy("1", "Work/2026")[0] == "OK"
        assert client.uid("MOVE", "4", "Work/2026")[0] == "OK"
        assert client.status("Work/2026", "(MESSAGES UNSEEN)")[1] == [b'"Work/2026" (MESSAGES 2 UNSEEN 1)']
        assert client.delete("Work/2026")[0] == "OK"
        assert client.select("Work/2026")[0] == "NO"
        client.logout()
        assert server.stop() == 0
    with serving(tmp_path / "data") as server:  # all of it is there again after a restart
        client = server.imap()
        assert client.select("INBOX") == ("OK", [b"2"])
        client.logout()
