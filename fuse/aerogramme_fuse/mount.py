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
from aerogramme.mailbox.compaction import compact_from_time_to_time
from aerogramme.mailbox.persisting import persist
from aerogramme.mailbox.seen import Seen
from aerogramme_fuse.names import Layout
from aerogramme_fuse.operations import Operations
from aerogramme_fuse.tree import Tree
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
    seen: Seen | None = None,
    mounted: Callable[[], None] = lambda: None,
) -> None:
    """Shows the account at a folder until a signal comes, or somebody unmounts it. `mounted` is called when
    it can be used. `seen`: what this machine remembers of accounts. The account is not closed.

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
            nursery.start_soon(persist, account.id, partial(_tell_changes, tree))
            if not account.past:
                for chore in (compact_from_time_to_time, note_usage):
                    nursery.start_soon(persist, account.id, partial(chore, account))
                if seen is not None:
                    nursery.start_soon(seen.keep, account)
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
    while True:
        version = tree.account.version
        await tree.catch_up()
        while tree.gone:
            _gone(*tree.gone.pop())
        while tree.changed:
            _changed(tree.changed.pop())
        await tree.account.wait_changed(version)


def _gone(folder: int, name: str) -> None:
    pyfuse3.invalidate_entry_async(folder, os.fsencode(name), ignore_enoent=True)


def _changed(folder: int) -> None:
    with suppress(FileNotFoundError):  # the kernel does not know it yet
        pyfuse3.invalidate_inode(folder, attr_only=True)
