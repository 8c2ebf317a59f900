"""Mail in mbox files: one, or a folder of them (listing.py)."""

import errno
import fcntl
import os
import time
from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Final

import trio

from aerogramme.errors import Unreadable
from aerogramme.mailbox.names import INBOX
from aerogramme.migrate.sources import dates, folders, reading, subscriptions
from aerogramme.migrate.sources.dovecot.flags import IndexFlags, read_index_flags
from aerogramme.migrate.sources.faults import Faults
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.mbox import scan as mbox_scan
from aerogramme.migrate.sources.mbox.letter import MboxLetter, Part
from aerogramme.migrate.sources.mbox.listing import Listing, Options, Where, is_mbox
from aerogramme.migrate.sources.mbox.scan import Base, Found
from aerogramme.migrate.sources.naming import Naming
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Messages

_MAX_FLAGS_TEXT: Final = 32 << 20  # characters of all sets of flags in a mailbox that differ
_LOCK_WAIT: Final = 60.0  # seconds: somebody puts mail in


@dataclass(slots=True)
class _Scan:
    """What is in a file, as columns. `quoted`: 1 where lines are; `signature`: of the file that was read."""

    signature: tuple[int, int, int] = (0, 0, 0)
    messages: Messages = field(default_factory=Messages)
    faults: list[Fault] = field(default_factory=Faults)
    starts: "array[int]" = field(default_factory=lambda: array("Q"))
    bodies: "array[int]" = field(default_factory=lambda: array("Q"))
    ends: "array[int]" = field(default_factory=lambda: array("Q"))
    quoted: bytearray = field(default_factory=bytearray)


def looks_like(path: Path) -> bool:
    """Is this an mbox file, or a folder that has some?"""
    try:
        if path.is_file():  # what else there is might never answer
            with path.open("rb") as file:
                return file.read(5) == b"From "
        with Place(path).opened() as root:
            return any(is_mbox(root, name) for name in folders.names(root) if not name.startswith(b"."))
    except OSError:
        return False


class Mbox:
    """A source (sources/source.py). A file is locked, as Dovecot locks it, while it is read."""

    def __init__(self, path: Path, naming: Naming, options: Options | None = None) -> None:
        self.faults: list[Fault] = Faults()
        self._path = path
        self._naming = naming
        self._options = options or Options()
        self._where: dict[str, Where] = {}
        self._last: tuple[str, _Scan] | None = None

    async def folders(self) -> Sequence[Folder]:
        return await trio.to_thread.run_sync(self._folders)

    async def messages(self, folder: Folder) -> Messages:
        self._last = None  # the columns of one folder at a time
        scan = await trio.to_thread.run_sync(self._scan, self._where[folder.name])
        self.faults += scan.faults
        self._last = folder.name, scan
        return scan.messages

    async def letters(self, folder: Folder, uids: Sequence[int]) -> AsyncGenerator[Letter | Fault, None]:
        where = self._where[folder.name]
        try:
            file = await trio.to_thread.run_sync(_locked, where)
        except Unreadable as e:
            yield reading.left_out(where.origin, e)
            return
        with file:
            name, scan = self._last or ("", _Scan())
            if name != folder.name or scan.signature != _signature(file):
                try:
                    scan = await trio.to_thread.run_sync(self._scan_file, where, file)
                except Unreadable as e:
                    yield reading.left_out(where.origin, e)
                    return
            openers = ((uid, partial(_open, where, file, scan, row)) for uid, row in scan.messages.rows(uids))
            async with aclosing(reading.letters(openers, self.faults)) as found:
                async for letter in found:
                    yield letter

    async def aclose(self) -> None:
        self._last = None

    def _folders(self) -> list[Folder]:
        faults: list[Fault] = []
        try:
            places = Listing(self._path, self._options, faults).places
            subscribed = self._subscribed()
        except OSError as e:
            raise Unreadable(f"{Place(self._path).origin()}: {reading.reason(e)}") from e
        if not places:
            raise Unreadable(f"There is no mbox in {Place(self._path).origin()}")
        naming = replace(self._naming, separator="/", mixed=not self._options.dovecot)
        names = naming.names(places)
        found: list[Folder] = []
        self._where.clear()
        for spelled, where in places.items():
            name = names.of[spelled]
            try:
                uidvalidity, uidnext = self._numbers(where)
            except Unreadable as e:
                faults.append(Fault(where.origin, str(e), "it is left out", lost=True))
                continue
            self._where[name] = where
            known = None if subscribed is None else spelled in subscribed
            role = names.roles.get(name)
            found.append(Folder(name, where.origin, uidvalidity, uidnext, role, known))
        if not found:
            raise Unreadable("; ".join(f"{fault.origin}: {fault.what}" for fault in faults))
        self.faults += [*faults, *names.faults]
        return sorted(found, key=lambda folder: (folder.name != INBOX, folder.name))

    def _subscribed(self) -> set[bytes] | None:
        if not self._path.is_dir():
            return None
        place, name = Place(self._path), b".subscriptions"
        with place.opened() as folder:
            return subscriptions.read(folder, name, place.origin(name), "/", self.faults)

    def _numbers(self, where: Where) -> tuple[int, int]:
        """UIDVALIDITY and UIDNEXT."""
        try:
            with _locked(where) as file:
                size = os.fstat(file.fileno()).st_size
                first = next(mbox_scan.messages(file.fileno(), size, utc=self._options.utc), None)
        except OSError as e:
            raise Unreadable(reading.reason(e)) from e
        index = read_index_flags(where.index, (), [])
        base = first.said.base if first else None
        uidvalidity = base.uidvalidity if base else index.uidvalidity
        if index.uidvalidity != uidvalidity:
            index = IndexFlags()
        return uidvalidity, max(base.last_uid + 1 if base else 0, index.uidnext)

    def _scan(self, where: Where) -> _Scan:
        with _locked(where) as file:
            return self._scan_file(where, file)

    def _scan_file(self, where: Where, file: FileIO) -> _Scan:
        scan = _Scan(_signature(file))
        about = os.fstat(file.fileno())
        numbers = _Numbers(read_index_flags(where.index, (), scan.faults))
        try:
            for found in mbox_scan.messages(file.fileno(), about.st_size, utc=self._options.utc):
                self._add(where, scan, found, numbers, int(about.st_mtime))
        except OSError as e:
            raise Unreadable(reading.reason(e)) from e
        return scan

    def _add(self, where: Where, scan: _Scan, found: Found, numbers: "_Numbers", time_of_file: int) -> None:
        wrong: list[tuple[str, str]] = []
        uid, flags = numbers.next(found, wrong)
        if not uid:
            return
        date = found.date
        if date is None:
            date = time_of_file
            wrong.append(("its From line has no date", "it has the time of the file"))
        date = dates.kept(date, partial(_origin, where, uid), scan.faults)
        if found.wrong:
            wrong.append((found.wrong, "it ends where the next one begins"))
        scan.faults += [Fault(_origin(where, uid), what, done) for what, done in wrong]
        scan.messages.add(uid, date, 0, flags)
        scan.starts.append(found.start)
        scan.bodies.append(found.body)
        scan.ends.append(found.end)
        scan.quoted.append(not found.counted and not self._options.dovecot)


class _Numbers:
    """Gives the messages of an mbox their UIDs, in order, as Dovecot does; 1, 2, 3 … where it never was."""

    def __init__(self, index: IndexFlags) -> None:
        self._index = index
        self._first = True
        self._has_base = False
        self._same: dict[tuple[str, ...], tuple[str, ...]] = {}  # one for all that have the same
        self._text = 0  # characters of these
        self._last = 0
        self._next = 1

    def next(self, found: Found, wrong: list[tuple[str, str]]) -> tuple[int, tuple[str, ...]]:
        """UID and flags of the next message; UID 0 for what is none. `wrong`: and what is done."""
        said = found.said
        if self._first:
            self._first = False
            self._begin(said.base)
        if said.pseudo or said.expunged:
            return 0, ()
        uid = 0
        if self._has_base:
            known = said.uid or self._index.offsets.get(found.at, 0)
            uid = known if self._last < known < self._next else 0
        keywords = said.keywords if uid or not self._has_base else ()  # Dovecot trusts no others
        if not uid:
            uid = self._next
            self._next += 1
            if self._has_base and said.uid:
                wrong.append((f"X-UID {said.uid} cannot be, after UID {self._last}", f"it gets UID {uid}"))
        self._last = uid
        flags = self._index.newer.get(uid)
        if flags is None:
            flags = (*said.flags, *keywords)
        if flags not in self._same:
            self._text += sum(map(len, flags))
            if self._text > _MAX_FLAGS_TEXT:
                raise Unreadable("it has too many different flags")
        return uid, self._same.setdefault(flags, flags)

    def _begin(self, base: Base | None) -> None:
        if base and self._index.uidvalidity != base.uidvalidity:
            self._index = IndexFlags()  # of a mailbox that was here before
        self._has_base = bool(base or self._index.uidvalidity)
        self._next = max(base.last_uid + 1 if base else 1, self._index.uidnext, 1)


def _open(where: Where, file: FileIO, scan: _Scan, row: int) -> reading.Reader:
    start, body, end = scan.starts[row], scan.bodies[row], scan.ends[row]
    part = Part(file.fileno(), start, end)
    letter = MboxLetter(part, body - start, quoted=bool(scan.quoted[row]))
    return reading.Reader(letter, _origin(where, scan.messages.uids[row]), plain=True)


def _origin(where: Where, uid: int) -> str:
    return f"{where.origin} UID {uid}"


def _signature(file: FileIO) -> tuple[int, int, int]:
    """What changes when a file is written."""
    about = os.fstat(file.fileno())
    return about.st_ino, about.st_size, about.st_mtime_ns


def _locked(where: Where) -> FileIO:
    """The file of a mailbox, open, with a lock that keeps others from writing. Raises Unreadable."""
    until = time.monotonic() + _LOCK_WAIT
    try:
        with where.folder.opened() as folder:
            file = reading.open_file(where.file, folder, where.origin)
            if file is None or isinstance(file, Fault):
                raise Unreadable(file.what if file else "it is gone")
            try:
                while not _lock(file) or folders.has(folder, where.file + b".lock"):
                    if time.monotonic() > until:
                        raise Unreadable("it is locked by another program")
                    fcntl.lockf(file, fcntl.LOCK_UN)
                    time.sleep(0.1)
            except BaseException:
                file.close()
                raise
            return file
    except OSError as e:
        raise Unreadable(reading.reason(e)) from e


def _lock(file: FileIO) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as e:
        # A file system without locks: nothing that is there could lock it either.
        return e.errno not in (errno.EACCES, errno.EAGAIN)
    return True
