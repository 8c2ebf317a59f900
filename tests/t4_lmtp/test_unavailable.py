"""What MTAs hear while the store is away: 451 for each recipient, and never a letter that is not whole."""

from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from aerogramme.lmtp.server import LmtpServer
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes
from aerogramme.mailbox.keys import keys
from aerogramme.seal import Argon2Params, Secret
from aerogramme.store import Faults, MemoryStores
from tests.helpers.imap_world import ACCOUNT, imap_world, quiet_faults
from tests.t4_lmtp.conftest import Client, Running

PASSWORD = Secret("correct horse")
CHEAP = Argon2Params(memory=8, passes=1, lanes=1)  # a password that takes no time; never outside of tests
ALICE, BOB = "a" * 32, "b" * 32
BOTH = b"MAIL FROM:<me@x.example>\r\nRCPT TO:<alice@example.org>\r\nRCPT TO:<bob@example.org>\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"".join(b"%x\r\n" % (n * 2654435761 % 2**32) for n in range(400_000))


class Reached:
    """The server with the real letter boxes, a client of it, and its way to the store."""

    def __init__(self, stores: MemoryStores, nursery: trio.Nursery, config, book, faults: Faults) -> None:
        self.stores, self.faults = stores, faults
        boxes = LetterBoxes(stores.another(faults), nursery)
        self.running = Running(LmtpServer(book, boxes.open, config), None, nursery)
        self.client: Client

    async def begin(self) -> None:
        await self.client.codes(BOTH + b"DATA\r\n", 4)

    async def deliver(self, message: bytes) -> list[str]:
        await self.begin()
        return await self.client.codes(message + b"\r\n.\r\n", 2)

    async def inbox(self, account_id: str) -> list[bytes]:
        """The messages, read as somebody with the password does who reaches the store."""
        store = await self.stores.open(account_id)
        unlocked = await keys.unlock(store, account_id, PASSWORD)
        account = await Account.open(store, account_id, unlocked)
        await account.drain.all_waiting()
        assert account.drain.unreadable == {}
        found = [(await account.body(content)) for content in account.find("INBOX").contents]
        assert await audit(account) == []
        await account.aclose()
        return [message.split(b"\r\n", 5)[5].removesuffix(b"\r\n") for message in found]


@pytest.fixture
async def reached(config, book):
    object.__setattr__(config, "max_message_size", 10_000_000)
    stores = MemoryStores()
    for account in (ALICE, BOB):
        await Account.create(stores, account, PASSWORD, params=CHEAP)
    async with trio.open_nursery() as nursery:
        reached = Reached(stores, nursery, config, book, quiet_faults())
        reached.client = await reached.running.client()
        yield reached
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("message", [b"small", LARGE], ids=["small", "large"])
async def test_each_recipient_is_told_to_come_again(reached, known, message):
    kept = []
    if known:  # its letter boxes are open already
        kept = [b"before"]
        assert await reached.deliver(b"before") == ["250 2.0.0", "250 2.0.0"]
    reached.faults.reachable = False
    for _ in range(2):
        assert await reached.deliver(message) == ["451 4.3.0", "451 4.3.0"]
        assert await reached.client.codes(b"NOOP\r\n", 1) == ["250 2.0.0"]
    reached.faults.reachable = True  # the same connection goes on, nothing is started again
    assert await reached.deliver(message) == ["250 2.0.0", "250 2.0.0"]
    for account in (ALICE, BOB):
        assert await reached.inbox(account) == [*kept, message]


@pytest.mark.parametrize("message", [b"small", LARGE], ids=["small", "large"])
async def test_a_store_that_goes_while_the_message_comes_in(reached, message):
    await reached.begin()
    await reached.client.send(message[:-2])
    await wait_all_tasks_blocked()
    reached.faults.reachable = False
    assert await reached.client.codes(message[-2:] + b"\r\n.\r\n", 2) == ["451 4.3.0", "451 4.3.0"]
    reached.faults.reachable = True
    for account in (ALICE, BOB):
        assert await reached.inbox(account) == []
    assert await reached.deliver(message) == ["250 2.0.0", "250 2.0.0"]


async def test_a_store_that_comes_back_while_the_message_comes_in_is_not_trusted_with_half_of_it(reached):
    await reached.begin()
    await reached.client.send(LARGE[:2_000_000])
    await wait_all_tasks_blocked()
    reached.faults.reachable = False
    await reached.client.send(LARGE[2_000_000:2_500_000])
    await wait_all_tasks_blocked()
    reached.faults.reachable = True
    codes = await reached.client.codes(LARGE[2_500_000:] + b"\r\n.\r\n", 2)
    accepted = [account for account, code in zip((ALICE, BOB), codes, strict=True) if code == "250 2.0.0"]
    assert set(codes) <= {"250 2.0.0", "451 4.3.0"}
    for account in (ALICE, BOB):
        assert await reached.inbox(account) == ([LARGE] if account in accepted else [])


@pytest.mark.parametrize("seed", range(12))
async def test_what_is_acknowledged_is_there_whatever_the_store_does(reached, config, book, seed):
    faults = Faults(Random(seed), latency=0.0, refused=0.1, lost=0.1, limbo=0.2, again=0.1)
    reached = Reached(reached.stores, reached.running.nursery, config, book, faults)
    reached.client = await reached.running.client()
    acknowledged: dict[str, list[bytes]] = {ALICE: [], BOB: []}
    sent: list[bytes] = []
    refused = 0
    while len(sent) < 12 or not refused:
        n = len(sent)
        sent.append(LARGE[: 1_500_000 + n] if n % 6 == 5 else b"message %d" % n)
        codes = await reached.deliver(sent[-1])
        for account, code in zip((ALICE, BOB), codes, strict=True):
            assert code in ("250 2.0.0", "451 4.3.0")
            if code.startswith("2"):
                acknowledged[account].append(sent[-1])
            else:
                refused += 1
    faults.reliable = True
    for account, messages in acknowledged.items():
        assert set(messages) <= set(await reached.inbox(account)) <= set(sent)


async def test_mail_is_taken_while_imap_cannot_read(config, book):
    """Two processes, of which one has lost the store."""
    faults = quiet_faults()
    stores = MemoryStores(faults)
    async with imap_world(stores) as world, trio.open_nursery() as nursery:
        client = await world.client()
        await client.command(b"SELECT INBOX")
        faults.reachable = False
        boxes = LetterBoxes(stores.another(), nursery)
        box = await boxes.open(ACCOUNT)
        letter = box.letter("me@x.example", "alice@example.org", limit=1000)
        await letter.write(b"Subject: hello\r\n\r\n")
        await letter.send()
        assert (await client.command(b"STATUS INBOX (MESSAGES)"))[-1].startswith(b"x NO [UNAVAILABLE] ")
        faults.reachable = True
        assert (await client.command(b"STATUS INBOX (MESSAGES)"))[0].endswith(b" (MESSAGES 1)")
        await boxes.aclose()
