"""Mail in a Maildir: that of Dovecot, in both its layouts, or any other.

    maildir++   PATH/{cur,new,tmp} is INBOX, PATH/.Work.2024/{cur,new,tmp} is Work/2024
    fs          PATH/Work/2024/{cur,new,tmp} is Work/2024

Dovecot may serve it meanwhile: it renames files when flags change, and moves them from new/ to cur/.
"""

from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

import trio

from aerogramme.errors import Unreadable
from aerogramme.mailbox.names import INBOX, MAX_DEPTH
from aerogramme.maildir import PARTS
from aerogramme.migrate.sources import folders, reading, subscriptions
from aerogramme.migrate.sources.faults import Faults
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.maildir.files import Files, Where, read_uidlist, scan
from aerogramme.migrate.sources.maildir.letters import Finder, refuse_encrypted
from aerogramme.migrate.sources.naming import Naming, shown
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Messages

Layout = Literal["maildir++", "fs"]

_PARTS: Final = tuple(part.encode() for part in PARTS)
# What is in the root of any Maildir that Dovecot has opened.
_DOVECOTS: Final = (b"dovecot-uidlist", b"dovecot-uidvalidity", b"dovecot.index.log")


@dataclass(frozen=True, slots=True)
class Options:
    """Where Dovecot's mail_location says that things are.

    layout   None: as it looks
    control  CONTROL=, where dovecot-uidlist and subscriptions are, if not with the mail
    index    INDEX=
    inbox    INBOX=, if it is not PATH itself
    settled  Dovecot gives no UIDs any more: maildir_files.scan
    """

    layout: Layout | None = None
    control: Path | None = None
    index: Path | None = None
    inbox: Path | None = None
    settled: bool = False


def looks_like(path: Path) -> bool:
    """Is this folder a Maildir?"""
    try:
        with Place(path).opened() as root:
            return _is_mailbox(root) or any(True for _ in _found(root, "maildir++", []))
    except OSError:
        return False


class Maildir:
    """A source (sources/source.py)."""

    def __init__(self, path: Path, naming: Naming, options: Options | None = None) -> None:
        self.faults: list[Fault] = Faults()
        self._path = path
        self._naming = naming
        self._options = options or Options()
        self._dovecot = False
        self._where: dict[str, Where] = {}
        self._last: tuple[str, Files] | None = None

    async def folders(self) -> Sequence[Folder]:
        return await trio.to_thread.run_sync(self._folders)

    async def messages(self, folder: Folder) -> Messages:
        self._last = None  # the columns of one folder at a time
        files = await self._scan(folder)
        self.faults += files.faults
        self._last = folder.name, files
        return files.messages

    async def letters(self, folder: Folder, uids: Sequence[int]) -> AsyncGenerator[Letter | Fault, None]:
        where = self._where[folder.name]
        name, files = self._last or ("", Files())
        try:
            if name != folder.name:
                files = await self._scan(folder)
            with closing(Finder(where, files)) as finder:
                openers = ((uid, partial(finder.open, row)) for uid, row in _rows(files.messages, uids))
                async with aclosing(reading.letters(openers, self.faults)) as found:
                    async for letter in found:
                        yield letter
        except OSError as e:
            yield Fault(where.mail.origin(), reading.reason(e), "its letters are left out", lost=True)
        except Unreadable as e:
            yield reading.left_out(where.mail.origin(), e)

    async def aclose(self) -> None:
        self._last = None

    async def _scan(self, folder: Folder) -> Files:
        where, settled = self._where[folder.name], self._options.settled
        return await trio.to_thread.run_sync(lambda: scan(where, settled=settled, dovecot=self._dovecot))

    def _folders(self) -> list[Folder]:
        try:
            return self._read_folders()
        except OSError as e:
            raise Unreadable(f"{Place(self._path).origin()}: {reading.reason(e)}") from e

    def _read_folders(self) -> list[Folder]:
        faults: list[Fault] = []
        with Place(self._path).opened() as root:
            layout = self._options.layout or _layout(root)
            places = _found(root, layout, faults)
            if self._options.inbox or _is_mailbox(root):
                places = {b"INBOX": ()} | places
            self._dovecot = bool(self._options.control) or any(folders.has(root, name) for name in _DOVECOTS)
        if not places:
            path = Place(self._path).origin()
            raise Unreadable(f"{path} is no Maildir", hint="there is no folder cur or new in it")
        separator = "." if layout == "maildir++" else "/"
        naming = replace(self._naming, separator=separator, mixed=not self._dovecot)
        names = naming.names(places)
        subscribed = self._subscribed(separator)
        found: list[Folder] = []
        self._where.clear()
        for spelled, parts in places.items():
            name = names.of[spelled]
            where = self._place(parts, layout)
            refuse_encrypted(where)
            try:
                uids = read_uidlist(where)
            except OSError as e:
                done = "the mailbox is left out"
                faults.append(Fault(where.control.origin(), reading.reason(e), done, lost=True))
                continue
            self._where[name] = where
            found.append(
                Folder(
                    name=name,
                    origin=where.mail.origin(),
                    uidvalidity=uids.uidvalidity if uids else 0,
                    uidnext=uids.uidnext if uids else 0,
                    role=names.roles.get(name),
                    subscribed=None if subscribed is None else spelled in subscribed,
                )
            )
        self.faults += [*faults, *names.faults]
        return sorted(found, key=lambda folder: (folder.name != INBOX, folder.name))

    def _place(self, parts: tuple[bytes, ...], layout: Layout) -> Where:
        options = self._options
        # Only below another root does INBOX have a folder of its own.
        own = parts or ((b".INBOX",) if layout == "maildir++" else (b"INBOX",))
        mail = Place(self._path, parts) if parts else Place(options.inbox or self._path)
        return Where(
            mail=mail,
            control=Place(options.control, own) if options.control else mail,
            index=Place(options.index, own) if options.index else mail,
        )

    def _subscribed(self, separator: str) -> set[bytes] | None:
        place = Place(self._options.control or self._path)
        with place.opened() as folder:
            file = reading.open_file(b"subscriptions", folder, place.origin(b"subscriptions"))
        if file is None:
            return None
        if isinstance(file, Fault):
            self.faults.append(Fault(file.origin, file.what, "it is not known what is subscribed"))
            return None
        with file:
            return subscriptions.parse(file, separator)


def _rows(messages: Messages, uids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The UIDs that are there, each with its row."""
    for uid in uids:
        row = bisect_left(messages.uids, uid)
        if row < len(messages.uids) and messages.uids[row] == uid:
            yield uid, row


def _layout(root: int) -> Layout:
    """As a Maildir looks: with folders that begin with a dot, or with some that do not."""
    faults: list[Fault] = []
    return "fs" if not _found(root, "maildir++", faults) and _found(root, "fs", faults) else "maildir++"


def _is_mailbox(folder: int) -> bool:
    return any(folders.has(folder, name) for name in (b"cur", b"new", b"dovecot-uidlist"))


def _found(root: int, layout: Layout, faults: list[Fault]) -> dict[bytes, tuple[bytes, ...]]:
    """The mailboxes but INBOX: how their names are spelled, and their folders."""
    if layout == "fs":
        return _below(root, (), faults)
    found: dict[bytes, tuple[bytes, ...]] = {}
    for name, is_link in folders.inner_folders(root):
        # ..DOVECOT-TRASHED is what a deleted mailbox becomes until its files are gone.
        is_mailbox = name.startswith(b".") and name != b"..DOVECOT-TRASHED"
        if is_mailbox and _looked_into(root, name, is_link, faults):
            found[name[1:]] = (name,)
    return found


def _below(folder: int, parts: tuple[bytes, ...], faults: list[Fault]) -> dict[bytes, tuple[bytes, ...]]:
    found: dict[bytes, tuple[bytes, ...]] = {}
    for name, is_link in folders.inner_folders(folder):
        if name in _PARTS or len(parts) >= MAX_DEPTH:
            continue
        if _looked_into(folder, name, is_link, faults):
            found[b"/".join((*parts, name))] = (*parts, name)
        if not is_link:
            with folders.inner(folder, name) as inner:
                found |= _below(inner, (*parts, name), faults)
    return found


def _looked_into(folder: int, name: bytes, is_link: bool, faults: list[Fault]) -> bool:
    """Is the folder of this name in another a mailbox that can be read?"""
    if is_link:
        if not folders.has(folder, name + b"/cur"):
            return False
        what = "it is a symbolic link"
    else:
        try:
            with folders.inner(folder, name) as inner:
                return _is_mailbox(inner)
        except OSError as e:
            what = reading.reason(e)
    faults.append(Fault(shown(name), what, "it is left out: import it by its own path", lost=True))
    return False
