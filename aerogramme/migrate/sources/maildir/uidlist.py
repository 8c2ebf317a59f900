"""dovecot-uidlist: which UID Dovecot has given to which file of a Maildir. Versions 1 and 3.

    1 <uidvalidity> <uidnext>           3 V<uidvalidity> N<uidnext> G<mailbox>
    <uid> <file name>                   <uid> W<wide size> S<size> G<guid> … :<file name>

File names are without the flags, `:2,…`. Dovecot appends records for files that come; what is gone stays
listed, and UIDNEXT behind, until it writes the file anew.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from aerogramme.errors import Unreadable

_LONGEST: Final = 4096  # octets of a line: a file name has 255, and the fields before it some dozens
_MOST_WRONG: Final = 20  # lines that are told: a file of another kind would fill the report
_MAX: Final = (1 << 32) - 1
_HEAD_1: Final = re.compile(rb"1 (\d{1,10}) (\d{1,10})")
_RECORD: Final = re.compile(rb"(\d{1,10}) +([A-Z][^:]*)?:([^/\0]+)")
_RECORD_1: Final = re.compile(rb"(\d{1,10}) ()([^/\0]+)")
_WIDE: Final = re.compile(rb"(?:^| )W(\d{1,18})(?: |$)")


@dataclass(slots=True)
class UidList:
    """What the file says.

    uids   name of a file, without flags -> its UID, in the order of UIDs if the file is as it should be
    wide   UID -> size with CRLF at the ends of lines, where it is said
    wrong  what is not as it should be, for people
    """

    uidvalidity: int
    uidnext: int
    uids: dict[bytes, int] = field(default_factory=dict)
    wide: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def parse(file: BinaryIO) -> UidList:
    """Reads a dovecot-uidlist. Raises Unreadable if its first line says nothing."""
    found, record = _head(file.readline(_LONGEST))
    of: dict[int, bytes] = {}
    for number, line in enumerate(_lines(file), 2):
        match = record.fullmatch(line)
        uid = int(match[1]) if match else 0
        if match is None or not 0 < uid < _MAX:
            _note(found, f"line {number} is none that Dovecot writes")
            continue
        name = match[3].partition(b":")[0]
        if of.get(uid, name) != name:
            _note(found, f"line {number} gives UID {uid} a second time")
            continue
        # A file that was away and came back is listed again, with a new UID: the last one is right.
        of.pop(found.uids.get(name, 0), None)
        of[uid] = name
        found.uids[name] = uid
        if wide := _WIDE.search(match[2] or b""):
            found.wide[uid] = int(wide[1])
        found.uidnext = max(found.uidnext, uid + 1)
    return found


def _note(found: UidList, what: str) -> None:
    if len(found.wrong) < _MOST_WRONG:
        found.wrong.append(what)
    elif len(found.wrong) == _MOST_WRONG:
        found.wrong.append("there is more of that kind")


def _head(line: bytes) -> tuple[UidList, re.Pattern[bytes]]:
    fields = line.split()
    if match := _HEAD_1.match(line):
        uidvalidity, uidnext = int(match[1]), int(match[2])
    elif fields[:1] == [b"3"]:
        said = {word[:1]: word[1:] for word in fields[1:]}
        uidvalidity, uidnext = (
            int(said.get(name, b"")) if re.fullmatch(rb"\d{1,10}", said.get(name, b"")) else 0
            for name in (b"V", b"N")
        )
    else:
        raise Unreadable("Its first line is none that Dovecot writes")
    if not 0 < uidvalidity <= _MAX or uidnext > _MAX:
        raise Unreadable("It says no UIDVALIDITY that can be")
    return UidList(uidvalidity, max(uidnext, 1)), _RECORD_1 if match else _RECORD


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines after the first. One without its end is being written, or was cut: its name may be half."""
    while line := file.readline(_LONGEST):
        if line.endswith(b"\n"):
            yield line[:-1]
        elif len(line) == _LONGEST:
            while (rest := file.readline(_LONGEST)) and not rest.endswith(b"\n"):
                pass
            yield b""
