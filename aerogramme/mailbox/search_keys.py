"""What can be searched for: the tree that a SEARCH command (or any other caller) hands to a mailbox."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

STAR = 1 << 32
"""`*` in a set: "the largest number in use" (RFC 3501 §9, seq-number). Above every UID, which has 32 bits."""


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """A set of UIDs or sequence numbers as the client wrote it: inclusive ranges, each with first <= last.

    `*` is STAR, so `*:4` is (4, STAR). Not merged and not sorted: RFC 3501 §9 lets a set overlap itself.
    """

    ranges: tuple[tuple[int, int], ...]

    def resolve(self, largest: int) -> list[tuple[int, int]]:
        """The same set, `*` replaced by `largest`: sorted, disjoint, never adjacent ranges.

        `largest` is the largest number in use, 0 in an empty mailbox, where `*` names nothing.
        RFC 3501 §6.4.8: a range like 559:* always contains the largest number, even when it is below 559.
        """
        ranges = []
        for first, last in self.ranges:
            if last == STAR:
                if largest == 0:
                    continue
                low = largest if first == STAR else min(first, largest)
                high = largest if first == STAR else max(first, largest)
                ranges.append((low, high))
            else:
                ranges.append((first, last))
        return _merged(ranges)


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            if last > merged[-1][1]:
                merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


@dataclass(frozen=True, slots=True)
class All:
    """Every message."""


@dataclass(frozen=True, slots=True)
class And:
    """Messages that match every key; all messages when there is none."""

    keys: tuple["SearchKey", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Messages that match at least one of the keys."""

    keys: tuple["SearchKey", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Messages that do not match the key."""

    key: "SearchKey"


@dataclass(frozen=True, slots=True)
class Flag:
    """Messages with this flag or keyword: `\\Seen`, `$Forwarded`; compared without regard to case."""

    name: str


@dataclass(frozen=True, slots=True)
class Recent:
    """Messages that the session was the first to be told of. NEW is Recent and unseen, OLD is not Recent."""


@dataclass(frozen=True, slots=True)
class Seqs:
    """Messages by sequence number in the session's view."""

    numbers: SequenceSet


@dataclass(frozen=True, slots=True)
class Uids:
    """Messages by UID."""

    numbers: SequenceSet


@dataclass(frozen=True, slots=True)
class Field:
    """The decoded text of an envelope field contains `text` (a substring, without regard to case)."""

    field: Literal["from", "to", "cc", "bcc", "subject"]
    text: str


@dataclass(frozen=True, slots=True)
class Header:
    """A header field of this name is there and its text contains `text`; an empty text asks only for the
    field. `name` is lower case.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Body:
    """The decoded text of the body contains `text`."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """The decoded text of header or body contains `text`."""

    text: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """INTERNALDATE (its day, zone disregarded) in start <= day < stop; days since 1970-01-01, None is open.

    BEFORE is (None, d), ON is (d, d + 1), SINCE is (d, None).
    """

    start: int | None
    stop: int | None


@dataclass(frozen=True, slots=True)
class Sent:
    """The same for the day of the Date: header as it is written; a message without a date never matches."""

    start: int | None
    stop: int | None


@dataclass(frozen=True, slots=True)
class Larger:
    """RFC822.SIZE > octets."""

    octets: int


@dataclass(frozen=True, slots=True)
class Smaller:
    """RFC822.SIZE < octets."""

    octets: int


@dataclass(frozen=True, slots=True)
class ModSeq:
    """MODSEQ >= least (RFC 7162 §3.1.5). `flag` narrows it to changes of one flag ("\\Seen").

    A server that keeps one MODSEQ a message may disregard `flag`: RFC 7162 §3.1.5 permits exactly that.
    """

    least: int
    flag: str | None = None


SearchKey = (
    All
    | And
    | Or
    | Not
    | Flag
    | Recent
    | Seqs
    | Uids
    | Field
    | Header
    | Body
    | Text
    | Arrived
    | Sent
    | Larger
    | Smaller
    | ModSeq
)


def walk(key: SearchKey) -> Iterator[SearchKey]:
    """The key and every key in it, outermost first."""
    waiting = [key]
    while waiting:
        key = waiting.pop()
        yield key
        if isinstance(key, And | Or):
            waiting.extend(reversed(key.keys))
        elif isinstance(key, Not):
            waiting.append(key.key)
