"""Where the letters of an mdbox are: its map, and what the files say themselves where the map does not know.

`dovecot.map.index` has a number for each letter, its file and its offset there; the indexes of mailboxes have
these numbers, and the GUIDs of the letters. A letter in several mailboxes is stored once, and counted; one
that is in none any more stays in its file until Dovecot purges it.
"""

import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dbox.file import Stored
from aerogramme.migrate.sources.dbox.store import STORAGE, Files, Parts, Store, opened
from aerogramme.migrate.sources.dovecot.index import read_index
from aerogramme.migrate.sources.dovecot.records import Broken
from aerogramme.migrate.sources.source import Fault

MAP = "dovecot.map.index"
_MAP, _COUNT = b"map", b"ref"
_FILE = re.compile(rb"m\.([1-9][0-9]{0,9})")
_LAST_FILE = 0xFFFFFFFF
_ROW = 16 + 4 + 8  # octets of a GUID, the number of a file, an offset there

Place = tuple[int, int]  # the number of the file, and the offset


def file_of(number: int) -> Parts:
    """The name of a file of letters."""
    return (STORAGE, b"m.%d" % number)


@dataclass(slots=True)
class Map:
    """The map as it is now.

    uidvalidity  what a mailbox names whose numbers are of this map; 0 if there is no map
    counts       how many mailboxes have the letter
    """

    uidvalidity: int = 0
    uids: "array[int]" = field(default_factory=lambda: array("I"))
    files: "array[int]" = field(default_factory=lambda: array("I"))
    offsets: "array[int]" = field(default_factory=lambda: array("I"))
    counts: "array[int]" = field(default_factory=lambda: array("H"))

    def uses(self) -> dict[Place, int]:
        """How many mailboxes have each letter; nothing if the map does not say."""
        rows = zip(self.files, self.offsets, self.counts, strict=False)  # there may be no counts
        return {(file, offset): count for file, offset, count in rows}

    def find(self, uid: int) -> Place | None:
        """Where the letter of this number is."""
        at = bisect_left(self.uids, uid)
        if at < len(self.uids) and self.uids[at] == uid and self.files[at]:
            return self.files[at], self.offsets[at]
        return None


def read_map(store: Store, faults: list[Fault]) -> Map:
    """The map; one that is missing, or cannot be read, is empty, and a fault."""
    where = store.index or store.root
    origin = f"{where}/storage/{MAP}"
    try:
        with opened(where, (STORAGE,)) as folder:
            index = None
            if folder is not None:
                index = read_index(folder, MAP, (_MAP, _COUNT))
        if index is None:
            raise Unreadable("There is none")
        records = index.records
        place, count = records.extension(_MAP), records.extension(_COUNT)
        if place is None:
            raise Unreadable("It says nothing of files")
        found = Map(records.uidvalidity, records.uids)
        for number, offset, _size in records.column(place, "III"):
            found.files.append(number)
            found.offsets.append(offset)
        if count is not None:
            found.counts.extend(one for (one,) in records.column(count, "H"))
    except (Unreadable, Broken) as error:
        faults.append(Fault(origin, str(error), "letters are found by their GUIDs"))
        return Map()
    faults.extend(Fault(origin, wrong, "what it does not say is found by GUIDs") for wrong in index.wrong)
    return found


class Scan:
    """All letters that the files have, by GUID: for what the map does not know. It takes as long as it takes.

    Of a letter that is stored twice, the first is used.
    """

    def __init__(self, store: Store, files: Files, faults: list[Fault]) -> None:
        rows: list[bytes] = []
        for number in sorted(set(_numbers(store))):
            try:
                file = files.get(file_of(number), keep=False)
                if file is None:
                    continue
                try:
                    if file.broken:
                        done = "what can be found in it is used"
                        faults.append(Fault(file.origin, "its first line is broken", done))
                    for stored in file.scan():
                        row = number.to_bytes(4, "big") + stored.at.to_bytes(8, "big")
                        if stored.guid:
                            rows.append(stored.guid + row)
                finally:
                    file.release()
            except Unreadable as error:
                faults.append(
                    Fault(f"{store.root}/storage/m.{number}", str(error), "it is left out", lost=True)
                )
        self._rows = sorted(rows)

    def find(self, guid: bytes) -> Place | None:
        """Where the letter with this GUID is."""
        at = bisect_left(self._rows, guid)
        if at < len(self._rows) and self._rows[at].startswith(guid) and any(guid):
            return _place(self._rows[at])
        return None

    def all(self) -> list[Place]:
        """All letters, in the order of files."""
        return sorted(map(_place, {row[:16]: row for row in reversed(self._rows)}.values()))


def _place(row: bytes) -> Place:
    assert len(row) == _ROW
    return int.from_bytes(row[16:20], "big"), int.from_bytes(row[20:], "big")


def _numbers(store: Store) -> Iterator[int]:
    for place in store.letters():
        with opened(place, (STORAGE,)) as folder:
            for name in os.listdir(folder) if folder is not None else ():
                found = _FILE.fullmatch(os.fsencode(name))
                if found and int(found[1]) <= _LAST_FILE:
                    yield int(found[1])


def mailbox_of(stored: Stored) -> bytes:
    """The name of the mailbox that a letter was first saved to, as the store spells it."""
    return stored.metadata.get("B", b"INBOX")
