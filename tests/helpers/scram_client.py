"""The client's side of SCRAM-SHA-256, written from RFC 5802 §3, §5 and §7 and nothing else: it shares no code
with the server.
"""

import hashlib
import hmac
import os
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
