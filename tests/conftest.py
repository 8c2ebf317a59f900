"""What holds for all tiers: how hypothesis looks for counter-examples."""

import os

from hypothesis import settings

# A busy machine must not fail a test: no deadlines. In CI the examples are the same at every run; on a desk
# they vary, and what was found once is tried again from hypothesis' own database.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "desk"))
