"""The store's promise: two primitives, objects and rows, for one account.

    objects   written once, never changed; found by listing
    rows      small, in partitions, written once; a partition can be read from where one was, and watched

Nothing is overwritten and nothing depends on compare-and-swap. Every call may be repeated. A call that raised
`Unavailable`, or was cancelled, may have happened, in part or whole, and may happen later; a call that
returned is durable and seen by every later read, from any process. A row of an append that failed may be
shown by one read and not by the next, until it is confirmed (`confirm`) or has spread.

Names, partitions and keys are printable ASCII, never empty, and sort as bytes. A name or key is written once:
whoever writes it again writes the same bytes. Rows are small (an entry, a key: up to about 64 KiB); what is
larger is an object. A store that is not serialized may show a row twice or late: rows are told apart by key.
Where keys begin with a clock (16 hex digits and a hyphen), a read with a cursor may miss rows that come when
there is one whose clock is more than `LATE` higher already; history.py says what becomes of those.
"""

import re
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import NamedTuple, NewType, Protocol

from aerogramme.errors import NoSuchUser

# In units of clocks (log/clock.py). An append takes a minute at most, and the stores that need this refuse
# servers whose clocks are off by more than some minutes; ten minutes outlast the reboot of a node.
LATE = 10 * 60 * 1000 << 20

Cursor = NewType("Cursor", object)
"""How far a partition has been read. Opaque; good only for the store and partition it came from."""

Body = bytes | AsyncIterable[bytes]
"""What `put` stores: the bytes, or a stream of them that is never held whole in memory."""


def always() -> bool:
    return True


class Row(NamedTuple):
    """One row of a partition."""

    key: str
    value: bytes


class Part(NamedTuple):
    """Some bytes of an object: start to stop, clipped at its end; by default the whole."""

    name: str
    start: int = 0
    stop: int | None = None


class Store(Protocol):
    """The objects and rows of one account. Every method may raise `Unavailable`."""

    @property
    def serialized(self) -> bool:
        """Whether appends are checked against what the writer has read (`Behind`)."""
        ...

    @property
    def object_costs_request(self) -> bool:
        """Whether each object is a request of its own, so that many small ones had better be one (packs)."""
        ...

    async def put(self, name: str, body: Body) -> None:
        """Store an object; durable on return, invisible before. A name that is there already stays."""
        ...

    async def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes start to stop of an object (whole by default; clipped at its end), or `NotStored`."""
        ...

    async def get_many(self, wanted: Sequence[str | Part]) -> list[bytes | None]:
        """Objects (a name is the whole of it), in the order asked and in one trip; None for one that is not
        there. A part of an object is clipped at its end, as by `get`. One that the store itself finds
        damaged, so that `get` raises Damaged, may be b"", which opens no more: it does not keep the
        others."""
        ...

    async def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are fine."""
        ...

    async def append(
        self,
        partition: str,
        rows: Sequence[Row],
        *,
        objects: Sequence[tuple[str, bytes]] = (),
        read: Cursor | None = None,
        delete: Sequence[tuple[str, str]] = (),
    ) -> Cursor | None:
        """Add rows. All is durable on return.

        objects  (name, body), durable before any of the rows is visible
        read     how far the writer has read this partition. A store that is serialized raises `Behind`,
                 having changed nothing, if there is more; others ignore it
        delete   (partition, key) of rows that go once the append is durable (a serialized store: with it)

        Returns `read`, moved past these rows and no others where the store can do that; where it cannot, the
        next read with it gives these rows back. None when `read` is None.
        """
        ...

    async def read(
        self, partition: str, cursor: Cursor | None = None, after: str = ""
    ) -> tuple[list[Row], Cursor]:
        """With no cursor: all rows with a key greater than `after`. With a cursor: all that became visible
        since, whatever their keys (and `after` is not looked at). Sorted by key. The cursor returned
        is for the next read.

        A read that finds nothing new may return without letting other tasks run.
        """
        ...

    async def page(self, partition: str, after: str, limit: int) -> Sequence[Row]:
        """The first rows with a key greater than `after`, sorted by key, at most `limit`; fewer only at the
        end of the partition. For who looks through it and follows nothing: it takes no more memory than
        these rows."""
        ...

    async def confirm(self, partition: str, rows: Sequence[Row]) -> None:
        """Make certain that every later read shows these rows, which a read has shown, whatever became of
        their append. Nothing to do where a row that was once visible always is."""
        ...

    async def delete_rows(self, partition: str, keys: Sequence[str]) -> None:
        """Remove rows; those that are not there are fine."""
        ...

    async def delete_range(self, partition: str, first: str, last: str) -> None:
        """Remove the rows with first <= key <= last."""
        ...

    async def watch(self, partition: str, cursor: Cursor, *, eager: Callable[[], bool] = always) -> None:
        """Return once a read with this cursor may give something new, whichever process it comes from.

        `eager` tells whether somebody is waiting for it just now: a store that can only ask again and again
        asks less often while nobody is.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the store; calls after this are errors of the program. What is stored stays."""
        ...

    async def sizes(self, prefix: str, after: str = "", limit: int | None = None) -> list[tuple[str, int]]:
        """The names that `list` gives, each with how many octets the object has. Reads none of these."""
        ...

    # Last in its class, because from here on `list` is not the builtin.
    async def list(self, prefix: str, after: str = "", limit: int | None = None) -> list[str]:
        """Names that begin with `prefix` and are greater than `after`, sorted, at most `limit` of them."""
        ...


class Stores(Protocol):
    """The stores of all accounts in one place: a data folder, or a bucket."""

    async def open(self, account: str, *, create: bool = False) -> Store:
        """The store of an account (32 hex digits). With `create`, an empty one is made if there is none;
        without, `NoSuchUser`. It may be opened many times at once; each one opened is closed for itself.
        """
        ...

    async def erase(self, account: str) -> None:
        """Remove an account and all its store holds; none is fine. Who has it open gets `NoSuchUser`."""
        ...

    async def aclose(self) -> None:
        """Let go of all stores."""
        ...

    async def list(self) -> list[str]:
        """The accounts, sorted."""
        ...


_ACCOUNT = re.compile(r"[0-9a-f]{32}", re.ASCII)


def check_account(account: str) -> str:
    """The account id itself, or `NoSuchUser`: it becomes part of a path, so nothing else may pass."""
    if not _ACCOUNT.fullmatch(account):
        raise NoSuchUser("An account id has 32 hexadecimal digits")
    return account
