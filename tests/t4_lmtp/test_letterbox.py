"""The server with the real letter boxes on the store in memory: what it acknowledges is there, whole."""

import random

import pytest
import trio

from aerogramme.lmtp.server import LmtpServer
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes
from aerogramme.mailbox.keys import keys
from aerogramme.seal import Argon2Params, Secret
from aerogramme.store.memory import MemoryStore, MemoryStores
from tests.t4_lmtp.conftest import Running

PASSWORD = Secret("correct horse")
CHEAP = Argon2Params(memory=8, passes=1, lanes=1)  # a password that takes no time; never outside of tests
ALICE, BOB = "a" * 32, "b" * 32
BOTH = b"MAIL FROM:<me@x.example>\r\nRCPT TO:<alice+lists@example.org>\r\nRCPT TO:<bob@example.org>\r\n"


@pytest.fixture
async def stores():
    stores = MemoryStores(serial=True)
    for account in (ALICE, BOB):
        await Account.create(stores, account, PASSWORD, params=CHEAP)
    yield stores
    await stores.aclose()


@pytest.fixture
async def connected(stores, config, book):
    """A client of a server with the real letter boxes."""
    object.__setattr__(config, "max_message_size", 10_000_000)
    async with trio.open_nursery() as nursery:
        boxes = LetterBoxes(stores, nursery)
        running = Running(LmtpServer(book, boxes.open, config), None, nursery)
        yield await running.client()
        nursery.cancel_scope.cancel()


async def mailboxes(stores, account_id: str, *names: str, make: str = "") -> list[list[bytes]]:
    """The messages in these mailboxes, read as somebody with the password does after a restart."""
    store = await stores.open(account_id)
    unlocked = await keys.unlock(store, account_id, PASSWORD)
    account = await Account.open(store, account_id, unlocked)
    if make:
        await account.create_mailbox(make)
    await account.drain.all_waiting()
    found = [[await account.body(content) for content in account.find(name).contents] for name in names]
    assert await audit(account) == []
    await account.aclose()
    return found


def without_fields(message: bytes) -> bytes:
    """The message under the lines that delivery adds, which are five."""
    return message.split(b"\r\n", 5)[5]


async def test_what_is_acknowledged_is_in_the_mailbox(connected, stores):
    large = b"Subject: large\r\n\r\n" + b"".join(b"%d .. %d\r\n" % (n, n * 7919) for n in range(200_000))
    small = b"Subject: small\r\n\r\n.\r\n.a\r\n"
    for message in (small, large):
        await connected.codes(BOTH + b"DATA\r\n", 4)
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        assert await connected.codes(stuffed + b".\r\n", 2) == ["250 2.0.0", "250 2.0.0"]
    (inbox,) = await mailboxes(stores, BOB, "INBOX")
    assert [without_fields(message) for message in inbox] == [small, large]
    assert inbox[0].startswith(
        b"Return-Path: <me@x.example>\r\nDelivered-To: bob@example.org\r\nReceived: from "
    )


async def test_the_detail_names_a_mailbox_that_exists_or_means_nothing(connected, stores):
    transaction = BOTH.partition(b"RCPT TO:<bob")[0] + b"BDAT 4 LAST\r\nx\r\n."
    await connected.codes(transaction, 3)
    (inbox,) = await mailboxes(stores, ALICE, "INBOX")
    assert len(inbox) == 1
    await mailboxes(stores, ALICE, "INBOX", make="Lists")
    await connected.codes(transaction, 3)
    lists, inbox = await mailboxes(stores, ALICE, "Lists", "INBOX")
    assert (len(lists), len(inbox)) == (1, 1)
    assert without_fields(lists[0]) == b"x\r\n."


async def test_an_upload_that_hangs_is_ended(connected, stores, monkeypatch, autojump_clock):
    ended = []

    async def hang(_store, name, pieces):
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    await connected.codes(BOTH + b"DATA\r\n", 4)
    monkeypatch.setattr(MemoryStore, "put", hang)
    large = random.Random(1).randbytes(2_000_000).replace(b"\r\n.", b"xxx")  # no zstd makes it small
    began = trio.current_time()
    await connected.send(large)
    assert await connected.codes(b"\r\n.\r\n", 2) == ["451 4.3.0"] * 2
    assert trio.current_time() - began < 600, "RFC 5321 §4.5.3.2.6: the client waits no longer"
    assert len(ended) == 2


async def test_what_the_store_may_have_is_not_taken_from_it(connected, stores, monkeypatch, autojump_clock):
    real = MemoryStore.append

    async def append_and_hang(*args, **options):
        await real(*args, **options)
        await trio.sleep_forever()

    await connected.codes(BOTH + b"DATA\r\n", 4)
    monkeypatch.setattr(MemoryStore, "append", append_and_hang)
    assert await connected.codes(b"hello\r\n.\r\n", 2) == ["451 4.3.0"] * 2
    monkeypatch.setattr(MemoryStore, "append", real)
    for account in (ALICE, BOB):
        ((message,),) = await mailboxes(stores, account, "INBOX")
        assert without_fields(message) == b"hello\r\n"


async def test_a_client_that_leaves_leaves_nothing(connected, stores):
    await connected.codes(BOTH + b"DATA\r\n", 4)
    await connected.send(b"x" * 3_000_000)
    await connected.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    for account in (ALICE, BOB):
        assert await mailboxes(stores, account, "INBOX") == [[]]
        store = await stores.open(account)
        assert await store.list("body/") == []
        await store.aclose()
