"""What this machine has seen of each account, so that a store which goes back in time is found.

Everything in the store is sealed, but an older state of it was sealed as well: whoever can write there can
put it back, and with it a password that was revoked. Who has never seen the account cannot know. So each
machine keeps a small file for each account: how far the keys had come, and some entries of the log that were
there. Nothing in it is secret. One that is gone, or cannot be read, counts as a first time.
"""

import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import trio

from aerogramme.errors import Damaged, RolledBack
from aerogramme.log.entry import parse_key, row_key
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.keys.keys import StoredKeys, Unlocked
from aerogramme.store.port import Store, check_account

log = logging.getLogger(__name__)

VERSION = 1
ENTRIES = 32  # of the log that are remembered: the last ones of as many replicas
PERIOD = 60.0  # seconds between notes, while an account is open

_HINT = "if a backup was restored on purpose: `aerogramme account trust ADDRESS` on this machine"


@dataclass(frozen=True, slots=True)
class Memory:
    """What the file of one account holds."""

    keyring: int = 0  # the highest version
    generation: int = 0  # the highest number
    entries: tuple[str, ...] = ()  # row keys, without suffix, the latest first

    def text(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str) -> "Memory":
        """Raises ValueError, Damaged."""
        match json.loads(text):
            case {
                "version": 1,
                "keyring": int(keyring),
                "generation": int(generation),
                "entries": list(entries),
                **rest,
            } if not rest:
                for key in entries:
                    parse_key(str(key))
                return cls(keyring, generation, tuple(entries))
        raise ValueError("it is not what is written here")


class Seen:
    """The memory, in a folder; None remembers nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._noted: dict[str, str] = {}  # account -> what its file holds, as far as this process knows

    # --- what was seen before

    async def check_keys(self, account_id: str, stored: StoredKeys) -> None:
        """Before a password is tried: one that is revoked must not be let in by older keys. Raises
        RolledBack."""
        if stored.version < (await self._load(account_id)).keyring:
            raise self._rolled_back(account_id, "its keys are older than those that were seen here")

    async def open(self, store: Store, account_id: str, unlocked: Unlocked) -> Account:
        """As Account.open, and raises RolledBack when something is gone that was seen here."""
        account = await Account.open(store, account_id, unlocked)
        try:
            known = await self._load(account_id)
            if unlocked.keyring.version < known.keyring or unlocked.keyring.current < known.generation:
                raise self._rolled_back(account_id, "its keys are older than those that were seen here")
            gone = await self.gone(account)
            if gone:
                raise self._rolled_back(
                    account_id, f"entry {gone[0]} of its log, which was seen here, is gone"
                )
            await self.note(account)
        except BaseException:
            with trio.CancelScope(shield=True):
                await account.aclose()
            raise
        return account

    async def gone(self, account: Account) -> list[str]:
        """Row keys of entries that were seen here and are not in an open account, the latest first."""
        return [key for key in (await self._load(account.id)).entries if not _has(account, key)]

    def _rolled_back(self, account_id: str, why: str) -> RolledBack:
        log.error("account %s: the store has gone back in time: %s", account_id, why)
        return RolledBack(hint=_HINT)

    # --- what is seen now

    async def note(self, account: Account) -> None:
        """Remembers how far an open account has come. A memory that cannot be written is reported."""
        if self._folder is None:
            return
        known, keyring = await self._load(account.id), account.keyring
        # Another process may have noted more; what it notes just now is lost, and noted again later.
        entries = sorted({*known.entries, *_last_entries(account)}, reverse=True)[:ENTRIES]
        text = Memory(
            max(keyring.version, known.keyring), max(keyring.current, known.generation), tuple(entries)
        ).text()
        if self._noted.get(account.id) == text:
            return
        try:
            await trio.to_thread.run_sync(_write, self._path(account.id), text)
        except OSError as error:
            log.warning("account %s: what was seen of it cannot be noted: %s", account.id, error)
        else:
            self._noted[account.id] = text

    async def keep(self, account: Account) -> None:
        """Notes every now and then, for ever."""
        while True:
            await trio.sleep(PERIOD)
            await self.note(account)

    def forget(self, account_id: str) -> bool:
        """The next one to open the account takes it as it is. Whether there was something to forget."""
        self._noted.pop(account_id, None)
        with suppress(FileNotFoundError):
            self._path(account_id).unlink()
            return True
        return False

    # --- the file

    def _path(self, account_id: str) -> Path:
        assert self._folder is not None
        return self._folder / check_account(account_id)

    async def _load(self, account_id: str) -> Memory:
        if self._folder is None:
            return Memory()
        try:
            return Memory.parse(await trio.to_thread.run_sync(self._path(account_id).read_text))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, Damaged) as error:
            log.error("account %s: what was seen of it cannot be read: %s", account_id, error)
        return Memory()


def _last_entries(account: Account) -> list[str]:
    trails = account.state.history.trails
    return [row_key(trail.clock, replica, trail.last) for replica, trail in trails.items() if trail.clock]


def _has(account: Account, key: str) -> bool:
    """Whether an entry is in the state; of replicas that a checkpoint has forgotten, all is. What a repair
    has given up is gone with good reason."""
    clock, replica, seq = parse_key(key)
    history = account.state.history
    if (replica, seq) in account.state.lost:
        return True
    return (clock, replica, seq) in history or (replica not in history.trails and clock <= history.floor)


def _write(path: Path, text: str) -> None:
    """A whole file, or the one before."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.urandom(8).hex()}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
