"""Opens a mailbox of the server, to be read only."""

from collections.abc import Callable
from dataclasses import dataclass

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.imap.answers import Done, done, number
from aerogramme.migrate.sources.imap.connection import Connection, Stopped, Text
from aerogramme.migrate.sources.source import Folder


@dataclass(slots=True)
class Opened:
    """What the server says of a mailbox when it opens it, and later; 0 for what it does not say.

    exists  how many messages it has, with those that came since
    gone    messages that were removed since
    """

    uidvalidity: int = 0
    uidnext: int = 0
    exists: int = 0
    gone: int = 0

    def check_validity(self, folder: Folder) -> None:
        """Raises Unreadable if the UIDs are not those of this folder any more."""
        if folder.uidvalidity and self.uidvalidity != folder.uidvalidity:
            raise Unreadable(f"{folder.origin} was made anew just now", hint="import again")

    def hear(self, text: bytes) -> None:
        """An untagged answer."""
        first, _, what = text[2:32].upper().partition(b" ")
        if what == b"EXISTS":
            self.exists = number(first)
        elif what == b"EXPUNGE":
            self.gone += 1
        elif (said := done(text[2:])) is not None:
            if said.code == "UIDVALIDITY":
                self.uidvalidity = number(said.arguments)
            elif said.code == "UIDNEXT":
                self.uidnext = number(said.arguments)


async def examine(connection: Connection, spelled: bytes) -> Opened:
    """Opens a mailbox (EXAMINE). Raises Fallen; Unreadable when the server refuses."""
    opened = Opened()
    check(connection, await ended(connection, b"EXAMINE ", spelled, each=opened.hear))
    return opened


async def ended(
    connection: Connection,
    command: bytes,
    spelled: bytes,
    behind: bytes = b"",
    each: Callable[[bytes], object] | None = None,
) -> Done:
    """How a command with the name of a mailbox ends. Raises Fallen."""
    try:
        return await connection.command(command, Text(spelled), behind, each=each)
    except Stopped as stopped:
        connection.raise_if_later(stopped.ended)
        return stopped.ended


def check(connection: Connection, how: Done) -> None:
    """Raises Unreadable if the mailbox was not opened."""
    if not how.ok:
        raise Unreadable(f"{connection.host} does not open it: {how.words or how.code or how.status}")
