"""python -m tests.sim SEED              one schedule: its story, twice, and whether both are the same
python -m tests.sim --count N [--jobs J] [--start S]    many schedules; those that fail are named
"""

import argparse
import sys
import time

from tests.sim.many import Result, workers
from tests.sim.world import Broken, run


def story_of(seed: int) -> tuple[list[str], bool]:
    try:
        return run(seed).story, True
    except Broken as broken:
        return broken.story, False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--count", type=int, help="how many schedules")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    given = parser.parse_args()
    if given.count is None:
        if given.seed is None:
            parser.error("a seed, or --count")
        story, held = story_of(given.seed)
        print("\n".join(story))
        if story_of(given.seed) != (story, held):
            print("it does not replay")
            return 2
        return 0 if held else 1
    began, result = time.perf_counter(), Result()
    with workers(given.jobs) as run_many:
        for part in run_many(range(given.start, given.start + given.count)):
            for seed, why in sorted(part.broken.items()):
                print(f"seed {seed}: {why}", flush=True)
            result.add(part)
    print(
        f"{result.schedules} schedules, {len(result.broken)} broken, in {time.perf_counter() - began:.0f} s: "
        f"{result.commands} commands, {result.checks} mailboxes checked, {result.facts} facts acknowledged"
    )
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
