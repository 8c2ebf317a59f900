"""The calls of the kernel, answered from the tree: a thin layer between pyfuse3 and what knows Maildirs."""

import errno
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, ReaddirToken, RequestContext, SetattrFields

from aerogramme.log.clock import ms_of
from aerogramme.mailbox.usage import usage
from aerogramme.maildir import LONGEST
from aerogramme_fuse.bodies import Bodies
from aerogramme_fuse.entries import BLOCK, entry_of, scratch_entry
from aerogramme_fuse.errnos import refused, told
from aerogramme_fuse.folders import Folders
from aerogramme_fuse.listing import CHUNK_BITS, LISTED, Files
from aerogramme_fuse.overlay import Overlay, Scratch
from aerogramme_fuse.processes import process_of
from aerogramme_fuse.telling import Telling
from aerogramme_fuse.tree import Attributes, Folder, Made, Message, Node, Tree, Version
from aerogramme_fuse.writing import Writing

EACH = 1 << CHUNK_BITS + 1  # places that a chunk has in a listing


@dataclass(eq=False, slots=True)
class _Opened:
    """An open file or folder. What an open message has can be read also when its file has gone."""

    inode: int
    node: Node | Scratch
    task: int = 0  # who has opened a folder
    content: int = 0
    uid: int = 0
    attributes: Attributes | None = None
    made: bytes | None = field(default=None, repr=False)  # the content of what is no message
    fetching: trio.Lock = field(default_factory=trio.Lock)  # the kernel asks for several parts at once


@dataclass(frozen=True, slots=True)
class _Listed:
    """An open folder, as it was when its first entry was asked for."""

    version: Version
    files: list[Files]
    others: list[tuple[str, int]]  # names and inodes of what are no messages


class Operations(pyfuse3.Operations):
    """One mounted account. Without `writing` it is read-only, and the kernel knows that."""

    supports_dot_lookup = False  # which is for NFS servers: there is no name for a number

    def __init__(
        self, tree: Tree, writing: Writing | None, telling: Telling, *, keep_pages: bool = False
    ) -> None:
        """`keep_pages`: the kernel keeps what was read of letters, which is plain mail, as of other files."""
        super().__init__()
        self.tree, self.overlay = tree, Overlay()
        self._writing, self._telling, self._keep_pages = writing, telling, keep_pages
        self._folders = Folders(tree, self.overlay)
        self._bodies = Bodies(tree.account)
        self._listed: dict[int, _Listed] = {}  # of open folders
        self._open: dict[int, _Opened] = {}  # by handle
        self._next = 1
        self.begun = trio.Event()  # the kernel has begun to ask, and can be told of changes

    def init(self) -> None:
        self.begun.set()

    # --- looking

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: RequestContext | None = None
    ) -> EntryAttributes:
        async with told():
            folder = self._folder(parent_inode)
            text = os.fsdecode(name)
            scratch = self.overlay.find(folder.inode, text)
            if scratch is not None:
                return scratch_entry(scratch)
            node = await self._find(folder, text, ctx)
            entry = self._entry(await self.tree.attributes(node))
            if self._folders.differs(folder):
                entry.entry_timeout = 0.0
            if isinstance(node, Made):
                self._as_written(entry)
                entry.attr_timeout = 0.0  # its size changes with the mail
            elif isinstance(node, Message) and not self.tree.has_name(node, text):
                entry.entry_timeout = 0.0  # a name that a program gave: the kernel is not told when it goes
            return entry

    async def getattr(self, inode: int, ctx: RequestContext | None = None) -> EntryAttributes:
        async with told():
            scratch = self.overlay.by_inode(inode)
            if scratch is not None:
                return scratch_entry(scratch)
            node = self.tree.node(inode)
            if node is None:
                return self._entry(self._held(inode))
            entry = self._entry(await self.tree.attributes(node))
            if isinstance(node, Made):
                self._as_written(entry)
                entry.attr_timeout = 0.0
            return entry

    def _as_written(self, entry: EntryAttributes) -> None:
        """A file that is made has the size that it has to the program that writes it."""
        size = None if self._writing is None else self._writing.noting.size(entry.st_ino)
        if size is not None:
            entry.st_size = size

    def _held(self, inode: int) -> Attributes:
        """Those of a message that has gone, and that somebody has open."""
        for opened in self._open.values():
            if opened.inode == inode and opened.attributes is not None:
                return opened.attributes
        raise FUSEError(errno.ENOENT)

    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        return self._handle(_Opened(inode, self._folder(inode), task=ctx.pid))

    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        async with told():
            folder = self._folder(self._open[fh].inode)
            if start_id == 0 or fh not in self._listed:
                files = await self.tree.files(folder)
                others = [*self._folders.shown(folder, self._open[fh].task)]
                others += self.overlay.entries(folder.inode)
                self._listed[fh] = _Listed(self.tree.version, files, others)
            listed = self._listed[fh]
            at, within = divmod(start_id, EACH)
            # There may be many, and nothing is waited for: so they share one object, which pyfuse3 copies,
            # and what is as it was listed, stays so.
            entry, as_listed = self._entry(Attributes(0, False, 0, 0, 0)), listed.version == self.tree.version
            changed = 0
            for number in range(at, len(listed.files)):
                place = number * EACH + within
                for name, inode, size, date, modseq in listed.files[number].rows(within):
                    place += 1
                    if as_listed:
                        entry.st_ino, entry.st_size, entry.st_blocks = inode, size, size + 511 >> 9
                        entry.st_atime_ns = entry.st_mtime_ns = date * 1_000_000_000
                        if modseq != changed:  # those of mail that came together are the same
                            changed = modseq
                            entry.st_ctime_ns = ms_of(modseq) * 1_000_000
                    elif (now := await self._listed_before(inode)) is not None:
                        entry = now
                    else:
                        continue
                    if not pyfuse3.readdir_reply(token, name, entry, place):
                        return
                within = 0
            last = len(listed.files) * EACH
            for position in range(max(0, start_id - last), len(listed.others)):
                text, inode = listed.others[position]
                other = await self._listed_before(inode, listed.version)
                if other is not None and self._folders.differs(folder):
                    other.entry_timeout = 0.0
                if other is not None and not pyfuse3.readdir_reply(
                    token, os.fsencode(text), other, last + position + 1
                ):
                    return

    async def _listed_before(self, inode: int, version: Version | None = None) -> EntryAttributes | None:
        """The attributes of what was listed at a version, or before; None if it went meanwhile."""
        try:
            attributes = await self.getattr(inode)
        except FUSEError:
            return None
        if version != self.tree.version:
            attributes.entry_timeout = 0.0  # the name may have gone, and the kernel been told before
        return attributes

    async def releasedir(self, fh: int) -> None:
        self._listed.pop(fh, None)
        del self._open[fh]

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        async with told():
            changes = flags & os.O_ACCMODE != os.O_RDONLY
            scratch = self.overlay.by_inode(inode)
            if scratch is not None:
                if flags & os.O_TRUNC:
                    self.overlay.truncate(scratch, 0, time.time_ns())
                scratch.opened += 1
                return FileInfo(fh=self._handle(_Opened(inode, scratch)))
            node = self._node(inode)
            if isinstance(node, Folder):
                raise FUSEError(errno.EISDIR)
            if changes:
                self._may_write()
            if isinstance(node, Made):  # it has another size by now than the kernel thinks
                handle = self._handle(_Opened(inode, node))
                if flags & os.O_TRUNC:
                    await self._may_write().noting.truncate(node, handle, 0)
                return FileInfo(fh=handle, direct_io=True)
            if changes:
                raise refused(errno.EPERM, "a message does not change: a new one is delivered")
            content = self.tree.content_of(node)
            uid = self.tree.table(node.mailbox).uids[node.row]
            attributes = await self.tree.attributes(node)
            opened = _Opened(inode, node, content=content, uid=uid, attributes=attributes)
            self._bodies.open(content)
            # Unless it is asked for, what is read is not kept in the kernel's page cache: it is plain mail.
            return FileInfo(fh=self._handle(opened), keep_cache=self._keep_pages)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        async with told():
            opened = self._open[fh]
            if isinstance(opened.node, Scratch):
                return bytes(opened.node.data[off : off + size])
            if isinstance(opened.node, Message):
                table = self.tree.table(opened.node.mailbox)
                return (await self._bodies.get(opened.content, table, opened.uid))[off : off + size]
            assert isinstance(opened.node, Made)
            written = None if self._writing is None else self._writing.noting.read(opened.inode, fh)
            if written is not None:
                return bytes(written[off : off + size])
            async with opened.fetching:
                if opened.made is None:
                    opened.made = await self.tree.made(opened.node)
            return opened.made[off : off + size]

    async def release(self, fh: int) -> None:
        node = self._open[fh].node
        if isinstance(node, Made) and self._writing is not None:
            with suppress(FUSEError):  # nobody hears of it any more but who reads our log
                async with told():
                    await self._writing.noting.close(node, fh)
        opened = self._open.pop(fh)
        if isinstance(opened.node, Scratch):
            opened.node.opened -= 1
            self.overlay.forget(opened.node)
        elif isinstance(opened.node, Message):
            self._bodies.close(opened.content)

    async def flush(self, fh: int) -> None:
        # What is delivered is durable at the rename. To the kernel this is no error: it asks no more.
        raise FUSEError(errno.ENOSYS)

    async def fsync(self, fh: int, datasync: bool) -> None:
        raise FUSEError(errno.ENOSYS)  # the same

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        pass

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        pass  # numbers are kept nowhere

    async def access(self, inode: int, mode: int, ctx: RequestContext) -> bool:
        return not mode & os.W_OK or self._writing is not None

    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        data = pyfuse3.StatvfsData()
        state, quota = self.tree.account.state, self.tree.account.policy.quota
        used = usage(state)
        data.f_bsize = data.f_frsize = BLOCK
        total = (1 << 50) if quota is None else quota
        data.f_blocks = total // BLOCK
        data.f_bfree = data.f_bavail = max(0, total - used.octets) // BLOCK
        data.f_files = used.messages
        data.f_ffree = data.f_favail = 1 << 32
        data.f_namemax = LONGEST
        return data

    # --- changing

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        async with told():
            self._may_write()
            folder, text = self._folder(parent_inode), os.fsdecode(name)
            if _is_mail(folder, text):  # maildir(5)
                raise refused(
                    errno.EPERM, "a file is written in tmp/, and moved to cur/ or new/ when it is whole"
                )
            file = self.overlay.find(folder.inode, text)
            if file is not None and flags & os.O_EXCL:
                raise FUSEError(errno.EEXIST)
            if isinstance(made := await self.tree.lookup(folder, text), Made):  # it was removed before
                self._folders.appears(folder, text)
                handle = self._handle(_Opened(made.inode, made))
                await self._may_write().noting.truncate(made, handle, 0)
                return FileInfo(fh=handle, direct_io=True), await self.getattr(made.inode)
            if file is None:
                file = self.overlay.create(folder.inode, text, time.time_ns())
            elif flags & os.O_TRUNC:
                self.overlay.truncate(file, 0, time.time_ns())
            file.opened += 1
            return FileInfo(fh=self._handle(_Opened(file.inode, file))), scratch_entry(file)

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        async with told():
            file = self._open[fh].node
            if isinstance(file, Scratch):
                self.overlay.write(file, off, buf, time.time_ns())
            elif isinstance(file, Made):
                await self._may_write().noting.write(file, fh, off, buf)
            return len(buf)

    async def setattr(
        self,
        inode: int,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        async with told():
            self._may_write()
            scratch = self.overlay.by_inode(inode)
            if scratch is not None:
                if fields.update_size:
                    self.overlay.truncate(scratch, attr.st_size, time.time_ns())
                if fields.update_mtime:
                    scratch.mtime = attr.st_mtime_ns
                return scratch_entry(scratch)
            node = self._node(inode)
            if fields.update_size and not isinstance(node, Made):
                raise refused(errno.EPERM, "a message does not change: a new one is delivered")
            if fields.update_size and isinstance(node, Made) and fh is not None:
                await self._may_write().noting.truncate(node, fh, attr.st_size)
            if fields.update_mtime and isinstance(node, Message):
                await self._may_write().set_time(node, attr.st_mtime_ns, process_of(ctx.pid))
            # Modes and owners are what they are: who sets them as part of a copy need not fail.
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
        async with told():
            writing = self._may_write()
            old, new = self._folder(parent_inode_old), self._folder(parent_inode_new)
            name, to = os.fsdecode(name_old), os.fsdecode(name_new)
            if flags & pyfuse3.RENAME_EXCHANGE:
                raise FUSEError(errno.EINVAL)
            scratch, replaced = self.overlay.find(old.inode, name), self.overlay.find(new.inode, to)
            there = replaced or await self.tree.lookup(new, to)
            if flags & pyfuse3.RENAME_NOREPLACE and there is not None:
                raise FUSEError(errno.EEXIST)
            if scratch is not None and not _is_mail(new, to):
                if isinstance(there, Folder):
                    raise FUSEError(errno.EISDIR)
                if isinstance(there, Made):
                    await writing.noting.take(there, bytes(scratch.data))
                    self._folders.appears(new, to)
                    self.overlay.remove(old.inode, name)
                    self._telling.gone(new.inode, name_new)
                else:
                    self.overlay.move(old.inode, name, new.inode, to)
                return
            if there is not None:
                raise refused(errno.EEXIST, "a message does not take the place of another")
            if scratch is not None:
                await writing.deliver(scratch, new, to, process_of(ctx.pid))
                self.overlay.remove(old.inode, name)
            else:
                await self._rename(writing, await self._find(old, name, ctx), new, to)
            self._telling.gone(new.inode, name_new)

    async def _rename(self, writing: Writing, node: Node, new: Folder, to: str) -> None:
        if isinstance(node, Message) and _is_mail(new, to):
            await writing.rename(node, new, to)
        elif isinstance(node, Folder):
            await self._folders.rename(node, new, to)
        else:
            raise refused(errno.EPERM, "a message belongs into cur/ or new/, and what is made stays")

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        async with told():
            writing = self._may_write()
            folder, name = self._folder(new_parent_inode), os.fsdecode(new_name)
            scratch = self.overlay.by_inode(inode)
            if scratch is None:
                raise refused(errno.EPERM, "a Maildir has no meaning for two names of one message")
            if await self._is_there(folder, name):
                raise FUSEError(errno.EEXIST)
            if _is_mail(folder, name):
                await writing.deliver(scratch, folder, name, process_of(ctx.pid))
                self._telling.gone(folder.inode, new_name)
            else:
                self.overlay.link(scratch, folder.inode, name)
            return scratch_entry(scratch)

    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        async with told():
            writing = self._may_write()
            folder, text = self._folder(parent_inode), os.fsdecode(name)
            if self.overlay.remove(folder.inode, text):
                return
            node = await self._find(folder, text, ctx)
            if isinstance(node, Folder):
                raise FUSEError(errno.EISDIR)
            if isinstance(node, Made):
                self._folders.remove_made(folder, node)
            else:
                await writing.remove(node)

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        async with told():
            self._may_write()
            folder, text = self._folder(parent_inode), os.fsdecode(name)
            if await self._is_there(folder, text) and not self._folders.hides(folder, text, ctx.pid):
                raise FUSEError(errno.EEXIST)
            node = await self._folders.make(folder, text, ctx.pid)
            return self._entry(await self.tree.attributes(node))

    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        async with told():
            self._may_write()
            folder = self._folder(parent_inode)
            node = await self._find(folder, os.fsdecode(name), ctx)
            if not isinstance(node, Folder):
                raise FUSEError(errno.ENOTDIR)
            await self._folders.remove(folder, node)

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

    async def _find(self, folder: Folder, name: str, ctx: RequestContext | None) -> Node:
        """What has a name, for who asks."""
        node = await self.tree.lookup(folder, name)
        if node is None or (
            not isinstance(node, Message) and self._folders.hides(folder, name, ctx.pid if ctx else 0)
        ):
            raise FUSEError(errno.ENOENT)
        return node

    async def _is_there(self, folder: Folder, name: str) -> bool:
        return (
            self.overlay.find(folder.inode, name) is not None
            or await self.tree.lookup(folder, name) is not None
        )

    def _handle(self, opened: _Opened) -> int:
        handle, self._next = self._next, self._next + 1
        self._open[handle] = opened
        return handle

    def _entry(self, told: Attributes) -> EntryAttributes:
        return entry_of(told, writable=self._writing is not None)


def _is_mail(folder: Folder, name: str) -> bool:
    """Whether a file of this name would be a message. maildir(5): one that begins with a dot is none."""
    return folder.part in LISTED and not name.startswith(".")
