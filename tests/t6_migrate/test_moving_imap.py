"""A whole move over IMAP: what a Dovecot serves is served here with its UIDs, and clients notice nothing."""

from pathlib import Path

import pytest

from tests.helpers.certificates import certificate
from tests.helpers.corpus import corpus
from tests.helpers.dovecot_daemon import running
from tests.helpers.dovecot_life import fill, quoted
from tests.helpers.mbsync import Copy
from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account, serving
from tests.t6_migrate.test_moving import assert_same, everything

MAILS = 150


@pytest.mark.clients
def test_over_imap(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", Copy(tmp_path / "mbsync")
    certificate(tmp_path)
    (there := tmp_path / "password").write_text(PASSWORD + "\n")
    there.chmod(0o600)
    create_account(data)
    tls = f"ssl = yes\nssl_cert = <{tmp_path}/cert.pem\nssl_key = <{tmp_path}/cert.key\n"
    with running(tmp_path / "dovecot", "mdbox:~/mail", tls) as dovecot:
        trust = ["--security", "starttls", "--ca", str(tmp_path / "cert.pem"), "--login-password", str(there)]
        command = ["import", "imap", f"localhost:{dovecot.imap_port}", ADDRESS, *trust, "--data", str(data)]

        def move(*options: str) -> None:
            aerogramme(*command, *options, "--password-stdin", stdin=PASSWORD + "\n")

        mails = corpus()[:MAILS]
        fill(dovecot, mails[: 9 * MAILS // 10], seed=2)
        move()  # the first pass; and then Dovecot goes on
        client = dovecot.imap()
        for n, mail in enumerate(mails[9 * MAILS // 10 :]):
            client.append(quoted(("INBOX", "Sent", "Lists/python-dev")[n % 3]), "", "", mail)
        client.select("INBOX")
        client.uid("STORE", "1:20", "+FLAGS", "(\\Flagged later)")
        gone = client.uid("SEARCH", "ALL")[1][0].split()[:7]
        client.uid("STORE", b",".join(gone).decode(), "+FLAGS", "(\\Deleted)")
        client.expunge()
        client.logout()
        copy.sync(dovecot.imap_port)
        client = dovecot.imap()
        expected = everything(client)
        client.logout()
        move("--delete")
        move("--verify")

    files = copy.files()
    with serving(data) as server:
        client = server.imap()
        assert_same(everything(client), expected)
        client.logout()
        copy.sync(server.imap_port)
    assert copy.files() == files, "mbsync has transferred something"
