"""What a program means that changes files: flags, moves, deliveries, removals."""

import re

from aerogramme.errors import AlreadyExists, NoSuchMailbox, Unavailable
from aerogramme.log.table import Table
from aerogramme.mailbox.changes import Mode
from aerogramme.mailbox.contents import NewMessage
from aerogramme.maildir import SYSTEM, FileName, flags_of, parse
from aerogramme_fuse.noting import Noting
from aerogramme_fuse.overlay import Scratch
from aerogramme_fuse.processes import Process
from aerogramme_fuse.tree import Folder, Message, Tree

GONE = "the message has gone"  # somebody else was faster

LATEST = (1 << 32) - 1  # seconds since 1970: what an INTERNALDATE can be
MOST_BROUGHT = 1000  # messages of which it is known who has delivered them: times are set at once

_LINE = re.compile(rb"\r?\n")


class Writing:
    """Carries changes out. What it returns from is durable. Methods raise what the account's do."""

    def __init__(self, tree: Tree, *, trash: bool) -> None:
        """`trash`: what is unlinked goes to the mailbox with that special use."""
        self._tree, self._account = tree, tree.account
        self.noting = Noting(tree)
        self._trash = trash
        self._brought: dict[int, tuple[Process, str]] = {}  # message -> who delivered it, and as what

    async def deliver(self, file: Scratch, folder: Folder, name: str, process: Process | None = None) -> int:
        """A file that was written becomes a message: its id. Its lines end with LF or with CRLF. `process`
        may set its time once more."""
        said, uid = parse(name), self.noting.uid_wanted(folder, name)
        upload = self._account.upload()
        await upload.write(_LINE.sub(b"\r\n", bytes(file.data)))
        flags = sorted(flags_of(said.letters, self._tree.given.keywords()))
        new = [NewMessage(upload, flags, _seconds(file.mtime))]
        placed = await self._account.append(folder.name, new, uid)
        if uid is not None and placed.uids and list(placed.uids) != [uid]:  # another server was faster
            await self._account.remove(self._account.find(folder.name), placed.uids)
            raise AlreadyExists(f"another message got the UID {uid} meanwhile")
        message = upload.content  # a message has the number of the content that it brought
        self._now_at(message, folder, said)
        if process is not None and uid is None:
            self._brought[message] = process, said.base
            if len(self._brought) > MOST_BROUGHT:
                del self._brought[next(iter(self._brought))]
        return message

    async def set_time(self, node: Message, mtime: int, process: Process | None) -> None:
        """A program sets the time of a message (nanoseconds since 1970). A program that has just brought it
        means when it came, as neomutt does with what it saves: INTERNALDATE never changes, so another message
        takes its place. From any other it is no change, nor an error: copies are made with times."""
        brought, base = self._brought.get(node.inode, (None, ""))
        table = self._tree.table(node.mailbox)
        if process is None or brought != process or table.dates[node.row] == _seconds(mtime):
            return
        name = self._account.name_of(node.mailbox)
        if name is None:
            raise NoSuchMailbox(GONE)
        real = self._tree.base(table, node.row)
        message = await self._move(table, table.uids[node.row], name, _seconds(mtime))
        self._brought[message] = self._brought.pop(node.inode)
        self._tree.given.renumber(node.inode, message)
        self._tree.given.stays_at(node.inode, message)
        self.noting.renumber(node.mailbox, node.inode, message)
        for known in base, real:  # under the name that it was given, and the one that it was listed by
            self._tree.given.name(node.mailbox, known, message)

    async def rename(self, node: Message, folder: Folder, name: str) -> int:
        """A message gets the flags that a name says, in this mailbox or another: its id, which is new in
        another."""
        said, keywords = parse(name), self._tree.given.keywords()
        table = self._tree.table(node.mailbox)
        uid, message = table.uids[node.row], node.inode
        had = {
            flag
            for flag in self._account.flags_of(table.flags[node.row])
            if flag in SYSTEM or flag in keywords
        }
        wanted = flags_of(said.letters, keywords)
        if folder.mailbox != node.mailbox:
            message = await self._move(table, uid, folder.name)
            assert folder.mailbox is not None
            table = self._tree.table(folder.mailbox)
            self._tree.given.renumber(node.inode, message)
        # Only what the program changes: flags that somebody else sets meanwhile stay.
        changes: list[tuple[Mode, set[str]]] = [("+", wanted - had), ("-", had - wanted)]
        for mode, flags in changes:
            if flags:
                if (row := table.row_of_id(message)) is not None:
                    await self._account.store_flags(table, [table.uids[row]], mode, sorted(flags))
                if table.row_of_id(message) is None:
                    raise NoSuchMailbox(GONE)
        self._now_at(message, folder, said)
        return message

    async def remove(self, node: Message) -> None:
        """A message goes, or with `trash` into the mailbox for that, unless it is there."""
        table = self._tree.table(node.mailbox)
        uid, state = table.uids[node.row], self._account.state
        bins = [mailbox for mailbox, role in state.roles.items() if role == "\\Trash"]
        if self._trash and bins and node.mailbox not in bins:
            [name] = [name for name, mailbox in state.names.items() if mailbox == bins[0]]
            await self._move(table, uid, name)
        elif not await self._account.remove(table, [uid]):
            raise NoSuchMailbox(GONE)

    async def _move(self, table: Table, uid: int, name: str, date: int | None = None) -> int:
        """A message goes to another mailbox, or gets another date: its id there. Raises Unavailable when
        nobody can tell by now."""
        placed = await self._account.move(table, [uid], name, date)
        if not placed.uids:
            raise NoSuchMailbox(GONE) if self._account.journal.settled else Unavailable("the store is away")
        target = self._account.find(name)
        row = target.row_of_uid(placed.uids[0])
        if row is None:
            raise NoSuchMailbox(GONE)
        return target.ids[row]

    def _now_at(self, message: int, folder: Folder, said: FileName) -> None:
        """A program finds the message again under the name that it gave it."""
        assert folder.mailbox is not None
        if folder.part == "cur":
            self._tree.given.move_to_cur(message, folder.mailbox)
        else:
            self._tree.given.put_in_new(message)
        self.noting.keep_letters(folder.mailbox, message, said.letters)
        table = self._tree.table(folder.mailbox)
        if said.message is None or table.row_of_id(said.message) is None:  # else it is the name of another
            self._tree.given.name(folder.mailbox, said.base, message)


def _seconds(mtime: int) -> int:
    """A time in nanoseconds as an INTERNALDATE."""
    return min(max(0, mtime // 1_000_000_000), LATEST)
