"""A pass: what the source has and the target has not is moved, mailbox by mailbox.

A pass keeps nothing that it needs: cut off at any moment, and made again, it finds what has landed by then
(comparing.py has the rule). Letters are read, sealed and rendered while those before them land, many with one
entry; memory holds three batches and a few columns a mailbox.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from aerogramme.errors import NoSuchMailbox, Refused, Unreadable
from aerogramme.migrate.arrivals import Arrivals
from aerogramme.migrate.asking import broken_off, named, row_of, said_by
from aerogramme.migrate.comparing import NO_MAILBOX, Pool, compare, kept_date, same_flags
from aerogramme.migrate.passed import UNKNOWN, Memory, Passed
from aerogramme.migrate.report import Moved, Report
from aerogramme.migrate.sealing import Sealing
from aerogramme.migrate.sources.source import Fault, Folder, Source
from aerogramme.migrate.targets.arriving import Arrived
from aerogramme.migrate.targets.target import NOTHING, New, Stored, Target
from aerogramme.together import together

BATCH = 1000  # messages that land with one entry
BATCH_OCTETS = 3 * 1024 * 1024  # and the memory that they take until then; one lands while another comes
SAVE_SECONDS = 10.0  # between two of what is remembered, which is written as a whole
CHANGES = 10_000  # messages whose flags change, or that go, with one entry

Told = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How a pass is made.

    delete   what the source has no more, and was taken over, is removed
    dry_run  nothing is changed: the report says what would be, as far as that can be said without reading
             letters
    only     names of mailboxes; with none, all
    origin   which source it is: mailboxes that have come from another one are not its to remove
    """

    delete: bool = False
    dry_run: bool = False
    only: tuple[str, ...] = ()
    origin: str = ""


@dataclass(slots=True)
class _Batch:
    """Letters that land together, and the rows of the source that they are."""

    rows: list[int] = field(default_factory=list)
    letters: list[Arrived] = field(default_factory=list)
    stored: Stored = NOTHING  # in their place, in the end
    held: int = 0

    @property
    def full(self) -> bool:
        return len(self.rows) >= BATCH or self.held >= BATCH_OCTETS


async def run_pass(
    source: Source,
    target: Target,
    memory: Memory,
    options: Options,
    report: Report,
    told: Told,
    sealing: Sealing,
) -> None:
    """Moves what differs. What became of it is in `report`, of which `told` is called after each step.

    What cannot be read or taken over is a fault there, and all else goes on. Raises Unavailable when the
    source or the target is away, Unreadable when nothing can be told of the source.
    """
    saved = trio.current_time()
    try:
        folders = await source.folders()
        report.folders = len(folders)
        told()
        here, mailboxes = set(), set()
        whole = _Pass(source, target, memory, options, report, told, sealing)
        for folder, name in named(folders, report):
            here.add(name)
            if options.only and name not in options.only:
                continue
            try:
                mailboxes.add(await _Mailbox(whole, folder, name).move())
            except (Unreadable, Refused, NoSuchMailbox) as error:
                report.fault(broken_off(folder, error))
            if not options.dry_run and trio.current_time() > saved + SAVE_SECONDS:
                memory.save()
                saved = trio.current_time()
        if options.delete and not options.only and not any(fault.lost for fault in source.faults):
            await _remove_mailboxes(target, here, mailboxes, memory, options, report)
    finally:
        for fault in source.faults:
            report.fault(fault)
        if not options.dry_run:
            memory.save()


async def _remove_mailboxes(
    target: Target, names: set[str], kept: set[int], memory: Memory, options: Options, report: Report
) -> None:
    """Mailboxes that were taken over from this source and are not in it any more, neither by name nor, where
    they were renamed here, by id: what came from there goes, and then the mailbox, if nothing else is in
    it."""
    for name in await target.imported():
        if name in names:
            continue
        there = await target.there(name, NO_MAILBOX)
        if there.mailbox in kept or not memory.is_from(there.mailbox, options.origin):
            continue
        uids = [uid for uid in there.uids if uid < there.imported]
        report.mailboxes.append(Moved(name, "", removed=len(uids)))
        if not options.dry_run:
            await _remove(target, there.mailbox, uids)
            await target.remove_mailbox(name)


async def _remove(target: Target, mailbox: int, uids: Sequence[int]) -> None:
    for start in range(0, len(uids), CHANGES):
        await target.remove(mailbox, uids[start : start + CHANGES])


@dataclass(frozen=True, slots=True)
class _Pass:
    """What all mailboxes of a pass have to do with."""

    source: Source
    target: Target
    memory: Memory
    options: Options
    report: Report
    told: Told
    sealing: Sealing


class _Mailbox:
    """One mailbox of a pass."""

    def __init__(self, whole: _Pass, folder: Folder, name: str) -> None:
        self._pass, self._folder, self._name = whole, folder, name
        self._moved = Moved(name, folder.origin)
        self._landed = 0  # of the plan's own rows, from the first on, without a gap

    async def move(self) -> int:
        """Compares, and moves what differs. The mailbox here."""
        faults = len(self._pass.source.faults)
        self._pass.report.mailboxes.append(self._moved)
        said = await said_by(self._pass.source, self._folder, self._pass.report)
        if said is None:
            return NO_MAILBOX
        self._said = said
        passed = self._pass.memory.passed(self._name, self._folder.uidvalidity)
        known = NO_MAILBOX if passed is None else passed.mailbox
        self._there = there = await self._pass.target.there(self._name, known)
        # Of a source that is damaged it is not known what has gone.
        delete = self._pass.options.delete and not any(
            fault.lost for fault in self._pass.source.faults[faults:]
        )
        self._plan = plan = compare(
            self._folder, said, there, passed, self._pass.memory.hash_of, delete=delete
        )
        moved = self._moved
        moved.keeps, moved.messages, moved.gone = plan.keeps, len(said.uids), plan.removed
        moved.disputed = plan.disputed
        moved.done = moved.messages - len(plan.own) - len(plan.doubtful)
        self._pass.told()
        if self._pass.options.dry_run:
            self._would()
            return there.mailbox
        # One in which nothing is gives its place to a new one, with the UIDVALIDITY of the source.
        self._mailbox = NO_MAILBOX if plan.keeps and not there.imported else there.mailbox
        try:
            await self._land_letters()
            await self._land_changes()
        finally:
            self._note()
        return self._mailbox

    # --- letters

    async def _land_letters(self) -> None:
        """First those that have their own UIDs: what comes after them gets new ones, which are above."""
        pool = Pool(self._there, self._plan.pool)
        for rows in self._plan.own, self._plan.doubtful:
            if rows:
                await self._stream(rows, pool)

    async def _stream(self, rows: "array[int]", pool: Pool) -> None:
        """Reads letters, and lands a batch while the next one is stored, and the one after that comes."""
        send, receive = trio.open_memory_channel[_Batch](0)
        hand_on, stored = trio.open_memory_channel[_Batch](0)
        own = rows is self._plan.own
        wanted = array("I", (self._said.uids[row] for row in rows))
        batch = _Batch()

        async def take(uids: Sequence[int], letters: Sequence[Arrived]) -> None:
            nonlocal batch
            for uid, arrived in zip(uids, letters, strict=True):
                row = row_of(self._said, uid)
                if pool and await self._is_here(pool, row, arrived):
                    self._moved.done += 1
                    self._pass.told()
                    continue
                batch.rows.append(row)
                batch.letters.append(arrived)
                batch.held += arrived.held
                if batch.full:
                    full, batch = batch, _Batch()
                    await send.send(full)

        async def gather() -> None:
            async with send:
                with suppress(trio.BrokenResourceError):  # landing has failed, and says why
                    await fill()

        async def fill() -> None:
            arrivals = Arrivals(
                self._pass.source, self._folder, self._pass.target, self._pass.sealing, self._lose
            )
            await arrivals.run(wanted, take)
            if batch.rows:
                await send.send(batch)

        async def store() -> None:
            async with receive, hand_on:
                async for each in receive:
                    each.stored = await self._pass.target.store(each.letters)
                    each.letters.clear()
                    try:
                        await hand_on.send(each)
                    except trio.BrokenResourceError:
                        return  # landing has failed, and says why

        async def land() -> None:
            async with stored:
                async for each in stored:
                    await self._land(each, own=own)

        await together(land, store, gather)

    def _lose(self, fault: Fault) -> None:
        self._pass.report.fault(fault)
        if fault.lost:
            self._moved.lost += 1
        self._moved.done += 1
        self._pass.told()

    async def _is_here(self, pool: Pool, row: int, arrived: Arrived) -> bool:
        """Whether a letter is one of those that are here and of which nothing was known; if so, it is
        noted."""
        date = self._said.dates[row]
        candidates = pool.candidates(date, arrived.size)
        if not candidates:
            return False
        ids = await self._pass.target.message_ids(self._there, candidates)
        for at, message_id in zip(tuple(candidates), ids, strict=True):
            if message_id == arrived.message_id:
                uid = self._plan.here[row] = pool.take(date, arrived.size, at)
                # Where the source has no UIDs of its own, the same mail comes again with each pass,
                # whatever was done here meanwhile.
                keeps = not self._folder.uidvalidity or self._said.flags_lost
                if not keeps and not same_flags(self._said.flags[row], self._there.flags_of(at)):
                    self._plan.flags[uid] = self._said.flags[row]
                return True
        return False

    async def _land(self, batch: _Batch, *, own: bool) -> None:
        said, moved = self._said, self._moved
        messages = [New(said.uids[row], said.dates[row], said.flags[row]) for row in batch.rows]
        upto = 0
        if own and self._plan.pure:
            for row in batch.rows:
                self._landed += self._landed < len(self._plan.own) and self._plan.own[self._landed] == row
            upto = self._whole_upto(said.uids[batch.rows[-1]] + 1)
        uids = await self._say(messages, batch.stored, keep=own, imported=upto)
        for row, uid in zip(batch.rows, uids, strict=True):
            uid = uid or said.uids[row]  # it was here already: somebody else moves mail into the account
            self._plan.here[row] = uid
            moved.renumbered += self._plan.keeps and uid != said.uids[row]
        moved.landed += len(messages)
        moved.done += len(messages)
        moved.octets += sum(arrived.size for arrived in batch.stored.letters)
        self._pass.told()

    # --- all else

    async def _land_changes(self) -> None:
        """What the mailbox is, and what has changed of messages that are here."""
        there, plan, moved = self._there, self._plan, self._moved
        upto = 0
        if plan.pure and not moved.renumbered and not plan.doubtful:
            last = self._said.uids[-1] + 1 if self._said.uids else 0
            upto = self._whole_upto(max(self._folder.uidnext, last))
        if (
            self._mailbox == NO_MAILBOX
            or upto > max(there.imported, 1)
            or (plan.keeps and not there.imported)
        ):
            await self._say((), NOTHING, keep=plan.keeps, imported=upto)
        if plan.flags:  # cut off from here on, it would not be known whose flags are the later ones
            self._note()
            self._pass.memory.save()
        uids = sorted(plan.flags)
        for start in range(0, len(uids), CHANGES):
            some = {uid: plan.flags[uid] for uid in uids[start : start + CHANGES]}
            await self._pass.target.set_flags(self._mailbox, some)
            moved.flags += len(some)
            for uid in some:
                del plan.flags[uid]
            self._pass.told()
        await _remove(self._pass.target, self._mailbox, plan.remove)
        moved.removed = len(plan.remove)
        self._pass.told()

    def _whole_upto(self, upto: int) -> int:
        """The UID below which all that the source has is here, or was. One that could not be read is not
        below it: what is remembered of it is not saved yet, and after a kill it would count as removed
        here."""
        own = self._plan.own
        if self._landed < len(own):
            upto = min(upto, self._said.uids[own[self._landed]])
        return max(upto, self._there.imported)

    async def _say(
        self, messages: Sequence[New], stored: Stored, *, keep: bool, imported: int
    ) -> Sequence[int]:
        """One entry. The UIDs of the messages."""
        landed = await self._pass.target.land(
            self._name, self._mailbox, self._folder, messages, stored, keep=keep, imported=imported
        )
        self._mailbox = landed.mailbox
        return landed.uids

    def _note(self) -> None:
        """What is known now, for the next pass. A message that did not land is tried again by it."""
        said = self._said
        if self._mailbox != NO_MAILBOX:
            self._pass.memory.note_origin(self._mailbox, self._pass.options.origin)
        if self._folder.uidvalidity and self._mailbox != NO_MAILBOX:
            hashes = array("Q", map(self._pass.memory.hash_of, said.flags))
            before = self._pass.memory.passed(self._name, self._folder.uidvalidity)
            if said.flags_lost and before is not None:  # what it said when it knew them is what counts
                for row, uid in enumerate(said.uids):
                    if (at := before.row_of(uid)) is not None:
                        hashes[row] = before.flags[at]
            for row, here in enumerate(self._plan.here if self._plan.flags else ()):
                if here in self._plan.flags:
                    hashes[row] = UNKNOWN
            passed = Passed(self._folder.uidvalidity, self._mailbox, said.uids, self._plan.here, hashes)
            self._pass.memory.note(self._name, passed)

    def _would(self) -> None:
        """What a pass would do, by what is known without reading letters: one of which date and size, as
        far as the source says it, are those of a message here counts as that message."""
        plan, moved = self._plan, self._moved
        pool = Pool(self._there, plan.pool)
        dates = Counter(self._there.dates[row] for row in plan.pool)
        moved.landed = len(plan.own)
        for row in plan.doubtful:
            date, size = self._said.dates[row], self._said.sizes[row]
            if candidates := pool.candidates(date, size):
                pool.take(date, size, candidates[0])
            elif not size and dates[kept_date(date)]:
                dates[kept_date(date)] -= 1
            else:
                moved.landed += 1
                moved.renumbered += plan.keeps
        moved.flags, moved.removed, moved.done = len(plan.flags), len(plan.remove), moved.messages
