"""The four rules on the real journal: servers, wandering clients, faults from seeds; and each is needed.

A schedule is a seed (tests/helpers/log_world.py). With the rules all hold; with one left out some fail.
"""

import pytest

from aerogramme.log import checkpoint, rules
from aerogramme.log.journal import Journal
from tests.helpers import log_world

SCHEDULES = 400
ENOUGH = 3000  # schedules within which the lack of a rule must show


@pytest.mark.parametrize("start", range(0, SCHEDULES, 50))
@pytest.mark.parametrize("serial", [False, True], ids=["late entries", "serialized"])
async def test_schedules_hold(start: int, serial: bool) -> None:
    for seed in range(start, start + 50):
        try:
            await log_world.run(seed, serial=serial)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


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


WITHOUT = {
    "read": [(Journal, "refresh", _settle_without_reading)],
    "numbers": [
        (rules, "numbers", lambda _: None),
        (rules, "mark_told", _tell_as_it_is),
        (rules, "settled", lambda state: not (state.history.late or state.history.unknown)),
    ],
    "unknown": [(rules, "unknown", lambda _: {})],
    "fold": [(Journal, "fold", _fold_unsettled)],
}


@pytest.mark.parametrize("rule", WITHOUT)
async def test_without_a_rule_a_schedule_fails(rule: str, monkeypatch) -> None:
    for where, name, replacement in WITHOUT[rule]:
        monkeypatch.setattr(where, name, replacement)
    for seed in range(ENOUGH):
        try:
            await log_world.run(seed)
        except AssertionError:
            return
    pytest.fail(f"{ENOUGH} schedules hold without the rule: {rule}")
