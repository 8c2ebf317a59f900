"""Many schedules, on all processors."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.sim.world import Broken, collect, run

PART = 50  # schedules that a process gets at a time
COLLECT = 25  # schedules between two collections of garbage


@dataclass
class Result:
    """What many schedules came to. `broken`: seed -> why."""

    schedules: int = 0
    commands: int = 0
    checks: int = 0
    facts: int = 0
    broken: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Result") -> None:
        self.schedules += other.schedules
        self.commands += other.commands
        self.checks += other.checks
        self.facts += other.facts
        self.broken |= other.broken


def run_some(seeds: Iterable[int]) -> Result:
    """In this process."""
    result = Result()
    for seed in seeds:
        try:
            outcome = run(seed)
        except Broken as broken:
            result.broken[seed] = broken.why
        else:
            result.commands += outcome.commands
            result.checks += outcome.checks
            result.facts += outcome.facts
        result.schedules += 1
        if result.schedules % COLLECT == 0:
            collect()
    return result


@contextmanager
def workers(jobs: int) -> Iterator[Callable[[range], Iterator[Result]]]:
    """`run_some` on that many processors: gives what parts of the schedules came to, as it comes."""

    def parts(seeds: range) -> list[range]:
        return [seeds[at : at + PART] for at in range(0, len(seeds), PART)]

    if jobs == 1:
        yield lambda seeds: map(run_some, parts(seeds))
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield lambda seeds: pool.imap_unordered(run_some, parts(seeds))


def added_up(results: Iterable[Result]) -> Result:
    total = Result()
    for result in results:
        total.add(result)
    return total
