"""6,046 real mails, many of them broken, over ten LMTP connections while a client idles."""

from pathlib import Path

import pytest

from tests.helpers.audit import audit_data
from tests.helpers.corpus import check_bodies, corpus, deliver_all
from tests.helpers.imap_grammar import responses
from tests.helpers.server import ADDRESS, create_account, serving
from tests.helpers.wire import Client

CONNECTIONS = 10


@pytest.mark.corpus
def test_every_real_mail_arrives_once_and_comes_back_byte_for_byte(tmp_path: Path) -> None:
    mails = corpus()
    create_account(tmp_path / "data")
    with serving(tmp_path / "data") as server:
        with Client(server.imap_port) as idler:
            idler.command("SELECT INBOX")
            with idler.idle():
                deliver_all([server.lmtp_port] * CONNECTIONS, mails)
                while idler.response() != [b"* %d EXISTS\r\n" % len(mails)]:
                    pass

        with Client(server.imap_port) as reader:
            reader.command("SELECT INBOX")
            check_bodies(reader, mails)
            structures = reader.command("FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY)")
            assert len(structures) == len(mails)
            for pieces in structures:
                (fetched,) = responses(b"".join(pieces))
                assert list(fetched.data) == [b"ENVELOPE", b"BODYSTRUCTURE", b"BODY"]
        assert server.stop() == 0
    assert audit_data(tmp_path / "data", ADDRESS) == []
