"""Entries as they are stored (docs/format.md): their plain bytes, before they are sealed.

Clock, replica and seq are in the row key, which the seal binds.
"""

from collections.abc import Iterator
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types

from aerogramme.errors import Damaged
from aerogramme.log.clock import MAX_CLOCK
from aerogramme.log.columns import column_bytes, column_from
from aerogramme.log.entry import (
    LINK_SIZE,
    MAX_UID,
    Add,
    Again,
    Claim,
    Entry,
    Flags,
    MailboxOp,
    Op,
    Remove,
    SegmentRef,
    Subscribe,
    Touch,
    parse_key,
)
from aerogramme.log.ids import MAX_ID, MAX_REPLICA, Runs, distinct

VERSION = 1
# Entries in one another (Again): each has come ten minutes too late for whoever has written the next. Whoever
# writes parcels has no keys, and could nest them until the stack is full.
MAX_NESTED = 50


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
