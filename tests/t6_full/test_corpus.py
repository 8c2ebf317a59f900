"""6,046 real mails, many of them broken, over ten LMTP connections while a client idles."""

import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.audit import audit_data
from tests.helpers.imap_grammar import responses
from tests.helpers.server import ADDRESS, PASSWORD, create_account, serving

CORPUS = Path(__file__).parents[2] / "corpus"
CONNECTIONS = 10


def lines_ended(mail: bytes) -> bytes:
    """DATA ends with CRLF: a mail without a last line end gets one (RFC 5321 §4.1.1.4)."""
    return mail if mail.endswith(b"\r\n") else mail + b"\r\n"


def deliver(port: int, mails: list[bytes]) -> None:
    """All of them over one connection, pipelined. smtplib would rewrite line ends, so by hand."""
    with socket.create_connection(("127.0.0.1", port), 60) as sock, sock.makefile("rb") as replies:

        def expect(code: bytes) -> None:
            while (line := replies.readline())[3:4] == b"-":
                pass
            assert line.startswith(code), line

        expect(b"220")
        sock.sendall(b"LHLO test\r\n")
        expect(b"250")
        for mail in mails:
            stuffed = (b"\r\n" + lines_ended(mail)).replace(b"\r\n.", b"\r\n..")[2:]
            sock.sendall(f"MAIL FROM:<sender@example.net>\r\nRCPT TO:<{ADDRESS}>\r\nDATA\r\n".encode())
            expect(b"250")
            expect(b"250")
            expect(b"354")
            sock.sendall(stuffed + b".\r\n")
            expect(b"250")
        sock.sendall(b"QUIT\r\n")
        expect(b"221")


class Client:
    """The least an IMAP client can be: sends a command, gives back all bytes of the answer."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 120)
        self.stream = self.sock.makefile("rb")
        assert self.stream.readline().startswith(b"* OK")
        self.command(f'LOGIN {ADDRESS} "{PASSWORD}"')

    def command(self, text: str) -> list[list[bytes]]:
        """Each untagged response as its pieces: text, literal, text, literal, …"""
        self.sock.sendall(f"t {text}\r\n".encode())
        answer = []
        while not (response := self.response())[0].startswith(b"t "):
            answer.append(response)
        assert response[0].startswith(b"t OK"), response
        return answer

    def response(self) -> list[bytes]:
        pieces = [self.stream.readline()]
        assert pieces[0], "the server closed the connection"
        while found := re.search(rb"\{(\d+)\}\r\n$", pieces[-1]):
            pieces.append(self.stream.read(int(found[1])))
            pieces.append(self.stream.readline())
        return pieces

    def close(self) -> None:
        self.stream.close()
        self.sock.close()


@pytest.mark.corpus
def test_every_real_mail_arrives_once_and_comes_back_byte_for_byte(tmp_path: Path) -> None:
    files = sorted(CORPUS.glob("*.eml"))
    if not files:
        pytest.skip("no corpus: make corpus")
    mails = [file.read_bytes() for file in files]
    create_account(tmp_path / "data")
    with serving(tmp_path / "data") as server:
        idler = Client(server.imap_port)
        idler.command("SELECT INBOX")
        idler.sock.sendall(b"i IDLE\r\n")
        assert idler.response()[0].startswith(b"+")
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda i: deliver(server.lmtp_port, mails[i::CONNECTIONS]), range(CONNECTIONS)))
        while idler.response() != [b"* %d EXISTS\r\n" % len(mails)]:
            pass
        idler.sock.sendall(b"DONE\r\n")
        while not idler.response()[0].startswith(b"i OK"):
            pass
        idler.close()

        reader = Client(server.imap_port)
        reader.command("SELECT INBOX")
        bodies = Counter[bytes]()
        for pieces in reader.command("FETCH 1:* (UID RFC822.SIZE BODY.PEEK[])"):
            size = re.search(rb"RFC822\.SIZE (\d+)", pieces[0])
            assert size and int(size[1]) == len(pieces[1])
            bodies[without_trace(pieces[1])] += 1
        assert bodies == Counter(map(lines_ended, mails))

        structures = reader.command("FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY)")
        assert len(structures) == len(mails)
        for pieces in structures:
            (fetched,) = responses(b"".join(pieces))
            assert list(fetched.data) == [b"ENVELOPE", b"BODYSTRUCTURE", b"BODY"]
        reader.close()
        assert server.stop() == 0
    assert audit_data(tmp_path / "data", ADDRESS) == []


def without_trace(message: bytes) -> bytes:
    """The message less the three header fields that LMTP put before it."""
    found = re.match(
        rb"Return-Path: <[^\r]*>\r\nDelivered-To: [^\r]*\r\nReceived: [^\r]*\r\n(?:[ \t][^\r]*\r\n)*", message
    )
    assert found, message[:300]
    return message[found.end() :]
