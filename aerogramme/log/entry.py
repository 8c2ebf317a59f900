"""Entries: what a replica appends to the log. How they are stored is in entry_bytes.py.

Operations are facts about messages of a mailbox (see state.py for what they add up to). Each is a batch: one
operation on 10,000 messages, not 10,000 operations. Ids are held and stored as runs.
"""

import hashlib
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aerogramme.errors import Damaged
from aerogramme.log.ids import Ids, Runs, distinct, each_once

KIND = "entry"  # of the sealed record; its name is the row key
PARTITION = "log"
MAX_UID = (1 << 32) - 1  # RFC 3501 §9 nz-number
LINK_SIZE = 16
NO_LINK = bytes(LINK_SIZE)  # before the first entry of a replica


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """The digests that an entry brings: of which contents, and where they are (segment.py).

    name      32 hex digits
    contents  in the order of the segment
    groups    their names
    inline    the packed groups when the segment is small, else None: then each group is an object of its own
    packs     the packs that its digests name (32 hex digits each), and the octets of each; None as long as
              nobody has packed bodies of it. Only in checkpoints
    loose     where there are packs: the contents whose bodies are in none. Only in checkpoints
    sealed    the generation for which its objects were sealed again (records.py), 0 if they were not. Only in
              checkpoints
    """

    name: str
    contents: Ids
    groups: tuple[str, ...]
    inline: Mapping[str, bytes] | None = None
    packs: Mapping[str, int] | None = None
    loose: Ids = ()
    sealed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "contents", Runs.of(self.contents).compact())
        object.__setattr__(self, "loose", Runs.of(self.loose).compact())

    @property
    def single(self) -> Ids:
        """The contents whose bodies are objects of their own."""
        return self.contents if self.packs is None else self.loose


@dataclass(frozen=True, slots=True)
class Add:
    """New messages, each with the UID it claims.

    `dates` in seconds since 1970 and `sizes` in octets are clipped to 32 bits; `segment` has the digests of
    the contents that are new.
    """

    mailbox: int
    ids: Ids
    uids: Ids
    dates: Sequence[int]
    sizes: Sequence[int]
    flags: Sequence[tuple[str, ...]]
    contents: Ids
    segment: SegmentRef | None = None

    def __post_init__(self) -> None:
        for name in "ids", "uids", "contents":
            object.__setattr__(self, name, Runs.of(getattr(self, name)))
        for name in "dates", "sizes":
            values = getattr(self, name)
            if not isinstance(values, array):
                object.__setattr__(self, name, array("I", [min(max(v, 0), 0xFFFFFFFF) for v in values]))
        n = len(self.ids)
        if any(len(c) != n for c in (self.uids, self.dates, self.sizes, self.flags, self.contents)):
            raise ValueError("the columns of an Add differ in length")
        if not (distinct(self.ids) and distinct(self.uids)):
            raise ValueError("an Add names a message or a UID twice")


@dataclass(frozen=True, slots=True)
class Claim:
    """Another UID for each message."""

    mailbox: int
    ids: Ids
    uids: Ids

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", Runs.of(self.ids))
        object.__setattr__(self, "uids", Runs.of(self.uids))


@dataclass(frozen=True, slots=True)
class Remove:
    """These messages are gone, whatever else is said of them."""

    mailbox: int
    ids: Ids

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", each_once(self.ids))


@dataclass(frozen=True, slots=True)
class Flags:
    """Flags that go on and off. For each message and flag the latest clock wins."""

    mailbox: int
    ids: Ids
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", each_once(self.ids))


@dataclass(frozen=True, slots=True)
class Touch:
    """No fact, only a new MODSEQ."""

    mailbox: int
    ids: Ids

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", each_once(self.ids))


@dataclass(frozen=True, slots=True)
class MailboxOp:
    """Attributes of a mailbox; None leaves one alone. For each the latest clock wins. Role "" is none.

    imported  the mailbox was taken over from another mail store with its UIDVALIDITY, and UIDs below this
              are those that messages have, or had, there; no new message gets one of them. The greatest wins
    """

    mailbox: int
    name: str | None = None
    role: str | None = None
    deleted: bool | None = None
    uidvalidity: int | None = None
    imported: int | None = None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A name that is subscribed, or no longer. The latest clock wins."""

    name: str
    on: bool


@dataclass(frozen=True, slots=True)
class Again:
    """An entry that became visible so late that those who start from a checkpoint would not look for it
    (state.py): its row key and plain bytes."""

    key: str
    plain: bytes


MessageOp = Add | Claim | Remove | Flags | Touch
Op = MessageOp | MailboxOp | Subscribe | Again


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry.

    seq       1 for the first of a replica, then one more each time
    previous  `link` of the replica's previous entry
    seen      replica -> last seq that the writer had seen; of all replicas in the first entry of a replica,
              later only where it has changed since the replica's previous entry
    silent    those replicas in `seen` that had been silent for about a day; others may have forgotten them
    holes     (replica, seq) below those in `seen` that the writer had *not* seen; empty but for moments
    floor     of what is in a checkpoint, the writer had seen all that replicas which `seen` has never named
              wrote up to this clock
    """

    clock: int
    replica: int
    seq: int
    previous: bytes
    ops: tuple[Op, ...]
    seen: Mapping[int, int] = field(default_factory=dict)
    silent: frozenset[int] = frozenset()
    holes: tuple[tuple[int, int], ...] = ()
    floor: int = 0

    @property
    def key(self) -> str:
        """The row key: entries sort by clock."""
        return row_key(self.clock, self.replica, self.seq)


def row_key(clock: int, replica: int, seq: int) -> str:
    """16 hex digits of clock, 10 of replica, 8 of seq."""
    return f"{clock:016x}-{replica:010x}-{seq:08x}"


def spilled(key: str) -> str:
    """The object that holds an entry which is too large for its row."""
    return f"entry/{key}"


_KEY = re.compile(r"([0-7][0-9a-f]{15})-([0-9a-f]{10})-([0-9a-f]{8})(?:\.[0-9a-f]{8})?", re.ASCII)


def parse_key(key: str) -> tuple[int, int, int]:
    """clock, replica, seq, also of an entry that was sealed again (records.py); or Damaged."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise Damaged("a row of the log has an impossible key")
    clock, replica, seq = (int(part, 16) for part in match.groups())
    if not (clock and replica and seq):
        raise Damaged("a row of the log has an impossible key")
    return clock, replica, seq


def link(key: str, plain: bytes) -> bytes:
    """What the replica's next entry says of this one. Over the plain bytes: sealing again keeps the chain."""
    return hashlib.blake2b(plain, digest_size=LINK_SIZE, key=key.encode()).digest()
