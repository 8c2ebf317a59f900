"""Weeks of an account with compaction. benchmarks/compaction.py is a million operations of the same."""

import pytest

from tests.helpers.life import calendar
from tests.helpers.months import Months

OPERATIONS, DAYS, LIVE = 1000, 200.0, 300


@pytest.mark.parametrize("bucket", [False, True])
async def test_the_store_stays_within_twice_what_is_live(bucket: bool) -> None:
    with calendar() as time:
        months = Months(time, bucket=bucket)
        await months.open()
        first, *periods = [period async for period in months.live(OPERATIONS, DAYS, LIVE, 4)]
        assert periods[-1].messages > 0.8 * LIVE
        # On the average: here one segment has most of the mail, and when it is written again it counts twice.
        assert sum(period.ratio for period in periods) / len(periods) < 2
        for period in periods:  # an operation costs what it did with fewer messages and no history
            assert period.cost.calls < 1.5 * first.cost.calls
        await months.rest()
        # Segments are written again when a quarter of them is needed no more, packs when half of them is.
        assert months.store.octets < 2 * await months.live_octets()
