"""Where things are in a store of Dovecot's dbox.

    ROOT/mailboxes/a/b/dbox-Mails/u.7       sdbox: a letter; beside it the index of the mailbox a/b
    ROOT/mailboxes/<GUID>/                  the same with LAYOUT=index
    ROOT/storage/m.3                        mdbox: letters of all mailboxes, and their index dovecot.map.index
    ALT/…                                   the same for letters that were moved to other disks (ALT=)
    INDEX/mailboxes/a/b/, INDEX/storage/    indexes, if they are elsewhere (INDEX=)
    CONTROL/subscriptions                   if that is elsewhere (CONTROL=)

Symbolic links below these are not followed: who owns a mailbox could have another's mail put among theirs.
"""

import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from aerogramme.errors import Unreadable
from aerogramme.mailbox.names import MAX_DEPTH
from aerogramme.migrate.sources import folders
from aerogramme.migrate.sources.dbox.file import DboxFile
from aerogramme.migrate.sources.reading import open_file, reason
from aerogramme.migrate.sources.source import Fault

MAILS = b"dbox-Mails"
MAILBOXES = b"mailboxes"
STORAGE = b"storage"
_TRASH = b"..DOVECOT-TRASHED"  # where mailboxes are that are being deleted
_GUID = re.compile(rb"[0-9a-f]{32}")
_OPEN_FILES = 16
Parts = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """The folders that a store consists of.

    index, control  where these things are, if not in root
    many            files have many letters (mdbox)
    by_guid         the folders of mailboxes are called by GUIDs (LAYOUT=index)
    """

    root: Path
    index: Path | None = None
    control: Path | None = None
    alt: Path | None = None
    many: bool = False
    by_guid: bool = False

    def letters(self) -> list[Path]:
        """Where letters may be."""
        return [self.root, self.alt] if self.alt else [self.root]

    def mailboxes(self, faults: list[Fault]) -> Iterator[Parts]:
        """The levels of the names of all mailboxes, as they are spelled in the store."""
        yield from self._below((), faults)

    def is_empty(self) -> bool:
        """Nothing is in it that could be a mailbox."""
        with opened(self.root, (MAILBOXES,)) as folder:
            return not _folders(folder)

    def guids(self) -> list[bytes]:
        """The folders of mailboxes that are called by GUIDs."""
        with opened(self.root, (MAILBOXES,)) as folder:
            return [name for name in _folders(folder) if _GUID.fullmatch(name)]

    def _below(self, above: Parts, faults: list[Fault]) -> Iterator[Parts]:
        try:
            with opened(self.root, (MAILBOXES, *above)) as folder:
                found = list(folders.inner_folders(folder)) if folder is not None else []
        except (Unreadable, OSError) as error:
            origin = self.shown((MAILBOXES, *above))
            faults.append(Fault(origin, reason(error), "it is left out", lost=True))
            return
        if above and (MAILS, False) in found:
            yield above
        for name, link in found if len(above) < MAX_DEPTH else ():
            if link:
                origin = self.shown((MAILBOXES, *above, name))
                faults.append(Fault(origin, "it is a symbolic link", "it is not followed", lost=True))
            elif name not in (MAILS, _TRASH):
                yield from self._below((*above, name), faults)

    def mails(self, levels: Parts) -> Parts:
        """The folder, below root and alt, that is a mailbox."""
        return (MAILBOXES, *levels) if self.by_guid else (MAILBOXES, *levels, MAILS)

    def index_of(self, levels: Parts) -> tuple[Path, Parts]:
        """The folder with the index of a mailbox: where it is, and its name below."""
        if self.index is None:
            return self.root, self.mails(levels)
        return self.index, (MAILBOXES, *levels)

    def shown(self, parts: Sequence[bytes]) -> str:
        """A file in root for people."""
        return folders.Place(self.root, tuple(parts)).origin()


def find_store(
    root: Path, *, index: Path | None = None, control: Path | None = None, alt: Path | None = None
) -> Store | None:
    """The store in a folder; None if there is no dbox. Unreadable if it may not be looked at."""
    with opened(root, (MAILBOXES,)) as folder:
        if folder is None:
            return None
        guids = [name for name in _folders(folder) if _GUID.fullmatch(name)]
    by_guid = bool(guids) and not any(has(root, (MAILBOXES, name, MAILS)) for name in guids)
    return Store(root, index, control, alt, has(root, (STORAGE,)), by_guid)


def _folders(folder: int | None) -> list[bytes]:
    return [name for name, link in folders.inner_folders(folder) if not link] if folder is not None else []


@contextmanager
def opened(root: Path, parts: Sequence[bytes]) -> Iterator[int | None]:
    """The descriptor of a folder below another; None if there is none. Raises Unreadable."""
    with ExitStack() as stack:
        try:
            descriptor: int | None = stack.enter_context(folders.Place(root, tuple(parts)).opened())
        except FileNotFoundError:
            descriptor = None
        except OSError as error:
            raise Unreadable(f"{folders.Place(root, tuple(parts)).origin()}: {reason(error)}") from error
        yield descriptor


def has(root: Path, parts: Sequence[bytes]) -> bool:
    """There is such a folder."""
    with opened(root, parts) as folder:
        return folder is not None


class Files:
    """Files of letters, some of them kept open. Raises Unreadable."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: OrderedDict[Parts, DboxFile] = OrderedDict()
        self._folders: dict[tuple[Path, Parts], int] = {}

    def get(self, parts: Parts, *, keep: bool) -> DboxFile | None:
        """A file in root or alt, to `release`; None if there is none. `keep`: it is needed again soon."""
        if (file := self._open.get(parts)) is not None:
            self._open.move_to_end(parts)
        else:
            file = self._find(parts)
            if file is None or not keep:
                return file
            self._open[parts] = file
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)[1].release()
        file.use()
        return file

    def _find(self, parts: Parts) -> DboxFile | None:
        origin = self._store.shown(parts)
        for place in self._store.letters():
            file = self._in_folder(place, parts, origin)
            if isinstance(file, Fault):
                raise Unreadable(f"{origin}: {file.what}")
            if file is not None:
                return DboxFile(file, origin)
        return None

    def _in_folder(self, place: Path, parts: Parts, origin: str) -> BinaryIO | Fault | None:
        """The folder of the last file stays open: the next one is in it, mostly."""
        above = place, parts[:-1]
        folder = self._folders.get(above)
        file = None if folder is None else open_file(parts[-1], folder, origin)
        if file is not None:
            return file
        with opened(*above) as found:  # it may be another one by now
            if found is None:
                return None
            if len(self._folders) > len(self._store.letters()):
                self._close_folders()
            if (old := self._folders.pop(above, None)) is not None:
                os.close(old)
            self._folders[above] = os.dup(found)
            return open_file(parts[-1], found, origin)

    def _close_folders(self) -> None:
        for folder in self._folders.values():
            os.close(folder)
        self._folders.clear()

    def close(self) -> None:
        """Closes all that nobody reads."""
        while self._open:
            self._open.popitem()[1].release()
        self._close_folders()
