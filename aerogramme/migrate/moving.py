"""One import into one account, from the lock to the last message compared."""

import fcntl
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from aerogramme.errors import Unavailable
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.contents import MAX_MESSAGE
from aerogramme.mailbox.incoming.letterboxes import key_to_seal_to
from aerogramme.mailbox.keys.keys import StoredKeys
from aerogramme.migrate.parcelling import run_sealed_pass
from aerogramme.migrate.passed import Memory
from aerogramme.migrate.passing import Options, run_pass
from aerogramme.migrate.report import Report
from aerogramme.migrate.sealing import sealing
from aerogramme.migrate.sources.source import Source
from aerogramme.migrate.targets.opened import opened
from aerogramme.migrate.targets.sealed import sealed
from aerogramme.migrate.verifying import Verified, verify
from aerogramme.store.port import Store

FOLDER = "import"  # in the data folder


@dataclass(slots=True)
class Outcome:
    """What has become of an import. `compared`: None unless that was asked for."""

    report: Report = field(default_factory=Report)
    compared: Verified | None = None

    @property
    def whole(self) -> bool:
        """All that the source has is here, as far as that was looked at."""
        return not self.report.lost and (self.compared is None or self.compared.same)

    def plain(self) -> dict[str, Any]:
        """For programs."""
        compared = None if self.compared is None else self.compared.plain()
        return self.report.plain() | {"whole": self.whole, "compared": compared}


Told = Callable[[Outcome], None]


@contextmanager
def one_at_a_time(data: Path, account_id: str) -> Iterator[Path]:
    """Keeps other imports of an account out, on this machine. Gives the path of what imports remember of
    it. Raises Unavailable when another one is running."""
    path = data / FOLDER / account_id
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot lock {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(
                "another import into this account is running", hint="wait until it has ended"
            ) from None
        yield path
    finally:
        os.close(descriptor)


@asynccontextmanager
async def closed_after(source: Source) -> AsyncGenerator[Source, None]:
    """A source, closed at the end."""
    try:
        yield source
    finally:
        with trio.CancelScope(shield=True):
            await source.aclose()


@dataclass(frozen=True, slots=True)
class Move:
    """An import that is to be made. What becomes of it is in `outcome`, of which `told` is called after each
    step.

    remembered  the file of what imports into the account remember
    limit       octets of the largest letter
    """

    source: Source
    remembered: Path
    options: Options
    outcome: Outcome
    told: Told
    limit: int = MAX_MESSAGE

    async def into_account(self, account: Account, *, verifying: bool, workers: int = 0) -> None:
        """Into an opened account, and then, with `verifying`, compares it with the source. `workers`:
        processes that may have a share of the work."""
        memory, outcome = Memory.load(self.remembered), self.outcome
        async with opened(account, self.limit) as target:
            async with sealing(workers) as beside:
                await run_pass(self.source, target, memory, self.options, outcome.report, self._tell, beside)
            if verifying:
                outcome.compared = Verified(outcome.report.address)
                await verify(self.source, target, memory, self.options, outcome.compared, self._tell)

    async def into_parcels(self, store: Store, account_id: str, pins: tuple[str, ...]) -> None:
        """Into parcels for an account that cannot be opened. `pins`: of its user (letterboxes.py)."""
        public = key_to_seal_to(await StoredKeys.read(store), account_id, pins)
        memory = Memory.load(self.remembered)
        async with sealed(store, account_id, public, self.limit) as target:
            await run_sealed_pass(self.source, target, memory, self.options, self.outcome.report, self._tell)

    def _tell(self) -> None:
        self.told(self.outcome)
