"""A whole move: a Dovecot that was used for years, this server in its place, and Dovecot again.

MOVING_MAILS says how many mails (the corpus has 6,046; CI takes fewer).
"""

import os
from datetime import datetime
from pathlib import Path

import pytest

from tests.helpers.corpus import corpus
from tests.helpers.dovecot import Seen, read_messages
from tests.helpers.dovecot_daemon import running
from tests.helpers.dovecot_life import fill, quoted
from tests.helpers.mbsync import Copy
from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account, serving

MAILS = int(os.environ.get("MOVING_MAILS", "600"))
FORMATS = {"maildir": "maildir:~/Maildir", "sdbox": "sdbox:~/mail", "mdbox": "mdbox:~/mail"}


def everything(client) -> dict[str, tuple[int, int, bool, dict[int, object]]]:
    """All that a client can see: of each mailbox UIDVALIDITY, UIDNEXT, whether it is subscribed, and what is
    in it."""
    subscribed = {line.split(b' "/" ')[1] for line in client.lsub()[1] if line}
    found = {}
    for line in client.list()[1]:
        attributes, name = line.split(b' "/" ')
        if b"\\noselect" in attributes.lower() or b"\\nonexistent" in attributes.lower():
            continue
        plain = name.decode().removeprefix('"').removesuffix('"').replace("\\\\", "\\").replace('\\"', '"')
        validity, uidnext, messages = read_messages(client, plain)
        seen = {uid: at(each) for uid, each in messages.items()}
        found[plain] = validity, uidnext, name in subscribed, seen
    return found


def at(seen: Seen) -> tuple[frozenset[str], float, int, bytes]:
    date = datetime.strptime(seen.date.strip(), "%d-%b-%Y %H:%M:%S %z").timestamp()
    return seen.flags, date, seen.size, seen.content


def assert_same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, (validity, uidnext, subscribed, messages) in expected.items():
        assert found[name][:3] == (validity, uidnext, subscribed), name
        assert found[name][3].keys() == messages.keys(), name
        for uid, message in messages.items():
            assert found[name][3][uid] == message, (name, uid)


def entries(data: Path) -> int:
    """How many entries the log has."""
    told = aerogramme(
        "log", "show", ADDRESS, "--data", str(data), "--json", "--password-stdin", stdin=PASSWORD + "\n"
    )
    return len(told.stdout.splitlines())


@pytest.mark.clients
@pytest.mark.parametrize("kind", FORMATS)
def test_in_and_out_again(tmp_path: Path, kind: str) -> None:
    data, copy = tmp_path / "data", Copy(tmp_path / "mbsync")
    create_account(data)
    password = ["--data", str(data), "--password-stdin"]

    def move(path: Path) -> None:
        aerogramme("import", "dovecot", str(path), ADDRESS, *password, stdin=PASSWORD + "\n")

    with running(tmp_path / "dovecot", FORMATS[kind]) as dovecot:
        path = dovecot.mail / FORMATS[kind].partition("/")[2]
        mails = corpus()[:MAILS]
        fill(dovecot, mails[: 9 * MAILS // 10], seed=1)
        copy.sync(dovecot.imap_port)
        move(path)  # the first pass, while Dovecot serves
        client = dovecot.imap()
        for n, mail in enumerate(mails[9 * MAILS // 10 :]):  # which goes on
            client.append(quoted(("INBOX", "Sent", "Lists/python-dev")[n % 3]), "", "", mail)
        client.select("INBOX")
        client.uid("STORE", "1:20", "+FLAGS", "(\\Flagged later)")
        client.logout()
        copy.sync(dovecot.imap_port)
        client = dovecot.imap()
        expected = everything(client)
        client.logout()
        assert len(expected) == 31 and sum(len(box[3]) for box in expected.values()) > MAILS // 2
    move(path)  # the second one, after the switch
    compared = aerogramme(
        "import", "dovecot", str(path), ADDRESS, *password, "--verify", stdin=PASSWORD + "\n", check=False
    )
    assert compared.returncode == 0, (compared.stdout + compared.stderr).decode()

    before, files = entries(data), copy.files()
    with serving(data) as server:
        client = server.imap()
        assert_same(everything(client), expected)
        client.logout()
        copy.sync(server.imap_port)
    assert copy.files() == files, "mbsync has transferred something"
    assert entries(data) == before

    back = str(tmp_path / "back/mail/Maildir")
    aerogramme("export", "dovecot", back, ADDRESS, *password, stdin=PASSWORD + "\n")
    with running(tmp_path / "back", "maildir:~/Maildir") as dovecot:
        client = dovecot.imap()
        assert_same(everything(client), expected)
        client.logout()
        copy.sync(dovecot.imap_port)
        assert copy.files() == files
