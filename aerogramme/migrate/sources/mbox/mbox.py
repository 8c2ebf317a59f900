"""Mail in mbox files: one, or a folder of them.

Dovecot      PATH/Work, and PATH/Lists/trio for Lists/trio; .imap/ has its indexes, .subscriptions is one
others       PATH/Work.mbox; Thunderbird's PATH/Lists and PATH/Lists.sbd/trio; Apple's PATH/Work.mbox/mbox
"""

import errno
import fcntl
import os
import stat
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
from aerogramme.mailbox.names import INBOX, MAX_DEPTH
from aerogramme.migrate.sources import dates, folders, reading, subscriptions
from aerogramme.migrate.sources.dovecot.flags import IndexFlags, read_index_flags
from aerogramme.migrate.sources.faults import Faults
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.mbox import scan as mbox_scan
from aerogramme.migrate.sources.mbox.letter import MboxLetter, Part
from aerogramme.migrate.sources.mbox.scan import Base, Found
from aerogramme.migrate.sources.naming import Naming, unlike
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Messages

_MAX_FLAGS_TEXT: Final = 32 << 20  # characters of all sets of flags in a mailbox that differ
_LOCK_WAIT: Final = 60.0  # seconds: somebody puts mail in
# What stands beside mbox files and is none.
_OTHER: Final = (b".msf", b".lock", b".dat", b".html", b".plist", b"table_of_contents")


@dataclass(frozen=True, slots=True)
class Options:
    """How the files are to be read.

    dovecot  they are those of a Dovecot, which quotes no lines; else lines are quoted as mboxrd has it, where
             no Content-Length says otherwise
    inbox    INBOX=, where that is elsewhere: usually /var/mail/USER
    name     what to call a mailbox that is a single file, in the spelling of the source
    utc      times in From lines are UTC (RFC 4155) and not those of this machine
    """

    dovecot: bool = False
    inbox: Path | None = None
    name: str = ""
    utc: bool = False


@dataclass(frozen=True, slots=True)
class _Where:
    """A mailbox: the folder of its file, the file, and where Dovecot has its index."""

    folder: Place
    file: bytes
    index: Place

    @property
    def origin(self) -> str:
        return self.folder.origin(self.file)


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
            return any(_is_mbox(root, name) for name in folders.names(root) if not name.startswith(b"."))
    except OSError:
        return False


class Mbox:
    """A source (sources/source.py). A file is locked, as Dovecot locks it, while it is read."""

    def __init__(self, path: Path, naming: Naming, options: Options | None = None) -> None:
        self.faults: list[Fault] = Faults()
        self._path = path
        self._naming = naming
        self._options = options or Options()
        self._where: dict[str, _Where] = {}
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
            places = self._places(faults)
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

    def _places(self, faults: list[Fault]) -> dict[bytes, _Where]:
        options = self._options
        places: dict[bytes, _Where] = {}
        if options.inbox:
            index = Place(self._path, (b".imap", b"INBOX"))
            places[b"INBOX"] = _Where(Place(options.inbox.parent), os.fsencode(options.inbox.name), index)
        if self._path.is_dir():
            place = Place(self._path)
            with place.opened() as root:
                self._walk(root, place, b"", places, faults)
        else:
            file = os.fsencode(self._path.name)
            parent = Place(self._path.parent)
            spelled = options.name.encode() or file.removesuffix(b".mbox")
            places[spelled] = _Where(parent, file, parent.below(b".imap", file))
        return places

    def _walk(
        self,
        folder: int,
        place: Place,
        above: bytes,
        places: dict[bytes, _Where],
        faults: list[Fault],
    ) -> None:
        """Finds the mailboxes in a folder. `above`: how names in it begin."""
        for name in sorted(folders.names(folder)):
            if name.startswith(b".") or name.endswith(_OTHER):
                continue
            try:
                self._look_at(folder, place, name, above, places, faults)
            except FileNotFoundError:
                continue  # it was removed just now
            except OSError as e:
                faults.append(Fault(place.origin(name), reading.reason(e), "it is left out", lost=True))

    def _look_at(
        self,
        folder: int,
        place: Place,
        name: bytes,
        above: bytes,
        places: dict[bytes, _Where],
        faults: list[Fault],
    ) -> None:
        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(about.st_mode):
            if len(place.parts) < MAX_DEPTH:
                with folders.inner(folder, name) as inner:
                    short = name if self._options.dovecot else name.removesuffix(b".sbd")
                    self._walk(inner, place.below(name), above + short + b"/", places, faults)
        elif stat.S_ISLNK(about.st_mode):
            done = "it is left out: import it by its own path"
            faults.append(Fault(place.origin(name), "it is a symbolic link", done, lost=True))
        elif not _is_mbox(folder, name):
            faults.append(Fault(place.origin(name), "it is no mbox", "it is passed over"))
        else:
            spelled = above + (name if self._options.dovecot else name.removesuffix(b".mbox"))
            if name == b"mbox" and place.parts and place.parts[-1].endswith(b".mbox"):
                spelled = above[: -len(b".mbox/")]  # Apple Mail: the folder is the mailbox
            if spelled in places:
                spelled = unlike(above + name, places)
            own = b"INBOX" if spelled.upper() == b"INBOX" else name
            places[spelled] = _Where(place, name, place.below(b".imap", own))

    def _subscribed(self) -> set[bytes] | None:
        if not self._path.is_dir():
            return None
        place = Place(self._path)
        with place.opened() as folder:
            file = reading.open_file(b".subscriptions", folder, place.origin(b".subscriptions"))
        if file is None:
            return None
        if isinstance(file, Fault):
            self.faults.append(Fault(file.origin, file.what, "it is not known what is subscribed"))
            return None
        with file:
            return subscriptions.parse(file, "/")

    def _numbers(self, where: _Where) -> tuple[int, int]:
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

    def _scan(self, where: _Where) -> _Scan:
        with _locked(where) as file:
            return self._scan_file(where, file)

    def _scan_file(self, where: _Where, file: FileIO) -> _Scan:
        scan = _Scan(_signature(file))
        about = os.fstat(file.fileno())
        numbers = _Numbers(read_index_flags(where.index, (), scan.faults))
        try:
            for found in mbox_scan.messages(file.fileno(), about.st_size, utc=self._options.utc):
                self._add(where, scan, found, numbers, int(about.st_mtime))
        except OSError as e:
            raise Unreadable(reading.reason(e)) from e
        return scan

    def _add(self, where: _Where, scan: _Scan, found: Found, numbers: "_Numbers", time_of_file: int) -> None:
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


def _open(where: _Where, file: FileIO, scan: _Scan, row: int) -> reading.Reader:
    start, body, end = scan.starts[row], scan.bodies[row], scan.ends[row]
    part = Part(file.fileno(), start, end)
    letter = MboxLetter(part, body - start, quoted=bool(scan.quoted[row]))
    return reading.Reader(letter, _origin(where, scan.messages.uids[row]), plain=True)


def _origin(where: _Where, uid: int) -> str:
    return f"{where.origin} UID {uid}"


def _signature(file: FileIO) -> tuple[int, int, int]:
    """What changes when a file is written."""
    about = os.fstat(file.fileno())
    return about.st_ino, about.st_size, about.st_mtime_ns


def _is_mbox(folder: int, name: bytes) -> bool:
    file = reading.open_file(name, folder, "")
    if file is None or isinstance(file, Fault):
        return isinstance(file, Fault)  # whoever reads it reports it
    with file:
        return mbox_scan.begins_one(file.fileno())


def _locked(where: _Where) -> FileIO:
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
