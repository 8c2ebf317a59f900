"""Opening what is left of an account: when none of its newest checkpoints can be opened whole."""

from collections.abc import Sequence

from aerogramme.errors import Damaged
from aerogramme.log import checkpoint
from aerogramme.log.entry import KIND, PARTITION, parse_key
from aerogramme.log.entry_bytes import decode
from aerogramme.log.records import Records
from aerogramme.log.state import State
from aerogramme.store.port import Store


async def load(store: Store, records: Records, names: Sequence[str]) -> State:
    """The state of the newest checkpoint that can be opened; `names` are the newest. If there is none, and
    the log does not go back to the beginning either, what can be read of the newest. Raises Unavailable."""
    state = await checkpoint.load(records, names)
    if state.checkpoint or not names:
        return state
    every = await store.list(checkpoint.PREFIX)
    if len(every) > len(names):
        state = await checkpoint.load(records, every)
    if state.checkpoint or await _log_is_whole(store, records, every):
        return state
    partly = await checkpoint.load_what_is_left(records, every)
    partly.damaged.update(state.damaged)
    return partly


async def _log_is_whole(store: Store, records: Records, names: Sequence[str]) -> bool:
    """Whether the log begins with the first entry that there was, which is before the oldest of these
    checkpoints."""
    oldest = min(checkpoint.clock_of(name) or 0 for name in names)
    for key, value in await store.page(PARTITION, "", 1):
        try:
            if parse_key(key)[0] > oldest:
                return False
            made = decode(key, await records.open(KIND, key, value))
        except Damaged:
            return False  # it may be that one: a checkpoint, in part, tells more than the log without it
        # Whoever has seen a checkpoint, or anybody else's entry, says so in his first one.
        return made.seq == 1 and not made.seen and not made.floor
    return False
