"""Mail in a Maildir: that of Dovecot, in both its layouts, or any other.

    maildir++   PATH/{cur,new,tmp} is INBOX, PATH/.Work.2024/{cur,new,tmp} is Work/2024
    fs          PATH/Work/2024/{cur,new,tmp} is Work/2024

Dovecot may serve it meanwhile: it renames files when flags change, and moves them from new/ to cur/.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

import trio

from aerogramme.errors import Unreadable
from aerogramme.mailbox.names import INBOX, MAX_DEPTH
from aerogramme.migrate.sources import folders, reading, subscriptions
from aerogramme.migrate.sources.faults import Faults
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.maildir.files import Files, Where, read_uidlist, scan
from aerogramme.migrate.sources.maildir.letters import Finder, refuse_encrypted
from aerogramme.migrate.sources.naming import Naming, unlike
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Messages

Layout = Literal["maildir++", "fs"]

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
            return _is_mailbox(root) or bool(_found(Place(path), root, "maildir++", []))
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
                openers = ((uid, partial(finder.open, row)) for uid, row in files.messages.rows(uids))
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
        place = Place(self._path)
        with place.opened() as root:
            layout = self._options.layout or _layout(place, root)
            places = _found(place, root, layout, faults)
            if self._options.inbox or _is_mailbox(root):
                if (other := places.pop(b"INBOX", None)) is not None:
                    places[unlike(b"INBOX_", places)] = other
                places = {b"INBOX": place} | places
            self._dovecot = bool(self._options.control) or any(folders.has(root, name) for name in _DOVECOTS)
        if not places:
            raise Unreadable(f"{place.origin()} is no Maildir", hint="there is no folder cur or new in it")
        separator = "." if layout == "maildir++" else "/"
        naming = replace(self._naming, separator=separator, mixed=not self._dovecot)
        names = naming.names(places)
        subscribed = self._subscribed(separator)
        found: list[Folder] = []
        self._where.clear()
        for spelled, place in places.items():
            name = names.of[spelled]
            where = self._place(place, layout)
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

    def _place(self, place: Place, layout: Layout) -> Where:
        options = self._options
        # Only below another root does INBOX have a folder of its own.
        own = place.parts or ((b".INBOX",) if layout == "maildir++" else (b"INBOX",))
        mail = place if place.parts else Place(options.inbox or self._path)
        return Where(
            mail=mail,
            control=Place(options.control, own) if options.control else mail,
            index=Place(options.index, own) if options.index else mail,
        )

    def _subscribed(self, separator: str) -> set[bytes] | None:
        place = Place(self._options.control or self._path)
        name = b"subscriptions"
        with place.opened() as folder:
            return subscriptions.read(folder, name, place.origin(name), separator, self.faults)


def _layout(place: Place, root: int) -> Layout:
    """As a Maildir looks: with folders that begin with a dot, or with some that do not."""
    return "fs" if not _found(place, root, "maildir++", []) and _found(place, root, "fs", []) else "maildir++"


def _is_mailbox(folder: int) -> bool:
    return any(folders.has(folder, name) for name in (b"cur", b"new", b"dovecot-uidlist"))


def _found(place: Place, root: int, layout: Layout, faults: list[Fault]) -> dict[bytes, Place]:
    """The mailboxes but INBOX, by their names as they are spelled."""
    if layout == "fs":
        return {b"/".join(one.parts): one for one in _below(place, root, _is_level, faults, deep=True)}
    return {one.parts[0][1:]: one for one in _below(place, root, _is_dotted, faults, deep=False)}


def _is_level(name: bytes) -> bool:
    return name not in (b"cur", b"new", b"tmp")


def _is_dotted(name: bytes) -> bool:
    # ..DOVECOT-TRASHED is what a deleted mailbox becomes until its files are gone.
    return name.startswith(b".") and name != b"..DOVECOT-TRASHED"


def _below(
    place: Place, folder: int, is_wanted: Callable[[bytes], bool], faults: list[Fault], *, deep: bool
) -> Iterator[Place]:
    """The mailboxes in a folder, and with `deep` below it. What cannot be looked at costs only itself."""
    for name, is_link in folders.inner_folders(folder):
        if not is_wanted(name) or len(place.parts) >= MAX_DEPTH:
            continue
        found = place.below(name)
        what = ""
        if is_link:
            what = "it is a symbolic link" if _may_be_mailbox(folder, name) else ""
        else:
            try:
                with folders.inner(folder, name) as inner:
                    if _is_mailbox(inner):
                        yield found
                    if deep:
                        yield from _below(found, inner, is_wanted, faults, deep=True)
            except FileNotFoundError:
                continue  # it was deleted just now
            except OSError as e:
                what = reading.reason(e)
        if what:
            done = "it is left out: import it by its own path"
            faults.append(Fault(found.origin(), what, done, lost=True))


def _may_be_mailbox(folder: int, link: bytes) -> bool:
    try:
        return folders.has(folder, link + b"/cur")
    except OSError:
        return True
