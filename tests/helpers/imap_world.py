"""An IMAP server on a store in memory, without sockets: clients hold the other ends of pipes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import trio
import trio.testing

from aerogramme.imap.context import Service
from aerogramme.imap.server import Server
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.accounts import Accounts
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.contents import NewMessage
from aerogramme.mailbox.keys.passwords import create_invited
from aerogramme.mailbox.policy import Policy
from aerogramme.seal import Argon2Params, Code, Secret
from aerogramme.seal.hashes import PasswordHash
from aerogramme.store import Faults, MemoryStores, Stores
from aerogramme.users.directory import User
from tests.helpers.transcript import ByteByByte, Client

ACCOUNT = "a1" * 16
USER, PASSWORD = "alice", "secret"
FIRST_DATE = 1_700_000_000  # 14-Nov-2023 22:13:20 UTC; mail n came n seconds later


def letter(n: int) -> bytes:
    """The n-th mail of every test."""
    return (
        b"From: Sender One <one@example.org>\r\nTo: alice@example.org\r\nSubject: Message %d\r\n"
        b"Date: Tue, 14 Nov 2023 22:13:%02d +0000\r\nMessage-ID: <%d@example.org>\r\n\r\n"
        b"Body of message %d\r\n" % (n, (20 + n) % 60, n, n)
    )


def quiet_faults() -> Faults:
    """A way to the store on which nothing goes wrong, but that can be cut (`reachable`)."""
    faults = Faults(Random(0))
    faults.reliable = True
    return faults


class OneUser:
    """A directory of one."""

    def __init__(self) -> None:
        self._user = User(USER, ACCOUNT)

    def by_login(self, name: str) -> User | None:
        return self._user if name == USER else None

    def login_address(self, name: str) -> str:
        return name

    def by_address(self, address: str) -> None:
        return None

    def by_account(self, account: str) -> User | None:
        return self._user if account == ACCOUNT else None

    def users(self) -> Sequence[User]:
        return [self._user]


class World:
    def __init__(self, nursery: trio.Nursery, stores: Stores) -> None:
        self._nursery = nursery
        self.stores = stores
        self.policy = Policy(quota=1 << 40)  # for who logs in from now on
        self.accounts = accounts = Accounts(stores, policy_of=lambda _: self.policy)
        self.service = Service(accounts, OneUser())
        self.server = Server(self.service)
        self.byte_by_byte = False
        self._ends: list[trio.abc.Stream] = []
        self._mails = 0

    async def connect(self) -> trio.abc.Stream:
        """A new connection's client end."""
        client, server = trio.testing.memory_stream_pair()
        self._ends.append(client)
        self._nursery.start_soon(
            self.server.serve_stream, ByteByByte(server) if self.byte_by_byte else server
        )
        return client

    async def client(self, *, login: bool = True) -> Client:
        """A client whose greeting has been read; logged in unless told otherwise."""
        client = Client(await self.connect())
        assert (await client.line()).startswith(b"* OK ")
        if login:
            answer = await client.command(b"LOGIN %b %b" % (USER.encode(), PASSWORD.encode()))
            assert answer[-1].startswith(b"x OK"), answer
        return client

    @asynccontextmanager
    async def account(self) -> AsyncIterator[Account]:
        """The account itself, as the sessions have it."""
        login = await self.accounts.login(ACCOUNT, Secret(PASSWORD), None)
        try:
            yield login.account
        finally:
            login.release()

    async def mail(self, mailbox: str, count: int | str = 1) -> None:
        """Adds that many mails to a mailbox, behind all sessions' backs."""
        async with self.account() as account:
            messages = []
            for _ in range(int(count)):
                self._mails += 1
                upload = account.upload()
                await upload.write(letter(self._mails))
                messages.append(NewMessage(upload, (), FIRST_DATE + self._mails))
            await account.append(mailbox, messages)

    async def hang_up(self) -> None:
        """Closes all connections and waits until the server has let go of them."""
        for end in self._ends:
            await end.aclose()
        with trio.fail_after(60):
            while self.server.connections:
                await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def imap_world(
    stores: Stores | None = None, *, invitation: Code | None = None, moved: PasswordHash | None = None
) -> AsyncIterator[World]:
    """A server with one empty account, or with one that has an invitation, to be accepted with PASSWORD, or
    whose user comes from another server, which has this of PASSWORD. At the end the account's audit must
    find nothing."""
    stores = stores or MemoryStores(serial=True)
    secret = invitation.secret if invitation else Secret(PASSWORD)
    params = Argon2Params(8, 1, 1)
    if moved is None:
        await Account.create(stores, ACCOUNT, secret, params=params, invitation=invitation is not None)
    else:
        store = await stores.open(ACCOUNT, create=True)
        unlocked = await create_invited(store, ACCOUNT, Secret(bytes(32)), moved, params)
        await (await Account.open(store, ACCOUNT, unlocked)).aclose()
    async with trio.open_nursery() as nursery:
        world = World(nursery, stores)
        await nursery.start(world.accounts.run)
        await nursery.start(world.server.watch)
        yield world
        await world.hang_up()
        async with world.account() as account:
            assert await audit(account) == []
        nursery.cancel_scope.cancel()
