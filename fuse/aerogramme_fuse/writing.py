"""What a program means that changes files: flags, moves, deliveries, removals."""

import re

from aerogramme.errors import NoSuchMailbox
from aerogramme.mailbox.contents import NewMessage
from aerogramme_fuse.names import SYSTEM, FileName, flags_of, parse
from aerogramme_fuse.overlay import Scratch
from aerogramme_fuse.tree import Folder, Message, Tree

_LINE = re.compile(rb"\r?\n")


class Writing:
    """Carries changes out. What it returns from is durable. Methods raise what the account's do."""

    def __init__(self, tree: Tree, *, trash: bool) -> None:
        """`trash`: what is unlinked goes to the mailbox with that special use."""
        self._tree, self._account = tree, tree.account
        self._trash = trash

    async def deliver(self, file: Scratch, folder: Folder, name: str) -> int:
        """A file that was written becomes a message: its id. Its lines end with LF or with CRLF."""
        said = parse(name)
        upload = self._account.upload()
        await upload.write(_LINE.sub(b"\r\n", bytes(file.data)))
        flags = sorted(flags_of(said.letters, self._tree.keywords()))
        seconds = file.mtime // 1_000_000_000
        placed = await self._account.append(folder.name, [NewMessage(upload, flags, seconds)])
        message = self._message_at(folder, placed.uids[0])
        self._now_at(message, folder, said)
        return message

    async def rename(self, node: Message, folder: Folder, name: str) -> int:
        """A message gets the flags that a name says, in this mailbox or another: its id, which is new in
        another."""
        said = parse(name)
        table = self._tree.table(node.mailbox)
        uid, message = table.uids[node.row], node.inode
        if folder.mailbox != node.mailbox:
            placed = await self._account.move(table, [uid], folder.name)
            if not placed.uids:
                raise NoSuchMailbox("the message has gone")
            assert folder.mailbox is not None
            table, uid = self._tree.table(folder.mailbox), placed.uids[0]
            message = self._message_at(folder, uid)
        keywords = self._tree.keywords()
        row = table.row_of_uid(uid)
        if row is not None:
            has = set(self._account.flags_of(table.flags[row]))
            shown = {flag for flag in has if flag in SYSTEM or flag in keywords}
            wanted = (has - shown) | flags_of(said.letters, keywords)
            if wanted != has:
                await self._account.store_flags(table, [uid], "=", sorted(wanted))
        self._now_at(message, folder, said)
        return message

    async def remove(self, node: Message) -> None:
        """A message goes, or with `trash` into the mailbox for that, unless it is there."""
        table = self._tree.table(node.mailbox)
        uid, state = table.uids[node.row], self._account.state
        bins = [mailbox for mailbox, role in state.roles.items() if role == "\\Trash"]
        if self._trash and bins and node.mailbox not in bins:
            [name] = [name for name, mailbox in state.names.items() if mailbox == bins[0]]
            await self._account.move(table, [uid], name)
        else:
            await self._account.remove(table, [uid])

    def _message_at(self, folder: Folder, uid: int) -> int:
        assert folder.mailbox is not None
        table = self._tree.table(folder.mailbox)
        row = table.row_of_uid(uid)
        if row is None:
            raise NoSuchMailbox("the message has gone")
        return table.ids[row]

    def _now_at(self, message: int, folder: Folder, said: FileName) -> None:
        """A program finds the message again under the name that it gave it."""
        assert folder.mailbox is not None
        if folder.part == "cur":
            self._tree.move_to_cur(message)
        if said.message != message:
            self._tree.aliases[folder.mailbox, said.base] = message
