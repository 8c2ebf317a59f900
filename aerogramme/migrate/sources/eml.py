"""Mail in files with one letter each, as mail programs save them: one, or a folder of them.

A folder below is a mailbox of its name; letters that are in PATH itself are in one with the name of PATH.
There are no UIDs and no flags. The date is when the letter came, as the last Received says, or else when it
was sent; the time of the file is that of its saving.
"""

import email.utils
import os
import re
import stat
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import trio

from aerogramme.errors import Unreadable
from aerogramme.mailbox.names import INBOX, MAX_DEPTH
from aerogramme.migrate.sources import dates, folders, reading
from aerogramme.migrate.sources.faults import Faults
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.maildir.files import File, Files
from aerogramme.migrate.sources.naming import Naming, shown, unlike
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Messages

_ENDINGS: Final = (b".eml", b".eml.gz", b".eml.bz2", b".eml.xz", b".eml.zst")
# RFC 5322 §3.6.7: the newest Received is the first; its date comes after the last semicolon.
_RECEIVED: Final = re.compile(rb"^received:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_DATE: Final = re.compile(rb"^date:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_HEADER_END: Final = re.compile(rb"\n\r?\n")


def looks_like(path: Path) -> bool:
    """Is this a file with a letter, or a folder that has some?"""
    if not path.is_dir():
        return _is_letter(os.fsencode(path.name))
    return any(_is_letter(os.fsencode(name)) for _, _, names in os.walk(path) for name in names)


class Eml:
    """A source (sources/source.py). `name`: of the mailbox for the letters that are in PATH itself."""

    def __init__(self, path: Path, naming: Naming, name: str = "") -> None:
        self.faults: list[Fault] = Faults()
        self._path = path
        self._naming = replace(naming, separator="/", utf8=True)
        self._name = os.fsencode(name)
        self._places: dict[str, Place] = {}
        self._last: tuple[str, Files] | None = None

    async def folders(self) -> Sequence[Folder]:
        return await trio.to_thread.run_sync(self._folders)

    async def messages(self, folder: Folder) -> Messages:
        self._last = None  # the columns of one folder at a time
        files = await trio.to_thread.run_sync(self._scan, folder)
        self.faults += files.faults
        self._last = folder.name, files
        return files.messages

    async def letters(self, folder: Folder, uids: Sequence[int]) -> AsyncGenerator[Letter | Fault, None]:
        place = self._places[folder.name]
        name, files = self._last or ("", Files())
        try:
            if name != folder.name:
                files = await trio.to_thread.run_sync(self._scan, folder)
            with place.opened() as inner:
                openers = (
                    (uid, partial(_reader, inner, place, files.file(row).name))
                    for uid, row in files.messages.rows(uids)
                )
                async with aclosing(reading.letters(openers, self.faults)) as found:
                    async for letter in found:
                        yield letter
        except OSError as e:
            yield Fault(place.origin(), reading.reason(e), "its letters are left out", lost=True)
        except Unreadable as e:
            yield reading.left_out(place.origin(), e)

    async def aclose(self) -> None:
        self._last = None

    def _folders(self) -> list[Folder]:
        faults: list[Fault] = []
        found: dict[bytes, Place] = {}
        try:
            if self._path.is_dir():
                self._walk(Place(self._path), b"", found, faults)
            elif _is_letter(os.fsencode(self._path.name)):
                found[self._name or os.fsencode(self._path.absolute().parent.name)] = Place(self._path.parent)
        except OSError as e:
            raise Unreadable(f"{Place(self._path).origin()}: {reading.reason(e)}") from e
        if not found:
            raise Unreadable(f"There is no file with the ending .eml in {Place(self._path).origin()}")
        names = self._naming.names(found)
        self._places = {names.of[spelled]: place for spelled, place in found.items()}
        self.faults += [*faults, *names.faults]
        listed = [
            Folder(name, place.origin(), role=names.roles.get(name)) for name, place in self._places.items()
        ]
        return sorted(listed, key=lambda folder: (folder.name != INBOX, folder.name))

    def _walk(self, place: Place, spelled: bytes, found: dict[bytes, Place], faults: list[Fault]) -> None:
        with place.opened() as folder:
            names = folders.names(folder)
            inner = list(folders.inner_folders(folder))
        if any(map(_is_letter, names)):
            own = spelled or self._name or os.fsencode(self._path.absolute().name)
            found[unlike(own, found)] = place
        below = {name for name, _ in inner}
        others = [n for n in sorted(names) if not (_is_letter(n) or n in below or n.startswith(b"."))]
        if others:
            what = f"{len(others)} files have not the ending .eml, such as {shown(others[0])}"
            faults.append(Fault(place.origin(), what, "they are passed over"))
        for name, is_link in inner:
            if is_link:
                done = "it is left out: import it by its own path"
                faults.append(Fault(place.origin(name), "it is a symbolic link", done, lost=True))
            elif len(place.parts) < MAX_DEPTH and not name.startswith(b"."):
                deeper = place.below(name)
                try:
                    self._walk(deeper, spelled + b"/" + name if spelled else name, found, faults)
                except FileNotFoundError:
                    continue  # it was removed just now
                except OSError as e:
                    faults.append(Fault(deeper.origin(), reading.reason(e), "it is left out", lost=True))

    def _scan(self, folder: Folder) -> Files:
        place = self._places[folder.name]
        only = None if self._path.is_dir() else os.fsencode(self._path.name)
        files = Files()
        found: list[File] = []
        try:
            with place.opened() as inner:
                for name in folders.names(inner):
                    if _is_letter(name) and only in (None, name):
                        found += _looked_at(inner, place, name, files.faults)
        except OSError as e:
            raise Unreadable(reading.reason(e)) from e
        found.sort(key=lambda file: (file.date, file.name))
        for uid, file in enumerate(found, 1):
            files.add(uid, file, 0, ())
        return files


def _reader(folder: int, place: Place, name: bytes) -> reading.Reader | Fault | None:
    origin = place.origin(name)
    file = reading.open_file(name, folder, origin)
    if file is None or isinstance(file, Fault):
        return file
    return reading.Reader(file, origin, plain=name.lower().endswith(b".eml"))


def _is_letter(name: bytes) -> bool:
    return name.lower().endswith(_ENDINGS) and not name.startswith(b".")


def _looked_at(folder: int, place: Place, name: bytes, faults: list[Fault]) -> list[File]:
    """The file with the date of its letter; none if it is gone. What cannot be read is told later."""
    try:
        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return []
    date = int(about.st_mtime) if stat.S_ISREG(about.st_mode) else 0
    reader = _reader(folder, place, name)
    if isinstance(reader, reading.Reader):
        with closing(reader), suppress(Unreadable):
            date = _date(reader.read()) or date
    return [File(0, name, dates.kept(date, partial(place.origin, name), faults))]


def _date(letter: bytes) -> int | None:
    """Unix seconds of a letter, from its first piece."""
    end = _HEADER_END.search(letter)
    head = letter[: end.end()] if end else letter
    for found in (_RECEIVED.search(head), _DATE.search(head)):
        if found:
            try:
                text = found[1].rpartition(b";")[2].decode("ascii", errors="replace")
                return int(email.utils.parsedate_to_datetime(" ".join(text.split())).timestamp())
            except (ValueError, TypeError, IndexError, OverflowError):
                continue  # there is none in it: the next may have one
    return None
