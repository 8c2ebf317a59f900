"""A pass into an account that nobody can open yet: its mail goes into parcels, sealed to its public key.

Theory of operation. A mailbox is cut into ranges of the source's UIDs, a parcel each, and the parcels are
opened in the order of their times; so the UIDs in them ascend. What has changed in a range since the last
pass (its fingerprint tells) is sent again as a whole, with the time of the old parcel, which is withdrawn
then. A parcel that waits no more has been opened: the user was here, and what has changed below its end can
only be told to the opened account. From a source without UIDs, letters that were not sent go into further
parcels.

A parcel is remembered before it is sent, and once more after: one that a pass has sent and not noted is
withdrawn by the next. Where the file of what was sent is lost, all is sent again; of messages with UIDs those
that are there already are left out when it is opened.
"""

import time
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from aerogramme.errors import TooLarge, Unreadable
from aerogramme.log.columns import filled
from aerogramme.mailbox.incoming.incoming import MAX_PARCEL, first_of
from aerogramme.mailbox.incoming.landing import MAX_UIDVALIDITY, Landing
from aerogramme.migrate.asking import broken_off, lost, named, read, row_of, said_by
from aerogramme.migrate.passed import Memory, Parcel, Passed, Sent
from aerogramme.migrate.passing import BATCH_OCTETS, Options, Told
from aerogramme.migrate.report import Moved, Report
from aerogramme.migrate.sources.source import Fault, Folder, Source
from aerogramme.migrate.targets.arriving import Arrived
from aerogramme.migrate.targets.sealed import Sealed


async def run_sealed_pass(
    source: Source, target: Sealed, memory: Memory, options: Options, report: Report, told: Told
) -> None:
    """As passing.run_pass does."""
    try:
        folders = await source.folders()
        report.folders = len(folders)
        told()
        waiting = await target.waiting()
        if not options.dry_run:
            unknown = [key for key in waiting if first_of(key) in memory.pending]
            await target.withdraw(unknown)
            waiting.difference_update(unknown)
            memory.pending.clear()
        whole = _Pass(source, target, memory, options, report, told, waiting)
        for folder, name in named(folders, report):
            if options.only and name not in options.only:
                continue
            try:
                await _Mailbox(whole, folder, name).move()
            except Unreadable as error:
                report.fault(broken_off(folder, error))
    finally:
        for fault in source.faults:
            report.fault(fault)
        if not options.dry_run:
            memory.save()


@dataclass(slots=True)
class _Filling:
    """A parcel that is being filled. `taken`: the rows that its letters are of; `last`: none comes after
    it."""

    ids: range
    taken: list[int] = field(default_factory=list)
    letters: list[Arrived] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    tried: int = 0  # with those that cannot be read: they may come when it is sent again
    held: int = 0
    last: bool = False

    @property
    def full(self) -> bool:
        return self.tried >= len(self.ids) or self.held >= BATCH_OCTETS * len(self.ids) // MAX_PARCEL

    @property
    def next_id(self) -> int:
        return self.ids[len(self.letters)]


@dataclass(frozen=True, slots=True)
class _Pass:
    """What all mailboxes of a pass have to do with. `waiting`: the row keys of parcels that wait."""

    source: Source
    target: Sealed
    memory: Memory
    options: Options
    report: Report
    told: Told
    waiting: set[str]


class _Mailbox:
    """One mailbox of a pass."""

    def __init__(self, whole: _Pass, folder: Folder, name: str) -> None:
        self._pass, self._folder, self._name = whole, folder, name
        self._moved = Moved(name, folder.origin, keeps=self._keeps)

    @property
    def _keeps(self) -> bool:
        return 0 < self._folder.uidvalidity <= MAX_UIDVALIDITY

    async def move(self) -> None:
        """Compares, and sends what differs."""
        faults = len(self._pass.source.faults)
        self._pass.report.mailboxes.append(self._moved)
        said = await said_by(self._pass.source, self._folder, self._pass.report)
        if said is None:
            return
        self._said, self._moved.messages = said, len(said.uids)
        self._delete = self._pass.options.delete and not any(
            fault.lost for fault in self._pass.source.faults[faults:]
        )
        known = self._pass.memory.sent(self._name, self._folder.uidvalidity)
        self._sent = known or Sent(self._pass.target.new_ids(1)[0])
        if self._folder.uidvalidity:
            await self._by_uid(new=known is None)
        else:
            await self._by_letter(new=known is None)

    # --- from a source with UIDs

    async def _by_uid(self, *, new: bool) -> None:
        said, sent = self._said, self._sent
        first = 0
        for at, parcel in enumerate(sent.parcels):
            stop = bisect_right(said.uids, parcel.last)
            rows = range(first, stop)
            first = stop
            if self._is_as_sent(parcel, rows):
                self._moved.done += len(rows)
            elif parcel.key not in self._pass.waiting:
                self._say("its parcel has been opened: what has changed since can be moved with the password")
                self._moved.done += len(rows)
            elif len(rows) < parcel.contents and not self._delete:
                self._say("messages are gone that wait here: with --delete their parcel is replaced")
                self._moved.done += len(rows)
            else:
                await self._replace(at, parcel, rows)
            self._pass.told()
        if self._pass.options.dry_run:
            self._moved.landed = len(said.uids) - first
            self._moved.done = len(said.uids)
            return
        sent.parcels[:] = [parcel for parcel in sent.parcels if parcel.contents]
        await self._send_new(array("I", range(first, len(said.uids))), anyhow=new)

    def _is_as_sent(self, parcel: Parcel, rows: range) -> bool:
        if len(rows) != parcel.contents:
            return False
        return self._said.flags_lost or self._fingerprint(rows) == parcel.fingerprint

    def _fingerprint(self, rows: Sequence[int]) -> int:
        said = self._said
        return self._pass.memory.fingerprint(
            [said.uids[row] for row in rows],
            [said.flags[row] for row in rows],
            [said.dates[row] for row in rows],
        )

    def _say(self, what: str) -> None:
        self._pass.report.fault(Fault(self._folder.origin, what, "they stay as they were sent"))

    async def _replace(self, at: int, parcel: Parcel, rows: range) -> None:
        """A range is sent as it is now, in the place of what was sent of it."""
        moved = self._moved
        if self._pass.options.dry_run:
            moved.again += len(rows)
            moved.done += len(rows)
        elif rows:
            # Besides those that were sent, letters may be among them which could not be read then.
            async with aclosing(self._fill(array("I", rows), 2 * MAX_PARCEL)) as fillings:
                filling = await anext(fillings)
            if not filling.last:
                self._say("more letters can be read now than fit into the place of their parcel")
                moved.done += len(rows) - filling.tried
                return
            if len(filling.letters) < min(parcel.contents, len(rows)):
                return  # what was sent cannot be read any more: it is better than what can
            new = await self._send(filling, rows, last=parcel.last, millis=parcel.millis)
            await self._put_in_place(at, parcel, new)
        else:
            await self._put_in_place(at, parcel, parcel._replace(contents=0))
        moved.removed += max(parcel.contents - len(rows), 0)

    async def _put_in_place(self, at: int, old: Parcel, new: Parcel) -> None:
        self._sent.parcels[at] = new
        self._pass.memory.pending.add(old.first)  # until it is gone
        self._pass.memory.save()
        await self._pass.target.withdraw([old.key])
        self._pass.memory.pending.discard(old.first)
        self._moved.again += new.contents

    async def _send_new(self, rows: "array[int]", *, anyhow: bool) -> None:
        """Sends rows that were never sent; with `anyhow` the mailbox at least."""
        sent, said = self._sent, self._said
        after = rows[0] if rows else 0
        async with aclosing(self._fill(rows)) as fillings:
            async for filling in fillings:
                if not filling.letters and not (anyhow and filling.last):
                    continue
                stop = len(said.uids) if filling.last else filling.taken[-1] + 1
                last = said.uids[stop - 1] if stop else 0
                parcel = await self._send(filling, range(after, stop), last=last)
                if parcel.contents:
                    sent.parcels.append(parcel)
                self._moved.landed += parcel.contents
                self._moved.octets += sum(arrived.size for arrived in filling.letters)
                after, anyhow = stop, False

    # --- from a source without UIDs

    async def _by_letter(self, *, new: bool) -> None:
        if self._pass.options.dry_run:
            self._moved.landed = max(len(self._said.uids) - len(self._sent.marks), 0)
            self._moved.done = len(self._said.uids)
            return
        known = Counter(self._sent.marks)
        rows = array("I", range(len(self._said.uids)))
        async with aclosing(self._fill(rows, known=known)) as fillings:
            async for filling in fillings:
                if filling.letters or (new and filling.last):
                    await self._send(filling, range(0), last=0)
                    self._sent.marks.extend(filling.marks)
                    self._moved.landed += len(filling.letters)
                    self._moved.octets += sum(arrived.size for arrived in filling.letters)
                    new = False

    # --- both

    async def _fill(
        self, rows: "array[int]", most: int = 0, known: "Counter[int] | None" = None
    ) -> AsyncGenerator[_Filling, None]:
        """Parcels of the letters of rows, as many as it takes, and one at least. `most`: letters in each, if
        that is not MAX_PARCEL; `known`: the marks of letters that were sent, which are left out."""
        said, moved = self._said, self._moved
        uids = array("I", (said.uids[row] for row in rows))
        most = most or MAX_PARCEL
        filling = _Filling(self._pass.target.new_ids(most))
        async with aclosing(self._pass.source.letters(self._folder, uids)) as letters:
            async for letter in letters:
                moved.done += 1
                self._pass.told()
                if filling.full:
                    yield filling
                    filling = _Filling(self._pass.target.new_ids(most))
                filling.tried += 1
                if isinstance(letter, Fault):
                    self._lose(letter)
                    continue
                try:
                    arrived = await read(letter, self._pass.target.arriving(filling.next_id))
                except (Unreadable, TooLarge) as error:
                    self._lose(lost(self._folder, letter.uid, error))
                    continue
                row = row_of(said, letter.uid)
                if known is not None:
                    mark = self._pass.memory.mark(said.dates[row], arrived.size, arrived.message_id)
                    if known[mark]:
                        known[mark] -= 1
                        filling.tried -= 1
                        continue
                    filling.marks.append(mark)
                filling.taken.append(row)
                filling.letters.append(arrived)
                filling.held += arrived.held
        filling.last = True
        yield filling

    def _lose(self, fault: Fault) -> None:
        self._pass.report.fault(fault)
        self._moved.lost += fault.lost

    async def _send(self, filling: _Filling, rows: range, *, last: int, millis: int = 0) -> Parcel:
        """Sends a parcel, of a range of rows up to a UID. `millis`: its time, 0 for now."""
        said, folder, memory = self._said, self._folder, self._pass.memory
        if not millis:
            millis = memory.millis = max(int(time.time() * 1000), memory.millis + 1)
        upto = last + 1
        if filling.last and (not rows or rows.stop == len(said.uids)):
            upto = max(upto, folder.uidnext)
        landing = Landing.of(
            self._name,
            [arrived.content for arrived in filling.letters],
            [said.uids[row] for row in filling.taken],
            [said.dates[row] for row in filling.taken],
            [said.flags[row] for row in filling.taken],
            uidvalidity=folder.uidvalidity if self._keeps else 0,
            imported=upto if self._keeps else 0,
            role=folder.role,
            subscribed=folder.subscribed,
            mailbox=self._sent.mailbox,
        )
        self._note_left_out(rows, filling.taken)
        memory.note_sent(self._name, folder.uidvalidity, self._sent)
        memory.note_origin(self._sent.mailbox, self._pass.options.origin)
        memory.pending.add(filling.ids[0])
        memory.save()
        key = await self._pass.target.send(landing, filling.letters, millis)
        memory.pending.discard(filling.ids[0])  # what was sent is noted with the next that is saved
        return Parcel.of(key, last, self._fingerprint(rows))

    def _note_left_out(self, rows: range, taken: Sequence[int]) -> None:
        """Letters of a range that are not in its parcel, though their UIDs are below its end: a pass with the
        password would take it that they were removed here, if it did not know."""
        memory, folder, said = self._pass.memory, self._folder, self._said
        before = memory.passed(self._name, folder.uidvalidity)
        if not rows or (before is not None and any(before.here)):  # one with the password knows all of it
            return
        known = set() if before is None else set(before.uids)
        known.difference_update(said.uids[row] for row in rows)
        known.update(said.uids[row] for row in set(rows).difference(taken))
        if known or before is not None:
            uids = array("I", sorted(known))
            here, flags = filled("I", 0, len(uids)), filled("Q", 0, len(uids))
            memory.note(self._name, Passed(folder.uidvalidity, self._sent.mailbox, uids, here, flags))
