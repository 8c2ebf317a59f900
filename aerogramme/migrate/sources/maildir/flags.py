"""Flags of messages in a Maildir: letters at the end of a file's name, `:2,FS`; a to z are keywords,
whose names are in dovecot-keywords.

There are 26 of these letters. Keywords that are more Dovecot has in its index only, and there too what it has
not written into the names yet.
"""

import re
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from aerogramme import maildir
from aerogramme.migrate.sources.dovecot.flags import IndexFlags, read_index_flags
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.reading import open_file
from aerogramme.migrate.sources.source import Fault

_INFO: Final = b":2,"
_LARGEST: Final = 1 << 20  # octets of dovecot-keywords: 26 lines
_LINE: Final = re.compile(rb"(\d{1,4}) (\S+)")


@dataclass(slots=True)
class Flags:
    """What is known of the flags in a folder.

    dovecot   the letters are Dovecot's: without, a to z mean nothing
    keywords  by their letters
    index     keywords that have no letter, and flags that go before those of the name
    """

    dovecot: bool = False
    keywords: dict[str, str] = field(default_factory=dict)
    index: IndexFlags = field(default_factory=IndexFlags)
    unknown: set[str] = field(default_factory=set)  # letters that were met and have no name
    _same: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)  # one of a kind
    _of: dict[bytes, tuple[str, ...]] = field(default_factory=dict)

    def of(self, name: bytes, uid: int) -> tuple[str, ...]:
        """The flags of a message in a file of this name."""
        if (newer := self.index.newer.get(uid)) is not None:
            return newer
        _, _, letters = name.partition(_INFO)
        found = self._of.get(letters)
        if found is None:
            found = self._of[letters] = self._read(letters.decode("latin-1"))
        more = self.index.more.get(uid)
        if more is None:
            return found
        both = (*found, *(word for word in more if word not in found))
        return self._same.setdefault(both, both)

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
    found = read_index_flags(index, set(flags.keywords.values()), faults)
    if found.uidvalidity == uidvalidity:  # else it is that of a mailbox that was here before
        flags.index = found
    return flags


def _read_keywords(file: BinaryIO, flags: Flags, origin: str, faults: list[Fault]) -> None:
    for line in file.read(_LARGEST).split(b"\n"):
        found = _LINE.fullmatch(line)
        if found and int(found[1]) < len(maildir.KEYWORDS):
            flags.keywords[maildir.KEYWORDS[int(found[1])]] = found[2].decode(errors="replace")
        elif line and not found:
            faults.append(Fault(origin, "a line is none that Dovecot writes", "it is passed over"))
