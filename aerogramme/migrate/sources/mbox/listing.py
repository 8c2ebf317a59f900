"""Which files are mboxes, and how the names of their mailboxes are spelled.

Dovecot      PATH/Work, and PATH/Lists/trio for Lists/trio; .imap/ has its indexes, .subscriptions is one
others       PATH/Work.mbox; Thunderbird's PATH/Lists and PATH/Lists.sbd/trio; Apple's PATH/Work.mbox/mbox
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aerogramme.mailbox.names import MAX_DEPTH
from aerogramme.migrate.sources import folders, reading
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.mbox.scan import begins_one
from aerogramme.migrate.sources.naming import unlike
from aerogramme.migrate.sources.source import Fault

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
class Where:
    """A mailbox: the folder of its file, the file, and where Dovecot has its index."""

    folder: Place
    file: bytes
    index: Place

    @property
    def origin(self) -> str:
        return self.folder.origin(self.file)


class Listing:
    """The mailboxes: `places`, by their names as they are spelled. What cannot be looked at is a fault.

    Raises OSError where that is PATH itself.
    """

    def __init__(self, path: Path, options: Options, faults: list[Fault]) -> None:
        self.places: dict[bytes, Where] = {}
        self._dovecot = options.dovecot
        self._faults = faults
        if options.inbox:
            index = Place(path, (b".imap", b"INBOX"))
            self.places[b"INBOX"] = Where(Place(options.inbox.parent), os.fsencode(options.inbox.name), index)
        if path.is_dir():
            root = Place(path)
            with root.opened() as folder:
                self._walk(folder, root, b"")
        else:
            file = os.fsencode(path.name)
            parent = Place(path.parent)
            spelled = options.name.encode() or file.removesuffix(b".mbox")
            self.places[spelled] = Where(parent, file, parent.below(b".imap", file))

    def _walk(self, folder: int, place: Place, above: bytes) -> None:
        """Finds the mailboxes in a folder. `above`: how names in it begin."""
        for name in sorted(folders.names(folder)):
            if name.startswith(b".") or name.endswith(_OTHER):
                continue
            try:
                self._look_at(folder, place, above, name)
            except FileNotFoundError:
                continue  # it was removed just now
            except OSError as e:
                self._faults.append(Fault(place.origin(name), reading.reason(e), "it is left out", lost=True))

    def _look_at(self, folder: int, place: Place, above: bytes, name: bytes) -> None:
        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(about.st_mode):
            if len(place.parts) < MAX_DEPTH:
                with folders.inner(folder, name) as inner:
                    short = name if self._dovecot else name.removesuffix(b".sbd")
                    self._walk(inner, place.below(name), above + short + b"/")
        elif stat.S_ISLNK(about.st_mode):
            done = "it is left out: import it by its own path"
            self._faults.append(Fault(place.origin(name), "it is a symbolic link", done, lost=True))
        elif not is_mbox(folder, name):
            self._faults.append(Fault(place.origin(name), "it is no mbox", "it is passed over"))
        else:
            spelled = above + (name if self._dovecot else name.removesuffix(b".mbox"))
            if name == b"mbox" and place.parts and place.parts[-1].endswith(b".mbox"):
                spelled = above[: -len(b".mbox/")]  # Apple Mail: the folder is the mailbox
            if spelled in self.places:
                spelled = unlike(above + name, self.places)
            own = b"INBOX" if spelled.upper() == b"INBOX" else name
            self.places[spelled] = Where(place, name, place.below(b".imap", own))


def is_mbox(folder: int, name: bytes) -> bool:
    """Is the file of this name in a folder an mbox, or one of which only reading it tells why not?"""
    file = reading.open_file(name, folder, "")
    if file is None or isinstance(file, Fault):
        return isinstance(file, Fault)
    with file:
        return begins_one(file.fileno())
