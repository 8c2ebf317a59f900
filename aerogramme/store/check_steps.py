"""What the steps of `check` are made of, and the last of them, which is the same for all stores."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

import trio

from aerogramme.errors import AerogrammeError, Unavailable
from aerogramme.store.port import Cursor, Part, Row, Store, Stores

ACCOUNT_SECONDS = 60.0  # for all that is done with the account; a store far away takes a second or two
ERASE_SECONDS = 30.0
NOT_ALLOWED = 77  # sysexits' EX_NOPERM


class Outcome(Enum):
    DONE = "done"
    WARNING = "warning"
    FAILED = "failed"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Step:
    """What was looked at, and what came out: `text` says what was found, `hint` what to do about it."""

    title: str
    outcome: Outcome
    text: str = ""
    hint: str = ""
    note: str = ""  # what is worth knowing, though nothing is wrong
    exit_code: int = 0  # 0 unless it failed


class CheckFailed(AerogrammeError):
    """A step of the check failed."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int = Unavailable.exit_code) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class Found(NamedTuple):
    """What a step has found. With a hint it is a warning: it works, but somebody should know."""

    text: str
    hint: str = ""
    note: str = ""


Work = Callable[[], Found]


class Check(Protocol):
    """The steps of one kind of place."""

    def steps(self) -> Sequence[tuple[str, Work]]:
        """Titles, and what to do. Each step raises AerogrammeError when the store is not fit for use."""
        ...

    def clean(self) -> None:
        """Removes all that the steps have left; also what an earlier check has, if it was killed."""
        ...


def use_account(stores: Callable[[], Stores]) -> Found:
    """Makes an account, does what servers do with it, and erases it. `stores` is called inside of trio."""
    # Anywhere else an interruption may come where Python ignores exceptions, and be lost.
    return trio.run(partial(_use_account, stores), restrict_keyboard_interrupt_to_checkpoints=True)


async def _use_account(factory: Callable[[], Stores]) -> Found:
    account, stores = secrets.token_hex(16), factory()
    began, fit = trio.current_time(), False
    try:
        with trio.move_on_after(ACCOUNT_SECONDS) as scope:
            store = await stores.open(account, create=True)
            try:
                await _use(store)
            finally:
                await store.aclose()
            if account not in await stores.list():
                raise CheckFailed("an account that was made is not among those that are listed")
        if scope.cancelled_caught:
            raise CheckFailed(f"it took longer than {ACCOUNT_SECONDS:.0f} seconds", hint="look at its load")
        fit = True
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + ERASE_SECONDS):
            try:
                await stores.erase(account)
            except AerogrammeError:
                if fit:
                    raise
                # The first error says more than this one; what is left is for `clean`.
            finally:
                await stores.aclose()
    return Found(f"made, used and erased in {trio.current_time() - began:.1f} s")


async def _use(store: Store) -> None:
    body = secrets.token_bytes(200_000)
    await store.put("probe/1", body)
    same = await store.get_many([Part("probe/1", 70_000, 140_000), "probe/1", "probe/2"])
    if same != [body[70_000:140_000], body, None]:
        raise CheckFailed("an object was given back otherwise than it was stored")
    if await store.list("probe/") != ["probe/1"]:
        raise CheckFailed("an object that was stored is not among those that are listed")
    _, cursor = await store.read("probe")
    await store.append("probe", [Row("1", b"one"), Row("2", b"two")], objects=[("probe/3", b"three")])
    await _appears(store, cursor, [Row("1", b"one"), Row("2", b"two")])
    await store.delete_rows("probe", ["1"])
    if (await store.read("probe"))[0] != [Row("2", b"two")]:
        raise CheckFailed("a row that was deleted is still there, or another is not")
    await store.delete(["probe/1", "probe/3"])


async def _appears(store: Store, cursor: Cursor, rows: list[Row]) -> None:
    await store.watch("probe", cursor)
    if (await store.read("probe", cursor))[0] != rows:
        raise CheckFailed("rows that were stored are not read")
