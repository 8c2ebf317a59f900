"""The letters of one folder of a Maildir: their files, wherever these are by now, and what they hold."""

import os
import time
from contextlib import ExitStack
from typing import Final

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources import compressed, mail_crypt
from aerogramme.migrate.sources.maildir.files import PARTS, File, Files, Where, listing, said_size
from aerogramme.migrate.sources.naming import shown
from aerogramme.migrate.sources.reading import PIECE, OpenFile, Reader, open_file, reason
from aerogramme.migrate.sources.source import Fault

_LOOK_AGAIN: Final = 1.0  # seconds between two listings of a folder whose files get other names all the time


class Finder:
    """Opens the letters of a folder, also those whose files have got another name meanwhile. Close it."""

    def __init__(self, where: Where, files: Files) -> None:
        self._where = where
        self._files = files
        self._open = ExitStack()
        self._parts: dict[int, tuple[int, str]] = {}  # descriptors of cur and new, and their paths for people
        self._now: dict[bytes, File] = {}
        self._listed = float("-inf")

    def open(self, row: int) -> Reader | Fault | None:
        """What reads the letter in a row of the columns; None if it is gone. Raises OSError if the folder
        cannot be listed."""
        file = self._files.file(row)
        wide = self._files.messages.sizes[row]
        found = self._read(file, wide)
        if found is not None:
            return found
        base = file.base
        if base in self._files.doubled:
            return None  # that name may be the other's now: the next pass tells them apart
        if other := self._now.get(base):
            found = self._read(other, wide)
        if found is None and (base in self._now or time.monotonic() - self._listed > _LOOK_AGAIN):
            self.close()  # the mailbox may have been made anew
            # A listing can miss a file that gets another name meanwhile: only what two of them miss is gone.
            self._now = listing(self._where) | listing(self._where)
            self._listed = time.monotonic()
            if other := self._now.get(base):
                found = self._read(other, wide)
        return found

    def close(self) -> None:
        """No letter is opened any more, or the folder is opened anew for the next one."""
        self._open.close()
        self._parts.clear()

    def _read(self, file: File, wide: int) -> Reader | Fault | None:
        try:
            folder, path = self._part(file.place)
        except FileNotFoundError:
            return None
        except OSError as e:
            origin = self._where.mail.origin(PARTS[file.place], file.name)
            return Fault(origin, reason(e), "it is left out", lost=True)
        opened = open_file(file.name, folder, origin := f"{path}/{shown(file.name)}")
        if opened is None or isinstance(opened, Fault):
            return opened
        return _Mail(opened, origin, said_size(file.name), wide)

    def _part(self, place: int) -> tuple[int, str]:
        found = self._parts.get(place)
        if found is None:
            part = self._where.mail.below(PARTS[place])
            found = self._parts[place] = self._open.enter_context(part.opened()), part.origin()
        return found


def refuse_encrypted(where: Where) -> None:
    """Looks at one letter: a store is encrypted, or it is not. Raises Unreadable if it is."""
    for part in PARTS:
        try:
            with where.mail.below(part).opened() as folder:
                with os.scandir(folder) as entries:
                    names = (os.fsencode(entry.name) for entry in entries)
                    name = next((name for name in names if not name.startswith(b".")), None)
                file = open_file(name, folder, "") if name else None
        except OSError:
            continue  # whoever reads the folder reports it
        if name and file is not None and not isinstance(file, Fault):
            with file:
                if mail_crypt.is_encrypted(file.read(16)) and said_size(name) != file.size:
                    raise mail_crypt.refused()


class _Mail(Reader):
    """A letter of which sizes were said, uncompressed; 0 where none was. They show that it is cut, or was
    changed."""

    def __init__(self, file: OpenFile, origin: str, said: int, said_wide: int) -> None:
        super().__init__(file, origin)
        self._opened = file
        self._said = said
        self._said_wide = said_wide

    def _is_plain(self, head: bytes) -> bool:
        """Anybody can send, or save, a letter that begins so. If its file has as many octets as the letter,
        that is what it is, unless it is a compressed letter of the same size by chance."""
        if not self._said or self._said != self._opened.size:
            return False
        if not compressed.is_compressed(head):
            return True
        size = 0
        try:
            inner = compressed.opened(head, self._opened)
            while size <= self._said and (piece := inner.read(PIECE)):
                size += len(piece)
        except (*compressed.BROKEN, Unreadable):
            return True
        finally:
            self._opened.seek(len(head))
        return size != self._said

    def remarks(self) -> list[tuple[str, str]]:
        remarks = super().remarks()
        if self._said and self._said != self.size:
            cut = ": it may have been cut" if self.size < self._said else ""
            what = f"it should have {self._said} octets and has {self.size}{cut}"
            remarks.append((what, "it is taken as it is"))
        elif self._said_wide and self._said_wide != self.wide:
            what = f"it should have {self._said_wide} octets by IMAP and has {self.wide}"
            remarks.append((what, "it is taken as it is"))
        elif not self.size:
            remarks.append(("it is empty", "it is taken as it is"))
        return remarks
