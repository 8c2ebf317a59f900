"""An account with many messages, made without a server: for tests and measurements that only begin there."""

from pathlib import Path

import trio

from aerogramme.mailbox.account import Account
from aerogramme.mailbox.contents import NewMessage
from aerogramme.mailbox.keys import keys
from aerogramme.mailbox.keys.keys import Unlocked
from aerogramme.seal import Secret
from aerogramme.store import open_stores
from aerogramme.users.static import StaticDirectory
from tests.helpers.server import ADDRESS, PASSWORD, create_account

AT_ONCE = 250  # messages in one entry


def letter(n: int) -> bytes:
    """Different each time, and of the size of a short mail."""
    words = " ".join(f"word{n * k % 9973}" for k in range(1, 120))
    head = f"From: a{n}@example.org\r\nSubject: mail {n}\r\nMessage-ID: <{n}@example.org>\r\n\r\n"
    return (head + words + "\r\n").encode()


def make_large_account(data: Path, messages: int) -> Unlocked:
    """Creates the account and fills its INBOX. What its password opens, as it is before any rotation."""
    create_account(data)
    return trio.run(_fill, data, messages)


async def _fill(data: Path, messages: int) -> Unlocked:
    account_id = account_of(data)
    stores = open_stores(f"sqlite:{data}/accounts")
    store = await stores.open(account_id)
    unlocked = await keys.unlock(store, account_id, Secret(PASSWORD))
    account = await Account.open(store, account_id, unlocked)
    for start in range(0, messages, AT_ONCE):
        some = []
        for n in range(start, min(start + AT_ONCE, messages)):
            upload = account.upload()
            await upload.write(letter(n))
            some.append(NewMessage(upload))
        await account.append("INBOX", some)
        await account.fold()
    await account.aclose()
    await stores.aclose()
    return unlocked


def account_of(data: Path) -> str:
    user = StaticDirectory(data / "users.toml").by_login(ADDRESS)
    assert user is not None
    return user.account
