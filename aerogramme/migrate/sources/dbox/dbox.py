"""Dovecot's dbox as a source: one letter a file (sdbox), or many (mdbox). Dovecot may run meanwhile.

What was deleted, moved or purged between reading an index and reading a letter is looked for again, and is
only a fault if the index still has it then.
"""

from array import array
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import trio

from aerogramme.errors import Unreadable
from aerogramme.mailbox.names import INBOX
from aerogramme.migrate.sources import dates, mail_crypt, reading
from aerogramme.migrate.sources.dbox.attachments import Attachment, Whole, attachments
from aerogramme.migrate.sources.dbox.file import DboxFile, Stored
from aerogramme.migrate.sources.dbox.finding import Finder, Stray
from aerogramme.migrate.sources.dbox.listing import Entry, entries, read_list, separator, subscribed
from aerogramme.migrate.sources.dbox.mailbox import Mailbox, read_mailbox, state_of
from aerogramme.migrate.sources.dbox.store import Parts, Store, find_store, has
from aerogramme.migrate.sources.faults import Faults
from aerogramme.migrate.sources.naming import Naming, unlike
from aerogramme.migrate.sources.reading import Reader, left_out
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Messages

_AT_ONCE = 500  # messages that are looked at in one go: a cancelled pass waits so long
_ALT_LINK = "dbox-alt-root"  # Dovecot's note of where its alternative storage is
_DIRNAME = "each has a folder dbox-Mails; where DIRNAME= of mail_location says another name, import by IMAP"
_UNMOUNTED = "Dovecot makes it with INBOX in it: is this the right folder, and is its disk mounted?"
T = TypeVar("T")


@dataclass(slots=True)
class _Columns:
    """What is found out of messages, by row. states: 1 if it is one."""

    dates: "array[int]"
    sizes: "array[int]"
    states: bytearray = field(default_factory=bytearray)


def looks_like(root: Path) -> bool:
    """Is this folder a dbox?"""
    try:
        return find_store(root) is not None
    except (Unreadable, OSError):
        return False


class Dbox:
    """A Source (source.py).

    root     the folder that has `mailboxes` in it
    naming   how names are spelled; levels are folders, whatever its separator
    index, control, alt  where these parts of the store are, as in Dovecot's mail_location
    attached  Dovecot's mail_attachment_dir
    """

    def __init__(
        self,
        root: Path,
        naming: Naming,
        *,
        index: Path | None = None,
        control: Path | None = None,
        alt: Path | None = None,
        attached: Path | None = None,
    ) -> None:
        self.faults: list[Fault] = Faults()  # an index is read again and again
        self._store = Store(root, index, control, alt)  # what kind it is, `_list` finds out
        self._naming = naming
        self._attached = attached
        self._finder = Finder(self._store, self.faults)
        self._entries: dict[str, Entry] = {}
        self._settlement: tuple[dict[Parts, set[int]], dict[Entry, list[Stray]]] | None = None
        self._last: tuple[str, Mailbox] | None = None
        self._now: tuple[Mailbox, list[tuple[int, int, int]], Mailbox | None] | None = None

    async def folders(self) -> Sequence[Folder]:
        return await self._in_thread(self._list)

    async def messages(self, folder: Folder) -> Messages:
        mailbox = await self._in_thread(partial(self._read, folder.name))
        count = len(mailbox.uids)
        found = _Columns(array("q", bytes(8 * count)), array("Q", bytes(8 * count)), bytearray(count))
        for start in range(0, count, _AT_ONCE):
            rows = range(start, min(count, start + _AT_ONCE))
            await self._in_thread(partial(self._describe, mailbox, rows, found))
        missing = [row for row in range(count) if not found.states[row]]
        if missing:
            await self._in_thread(partial(self._describe_missing, mailbox, missing, found))
        self._last = folder.name, mailbox
        messages = Messages(flags_lost=mailbox.old)
        for row in range(count):
            if found.states[row] == 1:
                messages.add(mailbox.uids[row], found.dates[row], found.sizes[row], mailbox.flags[row])
        return messages

    async def letters(self, folder: Folder, uids: Sequence[int]) -> AsyncGenerator[Letter | Fault, None]:
        if self._last is not None and self._last[0] == folder.name:
            mailbox = self._last[1]
        else:
            mailbox = await self._in_thread(partial(self._read, folder.name))
            self._last = folder.name, mailbox
        openers = ((uid, partial(self._open, mailbox, uid)) for uid in uids)
        async with aclosing(reading.letters(openers, self.faults)) as letters:
            async for letter in letters:
                yield letter

    async def aclose(self) -> None:
        await trio.to_thread.run_sync(self._finder.close)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(work)
        except OSError as error:
            raise Unreadable(f"{self._store.root}: {reading.reason(error)}") from error

    def _list(self) -> Sequence[Folder]:
        root = self._store.root
        store = find_store(root, index=self._store.index, control=self._store.control, alt=self._store.alt)
        if store is None:
            raise Unreadable(
                f"{root} is no dbox", hint="the folder to name is that which has mailboxes/ in it"
            )
        self._finder.close()
        self._store, self._finder = store, Finder(store, self.faults)
        self._settlement = None
        if store.alt is None and has_link(store.root):
            what = "it names an alternative storage, which is not given (--alt)"
            done = "letters that are only there are missing"
            self.faults.append(Fault(f"{store.root}/{_ALT_LINK}", what, done))
        if store.alt is not None and not has(store.alt, ()):
            raise Unreadable(f"The alternative storage {store.alt} is not there")
        between = separator(store).encode()
        by_spelling: dict[bytes, Entry] = {}
        for entry in entries(store, self.faults):
            by_spelling[unlike(between.join(entry.name), by_spelling)] = entry
        # There is INBOX at least. Believed, a pass with --delete would remove all there is.
        if not by_spelling:
            hint = _UNMOUNTED if store.is_empty() else _DIRNAME
            raise Unreadable(f"No mailbox is found in {root}/mailboxes", hint=hint)
        names = replace(self._naming, separator=separator(store)).names(by_spelling)
        self.faults += names.faults
        self._entries = {names.of[spelled]: entry for spelled, entry in by_spelling.items()}
        chosen = subscribed(store, self.faults)
        folders = []
        for spelled, entry in by_spelling.items():
            name = names.of[spelled]
            origin = store.shown(store.mails(entry.folder))
            try:
                mailbox = self._read_entry(entry)
            except (Unreadable, OSError) as error:
                self.faults.append(Fault(origin, reading.reason(error), "it is left out", lost=True))
                continue
            if mailbox is None:
                continue
            said = None if chosen is None else spelled in chosen
            role = names.roles.get(name)
            folders.append(Folder(name, origin, mailbox.uidvalidity, mailbox.uidnext, role, said))
        return sorted(folders, key=lambda folder: (folder.name != INBOX, folder.name))

    def _read(self, name: str) -> Mailbox:
        if not self._entries:
            self._list()
        entry = self._entries.get(name)
        self._finder.refresh()
        mailbox = None if entry is None else self._read_entry(entry)
        if mailbox is None:
            raise Unreadable(f"{name} is there no more")
        return mailbox

    def _read_entry(self, entry: Entry) -> Mailbox | None:
        mailbox = read_mailbox(self._store, entry.folder, self.faults)
        if mailbox is None or not mailbox.old:
            return mailbox
        if not self._store.many:
            if not mailbox.uidvalidity:
                for one in read_list(self._store, []):
                    if entry.name == one.levels:
                        mailbox.uidvalidity = one.uidvalidity
                        mailbox.uidnext = max(mailbox.uidnext, one.uidnext)
            return mailbox
        gone, strays = self._settled(entry)
        mailbox.remove(gone)
        for stray in strays:
            mailbox.append(stray.place, stray.guid)
        if strays:
            mailbox.uidvalidity = mailbox.uidnext = 0  # not all UIDs are those that clients know
            what = f"{len(strays)} letters are in no mailbox whose index can be read"
            done = "they are taken to be of this one, with new UIDs and without flags"
            self.faults.append(Fault(self._store.shown(self._store.mails(entry.folder)), what, done))
        return mailbox

    def _settled(self, entry: Entry) -> tuple[set[int], list[Stray]]:
        """What a mailbox whose index is old has too much, and what may have been lost of it."""
        if self._settlement is None:
            read = [(one, read_mailbox(self._store, one.folder, [])) for one in self._entries.values()]
            settled = self._finder.settle([mailbox for _, mailbox in read if mailbox is not None])
            self._settlement = settled.gone, {}
            old = [one for one, mailbox in read if mailbox is not None and mailbox.old]
            between = separator(self._store).encode()
            for stray in settled.strays if old else []:
                owner = next((one for one in old if between.join(one.name) == stray.name), old[0])
                self._settlement[1].setdefault(owner, []).append(stray)
        gone, strays = self._settlement
        return gone.get(entry.folder, set()), strays.get(entry, [])

    def _describe(self, mailbox: Mailbox, rows: Iterable[int], found: _Columns) -> None:
        for row in rows:
            try:
                there = self._finder.open(mailbox, row)
            except Unreadable:
                continue  # it is looked for again
            if there is not None:
                self._describe_one(mailbox, row, found, *there)

    def _describe_missing(self, mailbox: Mailbox, rows: list[int], found: _Columns) -> None:
        gone = 0
        for row in rows:
            if not self._is_listed(mailbox, row):
                continue
            try:
                there = self._finder.search(mailbox, row)
            except Unreadable as error:
                self.faults.append(left_out(self._origin(mailbox, row), error))
                continue
            if there is not None:
                self._describe_one(mailbox, row, found, *there)
            elif mailbox.old:
                gone += 1
            else:
                self.faults.append(self._missing(mailbox, row))
        if gone:
            what = f"{gone} letters that its old index has are not there"
            done = "they were deleted, or are missing: doveadm force-resync tells"
            origin = self._store.shown(self._store.mails(mailbox.levels))
            self.faults.append(Fault(origin, what, done, lost=True))

    def _is_listed(self, mailbox: Mailbox, row: int) -> bool:
        """A message is still in its mailbox."""
        state = state_of(self._store, mailbox.levels)
        if self._now is None or self._now[0] is not mailbox or self._now[1] != state:
            self._now = mailbox, state, read_mailbox(self._store, mailbox.levels, [])
        now = self._now[2]
        return row in mailbox.places or (now is not None and now.row_of(mailbox.uids[row]) is not None)

    def _describe_one(
        self, mailbox: Mailbox, row: int, found: _Columns, file: DboxFile, stored: Stored
    ) -> None:
        try:
            if mail_crypt.is_encrypted(stored.head):
                raise mail_crypt.refused()
            if stored.wrong:
                self.faults.append(
                    Fault(self._origin(mailbox, row), stored.wrong, "what there is of it is taken")
                )
            date = stored.received
            if date is None:
                date = file.changed()
                done = "it is that of its file"
                self.faults.append(Fault(self._origin(mailbox, row), "it has no date of arrival", done))
            found.dates[row] = dates.kept(date, partial(self._origin, mailbox, row), self.faults)
            found.sizes[row] = 0 if stored.wrong else stored.wide
            found.states[row] = 1
        finally:
            file.release()

    def _open(self, mailbox: Mailbox, uid: int) -> Reader | Fault | None:
        row = mailbox.row_of(uid)
        if row is None:
            return None
        try:
            there = self._finder.open(mailbox, row)
            if there is None:
                if not self._is_listed(mailbox, row):
                    return None
                there = self._finder.search(mailbox, row)
        except Unreadable as error:
            return left_out(self._origin(mailbox, row), error)
        except OSError as error:
            return left_out(self._origin(mailbox, row), Unreadable(reading.reason(error)))
        if there is None:
            return self._missing(mailbox, row)
        file, stored = there
        origin = self._origin(mailbox, row)
        try:
            kept: list[Attachment] = []
            if (value := stored.metadata.get("X")) is not None:
                if self._attached is None:
                    done = "it is left out; --attachments says where they are"
                    return Fault(origin, "its attachments are in files of their own", done, lost=True)
                suffix = b"" if self._store.many else b"-%s-%d" % (mailbox.own_guid.hex().encode(), uid)
                kept = attachments(value, suffix)
            return _Reader(file, stored, origin, kept, self._attached)
        except Unreadable as error:
            return left_out(origin, error)
        finally:
            file.release()

    def _origin(self, mailbox: Mailbox, row: int) -> str:
        return f"{self._store.shown(self._store.mails(mailbox.levels))}, UID {mailbox.uids[row]}"

    def _missing(self, mailbox: Mailbox, row: int) -> Fault:
        return Fault(self._origin(mailbox, row), "its letter is missing", "it is left out", lost=True)


class _Reader(Reader):
    """A letter, whose metadata says how large it is, and what of it is elsewhere."""

    def __init__(
        self, file: DboxFile, stored: Stored, origin: str, kept: list[Attachment], folder: Path | None
    ) -> None:
        super().__init__(cast("BinaryIO", file.letter(stored)), origin)
        self._said = 0 if stored.wrong else stored.wide
        self._kept = kept
        self._folder = folder

    def _begin(self) -> bytes:
        first = super()._begin()
        if not self._kept or self._folder is None or self._plain is None:
            return first
        self._plain = Whole(first, self._plain, self._kept, self._folder)
        return self._plain.read(reading.PIECE)

    def remarks(self) -> list[tuple[str, str]]:
        remarks = super().remarks()
        if self._said and self.wide != self._said:
            remarks.append((f"it has {self.wide} octets, not {self._said}", "it is taken as it is"))
        return remarks


def has_link(root: Path) -> bool:
    """Dovecot has noted an alternative storage there."""
    return (root / _ALT_LINK).is_symlink()
