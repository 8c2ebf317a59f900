"""The end of an account: a tombstone in the users file, kept for a while and then erased with all its mail.

From the moment of the tombstone the addresses take no mail and open nothing, and they are nobody else's. The
sealed data stays as it is, so until the erasure begins the account comes back as it was. Erasing is: a mark
in the tombstone, after which nothing brings the account back; then the store; and the tombstone last.
Wherever it is cut short, the next purge finds the mark and goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import trio

from aerogramme.errors import AerogrammeError, AlreadyExists, NoSuchUser, Refused
from aerogramme.store.port import Stores
from aerogramme.users.directory import User
from aerogramme.users.static import StaticDirectory


def delete(directory: StaticDirectory, address: str, now: int) -> User:
    """Puts the tombstone (unix time `now`); the account is as it was, for `undelete`. Durable on return.

    Raises AlreadyExists when there is one, NoSuchUser.
    """

    def change(user: User) -> User:
        if user.deleted is not None:
            raise AlreadyExists(f"{user.address} is deleted already")
        return replace(user, deleted=now)

    return directory.change(address, change)


def undelete(directory: StaticDirectory, address: str) -> User:
    """Takes the tombstone away. Durable on return. Raises Refused when there is none, or the erasure has
    begun; NoSuchUser.
    """

    def change(user: User) -> User:
        if user.deleted is None:
            raise Refused(f"{user.address} is not deleted")
        if user.erasing:
            raise Refused(f"{user.address} is being erased: nothing brings it back")
        return replace(user, deleted=None)

    return directory.change(address, change)


async def erase(
    directory: StaticDirectory, stores: Stores, user: User, now: int, *, due: Callable[[User], bool]
) -> None:
    """Erases the account, its mail and its line in the users file, if it still is as `due` wants it.

    Raises Refused if not; NoSuchUser when somebody else has finished it; Unavailable (what was begun goes on
    with the next purge).
    """

    def begin(found: User) -> User:
        if found.account != user.account:
            raise NoSuchUser(f"{user.address} has another account by now")
        if not due(found):
            raise Refused(f"{user.address} is not to be erased any more")
        return replace(found, deleted=now if found.deleted is None else found.deleted, erasing=True)

    # In threads: a file with thousands of users takes seconds to change, and a server has others to serve.
    await trio.to_thread.run_sync(directory.change, user.address, begin)
    await stores.erase(user.account)
    await trio.to_thread.run_sync(directory.remove, user)


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many seconds a tombstone is kept."""

    seconds: float

    def over(self, user: User, now: float) -> bool:
        """Whether the account is to be erased: its time is over, or its erasure has begun."""
        return user.deleted is not None and (user.erasing or user.deleted + self.seconds <= now)


async def purge(
    directory: StaticDirectory,
    stores: Stores,
    now: int,
    retention: Retention,
    told: Callable[[User], None] = lambda _: None,
) -> None:
    """Erases all accounts whose retention is over; `told` is called with each one that is gone.

    One that cannot be erased now does not keep the others: its error is raised after they are done,
    Unavailable or BadConfiguration (the users file cannot be written), say. The next purge tries again.
    """

    def due(user: User) -> bool:
        return retention.over(user, now)

    failed: list[AerogrammeError] = []
    for user in [user for user in directory.users() if due(user)]:
        try:
            await erase(directory, stores, user, now, due=due)
        except (Refused, NoSuchUser):  # undeleted just now, or erased by another process
            continue
        except AerogrammeError as error:
            failed.append(error)
        else:
            told(user)
    if failed:
        raise failed[0]
