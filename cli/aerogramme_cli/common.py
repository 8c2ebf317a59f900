"""What every command shares: where the accounts are, and how one is opened."""

import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import typer

from aerogramme.config import Config
from aerogramme.errors import AuthenticationFailed, BadConfiguration, NoSuchUser, Unavailable

# What costs time to import comes when a command runs, not for --help: hence the imports inside functions.
if TYPE_CHECKING:
    from aerogramme.mailbox.account import Account
    from aerogramme.mailbox.keys.keys import StoredKeys, Unlocked
    from aerogramme.mailbox.keys.seen import Seen
    from aerogramme.seal import Secret
    from aerogramme.store import Store, Stores
    from aerogramme.users.directory import User
    from aerogramme.users.static import StaticDirectory

T = TypeVar("T")

# Where a configuration is looked for when neither option is given.
DEFAULT_CONFIG = Path("/etc/aerogramme/aerogramme.toml")

AGAIN = "the same command again goes on where it stopped"


class Login(NamedTuple):
    """An account, and what opens it."""

    settings: Config
    user: "User"
    secret: "Secret"


def settings(config: Path | None, data: Path | None, store: str | None = None) -> Config:
    """The settings that --config, or --data and --store, name. Raises BadConfiguration when both or neither
    do."""
    if store and not data:
        raise BadConfiguration("--store goes with --data", hint="a configuration file names its own store")
    if config and data:
        raise BadConfiguration(
            "--config and --data exclude each other", hint="the file names its data folder"
        )
    if data:
        return Config.for_data(data, store=store)
    try:
        return Config.load(config or DEFAULT_CONFIG)
    except BadConfiguration as error:
        if config is None and isinstance(error.__cause__, FileNotFoundError):
            raise BadConfiguration(
                "neither --config nor --data is given", hint=f"add --data DIR, or write {DEFAULT_CONFIG}"
            ) from None
        raise


def warn_root(data: Path) -> None:
    """Says so when root works in the data folder of another user, as files for root alone stay there."""
    try:
        owner = data.stat().st_uid
    except OSError:
        return
    if os.geteuid() == 0 and owner:
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = str(owner)
        typer.echo(
            f"aerogramme: warning: {data} is of user {name}, and what root makes there it cannot open; "
            f"better: runuser -u {name} -- aerogramme …",
            err=True,
        )


def run(task: Callable[..., Awaitable[T]], *args: object) -> T:
    """Runs an async function to its end. trio is imported only now: `--help` need not wait for it."""
    import trio

    # Anywhere else it may come where Python ignores exceptions, such as in a finalizer: then it is lost.
    return trio.run(task, *args, restrict_keyboard_interrupt_to_checkpoints=True)


def instant(seconds: float) -> str:
    """A unix time as programs read it, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def day(seconds: float) -> str:
    """A unix time as people read it: the day, UTC."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


@contextmanager
def interruptible(words: str) -> Iterator[None]:
    """At Ctrl-C says this, and ends with exit code 1."""
    interrupted = False
    try:
        yield
    except* KeyboardInterrupt:  # in a group, when it came while tasks of the store were running
        interrupted = True
    if interrupted:
        typer.echo(words, err=True)
        raise typer.Exit(1)


@contextmanager
def resumable(words: str = "nothing is lost") -> Iterator[None]:
    """Work that is interrupted, or whose store goes away, says so, and that it goes on when run again."""
    try:
        with interruptible(f"interrupted; {words}: {AGAIN}"):
            yield
    except Unavailable as error:
        raise Unavailable(str(error), hint=f"{error.hint}; {AGAIN}" if error.hint else AGAIN) from error


@asynccontextmanager
async def open_stores(config: Config) -> AsyncIterator["Stores"]:
    """The accounts' stores, closed at the end."""
    stores = config.open_stores()
    try:
        yield stores
    finally:
        await stores.aclose()


def directory(config: Config) -> "StaticDirectory":
    """The users file of this configuration."""
    from aerogramme.users.static import StaticDirectory

    return StaticDirectory(config.users_file, config.detail_separator, config.login_domain)


def existing(config: Config) -> "StaticDirectory":
    """The same, for what makes no accounts: a data folder whose name is misspelled is not one without any.
    Raises BadConfiguration."""
    if not config.data.is_dir():
        raise BadConfiguration(
            f"there is no data folder {config.data}",
            hint="--data says where it is, or `data` in the configuration; `account create` makes it",
        )
    return directory(config)


def user_of(config: Config, address: str, *, deleted: bool = False) -> "User":
    """The user of an address; a deleted one only with `deleted`. Raises NoSuchUser with a hint, and
    BadConfiguration."""
    user = existing(config).owner(address)
    if user is None:
        raise NoSuchUser(f"no account {address}", hint="`aerogramme account list` shows them")
    if user.deleted is not None and not deleted:
        raise NoSuchUser(
            f"{address} is deleted",
            hint="`aerogramme account undelete` brings it back; `account delete --now` erases it",
        )
    return user


def seen(config: Config) -> "Seen":
    """What this machine has seen of accounts."""
    from aerogramme.mailbox.keys.seen import Seen

    return Seen(config.data / "seen")


@asynccontextmanager
async def open_store(config: Config, user: "User") -> AsyncIterator["Store"]:
    """The store of one user."""
    async with open_stores(config) as stores:
        store = await stores.open(user.account)
        try:
            yield store
        finally:
            await store.aclose()


@asynccontextmanager
async def open_keys(config: Config, user: "User") -> AsyncIterator["Store"]:
    """The store of one user, for what has to do with keys. Raises RolledBack when they are older than those
    that were seen on this machine."""
    from aerogramme.mailbox.keys.keys import StoredKeys

    async with open_store(config, user) as store:
        await seen(config).check_keys(user.account, await StoredKeys.read(store))
        yield store


async def unlocked(stored: "StoredKeys", user: "User", secret: "Secret") -> "Unlocked":
    """What the secret opens of the user's keys. Raises AuthenticationFailed, which says what helps."""
    from aerogramme.seal.secrets import KeySecret

    try:
        return await stored.unlock(user.account, secret)
    except AuthenticationFailed as error:
        if isinstance(secret, KeySecret):  # of `import users`: the error says all
            raise
        if any(slot.kind == "password" for slot in stored.slots.values()):
            raise AuthenticationFailed(
                "the password is wrong", hint="`account recover` sets another one with the recovery code"
            ) from error
        raise AuthenticationFailed(
            f"{user.address} has no password yet: its user has not come",
            hint="`account accept` sets one, with the invitation code or the password of the other server",
        ) from error


@asynccontextmanager
async def open_account(
    config: Config, user: "User", secret: "Secret", *, as_it_is: bool = False
) -> AsyncIterator["Account"]:
    """The opened account of one user. Raises AuthenticationFailed; RolledBack when the keys have gone back in
    time (one more password might open it than should), or, but for `as_it_is`, the log."""
    from aerogramme.mailbox.account import Account
    from aerogramme.mailbox.keys.keys import StoredKeys

    known = seen(config)
    async with open_stores(config) as stores:
        store = await stores.open(user.account)
        stored = await StoredKeys.read(store)
        await known.check_keys(user.account, stored)
        opening = Account.open if as_it_is else known.open
        account = await opening(store, user.account, await unlocked(stored, user, secret))
        account.policy = user.policy(config.policy)
        try:
            yield account
            if not as_it_is:
                await known.note(account)
        finally:
            await account.aclose()


@asynccontextmanager
async def open_at(login: Login, at: float | None) -> AsyncIterator["Account"]:
    """The account as it stood at a moment (unix seconds); None: as it is. Raises what `open_account` raises,
    and Forgotten."""
    from aerogramme.mailbox.history.past import past_of

    async with open_account(*login) as account:
        if at is None:
            yield account
            return
        past = await past_of(account, at)
        try:
            yield past
        finally:
            await past.aclose()
