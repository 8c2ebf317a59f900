"""Reading the log as it is stored, entry by entry: for those who look at it. The journal has its own way."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing

from aerogramme.errors import Damaged
from aerogramme.log import checkpoint, manifest
from aerogramme.log.entry import KIND, PARTITION, Entry, MailboxOp, parse_key, spilled
from aerogramme.log.entry_bytes import decode
from aerogramme.log.history import MARGIN
from aerogramme.log.records import Records
from aerogramme.log.suffix import base_of, suffix_of
from aerogramme.store.port import Row

PAGE = 500  # rows in memory at a time

Read = tuple[str, Entry | Damaged]
"""Row key and entry; Damaged in place of one that cannot be read."""


async def entries(records: Records, *, after: str = "") -> AsyncGenerator[Read]:
    """All entries that are kept, with a row key above `after`, by their clocks. One that is there twice,
    because it is just being sealed again, is given once.

    It takes the memory of some entries, however long the log is. Raises Unavailable.
    """
    given = ""
    while page := await records.store.page(PARTITION, after, PAGE):
        after = page[-1].key
        async with aclosing(opened(records, page)) as read:
            async for key, entry in read:
                if base_of(key) == given:
                    continue
                if not isinstance(entry, Damaged):
                    given = base_of(key)
                yield key, entry


async def opened(records: Records, rows: Iterable[Row]) -> AsyncGenerator[Read]:
    """The same of rows of the log that were read already, in the order of their keys."""
    given = ""
    for key, value in rows:
        if base_of(key) == given:
            continue
        try:
            # A large entry is an object; there are few of them, and the reader may stop at any one.
            if value:
                plain = await records.open(KIND, key, value)
            else:
                [read] = await records.read(KIND, [spilled(key)])
                if isinstance(read, Damaged):
                    raise read
                plain = read
            yield key, decode(key, plain)
            given = base_of(key)
        except Damaged as damage:
            yield key, damage


async def following(records: Records, *, after: str = "") -> AsyncGenerator[Read]:
    """The same as `entries`, and then what comes, as it comes, for ever; what comes late is not in the order
    of clocks. Raises Unavailable."""
    recent, store = _Recent(after), records.store
    async with aclosing(entries(records, after=after)) as read:
        async for key, entry in read:
            if recent.is_new(key):
                yield key, entry
    rows, cursor = await store.read(PARTITION, None, recent.horizon)
    while True:
        async with aclosing(opened(records, rows)) as read:
            async for key, entry in read:
                if recent.is_new(key):
                    yield key, entry
        await store.watch(PARTITION, cursor)
        rows, cursor = await store.read(PARTITION, cursor)


class _Recent:
    """Which entries were given, as far back as they may come again: `horizon` is a row key before those."""

    def __init__(self, horizon: str) -> None:
        self.horizon = horizon
        self._given: set[str] = set()
        self._most = 2 * PAGE

    def is_new(self, key: str) -> bool:
        """Whether the entry of this row was not given yet. From now on it was."""
        base = base_of(key)
        # What is before the horizon and comes now was there, and is sealed again.
        if base in self._given or (base <= self.horizon and suffix_of(key) is not None):
            return False
        self._given.add(base)
        try:
            clock, _, _ = parse_key(key)
        except Damaged:
            return True  # nobody knows when it was
        self.horizon = max(self.horizon, f"{max(0, clock - MARGIN):016x}")
        if len(self._given) > self._most:
            self._given = {each for each in self._given if each > self.horizon}
            self._most = 2 * max(PAGE, len(self._given))
        return True


class Names:
    """The names of mailboxes at a moment of the log, deleted ones too: `see` all operations up to it."""

    def __init__(self, later: Mapping[int, str]) -> None:
        """`later`: names of a later moment, for mailboxes of which nothing before it tells."""
        self._names: dict[int, tuple[int, str]] = {}
        self._later = later

    def see(self, op: MailboxOp, clock: int) -> None:
        """From here on the mailbox may have another name."""
        if op.name is not None:
            self._names[op.mailbox] = max(self._names.get(op.mailbox, (0, "")), (clock, op.name))

    def of(self, mailbox: int) -> str | None:
        """The name; None if nothing tells it."""
        return self.before(mailbox) or self._later.get(mailbox)

    def before(self, mailbox: int) -> str | None:
        """The name that the mailbox had already; None if nothing up to this moment tells it."""
        found = self._names.get(mailbox)
        return None if found is None else found[1]


async def names_at(records: Records, clock: int, now: Mapping[int, str]) -> tuple[Names, str]:
    """The names of mailboxes at a clock or before, and the row key after which entries are to be read, and
    `Names.see` their operations, for those of any moment from that clock on. `now`: those there are now.

    Raises Unavailable.
    """
    oldest: dict[int, str] = {}
    for name in await records.store.list(checkpoint.PREFIX):  # the newest first
        try:
            read = await manifest.read_alone(records, name)
        except Damaged:
            continue  # an older one tells less, and the entries after it tell the rest
        named = [
            (table.mailbox, since, value)
            for table in read.tables
            for attribute, since, value in table.attributes
            if attribute == "name"
        ]
        if read.clock <= clock:
            names = Names(now)
            for mailbox, since, value in named:
                names.see(MailboxOp(mailbox, name=value), since)
            return names, f"{max(0, read.clock - MARGIN):016x}"
        oldest = {mailbox: value for mailbox, _, value in named}
    return Names({**now, **oldest}), ""
