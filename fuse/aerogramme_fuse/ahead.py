"""Looking ahead: a mount lists mailboxes itself as soon as it is there. So whoever lists one first finds that
done: the names are made, and the kernel knows them.
"""

import os
from pathlib import Path
from threading import Event

import trio

from aerogramme.mailbox.names import INBOX
from aerogramme.maildir import levels_of
from aerogramme_fuse.listing import LISTED
from aerogramme_fuse.tree import Tree

AHEAD = 50_000  # messages, of all mailboxes: the kernel takes 1 kB for each, until it needs that for others


async def look_ahead(tree: Tree, mountpoint: Path) -> None:
    """Lists INBOX, and then others, as far as there is room for the whole of them. What cannot be listed now
    is learnt when somebody asks."""
    left = AHEAD
    for name in sorted(tree.account.state.names, key=lambda name: (name != INBOX, name)):
        mailbox = tree.account.state.names.get(name)  # None: somebody has removed it meanwhile
        count = 0 if mailbox is None else len(tree.table(mailbox))
        if 0 < count <= left:
            left -= count
            folder = mountpoint.joinpath(*([] if name == INBOX else levels_of(name, tree.layout)))
            for part in LISTED:
                await _list(folder / part)


async def _list(folder: Path) -> None:
    """In a thread, as it is this process that answers."""
    cancelled = Event()
    try:
        await trio.to_thread.run_sync(_scan, folder, cancelled, abandon_on_cancel=True)
    finally:
        cancelled.set()


def _scan(folder: Path, cancelled: Event) -> None:
    try:
        with os.scandir(folder) as found:
            for _ in found:
                if cancelled.is_set():
                    return
    except OSError:
        pass  # the store is away, the folder was removed, the mount ends
    except UnicodeEncodeError:
        pass  # the locale has no such letters: whoever has another one may list it
