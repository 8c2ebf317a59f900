"""The mail of an IMAP server as a Source."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.faults import Faults
from aerogramme.migrate.sources.imap import columns, letters, listing
from aerogramme.migrate.sources.imap.access import Access
from aerogramme.migrate.sources.imap.body import Mailbox
from aerogramme.migrate.sources.imap.connection import Connection
from aerogramme.migrate.sources.imap.listing import Listing
from aerogramme.migrate.sources.imap.pool import PAUSES, Pool
from aerogramme.migrate.sources.naming import Naming
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Messages

CONNECTIONS: Final = 4  # Dovecot lets in 10 of a user from one address, Gmail 15


class ImapSource:
    """A user's mail on an IMAP server.

    access       who logs in where
    naming       what the operator says about names: the prefix, if it is not that of the server's first
                 namespace, roles, `under`; the separator and the encoding are the server's
    connections  how many at most; with one, nothing else is possible while letters are read
    views        take over mailboxes, too, that only show messages of others again (All Mail, Starred); else,
                 at Gmail, only those of All Mail that are in no other one: what was archived
    pauses       seconds before each new try where a connection falls

    Nothing is sent before something is asked for. Every method raises AuthenticationFailed and Unreadable
    where the server cannot be used, and Unavailable where it cannot be reached, after several tries.
    """

    def __init__(
        self,
        access: Access,
        naming: Naming | None = None,
        *,
        connections: int = CONNECTIONS,
        views: bool = False,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self.faults: list[Fault] = Faults()
        self._naming = naming or Naming()
        self._views = views
        self._host = access.host
        self._pool = Pool(access, connections, pauses)
        self._listing: Listing | None = None

    async def folders(self) -> Sequence[Folder]:
        """As Source.folders."""
        naming, views = self._naming, self._views
        found = await self._pool.again(lambda each: listing.list_all(each, naming, views=views))
        self.faults += found.faults
        # There is INBOX at least (RFC 3501 §5.1). Believed, a pass with --delete would remove all there is.
        if not found.folders:
            raise Unreadable(f"{self._host} lists no mailbox that could be taken over")
        self._listing = found
        return found.folders

    async def messages(self, folder: Folder) -> Messages:
        """As Source.messages."""
        spelled = await self._spelled(folder)
        elsewhere = self._listing.elsewhere.get(folder.name) if self._listing else None
        faults: list[Fault] = []

        async def read(connection: Connection) -> Messages:
            faults.clear()  # of a try that fell
            return await columns.read(connection, folder, spelled, faults, elsewhere)

        found = await self._pool.again(read)
        self.faults += faults
        return found

    async def letters(self, folder: Folder, uids: Sequence[int]) -> AsyncGenerator[Letter | Fault, None]:
        """As Source.letters. What is read ahead waits in the sockets of several connections."""
        spelled = await self._spelled(folder)
        async with aclosing(letters.read(Mailbox(self._pool, folder, spelled), uids)) as found:
            async for each in found:
                yield each

    async def aclose(self) -> None:
        """Logs out."""
        await self._pool.aclose()

    async def _spelled(self, folder: Folder) -> bytes:
        """How the server spells the name of a folder."""
        if self._listing is None:
            await self.folders()
        assert self._listing is not None
        if folder.name not in self._listing.spelled:
            raise Unreadable(f"the server has no mailbox {folder.origin} any more")
        return self._listing.spelled[folder.name]
