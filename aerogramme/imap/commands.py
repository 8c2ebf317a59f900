"""One frozen dataclass for each IMAP command: what the grammar makes and the session carries out.

Mailbox names are decoded (modified UTF-7 or UTF-8) strings, INBOX in upper case; flags are strings as the
client spelled them, system flags in the RFC's spelling (`\\Seen`); numbers are ints; what goes back to the
client unchanged (tag, labels) is bytes.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from aerogramme.mailbox.search_keys import SearchKey, SequenceSet


@dataclass(frozen=True, slots=True)
class Command:
    """What every command has: the tag that its answer bears."""

    tag: bytes


# --- any state (RFC 3501 §6.1, RFC 2971) ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capability(Command):
    """RFC 3501 §6.1.1."""


@dataclass(frozen=True, slots=True)
class Noop(Command):
    """RFC 3501 §6.1.2."""


@dataclass(frozen=True, slots=True)
class Logout(Command):
    """RFC 3501 §6.1.3."""


@dataclass(frozen=True, slots=True)
class Id(Command):
    """RFC 2971 §3.1. The client's fields in its order, names in lower case; () for NIL."""

    fields: tuple[tuple[str, str | None], ...]


# --- not authenticated (RFC 3501 §6.2) --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartTls(Command):
    """RFC 3501 §6.2.1."""


@dataclass(frozen=True, slots=True)
class Authenticate(Command):
    """RFC 3501 §6.2.2, RFC 4959 (initial response; decoded; None when the client waits to be asked)."""

    mechanism: str  # upper case
    initial: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Login(Command):
    """RFC 3501 §6.2.3."""

    user: str
    password: bytes = field(repr=False)


# --- authenticated (RFC 3501 §6.3) ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Enable(Command):
    """RFC 5161 §3.1. Names in upper case, unknown ones too."""

    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QResync:
    """RFC 7162 §3.2.5: what the client knows of the mailbox that it selects."""

    uidvalidity: int
    modseq: int
    known_uids: SequenceSet | None = None  # never with `*`
    seq_match: tuple[SequenceSet, SequenceSet] | None = None  # (sequence numbers, their UIDs)


@dataclass(frozen=True, slots=True)
class Select(Command):
    """SELECT and EXAMINE: RFC 3501 §6.3.1 and §6.3.2, with the parameters of RFC 7162 §3.1.8 and §3.2.5."""

    mailbox: str
    read_only: bool = False  # EXAMINE
    condstore: bool = False
    qresync: QResync | None = None


@dataclass(frozen=True, slots=True)
class Create(Command):
    """RFC 3501 §6.3.3, RFC 6154 §3. `use`: special-use attributes, the known ones in the RFC's spelling."""

    mailbox: str
    use: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete(Command):
    """RFC 3501 §6.3.4."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Rename(Command):
    """RFC 3501 §6.3.5."""

    mailbox: str
    target: str


@dataclass(frozen=True, slots=True)
class Subscribe(Command):
    """SUBSCRIBE and UNSUBSCRIBE: RFC 3501 §6.3.6 and §6.3.7."""

    mailbox: str
    on: bool


StatusItem = Literal[
    "MESSAGES",
    "RECENT",
    "UIDNEXT",
    "UIDVALIDITY",
    "UNSEEN",
    "HIGHESTMODSEQ",
    "DELETED",
    "DELETED-STORAGE",
]
"""RFC 3501 §6.3.10, RFC 7162 §3.1.7 and RFC 9208 §4.1.4."""


@dataclass(frozen=True, slots=True)
class List(Command):
    """LIST: RFC 3501 §6.3.8, RFC 5258 §3, RFC 6154 §2, RFC 5819.

    `select` and `returns` hold option names in upper case: SUBSCRIBED, REMOTE, RECURSIVEMATCH, SPECIAL-USE
    and SUBSCRIBED, CHILDREN, SPECIAL-USE. `status` is what RETURN (STATUS (...)) asks for. `extended`: the
    client used any syntax of RFC 5258, so an empty pattern is no request for the delimiter, and CHILDINFO is
    understood.
    """

    reference: str
    patterns: tuple[str, ...]
    select: frozenset[str] = frozenset()
    returns: frozenset[str] = frozenset()
    status: tuple[StatusItem, ...] = ()
    extended: bool = False


@dataclass(frozen=True, slots=True)
class Lsub(Command):
    """RFC 3501 §6.3.9."""

    reference: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Namespace(Command):
    """RFC 2342 §5."""


@dataclass(frozen=True, slots=True)
class Status(Command):
    """RFC 3501 §6.3.10."""

    mailbox: str
    items: tuple[StatusItem, ...]


@dataclass(frozen=True, slots=True)
class GetQuota(Command):
    """RFC 9208 §4.1.1."""

    root: bytes


@dataclass(frozen=True, slots=True)
class GetQuotaRoot(Command):
    """RFC 9208 §4.1.2."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Append(Command):
    """RFC 3501 §6.3.11: the part before the message, whose octets follow from the framing in pieces.

    `date`: INTERNALDATE, unix seconds; None: now. `size`: the octets of the message.
    """

    mailbox: str
    flags: tuple[str, ...]
    date: int | None
    size: int


@dataclass(frozen=True, slots=True)
class Idle(Command):
    """RFC 2177 §3. The next line is DONE."""


# --- selected (RFC 3501 §6.4) -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check(Command):
    """RFC 3501 §6.4.1."""


@dataclass(frozen=True, slots=True)
class Close(Command):
    """RFC 3501 §6.4.2."""


@dataclass(frozen=True, slots=True)
class Unselect(Command):
    """RFC 3691 §2."""


@dataclass(frozen=True, slots=True)
class Expunge(Command):
    """RFC 3501 §6.4.3; UID EXPUNGE with a set: RFC 4315 §2.1."""

    uids: SequenceSet | None = None


@dataclass(frozen=True, slots=True)
class Search(Command):
    """SEARCH and UID SEARCH: RFC 3501 §6.4.4, RFC 7162 §3.1.5. `uid`: the answer names UIDs."""

    key: SearchKey
    uid: bool = False


class Att(Enum):
    """The FETCH items without arguments (RFC 3501 §6.4.5; MODSEQ: RFC 7162 §3.1.4.1); the value: the name."""

    UID = b"UID"
    FLAGS = b"FLAGS"
    INTERNALDATE = b"INTERNALDATE"
    SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"  # the structure without extension data
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    MODSEQ = b"MODSEQ"


@dataclass(frozen=True, slots=True)
class Section:
    """BODY[...], BODY.PEEK[...], RFC822, RFC822.HEADER and RFC822.TEXT: octets of the message.

    `path` are MIME part numbers; `what` is what of that part; `fields` are the names of HEADER.FIELDS, in
    lower case. `partial` is (first octet, greatest number of octets). `peek`: \\Seen is not set. `label` is
    how the answer names it, complete: b"BODY[1.2.MIME]<0>".
    """

    path: tuple[int, ...]
    what: Literal["", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"]
    fields: tuple[bytes, ...]
    partial: tuple[int, int] | None
    peek: bool
    label: bytes


FetchItem = Att | Section


@dataclass(frozen=True, slots=True)
class Fetch(Command):
    """FETCH and UID FETCH: RFC 3501 §6.4.5, RFC 7162 §3.1.4.1 and §3.2.6.

    `items` in the order asked, macros spread out, without repetitions; UID FETCH has UID among them (RFC 3501
    §6.4.8, put first when not asked for), and CHANGEDSINCE has MODSEQ.
    """

    numbers: SequenceSet
    items: tuple[FetchItem, ...]
    uid: bool = False
    changed_since: int | None = None  # 0 means all: iOS Mail 16.5 sends it
    vanished: bool = False  # only with uid and changed_since


@dataclass(frozen=True, slots=True)
class Store(Command):
    """STORE and UID STORE: RFC 3501 §6.4.6, RFC 7162 §3.1.3."""

    numbers: SequenceSet
    mode: Literal["+", "-", "="]
    flags: tuple[str, ...]
    silent: bool = False
    uid: bool = False
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class Copy(Command):
    """COPY and UID COPY: RFC 3501 §6.4.7."""

    numbers: SequenceSet
    mailbox: str
    uid: bool = False


@dataclass(frozen=True, slots=True)
class Move(Command):
    """MOVE and UID MOVE: RFC 6851 §3."""

    numbers: SequenceSet
    mailbox: str
    uid: bool = False
