"""Adopting: where several servers write checkpoints, each takes over the names that the newest one has.

What nothing names any more goes after a time (needed.py), and that is judged by checkpoints: a state that
went on with the names of its own last one would come to name parts that are gone. So before it writes a
checkpoint, and now and then, a journal looks at the newest. What that does not cover yet is the tail of the
state, as if it had been opened from there.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress

from aerogramme.errors import Damaged
from aerogramme.log.columns import column_from
from aerogramme.log.entry import Add, Again, Entry, MailboxOp, MessageOp, Subscribe, parse_key
from aerogramme.log.entry_bytes import said_again
from aerogramme.log.manifest import Manifest
from aerogramme.log.state import State


def adopt(state: State, manifest: Manifest) -> bool:
    """Take over the names of the parts of a checkpoint. False, and nothing is changed, if it does not cover
    what the state's own checkpoint does, or covers what is not in the state."""
    history = state.history
    vector = manifest.vector
    known = history.vector()
    if any(known.get(replica, 0) < last for replica, last in vector.items()):
        return False
    if _unreadable(state.damaged) - manifest.lost != _unreadable(dict(manifest.damaged)) - manifest.lost:
        return False  # one of the two has read what the other could not
    for replica, trail in history.trails.items():
        covered = vector.get(replica, trail.last if trail.clock <= manifest.floor else 0)
        if covered < min(trail.records, default=trail.last + 1) - 1:
            return False
    holes = {hole for hole in history.holes if hole[1] <= vector.get(hole[0], 0)}
    if holes != set(_holes(manifest)):
        return False
    uncovered = [
        record.entry
        for replica, trail in history.trails.items()
        for seq, record in trail.records.items()
        if not manifest.covers(record.entry.clock, replica, seq, vector)
    ]
    ops = [op for entry in uncovered for op in message_ops(entry)]
    brought = {op.segment.name for op in ops if isinstance(op, Add) and op.segment is not None}
    own = [state.segments[index] for index in sorted(state.named_segments())]
    state.set_segments([*manifest.segments, *(ref for ref in own if ref.name in brought)])
    state.bundles = manifest.bundles
    for mailbox, table in state.tables.items():
        table.pieces = manifest.pieces.get(mailbox, {})
        table.dirty = set()
    for op in ops:
        state.table(op.mailbox).mark(op.ids)
    history.rebase(vector, manifest.clock, manifest.bases)
    take_over(state, manifest)
    return True


def take_over(state: State, manifest: Manifest) -> None:
    """What compaction and repair have said there is of entries that are not there any more."""
    for replica, seq in manifest.cut.items():
        state.cut[replica] = max(seq, state.cut.get(replica, 0))
    state.lost |= manifest.lost
    for key in [key for key in state.damaged if _unreadable([key]) & state.lost]:
        del state.damaged[key]


def message_ops(entry: Entry) -> Iterator[MessageOp]:
    """The operations on messages of an entry, and of those that it says again."""
    for each in (entry, *said_again(entry)):
        for op in each.ops:
            if not isinstance(op, MailboxOp | Subscribe | Again):
                yield op


def _holes(manifest: Manifest) -> Iterator[tuple[int, int]]:
    for trail in manifest.trails:
        for at, clock in enumerate(column_from("Q", trail.clocks)):
            if not clock:
                yield trail.replica, trail.first + at


def _unreadable(keys: Iterable[str]) -> set[tuple[int, int]]:
    """(replica, seq) of the entries among the keys."""
    found = set()
    for key in keys:
        with suppress(Damaged):  # the name of a checkpoint
            found.add(parse_key(key)[1:])
    return found
