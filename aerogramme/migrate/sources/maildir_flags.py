"""Flags of messages in a Maildir: letters at the end of a file's name, `:2,FS`; a to z are keywords,
whose names are in dovecot-keywords.

There are 26 of these letters. Keywords that are more Dovecot has in its index only, and there too what it has
not written into the names yet.
"""

import re
from dataclasses import dataclass, field
from itertools import compress
from typing import BinaryIO, Final

from aerogramme import maildir
from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dovecot_index import read_index
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.reading import open_file, reason
from aerogramme.migrate.sources.source import Fault

_INFO: Final = b":2,"
_LARGEST: Final = 1 << 20  # octets of dovecot-keywords: 26 lines
_LINE: Final = re.compile(rb"(\d{1,4}) (\S+)")
_DIRTY: Final = 0x80  # of a message in the index: its flags are newer than the name of the file
_INDEX_FLAGS: Final = (
    (0x01, "\\Answered"),
    (0x02, "\\Flagged"),
    (0x04, "\\Deleted"),
    (0x08, "\\Seen"),
    (0x10, "\\Draft"),
)


@dataclass(slots=True)
class Flags:
    """What is known of the flags in a folder.

    dovecot   the letters are Dovecot's: without, a to z mean nothing
    keywords  by their letters
    more      UID -> keywords that have no letter
    newer     UID -> system flags and keywords that go before those of the name
    """

    dovecot: bool = False
    keywords: dict[str, str] = field(default_factory=dict)
    more: dict[int, tuple[str, ...]] = field(default_factory=dict)
    newer: dict[int, tuple[str, ...]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)  # letters that were met and have no name
    _of: dict[bytes, tuple[str, ...]] = field(default_factory=dict)

    def of(self, name: bytes, uid: int) -> tuple[str, ...]:
        """The flags of a message in a file of this name."""
        if (newer := self.newer.get(uid)) is not None:
            return newer
        _, _, letters = name.partition(_INFO)
        found = self._of.get(letters)
        if found is None:
            found = self._of[letters] = self._read(letters.decode("latin-1"))
        more = self.more.get(uid)
        return found if more is None else (*found, *(word for word in more if word not in found))

    def _read(self, letters: str) -> tuple[str, ...]:
        letters = letters.partition(",")[0]
        flags = [flag for flag, letter in maildir.SYSTEM.items() if letter in letters]
        for letter in sorted(set(letters)):
            if letter in self.keywords:
                flags.append(self.keywords[letter])
            elif self.dovecot and letter in maildir.KEYWORDS:
                self.unknown.add(letter)
                flags.append(f"unknown-{maildir.KEYWORDS.index(letter)}")  # as Dovecot calls it
        return tuple(flags)


def read_flags(control: Place, index: Place, uidvalidity: int, faults: list[Fault]) -> Flags:
    """What Dovecot knows of the flags in a folder. Reads files; raises OSError."""
    flags = Flags(dovecot=True)
    try:
        with control.opened() as folder:
            file = open_file(b"dovecot-keywords", folder, control.origin(b"dovecot-keywords"))
    except FileNotFoundError:
        file = None
    if isinstance(file, Fault):
        faults.append(Fault(file.origin, file.what, "keywords have other names"))
    elif file is not None:
        with file:
            _read_keywords(file, flags, control.origin(b"dovecot-keywords"), faults)
    _read_index(index, uidvalidity, flags, faults)
    return flags


def _read_keywords(file: BinaryIO, flags: Flags, origin: str, faults: list[Fault]) -> None:
    for line in file.read(_LARGEST).split(b"\n"):
        found = _LINE.fullmatch(line)
        if found and int(found[1]) < len(maildir.KEYWORDS):
            flags.keywords[maildir.KEYWORDS[int(found[1])]] = found[2].decode(errors="replace")
        elif line and not found:
            faults.append(Fault(origin, "a line is none that Dovecot writes", "it is passed over"))


def _read_index(place: Place, uidvalidity: int, flags: Flags, faults: list[Fault]) -> None:
    origin = place.origin(b"dovecot.index")
    done = "flags are those in the names of the files"
    try:
        with place.opened() as folder:
            index = read_index(folder, "dovecot.index")
    except FileNotFoundError:
        return
    except (OSError, Unreadable) as e:
        faults.append(Fault(origin, reason(e), done))
        return
    if index is None or index.records.uidvalidity != uidvalidity:
        return  # none, or that of a mailbox that was here before
    faults += [Fault(origin, what, done) for what in index.wrong]
    records = index.records
    keywords = [(name.decode(errors="replace"), has) for name, has in records.keyword_columns()]
    lettered = set(flags.keywords.values())
    for word, has in keywords:
        if word not in lettered:
            for uid in compress(records.uids, has):
                flags.more[uid] = (*flags.more.get(uid, ()), word)
    for row, octet in enumerate(records.flags):
        if octet & _DIRTY:
            system = [flag for bit, flag in _INDEX_FLAGS if octet & bit]
            flags.newer[records.uids[row]] = (*system, *(word for word, has in keywords if has[row]))
