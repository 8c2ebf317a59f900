"""The client's side of SCRAM-SHA-256, written from RFC 5802 §3, §5 and §7 and nothing else: it shares no code
with the server.
"""

import hashlib
import hmac
import os
import socket
from base64 import b64decode, b64encode


class NotTheServer(Exception):
    """What claims to be the server does not know the secret, or answers something else."""


class ScramClient:
    """Send `first()`, then `final(challenge)`; then `verify` the last answer.

    `header`: the gs2-header: "n,,", "y,,", or "p=tls-server-end-point,," with the `binding` data of the
    channel as the client sees it.
    """

    def __init__(
        self, user: str, password: str, *, header: str = "n,,", binding: bytes = b"", nonce: str | None = None
    ) -> None:
        self.header, self.binding = header, binding
        self.user, self.password = user, password
        self.nonce = nonce or b64encode(os.urandom(15)).decode()
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self.nonce}"
        self.server_nonce = self.salt = ""
        self.iterations = 0
        self._expected = ""

    def first(self) -> bytes:
        return (self.header + self.bare).encode()

    def final(self, challenge: bytes) -> bytes:
        """The client-final-message. Remembers what the server must answer if it knows the secret too."""
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        assert list(fields) == ["r", "s", "i"], challenge
        self.server_nonce, self.salt, self.iterations = fields["r"], fields["s"], int(fields["i"])
        if not self.server_nonce.startswith(self.nonce) or self.server_nonce == self.nonce:
            raise NotTheServer("the nonce does not go on from ours")
        salted = hashlib.pbkdf2_hmac(
            "sha256", self.password.encode(), b64decode(self.salt), self.iterations, dklen=32
        )
        client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
        server_key = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
        stored_key = hashlib.sha256(client_key).digest()
        channel = b64encode(self.header.encode() + self.binding).decode()
        without_proof = f"c={channel},r={self.server_nonce}"
        message = ",".join([self.bare, challenge.decode(), without_proof]).encode()
        signature = hmac.new(stored_key, message, hashlib.sha256).digest()
        proof = (int.from_bytes(client_key, "big") ^ int.from_bytes(signature, "big")).to_bytes(32, "big")
        expected = hmac.new(server_key, message, hashlib.sha256).digest()
        self._expected = "v=" + b64encode(expected).decode()
        return f"{without_proof},p={b64encode(proof).decode()}".encode()

    def verify(self, last: bytes) -> None:
        """Checks the server-final-message; raises NotTheServer."""
        if not self._expected or not hmac.compare_digest(last, self._expected.encode()):
            raise NotTheServer(last.decode("utf-8", "replace"))


class Refused(Exception):
    """The server's tagged answer was not OK."""


class ImapConnection:
    """The least of an IMAP client: lines over a socket, plain or TLS."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.stream = sock.makefile("rb")

    def send(self, line: bytes) -> None:
        self.sock.sendall(line + b"\r\n")

    def line(self) -> bytes:
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError(line)
        return line[:-2]

    def command(self, text: bytes) -> list[bytes]:
        """All lines of the answer, the tagged one last."""
        self.send(b"t " + text)
        lines = [self.line()]
        while not lines[-1].startswith(b"t "):
            lines.append(self.line())
        return lines

    def challenge(self) -> bytes:
        """The next challenge; Refused if the tagged answer comes in its place."""
        line = self.line()
        if line.startswith(b"t "):
            raise Refused(line.decode())
        assert line.startswith(b"+ "), line
        return b64decode(line[2:], validate=True)

    def authenticate(self, client: ScramClient, mechanism: str, *, initial: bool = True) -> bytes:
        """RFC 3501 §6.2.2, RFC 4959 if `initial`; returns the tagged OK. Raises Refused, NotTheServer."""
        first = b64encode(client.first())
        if initial:
            self.send(b"t AUTHENTICATE " + mechanism.encode() + b" " + first)
        else:
            self.send(b"t AUTHENTICATE " + mechanism.encode())
            assert self.challenge() == b""
            self.send(first)
        self.send(b64encode(client.final(self.challenge())))
        client.verify(self.challenge())
        self.send(b"")
        tagged = self.line()
        if not tagged.startswith(b"t OK "):
            raise Refused(tagged.decode())
        return tagged

    def close(self) -> None:
        self.stream.close()
        self.sock.close()
