"""The records of a Dovecot index in memory: one column a field, and the changes that a log makes to them.

An index has messages in ascending order of UIDs: of each its flags, its keywords, and the records of
*extensions*, by which parts of Dovecot keep what they know (mdbox: where the letter is). An extension has a
number in its index, in the order of introduction; logs speak of it by that.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress
from struct import Struct
from typing import Literal

Order = Literal["little", "big"]

KEYWORDS = b"keywords"
HEADER = 120  # octets of the base header that all versions have
MAX_UID = 0xFFFFFFFE  # UIDNEXT is one more, and has 32 bits, too
CORRUPTED = 1  # header flag: Dovecot itself has given it up

_INDEX_ID, _UIDVALIDITY, _UIDNEXT, _LOG_SEQUENCE, LOG_TAIL, _LOG_HEAD = 16, 24, 28, 60, 64, 68
_MAX_COLUMN = 64  # octets of a record that are kept: what is read here has up to 24
_MAX_EXTENSIONS = 1000
_MAX_KEYWORDS = 4096  # of a mailbox; people have some dozens
_MAX_HEADERS = 32 << 20  # octets of the headers of all extensions: names of 100,000 mailboxes are a few MB
# A few octets of a log may change all messages, and a log has room for millions of such records. What they
# ask for is counted, in octets that are gone over, as far as that is not known from the length of the log:
# this is some ten seconds of it. True logs of large mailboxes come to a hundredth.
_MAX_WORK = 1 << 33
_A_STEP = 2000  # what one step of Python counts for


class Broken(Exception):
    """An index, or one record of a log, that cannot be as it is. The text says why."""


@dataclass(slots=True)
class Extension:
    """What one part of Dovecot keeps in an index.

    size     octets of its record of each message, as the index says
    records  `column` octets a message; empty if nobody wants them
    """

    name: bytes
    reset: int = 0
    header: bytearray = field(default_factory=bytearray)
    size: int = 0
    wanted: bool = False
    records: bytearray = field(default_factory=bytearray)

    @property
    def column(self) -> int:
        return min(self.size, _MAX_COLUMN) if self.wanted else 0

    def resize(self, size: int, messages: int) -> None:
        """Records have another size now: what is cut is gone, what is added is zero."""
        old, self.size = self.column, size
        new = self.column
        if old == new:
            return
        records = bytearray(new * messages)
        for at in range(min(old, new)):
            records[at::new] = self.records[at::old]
        self.records = records


@dataclass(slots=True)
class Records:
    """An index. `remove` only marks; `settled` is what is left.

    header    the base header: numbers in the order of octets of the machine that wrote it
    keywords  by name, in the order of introduction: message n has it if bit n % 8 of octet n // 8 is set
    """

    order: Order
    wanted: frozenset[bytes]
    header: bytearray = field(default_factory=lambda: bytearray(HEADER))
    uids: "array[int]" = field(default_factory=lambda: array("I"))
    flags: bytearray = field(default_factory=bytearray)
    keywords: dict[bytes, bytearray] = field(default_factory=dict)
    extensions: list[Extension] = field(default_factory=list)
    deleted: bool = False
    _removed: bytearray = field(default_factory=bytearray)
    _work: int = 0

    def spend(self, octets: int, steps: int = 1) -> None:
        """Counts what is to be gone over. Broken, when that is more than a true log asks for."""
        self._work += octets + steps * _A_STEP
        if self._work > _MAX_WORK:
            raise Broken("it asks for more work than any that Dovecot writes")

    def struct(self, fields: str) -> Struct:
        """Fields in the order of octets of this index, without padding."""
        return Struct((">" if self.order == "big" else "<") + fields)

    def _number(self, at: int) -> int:
        return int.from_bytes(self.header[at : at + 4], self.order)

    @property
    def index_id(self) -> int:
        """What an index and its logs have in common."""
        return self._number(_INDEX_ID)

    @property
    def uidvalidity(self) -> int:
        return self._number(_UIDVALIDITY)

    @property
    def uidnext(self) -> int:
        return self._number(_UIDNEXT)

    @uidnext.setter
    def uidnext(self, uid: int) -> None:
        self.header[_UIDNEXT : _UIDNEXT + 4] = uid.to_bytes(4, self.order)

    @property
    def log_sequence(self) -> int:
        """The number of the log file that goes on from here."""
        return self._number(_LOG_SEQUENCE)

    @property
    def log_head(self) -> int:
        """Where in that file it goes on, in octets."""
        return self._number(_LOG_HEAD)

    @property
    def log_tail(self) -> int:
        """What was asked for in the log before this is done; what was asked for after it, is to be done."""
        return self._number(LOG_TAIL)

    def extension(self, name: bytes) -> Extension | None:
        """An extension by its name; None if the index has none such."""
        return next((one for one in self.extensions if one.name == name), None)

    def introduce(self, name: bytes, reset: int, header: int, size: int) -> Extension:
        """A new extension. Broken, if there cannot be one."""
        if len(self.extensions) >= _MAX_EXTENSIONS or self.extension(name):
            raise Broken(f"extension {name!r} is there already, or one too many")
        self._make_room(name, header)
        made = Extension(name, reset, bytearray(header), wanted=name in self.wanted)
        self.resize(made, size)
        self.extensions.append(made)
        return made

    def resize(self, extension: Extension, size: int) -> None:
        """Its records have another size."""
        self.spend(len(self.uids) * min(size, _MAX_COLUMN) if extension.wanted else 0)
        extension.resize(size, len(self.uids))

    def grow_header(self, extension: Extension, header: int) -> None:
        """The header of an extension has another size. Broken, if it cannot."""
        self._make_room(extension.name, header - len(extension.header))
        self.spend(header)
        kept = extension.header[:header]
        extension.header = kept + bytes(header - len(kept))

    def _make_room(self, name: bytes, octets: int) -> None:
        """What is only claimed takes memory, too."""
        if sum(len(each.header) for each in self.extensions) + octets > _MAX_HEADERS:
            raise Broken(f"the header of extension {name!r} is too large")

    def load(self, uids: "array[int]", flags: bytes) -> None:
        """The messages of the index file, before any log. Broken, if they are in no order."""
        last = 0
        for uid in uids:
            if uid <= last:
                raise Broken(f"UID {uid} comes after UID {last}")
            last = uid
        if last > MAX_UID:
            raise Broken(f"UID {last} leaves no UIDNEXT")
        self.uids, self.flags, self._removed = uids, bytearray(flags), bytearray(len(uids))
        self.uidnext = max(self.uidnext, last + 1)

    def append(self, uid: int, flags: int) -> None:
        """A new message. Broken, if its UID is below one that was given already."""
        if uid < max(self.uidnext, 1) or uid > MAX_UID:
            raise Broken(f"new UID {uid} is below UIDNEXT {self.uidnext}")
        self.uids.append(uid)
        self.flags.append(flags)
        self._removed.append(0)
        for extension in self.extensions:
            extension.records.extend(bytes(extension.column))
        self.uidnext = uid + 1

    def between(self, first: int, last: int) -> tuple[int, int]:
        """The messages with UIDs from first to last: from the one number on, and before the other."""
        start = bisect_left(self.uids, first)
        return start, max(start, bisect_right(self.uids, last))

    def remove(self, first: int, last: int) -> None:
        start, end = self.between(first, last)
        self.spend(end - start)
        self._removed[start:end] = b"\1" * (end - start)

    def change_flags(self, first: int, last: int, add: int, remove: int) -> None:
        start, end = self.between(first, last)
        self.spend(end - start)
        self.flags[start:end] = self.flags[start:end].translate(_changed(add, remove))

    def introduce_keyword(self, name: bytes, bits: bytes = b"") -> None:
        """A keyword that there may be already. Broken, if there cannot be one."""
        if name not in self.keywords and len(self.keywords) >= _MAX_KEYWORDS:
            raise Broken("there are too many keywords")
        self.keywords.setdefault(name, bytearray(bits))

    def change_keyword(self, name: bytes, first: int, last: int, *, add: bool) -> None:
        """One that was introduced."""
        bits = self.keywords[name]
        start, end = self.between(first, last)
        if not add:
            end = min(end, 8 * len(bits))
        if start >= end:
            self.spend(0)
            return
        more = (end + 7) // 8 - len(bits)
        self.spend((end - start) // 8 + 64 * max(more, 0))  # what is new takes memory, too
        bits.extend(bytes(max(more, 0)))
        head, tail = start // 8, (end - 1) // 8
        masks = {head: 0xFF << start % 8 & 0xFF}
        masks[tail] = masks.get(tail, 0xFF) & 0xFF >> -end % 8
        for octet, mask in masks.items():
            bits[octet] = bits[octet] | mask if add else bits[octet] & ~mask
        if tail - head > 1:
            bits[head + 1 : tail] = (b"\xff" if add else b"\0") * (tail - head - 1)

    def write(self, extension: Extension, uid: int, data: bytes) -> None:
        """The record of an extension of one message, if there is such a message; the rest is zero."""
        at, end = self.between(uid, uid)
        if column := extension.column:
            for one in range(at, end):
                extension.records[one * column : (one + 1) * column] = data[:column].ljust(column, b"\0")

    def settled(self) -> None:
        """Forgets the messages that were removed."""
        if not any(self._removed):
            return
        left = self._removed.translate(bytes([1, *bytes(255)]))
        for extension in self.extensions:
            if column := extension.column:
                kept = bytearray(column * left.count(1))
                for at in range(column):
                    kept[at::column] = bytes(compress(extension.records[at::column], left))
                extension.records = kept
        for name, bits in self.keywords.items():
            self.spend(4 * 8 * len(bits))
            kept_bits = bytes(compress(_spread(bits, len(left)), left))
            self.keywords[name] = bytearray(packed(kept_bits))
        self.uids = array("I", compress(self.uids, left))
        self.flags = bytearray(compress(self.flags, left))
        self._removed = bytearray(len(self.uids))

    def column(self, extension: Extension, fields: str) -> Iterator[tuple[int, ...]]:
        """The records of an extension, one a message, as numbers. Broken, if they are smaller than that."""
        unpack = self.struct(fields)
        if extension.column < unpack.size:
            if not self.uids:
                return iter(())
            raise Broken(f"records of {extension.name!r} have {extension.size} octets, not {unpack.size}")
        rest = extension.column - unpack.size
        return self.struct(f"{fields}{rest}x").iter_unpack(extension.records)

    def keyword_chunks(self, most: int) -> Iterator[tuple[int, int, list[tuple[bytes, bytes]]]]:
        """The keywords that some message has, each with one octet a message: 1 or 0; for some messages at a
        time, from one row on and before another. `most`: how many, a multiple of 8."""
        for start in range(0, len(self.uids), most):
            end = min(start + most, len(self.uids))
            parts = [(name, bits[start // 8 : (end + 7) // 8]) for name, bits in self.keywords.items()]
            self.spend(0, len(parts))
            yield start, end, [(name, _spread(part, end - start)) for name, part in parts if any(part)]


def packed(each: bytes) -> bytes:
    """Bits of which number n is octet n: 1 or 0."""
    return int(each[::-1].translate(_DIGITS) or b"0", 2).to_bytes((len(each) + 7) // 8, "little")


def _spread(bits: bytes | bytearray, count: int) -> bytes:
    digits = f"{int.from_bytes(bits, 'little'):b}"[::-1].encode().translate(_VALUES)
    return digits[:count].ljust(count, b"\0")


@lru_cache(1024)
def _changed(add: int, remove: int) -> bytes:
    """What becomes of flags, each 0 to 255."""
    return bytes((old & ~remove & 0xFF) | add for old in range(256))


_DIGITS = b"0" + b"1" * 255
_VALUES = bytes(int(octet == 0x31) for octet in range(256))
