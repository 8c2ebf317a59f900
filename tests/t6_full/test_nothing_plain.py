"""No word of a mail, mailbox name, flag or password is in the data folder or in the log at debug level."""

import base64
import imaplib
import smtplib
from pathlib import Path

import pytest

from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account, serving

SECRETS = {
    "subject": b"zanzibarsubject",
    "body": b"quokkabodyword",
    "attachment": b"platypusattachment",
    "sender": b"wombatsender",
    "header": b"numbatheader",
    "appended": b"echidnaappended",
    "mailbox": b"bilbymailbox",
    "keyword": b"dingokeyword",
    "search": b"kookaburrasearch",
    "local": b"emulocaldelivery",
    "password": PASSWORD.encode(),
}


def mail(of: bytes) -> bytes:
    attachment = base64.encodebytes(SECRETS["attachment"] * 40).replace(b"\n", b"\r\n")
    return (
        b"From: wombatsender <wombatsender@example.net>\r\nSubject: zanzibarsubject\r\n"
        b"X-Note: numbatheader\r\n"
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\n' + of + b"\r\n"
        b"--x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + attachment
        + b"--x--\r\n"
    )


def test_grep_finds_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    with serving(data, log_level="debug") as server:
        with server.lmtp() as lmtp:
            lmtp.sendmail("wombatsender@example.net", [ADDRESS], mail(SECRETS["body"]))
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                lmtp.sendmail("wombatsender@example.net", ["nobody@example.org"], mail(SECRETS["body"]))
        imap = server.imap()
        assert imap.create("bilbymailbox")[0] == "OK"
        assert imap.append("bilbymailbox", "(dingokeyword)", "", mail(SECRETS["appended"]))[0] == "OK"
        imap.select("INBOX")
        assert imap.store("1", "+FLAGS", "(dingokeyword)")[0] == "OK"
        assert imap.search(None, "TEXT", "quokkabodyword") == ("OK", [b"1"])
        assert imap.search(None, "TEXT", "kookaburrasearch") == ("OK", [b""])
        assert imap.copy("1", "bilbymailbox")[0] == "OK"
        assert imap.copy("1", "nosuchbilbymailbox")[0] == "NO"
        assert imap.rename("bilbymailbox", "within/bilbymailbox")[0] == "OK"
        with pytest.raises(imaplib.IMAP4.error):  # what is wrong ends up in logs most easily
            server.imap(password=PASSWORD + "x")
        with pytest.raises(imaplib.IMAP4.error):
            imap.xatom("NONSENSE", "bilbymailbox", "kookaburrasearch")
        imap.logout()
        aerogramme("deliver", ADDRESS, "--data", str(data), stdin=mail(SECRETS["local"]))
        assert server.stop() == 0
    log = server.log.read_bytes()
    assert log, "the debug log is empty: this test would prove nothing"
    files = [file for file in data.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) > 10_000
    for place, content in [("the log", log)] + [(str(file), file.read_bytes()) for file in files]:
        for what, word in SECRETS.items():
            for form in forms(word):
                assert form not in content.lower(), f"the {what} is in {place}"


def forms(word: bytes) -> list[bytes]:
    """As it is, as UTF-16, as hex, and what base64 makes of it at each of the three places it can start."""
    encoded = [base64.b64encode(b"\0" * i + word)[4:-4].lower() for i in range(3)]
    return [word, word.decode().encode("utf-16-le"), word.hex().encode(), *encoded]
