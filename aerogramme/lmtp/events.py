"""What the protocol tells the server: the envelope, and what needs a decision or a place to be stored."""

from dataclasses import dataclass, field

from aerogramme.lmtp.address import Mailbox


@dataclass(slots=True)
class Envelope:
    """What MAIL and RCPT have told. `sender` is None for the null path, `size` None if it was not told."""

    sender: Mailbox | None
    size: int | None = None
    smtputf8: bool = False
    recipients: list[Mailbox] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RecipientAsked:
    """RCPT. The next call is `accept()` or `refuse(reply)`. `size` is what MAIL has told of the message, or
    None."""

    mailbox: Mailbox
    size: int | None = None


@dataclass(frozen=True, slots=True)
class MessageBegins:
    """The first octets of a message may follow, to be kept for every recipient of the envelope."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class MessageData:
    """The next octets of the message, lines ending with CR LF (see lineends)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class MessageEnds:
    """The message is whole. The next call is `finish(replies)`, a reply for each recipient in order."""


@dataclass(frozen=True, slots=True)
class MessageDropped:
    """A message that has begun will not become whole; nothing of it may be delivered."""


Event = RecipientAsked | MessageBegins | MessageData | MessageEnds | MessageDropped
