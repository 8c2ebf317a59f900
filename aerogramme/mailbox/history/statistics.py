"""What an account takes up in its store, and for what: counted by what things are and who needs them.

It reads names and sizes, the rows, and the checkpoints that are kept; no mail. Who needs a thing is what
compaction thinks of it (survey.py).
"""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from aerogramme.errors import Damaged
from aerogramme.log import checkpoint
from aerogramme.log.clock import ms_of, wall_ms
from aerogramme.log.entry import PARTITION as LOG
from aerogramme.log.entry import Add, Entry, parse_key, spilled
from aerogramme.log.reading import opened
from aerogramme.log.resealing import Tally
from aerogramme.log.suffix import base_of
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit import setting_aside
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.history.survey import PREFIXES, Standing, Survey, survey
from aerogramme.mailbox.incoming.incoming import PARTITION as INCOMING
from aerogramme.mailbox.incoming.incoming import contents_of
from aerogramme.mailbox.partitions import PARTITIONS
from aerogramme.mailbox.usage import usage
from aerogramme.store.copying import COPIED
from aerogramme.store.port import Store

NEEDS: tuple[Standing, ...] = ("live", "history", "going", "lost", "orphan")
"""Who needs a thing: the account as it is now; only the account as it was, within the retention; nobody, and
compaction deletes it soon; nobody knows, and it stays: perhaps mail whose entry is lost, what repair has set
aside, what this version has no name for; nobody, and compaction has not let it go yet."""

ENTRIES, SEGMENTS, OTHER = "entries", "segments", "other"
OBJECTS = {
    "entry/": ENTRIES,
    "checkpoint/": "checkpoints",
    "piece/": "pieces",
    "bundle/": "bundles",
    "segment/": SEGMENTS,
    "pack/": "packs",
    "body/": "bodies",
    setting_aside.OBJECTS: setting_aside.PARTITION,
}
"""What the name of an object begins with, up to the first slash, and what it is. A large entry is a row
and an object, which count as one; so do the objects of a segment."""
ROWS = {LOG: ENTRIES, INCOMING: "letters"}  # partitions whose rows are called otherwise than these

PAGE = 500  # rows in memory at a time


@dataclass(slots=True)
class Day:
    """What came on one day, as far as its entries are kept.

    entries   of the log
    messages  that came into the account: no copies, and none that was moved
    mail      octets of these, as letters
    log       octets of the entries, as stored
    """

    entries: int = 0
    messages: int = 0
    mail: int = 0
    log: int = 0


@dataclass(slots=True)
class Statistics:
    """Of one account, at one moment. Times are unix seconds, None where there is no such thing.

    mailboxes, messages, mail   what it is all for: how many, and their octets as letters, copies included
    retention  seconds for which history is kept
    stored     what -> who needs it (NEEDS) -> how many, and their octets as stored
    damaged    things that cannot be read: what these need is not known
    days       the days (UTC) of which there are entries, the oldest first
    """

    mailboxes: int
    messages: int
    mail: int
    retention: int
    stored: dict[str, dict[Standing, Tally]] = field(default_factory=dict)
    oldest_entry: float | None = None
    newest_entry: float | None = None
    oldest_checkpoint: float | None = None
    newest_checkpoint: float | None = None
    damaged: int = 0
    days: dict[date, Day] = field(default_factory=dict)

    def total(self, need: Standing | None = None) -> Tally:
        """All that is stored, or all of it for one need."""
        needs = NEEDS if need is None else (need,)
        tallies = [by_need[each] for by_need in self.stored.values() for each in needs]
        return Tally(sum(tally.count for tally in tallies), sum(tally.octets for tally in tallies))


Told = Callable[[str, int], None]
"""Is called with what is being looked at, and how many of it were."""


async def statistics(account: Account, told: Told = lambda _what, _count: None) -> Statistics:
    """Looks at an account as it is stored, and changes nothing. Raises Unavailable."""
    await account.refresh()
    told("who needs what", 0)
    found = await survey(account, wall_ms())
    look = _Look(account, found, told)
    await look.at_log()
    for partition in [*(each.name for each in PARTITIONS), COPIED]:
        if partition != LOG:
            await look.at_rows(partition)
    for name, octets in sorted(found.stored.items()):
        look.at_object(name, octets)
    for name, octets in await _others(account.store):
        look.at_object(name, octets)
    return look.found


async def _others(store: Store) -> list[tuple[str, int]]:
    """The objects that are nothing that this version knows, with their sizes."""
    found: list[tuple[str, int]] = []
    after = ""
    while page := await store.sizes("", after, PAGE):
        after = page[-1][0]
        for name, octets in page:
            known = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
            if known is not None:
                after = known + "~"  # above all names that such an object has
                break
            found.append((name, octets))
    return found


class _Look:
    """Counts what it is shown of an account."""

    def __init__(self, account: Account, survey: Survey, told: Told) -> None:
        used = usage(account.state)
        self.found = Statistics(
            len(account.state.names), used.messages, used.octets, account.policy.retention
        )
        self._account, self._survey, self._told = account, survey, told
        self._old = set(survey.old)
        self._last: dict[tuple[str, Standing], str] = {}
        self._waiting: set[str] = set()  # bodies of letters that wait: part of the account, in no state yet
        self._large: dict[str, Standing] = {}  # key of an entry that is an object -> who needs it
        for what in [*OBJECTS.values(), *(row_kind(each.name) for each in PARTITIONS)]:
            self._tallies(what)
        self.found.damaged = len(survey.damaged)
        times = [ms_of(checkpoint.clock_of(name) or 0) / 1000 for name in survey.kept]
        if times:
            self.found.oldest_checkpoint, self.found.newest_checkpoint = min(times), max(times)

    async def at_log(self) -> None:
        """Counts the entries, and what came with them."""
        after, given, count = "", "", 0
        while page := await self._account.store.page(LOG, after, PAGE):
            for key, value in page:
                self._entry(key, value)
            async with aclosing(opened(self._account.journal.records, page)) as read:
                async for key, entry in read:
                    if base_of(key) != given:  # else it is there twice
                        given = base_of(key)
                        self._came(given, entry)
            after = page[-1].key
            count += len(page)
            self._told(ENTRIES, count)

    def _entry(self, key: str, value: bytes) -> None:
        base = base_of(key)
        try:
            clock, _, _ = parse_key(key)
        except Damaged:  # it is no entry, whatever it is
            self._add(OTHER, "lost", key, len(value))
            return
        need: Standing = "history"
        if key in self._old:
            need = "going"
        elif spilled(base) in self._survey.live:
            need = "live"
        self._add(ENTRIES, need, base, len(value))
        at = ms_of(clock) / 1000
        found = self.found
        found.oldest_entry = at if found.oldest_entry is None else min(at, found.oldest_entry)
        found.newest_entry = at if found.newest_entry is None else max(at, found.newest_entry)
        self._day(base).log += len(value)
        if not value:
            self._large[base] = need

    def _came(self, key: str, entry: Entry | Damaged) -> None:
        """An entry, once."""
        if isinstance(entry, Damaged):
            return
        day = self._day(key)
        day.entries += 1
        for op in entry.ops:
            if isinstance(op, Add) and op.contents == op.ids:  # else contents that were there
                day.messages += len(op.ids)
                day.mail += sum(op.sizes)

    async def at_rows(self, partition: str) -> None:
        """Counts the rows of another partition: all are there for something."""
        need: Standing = "lost" if partition == setting_aside.PARTITION else "live"
        after = ""
        while page := await self._account.store.page(partition, after, PAGE):
            for key, value in page:
                self._add(row_kind(partition), need, base_of(key), len(value))
                if partition == INCOMING:
                    self._waiting.update(map(body_name, contents_of(key)))
            after = page[-1].key

    def at_object(self, name: str, octets: int) -> None:
        """Counts an object. They are to be shown sorted, after all rows."""
        base = base_of(name)
        begin, slash, rest = base.partition("/")
        what = OBJECTS.get(begin + slash, OTHER)
        if what == ENTRIES and rest in self._large:
            self._tallies(what)[self._large[rest]].octets += octets
            self._day(rest).log += octets
            return
        need = "live" if name in self._waiting else self._survey.standing(name)
        if not name.startswith(PREFIXES):
            need = "lost"
        self._add(what, need, base.rpartition("/")[0] if what == SEGMENTS else base, octets)

    def _add(self, what: str, need: Standing, thing: str, octets: int) -> None:
        """`thing` is the same for all that follows each other and counts as one."""
        tally = self._tallies(what)[need]
        tally.octets += octets
        if self._last.get((what, need)) != thing:
            self._last[what, need] = thing
            tally.count += 1

    def _tallies(self, what: str) -> dict[Standing, Tally]:
        if what not in self.found.stored:
            self.found.stored[what] = {need: Tally() for need in NEEDS}
        return self.found.stored[what]

    def _day(self, key: str) -> Day:
        """The day of an entry."""
        clock, _, _ = parse_key(key)
        return self.found.days.setdefault(datetime.fromtimestamp(ms_of(clock) / 1000, UTC).date(), Day())


def row_kind(partition: str) -> str:
    """What the rows of a partition are called here."""
    return ROWS.get(partition, partition)
