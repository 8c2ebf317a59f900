"""Finds the letters of the mailboxes of a dbox in its files, where the indexes say, or elsewhere."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dbox.file import FIRST, DboxFile, Stored
from aerogramme.migrate.sources.dbox.mailbox import Mailbox
from aerogramme.migrate.sources.dbox.map import MAP, Map, Place, Scan, file_of, mailbox_of, read_map
from aerogramme.migrate.sources.dbox.store import STORAGE, Files, Parts, Store, opened
from aerogramme.migrate.sources.dovecot.index import file_states
from aerogramme.migrate.sources.source import Fault


@dataclass(frozen=True, slots=True)
class Stray:
    """A letter that no index has. name: the mailbox that it was first saved to, as the store spells it."""

    place: Place
    guid: bytes
    name: bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """gone: by mailbox, the UIDs that only an old index has still; strays: letters that it has not yet."""

    gone: dict[Parts, set[int]]
    strays: list[Stray]


class Finder:
    """The letters of a store. One call at a time; it waits for a disk. `faults` gets what is wrong."""

    def __init__(self, store: Store, faults: list[Fault]) -> None:
        self._store = store
        self._faults = faults
        self._files = Files(store)
        self._map: Map | None = None
        self._state: list[tuple[int, int, int]] = []
        self._scan: Scan | None = None

    def close(self) -> None:
        """Closes files that nobody reads."""
        self._files.close()

    def refresh(self) -> None:
        """What has changed in the map, and of folders, since is known from here on."""
        if not self._store.many:
            self._files.close()  # a folder may be that of another mailbox now
            return
        state = self._map_state()
        if self._map is None or state != self._state:
            self._map, self._state = read_map(self._store, self._faults), state
            self._files.close()  # Dovecot replaces files that it mends

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

    def settle(self, mailboxes: list[Mailbox]) -> "Settled":
        """What mailboxes whose index is old have lost, and what they have too much. `mailboxes` are all: the
        map counts how many of them a letter is in; without a map each is in one."""
        self.refresh()
        assert self._map is not None
        counts = self._map.uses()
        known: Counter[Place] = Counter()
        gone: dict[Parts, set[int]] = {}
        for mailbox in sorted(mailboxes, key=lambda mailbox: mailbox.old):
            gone[mailbox.levels] = set()
            for row, uid in enumerate(mailbox.uids):
                place = self._by_map(mailbox, row) or self._scanned().find(mailbox.guid(row))
                if place is None:
                    continue
                if mailbox.old and counts and known[place] >= counts.get(place, 0):
                    gone[mailbox.levels].add(uid)
                else:
                    known[place] += 1
        # What is not in the map was never saved to the end, or is about to be purged.
        strays = []
        for place, count in sorted((counts or dict.fromkeys(self._scanned().all(), 1)).items()):
            for _ in range(count - known[place]):
                with suppress(Unreadable):  # what is wrong with the file is said by those that need it
                    there = self._open(file_of(place[0]), place[1], b"")
                    if there is not None:
                        file, stored = there
                        file.release()
                        strays.append(Stray(place, stored.guid, mailbox_of(stored)))
        return Settled(gone, strays)

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

    def _map_state(self) -> list[tuple[int, int, int]]:
        with opened(self._store.index or self._store.root, (STORAGE,)) as folder:
            return [] if folder is None else file_states(folder, MAP)
