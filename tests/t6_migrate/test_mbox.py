"""Mbox files that a real Dovecot has written: read as its IMAP shows them."""

import pytest

from aerogramme.migrate.sources.mbox.listing import Options
from aerogramme.migrate.sources.mbox.mbox import Mbox
from aerogramme.migrate.sources.naming import Naming
from tests.helpers.dovecot import append, dovecot
from tests.helpers.source_reading import read_all, said, same_as_imap

pytestmark = pytest.mark.clients

BOXES = ["INBOX", "Sent", "Lists/trio", "Lists/a/b", "Entw&APw-rfe"]
NAMES = ["INBOX", "Sent", "Lists/trio", "Lists/a/b", "Entwürfe"]
DATE = "From joe@x Tue Jan  7 10:00:00 2020"
BODIES = [
    b"",
    b"text\r\n",
    b"no end",
    b"From here on\r\n\r\nFrom joe Mon Jan  6 10:00:00 2020\r\n>From x\r\n>>From y\r\n",
    b"CR\rand NUL\0 and\nlone LF\r\n\r\n\r\n",
    b"long " * 60_000,
]
# What other programs append, without counting octets.
FOREIGN = [
    b"Subject: c\nStatus: RO\nX-Status: AF\nX-Keywords: work more\n\nFrom x y\nbdy\rx\r\n\n",
    b"no blank before\n\nSubject: what\nFrom x\n>From y\n\n",
    b"Content-Length: 3\nSubject: wrong\n\nlonger than that\n\n\n\n",
    b"X-UID: 1\nSubject: an old UID\n\nx\n\n",
    b"\nno header\n\n",
]


@pytest.mark.parametrize("inbox", [None, "spool"])
async def test_mbox_files_are_read_as_imap_shows_them(inbox) -> None:
    location = "mbox:~/mail" + (f":INBOX=~/{inbox}" if inbox else "")
    with dovecot(location) as server:
        with server.imap() as client:
            for box in BOXES[1:]:
                client.create(f'"{box}"')
            client.subscribe('"Lists/a/b"')
            for number in range(40):
                head = b"Subject: %d\r\nStatus: RO\r\nX-UID: 77\r\nContent-Length: 3\r\n\r\n" % number
                flags = ["\\Seen", "work", f"k{number % 5}"][: number % 4] + ["\\Draft"] * (number % 3 == 0)
                date = f"{number % 28 + 1:02}-Jul-{2000 + number % 25} 10:{number:02}:00 +0200"
                append(client, BOXES[number % len(BOXES)], head + BODIES[number % len(BODIES)], flags, date)
            client.select("INBOX")
            client.uid("COPY", "1:2", "Sent")
            client.uid("STORE", "3:4", "+FLAGS", "(\\Deleted)")
            client.expunge()
        path = server.home / (inbox or "mail/inbox")
        with path.open("ab") as file:
            file.writelines(DATE.encode() + b"\n" + letter for letter in FOREIGN)
        source = Mbox(server.home / "mail", Naming(), Options(dovecot=True, inbox=inbox and path, utc=True))
        # Before Dovecot has seen what was appended, and after it.
        for _ in range(2):
            found = await read_all(source)
            assert sorted(found) == sorted(NAMES)
            subscribed = server.folders()
            for box, name in zip(BOXES, NAMES, strict=True):
                uidvalidity, uidnext, seen = server.messages(box)
                folder = found[name].folder
                assert folder.uidvalidity == uidvalidity
                assert folder.uidnext == uidnext or name == "INBOX"
                assert folder.subscribed == subscribed[box]
                assert len(seen) >= 8
                same_as_imap(found[name].mails, seen)
        inbox_uids = list(found["INBOX"].mails)
        assert found["INBOX"].folder.uidnext == inbox_uids[-1] + 1


async def test_flags_that_dovecot_has_not_written_yet_are_those_of_its_index() -> None:
    with dovecot("mbox:~/mail") as server, server.imap() as client:
        for number in range(6):
            append(client, "INBOX", b"Subject: %d\r\n\r\nx\r\n" % number, ["\\Seen"])
        client.select("INBOX")
        client.uid("STORE", "2:3", "+FLAGS", "(\\Flagged late)")
        client.uid("STORE", "4", "-FLAGS", "(\\Seen)")
        source = Mbox(server.home / "mail", Naming(), Options(dovecot=True, utc=True))
        box = (await read_all(source))["INBOX"]
        flags = {uid: set(mail.flags) for uid, mail in box.mails.items()}
        both = {"\\Seen", "\\Flagged", "late"}
        assert flags == {1: {"\\Seen"}, 2: both, 3: both, 4: set(), 5: {"\\Seen"}, 6: {"\\Seen"}}
        assert not source.faults, said(source.faults)
