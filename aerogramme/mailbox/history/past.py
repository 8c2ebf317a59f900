"""An account as it stood at a moment, for everything that works on accounts (log/past.py says how)."""

import trio

from aerogramme.log.past import Past, clock_at
from aerogramme.log.records import Records
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.history.reach import check_reach
from aerogramme.mailbox.keys.keys import Unlocked
from aerogramme.store.port import Store


async def open_past(
    store: Store, account_id: str, unlocked: Unlocked, seconds: float, *, shared: bool = False
) -> Account:
    """The account as it stood at a moment (unix seconds). What is changed in it stays in this process, and is
    gone when it is closed. It owns the store from here on, also when this fails, unless that is `shared`.

    Letters count from when they were drained into a mailbox. Raises Forgotten when the history does not go
    back so far; Unavailable, Damaged.
    """
    past = Past(store, clock_at(seconds), shared=shared)
    try:
        await check_reach(store, Records(store, unlocked.keyring), past.clock)
    except BaseException:
        with trio.CancelScope(shield=True):
            await past.aclose()
        raise
    return await Account.open(past, account_id, unlocked)


async def past_of(account: Account, seconds: float) -> Account:
    """The same for an account that is open, which goes on as it is: close this one before that."""
    return await open_past(account.store, account.id, account.holding.unlocked(), seconds, shared=True)
