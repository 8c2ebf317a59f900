"""What programs mean that make, rename and remove folders: mailboxes, and cur/, new/ and tmp/ in them.

These three belong to a mailbox: to the account they are always there. But a program or a script that makes a
folder goes on to make them in it, as on a disk; so to that one they are not there until it has, or there is
mail. And a program that removes a folder removes first what is in it: what it has removed of an empty mailbox
is not shown any more, until mail comes.
"""

import errno
from collections.abc import Iterator

from pyfuse3 import FUSEError

from aerogramme.errors import Refused
from aerogramme.mailbox.names import canonical
from aerogramme.maildir import PARTS, levels_of, mailbox_of
from aerogramme_fuse.errnos import refused
from aerogramme_fuse.overlay import Overlay
from aerogramme_fuse.processes import Process, leader_of
from aerogramme_fuse.tree import ROOT, Folder, Made, Tree

MOST = 64  # folders whose makers have not made all of cur/, new/ and tmp/: who does so does it at once

# Dovecot moves a folder here, to remove it there. Where it cannot be moved, it is removed where it is.
DOVECOT_TRASH = "DOVECOT-TRASHED"


class Folders:
    """Carries out what happens to the folders of one mount. Methods raise what the account's do, and
    FUSEError."""

    def __init__(self, tree: Tree, overlay: Overlay) -> None:
        self._tree, self._overlay = tree, overlay
        self._bare: dict[int, tuple[Process, set[str]]] = {}  # folder -> its maker, and what that makes next
        self._removed: dict[int, tuple[int, set[str]]] = {}  # folder -> UIDNEXT then, and what was removed

    # --- what is not shown

    def hides(self, folder: Folder, name: str, task: int) -> bool:
        """Whether something that belongs to a mailbox is not there to a task."""
        if folder.mailbox is None or (folder.inode not in self._bare and folder.inode not in self._removed):
            return False
        table = self._tree.table(folder.mailbox)
        maker, missing = self._bare.get(folder.inode, (None, set()))
        if table.uidnext > 1:  # with mail in it, it is whole
            self._bare.pop(folder.inode, None)
        elif name in missing and leader_of(task) == maker:
            return True
        uidnext, names = self._removed.get(folder.inode, (0, set()))
        if table.uidnext != uidnext:
            self._removed.pop(folder.inode, None)
            return False
        return name in names and not len(table)

    def differs(self, folder: Folder) -> bool:
        """Whether a folder is not the same to all: then the kernel must not keep what is in it."""
        return folder.inode in self._bare

    def shown(self, folder: Folder, task: int) -> Iterator[tuple[str, int]]:
        """What is in a folder to a task, but for messages: names and inode numbers."""
        return (
            child for child in self._tree.children(folder).items() if not self.hides(folder, child[0], task)
        )

    # --- changes

    async def make(self, folder: Folder, name: str, task: int) -> Folder:
        """A folder in another. It is not there, or hidden."""
        there = await self._tree.lookup(folder, name)
        if isinstance(there, Folder):
            self._make_again(folder, name, task)
            return there
        await self._tree.account.create_mailbox(self._mailbox_at(folder, name))
        made = await self._tree.lookup(folder, name)
        if not isinstance(made, Folder):
            raise FUSEError(errno.ENOENT)  # somebody else has removed it already
        maker = leader_of(task)
        if maker is not None:
            self._bare[made.inode] = maker, set(PARTS)
            if len(self._bare) > MOST:
                del self._bare[next(iter(self._bare))]
        return made

    def _make_again(self, folder: Folder, name: str, task: int) -> None:
        self.appears(folder, name)
        maker, missing = self._bare.get(folder.inode, (None, set()))
        if leader_of(task) == maker:
            missing.discard(name)
        if not missing:
            self._bare.pop(folder.inode, None)

    def appears(self, folder: Folder, name: str) -> None:
        """A program has made anew what was removed."""
        if folder.inode in self._removed:
            self._removed[folder.inode][1].discard(name)

    async def remove(self, above: Folder, node: Folder) -> None:
        """A folder that has nothing in it goes; of a mailbox that, and the mailbox."""
        if node.part:
            await self._remove_part(above, node)
            return
        if node.mailbox is None or node.inode == ROOT:
            raise refused(errno.EPERM, "a level above mailboxes goes with them")
        if self._holds(node):
            raise FUSEError(errno.ENOTEMPTY)
        try:
            await self._tree.account.delete_mailbox(node.name, empty=True)
        except Refused:
            raise FUSEError(errno.ENOTEMPTY) from None
        self._bare.pop(node.inode, None)
        self._removed.pop(node.inode, None)

    async def _remove_part(self, above: Folder, node: Folder) -> None:
        if above.inode == ROOT:
            raise refused(errno.EPERM, "cur/, new/ and tmp/ of INBOX stay")
        if await self._tree.files(node) or any(self._overlay.entries(node.inode)):
            raise FUSEError(errno.ENOTEMPTY)
        self._is_removed(above, node.part)

    def remove_made(self, above: Folder, node: Made) -> None:
        """A file that is made is removed: part of removing a folder."""
        if above.inode == ROOT:
            raise refused(errno.EPERM, "what is made for INBOX stays")
        self._is_removed(above, node.what)

    def _is_removed(self, above: Folder, name: str) -> None:
        assert above.mailbox is not None
        uidnext = self._tree.table(above.mailbox).uidnext
        known = self._removed.get(above.inode)
        names = known[1] if known is not None and known[0] == uidnext else set()
        self._removed[above.inode] = uidnext, names | {name}

    async def rename(self, node: Folder, new: Folder, to: str) -> None:
        """The folder of a mailbox gets another name."""
        if node.part or node.mailbox is None:
            raise refused(errno.EPERM, "cur/, new/ and tmp/ have their names")
        if to.lstrip(".") == DOVECOT_TRASH:
            raise FUSEError(errno.EXDEV)
        await self._tree.account.rename_mailbox(node.name, self._mailbox_at(new, to))

    # --- help

    def _holds(self, folder: Folder) -> bool:
        """Whether there is something in a folder besides mail: other mailboxes, or files of programs."""
        below = [self._tree.node(inode) for inode in self._tree.children(folder).values()]
        return any(any(self._overlay.entries(node.inode)) for node in (folder, *below) if node) or any(
            isinstance(node, Folder) and not node.part for node in below
        )

    def _mailbox_at(self, folder: Folder, name: str) -> str:
        """The mailbox that a new folder would be."""
        if folder.part or name in PARTS:
            raise refused(errno.EPERM, "there are no folders but those of mailboxes")
        path = [*([] if folder.inode == ROOT else self._tree.path_of(folder)), name]
        mailbox = mailbox_of(path, self._tree.layout)
        if mailbox is None or levels_of(canonical(mailbox), self._tree.layout) != path:
            raise refused(errno.EINVAL, "no mailbox has a folder that is named so")
        return mailbox
