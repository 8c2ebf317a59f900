"""What a pass needs of where the mail goes."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aerogramme.mailbox.incoming.landing import Landed
from aerogramme.migrate.comparing import There
from aerogramme.migrate.sources.source import Folder
from aerogramme.migrate.targets.arriving import Arrived, Arriving


@dataclass(frozen=True, slots=True)
class New:
    """A message to land. `uid`: that of the source, if it is to be kept."""

    uid: int
    date: int
    flags: tuple[str, ...]
    arrived: Arrived


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

    async def store(self, letters: Sequence[Arrived]) -> list[Arrived]:
        """The same letters; bodies that are too large to go along with an entry are stored now."""

    async def land(
        self, name: str, mailbox: int, folder: Folder, messages: Sequence[New], *, keep: bool, imported: int
    ) -> Landed:
        """New messages, which went through `store`, with one entry; the mailbox is made if it is not there.
        With `keep` it has the UIDVALIDITY of the folder, and they have their UIDs; then nothing below
        `imported` is to come. Raises Refused."""

    async def set_flags(self, mailbox: int, flags: Mapping[int, tuple[str, ...]]) -> None:
        """These are the flags of messages, by UID."""

    async def remove(self, mailbox: int, uids: Sequence[int]) -> None:
        """These messages go."""

    async def remove_mailbox(self, name: str) -> bool:
        """A mailbox goes, if it is empty and may. Whether it did."""
