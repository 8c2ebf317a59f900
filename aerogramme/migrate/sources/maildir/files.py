"""The files of one folder of a Maildir, as messages: the UIDs that Dovecot gave them, flags, dates."""

import io
import os
import re
import stat
import time
from array import array
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from aerogramme import maildir
from aerogramme.errors import Unreadable
from aerogramme.migrate.sources import dates, folders
from aerogramme.migrate.sources.faults import Faults
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.maildir import uidlist
from aerogramme.migrate.sources.maildir.flags import Flags, read_flags
from aerogramme.migrate.sources.maildir.uidlist import UidList
from aerogramme.migrate.sources.naming import shown
from aerogramme.migrate.sources.reading import open_file, reason
from aerogramme.migrate.sources.source import Fault, Messages

PARTS: Final = (b"cur", b"new")
_CUR, _NEW = range(2)
_SIZE: Final = re.compile(rb",S=(\d{1,18})(?=[,:]|$)")
_WIDE: Final = re.compile(rb",W=(\d{1,18})(?=[,:]|$)")
_TIME: Final = re.compile(rb"(\d{0,18})(?:(\.M)(\d{1,18}))?")
_LOOKS: Final = 5  # at files that get other names all the time
_LOCK_WAIT: Final = 5.0  # seconds: Dovecot holds it while it writes some files
_LOCK_OLD: Final = 120.0  # seconds: Dovecot itself overrides a lock that is so old


@dataclass(frozen=True, slots=True)
class Where:
    """A folder of a Maildir: its mail, and the places in which Dovecot keeps its own files of it."""

    mail: Place
    control: Place
    index: Place


@dataclass(slots=True)
class File:
    """A file with mail; `place`: in which of PARTS."""

    place: int
    name: bytes
    date: int = 0

    @property
    def base(self) -> bytes:
        return self.name.partition(b":")[0]


@dataclass(slots=True)
class Files:
    """What a folder holds: its messages by ascending UIDs, and of each the file.

    doubled  names without flags that several files have
    """

    messages: Messages = field(default_factory=Messages)
    faults: list[Fault] = field(default_factory=Faults)
    doubled: set[bytes] = field(default_factory=set)
    _places: bytearray = field(default_factory=bytearray)
    _names: bytearray = field(default_factory=bytearray)  # one after the other: a list is thrice as large
    _ends: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, uid: int, file: File, size: int, flags: tuple[str, ...]) -> None:
        """The next message."""
        self.messages.add(uid, file.date, size, flags)
        self._places.append(file.place)
        self._names += file.name
        self._ends.append(len(self._names))

    def file(self, row: int) -> File:
        """The file of a message, by its place in the columns."""
        start = self._ends[row - 1] if row else 0
        return File(self._places[row], bytes(self._names[start : self._ends[row]]), self.messages.dates[row])


def scan(where: Where, *, settled: bool, dovecot: bool) -> Files:
    """What a folder holds now. It waits: call it in a thread. Raises Unreadable.

    Without a dovecot-uidlist, UIDs are 1, 2, 3 …

    settled  Dovecot gives no UIDs any more: files that have none get the next ones, in the order in which it
             would give them. Without, they are left out, since it may give their UIDs to others.
    dovecot  Dovecot has served the store: that it says no UIDs of a folder is a fault
    """
    files = Files()
    try:
        with where.mail.opened() as folder:
            listed = _listing(folder)
            uids = read_uidlist(where)
            if uids and any(base not in listed for base in uids.uids):
                # Mail may have got another name while the folder was read: what is missed then is there now.
                listed |= _listing(folder)
            if uids and any(base not in uids.uids for base in listed):
                # Dovecot puts a file in its place before it lists it.
                _wait_for_lock(where)
                uids = read_uidlist(where)
            found = _looked_at(folder, where, listed, files.faults)
        if uids is None and dovecot:
            origin = where.control.origin(b"dovecot-uidlist")
            what = "it is missing, or cannot be read"
            files.faults.append(Fault(origin, what, "its messages get new UIDs"))
        numbered = _numbered(where, found, uids, files, settled=settled)
        _fill(where, files, numbered, uids, dovecot=dovecot)
    except OSError as e:
        raise Unreadable(reason(e)) from e
    return files


def listing(where: Where) -> dict[bytes, File]:
    """The files of a folder by their names without flags, dates unknown. Raises OSError."""
    with where.mail.opened() as folder:
        return _listing(folder)


def said_size(name: bytes) -> int:
    """How many octets the letter in a file of this name has, uncompressed; 0 if that is not said."""
    found = _SIZE.search(name)
    return int(found[1]) if found else 0


def _said_wide(name: bytes) -> int:
    found = _WIDE.search(name)
    return int(found[1]) if found else 0


def _listing(folder: int) -> dict[bytes, File]:
    """By the names without flags; where two files have the same, the second by its whole name."""
    found: dict[bytes, File] = {}
    for place in _NEW, _CUR:  # mail goes from new/ to cur/: in this order none is missed
        try:
            with folders.inner(folder, PARTS[place]) as inner:
                for name in folders.names(inner):
                    if not name.startswith(b"."):
                        base = name.partition(b":")[0]
                        found[name + b":" if base in found else base] = File(place, name)
        except FileNotFoundError:
            continue
    return found


def read_uidlist(where: Where) -> UidList | None:
    """The dovecot-uidlist of a folder; None if there is none that can be used. Raises OSError."""
    try:
        with where.control.opened() as folder:
            file = open_file(b"dovecot-uidlist", folder, "")
    except FileNotFoundError:
        return None
    if file is None or isinstance(file, Fault):
        return None
    with file, io.BufferedReader(file) as buffered:
        try:
            return uidlist.parse(buffered)
        except Unreadable:
            return None


def _wait_for_lock(where: Where) -> None:
    until = time.monotonic() + _LOCK_WAIT
    while time.monotonic() < until:
        try:
            with where.control.opened() as folder:
                since = os.stat(b"dovecot-uidlist.lock", dir_fd=folder, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return
        if time.time() - since > _LOCK_OLD:
            return
        time.sleep(0.05)


def _looked_at(
    folder: int, where: Where, listed: dict[bytes, File], faults: list[Fault]
) -> dict[bytes, File]:
    """The files with their dates: INTERNALDATE is the time of a file, which Dovecot sets."""
    found: dict[bytes, File] = {}
    links: set[tuple[int, bytes]] = set()
    for _ in range(_LOOKS):
        missing: list[bytes] = []
        for key, file in listed.items():
            path = PARTS[file.place], file.name
            try:
                about = os.stat(b"/".join(path), dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                missing.append(key)
                continue
            if not stat.S_ISREG(about.st_mode):
                what = "it is a symbolic link" if stat.S_ISLNK(about.st_mode) else "it is not a file"
                faults.append(Fault(where.mail.origin(*path), what, "it is left out", lost=True))
                continue
            if about.st_nlink > 1:  # Dovecot copies by links, too, but with other names
                link = about.st_ino, file.base
                if link in links:
                    what = "another file with this name is the same"
                    faults.append(Fault(where.mail.origin(*path), what, "it is left out"))
                    continue
                links.add(link)
            file.date = dates.kept(int(about.st_mtime // 1), partial(where.mail.origin, *path), faults)
            found[file.base if key.endswith(b":") and file.base not in found else key] = file
        if not missing:
            break
        # Their flags have changed meanwhile, and so their names; or they are gone.
        now = _listing(folder) | _listing(folder)
        listed = {key: now[key] for key in missing if key in now}
    else:
        for file in listed.values():
            origin = where.mail.origin(PARTS[file.place], file.name)
            faults.append(
                Fault(origin, "its file gets other names all the time", "it is left out", lost=True)
            )
    return found


def _numbered(
    where: Where, found: dict[bytes, File], uids: UidList | None, files: Files, *, settled: bool
) -> list[tuple[int, File]]:
    """The files with their UIDs, in ascending order."""
    numbered: list[tuple[int, File]] = []
    rest: list[File] = []
    for key, file in found.items():
        uid = uids.uids.get(key, 0) if uids else 0
        if uid:
            numbered.append((uid, file))
        else:
            rest.append(file)
            if key.endswith(b":"):
                files.doubled.add(file.base)
                origin = where.mail.origin(PARTS[file.place], file.name)
                files.faults.append(Fault(origin, "another file has this name", "it is a message of its own"))
    numbered.sort(key=lambda one: one[0])
    if rest and uids and not settled:
        what = f"Dovecot has given no UID yet to {len(rest)} of its files, such as {shown(rest[0].name)}"
        done = "they are left out: doveadm mailbox status -u USER messages '*', or --final, gives them one"
        files.faults.append(Fault(where.mail.origin(), what, done, lost=True))
    elif rest:
        rest.sort(key=_order)
        numbered += enumerate(rest, uids.uidnext if uids else 1)
    return numbered


def _order(file: File) -> tuple[int, bytes, int, bytes]:
    """The order in which Dovecot gives UIDs: by the second, and the microsecond, in which a file came."""
    found = _TIME.match(file.name)
    assert found is not None  # it matches nothing, too
    rest = file.base[found.end(1) :]
    return int(found[1] or b"0"), found[2] or rest, int(found[3] or b"0"), file.base


def _fill(
    where: Where, files: Files, numbered: list[tuple[int, File]], uids: UidList | None, *, dovecot: bool
) -> None:
    """Puts the messages into columns."""
    flags = Flags()
    if uids:
        origin = where.control.origin(b"dovecot-uidlist")
        files.faults += [Fault(origin, what, "the rest of it is used") for what in uids.wrong]
    if not dovecot:  # an export of ours, or what is left of a Dovecot: letters have names all the same
        with where.control.opened() as folder:
            dovecot = folders.has(folder, b"dovecot-keywords")
    if dovecot:
        flags = read_flags(where.control, where.index, uids.uidvalidity if uids else 0, files.faults)
    for uid, file in numbered:
        size = _said_wide(file.name) or (uids.wide.get(uid, 0) if uids else 0)
        files.add(uid, file, size, flags.of(file.name, uid))
    if dovecot:
        origin = where.control.origin(b"dovecot-keywords")
        for letter in sorted(flags.unknown):
            done = f"it is called unknown-{maildir.KEYWORDS.index(letter)}, as Dovecot calls it"
            files.faults.append(Fault(origin, f"keyword {letter} has no name", done))
