"""Another reader of what log/ and mailbox/ store, once it is opened: written from docs/format.md alone.

Each function takes the plain bytes of a form and gives what they say as values of JSON.
"""

import struct
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import zstandard


def u32(column: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(column) // 4}I", column))


def u64(column: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(column) // 8}Q", column))


def planes(stored: bytes, size: int) -> list[int]:
    count = len(stored) // size
    assert len(stored) == count * size
    return [int.from_bytes(stored[at::count], "little") for at in range(count)]


def steps(stored: bytes, size: int) -> list[int]:
    numbers, last = [], 0
    for step in planes(stored, size):
        last = (last + step) % (1 << 8 * size)
        numbers.append(last)
    return numbers


def runs(flat: list[int]) -> list[int]:
    numbers, end = [], 0
    for distance, count in zip(flat[::2], flat[1::2], strict=True):
        first = (end + distance) % (1 << 64)
        numbers += range(first, first + count)
        end = first + count
    return numbers


def pairs(flat: list[int]) -> list[list[int]]:
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def segment_ref(listed: list[Any] | None) -> dict[str, Any] | None:
    if listed is None:
        return None
    name, contents, groups, *_ = listed
    of = None if contents is None else runs(contents)
    return {"name": name.hex(), "contents": of, "groups": list(groups)}


def operation(op: list[Any]) -> dict[str, Any]:
    match op:
        case [1, mailbox, ids, uids, dates, sizes, sets, numbers, contents, segment]:
            flags = [sets[number] for number, count in pairs(numbers) for _ in range(count)]
            return {
                "add": mailbox,
                "ids": runs(ids),
                "uids": runs(uids),
                "dates": u32(dates),
                "sizes": u32(sizes),
                "flags": flags,
                "contents": runs(ids if contents is None else contents),
                "segment": segment_ref(segment),
            }
        case [2, mailbox, ids, uids]:
            return {"claim": mailbox, "ids": runs(ids), "uids": runs(uids)}
        case [3, mailbox, ids]:
            return {"remove": mailbox, "ids": runs(ids)}
        case [4, mailbox, ids, on, off]:
            return {"flags": mailbox, "ids": runs(ids), "on": on, "off": off}
        case [5, mailbox, ids]:
            return {"touch": mailbox, "ids": runs(ids)}
        case [6, mailbox, name, role, deleted, uidvalidity, *imported]:
            said = {"name": name, "role": role, "deleted": deleted, "uidvalidity": uidvalidity}
            return {"mailbox": mailbox, **said, **({"imported": imported[0]} if imported else {})}
        case [7, name, on]:
            return {"subscribe": name, "on": on}
        case [8, key, plain]:
            return {"again": key, "entry": entry(plain)}
    raise AssertionError(op)


def entry(plain: bytes) -> dict[str, Any]:
    version, previous, seen, silent, holes, floor, ops = msgpack.unpackb(plain)
    assert version == 1
    return {
        "previous": previous.hex(),
        "seen": pairs(seen),
        "silent": silent,
        "holes": pairs(holes),
        "floor": floor,
        "ops": [operation(op) for op in ops],
    }


def segment_group(plain: bytes) -> dict[str, Any]:
    version, contents, fields = msgpack.unpackb(zstandard.decompress(plain))
    assert version == 2
    said: dict[str, Any] = {"": runs(contents)}
    for name, lengths, joined in fields:
        values, at = [], 0
        for length in u32(lengths):
            values.append(joined[at : at + length].hex())
            at += length
        assert at == len(joined)
        said[name] = values
    return said


def rows(packed: bytes) -> dict[str, Any]:
    version, uids, *columns, facts = msgpack.unpackb(packed)
    assert version == 2
    ids, modseqs = steps(columns[0], 8), steps(columns[1], 8)
    sets, places, sizes, dates, contents = columns[2:]

    def known(flag: str, rows: bytes, before: bytes) -> list[Any]:
        of = steps(rows, 4)
        last = [modseqs[row] << 1 | 1 for row in of]
        values = [(a - b) % (1 << 64) for a, b in zip(last, planes(before, 8), strict=True)]
        by_id = sorted(zip([ids[row] for row in of], values, strict=True))
        return [flag, [message for message, _ in by_id], [value for _, value in by_id]]

    return {
        "uids": steps(uids, 4),
        "ids": ids,
        "modseqs": modseqs,
        "flags": [sets[place] for place in planes(places, 4)],
        "sizes": planes(sizes, 4),
        "dates": steps(dates, 4),
        "contents": [(a + b) % (1 << 64) for a, b in zip(ids, steps(contents, 8), strict=True)],
        "facts": [known(*each) for each in facts],
    }


def piece(plain: bytes) -> dict[str, Any]:
    return rows(zstandard.decompress(plain))


def bundle(plain: bytes) -> dict[str, Any]:
    version, listed = msgpack.unpackb(zstandard.decompress(plain))
    assert version == 1
    return {name.hex(): runs(contents) for name, contents in listed}


def checkpoint(plain: bytes) -> dict[str, Any]:
    """Some of it: what is covered, the mailboxes, and what is named."""
    version, *fields, segments, bundles, damaged, cut, lost = msgpack.unpackb(zstandard.decompress(plain))
    assert version == 3
    clock, floor, trails, mailboxes, subscriptions, flags, last = fields
    return {
        "clock": clock,
        "floor": floor,
        "trails": [[replica, first, u64(clocks), at] for replica, first, clocks, at, _ in trails],
        "mailboxes": [
            {
                "mailbox": mailbox,
                "attributes": attributes,
                "top": top,
                "highestmodseq": highest,
                "pieces": pairs(pieces),
                "rows": None if inline is None else rows(inline),
                "tombs": [u64(tombs[0]), u32(tombs[1]), u64(tombs[2])],
                "claims": claims,
            }
            for mailbox, attributes, top, highest, _, _, pieces, inline, tombs, claims, _, _ in mailboxes
        ],
        "subscriptions": subscriptions,
        "flags": flags,
        "uidvalidity": last,
        "segments": [segment_ref(each) for each in segments],
        "bundles": bundles,
        "damaged": damaged,
        "cut": pairs(cut),
        "lost": pairs(lost),
    }


def letter(plain: bytes) -> dict[str, Any]:
    version, record, arrival, sender, recipient, detail = msgpack.unpackb(plain)
    assert version == 1
    return {
        "record": body_record(record),
        "arrival": arrival,
        "sender": sender,
        "recipient": recipient,
        "detail": detail,
    }


def body_record(record: bytes) -> dict[str, Any]:
    said: dict[str, Any] = {
        "key": record[:32].hex(),
        "sealed": int.from_bytes(record[32:40], "big"),
        "size": int.from_bytes(record[40:48], "big"),
    }
    if len(record) == 72:
        said |= {"pack": record[48:64].hex(), "offset": int.from_bytes(record[64:], "big")}
    else:
        assert len(record) == 48
    return said


def use(plain: bytes) -> dict[str, Any]:
    version, day = msgpack.unpackb(plain)
    assert version == 1
    return {"day": day}
