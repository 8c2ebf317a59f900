"""Writes indexes and logs as Dovecot does, also what a real one cannot be asked for: those of other machines.

Written from the structures of Dovecot's lib-index, and not from the reader that is tested with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from struct import pack

INDEX_ID, UIDVALIDITY = 77, 1_700_000_001
EXTERNAL = 0x10000000
GUARD = 0xCD90


@dataclass(slots=True)
class Message:
    flags: int = 0
    keywords: set[str] = field(default_factory=set)
    record: bytes = bytes(8)  # of the extension "mdbox"


@dataclass(slots=True)
class Writer:
    """One index. `state` is what it says now; each change is appended to the log."""

    big: bool = False
    state: dict[int, Message] = field(default_factory=dict)
    uidnext: int = 1
    uidvalidity: int = 0
    sequence: int = 1
    log: bytearray = field(default_factory=bytearray)
    older: bytes = b""
    index: bytes = b""
    extensions: list[str] = field(default_factory=list)
    keywords: list[str] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)  # removed, as soon as Dovecot comes to it

    def __post_init__(self) -> None:
        self.log = bytearray(self._log_header(0, 0))
        self.set_header(24, UIDVALIDITY)
        self.uidvalidity = UIDVALIDITY

    def p(self, fields: str, *values: object) -> bytes:
        return pack((">" if self.big else "<") + fields, *values)

    def _log_header(self, previous: int, offset: int) -> bytes:
        numbers = self.p("HIIIIIQ", 40, INDEX_ID, self.sequence, previous, offset, 1_700_000_000, 1)
        return bytes([1, 3]) + numbers + bytes([not self.big]) + bytes(7)

    def record(self, kind: int, data: bytes, *, size: int | None = None) -> None:
        size = 8 + len(data) if size is None else size
        number = size >> 2
        octets = bytes(0x80 | number >> shift & 0x7F for shift in (21, 14, 7, 0))
        self.log += octets + self.p("I", kind) + data

    def rotate(self) -> None:
        """A new log begins. The index is always written before that."""
        self.write_index()
        self.older = bytes(self.log)
        previous, offset = self.sequence, len(self.log)
        self.sequence += 1
        self.log = bytearray(self._log_header(previous, offset))
        self.index = self._index(len(self.older), self.sequence - 1)

    def write_index(self) -> None:
        self.index = self._index(len(self.log), self.sequence)

    def append(self, uid: int, flags: int) -> None:
        self.record(0x2 | EXTERNAL, self.p("IB3x", uid, flags))
        self.state[uid] = Message(flags)
        self.uidnext = uid + 1

    def expunge(self, first: int, last: int, *, guid: bool = False) -> None:
        if guid:
            gone = [uid for uid in self.state if first <= uid <= last]
            data = b"".join(self.p("I", uid) + bytes(range(16)) for uid in gone)
            self.record(0x2000 | GUARD | EXTERNAL, data)
        else:
            self.record(0x1 | GUARD | EXTERNAL, self.p("II", first, last))
        self._forget(first, last)

    def ask_to_expunge(self, uid: int) -> None:
        self.record(0x2000 | GUARD, self.p("I", uid) + bytes(16))
        self.asked.append(uid)

    def done_with_asked(self) -> None:
        """All that was asked for is done, or was refused: the tail of the log is here."""
        self.set_header(64, len(self.log) + 16)
        self.asked.clear()

    def _forget(self, first: int, last: int) -> None:
        for uid in [uid for uid in self.state if first <= uid <= last]:
            del self.state[uid]

    def flags(self, first: int, last: int, add: int, remove: int) -> None:
        self.record(0x4, self.p("IIBBBx", first, last, add, remove, 0))
        for message in self._between(first, last):
            message.flags = message.flags & ~remove | add

    def keyword(self, name: str, ranges: Iterable[tuple[int, int]], *, add: bool) -> None:
        octets = name.encode()
        filled = octets + bytes(-len(octets) % 4)
        pairs = b"".join(self.p("II", *pair) for pair in ranges)
        self.record(0x400, self.p("BxH", 0 if add else 1, len(octets)) + filled + pairs)
        if name not in self.keywords:
            self.keywords.append(name)
        if "keywords" not in self.extensions:
            self.extensions.append("keywords")
        for first, last in ranges:
            for message in self._between(first, last):
                (message.keywords.add if add else message.keywords.discard)(name)

    def no_keywords(self, first: int, last: int) -> None:
        self.record(0x800, self.p("II", first, last))
        for message in self._between(first, last):
            message.keywords.clear()

    def introduce(self, name: str, size: int = 8) -> None:
        """What comes next is about this extension."""
        number, octets = 0xFFFFFFFF, b""
        if name in self.extensions:
            number = self.extensions.index(name)
        else:
            self.extensions.append(name)
            octets = name.encode()
        data = self.p("IIIHHHH", number, 0, 8, size, 4, 1, len(octets))
        self.record(0x40, data + octets + bytes(-len(octets) % 4))

    def records(self, values: dict[int, bytes]) -> None:
        """Records of the extension that was introduced last; "mdbox" is the one that `state` knows."""
        self.record(0x200, b"".join(self.p("I", uid) + value for uid, value in values.items()))
        for uid, value in values.items():
            if uid in self.state:
                self.state[uid].record = value

    def set_header(self, offset: int, value: int) -> None:
        self.record(0x20 | EXTERNAL, self.p("HHI", offset, 4, value))

    def _between(self, first: int, last: int) -> list[Message]:
        return [message for uid, message in self.state.items() if first <= uid <= last]

    def expected(self) -> dict[int, Message]:
        """What a reader should find."""
        return {uid: message for uid, message in self.state.items() if uid not in self.asked}

    def _index(self, head: int, sequence: int) -> bytes:
        width = (len(self.keywords) + 7) // 8
        layout, offset = b"", 8
        columns = []
        for name in self.extensions:
            size = {"keywords": width, "mdbox": 8}.get(name, 4)
            header = self._keyword_header() if name == "keywords" else bytes(8)
            octets = name.encode()
            layout += self.p("IIHHHH", len(header), 0, offset, size, 1, len(octets)) + octets
            layout += bytes(-len(layout) % 8) + header + bytes(-len(header) % 8)
            columns.append((name, size))
            offset += size
        size = offset + -offset % 4
        messages = b""
        for uid, message in self.state.items():
            row = self.p("IB3x", uid, message.flags)
            for name, length in columns:
                bits = sum(1 << n for n, keyword in enumerate(self.keywords) if keyword in message.keywords)
                values = {"keywords": bits.to_bytes(length, "little"), "mdbox": message.record}
                row += values.get(name, bytes(length))
            messages += row.ljust(size, b"\0")
        numbers = [INDEX_ID, 0, self.uidvalidity, self.uidnext, len(self.state), 0, 0, 0, 1, 1, 1]
        header = bytes([7, 3]) + self.p("HII", 120, 120 + len(layout), size) + bytes([not self.big, 0, 0, 0])
        header += self.p("11I", *numbers) + self.p("III", sequence, head, head)
        return header.ljust(120, b"\0") + layout + messages

    def _keyword_header(self) -> bytes:
        names, places = b"", b""
        for name in self.keywords:
            places += self.p("II", 0, len(names))
            names += name.encode() + b"\0"
        return self.p("I", len(self.keywords)) + places + names
