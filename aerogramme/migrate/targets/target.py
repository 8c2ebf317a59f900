"""What a pass needs of where the mail goes."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aerogramme.log.segment import Packed
from aerogramme.mailbox.incoming.landing import Columns, Landed
from aerogramme.migrate.comparing import There
from aerogramme.migrate.sources.source import Folder
from aerogramme.migrate.targets.arriving import Arrived, Arriving


@dataclass(frozen=True, slots=True)
class New:
    """A message to land, all but its letter. `uid`: that of the source, if it is to be kept."""

    uid: int
    date: int
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """Letters that can land together: their large bodies are stored, and their digests are packed.

    columns  their digests, as segment_columns gives them
    packed   the segment of these
    """

    letters: Sequence[Arrived] = ()
    columns: Columns = field(default_factory=dict)
    packed: Packed | None = None


NOTHING = Stored()


class Target(Protocol):
    """All methods raise Unavailable when the store is away. `account`: its id."""

    @property
    def account(self) -> bytes: ...

    def new_ids(self, count: int) -> Sequence[int]:
        """Ids for new contents."""

    async def there(self, name: str, mailbox: int) -> There:
        """A mailbox as it is now: that of this id, whatever it is called now, or else that of this name."""

    async def imported(self) -> Sequence[str]:
        """The names of the mailboxes that were taken over, the deepest levels first."""

    async def message_ids(self, there: There, rows: Sequence[int]) -> Sequence[bytes]:
        """The Message-IDs of messages, as `Arrived` has them."""

    def body(self, there: There, row: int) -> AsyncGenerator[bytes, None]:
        """The letter of a message, in pieces. Raises Damaged. Close it (aclosing)."""

    def arriving(self) -> Arriving:
        """A large letter that comes in."""

    async def store(self, letters: Sequence[Arrived]) -> Stored:
        """All that can be done for letters before it is known where they land."""

    async def land(
        self,
        name: str,
        mailbox: int,
        folder: Folder,
        messages: Sequence[New],
        stored: Stored,
        *,
        keep: bool,
        imported: int,
    ) -> Landed:
        """New messages and their letters, with one entry; the mailbox is made if it is not there. With `keep`
        it has the UIDVALIDITY of the folder, and they have their UIDs; then nothing below `imported` is to
        come. Raises Refused."""

    async def set_flags(self, mailbox: int, flags: Mapping[int, tuple[str, ...]]) -> None:
        """These are the flags of messages, by UID."""

    async def remove(self, mailbox: int, uids: Sequence[int]) -> None:
        """These messages go."""

    async def remove_mailbox(self, name: str) -> bool:
        """A mailbox goes, if it is empty and may. Whether it did."""
