"""What a running server does by itself about deleted accounts: it ends their sessions, and erases them when
their time is over."""

import logging
import time
from collections.abc import Callable

import trio

from aerogramme.errors import AerogrammeError
from aerogramme.mailbox.accounts import Accounts
from aerogramme.store.port import Stores
from aerogramme.users.deletion import Retention, purge
from aerogramme.users.directory import User
from aerogramme.users.static import StaticDirectory

log = logging.getLogger(__name__)

NOTICE = 5.0  # seconds in which the sessions of an account that was deleted end
PURGE = 3600.0  # seconds from one purge to the next


async def end_deleted(directory: StaticDirectory, accounts: Accounts) -> None:
    """Ends the sessions of deleted accounts, soon after each gets its tombstone; until it is cancelled."""
    while True:
        await trio.sleep(NOTICE)
        if opened := accounts.opened():
            for user in directory.users():
                if user.deleted is not None and user.account in opened:
                    log.info("account %s was deleted; its sessions end", user.account)
                    accounts.end(user.account)


async def purge_deleted(
    directory: StaticDirectory,
    stores: Stores,
    retention: Retention,
    clock: Callable[[], float] = time.time,
) -> None:
    """Erases what is to be erased once an hour, and at once when the server starts; until it is cancelled.

    Nothing ends with it: what cannot be done now is said in the log, and tried again with the next round.
    """

    def told(user: User) -> None:
        log.info("account %s is erased: its retention is over", user.account)

    while True:
        try:
            await purge(directory, stores, int(clock()), retention, told)
        except (
            AerogrammeError
        ) as error:  # the store is away or allows no deletion, the users file is read-only
            log.error("deleted accounts could not be erased: %s", error)
        await trio.sleep(PURGE)
