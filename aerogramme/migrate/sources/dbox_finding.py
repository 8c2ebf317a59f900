"""Finds the letters of the mailboxes of a dbox in its files, where the indexes say, or elsewhere."""

import os
from contextlib import suppress

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dbox_file import FIRST, DboxFile, Stored
from aerogramme.migrate.sources.dbox_mailbox import Mailbox
from aerogramme.migrate.sources.dbox_map import Map, Place, Scan, file_of, mailbox_of, read_map
from aerogramme.migrate.sources.dbox_store import STORAGE, Files, Parts, Store, opened
from aerogramme.migrate.sources.source import Fault

_MAP_FILES = ("dovecot.map.index", "dovecot.map.index.log")


class Finder:
    """The letters of a store. One call at a time; it waits for a disk. `faults` gets what is wrong."""

    def __init__(self, store: Store, faults: list[Fault]) -> None:
        self._store = store
        self._faults = faults
        self._files = Files(store)
        self._map: Map | None = None
        self._state: tuple[tuple[int, int], ...] = ()
        self._scan: Scan | None = None

    def close(self) -> None:
        """Closes files that nobody reads."""
        self._files.close()

    def refresh(self) -> None:
        """What has changed in the map since is known from here on."""
        if self._store.many:
            state = self._map_state()
            if self._map is None or state != self._state:
                self._map, self._state = read_map(self._store, self._faults), state
                self._files.close()  # one may have been replaced

    def open(self, mailbox: Mailbox, row: int) -> tuple[DboxFile, Stored] | None:
        """A letter, in a file to `release`; None if it is not where the index says. Raises Unreadable."""
        parts, at = (*self._store.mails(mailbox.levels), b"u.%d" % mailbox.uids[row]), FIRST
        if self._store.many:
            place = mailbox.places.get(row) or self._by_map(mailbox, row)
            if place is None:
                return None
            parts, at = file_of(place[0]), place[1]
        return self._open(parts, at, mailbox.guid(row))

    def search(self, mailbox: Mailbox, row: int) -> tuple[DboxFile, Stored] | None:
        """The same for a letter that is not there: wherever it is now. None if it is nowhere."""
        wrong: Unreadable | None = None
        self.refresh()
        try:
            found = self.open(mailbox, row)
        except Unreadable as error:
            found, wrong = None, error
        if found is None and self._store.many:
            place = self._scanned().find(mailbox.guid(row))
            if place is not None:
                mailbox.places[row] = place
                found = self._open(file_of(place[0]), place[1], mailbox.guid(row))
        if found is None and wrong is not None:
            raise wrong
        return found

    def strays(self, mailboxes: list[Mailbox]) -> list[tuple[Place, bytes, bytes]]:
        """The letters that none of these mailboxes has: where each is, its GUID, and the name of the mailbox
        that it was first saved to, as the store spells it."""
        self.refresh()
        assert self._map is not None
        known = self._map.unused()
        for mailbox in mailboxes:
            for row in range(len(mailbox.uids)):
                place = self._by_map(mailbox, row) or self._scanned().find(mailbox.guid(row))
                if place is not None:
                    known.add(place)
        found = []
        for place in self._scanned().others(known):
            with suppress(Unreadable):  # the scan has said so
                there = self._open(file_of(place[0]), place[1], b"")
                if there is not None:
                    file, stored = there
                    file.release()
                    found.append((place, stored.guid, mailbox_of(stored)))
        return found

    def _open(self, parts: Parts, at: int, guid: bytes) -> tuple[DboxFile, Stored] | None:
        file = self._files.get(parts, keep=self._store.many)
        if file is None:
            return None
        try:
            stored = file.stored(at)
        except BaseException:
            file.release()
            raise
        if guid and stored.guid and stored.guid != guid:
            file.release()
            return None  # another letter is there now
        return file, stored

    def _by_map(self, mailbox: Mailbox, row: int) -> Place | None:
        if self._map is None:
            self.refresh()
        assert self._map is not None
        if not mailbox.map_of or mailbox.map_of != self._map.uidvalidity or row >= len(mailbox.numbers):
            return None
        return self._map.find(mailbox.numbers[row])

    def _scanned(self) -> Scan:
        if self._scan is None:
            self._scan = Scan(self._store, self._files, self._faults)
        return self._scan

    def _map_state(self) -> tuple[tuple[int, int], ...]:
        found = []
        with opened(self._store.index or self._store.root, (STORAGE,)) as folder:
            for name in _MAP_FILES if folder is not None else ():
                with suppress(FileNotFoundError):
                    about = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    found.append((about.st_size, about.st_mtime_ns))
        return tuple(found)
