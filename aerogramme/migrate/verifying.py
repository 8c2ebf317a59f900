"""Whether all mail of a source is here: message by message, octet by octet. Nothing is changed on either
side."""

import hashlib
from array import array
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from aerogramme.errors import Damaged, Unreadable
from aerogramme.migrate.asking import broken_off, closing, named, row_of, said_by
from aerogramme.migrate.comparing import NO_MAILBOX, Pool, compare, kept_date, same_flags
from aerogramme.migrate.passed import Memory
from aerogramme.migrate.passing import Options, Told
from aerogramme.migrate.report import Report
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Messages, Source
from aerogramme.migrate.targets.target import Target

NAMED = 20  # differences of a mailbox that are told one by one; all are counted


@dataclass(slots=True)
class Compared:
    """One mailbox.

    messages  how many the source has, and `here` how many are in the mailbox, of which `extra` are not from
              there
    removed   they were taken over, and have been removed here since
    missing   they are not here
    size, octets, uid, flags, date   how many differ in this; the UID counts where the mailbox keeps UIDs
    changed   how many have other flags because these were changed here
    unread    their letters cannot be read in the source, or here
    said      some of what differs, in words
    """

    name: str
    origin: str
    keeps: bool = False
    messages: int = 0
    done: int = 0
    here: int = 0
    extra: int = 0
    removed: int = 0
    missing: int = 0
    size: int = 0
    octets: int = 0
    uid: int = 0
    flags: int = 0
    changed: int = 0
    date: int = 0
    unread: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """All that the source has is here, as it is there, but for what was changed here."""
        wrong = self.missing, self.size, self.octets, self.uid, self.flags, self.date, self.unread
        return not any(wrong)

    def say(self, words: str) -> None:
        if len(self.said) < NAMED:
            self.said.append(words)

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "done"} | {"same": self.same}


@dataclass(slots=True)
class Verified:
    """One account."""

    address: str = ""
    folders: int = 0
    mailboxes: list[Compared] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return all(each.same for each in self.mailboxes) and not any(fault.lost for fault in self.faults)

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {
            "address": self.address,
            "same": self.same,
            "mailboxes": [each.plain() for each in self.mailboxes],
            "faults": [f"{fault.origin}: {fault.what}" for fault in self.faults],
        }


async def verify(
    source: Source, target: Target, memory: Memory, options: Options, verified: Verified, told: Told
) -> None:
    """Reads every letter on both sides. What it finds is in `verified`, of which `told` is called after each.

    Raises Unavailable, and Unreadable when nothing can be told of the source."""
    report = Report()  # for its faults
    try:
        folders = await source.folders()
        verified.folders = len(folders)
        told()
        for folder, name in named(folders, report):
            if options.only and name not in options.only:
                continue
            compared = Compared(name, folder.origin)
            verified.mailboxes.append(compared)
            said = await said_by(source, folder, report)
            if said is None:
                continue
            try:
                await _Mailbox(source, target, folder, said, compared, told).verify(memory)
            except Unreadable as error:
                report.fault(broken_off(folder, error))
    finally:
        for fault in source.faults:
            report.fault(fault)
        verified.faults += report.faults


class _Mailbox:
    """One mailbox that is compared."""

    def __init__(
        self, source: Source, target: Target, folder: Folder, said: Messages, compared: Compared, told: Told
    ) -> None:
        self._source, self._target = source, target
        self._folder, self._said = folder, said
        self._compared, self._told = compared, told
        self._found = 0  # messages here that are of the source

    async def verify(self, memory: Memory) -> None:
        compared, said = self._compared, self._said
        self._memory = memory
        self._passed = passed = memory.passed(compared.name, self._folder.uidvalidity)
        known = NO_MAILBOX if passed is None else passed.mailbox
        self._there = there = await self._target.there(compared.name, known)
        plan = compare(self._folder, said, there, passed, memory.hash_of)
        compared.keeps, compared.messages, compared.here = plan.keeps, len(said.uids), len(there.uids)
        rows = array("I")
        for row, here in enumerate(plan.here):
            if not here or there.row_of(here) is not None:
                rows.append(row)
            elif passed is not None and passed.row_of(said.uids[row]) is not None:
                compared.removed += 1  # a pass has noted that it was here
            else:
                compared.missing += 1
                self._say(said.uids[row], "it is not here")
        compared.done = len(said.uids) - len(rows)
        await self._compare_letters(rows, plan.here, Pool(there, plan.pool))
        compared.extra = compared.here - self._found

    async def _compare_letters(self, rows: "array[int]", here: "array[int]", pool: Pool) -> None:
        compared = self._compared
        uids = array("I", (self._said.uids[row] for row in rows))
        async with aclosing(self._source.letters(self._folder, uids)) as letters:
            async for letter in letters:
                if isinstance(letter, Fault):
                    compared.unread += 1
                    compared.say(f"{letter.origin}: {letter.what}")
                else:
                    row = row_of(self._said, letter.uid)
                    try:
                        await self._compare_one(letter, row, here[row], pool)
                    except (Unreadable, Damaged) as error:
                        compared.unread += 1
                        self._say(letter.uid, str(error))
                compared.done += 1
                self._told()

    async def _compare_one(self, letter: Letter, row: int, here: int, pool: Pool) -> None:
        there, compared = self._there, self._compared
        async with closing(letter.pieces) as pieces:
            size, digest = await _digest(pieces)
        at = there.row_of(here) if here else await self._find(pool, self._said.dates[row], size, digest)
        if at is None:
            compared.missing += 1
            self._say(letter.uid, "it is not here")
            return
        self._found += 1
        if size != there.sizes[at]:
            compared.size += 1
            self._say(letter.uid, f"it has {size} octets, and {there.sizes[at]} here")
        elif here and await self._digest_of(at) != digest:
            compared.octets += 1
            self._say(letter.uid, "its octets differ")
        if compared.keeps and there.uids[at] != letter.uid:
            compared.uid += 1
            self._say(letter.uid, f"its UID is {there.uids[at]} here")
        if kept_date(self._said.dates[row]) != there.dates[at]:
            compared.date += 1
            self._say(letter.uid, f"its date is {self._said.dates[row]}, and {there.dates[at]} here")
        if not self._said.flags_lost and not same_flags(self._said.flags[row], there.flags_of(at)):
            if self._changed_here(row):
                compared.changed += 1
                return
            compared.flags += 1
            flags, ours = " ".join(self._said.flags[row]), " ".join(there.flags_of(at))
            self._say(letter.uid, f"its flags are ({flags}), and ({ours}) here")

    def _changed_here(self, row: int) -> bool:
        """Whether it is known that the source has the flags that it had at the last pass, or that no pass
        sets flags of what is here."""
        if not self._folder.uidvalidity:
            return True
        at = None if self._passed is None else self._passed.row_of(self._said.uids[row])
        if at is None or self._passed is None:
            return False
        return self._passed.flags[at] == self._memory.hash_of(self._said.flags[row])

    async def _find(self, pool: Pool, date: int, size: int, digest: bytes) -> int | None:
        """The row here of a letter of which only that is known."""
        for at in tuple(pool.candidates(date, size)):
            if await self._digest_of(at) == digest:
                pool.take(date, size, at)
                return at
        return None

    async def _digest_of(self, at: int) -> bytes:
        async with aclosing(self._target.body(self._there, at)) as pieces:
            return (await _digest(pieces))[1]

    def _say(self, uid: int, words: str) -> None:
        self._compared.say(f"{self._folder.origin}, UID {uid}: {words}")


async def _digest(pieces: AsyncIterator[bytes]) -> tuple[int, bytes]:
    """How many octets they are, and their hash."""
    size, hasher = 0, hashlib.sha256()
    async for piece in pieces:
        size += len(piece)
        hasher.update(piece)
    return size, hasher.digest()
