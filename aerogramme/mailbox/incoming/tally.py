"""How full an account is, for who has no key to it: the LMTP server, which refuses mail to one that is full.

Who holds the keys knows it exactly, and *notes* it now and then in a plain row of the partition "usage".
Whoever puts letters down for an account with a quota adds up what it has *delivered*, in a row of its own.
What an account holds is then what was noted last, and all that was delivered since. A note says up to when
letters are in it, so a delivery counts once: before it is drained as delivered, afterwards as noted.

The rows are not sealed: whoever reads the store sees the sizes of its objects anyway, and who can write there
can do worse than make an account look full. They are estimates, and each takes the place of those before it.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from aerogramme.errors import Damaged
from aerogramme.log.clock import COUNTER_BITS, wall_ms
from aerogramme.mailbox.usage import Usage
from aerogramme.seal.strict import pack, unpack
from aerogramme.store.port import Row, Store

PARTITION = "usage"
VERSION = 1
# Clock and writer; of a clock the upper bit is never set (log/clock.py).
_KEY = re.compile(r"([0-7][0-9a-f]{15})-([0-9a-f]{16})", re.ASCII)
NOTED, DELIVERED = 0, 1
# The writer of what commands have delivered, which do not live to remember it: the next one adds to its row.
# Two that do so at once may leave out the one or the other, until the next note.
COMMANDS = 0
# A note is due when what the store says is wrong by such a part of what is left until the quota: the fuller
# an account, the more exactly it is known. Without a quota, by so many octets and such a part of all.
PART_OF_REST = 64
STEP, PART_OF_ALL = 1024 * 1024, 50
# Milliseconds after a note in which a letter counts as noted: who drains may see a letter before who delivers
# knows that it is down, and clocks differ a little. One that is not in the note yet will be drained, and make
# a difference then; one that counted twice would make none that anybody could see.
SLACK = 2000
MANY = 32  # rows that are worth a note only to be rid of them


@dataclass(frozen=True, slots=True)
class Counted:
    """A row. `until`: milliseconds since 1970; of a note, up to when letters are in it; of deliveries, when
    the last was."""

    key: str
    usage: Usage
    until: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What the rows say. `delivered` by writer."""

    noted: Counted | None = None
    delivered: tuple[tuple[int, Counted], ...] = ()
    keys: tuple[str, ...] = ()  # of all rows
    latest: int = 0  # their latest clock

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Tally":
        """From the rows of the partition. What cannot be read is left out: the next note removes it."""
        noted: Counted | None = None
        delivered: dict[int, Counted] = {}
        latest = 0
        for row in sorted(rows):  # of each kind and writer, the latest counts
            match = _KEY.fullmatch(row.key)
            counted = match and _counted(row)
            if match is None or counted is None:
                continue
            latest = int(match[1], 16)
            if counted[0] == NOTED:
                noted = counted[1]
            else:
                delivered[int(match[2], 16)] = counted[1]
        return cls(noted, tuple(delivered.items()), tuple(row.key for row in rows), latest)

    @property
    def until(self) -> int:
        """Letters put down up to this time are noted."""
        return 0 if self.noted is None else self.noted.until + SLACK

    def total(self, *, without: int | None = None, until: int | None = None) -> Usage:
        """What the account holds, as far as the rows know: but for what one writer has delivered, and for
        deliveries after a time."""
        counted = [] if self.noted is None else [self.noted.usage]
        counted += [
            each.usage
            for by, each in self.delivered
            if by != without and self.until < each.until and (until is None or each.until <= until)
        ]
        return Usage(sum(each.octets for each in counted), sum(each.messages for each in counted))

    def by(self, writer: int) -> Counted | None:
        """What a writer has delivered that is not noted yet."""
        return next((each for by, each in self.delivered if by == writer and each.until > self.until), None)

    def row(self, kind: int, writer: int, usage: Usage, until: int, now_ms: int) -> Row:
        """A new one, later than all there are."""
        clock = max(now_ms << COUNTER_BITS, self.latest + 1)
        return Row(f"{clock:016x}-{writer:016x}", pack([VERSION, kind, usage.octets, usage.messages, until]))


def _counted(row: Row) -> tuple[int, Counted] | None:
    try:
        match unpack(row.value):
            case [1, 0 | 1 as kind, int(octets), int(messages), int(until)] if (
                min(octets, messages, until) >= 0
            ):
                return kind, Counted(row.key, Usage(octets, messages), until)
    except Damaged:
        return None
    return None


def new_writer() -> int:
    """A name for who delivers."""
    return secrets.randbits(63) | 1


async def read(store: Store) -> Tally:
    """Raises Unavailable, NoSuchUser."""
    rows, _ = await store.read(PARTITION)
    return Tally.of(rows)


async def note(store: Store, used: Usage, until: int, quota: int | None) -> bool:
    """Notes what an account holds, if the store does not say so yet, more or less; whether it did.

    `until`: milliseconds since 1970, up to when letters that came are in `used`. Raises Unavailable.
    """
    tally = await read(store)
    told = tally.total(until=until + SLACK)
    if tally.noted is not None and len(tally.keys) < MANY and not _differ(told, used, quota):
        return False
    row = tally.row(NOTED, new_writer(), used, until, wall_ms())
    kept = {each.key for _, each in tally.delivered if each.until > until + SLACK}
    gone = [(PARTITION, key) for key in tally.keys if key not in kept]
    await store.append(PARTITION, [row], delete=gone)
    return True


def _differ(told: Usage, used: Usage, quota: int | None) -> bool:
    difference = abs(told.octets - used.octets)
    if quota is None:
        return difference >= max(STEP, used.octets // PART_OF_ALL)
    return difference > abs(quota - used.octets) // PART_OF_REST


async def deliver(store: Store, writer: int, usage: Usage, until: int) -> None:
    """A writer has delivered so much, all in all, that is not noted yet, the last at `until`. Raises
    Unavailable."""
    tally = await read(store)
    own = [(PARTITION, key) for key in tally.keys if key.endswith(f"-{writer:016x}")]
    await store.append(PARTITION, [tally.row(DELIVERED, writer, usage, until, wall_ms())], delete=own)


async def add(store: Store, octets: int) -> None:
    """A command has delivered a letter of so many octets. Raises Unavailable."""
    before = (await read(store)).by(COMMANDS)
    usage = Usage() if before is None else before.usage
    await deliver(store, COMMANDS, Usage(usage.octets + octets, usage.messages + 1), wall_ms())
