"""Dovecot's transaction logs: what happened to an index since its file was written.

A log begins with a header; then come records: a header of 8 octets (size, as 4 times 7 bits; type), and data
that its type tells. Numbers are in the order of octets of the machine, fields are filled up to 4 octets. The
index file names the log and the offset from which the log is newer than it. A record that makes no sense is
left out, as Dovecot does, and said.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from struct import Struct, error

from aerogramme.migrate.sources.dovecot.records import KEYWORDS, LOG_TAIL, Broken, Extension, Order, Records

EXTERNAL = 0x10000000  # it has happened; without this an expunge is only asked for
_TYPE = 0x0FFFFFFF

_EXPUNGE_GUARD = 0xCD90  # lies in the type of every true expunge, so that no damage looks like one
_EXPUNGE, _EXPUNGE_GUID = 0x1 | _EXPUNGE_GUARD, 0x2000 | _EXPUNGE_GUARD
_APPEND, _FLAGS, _HEADER = 0x2, 0x4, 0x20
_INTRO, _RESET, _EXTENSION_HEADER, _EXTENSION_RECORD = 0x40, 0x80, 0x100, 0x200
_KEYWORD, _NO_KEYWORDS, _INCREASE, _EXTENSION_HEADER_32 = 0x400, 0x800, 0x1000, 0x10000
_DELETED, _UNDELETED, _BOUNDARY = 0x20000, 0x40000, 0x80000
# Changes that say nothing of messages here: UIDs of old (1.x), MODSEQs, attributes of mailboxes.
_OTHERS = frozenset((0x4000, 0x8000, 0x100000))

_MIN_HEADER = 24
_NO_SHRINK = 1
_MAX_SAID = 10  # broken records of one log that are told one by one


@dataclass(frozen=True, slots=True)
class Log:
    """A log file. previous: the number of the one before; 0 if the index begins anew with this one."""

    index_id: int
    sequence: int
    previous: int
    start: int
    order: Order
    data: bytes


@dataclass(slots=True)
class Replay:
    """What applying logs to an index has come to.

    torn   the last log ends within a record: Dovecot is writing it, or it was cut
    wrong  what made no sense
    """

    records: Records
    torn: bool = False
    wrong: list[str] = field(default_factory=list)
    _current: Extension | None = None
    _ignored: bool = True  # the extension was reset since: what follows is about what it was before
    _size: int = 0  # octets of a record of the current extension, as this log says
    _asked: list[tuple[int, int, int]] = field(default_factory=list)
    _tail: int = 0

    def apply(self, log: Log, start: int) -> None:
        """All of a log from an offset on. The logs come in their order, without gaps."""
        self._asked = []  # of an earlier log: a log is only left when all that is asked for is done
        self._tail = self.records.log_tail if log.sequence == self.records.log_sequence else 0
        self._current, self._ignored = None, True
        self.torn = False
        broken = 0
        for at, kind, data in self._transactions(log, start):
            try:
                self._change(at, kind, data)
            except (Broken, error) as why:  # struct.error: the data is shorter than its type needs
                broken += 1
                if broken <= _MAX_SAID:
                    self.wrong.append(f"log {log.sequence}, offset {at}: {why}")
        if broken > _MAX_SAID:
            self.wrong.append(f"log {log.sequence}: {broken} such records in all")

    def finish(self) -> None:
        """Does what is still asked for, as Dovecot does when it opens the mailbox next."""
        try:
            for at, first, last in self._asked:
                if at >= self._tail:
                    self.records.remove(first, last)
            self.records.settled()
        except Broken as why:  # what is removed stays, for want of an end
            self.wrong.append(str(why))

    def _transactions(self, log: Log, at: int) -> Iterator[tuple[int, int, bytes]]:
        kinds = Struct(">I" if log.order == "big" else "<I")
        while len(log.data) - at >= 8:
            size = _size(log.data[at : at + 4])
            if size == 0:
                break  # its size is written last
            if size < 8:
                self.wrong.append(f"log {log.sequence}, offset {at}: a record of {size} octets")
                return
            if at + size > len(log.data):
                break
            (kind,) = kinds.unpack_from(log.data, at + 4)
            data = log.data[at + 8 : at + size]
            if kind & _TYPE == _BOUNDARY and at + int.from_bytes(data[:4], log.order) > len(log.data):
                break  # the records that belong together are not all there yet
            yield at, kind, data
            at += size
        self.torn = at < len(log.data)

    def _change(self, at: int, kind: int, data: bytes) -> None:
        records = self.records
        external, kind = bool(kind & EXTERNAL), kind & _TYPE
        if kind == _APPEND:
            for uid, flags in records.struct("IB3x").iter_unpack(data):
                records.append(uid, flags)
        elif kind == _EXPUNGE:
            self._expunge(at, external, records.struct("II").iter_unpack(data))
        elif kind == _EXPUNGE_GUID:
            uids = records.struct("I16x").iter_unpack(data)
            self._expunge(at, external, ((uid, uid) for (uid,) in uids))
        elif kind == _FLAGS:
            for first, last, add, remove in records.struct("IIBB2x").iter_unpack(data):
                records.change_flags(first, last, add, remove)
        elif kind == _HEADER:
            self._change_header(external, data)
        elif kind == _KEYWORD:
            self._change_keyword(data)
        elif kind == _NO_KEYWORDS:
            for first, last in records.struct("II").iter_unpack(data):
                for name in records.keywords:
                    records.change_keyword(name, first, last, add=False)
        elif kind in (_DELETED, _UNDELETED):
            if external:
                records.deleted = kind == _DELETED
        elif kind in (_INTRO, _RESET, _EXTENSION_HEADER, _EXTENSION_HEADER_32, _EXTENSION_RECORD, _INCREASE):
            self._change_extension(kind, data)
        elif kind != _BOUNDARY and kind not in _OTHERS:
            raise Broken(f"type {kind:#x} is unknown")

    def _expunge(self, at: int, external: bool, ranges: Iterable[tuple[int, ...]]) -> None:
        for first, last in ranges:
            if external:
                self.records.remove(first, last)
            else:
                self.records.spend(0, 10)  # it takes memory, too
                self._asked.append((at, first, last))

    def _change_header(self, external: bool, data: bytes) -> None:
        records = self.records
        for offset, new in _parts(records.struct("HH"), data):
            if offset + len(new) > len(records.header):
                continue  # what newer versions have added
            uidnext = records.uidnext
            records.header[offset : offset + len(new)] = new
            records.uidnext = max(records.uidnext, uidnext)  # it never falls
            if external and offset <= LOG_TAIL < LOG_TAIL + 4 <= offset + len(new):
                self._tail = max(self._tail, records.log_tail)

    def _change_keyword(self, data: bytes) -> None:
        records = self.records
        add, length = records.struct("BxH").unpack_from(data)
        name = data[4 : 4 + length]
        if not name or len(name) < length or add > 1:
            raise Broken("a keyword without name or meaning")
        if records.extension(KEYWORDS) is None:
            records.introduce(KEYWORDS, 0, 0, 0)  # it gets a number like all others, but no introduction
        records.introduce_keyword(name)
        ranges = data[_filled(4 + length) :]
        for first, last in records.struct("II").iter_unpack(ranges[: len(ranges) // 8 * 8]):
            records.change_keyword(name, first, last, add=add == 0)

    def _change_extension(self, kind: int, data: bytes) -> None:
        records = self.records
        if kind == _INTRO:
            self._introduce(data)
            return
        extension = self._current
        if extension is None:
            raise Broken("a change of no extension")
        if kind == _RESET:
            reset, keep = records.struct("IB").unpack(data[:5].ljust(5, b"\0"))
            extension.reset = reset
            if not keep:
                records.spend(len(extension.header) + len(extension.records))
                extension.header = bytearray(len(extension.header))
                extension.records = bytearray(len(extension.records))
        elif self._ignored:
            return
        elif kind in (_EXTENSION_HEADER, _EXTENSION_HEADER_32):
            for offset, new in _parts(records.struct("HH" if kind == _EXTENSION_HEADER else "II"), data):
                if offset + len(new) > len(extension.header):
                    raise Broken(f"a change behind the header of {extension.name!r}")
                extension.header[offset : offset + len(new)] = new
        elif kind == _EXTENSION_RECORD:
            if extension.wanted:
                fields = records.struct(f"I{self._size}s{_filled(self._size) - self._size}x")
                for uid, new in fields.iter_unpack(data[: len(data) // fields.size * fields.size]):
                    records.write(extension, uid, new)
        elif extension.wanted:
            for uid, by in records.struct("Ii").iter_unpack(data):
                self._increase(extension, uid, by)

    def _increase(self, extension: Extension, uid: int, by: int) -> None:
        at, end = self.records.between(uid, uid)
        if at == end:
            return
        size = self._size
        old = extension.records[at * extension.column :][: min(size, extension.column)]
        new = int.from_bytes(old, self.records.order) + by
        if size not in (1, 2, 4, 8) or not 0 <= new < 1 << 8 * size:
            raise Broken(f"a number of {extension.name!r} becomes {new}")
        self.records.write(extension, uid, new.to_bytes(size, self.records.order))

    def _introduce(self, data: bytes) -> None:
        records = self.records
        fields = records.struct("IIIHHHH")
        at = 0
        while len(data) - at >= fields.size:
            self._current, self._ignored = None, True
            records.spend(0, 1 + len(records.extensions) // 50)  # they are gone through
            number, reset, header, size, _align, flags, length = fields.unpack_from(data, at)
            name = data[at + fields.size : at + fields.size + length]
            at = _filled(at + fields.size + length)
            known = records.extension(name)
            if number != 0xFFFFFFFF:
                if number >= len(records.extensions):
                    raise Broken(f"extension {number} is unknown")
                known = records.extensions[number]
            elif not name or len(name) < length:
                raise Broken("an extension without a name")
            if known is None:
                known = records.introduce(name, reset, header, size)
            elif known.name == KEYWORDS:
                raise Broken("keywords are no extension of others")
            elif known.reset == reset:
                _resize(records, known, header, size, shrink=not flags & _NO_SHRINK)
            self._current, self._ignored, self._size = known, known.reset != reset, size


def read_log(data: bytes, order: Order) -> Log:
    """A log file. Broken, if it has no header that can be read. `order` is that of its index: a log says it
    only since version 1.2."""
    if len(data) < _MIN_HEADER or data[0] != 1:
        raise Broken("it is no log of a known version" if data else "it is empty")
    if data[1] >= 2 and len(data) > 32:
        order = "little" if data[32] & 1 else "big"
    size, *numbers = Struct((">" if order == "big" else "<") + "HIIII").unpack_from(data, 2)
    if not _MIN_HEADER <= size <= len(data) or not numbers[1]:
        raise Broken("its header makes no sense")
    index_id, sequence, previous, _offset = numbers
    return Log(index_id, sequence, previous, size, order, data)


def _resize(records: Records, extension: Extension, header: int, size: int, *, shrink: bool) -> None:
    if header > len(extension.header) or (header < len(extension.header) and shrink):
        records.grow_header(extension, header)
    if size > extension.size or (size < extension.size and shrink):
        records.resize(extension, size)


def _parts(fields: Struct, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while len(data) - at >= fields.size:
        offset, size = fields.unpack_from(data, at)
        new = data[at + fields.size : at + fields.size + size]
        if len(new) < size:
            raise Broken("a change that is longer than its record")
        yield offset, new
        at = _filled(at + fields.size + size)


def _size(octets: bytes) -> int:
    if min(octets) < 0x80:
        return 0
    return (
        (octets[0] & 0x7F) << 23
        | (octets[1] & 0x7F) << 16
        | (octets[2] & 0x7F) << 9
        | (octets[3] & 0x7F) << 2
    )


def _filled(size: int) -> int:
    return size + -size % 4
