"""Reads an index of Dovecot, as it is at this moment: the index file, and the logs that go on from it.

`dovecot.index` is written now and then, `dovecot.index.log` at each change; when that is large it becomes
`dovecot.index.log.2` and a new one begins. A new mailbox has only a log. Nothing is locked and nothing
changed: Dovecot may run. It writes a new index file beside the old one and appends to logs, so that what is
read in the order index, logs fits together; where it does not since Dovecot was faster, all is read again.
"""

import os
import sys
from array import array
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from struct import Struct
from time import sleep

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dovecot.log import Log, Replay, read_log
from aerogramme.migrate.sources.dovecot.records import (
    CORRUPTED,
    HEADER,
    KEYWORDS,
    Broken,
    Extension,
    Order,
    Records,
    packed,
)
from aerogramme.migrate.sources.reading import open_file
from aerogramme.migrate.sources.source import Fault

_MAJOR = 7  # all Dovecot 1.x and 2.x
_MAX_INDEX = 1 << 30  # octets: some ten million messages
_MAX_LOG = 1 << 28  # Dovecot begins a new one after 1 MB, if its mailbox is not busy all the time
_TRIES = 4
_PAUSE = 0.05  # seconds: a record of a log is written within


@dataclass(frozen=True, slots=True)
class Index:
    """An index.

    wrong  what was not as it should be with its files
    old    not all of the log could be read: what happened since is not known
    """

    records: Records
    wrong: list[str]
    old: bool = False


def read_index(folder: int, name: str, wanted: Iterable[bytes] = ()) -> Index | None:
    """The index of this name (dovecot.index), None if there is none. It waits: call it in a thread.

    folder: the descriptor of the folder that has it. wanted: the extensions whose records are needed.
    Unreadable, with the reason, if nothing can be used.
    """
    return _tried(folder, name, name, frozenset(wanted))


def read_backup(folder: int, name: str, wanted: Iterable[bytes] = ()) -> Index | None:
    """The same, from the index file as it was before it was written last: dbox keeps that."""
    return _tried(folder, name + ".backup", name, frozenset(wanted))


def file_states(folder: int, name: str) -> list[tuple[int, int, int]]:
    """What changes as soon as the index of this name does: Dovecot writes a new file, or more of the log."""
    states = []
    for file in (name, name + ".log"):
        with suppress(FileNotFoundError):
            about = os.stat(file, dir_fd=folder, follow_symlinks=False)
            states.append((about.st_ino, about.st_size, about.st_mtime_ns))
    return states


def _tried(folder: int, file: str, name: str, wanted: frozenset[bytes]) -> Index | None:
    for left in range(_TRIES - 1, -1, -1):
        index, again = _read(folder, file, name, wanted)
        if not again or not left:
            return index
        sleep(_PAUSE)
    raise AssertionError


def _read(folder: int, file: str, name: str, wanted: frozenset[bytes]) -> tuple[Index | None, bool]:
    """The index, and whether it may be better when it is read once more."""
    wrong: list[str] = []
    data = _read_file(folder, file, _MAX_INDEX)
    records: Records | None = None
    broken: Unreadable | None = None
    if data is not None:
        try:
            records = _load(data, wanted, wrong, file)
        except Unreadable as error:
            broken = error  # its logs may go back to the beginning
    order: Order = records.order if records else "little"
    newest = _log(folder, name + ".log", order, wrong)
    older = _log(folder, name + ".log.2", order, wrong)
    if newest is None:
        if broken is not None:
            raise broken
        if records is None:
            return None, False
        wrong.append("the log is missing: the index may be old")
        return Index(records, wrong, True), True
    index_id = records.index_id if records else newest.index_id
    logs = [log for log in (older, newest) if log is not None and log.index_id == index_id]
    if older is not None and older.sequence >= newest.sequence:
        logs = [newest]  # between the two steps of a rotation both names are one file
    start = 0
    if records is None or (newest.previous == 0 and records.log_sequence != newest.sequence):
        # A log with none before it begins with an empty index.
        beginning = next((log for log in reversed(logs) if log.previous == 0), None)
        if beginning is None:
            raise broken or Unreadable(f"{name}: there is only the end of its log")
        if broken is not None:
            wrong.append(f"{broken}; its log has all of it")
        records = Records(beginning.order, wanted)
        records.header[:1] = bytes([_MAJOR])
        records.uidnext = 1
        logs = logs[logs.index(beginning) :]
        start = beginning.start
    else:
        sequence = records.log_sequence
        logs = [log for log in logs if log.sequence >= sequence]
        start = records.log_head
        if not logs or logs[0].sequence != sequence or start > len(logs[0].data):
            wrong.append("the log does not go on from the index, which may be old")
            return Index(records, wrong, True), True
    replay = Replay(records)
    for number, log in enumerate(logs):
        if number and log.previous != logs[number - 1].sequence:
            wrong.append("a log is missing")
            return Index(records, wrong, True), True
        replay.apply(log, max(start, log.start) if number == 0 else log.start)
    replay.finish()
    wrong += replay.wrong
    if replay.torn:
        wrong.append("the log ends within a record")
    return Index(records, wrong, bool(replay.torn or replay.wrong)), replay.torn


def _log(folder: int, name: str, order: Order, wrong: list[str]) -> Log | None:
    data = _read_file(folder, name, _MAX_LOG)
    if data is None:
        return None
    try:
        return read_log(data, order)
    except Broken as error:
        wrong.append(f"{name}: {error}")
        return None


def _load(data: bytes, wanted: frozenset[bytes], wrong: list[str], name: str) -> Records:
    try:
        return _parse(data, wanted, wrong)
    except Broken as error:
        raise Unreadable(f"{name}: {error}") from None


def _parse(data: bytes, wanted: frozenset[bytes], wrong: list[str]) -> Records:
    if len(data) < HEADER:
        raise Broken("it ends within its header")
    if data[0] != _MAJOR:
        raise Broken(f"it is no index of version {_MAJOR}")
    order: Order = "little" if data[12] & 1 else "big"
    records = Records(order, wanted, bytearray(data[:HEADER]))
    base, size, record = records.struct("HII").unpack_from(data, 2)
    if int.from_bytes(data[20:24], order) & CORRUPTED:
        raise Broken("Dovecot has marked it as corrupted")
    if not HEADER <= base <= size <= len(data) or record < 8:
        raise Broken("its header makes no sense")
    (count,) = records.struct("I").unpack_from(data, 32)
    there = (len(data) - size) // record
    if count > there:
        wrong.append(f"the index ends after {there} of {count} messages")
        count = there
    messages = memoryview(data)[size : size + count * record]
    numbers = array("I", messages_of(messages, record, 0, 4))
    if order != sys.byteorder:
        numbers.byteswap()
    records.load(numbers, bytes(messages[4::record]))
    at = base + -base % 8
    while at < size:
        at = _parse_extension(records, data[:size], at, messages, record)
    return records


def _parse_extension(records: Records, data: bytes, at: int, messages: memoryview, record: int) -> int:
    fields = records.struct("IIHHHH")
    if len(data) - at < fields.size:
        raise Broken("an extension goes beyond its header")
    header, reset, offset, size, _align, length = fields.unpack_from(data, at)
    name = data[at + fields.size : at + fields.size + length]
    start = at + fields.size + length
    start += -start % 8
    content = data[start : start + header]
    if len(content) < header or not name or (size and not 5 <= offset <= record - size):
        raise Broken(f"extension {name!r} goes beyond its header or the records")
    extension = records.introduce(name, reset, header, size)
    extension.header[:] = content
    if column := extension.column:
        extension.records = bytearray(messages_of(messages, record, offset, column))
    if name == KEYWORDS:
        _parse_keywords(records, extension, messages, record, offset)
    return int(start + header + -header % 8)


def _parse_keywords(
    records: Records, extension: Extension, messages: memoryview, record: int, offset: int
) -> None:
    header = bytes(extension.header)
    number = records.struct("I")
    if len(header) < number.size:
        return
    (count,) = number.unpack_from(header)
    places: Struct = records.struct("4xI")
    if len(header) < 4 + count * places.size:
        raise Broken("there are more keywords than its header has room for")
    names = header[4 + count * places.size :]
    for one in range(count):
        (start,) = places.unpack_from(header, 4 + one * places.size)
        name, end, _ = names[start:].partition(b"\0")
        if not name or not end or name in records.keywords:
            raise Broken("a keyword has no name, or that of another")
        bits = b""
        if one // 8 < extension.size:
            mask = 1 << one % 8
            has = bytes(bool(octet & mask) for octet in range(256))
            bits = packed(bytes(messages[offset + one // 8 :: record]).translate(has))
        records.introduce_keyword(name, bits)


def messages_of(messages: memoryview, record: int, offset: int, size: int) -> bytes:
    """A field of all records, without what lies between."""
    column = bytearray(len(messages) // record * size)
    for at in range(size):
        column[at::size] = messages[offset + at :: record]
    return bytes(column)


def _read_file(folder: int, name: str, most: int) -> bytes | None:
    """All of a file; None if there is none. Unreadable if it is no plain file, too large, or may not be."""
    file = open_file(name.encode(), folder, name)
    if file is None:
        return None
    if isinstance(file, Fault):
        raise Unreadable(f"{name}: {file.what}")
    with file:
        try:
            found = os.fstat(file.fileno())
            if found.st_size > most:
                raise Unreadable(f"{name} has {found.st_size} octets, which is more than can be")
            return file.read()
        except OSError as error:
            raise Unreadable(f"{name}: {error.strerror}") from error
