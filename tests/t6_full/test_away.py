"""Garage dies under a server with clients, and comes back: what can be read goes on, nothing is restarted."""

import imaplib
import smtplib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.audit import audit_data
from tests.helpers.garage import garage
from tests.helpers.server import ADDRESS, PASSWORD, Server, create_account, serving
from tests.t6_full.conftest import Environment

MAILS = 5


def send(server: Server, subject: str) -> int:
    """The code of the answer to a mail."""
    with server.lmtp() as lmtp:
        try:
            lmtp.sendmail("me@example.net", ADDRESS, f"Subject: {subject}\r\n\r\nHello\r\n")
        except smtplib.SMTPDataError as error:
            return error.smtp_code
    return 250


def ask(client: imaplib.IMAP4, command: bytes) -> list[bytes]:
    """All lines of an answer, literals and all."""
    client.send(b"x " + command + b"\r\n")
    lines = [client.readline()]
    while not lines[-1].startswith(b"x "):
        lines.append(client.readline())
    return [line.removesuffix(b"\r\n") for line in lines]


def login(server: Server) -> bytes:
    client = imaplib.IMAP4("127.0.0.1", server.imap_port, timeout=120)
    try:
        return ask(client, f'LOGIN {ADDRESS} "{PASSWORD}"'.encode())[-1]
    finally:
        client.shutdown()


@pytest.mark.garage
def test_garage_dies_and_comes_back(tmp_path: Path, environment: Environment) -> None:
    with garage() as cluster:
        environment(cluster.environment)
        data, store = tmp_path / "data", cluster.store()
        create_account(data, store=store)
        with serving(data, store=store) as server:
            assert [send(server, f"{n}") for n in range(MAILS)] == [250] * MAILS
            reading, selecting, idling = (server.imap() for _ in range(3))
            for client in (reading, idling):
                assert b"* %d EXISTS" % MAILS in ask(client, b"SELECT INBOX")
            flags, bodies = b"FETCH 1:* (FLAGS ENVELOPE)", b"FETCH 1:* (BODY.PEEK[])"
            before = ask(reading, flags), ask(reading, bodies)
            idling.send(b"i IDLE\r\n")
            assert idling.readline().startswith(b"+")

            cluster.nodes[0].kill()
            with ThreadPoolExecutor() as pool:
                selected = pool.submit(ask, selecting, b"SELECT INBOX")
                logged_in, sent = pool.submit(login, server), pool.submit(send, server, "away")
                assert ask(reading, b"NOOP")[-1].startswith(b"x OK ")
                assert (ask(reading, flags), ask(reading, bodies)) == before  # the bodies: out of the cache
                assert ask(reading, b"STORE 1 +FLAGS (\\Flagged)")[-1].startswith(b"x NO [UNAVAILABLE] ")
                assert selected.result()[-1].startswith(b"x NO [UNAVAILABLE] ")
                assert logged_in.result().startswith(b"x NO [UNAVAILABLE] ")
                assert sent.result() == 451
            assert (ask(reading, flags), ask(reading, bodies)) == before

            cluster.nodes[0].start()
            assert send(server, "back") == 250
            # "away" was refused, and may be there all the same; "back" is.
            assert idling.readline() in (b"* %d EXISTS\r\n" % (MAILS + n) for n in (1, 2))
            assert b"back" in b"".join(ask(selecting, b"SELECT INBOX") + ask(selecting, flags))
            assert login(server).startswith(b"x OK ")
            for client in (reading, selecting, idling):
                client.shutdown()
            assert server.stop() == 0
        assert audit_data(data, ADDRESS, store=store) == []
