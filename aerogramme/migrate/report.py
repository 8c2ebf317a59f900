"""What a pass has done, as it tells it while it runs and at its end."""

from dataclasses import asdict, dataclass, field
from typing import Any

from aerogramme.migrate.sources.faults import Faults
from aerogramme.migrate.sources.source import Fault


@dataclass(slots=True)
class Moved:
    """One mailbox.

    name, origin  what it is called here, and in the source
    keeps         whether it has the UIDs of the source
    messages      how many the source has
    done          how many of them have been looked at, or taken over
    landed        taken over by this pass; `renumbered` of them under another UID, where UIDs are kept
    octets        of those
    again         were in parcels that were sent again, because something in them had changed
    flags         messages whose flags were set as in the source
    disputed      messages whose flags were changed on both sides: they stay as they are here
    removed       removed here, since the source has them no more
    gone          the source has them, they were taken over, and were removed here: they stay so
    lost          could not be taken over
    """

    name: str
    origin: str
    keeps: bool = False
    messages: int = 0
    done: int = 0
    landed: int = 0
    renumbered: int = 0
    again: int = 0
    octets: int = 0
    flags: int = 0
    disputed: int = 0
    removed: int = 0
    gone: int = 0
    lost: int = 0

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "done"}


@dataclass(slots=True)
class Report:
    """One pass into one account. `folders`: how many the source has, 0 as long as that is not known."""

    address: str = ""
    folders: int = 0
    mailboxes: list[Moved] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=Faults)

    def fault(self, fault: Fault) -> None:
        """Once each: a source may note what it also says in a letter's place."""
        self.faults.append(fault)

    @property
    def lost(self) -> bool:
        """Whether something in the source could not be taken over."""
        return any(fault.lost for fault in self.faults) or any(moved.lost for moved in self.mailboxes)

    def total(self, name: str) -> int:
        """A count of all mailboxes together."""
        return sum(getattr(moved, name) for moved in self.mailboxes)

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {
            "address": self.address,
            "mailboxes": [moved.plain() for moved in self.mailboxes],
            "faults": [asdict(fault) for fault in self.faults],
            "lost": self.lost,
        }
