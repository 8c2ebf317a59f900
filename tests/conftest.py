"""What holds for all tiers: how hypothesis looks for counter-examples, and which clock jumps."""

import os
from typing import Any

import pytest
from hypothesis import settings
from trio.testing import MockClock

from aerogramme.store.sqlite_writer import Writer
from tests.helpers.clocks import jumping_clock

# A busy machine must not fail a test: no deadlines. In CI the examples are the same at every run; on a desk
# they vary, and what was found once is tried again from hypothesis' own database.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "desk"))

# Hundreds of tests start programs: each would compile all of them anew, which takes as long as its work.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture
def autojump_clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """In place of the one of pytest-trio, which does not wait for threads."""
    run, writing = Writer.run, 0

    async def counted(self: Writer, work: Any) -> Any:
        nonlocal writing
        writing += 1
        try:
            return await run(self, work)
        finally:
            writing -= 1

    monkeypatch.setattr(Writer, "run", counted)
    return jumping_clock(lambda: writing)
