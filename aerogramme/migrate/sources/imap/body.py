"""A letter that is being read. Where the connection falls, another one goes on at the same octet."""

from dataclasses import dataclass

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.imap.answers import uid_in
from aerogramme.migrate.sources.imap.connection import Connection, Fallen
from aerogramme.migrate.sources.imap.opening import examine
from aerogramme.migrate.sources.imap.pool import Pool, Tries
from aerogramme.migrate.sources.imap.reading import Answer, Data, Head
from aerogramme.migrate.sources.source import Fault, Folder


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox on the server, which spells its name so."""

    pool: Pool
    folder: Folder
    spelled: bytes

    def letter(self, uid: int) -> str:
        """What a letter in it is called, for people."""
        return f"{self.folder.origin}, UID {uid}"

    def lost(self, uid: int, what: str) -> Fault:
        """A letter that could not be read."""
        return Fault(self.letter(uid), what, "it is left out", lost=True)


class Body:
    """The octets of a letter in pieces, as an asynchronous iterator.

    held  the connections that the reader gives back at the end; a new one is put there
    said  the UID that stood before the letter; None if it must come behind
    """

    def __init__(
        self,
        mailbox: Mailbox,
        held: list[Connection],
        connection: Connection,
        uid: int,
        size: int,
        said: int | None,
    ) -> None:
        self._mailbox = mailbox
        self._held = held
        self._connection = connection
        self._uid = uid
        self._said = said
        self._tag: bytes | None = None  # of the command on a new connection
        self._tries = Tries(mailbox.pool.pauses)
        self._done = False
        self.left = size
        self._got = 0

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Raises Unreadable, Unavailable, and what Access.connect raises."""
        while not self._done:
            try:
                event = await self._connection.event()
                if isinstance(event, Answer):
                    await self._end(event)
            except Fallen as fallen:
                if not self.left:  # only what is behind it is missing
                    self._done = True
                else:
                    await self._go_on(fallen)
                continue
            if isinstance(event, Data):
                self.left -= len(event.octets)
                self._got += len(event.octets)
                self._tries.reset()
                return event.octets
        raise StopAsyncIteration

    async def _end(self, answer: Answer) -> None:
        self._done = True
        if self._said is None and uid_in(answer.text) not in (None, self._uid):
            self._connection.abort()
            raise Unreadable(f"{self._mailbox.letter(self._uid)}: the server sends another letter")
        if self._tag is not None:
            await self._connection.finish(self._tag)

    async def _go_on(self, fallen: Fallen) -> None:
        """Gets a new connection, and asks for the rest."""
        while True:
            await self._tries.wait(fallen)
            if self._connection in self._held:
                self._held.remove(self._connection)
                self._mailbox.pool.release(self._connection)
            try:
                self._connection = await self._mailbox.pool.lease()
                self._held.append(self._connection)
                await self._ask(self._connection)
                return
            except Fallen as again:
                fallen = again

    async def _ask(self, connection: Connection) -> None:
        (await examine(connection, self._mailbox.spelled)).check_validity(self._mailbox.folder)
        rest = b"%d (UID BODY.PEEK[]<%d.%d>)" % (self._uid, self._got, self.left)
        self._tag = await connection.send(b"UID FETCH " + rest)
        while True:
            event = await connection.event()
            if isinstance(event, Head) and event.size == self.left:
                return
            if isinstance(event, Head) or (isinstance(event, Answer) and event.text[:2] != b"* "):
                self._done = True
                connection.abort()
                raise Unreadable(
                    f"{self._mailbox.letter(self._uid)}: the server does not go on with the letter"
                )


class Small:
    """A letter that has come as a whole."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def left(self) -> int:
        """As Body."""
        return len(self._content)

    def __aiter__(self) -> "Small":
        return self

    async def __anext__(self) -> bytes:
        content, self._content = self._content, b""
        if not content:
            raise StopAsyncIteration
        return content
