"""How far back the history of an account goes: compaction keeps some checkpoints, and the entries since the
oldest of them.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from aerogramme.errors import Damaged, Forgotten
from aerogramme.log import manifest
from aerogramme.log.checkpoint import PREFIX, clock_of
from aerogramme.log.clock import ms_of
from aerogramme.log.entry import KIND, PARTITION, MailboxOp, parse_key
from aerogramme.log.entry_bytes import decode
from aerogramme.log.records import Records
from aerogramme.log.suffix import base_of
from aerogramme.mailbox.history import letting_go
from aerogramme.store.port import Row, Store

PAGE = 1000  # names listed at a time


async def check_reach(store: Store, records: Records, clock: int, *, unborn: bool = False) -> None:
    """Raises Forgotten, which says how far back it goes, if what the account was at this clock cannot be told
    any more; Unavailable. `unborn`: that there was no account is an answer, too."""
    oldest, name = await _oldest_checkpoint(store, records)
    if oldest is not None and oldest <= clock:
        return
    why = "what is older has been let go: the retention of the account says how long it is kept"
    rows, _ = await store.read(PARTITION)
    first = None if not rows else _clock(rows[0])
    if first is not None and await _is_first(records, rows[0]):
        covered = await _covered(records, name) if name else {}
        if _without_gaps(rows, clock if oldest is None else oldest, covered):
            if first <= clock or unborn:
                return
            oldest, why = first, "that is when the account was made"
    if oldest is None:
        raise Forgotten("This account has no history")
    moment = datetime.fromtimestamp(ms_of(oldest) / 1000, UTC).isoformat(" ", "seconds")
    raise Forgotten(
        f"The history of this account goes back to {moment.removesuffix('+00:00')} (UTC), no further",
        hint=why,
    )


async def _oldest_checkpoint(store: Store, records: Records) -> tuple[int | None, str]:
    """The clock and the name of the oldest checkpoint from which on all entries are kept: of those that
    compaction has not let go of. That is written down before the first entry goes."""
    rows, _ = await letting_go.read(store, records)
    gone = {name for row in rows for name in row.names}
    found: tuple[int | None, str] = None, ""
    after = ""
    while names := await store.list(PREFIX, after, PAGE):
        after = names[-1]
        for name in names:
            if (clock := clock_of(name)) is not None and base_of(name) not in gone:
                found = clock, name
    return found


async def _covered(records: Records, name: str) -> dict[int, int]:
    """replica -> its last entry that a checkpoint covers; nothing of one that cannot be read."""
    try:
        return (await manifest.read_alone(records, name)).vector
    except Damaged:
        return {}


def _clock(row: Row) -> int | None:
    try:
        return parse_key(row.key)[0]
    except Damaged:
        return None


async def _is_first(records: Records, row: Row) -> bool:
    """Whether this is the entry that made the account: then nothing has been let go."""
    try:
        entry = decode(row.key, await records.open(KIND, *row))
    except Damaged:
        return False
    return entry.seq == 1 and not entry.seen and any(isinstance(op, MailboxOp) for op in entry.ops)


def _without_gaps(rows: Iterable[Row], upto: int, last: Mapping[int, int]) -> bool:
    """Whether of each replica all is there, as far as it can be seen, up to a clock; `last`: of some their
    last entry by then."""
    seqs: dict[int, set[int]] = {replica: {0} for replica in last}
    for row in rows:
        try:
            clock, replica, seq = parse_key(row.key)
        except Damaged:
            continue
        if clock <= upto:
            seqs.setdefault(replica, {0}).add(seq)
    return all(len(s) > max(*s, last.get(replica, 0)) for replica, s in seqs.items())
