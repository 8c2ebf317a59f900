"""An account that lives for months while its history is compacted: how large its store is, and what an operation
costs, at the beginning and at the end. Markdown on standard output.

    python -m benchmarks.compaction                      1,000,000 operations in 180 days, as on sqlite
    python -m benchmarks.compaction --bucket --operations 100000 --days 60

The months are of a time of its own. The store is in memory, so all the time is the processor's. *Live* is what a
new account takes that has been given the same messages; *rest* is after all history has gone.
"""

import argparse

import trio

from tests.helpers.life import calendar
from tests.helpers.months import Months


async def measure(operations: int, days: float, live: int, periods: int, bucket: bool) -> None:
    with calendar() as time:
        months = Months(time, bucket=bucket)
        await months.open()
        print(
            "| day | messages | store | live | store/live | calls/op | written/op | ms/op: work, folds, compaction |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        async for period in months.live(operations, days, live, periods):
            cost = period.cost
            each = ", ".join(f"{1000 * seconds / cost.operations:.3f}" for seconds in cost.seconds.values())
            print(
                f"| {period.day:.0f} | {period.messages:,} | {period.stored / 1e6:.1f} MB "
                f"| {period.live / 1e6:.1f} MB | {period.ratio:.2f} | {cost.calls / cost.operations:.2f} "
                f"| {cost.written / cost.operations:,.0f} | {each} |",
                flush=True,
            )
        await months.rest()
        stored, live_octets = months.store.octets, await months.live_octets()
        print(f"\nAt rest: {stored / 1e6:.1f} MB, of which live {live_octets / 1e6:.1f} MB.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compaction")
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=180)
    parser.add_argument("--live", type=int, default=5000, help="messages that are kept, about")
    parser.add_argument("--periods", type=int, default=9)
    parser.add_argument("--bucket", action="store_true", help="a store where objects cost requests")
    given = parser.parse_args()
    trio.run(measure, given.operations, given.days, given.live, given.periods, given.bucket)


if __name__ == "__main__":
    main()
