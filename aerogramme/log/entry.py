"""Entries: what a replica appends to the log, and their stored form.

Operations are facts about messages of a mailbox (see state.py for what they add up to). Each is a batch: one
operation on 10,000 messages, not 10,000 operations. Ids are held and stored as runs.
"""

import hashlib
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types

from aerogramme.errors import Damaged
from aerogramme.log.clock import MAX_CLOCK
from aerogramme.log.columns import column_bytes, column_from
from aerogramme.log.ids import MAX_ID, MAX_REPLICA, Ids, Runs, distinct, each_once

KIND = "entry"  # of the sealed record; its name is the row key
PARTITION = "log"
VERSION = 1
MAX_UID = (1 << 32) - 1  # RFC 3501 §9 nz-number
LINK_SIZE = 16
NO_LINK = bytes(LINK_SIZE)  # before the first entry of a replica
# Entries in one another (Again): each has come ten minutes too late for whoever has written the next. Whoever
# writes parcels has no keys, and could nest them until the stack is full.
MAX_NESTED = 50


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


# --- stored form: docs/format.md. The clock, replica and seq are in the row key, which the seal binds.


def encode(entry: Entry) -> bytes:
    """The plain bytes of an entry."""
    return msgpack.packb(  # type: ignore[no-any-return]  # msgpack has no types
        [
            VERSION,
            entry.previous,
            [n for pair in sorted(entry.seen.items()) for n in pair],
            sorted(entry.silent),
            [n for pair in entry.holes for n in pair],
            entry.floor,
            [_encode_op(op) for op in entry.ops],
        ]
    )


def decode(key: str, plain: bytes) -> Entry:
    """The entry of a row. Raises Damaged for anything that `encode` does not write.

    It takes memory in proportion to `plain`: that of a parcel (docs/format.md) may be from anybody.
    """
    return _decode(key, plain, MAX_NESTED)


def _decode(key: str, plain: bytes, nested: int) -> Entry:
    clock, replica, seq = parse_key(key)
    try:
        version, previous, seen, silent, holes, floor, ops = msgpack.unpackb(plain, strict_map_key=True)
        if version != VERSION:
            raise Damaged("an entry of an unknown version")
        if type(previous) is not bytes or len(previous) != LINK_SIZE:
            raise Damaged("an entry does not decode")
        return Entry(
            clock,
            replica,
            seq,
            previous,
            tuple(_decode_op(op, nested) for op in ops),
            dict(_pairs(seen)),
            frozenset(_number(replica, MAX_REPLICA) for replica in silent),
            _pairs(holes),
            _number(floor, MAX_CLOCK),
        )
    except (ValueError, TypeError, LookupError, OverflowError, msgpack.UnpackException) as e:
        raise Damaged("an entry does not decode") from e


def said_again(entry: Entry) -> Iterator[Entry]:
    """The entries that one says again, and those that they do."""
    for op in entry.ops:
        if isinstance(op, Again):
            again = decode(op.key, op.plain)
            yield again
            yield from said_again(again)


def _pairs(flat: list[int]) -> tuple[tuple[int, int], ...]:
    pairs = tuple(zip(flat[::2], flat[1::2], strict=True))
    for replica, seq in pairs:
        _number(replica, MAX_REPLICA)
        _number(seq, 0xFFFFFFFF)
    return pairs


def _number(value: Any, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise Damaged("a number is out of range")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise Damaged("a text is not one")
    return value


def _optional(value: Any, kind: type) -> Any:
    if value is not None and type(value) is not kind:
        raise Damaged("an attribute has the wrong type")
    return value


def _names(values: Any) -> tuple[str, ...]:
    return tuple(_text(value) for value in values)


ADD, CLAIM, REMOVE, FLAGS, TOUCH, MAILBOX, SUBSCRIBE, AGAIN = range(1, 9)


def _encode_op(op: Op) -> list[Any]:
    match op:
        case Add():
            sets: dict[tuple[str, ...], int] = {}
            numbers: list[int] = []  # run lengths: set, count, …
            for flags in op.flags:
                number = sets.setdefault(flags, len(sets))
                if numbers and numbers[-2] == number:
                    numbers[-1] += 1
                else:
                    numbers += (number, 1)
            segment = op.segment and [
                bytes.fromhex(op.segment.name),
                Runs.of(op.segment.contents).wire(),
                op.segment.groups if op.segment.inline is None else dict(op.segment.inline),
            ]
            ids, uids, contents = Runs.of(op.ids), Runs.of(op.uids), Runs.of(op.contents)
            return [
                ADD,
                op.mailbox,
                ids.wire(),
                uids.wire(),
                column_bytes(op.dates),
                column_bytes(op.sizes),
                list(sets),
                numbers,
                None if contents == ids else contents.wire(),
                segment,
            ]
        case Claim():
            return [CLAIM, op.mailbox, Runs.of(op.ids).wire(), Runs.of(op.uids).wire()]
        case Remove():
            return [REMOVE, op.mailbox, Runs.of(op.ids).wire()]
        case Flags():
            return [FLAGS, op.mailbox, Runs.of(op.ids).wire(), op.add, op.remove]
        case Touch():
            return [TOUCH, op.mailbox, Runs.of(op.ids).wire()]
        case MailboxOp():
            imported = () if op.imported is None else (op.imported,)
            return [MAILBOX, op.mailbox, op.name, op.role, op.deleted, op.uidvalidity, *imported]
        case Subscribe():
            return [SUBSCRIBE, op.name, op.on]
        case Again():
            return [AGAIN, op.key, op.plain]


def _decode_op(fields: list[Any], nested: int) -> Op:
    kind, *rest = fields
    if kind == SUBSCRIBE:
        name, on = rest
        return Subscribe(_text(name), bool(on))
    if kind == AGAIN:
        key, plain = rest
        if not nested:
            raise Damaged("entries are in one another without end")
        _decode(_text(key), plain, nested - 1)
        return Again(key, plain)
    mailbox = _number(rest[0], MAX_ID)
    if kind == MAILBOX:
        _, name, role, deleted, uidvalidity, *imported = rest
        return MailboxOp(
            mailbox,
            _optional(name, str),
            _optional(role, str),
            _optional(deleted, bool),
            None if uidvalidity is None else _number(uidvalidity, MAX_UID),
            _imported(*imported) if imported else None,
        )
    ids = Runs.from_wire(rest[1])
    if kind == ADD:
        return _decode_add(mailbox, ids, *rest[2:])
    if kind == CLAIM:
        uids = _uids(rest[2])
        if len(rest) != 3 or len(uids) != len(ids):
            raise Damaged("a claim does not decode")
        return Claim(mailbox, ids, uids)
    if not distinct(ids):
        raise Damaged("an operation names a message twice")
    if kind == FLAGS:
        _, _, add, remove = rest
        return Flags(mailbox, ids, _names(add), _names(remove))
    if len(rest) != 2 or kind not in (REMOVE, TOUCH):
        raise Damaged("an operation of an unknown kind")
    return Remove(mailbox, ids) if kind == REMOVE else Touch(mailbox, ids)


def _imported(value: Any) -> int:
    return _number(value, MAX_UID + 1)


def _uids(flat: Any) -> Runs:
    uids = Runs.from_wire(flat, MAX_UID)
    if any(first < 1 for first, _ in uids.runs):
        raise Damaged("a UID is 0")
    return uids


def _decode_add(
    mailbox: int,
    ids: Runs,
    uids: Any,
    dates: bytes,
    sizes: bytes,
    sets: list[list[str]],
    numbers: list[int],
    contents: Any,
    segment: list[Any] | None,
) -> Add:
    of_dates, of_sizes = column_from("I", dates), column_from("I", sizes)
    if not len(ids) == len(of_dates) == len(of_sizes):  # before there is a flagset for each
        raise Damaged("the columns of an add differ in length")
    flagsets = [_names(flags) for flags in sets]
    flags: list[tuple[str, ...]] = []
    for number, count in zip(numbers[::2], numbers[1::2], strict=True):
        if len(flags) + _number(count, len(ids)) > len(ids):
            raise Damaged("an add has more flags than messages")
        flags += [flagsets[_number(number, len(flagsets) - 1)]] * count
    ref = None
    if segment is not None:
        name, of, groups = segment
        inline = groups if isinstance(groups, dict) else None
        if type(name) is not bytes or any(type(packed) is not bytes for packed in (inline or {}).values()):
            raise Damaged("a segment does not decode")
        ref = SegmentRef(name.hex(), Runs.from_wire(of), _names(groups), inline)
    return Add(
        mailbox,
        ids,
        _uids(uids),
        of_dates,
        of_sizes,
        flags,
        ids if contents is None else Runs.from_wire(contents),
        ref,
    )
