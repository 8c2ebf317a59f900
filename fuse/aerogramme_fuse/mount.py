"""A mount from beginning to end: pyfuse3, the account behind it, and what tells the kernel of changes."""

import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyfuse3
import trio

from aerogramme.errors import AerogrammeError, BadConfiguration
from aerogramme.housekeeping import note_usage
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.history.compaction import compact_from_time_to_time
from aerogramme.mailbox.keys.seen import Seen
from aerogramme.mailbox.persisting import persist
from aerogramme.maildir import Layout
from aerogramme_fuse.ahead import look_ahead
from aerogramme_fuse.operations import Operations
from aerogramme_fuse.telling import Telling
from aerogramme_fuse.tree import Tree
from aerogramme_fuse.writing import Writing

log = logging.getLogger(__name__)

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
BEFORE = 1.0  # seconds that a mount may look ahead before it is said that it can be used; then it goes on


async def mount(
    account: Account,
    mountpoint: Path,
    *,
    writable: bool = False,
    trash: bool = False,
    layout: Layout = "maildir++",
    keep_pages: bool = False,
    seen: Seen | None = None,
    beside: Sequence[Callable[[], Awaitable[None]]] = (),
    mounted: Callable[[], None] = lambda: None,
) -> None:
    """Shows the account at a folder until a signal comes, or somebody unmounts it. `mounted` is called when
    it can be used. `keep_pages`: see Operations. `seen`: what this machine remembers of accounts; `beside`:
    what runs meanwhile, for ever or until it ends the mount with NoSuchUser. The account is not closed.

    Raises BadConfiguration when the kernel refuses the mount, and what the account's `run` does, but in no
    group.
    """
    tree = Tree(account, layout)
    telling = Telling()
    writing = Writing(tree, trash=trash) if writable else None
    operations = Operations(tree, writing, telling, keep_pages=keep_pages)
    options = set(pyfuse3.default_options) | {"fsname=aerogramme", "subtype=maildir"}
    options.add("rw" if writable else "ro")
    with trio.open_signal_receiver(*SIGNALS) as signals:
        try:
            pyfuse3.init(operations, str(mountpoint), options)
        except RuntimeError as error:  # fusermount3 has said why on standard error
            raise BadConfiguration(
                f"it cannot be mounted at {mountpoint}",
                hint="may you use /dev/fuse, and write to the folder?",
            ) from error
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(account.run)
                nursery.start_soon(persist, account.id, partial(_tell_changes, operations, telling))
                if not account.past:
                    for chore in (compact_from_time_to_time, note_usage):
                        nursery.start_soon(persist, account.id, partial(chore, account))
                    if seen is not None:
                        nursery.start_soon(seen.keep, account)
                for task in beside:
                    nursery.start_soon(persist, account.id, task)
                nursery.start_soon(_until_signal, signals)
                nursery.start_soon(_serve, nursery.cancel_scope)
                looked = trio.Event()
                nursery.start_soon(_look_ahead, tree, mountpoint, looked)
                with trio.move_on_after(BEFORE):
                    await looked.wait()
                mounted()
        except BaseExceptionGroup as group:
            ours = _first(group)
            if ours is None:
                raise
            raise ours from group
        finally:
            telling.end()
            pyfuse3.close(unmount=True)


def _first(error: BaseException) -> AerogrammeError | None:
    """The first error of ours in a group."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_first, error.exceptions)), None)
    return error if isinstance(error, AerogrammeError) else None


async def _until_signal(signals: AsyncIterator[int]) -> None:
    async for number in signals:
        log.info("unmounting: %s", signal.Signals(number).name)
        pyfuse3.terminate()


async def _serve(scope: trio.CancelScope) -> None:
    """Answers the kernel; with the mount all else ends."""
    await pyfuse3.main()
    scope.cancel()


async def _look_ahead(tree: Tree, mountpoint: Path, ended: trio.Event) -> None:
    await look_ahead(tree, mountpoint)
    ended.set()


async def _tell_changes(operations: Operations, telling: Telling) -> None:
    """The kernel lets go of names and attributes that are not so any more."""
    tree = operations.tree
    await operations.begun.wait()
    while True:
        version = tree.account.version
        await tree.catch_up()
        while tree.gone:
            telling.gone(*tree.gone.pop())
        while tree.changed:
            _changed(tree.changed.pop())
        await tree.account.wait_changed(version)


def _changed(folder: int) -> None:
    with suppress(FileNotFoundError):  # the kernel does not know it yet
        pyfuse3.invalidate_inode(folder, attr_only=True)
