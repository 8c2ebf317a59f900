"""What each kind of export gives. All of it waits for a disk, and is called in a thread; but for `close`, all
may raise Refused and Unavailable."""

from collections.abc import Sequence
from typing import Literal, Protocol

from aerogramme.errors import Damaged
from aerogramme.migrate.export.record import Made
from aerogramme.migrate.export.rows import Rows

Kind = Literal["maildir", "dovecot", "mbox"]


class Foreign(Damaged):
    """There are messages in it that the account does not know."""


class Writing(Protocol):
    """A letter on its way. `close` it in the end."""

    def write(self, piece: bytes) -> None:
        """The next piece of it."""

    def finish(self) -> int:
        """It is whole. Gives its octets, as they are there."""

    def close(self) -> None:
        """Unless it is finished, it is as if it had not begun."""


class Mailbox(Protocol):
    """A mailbox that is to be written. `changed`, `removed`: see report.Exported; `without`: keywords
    that messages have, but not there."""

    changed: int
    removed: int
    without: list[str]

    def look(self) -> None:
        """Looks at what is there already, and mends what can be. Raises Foreign when it is not to be
        touched, and then all is as it was."""

    def missing(self) -> Sequence[int]:
        """The rows of the letters that are to be written, in this order."""

    def begin(self, row: int) -> Writing:
        """A letter."""

    def finish(self) -> None:
        """All letters that can be read are there."""

    def close(self) -> None:
        """It is needed no more."""


class Target(Protocol):
    """`needs`: see report.Report; `renamed`: mailbox -> what it is called there, where that is another
    name."""

    renamed: dict[str, str]
    needs: list[str]

    def path_of(self, name: str) -> str:
        """Where a mailbox goes to, below the folder of the export."""

    def mailbox(self, rows: Rows, made: Made) -> Mailbox:
        """A mailbox. `made`: what earlier runs have noted of it; `finish` notes it anew."""

    def remove(self, path: str) -> None:
        """What was made for a mailbox that is here no more. Raises Foreign, and then all is as it was."""

    def finish(self) -> None:
        """All mailboxes are written."""
