"""A mount from beginning to end: pyfuse3, the account behind it, and what tells the kernel of changes."""

import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyfuse3
import trio

from aerogramme.housekeeping import note_usage
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.persisting import persist
from aerogramme_fuse.names import Layout
from aerogramme_fuse.operations import Operations
from aerogramme_fuse.tree import LISTED, Tree
from aerogramme_fuse.writing import Writing

log = logging.getLogger(__name__)

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


async def mount(
    account: Account,
    mountpoint: Path,
    *,
    writable: bool = False,
    trash: bool = False,
    layout: Layout = "maildir++",
    mounted: Callable[[], None] = lambda: None,
) -> None:
    """Shows the account at a folder until a signal comes, or somebody unmounts it. `mounted` is called when
    it can be used. The account is not closed.

    Raises RuntimeError when the kernel refuses the mount, and what the account's `run` does.
    """
    tree = Tree(account, layout)
    operations = Operations(tree, Writing(tree, trash=trash) if writable else None)
    options = set(pyfuse3.default_options) | {"fsname=aerogramme", "subtype=maildir", "default_permissions"}
    options.add("rw" if writable else "ro")
    pyfuse3.init(operations, str(mountpoint), options)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(account.run)
            nursery.start_soon(_tell_changes, tree)
            if not account.past:
                nursery.start_soon(persist, account.id, partial(note_usage, account))
            nursery.start_soon(_until_signal)
            mounted()
            await pyfuse3.main()
            nursery.cancel_scope.cancel()
    finally:
        pyfuse3.close(unmount=True)


async def _until_signal() -> None:
    with trio.open_signal_receiver(*SIGNALS) as received:
        async for number in received:
            log.info("unmounting: %s", signal.Signals(number).name)
            pyfuse3.terminate()


async def _tell_changes(tree: Tree) -> None:
    """The kernel lets go of names and attributes that are not so any more."""
    account = tree.account
    version, folders = account.version, tree.folders()
    told = {mailbox: tree.table(mailbox).version for mailbox in account.state.names.values()}
    while True:
        version = await account.wait_changed(version)
        now = tree.folders()
        for (inode, name), child in folders.items():
            if now.get((inode, name)) != child:
                _gone(inode, name)
        if now != folders:
            for inode in {inode for inode, _ in folders.keys() ^ now.keys()}:
                _changed(inode)
        folders = now
        for mailbox in list(account.state.names.values()):
            if told.get(mailbox) == tree.table(mailbox).version:
                continue
            told[mailbox] = tree.table(mailbox).version
            before = tree.listed(mailbox)
            if before is None:
                continue  # nobody has seen a name of it
            after = await tree.listing(mailbox)
            for part in LISTED:
                inode = tree.inode_of(part, mailbox)
                for name in set(before.names[part]).difference(after.names[part]):
                    _gone(inode, name)
                _changed(inode)


def _gone(folder: int, name: str) -> None:
    pyfuse3.invalidate_entry_async(folder, os.fsencode(name), ignore_enoent=True)


def _changed(folder: int) -> None:
    with suppress(FileNotFoundError):  # the kernel does not know it yet
        pyfuse3.invalidate_inode(folder, attr_only=True)
