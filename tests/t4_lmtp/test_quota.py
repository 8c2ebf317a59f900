"""Accounts with a quota: what a sender is told, and when, and that others do not notice."""

from dataclasses import dataclass, replace

import pytest
import trio

from aerogramme.errors import Damaged, Unavailable
from aerogramme.lmtp.server import LmtpServer
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.incoming import tally
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes
from aerogramme.mailbox.incoming.rooms import FRESH, FRESH_IF_FULL, Rooms
from aerogramme.mailbox.keys.keys import unlock
from aerogramme.mailbox.usage import usage
from aerogramme.seal import Argon2Params, Secret
from aerogramme.store.memory import MemoryStores
from aerogramme.users.directory import AddressBook, User
from tests.t4_lmtp.conftest import Client, Running, raising

PASSWORD = Secret("correct horse")
CHEAP = Argon2Params(memory=8, passes=1, lanes=1)  # a password that takes no time; never outside of tests
QUOTA = 100_000
FULL, BOB = User("alice@example.org", "a" * 32, quota=QUOTA), User("bob@example.org", "b" * 32)


@dataclass
class Limited:
    """A server with real letter boxes; alice has a quota."""

    client: Client
    rooms: Rooms
    stores: MemoryStores

    async def ask(self, size: int | None, *names: str) -> list[str]:
        """The answers to RCPT for these, of a message of this size; and the transaction is forgotten."""
        told = "" if size is None else f" SIZE={size}"
        lines = [f"MAIL FROM:<>{told}", *(f"RCPT TO:<{name}@example.org>" for name in names), "RSET"]
        answers = await self.client.codes("\r\n".join([*lines, ""]).encode(), len(lines))
        return answers[1:-1]

    async def deliver(self, octets: int, *names: str, size: int | None = None) -> list[str]:
        """The answers after a message of so many octets."""
        told = "" if size is None else f" SIZE={size}"
        lines = [f"MAIL FROM:<>{told}", *(f"RCPT TO:<{name}@example.org>" for name in names)]
        await self.client.codes("\r\n".join([*lines, ""]).encode(), len(lines))
        return await self.client.codes(b"BDAT %d LAST\r\n%b" % (octets, b"x" * octets), len(names))

    async def account(self) -> Account:
        store = await self.stores.open(FULL.account)
        account = await Account.open(store, FULL.account, await unlock(store, FULL.account, PASSWORD))
        await account.drain.all_waiting()
        return account

    async def note(self, account: Account) -> None:
        await tally.note(account.store, usage(account.state), account.drain.until, QUOTA)


@pytest.fixture
def over_quota() -> str:
    return "refuse"


@pytest.fixture
async def limited(config, over_quota):
    stores = MemoryStores(serial=True)
    for user in (FULL, BOB):
        await Account.create(stores, user.account, PASSWORD, params=CHEAP)
    async with trio.open_nursery() as nursery:
        boxes = LetterBoxes(stores, nursery)
        rooms = Rooms(boxes.store)
        server = LmtpServer(
            AddressBook([FULL, BOB]), boxes.open, replace(config, over_quota=over_quota), rooms
        )
        yield Limited(await Running(server, None, nursery).client(), rooms, stores)
        nursery.cancel_scope.cancel()
    await boxes.aclose()
    await stores.aclose()


async def test_a_size_that_does_not_fit_is_refused_at_rcpt_and_nobody_elses_mail(limited):
    assert await limited.ask(QUOTA, "alice", "bob") == ["250 2.1.5", "250 2.1.5"]
    assert await limited.ask(QUOTA + 1, "alice", "bob") == ["552 5.2.2", "250 2.1.5"]
    assert await limited.deliver(60_000, "alice") == ["250 2.0.0"]
    assert await limited.ask(30_000, "alice") == ["250 2.1.5"]
    assert await limited.ask(50_000, "alice", "bob") == ["552 5.2.2", "250 2.1.5"]
    assert await limited.ask(None, "alice") == ["250 2.1.5"]


@pytest.mark.parametrize("size", [None, 10])
async def test_what_was_announced_smaller_or_not_at_all_is_refused_when_it_grows(limited, size):
    assert await limited.deliver(QUOTA + 1, "bob", "alice", size=size) == ["250 2.0.0", "552 5.2.2"]
    account = await limited.account()
    assert usage(account.state).messages == 0
    await account.aclose()
    store = await limited.stores.open(FULL.account)
    assert await store.list("body/") == []
    await store.aclose()
    assert await limited.deliver(QUOTA, "alice", size=size) == ["250 2.0.0"], "the last octet fits"


async def test_who_is_full_gets_nothing_until_there_is_room_again(limited, autojump_clock):
    assert await limited.deliver(QUOTA, "alice") == ["250 2.0.0"]
    assert await limited.ask(None, "alice", "alice+lists") == ["552 5.2.2", "552 5.2.2"]
    account = await limited.account()
    await limited.note(account)
    await trio.sleep(FRESH)
    assert await limited.ask(1, "alice") == ["552 5.2.2"], "drained, it counts as before"
    inbox = account.find("INBOX")
    await account.store_flags(inbox, inbox.uids, "+", ["\\Deleted"])
    await account.expunge(inbox)
    await limited.note(account)
    await account.aclose()
    await trio.sleep(FRESH_IF_FULL)
    assert await limited.ask(QUOTA, "alice") == ["250 2.1.5"]


async def test_another_server_knows_what_this_one_has_delivered(limited):
    assert await limited.deliver(60_000, "alice") == ["250 2.0.0"]
    await limited.rooms.write()
    other = Rooms(lambda account: limited.stores.open(account))
    assert 39_000 < await other.left(FULL.account, QUOTA, 1) < 40_000


@pytest.mark.parametrize("over_quota", ["defer"])
async def test_mail_can_wait_at_its_sender_instead(limited, over_quota):
    assert await limited.ask(QUOTA + 1, "alice") == ["452 4.2.2"]
    assert await limited.deliver(QUOTA + 1, "alice") == ["452 4.2.2"]


@pytest.mark.parametrize("away", [trio.sleep_forever, raising(Unavailable()), raising(Damaged())])
async def test_a_quota_that_cannot_be_looked_up_keeps_no_mail_away(limited, autojump_clock, away):
    limited.rooms._open_store = lambda _account: away()
    assert await limited.ask(10, "alice") == ["250 2.1.5"]
    assert await limited.deliver(10, "alice") == ["250 2.0.0"]
