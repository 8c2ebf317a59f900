"""What every command shares: where the data is, and how an account is opened."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from aerogramme.config import Config
from aerogramme.errors import BadConfiguration, NoSuchUser

# What costs time to import comes when a command runs, not for --help: hence the imports inside functions.
if TYPE_CHECKING:
    from aerogramme.mailbox.account import Account
    from aerogramme.seal import Secret
    from aerogramme.store import Store, Stores
    from aerogramme.users.directory import User
    from aerogramme.users.static import StaticDirectory

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The configuration file, aerogramme.toml.")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="A data folder; nothing else to configure. Made when missing.")
]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Where the accounts are, if not in the data folder."),
]
AddressArgument = Annotated[
    str, typer.Argument(help="The address of the account, such as alice@example.org.")
]

# Where a configuration is looked for when neither option is given.
DEFAULT_CONFIG = Path("/etc/aerogramme/aerogramme.toml")


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
    if config is None and not DEFAULT_CONFIG.exists():
        raise BadConfiguration(
            "neither --config nor --data is given", hint=f"add --data DIR, or write {DEFAULT_CONFIG}"
        )
    return Config.load(config or DEFAULT_CONFIG)


def run(task: Callable[..., Awaitable[T]], *args: object) -> T:
    """Runs an async function to its end. trio is imported only now: `--help` need not wait for it."""
    import trio

    return trio.run(task, *args)


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


def user_of(config: Config, address: str, *, deleted: bool = False) -> "User":
    """The user of an address; a deleted one only with `deleted`. Raises NoSuchUser with a hint."""
    user = directory(config).owner(address)
    if user is None:
        raise NoSuchUser(f"no account {address}", hint="`aerogramme account list` shows them")
    if user.deleted is not None and not deleted:
        raise NoSuchUser(f"{address} is deleted", hint="`aerogramme account undelete` brings it back")
    return user


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
    from aerogramme.mailbox.keys.seen import Seen

    async with open_store(config, user) as store:
        await Seen(config.data / "seen").check_keys(user.account, await StoredKeys.read(store))
        yield store


@asynccontextmanager
async def open_account(config: Config, user: "User", secret: "Secret") -> AsyncIterator["Account"]:
    """The opened account of one user. Raises AuthenticationFailed, RolledBack."""
    from aerogramme.mailbox.keys.keys import StoredKeys
    from aerogramme.mailbox.keys.seen import Seen

    seen = Seen(config.data / "seen")
    async with open_stores(config) as stores:
        store = await stores.open(user.account)
        stored = await StoredKeys.read(store)
        await seen.check_keys(user.account, stored)
        account = await seen.open(store, user.account, await stored.unlock(user.account, secret))
        account.policy = user.policy(config.policy)
        try:
            yield account
            await seen.note(account)
        finally:
            await account.aclose()
