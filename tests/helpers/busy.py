"""Senders and clients that keep servers busy, and the ledger of what was acknowledged to them: for tests in
which processes die."""

import imaplib
import re
import smtplib
import threading
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from tests.helpers.server import ADDRESS, Server

PATIENCE = 150.0  # seconds for what takes some, and up to a minute while a store is away

Answer = tuple[str, list[bytes]]


def mail(token: str) -> bytes:
    return f"From: a@example.net\r\nSubject: {token}\r\n\r\nThe body of {token}.\r\n".encode()


class Ledger:
    """What the servers have said OK to, and to how much they have said that the store is away. A token stands
    for one mail, and is used once: whether what failed was done, nobody can tell."""

    def __init__(self) -> None:
        self.mails: set[str] = set()
        self.appended: set[str] = set()
        self.flagged: set[str] = set()
        self.moved: set[str] = set()
        self.told: dict[str, str] = {}  # UID in Drafts → token: it must never name two
        self.renumbered: dict[str, str] = {}  # token → a UID that its message had, and has lost
        self.done = Counter[str]()  # by worker
        self.away = Counter[str]()
        self.failed = False  # some worker: nobody need wait for it
        self._changed = threading.Condition()

    def note(self, worker: str, what: set[str], token: str) -> None:
        """To be called as soon as the server has acknowledged."""
        with self._changed:
            what.add(token)
            self.done[worker] += 1
            self._changed.notify_all()

    def tell(self, uid: str, token: str) -> None:
        with self._changed:
            assert self.told.setdefault(uid, token) == token, f"{uid} is {self.told[uid]} and {token}"

    def unavailable(self, worker: str) -> None:
        with self._changed:
            self.away[worker] += 1
            self._changed.notify_all()

    def fail(self) -> None:
        with self._changed:
            self.failed = True
            self._changed.notify_all()

    def wait(self, of: Counter[str], *workers: str, more: int = 1) -> None:
        """Until each of these workers has so many more entries in `done` or `away`."""
        with self._changed:
            enough = {worker: of[worker] + more for worker in workers}
            reached = self._changed.wait_for(
                lambda: self.failed or all(of[worker] >= least for worker, least in enough.items()), PATIENCE
            )
            assert reached, f"{enough} in {PATIENCE} seconds, but {of}"
            assert not self.failed

    def check(self, server: Server) -> dict[str, dict[str, tuple[str, str]]]:
        """Asserts that all of it is there as this server shows it, once, and nothing that was never sent.

        Returns mailbox → token → (UID, flags).
        """
        client = server.imap()
        inbox, drafts, archive = (_messages(client, name) for name in ("INBOX", "Drafts", "Archive"))
        client.logout()
        assert self.mails <= inbox.keys(), f"lost: {sorted(self.mails - inbox.keys())}"
        assert self.appended <= drafts.keys() | archive.keys()
        assert not drafts.keys() & archive.keys(), "a moved message is in both"
        assert self.moved <= archive.keys(), f"not moved: {sorted(self.moved - archive.keys())}"
        for token, uid in self.renumbered.items():
            assert int(drafts[token].uid) > int(uid)
        for token in self.flagged:
            flags = drafts[token].flags
            assert "\\Flagged" in flags and "kept" in flags
        found = {"INBOX": inbox, "Drafts": drafts, "Archive": archive}
        for token, message in drafts.items():
            assert self.told.get(message.uid, token) == token
        for messages in found.values():
            for token, message in messages.items():
                assert message.body.endswith(mail(token))
        return {
            mailbox: {token: (message.uid, message.flags) for token, message in messages.items()}
            for mailbox, messages in found.items()
        }


class Sender:
    """Delivers one mail after another."""

    def __init__(self, name: str, ledger: Ledger) -> None:
        self.name, self._ledger, self._numbers = name, ledger, count()

    def run(self, server: Server, going: Callable[[], bool]) -> None:
        with server.lmtp() as client:
            while going():
                token = f"{self.name}-{next(self._numbers)}"
                try:
                    assert client.sendmail("a@example.net", [ADDRESS], mail(token)) == {}
                except smtplib.SMTPRecipientsRefused as refused:
                    ((code, _),) = refused.recipients.values()
                    assert code == 451, refused
                    self._ledger.unavailable(self.name)
                except smtplib.SMTPDataError as refused:
                    assert refused.smtp_code == 451, refused
                    self._ledger.unavailable(self.name)
                else:
                    self._ledger.note(self.name, self._ledger.mails, token)


class Writer:
    """Appends to Drafts; a third of that it flags, a third it moves to Archive.

    When two servers append to one mailbox at the same moment, a UID that a client has just been told may turn
    out to be claimed twice: then it is expunged, and the message comes with a new one.
    """

    def __init__(self, name: str, ledger: Ledger) -> None:
        self.name, self._ledger, self._numbers = name, ledger, count()

    def run(self, server: Server, going: Callable[[], bool]) -> None:
        client = server.imap()
        try:
            while going() and not self._ok(client.select("Drafts")):
                pass
            while going():
                self._write(client, next(self._numbers))
        finally:
            client.shutdown()

    def _write(self, client: imaplib.IMAP4, n: int) -> None:
        ledger, token = self._ledger, f"{self.name}-{n}"
        answer = client.append("Drafts", "", "", mail(token))
        if not self._ok(answer):
            return
        ledger.note(self.name, ledger.appended, token)
        code = re.match(rb"\[APPENDUID \d+ (\d+)\]", answer[1][0])
        if code is None:
            return  # it is stored, and then the store was away: nobody knows its UID for certain
        uid = code[1].decode()
        ledger.tell(uid, token)
        if n % 3 == 0:
            answer = client.uid("STORE", uid, "+FLAGS", "(\\Flagged kept)")
            told = any(f"(UID {uid} ".encode() in (line or b"") for line in answer[1])
            self._changed(answer, told, ledger.flagged, token, uid)
        if n % 3 == 1:
            answer = client.uid("MOVE", uid, "Archive")
            self._changed(answer, client.response("COPYUID")[1] != [None], ledger.moved, token, uid)

    def _changed(self, answer: Answer, told: bool, what: set[str], token: str, uid: str) -> None:
        """`told`: whether the server has said that it was this message."""
        if self._ok(answer):
            if told:
                self._ledger.note(self.name, what, token)
            else:
                self._ledger.renumbered[token] = uid

    def _ok(self, answer: Answer) -> bool:
        """Whether it was done. The only excuse is that the store is away."""
        if answer[0] == "OK":
            return True
        assert answer[0] == "NO" and answer[1][0].startswith(b"[UNAVAILABLE]"), answer
        self._ledger.unavailable(self.name)
        return False


class _Message(NamedTuple):
    uid: str
    flags: str
    body: bytes


def _messages(client: imaplib.IMAP4, mailbox: str) -> dict[str, _Message]:
    """Subject → message; a subject that occurs twice is an error."""
    assert client.select(mailbox, readonly=True)[0] == "OK"
    found: dict[str, _Message] = {}
    kind, answer = client.fetch("1:*", "(UID FLAGS BODY.PEEK[])")
    assert kind == "OK", answer
    for item in answer:
        if isinstance(item, tuple):
            token = item[1].split(b"Subject: ")[1].split(b"\r\n")[0].decode()
            assert token not in found, f"{token} is there twice"
            uid, flags = item[0].decode().split("UID ")[1].split(" FLAGS ")
            found[token] = _Message(uid, flags.split(")")[0].replace("\\Recent", "").strip("( "), item[1])
    return found
