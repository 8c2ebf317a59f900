"""The rules of the log, each taken away: what the simulation has to notice."""

from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from typing import Any
from unittest.mock import patch

from aerogramme.errors import Unavailable
from aerogramme.log import rules
from aerogramme.log.journal import Journal
from aerogramme.log.pending import Pending
from aerogramme.log.state import State
from aerogramme.log.table import Table
from aerogramme.mailbox.account import PATIENCE, Account


async def _fresh_without_reading(account: Account, name: str) -> Table:
    with suppress(Unavailable):
        await account.drain.all_waiting(patience=PATIENCE)
    return account.find(name)


def _tell_as_it_is(state: State) -> None:
    state.history.unknown.clear()
    for table in state.tables.values():
        table.told = table.uidnext
        table.below.clear()


async def _confirm_nothing(_: Pending) -> None: ...


@asynccontextmanager
async def _newest_unsettled(journal: Journal):
    async with journal._lock:
        await journal._read()
        await journal._take_in()
        yield


RULES: dict[str, list[tuple[Any, str, Any]]] = {
    "read": [(Account, "fresh", _fresh_without_reading)],
    "confirm": [(Pending, "confirm", _confirm_nothing)],
    "look": [(Journal, "_claimed", lambda _, __: None)],
    "numbers": [
        (rules, "numbers", lambda _: None),
        (rules, "mark_told", _tell_as_it_is),
        (rules, "settled", lambda state: not (state.history.late or state.history.unknown)),
    ],
    "unknown": [(rules, "unknown", lambda _: {})],
    "fold": [(Journal, "_newest", _newest_unsettled)],
}


def without(rule: str) -> AbstractContextManager[Any]:
    """While this is open, the rule is not there."""
    stack = ExitStack()
    for where, name, replacement in RULES[rule]:
        stack.enter_context(patch.object(where, name, replacement))
    return stack
