"""Opens a mailbox of the server, to be read only."""

from collections.abc import Callable
from dataclasses import dataclass, field

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.imap.answers import Done, done, number
from aerogramme.migrate.sources.imap.connection import Connection, Stopped, Text
from aerogramme.migrate.sources.source import Folder


@dataclass(slots=True)
class Opened:
    """What the server says when it opens a mailbox; 0 for what it does not say."""

    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def uidvalidity(self) -> int:
        return self.numbers.get("UIDVALIDITY", 0)

    @property
    def uidnext(self) -> int:
        return self.numbers.get("UIDNEXT", 0)

    @property
    def exists(self) -> int:
        """How many messages it has: also what came since, while answers are still given here."""
        return self.numbers.get("EXISTS", 0)

    def check_validity(self, folder: Folder) -> None:
        """Raises Unreadable if the UIDs are not those of this folder any more."""
        if folder.uidvalidity and self.uidvalidity != folder.uidvalidity:
            raise Unreadable(f"{folder.origin} was made anew just now", hint="import again")

    def hear(self, text: bytes) -> None:
        """An untagged answer."""
        words = text[2:32].upper().split(b" ", 2)
        if len(words) > 1 and words[1] == b"EXISTS":
            self.numbers["EXISTS"] = number(words[0])
        elif len(words) > 1 and words[1] == b"EXPUNGE":
            self.numbers["EXISTS"] = max(0, self.exists - 1)
        said = done(text[2:])
        if said is not None and said.code in ("UIDVALIDITY", "UIDNEXT"):
            self.numbers[said.code] = number(said.arguments)


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
