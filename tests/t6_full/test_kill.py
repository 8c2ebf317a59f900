"""SIGKILL at random moments under deliveries, APPENDs, STOREs and MOVEs: what was acknowledged is there."""

import functools
import imaplib
import random
import signal
import smtplib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.server import ADDRESS, Server, create_account

ROUNDS = 50


class Acknowledged:
    """What the server has said OK to, and what it may or may not have done when it died."""

    def __init__(self, rng: random.Random, server: Server) -> None:
        self.server, self.lock = server, threading.Lock()
        self.left = rng.randrange(1, 120)  # how many acknowledgements until the kill
        self.mails: set[str] = set()
        self.appended: set[str] = set()
        self.flagged: set[str] = set()
        self.moved: set[str] = set()

    def note(self, what: set[str], token: str) -> None:
        """Called as soon as the server has acknowledged. The one that counts down to nothing kills."""
        with self.lock:
            what.add(token)
            self.left -= 1
            if self.left == 0:
                self.server.kill()


def mail(token: str) -> bytes:
    return f"From: a@example.net\r\nSubject: {token}\r\n\r\nThe body of {token}.\r\n".encode()


def until_death(work: Callable[[], None], server: Server) -> None:
    """Runs `work` until the server is gone: what this round is about. Any other error fails the test."""
    try:
        work()
    except (OSError, EOFError, imaplib.IMAP4.abort, smtplib.SMTPServerDisconnected):
        assert server.process.wait(30) == -signal.SIGKILL
    except BaseException:
        server.kill()  # so that the others end too
        raise


def deliveries(server: Server, round_: int, worker: int, done: Acknowledged) -> None:
    with server.lmtp() as client:
        for n in range(1000):
            token = f"lmtp-{round_}-{worker}-{n}"
            assert client.sendmail("a@example.net", [ADDRESS], mail(token)) == {}
            done.note(done.mails, token)


def appends_and_changes(server: Server, round_: int, done: Acknowledged) -> None:
    client = server.imap()
    try:
        append_and_change(client, round_, done)
    finally:
        client.shutdown()


def append_and_change(client: imaplib.IMAP4, round_: int, done: Acknowledged) -> None:
    client.select("Drafts")
    for n in range(1000):
        token = f"append-{round_}-{n}"
        kind, data = client.append("Drafts", "", "", mail(token))
        assert kind == "OK", data
        done.note(done.appended, token)
        uid = data[0].split(b"APPENDUID ")[1].split(b"]")[0].split()[1].decode()
        if n % 3 == 0:
            assert client.uid("STORE", uid, "+FLAGS", "(\\Flagged kept)")[0] == "OK"
            done.note(done.flagged, token)
        if n % 3 == 1:
            assert client.uid("MOVE", uid, "Archive")[0] == "OK"
            done.note(done.moved, token)


def subjects(client: imaplib.IMAP4, mailbox: str) -> dict[str, tuple[str, bytes]]:
    """Subject → (flags, body) of each message; a subject that occurs twice is an error."""
    assert client.select(mailbox, readonly=True)[0] == "OK"
    found: dict[str, tuple[str, bytes]] = {}
    _, answer = client.fetch("1:*", "(FLAGS BODY.PEEK[])")
    for item in answer:
        if isinstance(item, tuple):
            token = item[1].split(b"Subject: ")[1].split(b"\r\n")[0].decode()
            assert token not in found, f"{token} is there twice"
            found[token] = (item[0].decode(), item[1])
    return found


@pytest.mark.parametrize("seed", [1])
def test_fifty_kills(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = tmp_path / "data"
    create_account(data)
    inbox: set[str] = set()
    drafts: set[str] = set()
    flagged: set[str] = set()
    moved: set[str] = set()
    for round_ in range(ROUNDS):
        server = Server(data)
        done = Acknowledged(rng, server)
        works = [functools.partial(deliveries, server, round_, worker, done) for worker in range(2)]
        works.append(functools.partial(appends_and_changes, server, round_, done))
        with ThreadPoolExecutor(len(works)) as pool:
            for ended in [pool.submit(until_death, work, server) for work in works]:
                ended.result()
        inbox |= done.mails
        drafts |= done.appended
        flagged |= done.flagged
        moved |= done.moved
        if round_ % 10 == 9:
            check(data, inbox, drafts, flagged, moved)


def check(data: Path, inbox: set[str], drafts: set[str], flagged: set[str], moved: set[str]) -> None:
    server = Server(data)
    client = server.imap()
    in_inbox, in_drafts, in_archive = (subjects(client, name) for name in ("INBOX", "Drafts", "Archive"))
    client.logout()
    assert server.stop() == 0
    assert inbox <= in_inbox.keys(), f"lost: {sorted(inbox - in_inbox.keys())}"
    assert all(token.startswith("lmtp-") for token in in_inbox)
    assert drafts <= in_drafts.keys() | in_archive.keys()
    assert not in_drafts.keys() & in_archive.keys(), "a moved message is in both"
    assert moved <= in_archive.keys()
    for token in flagged:
        flags = in_drafts[token][0]
        assert "\\Flagged" in flags and "kept" in flags
    for found in (in_inbox, in_drafts, in_archive):
        for token, (_, body) in found.items():
            assert body.endswith(mail(token))
    assert_sound(data)


def assert_sound(data: Path) -> None:
    """The audit of the whole account, in this process, finds nothing."""
    from tests.helpers.audit import audit_data

    assert audit_data(data, ADDRESS) == []
