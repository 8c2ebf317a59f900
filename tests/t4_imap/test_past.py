"""A mail program looks at an account as it stood: the server does not know that it is not now."""

from aerogramme.log.past import Past
from aerogramme.store import MemoryStores
from tests.helpers.imap_world import ACCOUNT, World, imap_world, letter


class PastStores:
    """The accounts of other stores, as they stood at a clock."""

    def __init__(self, stores: MemoryStores, clock: int) -> None:
        self._stores, self._clock = stores, clock
        self.erase, self.aclose, self.list = stores.erase, stores.aclose, stores.list

    async def open(self, account: str, *, create: bool = False) -> Past:
        return Past(await self._stores.open(account), self._clock)


async def test_select_fetch_search_and_store() -> None:
    stores = MemoryStores(serial=True)
    async with imap_world(stores) as world:
        await world.mail("INBOX", 3)
        async with world.account() as account:
            clock = account.state.clock
        now = await world.client()
        await now.command(b"SELECT INBOX")
        await now.command(b"STORE 1:2 +FLAGS (\\Deleted)")
        await now.command(b"EXPUNGE")
        await world.mail("INBOX", 2)

        before = World(world._nursery, PastStores(stores, clock))
        await world._nursery.start(before.accounts.run)
        await world._nursery.start(before.server.watch)
        then = await before.client()
        assert b"* 3 EXISTS" in await then.command(b"SELECT INBOX")
        assert letter(1) in b"".join(await then.command(b"FETCH 1 BODY.PEEK[]"))
        assert b"* SEARCH 2" in await then.command(b'SEARCH SUBJECT "message 2"')
        assert b'* STATUS "INBOX" (MESSAGES 3 UNSEEN 3)' in await then.command(
            b"STATUS INBOX (MESSAGES UNSEEN)"
        )
        # What is changed there is changed there.
        assert b"* 1 FETCH (FLAGS (\\Seen))" in await then.command(b"STORE 1 +FLAGS (\\Seen)")
        assert b"* 3 EXISTS" in await now.command(b"SELECT INBOX")
        assert not any(b"Seen" in line for line in await now.command(b"FETCH 1:* FLAGS"))
        await before.hang_up()
    assert ACCOUNT in await stores.list()
