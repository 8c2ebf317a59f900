"""One mailbox of a dbox, as it is now: what its index says, and what its files say if that cannot be used.

sdbox   the UID of a letter is the name of its file, so that these stay what they were; flags are lost
mdbox   letters that no mailbox has are those of the mailbox whose index is lost; UIDs and flags are lost
"""

import os
import re
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import compress
from time import sleep

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dbox.store import Parts, Store, opened
from aerogramme.migrate.sources.dovecot.flags import flags_of
from aerogramme.migrate.sources.dovecot.index import Index, file_states, read_backup, read_index
from aerogramme.migrate.sources.dovecot.records import MAX_UID, Broken
from aerogramme.migrate.sources.source import Fault

INDEX = "dovecot.index"
_SINGLE_HEADER = b"dbox-hdr"
_LETTER, _HEADER, _GUID, _NAME = b"mdbox", b"mdbox-hdr", b"guid", b"box-name"
_WANTED = (_LETTER, _HEADER, _GUID)
_FILE = re.compile(rb"u\.([1-9][0-9]{0,9})")
_TRIES = 3
_PAUSE = 0.05  # seconds


@dataclass(slots=True)
class Mailbox:
    """What is in a mailbox, in ascending order of UIDs.

    old          its index is lost, or not the last one: there may be letters that it does not know, and it
                 may know some that are gone
    map_of       the UIDVALIDITY of the map that `numbers` are of; 0 if it is not known
    numbers      mdbox: the number of each letter in the map
    guids        mdbox: 16 octets of each letter
    places       rows of letters that were found in files, and not by an index: the file, and the offset
    own_guid     16 octets of the mailbox itself; none if it is not known
    said         its name, as its index has it; none if it does not
    deleted      it is being deleted
    """

    levels: Parts
    uidvalidity: int = 0
    uidnext: int = 0
    uids: "array[int]" = field(default_factory=lambda: array("I"))
    flags: list[tuple[str, ...]] = field(default_factory=list)
    old: bool = False
    map_of: int = 0
    numbers: "array[int]" = field(default_factory=lambda: array("I"))
    guids: bytes = b""
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    own_guid: bytes = b""
    said: Parts = ()
    deleted: bool = False

    def row_of(self, uid: int) -> int | None:
        row = bisect_left(self.uids, uid)
        return row if row < len(self.uids) and self.uids[row] == uid else None

    def remove(self, uids: set[int]) -> None:
        """Forgets messages."""
        left = [uid not in uids for uid in self.uids]
        if not all(left):
            self.uids = array("I", compress(self.uids, left))
            self.numbers = array("I", compress(self.numbers, left))
            self.flags = list(compress(self.flags, left))
            self.guids = b"".join(
                self.guids[16 * row : 16 * row + 16] for row, kept in enumerate(left) if kept
            )

    def append(self, place: tuple[int, int], guid: bytes) -> None:
        """A message that was found in a file, with a new UID. Unreadable, if there are none left."""
        row = len(self.uids)
        if self.uidnext > MAX_UID:
            raise Unreadable("There are no UIDs left for letters that were found in files")
        self.guids = self.guids.ljust(16 * row, b"\0") + guid
        self.places[row] = place
        self.uids.append(max(self.uidnext, 1))
        self.uidnext = self.uids[-1] + 1
        self.flags.append(())

    def guid(self, row: int) -> bytes:
        return self.guids[16 * row : 16 * row + 16]


def read_mailbox(store: Store, levels: Parts, faults: list[Fault]) -> Mailbox | None:
    """A mailbox as it is now; None if it is being deleted. It waits for a disk: call it in a thread."""
    for left in range(_TRIES - 1, -1, -1):
        said: list[Fault] = []
        indexed = _read_index(store, levels, said)
        if indexed is not None and indexed.deleted:
            return None
        found = indexed or Mailbox(levels, old=True)
        new = [] if store.many else _newer(store, found)
        if not new or not left:
            break
        sleep(_PAUSE)  # Dovecot notes a letter in the index once it has its file
    faults.extend(said)
    for uid in new:
        found.uids.append(uid)
        found.flags.append(())
        found.uidnext = uid + 1
    if new and indexed is not None:
        what = f"the index does not know {len(new)} of its letters, from UID {new[0]} on"
        faults.append(Fault(store.shown(store.mails(levels)), what, "they are taken over, without flags"))
    return found


def state_of(store: Store, levels: Parts) -> list[tuple[int, int, int]]:
    """What is another one as soon as the index of a mailbox is."""
    root, parts = store.index_of(levels)
    with opened(root, parts) as folder:
        return [] if folder is None else file_states(folder, INDEX)


def _read_index(store: Store, levels: Parts, faults: list[Fault]) -> Mailbox | None:
    """What the index says, or the one before it; None if neither can be used."""
    root, parts = store.index_of(levels)
    origin = store.shown(store.mails(levels))
    wrong = ""
    for read in (read_index, read_backup):
        try:
            with opened(root, parts) as folder:
                index = None if folder is None else read(folder, INDEX, _WANTED)
            mailbox = None if index is None else _indexed(levels, index, many=store.many)
        except (Unreadable, Broken) as error:
            wrong = wrong or f"its index cannot be used: {error}"
            continue
        if index is None or mailbox is None:
            wrong = wrong or "its index is missing"
            continue
        if wrong:
            faults.append(Fault(origin, wrong, "the one before it is used"))
        faults.extend(Fault(origin, wrong, "what the index says is used") for wrong in index.wrong)
        return mailbox
    done = "letters that no other mailbox has are taken over" if store.many else "UIDs are those of the files"
    faults.append(Fault(origin, wrong, f"{done}; there are no flags"))
    return None


def _newer(store: Store, mailbox: Mailbox) -> list[int]:
    """The letters of an sdbox that are newer than all that its index has ever had."""
    return [uid for uid in _uids_of_files(store, mailbox.levels) if uid >= mailbox.uidnext]


def _indexed(levels: Parts, index: Index, *, many: bool) -> Mailbox:
    records = index.records
    found = Mailbox(levels, records.uidvalidity, records.uidnext, records.uids, flags_of(records), index.old)
    found.deleted = records.deleted
    name = records.extension(_NAME)
    if name is not None:
        found.said = tuple(bytes(name.header).rstrip(b"\0").split(b"\0"))
    own = records.extension(_HEADER if many else _SINGLE_HEADER)
    if own is not None:
        found.own_guid = bytes(own.header[4:20])
    if many:
        letter, guid, header = (records.extension(name) for name in (_LETTER, _GUID, _HEADER))
        if letter is not None:
            found.numbers.extend(number for number, _saved in records.column(letter, "II"))
        if guid is not None and guid.column == 16:
            found.guids = bytes(guid.records)
        if header is not None:
            found.map_of = int.from_bytes(header.header[:4], records.order)
        missing = len(found.uids) - len(found.numbers)
        found.numbers.extend([0] * missing)
    return found


def _uids_of_files(store: Store, levels: Parts) -> list[int]:
    uids: set[int] = set()
    for place in store.letters():
        with opened(place, store.mails(levels)) as folder:
            for name in os.listdir(folder) if folder is not None else ():
                found = _FILE.fullmatch(os.fsencode(name))
                if found and int(found[1]) <= MAX_UID:
                    uids.add(int(found[1]))
    return sorted(uids)
