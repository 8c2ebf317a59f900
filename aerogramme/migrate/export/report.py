"""What an export has done, as it tells it while it runs and at its end."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from aerogramme.migrate.sources.source import Fault


@dataclass(slots=True)
class Exported:
    """One mailbox.

    name, path  what it is called here, and its folder or file below that of the export
    messages    how many it has here; `done`: of these have been looked at, or written
    written     letters that were not there yet, or not whole; `octets`: of them, as they are there
    changed     messages that have another name there now, as flags or UIDs have changed
    removed     that were there, and are here no more
    lost        could not be written
    without     keywords that cannot be written there -> UIDs of messages that have them, as IMAP writes sets
    """

    name: str
    path: str
    messages: int = 0
    done: int = 0
    written: int = 0
    octets: int = 0
    changed: int = 0
    removed: int = 0
    lost: int = 0
    without: dict[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "done"}


@dataclass(slots=True)
class Report:
    """One account. `messages`: how many it has; `needs`: what the program that reads the export must know of
    it; `gone`: folders of an earlier run whose mailboxes are here no more, and which went."""

    address: str
    path: str
    kind: str
    messages: int = 0
    mailboxes: list[Exported] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def lost(self) -> bool:
        """Whether something could not be written."""
        return any(fault.lost for fault in self.faults) or any(each.lost for each in self.mailboxes)

    def total(self, name: str) -> int:
        """A count of all mailboxes together."""
        return sum(getattr(each, name) for each in self.mailboxes)

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {
            "address": self.address,
            "path": self.path,
            "kind": self.kind,
            "mailboxes": [each.plain() for each in self.mailboxes],
            "gone": self.gone,
            "needs": self.needs,
            "faults": [asdict(fault) for fault in self.faults],
            "lost": self.lost,
        }


Told = Callable[[Report], None]
"""To be called whenever a report has changed."""
