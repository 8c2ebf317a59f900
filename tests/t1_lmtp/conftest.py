"""A peer for the protocol: it feeds octets, decides like a small server, and keeps what came of them."""

import re
from dataclasses import dataclass, field

import pytest

from aerogramme.lmtp.events import (
    Envelope,
    MessageBegins,
    MessageData,
    MessageDropped,
    MessageEnds,
    RecipientAsked,
)
from aerogramme.lmtp.protocol import NO_SUCH_USER, LmtpProtocol

# Reply-line of RFC 5321 §4.2
REPLY = rb"(?:\d{3}-[ -~]*\r\n)*\d{3} [ -~]*\r\n"


@dataclass
class Peer:
    """Takes every recipient whose local part does not begin with "no", and every message."""

    max_size: int = 1000
    protocol: LmtpProtocol = field(init=False)
    output: bytes = b""
    messages: list[tuple[Envelope, bytes]] = field(default_factory=list)
    dropped: int = 0
    _envelope: Envelope | None = None
    _body: bytes = b""

    def __post_init__(self):
        self.protocol = LmtpProtocol("mx.example.org", max_size=self.max_size, max_recipients=100)
        self.output = self.protocol.take_output()

    def feed(self, data: bytes) -> bytes:
        """What is answered to these octets."""
        self.protocol.receive(data)
        while (event := self.protocol.next_event()) is not None:
            match event:
                case RecipientAsked(mailbox):
                    if mailbox.local.startswith("no"):
                        self.protocol.refuse(NO_SUCH_USER)
                    else:
                        self.protocol.accept()
                case MessageBegins(envelope):
                    assert self._envelope is None, "one message at a time"
                    assert envelope.recipients
                    self._envelope, self._body = envelope, b""
                case MessageData(octets):
                    assert self._envelope is not None
                    assert octets
                    self._body += octets
                    assert len(self._body) <= self.max_size
                case MessageEnds():
                    assert self._envelope is not None
                    self.messages.append((self._envelope, self._body))
                    self.protocol.finish([b"250 2.0.0 kept"] * len(self._envelope.recipients))
                    self._envelope = None
                case MessageDropped():
                    assert self._envelope is not None
                    self._envelope = None
                    self.dropped += 1
        answer = self.protocol.take_output()
        self.output += answer
        return answer

    def codes(self, data: bytes) -> list[str]:
        """The codes and enhanced codes of the answers to these octets."""
        answer = self.feed(data)
        return [
            match[1].decode().strip()
            for match in re.finditer(rb"^(\d{3}(?: \d\.\d\.\d+)?)(?![-\d])", answer, re.M)
        ]

    def greeted(self):
        self.feed(b"LHLO client.example\r\n")
        return self


@pytest.fixture
def peer():
    return Peer()


@pytest.fixture
def new_peer():
    return Peer
