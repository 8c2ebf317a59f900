"""Two servers on one account, a client on each, mail coming in at both."""

import re
from pathlib import Path

import pytest

from tests.helpers.audit import audit_data
from tests.helpers.corpus import check_bodies, corpus, deliver_all
from tests.helpers.garage import garage
from tests.helpers.seaweed import seaweed
from tests.helpers.server import ADDRESS, create_account, serving
from tests.helpers.wire import Client
from tests.t6_full.conftest import Environment

CONNECTIONS = 5  # to each server
FEW = 10  # one mail in so many where the store is slow


@pytest.mark.corpus
def test_in_one_data_folder(tmp_path: Path) -> None:
    acceptance(tmp_path / "data", None, corpus())


@pytest.mark.corpus
def test_on_s3(tmp_path: Path, environment: Environment) -> None:
    with seaweed() as service:
        environment(service.environment)
        acceptance(tmp_path / "data", service.store(), corpus()[::FEW])


@pytest.mark.corpus
@pytest.mark.garage
def test_on_garage(tmp_path: Path, environment: Environment) -> None:
    with garage() as cluster:
        environment(cluster.environment)
        acceptance(tmp_path / "data", cluster.store(), corpus())


def acceptance(data: Path, store: str | None, mails: list[bytes]) -> None:
    """Nothing is lost or doubled, every byte comes back, and what one client does the other sees."""
    create_account(data, store=store)
    with serving(data, store=store, name="a") as a, serving(data, store=store, name="b") as b:
        with Client(a.imap_port) as one, Client(b.imap_port) as other:
            one.command("SELECT INBOX")
            other.command("SELECT INBOX")
            with one.idle(), other.idle():
                deliver_all([a.lmtp_port, b.lmtp_port] * CONNECTIONS, mails)
                wait_for(one, len(mails))
                wait_for(other, len(mails))
            # A number that two servers gave at the same moment is given anew: who opens the mailbox again
            # reads what the other has said last.
            for client in (other, one, other):
                client.command("SELECT INBOX")
            uids = check_bodies(one, mails)
            assert check_bodies(other, mails) == uids
            early, late = uids[len(uids) // 3], uids[len(uids) // 2]
            flag(one, other, [uid for uid in uids if uid <= late], "\\Flagged")
            flag(other, one, [uid for uid in uids if uid >= early], "kept")
            move(one, other, [uid for uid in uids if uid <= early])
            move(other, one, [uid for uid in uids if uid >= late])
            for mailbox in ("INBOX", "Archive"):
                assert messages(one, mailbox) == messages(other, mailbox) != {}
        assert a.stop() == 0
        assert b.stop() == 0
    assert audit_data(data, ADDRESS, store=store) == []


def wait_for(client: Client, count: int) -> None:
    """Until an idling client has been told that there are so many messages."""
    while client.exists != count:
        client.response()


def flag(by: Client, seen_by: Client, uids: list[int], word: str) -> None:
    """One client sets a flag on messages, the first of them or the last, and the other hears of each."""
    heard = set[bytes]()
    with seen_by.idle():
        by.command(f"UID STORE {uids[0]}:{uids[-1]} +FLAGS.SILENT ({word})")
        while len(heard) < len(uids):
            told = re.match(rb"\* (\d+) FETCH \(.*FLAGS \(([^)]*)\)", seen_by.response()[0])
            if told and word.encode() in told[2].split():
                heard.add(told[1])


def move(by: Client, seen_by: Client, uids: list[int]) -> None:
    """One client moves messages to Archive, and they go from the other's sight."""
    with seen_by.idle():
        left = seen_by.exists - len(uids)
        by.command(f"UID MOVE {uids[0]}:{uids[-1]} Archive")
        assert by.exists == left
        wait_for(seen_by, left)


def messages(client: Client, mailbox: str) -> dict[int, set[bytes]]:
    """UID → flags of all messages, as a new look at the mailbox shows them."""
    client.command(f"SELECT {mailbox}")
    found = {}
    for (line,) in client.command("FETCH 1:* (UID FLAGS)"):
        told = re.fullmatch(rb"\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\)\)\r\n", line)
        assert told, line
        found[int(told[1])] = set(told[2].split()) - {b"\\Recent"}
    return found
