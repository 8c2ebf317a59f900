"""One tree of errors. Each class says what a peer is told: IMAP response code, LMTP reply, exit code.

The text of an exception is for the person at the other end and gives away nothing about the server; what an
operator needs besides goes to the log. Exit codes are those of sysexits.h; `docs/exit-codes.md` lists them.
"""


class AerogrammeError(Exception):
    """The root. `hint` says what the user can do about it, in one line."""

    exit_code = 70
    imap_code: str | None = "SERVERBUG"  # RFC 5530 §3
    lmtp_reply = "451 4.3.0"  # what is our fault is temporary, never a bounce

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0].rstrip("."))
        self.hint = hint


class Unavailable(AerogrammeError):
    """The store cannot be reached now."""

    exit_code = 75
    imap_code = "UNAVAILABLE"


class Outdated(Unavailable):
    """What is known of the account is too old to go on with; it is opened anew by the next login."""


class Behind(AerogrammeError):
    """The partition has rows that the writer has not read. The journal reads them and tries again."""


class NotStored(AerogrammeError):
    """No such object in the store."""

    exit_code = 66


class Damaged(AerogrammeError):
    """What was read is not what was written: it does not open, or does not decode."""

    exit_code = 65
    imap_code = "CORRUPTION"


class UnknownGeneration(Damaged):
    """It is sealed with keys of a generation that is not in this keyring: a newer one may have it."""


class RolledBack(AerogrammeError):
    """The store has gone back in time: something is gone that was seen on this machine."""

    exit_code = 79
    imap_code = "CONTACTADMIN"


class AuthenticationFailed(AerogrammeError):
    """The password opens no slot of this account."""

    exit_code = 77
    imap_code = "AUTHENTICATIONFAILED"


class NoSuchUser(AerogrammeError):
    """No such address or account here."""

    exit_code = 67
    imap_code = "AUTHENTICATIONFAILED"  # a login does not tell which names exist
    lmtp_reply = "550 5.1.1"


class AlreadyExists(AerogrammeError):
    """It exists already."""

    exit_code = 73
    imap_code = "ALREADYEXISTS"


class NoSuchMailbox(AerogrammeError):
    """No such mailbox."""

    exit_code = 66
    imap_code = "NONEXISTENT"


class Forgotten(AerogrammeError):
    """The history of the account does not go back so far."""

    exit_code = 66
    imap_code = "NONEXISTENT"


class Refused(AerogrammeError):
    """It makes no sense, or is not allowed: a name that no mailbox can have, INBOX deleted, and the like."""

    exit_code = 65
    imap_code = "CANNOT"


class OverQuota(Refused):
    """There is no room left for it in the account."""

    imap_code = "OVERQUOTA"  # RFC 9208 §4.3.1
    lmtp_reply = "552 5.2.2"  # RFC 3463 §3.3: mailbox full


class LimitReached(Refused):
    """There are as many as there may be."""

    imap_code = "LIMIT"  # RFC 5530 §3


class UseRefused(Refused):
    """A mailbox cannot have this special use."""

    imap_code = "USEATTR"  # RFC 6154 §3


class TooLarge(AerogrammeError):
    """The message is larger than this server takes."""

    exit_code = 65
    imap_code = "TOOBIG"  # RFC 4469 §4.2
    lmtp_reply = "552 5.3.4"


class BadConfiguration(AerogrammeError):
    """The configuration or the users file cannot be used."""

    exit_code = 78
    imap_code = "CONTACTADMIN"


class BadSyntax(AerogrammeError):
    """The command cannot be understood. IMAP: BAD, under `tag` if there is one (RFC 3501 §7.1.3)."""

    exit_code = 76
    imap_code = None

    def __init__(self, message: str = "", *, hint: str = "", tag: bytes | None = None) -> None:
        super().__init__(message, hint=hint)
        self.tag = tag


class UnknownCharset(AerogrammeError):
    """No such charset here. Answered NO (RFC 3501 §6.4.4) under `tag`."""

    exit_code = 65
    imap_code = "BADCHARSET (US-ASCII UTF-8)"  # RFC 3501 §7.1
    tag: bytes | None = None


class Unreadable(AerogrammeError):
    """What another mail store holds cannot be read."""

    exit_code = 65
