"""The calls of the kernel, answered from the tree: a thin layer between pyfuse3 and what knows Maildirs."""

import errno
import logging
import os
import stat
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, ReaddirToken, RequestContext, SetattrFields

from aerogramme.errors import (
    AerogrammeError,
    AlreadyExists,
    Damaged,
    NoSuchMailbox,
    OverQuota,
    Refused,
    TooLarge,
    Unavailable,
)
from aerogramme_fuse.names import PARTS, mailbox_of
from aerogramme_fuse.overlay import Full, Overlay, Scratch
from aerogramme_fuse.tree import ROOT, Attributes, Folder, Made, Message, Node, Tree
from aerogramme_fuse.writing import Writing

log = logging.getLogger(__name__)

KEPT = 3600.0  # seconds for which the kernel may keep names and attributes: it is told when they change
BLOCK = 4096

ERRORS: dict[type[AerogrammeError], int] = {
    NoSuchMailbox: errno.ENOENT,
    AlreadyExists: errno.EEXIST,
    OverQuota: errno.EDQUOT,
    TooLarge: errno.EFBIG,
    Refused: errno.EINVAL,
    Damaged: errno.EIO,
    Unavailable: errno.EAGAIN,
}


@asynccontextmanager
async def _told() -> AsyncGenerator[None, None]:
    """What goes wrong is an errno to the program, and a line in our log."""
    try:
        yield
    except AerogrammeError as error:
        number = next((ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS), errno.EIO)
        log.error("%s: %s %s", errno.errorcode[number], error, error.hint)
        raise FUSEError(number) from error
    except Full:
        raise FUSEError(errno.ENOSPC) from None


class Operations(pyfuse3.Operations):
    """One mounted account. Without `writing` it is read-only, and the kernel knows that."""

    def __init__(self, tree: Tree, writing: Writing | None) -> None:
        super().__init__()
        self.tree = tree
        self.overlay = Overlay()
        self._writing = writing
        self._bodies: dict[int, bytes] = {}  # of open files, by their handle
        self._listed: dict[int, list[tuple[bytes, int]]] = {}  # of open folders
        self._as_of: dict[int, int] = {}  # the version of the account that they were listed at
        self._open: dict[int, int] = {}  # handle -> inode
        self._next = 1

    # --- looking

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: RequestContext | None = None
    ) -> EntryAttributes:
        async with _told():
            folder = self._folder(parent_inode)
            text = os.fsdecode(name)
            scratch = self.overlay.find(folder.inode, text)
            if scratch is not None:
                return self._scratch(scratch)
            node = await self.tree.lookup(folder, text)
            if node is None:
                raise FUSEError(errno.ENOENT)
            entry = self._entry(await self.tree.attributes(node))
            if isinstance(node, Made):
                entry.attr_timeout = 0.0  # its size changes with the mail
            elif isinstance(node, Message) and not self.tree.has_name(node, text):
                entry.entry_timeout = 0.0  # a name that a program gave: the kernel is not told when it goes
            return entry

    async def getattr(self, inode: int, ctx: RequestContext | None = None) -> EntryAttributes:
        async with _told():
            scratch = self.overlay.by_inode(inode)
            if scratch is not None:
                return self._scratch(scratch)
            node = self._node(inode)
            entry = self._entry(await self.tree.attributes(node))
            if isinstance(node, Made):
                entry.attr_timeout = 0.0
            return entry

    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        self._folder(inode)
        return self._handle(inode)

    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        async with _told():
            folder = self._folder(self._open[fh])
            if start_id == 0 or fh not in self._listed:
                entries = [*await self.tree.entries(folder), *self.overlay.entries(folder.inode)]
                self._listed[fh] = [(os.fsencode(name), inode) for name, inode in entries]
                self._as_of[fh] = self.tree.account.version
            listed = self._listed[fh]
            for at in range(start_id, len(listed)):
                name, inode = listed[at]
                try:
                    attributes = await self.getattr(inode)
                except FUSEError:
                    continue  # it went meanwhile
                if self._as_of[fh] != self.tree.account.version:
                    attributes.entry_timeout = 0.0  # the name may have gone, and the kernel been told before
                if not pyfuse3.readdir_reply(token, name, attributes, at + 1):
                    break

    async def releasedir(self, fh: int) -> None:
        self._listed.pop(fh, None)
        self._as_of.pop(fh, None)
        del self._open[fh]

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        scratch = self.overlay.by_inode(inode)
        if scratch is None:
            node = self._node(inode)
            if isinstance(node, Folder):
                raise FUSEError(errno.EISDIR)
            if flags & os.O_ACCMODE != os.O_RDONLY and not (isinstance(node, Made) and self._writing):
                raise FUSEError(errno.EROFS if self._writing is None else errno.EPERM)
        else:
            scratch.opened += 1
        # What is read is not kept in the kernel's page cache: it is plain mail.
        # What is made has another size by now than the kernel thinks.
        made = scratch is None and isinstance(node, Made)
        return FileInfo(fh=self._handle(inode), direct_io=made, keep_cache=False)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        async with _told():
            inode = self._open[fh]
            scratch = self.overlay.by_inode(inode)
            if scratch is not None:
                return bytes(scratch.data[off : off + size])
            if fh not in self._bodies:
                node = self._node(inode)
                assert not isinstance(node, Folder)
                self._bodies[fh] = await (
                    self.tree.body(node) if isinstance(node, Message) else self.tree.made(node)
                )
            return self._bodies[fh][off : off + size]

    async def release(self, fh: int) -> None:
        self._bodies.pop(fh, None)
        scratch = self.overlay.by_inode(self._open.pop(fh))
        if scratch is not None:
            scratch.opened -= 1
            self.overlay.forget(scratch)

    async def flush(self, fh: int) -> None:
        pass  # what is delivered is durable at the rename

    async def fsync(self, fh: int, datasync: bool) -> None:
        pass

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        pass

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        pass  # numbers are kept nowhere

    async def access(self, inode: int, mode: int, ctx: RequestContext) -> bool:
        return not mode & os.W_OK or self._writing is not None

    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        data = pyfuse3.StatvfsData()
        state, quota = self.tree.account.state, self.tree.account.policy.quota
        used = sum(sum(state.tables[mailbox].sizes) for mailbox in state.names.values())
        data.f_bsize = data.f_frsize = BLOCK
        total = (1 << 50) if quota is None else quota
        data.f_blocks = total // BLOCK
        data.f_bfree = data.f_bavail = max(0, total - used) // BLOCK
        data.f_files = sum(len(state.tables[mailbox]) for mailbox in state.names.values())
        data.f_ffree = data.f_favail = 1 << 32
        data.f_namemax = 255
        return data

    # --- changing

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        folder = self._folder(parent_inode)
        self._may_write()
        if folder.part in ("cur", "new"):
            raise FUSEError(errno.EPERM)  # maildir(5): a file is written in tmp/, and moved when it is whole
        file = self.overlay.create(folder.inode, os.fsdecode(name), time.time_ns())
        file.opened += 1
        return FileInfo(fh=self._handle(file.inode)), self._scratch(file)

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        async with _told():
            scratch = self.overlay.by_inode(self._open[fh])
            if scratch is None:  # mbsync notes the highest UID in .uidvalidity, where it is already
                return len(buf)
            self.overlay.write(scratch, off, buf, time.time_ns())
            return len(buf)

    async def setattr(
        self,
        inode: int,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        async with _told():
            self._may_write()
            scratch = self.overlay.by_inode(inode)
            if scratch is not None:
                if fields.update_size:
                    self.overlay.truncate(scratch, attr.st_size, time.time_ns())
                if fields.update_mtime:
                    scratch.mtime = attr.st_mtime_ns
                return self._scratch(scratch)
            if fields.update_size and not isinstance(self._node(inode), Made):
                raise FUSEError(errno.EPERM)  # a message does not change
            # Modes, owners and times are what they are: who sets them as part of a copy need not fail.
            return await self.getattr(inode)

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        async with _told():
            writing = self._may_write()
            old, new = self._folder(parent_inode_old), self._folder(parent_inode_new)
            name, to = os.fsdecode(name_old), os.fsdecode(name_new)
            if flags & pyfuse3.RENAME_EXCHANGE:
                raise FUSEError(errno.EINVAL)
            if flags & pyfuse3.RENAME_NOREPLACE and await self._is_there(new, to):
                raise FUSEError(errno.EEXIST)
            scratch = self.overlay.find(old.inode, name)
            if scratch is not None and new.part in ("cur", "new"):
                await writing.deliver(scratch, new, to)
                self.overlay.remove(old.inode, name)
                pyfuse3.invalidate_entry_async(new.inode, name_new, ignore_enoent=True)
            elif scratch is not None:
                self.overlay.move(old.inode, name, new.inode, to)
            else:
                await self._rename(writing, await self._find(old, name), new, to)
                pyfuse3.invalidate_entry_async(new.inode, name_new, ignore_enoent=True)

    async def _rename(self, writing: Writing, node: Node, new: Folder, to: str) -> None:
        if isinstance(node, Message) and new.part in ("cur", "new"):
            await writing.rename(node, new, to)
        elif isinstance(node, Folder) and not node.part and node.mailbox is not None:
            await self.tree.account.rename_mailbox(node.name, self._mailbox_at(new, to))
        else:
            raise FUSEError(errno.EPERM)  # a message belongs into cur/ or new/, and what is made stays

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        async with _told():
            writing = self._may_write()
            folder, name = self._folder(new_parent_inode), os.fsdecode(new_name)
            scratch = self.overlay.by_inode(inode)
            if scratch is None:
                raise FUSEError(errno.EPERM)  # two names for one message: Maildir has no meaning for that
            if await self._is_there(folder, name):
                raise FUSEError(errno.EEXIST)
            if folder.part in ("cur", "new"):
                await writing.deliver(scratch, folder, name)
                pyfuse3.invalidate_entry_async(folder.inode, new_name, ignore_enoent=True)
            else:
                self.overlay.link(scratch, folder.inode, name)
            return self._scratch(scratch)

    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        async with _told():
            writing = self._may_write()
            folder, text = self._folder(parent_inode), os.fsdecode(name)
            if self.overlay.remove(folder.inode, text):
                return
            node = await self._find(folder, text)
            if not isinstance(node, Message):
                raise FUSEError(errno.EISDIR if isinstance(node, Folder) else errno.EPERM)
            await writing.remove(node)

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        async with _told():
            self._may_write()
            folder, text = self._folder(parent_inode), os.fsdecode(name)
            if await self._is_there(folder, text):
                raise FUSEError(errno.EEXIST)
            mailbox = self._mailbox_at(folder, text)
            await self.tree.account.create_mailbox(mailbox)
            node = await self._find(folder, text)
            return self._entry(await self.tree.attributes(node))

    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        async with _told():
            self._may_write()
            node = await self._find(self._folder(parent_inode), os.fsdecode(name))
            if not isinstance(node, Folder):
                raise FUSEError(errno.ENOTDIR)
            if node.part or node.mailbox is None:
                raise FUSEError(errno.EPERM)  # cur/, new/ and tmp/ go with their mailbox
            try:
                await self.tree.account.delete_mailbox(node.name, empty=True)
            except Refused:
                raise FUSEError(errno.ENOTEMPTY) from None

    # --- help

    def _may_write(self) -> Writing:
        if self._writing is None:
            raise FUSEError(errno.EROFS)
        return self._writing

    def _node(self, inode: int) -> Node:
        node = self.tree.node(inode)
        if node is None:
            raise FUSEError(errno.ENOENT)
        return node

    def _folder(self, inode: int) -> Folder:
        node = self._node(inode)
        if not isinstance(node, Folder):
            raise FUSEError(errno.ENOTDIR)
        return node

    async def _find(self, folder: Folder, name: str) -> Node:
        node = await self.tree.lookup(folder, name)
        if node is None:
            raise FUSEError(errno.ENOENT)
        return node

    async def _is_there(self, folder: Folder, name: str) -> bool:
        return (
            self.overlay.find(folder.inode, name) is not None
            or await self.tree.lookup(folder, name) is not None
        )

    def _mailbox_at(self, folder: Folder, name: str) -> str:
        """The mailbox that a new folder would be."""
        if folder.part or name in PARTS:
            raise FUSEError(errno.EPERM)
        above = [] if folder.inode == ROOT else self.tree.path_of(folder)
        mailbox = mailbox_of([*above, name], self.tree.layout)
        if mailbox is None:
            raise FUSEError(errno.EINVAL)
        return mailbox

    def _handle(self, inode: int) -> int:
        handle, self._next = self._next, self._next + 1
        self._open[handle] = inode
        return handle

    def _entry(self, told: Attributes) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = told.inode
        write = 0 if self._writing is None else stat.S_IWUSR
        if told.folder:
            entry.st_mode = stat.S_IFDIR | stat.S_IRUSR | stat.S_IXUSR | write
            entry.st_nlink = 2
        else:
            entry.st_mode = stat.S_IFREG | stat.S_IRUSR | write
        entry.st_size = told.size
        entry.st_blksize, entry.st_blocks = BLOCK, -(-told.size // 512)
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        entry.st_atime_ns = entry.st_mtime_ns = told.mtime
        entry.st_ctime_ns = told.ctime
        entry.entry_timeout = entry.attr_timeout = KEPT
        return entry

    def _scratch(self, file: Scratch) -> EntryAttributes:
        entry = self._entry(Attributes(file.inode, False, len(file.data), file.mtime, file.mtime))
        entry.entry_timeout = entry.attr_timeout = 0.0
        return entry
