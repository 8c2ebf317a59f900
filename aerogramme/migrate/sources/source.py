"""What every source gives, whatever the mail is stored in."""

from array import array
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aerogramme.migrate.sources.lineends import LineEnds


@dataclass(frozen=True, slots=True)
class Folder:
    """A mailbox of the source.

    name         as it is called here: levels with "/", INBOX in capitals (names.canonical)
    origin       as the source calls it, for people: a path, or a name
    uidvalidity  0 if the source has no UIDs that could be kept: they are 1, 2, 3 … then
    uidnext      above every UID that the source has ever given; 0 if it does not say
    role         special use (RFC 6154 §2), such as \\Sent; None if the source does not say
    subscribed   None if the source does not say
    """

    name: str
    origin: str
    uidvalidity: int = 0
    uidnext: int = 0
    role: str | None = None
    subscribed: bool | None = None


@dataclass(slots=True)
class Messages:
    """The messages of a folder, as columns in ascending order of UIDs.

    dates   INTERNALDATE in unix seconds
    sizes   octets of the letter as IMAP shows it (RFC822.SIZE); 0 if only reading it tells
    flags   system flags as RFC 3501 §2.3.2 writes them (never \\Recent), and keywords; one tuple for all that
            have the same
    flags_lost  the source has lost what the flags are now: messages that are new get what it says, and those
            of no other are changed
    """

    uids: "array[int]" = field(default_factory=lambda: array("I"))
    dates: "array[int]" = field(default_factory=lambda: array("q"))
    sizes: "array[int]" = field(default_factory=lambda: array("Q"))
    flags: list[tuple[str, ...]] = field(default_factory=list)
    flags_lost: bool = False

    def add(self, uid: int, date: int, size: int, flags: tuple[str, ...]) -> None:
        """The next message."""
        self.uids.append(uid)
        self.dates.append(date)
        self.sizes.append(size)
        self.flags.append(flags)

    def row_of(self, uid: int) -> int | None:
        """The row of a UID; None if there is no such message."""
        row = bisect_left(self.uids, uid)
        return row if row < len(self.uids) and self.uids[row] == uid else None

    def rows(self, uids: Iterable[int]) -> Iterator[tuple[int, int]]:
        """Those of these UIDs that are there, each with its row."""
        for uid in uids:
            if (row := self.row_of(uid)) is not None:
                yield uid, row


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing in the source that is not as it should be: where, what, and what was done about it.

    lost   a message, or a folder, could not be taken over because of it: the exit code says so
    """

    origin: str
    what: str
    done: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter that is being read: its octets in pieces, with CRLF at the ends of lines as IMAP shows it.

    Reading the pieces to the end is the caller's business, before the next letter. They may raise Unreadable.

    line_ends  what has put CRLF there, if anything has
    """

    uid: int
    pieces: AsyncIterator[bytes]
    line_ends: LineEnds | None = None

    @property
    def lines(self) -> int | None:
        """When all has been read: how many lines it has, if it is known that they all end with CRLF, and that
        no CR or LF stands elsewhere."""
        return None if self.line_ends is None else self.line_ends.lines


class Source(Protocol):
    """Raises Unreadable where nothing can be told at all, and notes a fault where something else can."""

    faults: list[Fault]

    async def folders(self) -> Sequence[Folder]:
        """All mailboxes, INBOX first. A level that only has others below it is not among them."""

    async def messages(self, folder: Folder) -> Messages:
        """What is in a folder now, without its letters."""

    def letters(self, folder: Folder, uids: Sequence[int]) -> AsyncGenerator[Letter | Fault, None]:
        """The letters of these UIDs (ascending), in this order. What cannot be read is a Fault in its place,
        and one that is gone by now is left out. Close it (aclosing)."""

    async def aclose(self) -> None:
        """The source is needed no more."""
