"""Entries that reads of the log have shown, until the state takes them in: causes before effects, and none
that a later read might not show (journal.py says why)."""

import logging
from collections.abc import Mapping, Sequence

from aerogramme.errors import Damaged
from aerogramme.log import rules
from aerogramme.log.clock import COUNTER_BITS, Clock
from aerogramme.log.entry import KIND, PARTITION, Entry, parse_key, spilled
from aerogramme.log.entry_bytes import decode
from aerogramme.log.history import MARGIN, unseen
from aerogramme.log.records import Records
from aerogramme.log.state import State
from aerogramme.log.suffix import base_of, suffix_of
from aerogramme.store.port import Row

log = logging.getLogger(__name__)


class Pending:
    """What one journal has read of its log, and not applied yet."""

    def __init__(self, records: Records, state: State, clock: Clock) -> None:
        self._records, self._state, self._clock = records, state, clock
        self._shown: dict[str, tuple[Row, Entry | Damaged]] = {}  # by the row key without suffix

    def __len__(self) -> int:
        return len(self._shown)

    async def put(self, rows: Sequence[Row]) -> None:
        """A read has given these; what is known of them already is passed over. Raises Unavailable: then
        nothing has changed."""
        new = [row for row in rows if self._is_new(row.key)]
        large = [row.key for row in new if not row.value]
        bodies = dict(zip(large, await self._records.read(KIND, list(map(spilled, large))), strict=True))
        opened = [(row, await self._opened(row, bodies)) for row in new]
        for row, entry in opened:
            key = base_of(row.key)
            # One that is just being sealed again is there twice; the row that goes must not be confirmed.
            if key not in self._shown or isinstance(entry, Entry):
                self._shown[key] = row, entry

    def disputed(self) -> bool:
        """Whether any may claim a number that the state has for something else."""
        return any(
            isinstance(entry, Entry) and rules.disputes(self._state, entry)
            for _, entry in self._shown.values()
        )

    async def confirm(self) -> None:
        """Make certain that what was shown is shown by every later read. Raises Unavailable."""
        heads = unseen(entry for _, entry in self._shown.values() if isinstance(entry, Entry))
        rows = [
            row
            for row, entry in self._shown.values()
            if isinstance(entry, Damaged) or (entry.replica, entry.seq) in heads
        ]
        await self._records.store.confirm(PARTITION, rows)

    def apply(self) -> list[Entry]:
        """Apply causes before effects: an entry once all that its writer saw is in the state. Those that were
        applied are given, in that order.

        One that cannot be read is left out: all else stays readable. A read that takes several requests may
        show an entry and not yet its cause, which sorts before it. A client that was told the clock of the
        one would not hear of the other. A cause that is not there after MARGIN counts as lost; at once where
        a read shows all there is.
        """
        applied: list[Entry] = []
        gone = self._records.store.serialized
        lost = max(self._clock.now_ms() << COUNTER_BITS, self._state.clock) - MARGIN
        while True:
            waiting = sorted(self._shown.items())
            for key, (row, entry) in waiting:
                if isinstance(entry, Damaged):
                    self._report(row.key, entry)
                    clock, replica, seq = parse_key(key)
                    if clock < lost + 2 * MARGIN:  # else none of us has written it
                        self._state.skip(clock, replica, seq)
                elif (whole := self._state.history.has_causes(entry)) or gone or entry.clock < lost:
                    if not whole:
                        self._report_gap(entry)
                    self._state.apply(entry)
                    applied.append(entry)
                else:
                    continue
                del self._shown[key]
            if len(self._shown) == len(waiting):
                return applied

    def _is_new(self, key: str) -> bool:
        shown = self._shown.get(base_of(key))
        if key in self._state.damaged or (shown is not None and key <= shown[0].key):
            return False
        try:
            clock, replica, _ = position = parse_key(key)
            history = self._state.history
            # What is sealed again was read by somebody: it is no news of a replica that was silent for long.
            forgotten = (
                replica not in history.trails and clock <= history.floor and suffix_of(key) is not None
            )
            return position not in history and not forgotten
        except Damaged as e:
            self._report(key, e)
            return False

    async def _opened(self, row: Row, bodies: Mapping[str, bytes | Damaged]) -> Entry | Damaged:
        try:
            plain = await self._records.open(KIND, *row) if row.value else bodies[row.key]
            return plain if isinstance(plain, Damaged) else decode(row.key, plain)
        except Damaged as e:
            return e

    def _report_gap(self, entry: Entry) -> None:
        history, account = self._state.history, self._records.keyring.account.hex()
        if entry.replica in history.trails or entry.clock > history.floor:  # else it may have been cut off
            log.error("account %s: what came before entry %s is missing in the log", account, entry.key)

    def _report(self, key: str, why: Damaged) -> None:
        self._state.damaged[key] = str(why)
        log.error("entry %s of account %s is left out: %s", key, self._records.keyring.account.hex(), why)
