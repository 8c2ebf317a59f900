"""An opened account: its mailboxes and messages, shared by all sessions of the process."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

import trio

from aerogramme.errors import NoSuchMailbox
from aerogramme.log.journal import Journal
from aerogramme.log.table import Table
from aerogramme.mailbox.bodies import Bodies
from aerogramme.mailbox.contents import NewMessage, Upload
from aerogramme.mailbox.names import MailboxInfo
from aerogramme.mailbox.view import View
from aerogramme.seal.keyring import Keyring
from aerogramme.seal.secret import Secret
from aerogramme.store.port import Store, Stores


@dataclass(frozen=True, slots=True)
class Placed:
    """Where messages went, for APPENDUID and COPYUID (RFC 4315 §3): `sources[i]` became `uids[i]`."""

    uidvalidity: int
    uids: list[int]
    sources: list[int]


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What a STORE did.

    `changed`   UIDs whose flags it changed, ascending
    `modified`  UIDs left alone because they had changed after `unchanged_since` (RFC 7162 §3.1.3)
    `modseq`    the MODSEQ of the changed ones, 0 when nothing changed
    `before`    HIGHESTMODSEQ of the mailbox as the decision found it
    """

    changed: list[int]
    modified: list[int]
    modseq: int
    before: int


class Account:
    """One account, opened with its keyring. All methods are for tasks of one trio thread.

    Methods that change something return when it is durable, decide on the newest state there is (not on what the
    caller saw), and raise Unavailable when the store may or may not have taken the change.
    """

    id: str  # 32 hex digits
    store: Store
    keyring: Keyring
    journal: Journal
    bodies: Bodies  # reading contents: digests, bodies, parts of large bodies

    # --- life

    @classmethod
    async def create(cls, stores: Stores, account_id: str, password: Secret) -> str:
        """Makes the store, a first slot, the keyring and the first mailboxes. Returns the recovery code, as text."""

    @classmethod
    async def open(cls, store: Store, account_id: str, keyring: Keyring) -> "Account":
        """Opens the newest checkpoint and what came after it. The account owns the store from here on."""

    async def aclose(self) -> None: ...

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follows the log, drains incoming letters as they come, and folds; runs until cancelled."""

    async def refresh(self) -> None:
        """The read rule: what any server has acknowledged before this call is in the state after it."""

    @property
    def version(self) -> int:
        """Grows with every change of the account."""

    async def wait_changed(self, version: int) -> int:
        """Returns the version once it is above the one given."""

    # --- mailboxes

    def mailboxes(self) -> list[MailboxInfo]: ...
    def subscriptions(self) -> list[str]:
        """All subscribed names, also of mailboxes that are not there (RFC 3501 §6.3.6)."""

    def find(self, name: str) -> Table:
        """The mailbox of a name, or NoSuchMailbox (also for a name that is only a level of others)."""

    def name_of(self, mailbox: int) -> str | None:
        """The name of a mailbox now; None when it was deleted."""

    async def open_mailbox(self, name: str, *, read_only: bool = False) -> View:
        """SELECT and EXAMINE: reads the store, then gives a new view of the mailbox."""

    async def create_mailbox(self, name: str, role: str | None = None) -> None: ...
    async def delete_mailbox(self, name: str) -> None: ...
    async def rename_mailbox(self, name: str, new: str) -> None: ...
    async def subscribe(self, name: str, on: bool = True) -> None: ...

    # --- messages

    def upload(self) -> Upload:
        """A new content to be written: `await upload.write(chunk)`, then give it to `append`."""

    async def append(self, name: str, messages: Sequence[NewMessage]) -> Placed: ...

    async def copy(self, table: Table, uids: Sequence[int], name: str) -> Placed: ...

    async def move(self, table: Table, uids: Sequence[int], name: str) -> Placed: ...

    async def store_flags(
        self,
        table: Table,
        uids: Sequence[int],
        mode: Literal["+", "-", "="],
        flags: Sequence[str],
        unchanged_since: int | None = None,
    ) -> StoreResult: ...

    async def expunge(self, table: Table, uids: Sequence[int] | None = None) -> list[int]:
        """Removes the messages that have \\Deleted (of `uids`, if given: UID EXPUNGE). Returns their UIDs."""

    def flags_of(self, number: int) -> tuple[str, ...]:
        """The flags of a flagset number (a value of `table.flags`)."""

    def keywords(self) -> tuple[str, ...]:
        """Every keyword in use in the account, for FLAGS and PERMANENTFLAGS."""

    # --- contents (see bodies.py)

    async def digests(self, contents: Sequence[int], fields: Sequence[str]) -> list[list[bytes]]:
        """For each field the values of these contents, in their order. Damaged if a segment cannot be read."""

    async def body(self, content: int) -> bytes: ...
    def read_bodies(self, contents: Sequence[int], sizes: Sequence[int]) -> AsyncIterator[bytes | Exception]:
        """Bodies in order, many read at a time; a Damaged in place of one that cannot be read."""

    def stream_body(self, content: int, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """A part of a body, decoded piece by piece: memory does not grow with the body."""

    async def body_range(self, content: int, start: int, stop: int) -> bytes: ...
