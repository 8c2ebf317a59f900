"""What the kernel is told of files and folders."""

import os
import stat

from pyfuse3 import EntryAttributes

from aerogramme_fuse.overlay import Scratch
from aerogramme_fuse.tree import Attributes

KEPT = 3600.0  # seconds for which the kernel may keep names and attributes: it is told when they change
BLOCK = 4096


def entry_of(told: Attributes, *, writable: bool) -> EntryAttributes:
    """Of what the account has. Only its owner sees it."""
    entry = EntryAttributes()
    entry.st_ino = told.inode
    write = stat.S_IWUSR if writable else 0
    if told.folder:
        entry.st_mode = stat.S_IFDIR | stat.S_IRUSR | stat.S_IXUSR | write
        entry.st_nlink = 2
    else:
        entry.st_mode = stat.S_IFREG | stat.S_IRUSR | write
        entry.st_nlink = 1
    entry.st_size = told.size
    entry.st_blksize, entry.st_blocks = BLOCK, -(-told.size // 512)
    entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
    entry.st_atime_ns = entry.st_mtime_ns = told.mtime
    entry.st_ctime_ns = told.ctime
    entry.entry_timeout = entry.attr_timeout = KEPT
    return entry


def scratch_entry(file: Scratch) -> EntryAttributes:
    """Of a file that is no mail: it is asked for each time."""
    told = Attributes(file.inode, False, len(file.data), file.mtime, file.mtime)
    entry = entry_of(told, writable=True)
    entry.entry_timeout = entry.attr_timeout = 0.0
    entry.st_nlink = file.links
    return entry
