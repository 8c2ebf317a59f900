"""LMTP and IMAP by hand, for tests that count bytes: smtplib rewrites line ends, imaplib hides responses."""

import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tests.helpers.server import ADDRESS, PASSWORD


def lines_ended(mail: bytes) -> bytes:
    """DATA ends with CRLF: a mail without a last line end gets one (RFC 5321 §4.1.1.4)."""
    return mail if mail.endswith(b"\r\n") else mail + b"\r\n"


def deliver(port: int, mails: Iterable[bytes]) -> None:
    """All of them over one LMTP connection, pipelined."""
    with socket.create_connection(("127.0.0.1", port), 120) as sock, sock.makefile("rb") as replies:

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
    """The least an IMAP client can be, logged in: sends a command, gives back all bytes of the answer.

    `exists` is how many messages the selected mailbox has, as far as this client was told.
    """

    def __init__(self, port: int) -> None:
        self.exists = 0
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
        """The next response, whatever it is."""
        pieces = [self.stream.readline()]
        assert pieces[0], "the server closed the connection"
        while found := re.search(rb"\{(\d+)\}\r\n$", pieces[-1]):
            pieces.append(self.stream.read(int(found[1])))
            pieces.append(self.stream.readline())
        if told := re.fullmatch(rb"\* (\d+) (EXISTS|EXPUNGE)\r\n", pieces[0]):
            self.exists = int(told[1]) if told[2] == b"EXISTS" else self.exists - 1
        return pieces

    @contextmanager
    def idle(self) -> Iterator[None]:
        """IDLE around the block, in which `response` gives what comes."""
        self.sock.sendall(b"i IDLE\r\n")
        while not self.response()[0].startswith(b"+"):
            pass
        yield
        self.sock.sendall(b"DONE\r\n")
        while not (response := self.response())[0].startswith(b"i "):
            pass
        assert response[0].startswith(b"i OK"), response

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stream.close()
        self.sock.close()
