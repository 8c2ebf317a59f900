"""Large uploads go to the store while they come in; however they end, nothing is left that nobody names."""

import os
import tracemalloc

import pytest
import trio
import trio.testing

from aerogramme.errors import NoSuchMailbox, Refused, Unavailable
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.contents import NewMessage
from tests.t3_mailbox.conftest import put

LETTER = b"Subject: small\r\n\r\n"


async def bodies_of(account: Account) -> list[str]:
    await trio.testing.wait_all_tasks_blocked()
    return await account.store.list("body/")


async def test_a_large_upload_is_in_the_store_and_not_in_memory(account: Account, nursery) -> None:
    await nursery.start(account.run)
    letter = b"Subject: large\r\n\r\n" + os.urandom(6 * 1024 * 1024)
    upload = account.upload()
    tracemalloc.start()
    try:
        for at in range(0, len(letter), 65536):
            await upload.write(letter[at : at + 65536])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The store of the tests is memory too: once over the letter, which this would be three times.
    assert peak < 1.7 * len(letter)
    placed = await account.append("INBOX", [NewMessage(upload)])
    assert await account.body(account.find("INBOX").contents[0]) == letter
    assert account.find("INBOX").sizes[0] == len(letter)
    assert list(placed.uids) == [1]
    assert len(await bodies_of(account)) == 1


@pytest.mark.parametrize("end", ["dropped", "no mailbox", "mailbox gone amid", "refused flag"])
async def test_a_large_upload_that_is_not_appended_leaves_nothing(
    account: Account, nursery, end: str
) -> None:
    await nursery.start(account.run)
    upload = account.upload()
    for _ in range(4):
        await upload.write(os.urandom(1024 * 1024))
    if end == "dropped":
        upload.drop()
    elif end == "no mailbox":
        with pytest.raises(NoSuchMailbox):
            await account.append("nowhere", [NewMessage(upload)])
    elif end == "refused flag":
        with pytest.raises(Refused):
            await account.append("INBOX", [NewMessage(upload, ["x" * 1000])])
    else:
        await account.create_mailbox("there")
        finish = upload.finish

        async def delete_meanwhile():
            await account.delete_mailbox("there")
            return await finish()

        upload.finish = delete_meanwhile
        with pytest.raises(NoSuchMailbox):
            await account.append("there", [NewMessage(upload)])
    assert await bodies_of(account) == []


async def test_a_large_upload_that_the_store_does_not_take(account: Account, nursery, monkeypatch) -> None:
    await nursery.start(account.run)

    async def full(*_: object) -> None:
        raise Unavailable(hint="the disk is full")

    upload = account.upload()
    with monkeypatch.context() as patch:
        patch.setattr(account.store, "put", full)
        with pytest.raises(Unavailable):
            for _ in range(4):
                await upload.write(os.urandom(1024 * 1024))
                await trio.testing.wait_all_tasks_blocked()
    upload.drop()
    await put(account, "INBOX", LETTER)


async def test_large_uploads_end_with_the_account(account: Account) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(account.run)
        upload = account.upload()
        await upload.write(os.urandom(2 * 1024 * 1024))
        nursery.cancel_scope.cancel()
    with pytest.raises(Unavailable):
        await account.append("INBOX", [NewMessage(upload)])
    assert len(account.find("INBOX")) == 0
