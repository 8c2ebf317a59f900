"""What a running server does by itself: it ends the sessions of deleted accounts, and erases them when their
time is over; and it notes how full accounts are, for who takes mail without having their keys."""

import logging
import time
from collections.abc import Callable

import trio

from aerogramme.errors import AerogrammeError
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.accounts import Accounts
from aerogramme.mailbox.incoming import tally
from aerogramme.mailbox.usage import usage
from aerogramme.store.port import Stores
from aerogramme.users.deletion import Retention, purge
from aerogramme.users.directory import Directory, User
from aerogramme.users.static import StaticDirectory

log = logging.getLogger(__name__)

NOTICE = 5.0  # seconds in which the sessions of an account that was deleted end, and another policy holds
PURGE = 3600.0  # seconds from one purge to the next
NOTE = 10.0  # seconds in which it is noted how full an account is


async def end_deleted(directory: Directory, accounts: Accounts) -> None:
    """Ends the sessions of accounts that were deleted, or are nobody's any more, soon after that; until it is
    cancelled. The others learn what their policy is now."""
    while True:
        await trio.sleep(NOTICE)
        accounts.renew_policies()
        for account in accounts.opened():
            user = directory.by_account(account)
            if user is None or user.deleted is not None:
                log.info("account %s was deleted; its sessions end", account)
                accounts.end(account)


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
        except AerogrammeError as error:  # the store is away, say, or the users file is read-only
            log.error("deleted accounts could not be erased: %s", error)
        await trio.sleep(PURGE)


async def note_usage(account: Account) -> None:
    """Notes how full an open account is, soon after it changes; until it is cancelled. Raises Unavailable."""
    looked = -1
    while True:
        await trio.sleep(NOTE)
        version, until = account.version, account.drain.until
        if until and version != looked:
            await account.refresh()  # what was drained elsewhere before then is in the state now
            await tally.note(account.store, usage(account.state), until, account.policy.quota)
            looked = version
