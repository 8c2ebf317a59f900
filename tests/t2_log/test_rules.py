"""The rules on the real journal: servers, wandering clients, faults from seeds; and each rule is needed.

A schedule is a seed (tests/helpers/log_world.py). With the rules all hold; with one left out some fail.
"""

import pytest
from trio.testing import MockClock

from aerogramme.log import checkpoint, rules
from aerogramme.log.entry import PARTITION
from aerogramme.log.journal import Journal
from aerogramme.log.pending import Pending
from aerogramme.together import together
from tests.helpers import log_world

SCHEDULES = {False: 250, True: 100}  # on a store that serializes little can go wrong
ENOUGH = 3000  # schedules within which the lack of a rule must show


@pytest.fixture(autouse=True)
def replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)


def reasons(error: BaseException) -> list[str]:
    """Why a schedule has failed; anything else than a broken promise is raised."""
    if isinstance(error, BaseExceptionGroup):
        return [why for each in error.exceptions for why in reasons(each)]
    if not isinstance(error, AssertionError):
        raise error
    return [str(error)]


@pytest.mark.parametrize(
    ("serial", "start"),
    [(serial, start) for serial in SCHEDULES for start in range(0, SCHEDULES[serial], 50)],
)
async def test_schedules_hold(start: int, serial: bool, autojump_clock: MockClock) -> None:
    for seed in range(start, start + 50):
        try:
            await log_world.run(seed, serial=serial)
        except (AssertionError, BaseExceptionGroup) as error:
            raise AssertionError(f"seed {seed}: {reasons(error)}") from error


async def _settle_without_reading(journal: Journal) -> None:
    async with journal._lock:
        await journal._settle()


def _tell_as_it_is(state) -> None:
    state.history.unknown.clear()
    for table in state.tables.values():
        table.told = table.uidnext
        table.below.clear()


async def _fold_unsettled(journal: Journal, *, force: bool = False) -> bool:
    async with journal._lock:
        snapshot = checkpoint.take(journal.state, journal._keyring)
    for name, body in snapshot.objects:
        await journal._store.put(name, body)
    checkpoint.stored(journal.state, snapshot)
    return True


async def _confirm_nothing(_: Pending) -> None: ...


async def _look_beside(journal: Journal, draft, append=Journal._append):
    """Looks at the store while the append is under way, and not again."""
    entry, shown = None, ([], journal._cursor)

    async def appending() -> None:
        nonlocal entry
        entry = await append(journal, draft)

    async def looking() -> None:
        nonlocal shown
        shown = await journal._store.read(PARTITION, journal._cursor)

    await together(appending, looking)
    await journal._show(*shown)
    if journal._unlooked:
        await journal._take_in()
    return entry


def _as_drafted(_client, _server, _box, _ids, uids):
    return uids


WITHOUT = {
    "read": [(Journal, "refresh", _settle_without_reading)],
    "confirm": [(Pending, "confirm", _confirm_nothing)],
    "look": [(Journal, "_claimed", lambda _, __: None)],
    "look, but beside the append": [(Journal, "_append", _look_beside)],
    "look, but tell what was drafted": [(log_world.Client, "appended", _as_drafted)],
    "numbers": [
        (rules, "numbers", lambda _: None),
        (rules, "mark_told", _tell_as_it_is),
        (rules, "settled", lambda state: not (state.history.late or state.history.unknown)),
    ],
    "unknown": [(rules, "unknown", lambda _: {})],
    "fold": [(Journal, "fold", _fold_unsettled)],
}


@pytest.mark.parametrize("rule", WITHOUT)
async def test_without_a_rule_a_schedule_fails(rule: str, monkeypatch, autojump_clock: MockClock) -> None:
    for where, name, replacement in WITHOUT[rule]:
        monkeypatch.setattr(where, name, replacement)
    for seed in range(ENOUGH):
        try:
            await log_world.run(seed)
        except (AssertionError, BaseExceptionGroup) as error:
            assert reasons(error)
            return
    pytest.fail(f"{ENOUGH} schedules hold without the rule: {rule}")
