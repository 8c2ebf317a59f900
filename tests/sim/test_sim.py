"""Thousands of schedules of several servers with everything that can go wrong, each from its seed.

A schedule that fails is shown whole, and again by `python -m tests.sim SEED`. SIM_SCHEDULES says how many;
CI runs 10,000.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.sim.many import Result, added_up, workers
from tests.sim.rules import RULES, without
from tests.sim.world import Broken, run

SCHEDULES = int(os.environ.get("SIM_SCHEDULES", "1000"))
PART = 250  # in one test
JOBS = (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) or 1
ENOUGH = 3000  # schedules within which the lack of a rule must show
KNOWN = {"read": 3, "confirm": 103, "look": 25, "numbers": 3, "unknown": 5, "fold": 374}
"""Seeds that fail without a rule: they are tried first."""
CONSTANTS = {"fold": {"FOLD_ENTRIES": 1}}  # of these schedules: else one in hundreds shows it


@pytest.fixture(scope="module")
def run_many() -> Iterator[Callable[[range], Iterator[Result]]]:
    with workers(JOBS) as run_many:
        yield run_many


@pytest.mark.sim
@pytest.mark.parametrize("start", range(0, SCHEDULES, PART))
def test_schedules_hold(start: int, run_many: Callable[[range], Iterator[Result]]) -> None:
    result = added_up(run_many(range(start, start + PART)))
    assert result.schedules == PART
    if result.broken:
        with pytest.raises(Broken) as again:
            run(min(result.broken))
        print("\n".join(again.value.story))
    assert not result.broken
    # They are about something: most commands, mails and changes of flags get through.
    assert result.commands > 40 * PART
    assert result.checks > 5 * PART
    assert result.facts > 5 * PART


@pytest.mark.parametrize("rule", RULES)
def test_without_a_rule_a_schedule_fails(rule: str) -> None:
    for seed in [KNOWN[rule], *range(ENOUGH)]:
        try:
            with without(rule):
                run(seed, **CONSTANTS.get(rule, {}))
        except Broken:
            run(seed, **CONSTANTS.get(rule, {}))  # with it, the same schedule holds
            return
    pytest.fail(f"{ENOUGH} schedules hold without the rule: {rule}")


STORIES = """
import json
from tests.sim.world import run
print(json.dumps([run(seed).story for seed in range(10)]))
"""


def test_a_seed_tells_the_same_story_in_any_process() -> None:
    stories = [run(seed).story for seed in range(10)]
    assert [run(seed).story for seed in range(10)] == stories
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", STORIES],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            check=True,
        )
        assert json.loads(done.stdout) == stories
