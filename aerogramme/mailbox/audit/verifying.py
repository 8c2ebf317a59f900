"""Verification: whether everything in an account's store is what was put there, and nothing of it is missing.

Who can write the store can change bytes, move or take away what is there, and put back what was there before.
Everything is sealed, bound to its name, and chained; so this finds all of it, but for the end of a chain that
nobody else tells of, which only a machine that has seen it can miss (seen.py).

It changes nothing, and takes the memory of some objects at a time, and of the names of all. What does not fit
together, though each part is sound (an index and the mail, say), is for the audit to find.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

import trio

from aerogramme.errors import Damaged, UnknownGeneration
from aerogramme.log import bundle, chains, checkpoint, manifest, piece, segment
from aerogramme.log.clock import wall_ms
from aerogramme.log.packing import decompress
from aerogramme.log.records import Missing
from aerogramme.log.resealing import OBJECTS
from aerogramme.log.segment import read_group
from aerogramme.log.suffix import base_of
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit import faults
from aerogramme.mailbox.audit import keys as audit_keys
from aerogramme.mailbox.audit.bodies import BodyCheck
from aerogramme.mailbox.audit.elsewhere import named_segments, own_digests, record_of
from aerogramme.mailbox.audit.setting_aside import are_aside
from aerogramme.mailbox.body_record import BodyRecord, body_name, pack_name
from aerogramme.mailbox.history import letting_go
from aerogramme.mailbox.history.survey import PAGE, Survey, survey
from aerogramme.mailbox.incoming import incoming
from aerogramme.mailbox.keys.seen import Seen
from aerogramme.seal import Binding

AT_ONCE = 8  # objects in memory: segments have some MB

Kind = Literal["rollback", "entry", "gap", "link", "row", "letter", "missing", "object", "body"]

_DECODE: Mapping[str, Callable[[bytes], object]] = {
    "segment/": read_group,
    "piece/": lambda plain: piece.contents_of(decompress(plain)),
    bundle.PREFIX: bundle.decode,
    checkpoint.PREFIX: manifest.Manifest.decode,
}
"""How what is in an object is read. Entries are read with their chains."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    what     in plain words, which name mailboxes, and nothing else of the mail
    history  it is about what the account was, within the retention: what it is now does not need it. A repair
             leaves such things, and they go with the history
    """

    kind: Kind
    what: str
    history: bool = False


@dataclass(slots=True)
class Progress:
    """How far it is.

    doing   what is being done, `done` of `total` of it (None: nobody knows)
    looked  what was looked at in all: entries, rows, objects, bodies -> how many
    notes   what is not wrong, and worth to be said
    """

    doing: str = ""
    done: int = 0
    total: int | None = None
    looked: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


class Verification:
    """One look at all of an account, which is open, and not used for anything else meanwhile."""

    def __init__(
        self,
        account: Account,
        seen: Seen,
        *,
        bodies: bool = False,
        told: Callable[[Progress], None] = lambda _: None,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        """`bodies`: open them too, which reads all that is stored; `told` hears how far it is."""
        self.progress = Progress()
        self._account, self._store, self._state = account, account.store, account.state
        self._records = account.journal.records
        self._seen, self._with_bodies, self._told, self._now_ms = seen, bodies, told, now_ms
        self._letters: dict[int, BodyRecord] = {}
        self._found: Survey | None = None
        self._aside: set[str] = set()  # base names of what a repair has set aside
        self._gone_packs: set[str] = set()  # packs that are not there, and have no body of a message

    async def problems(self) -> AsyncGenerator[Problem, None]:
        """All that is wrong, as it is found. Close it (aclosing). Raises Unavailable."""
        stages = [self._rollback, self._chains, self._rows, self._waiting, self._named, self._objects]
        if self._with_bodies:
            stages.append(self._bodies)
        for stage in stages:
            async with aclosing(stage()) as found:
                async for problem in found:
                    yield problem

    def _doing(self, what: str, total: int | None = None) -> None:
        self.progress.doing, self.progress.done, self.progress.total = what, 0, total
        self._told(self.progress)

    def _did(self, what: str, count: int = 1) -> None:
        self.progress.done += count
        self.progress.looked[what] += count
        self._told(self.progress)

    # --- the log

    async def _rollback(self) -> AsyncGenerator[Problem, None]:
        self._doing("comparing with what this machine has seen")
        for key in await self._seen.gone(self._account):
            what = f"entry {key}, which this machine has seen, is gone: the store has gone back in time"
            yield Problem("rollback", what)

    async def _chains(self) -> AsyncGenerator[Problem, None]:
        self._doing("following the log")
        found = await self._broken()
        if any(each.kind == "missing" for each in found):
            # A compaction may have deleted entries meanwhile; a checkpoint says so before they go.
            await self._account.journal.look()
            again = {each.positions for each in await self._broken()}
            found = [each for each in found if each.kind != "missing" or each.positions in again]
        kinds: Mapping[str, Kind] = {"unreadable": "entry", "missing": "gap", "link": "link"}
        for each in found:
            given_up = (
                each.kind == "unreadable" and each.positions and set(each.positions) <= self._state.lost
            )
            if not given_up:
                yield Problem(kinds[each.kind], each.what)

    async def _broken(self) -> list[chains.Break]:
        state = self._state
        records = self._account.journal.records
        return await chains.broken(records, state.vector, cut=state.cut, lost=state.lost)

    # --- other rows

    async def _rows(self) -> AsyncGenerator[Problem, None]:
        self._doing("looking at rows")
        for fault in [
            *await audit_keys.key_rows(self._account),
            *await audit_keys.use_rows(self._account),
        ]:
            if fault.kind != faults.Kind.RECOVERY:  # which is nothing that is there and does not open
                yield Problem("row", fault.what)
        _, unreadable = await letting_go.read(self._store, self._records)
        for name, why in unreadable.items():
            yield Problem("row", f"row {name} does not open: {why}")

    async def _waiting(self) -> AsyncGenerator[Problem, None]:
        """Letters that nobody has drained."""
        keyring, after = self._account.keyring, ""
        while page := await self._store.page(incoming.PARTITION, after, PAGE):
            after = page[-1].key
            for key, sealed in page:
                self._did("letters")
                try:
                    plain = keyring.open_incoming(sealed, Binding(keyring.account, "letter", key))
                    letter = incoming.decode_letter(key, plain)
                except Damaged as why:
                    yield Problem("letter", f"letter {key} does not open: {why}")
                else:
                    self._letters[letter.id] = letter.record

    # --- what is named

    async def _named(self) -> AsyncGenerator[Problem, None]:
        """What a checkpoint that is kept, an entry, or a letter names is there."""
        self._doing("looking for what is named")
        try:
            found = await survey(self._account, self._now_ms())
            missing = self._missing(found)
            if missing:  # what was written after the names were listed is in the next list
                found = await survey(self._account, self._now_ms())
                missing &= self._missing(found)
        except UnknownGeneration as why:
            yield Problem("missing", f"what is named cannot be gone through: {why}")
            return
        self._found = found
        self._aside = set(map(base_of, await are_aside(self._store)))
        if known := {name for name in missing & self._aside if found.standing(name) != "live"}:
            self.progress.notes.append(
                f"{len(known)} objects of the history were given up by `check --repair`"
            )
        missing -= known
        self.progress.looked["entries"] = found.entries + len(found.old)
        bodies = {body_name(content): content for content in found.needed_bodies}
        live, gone = self._live(), 0
        for name in sorted(missing):
            content = bodies.get(name)
            if name.startswith(pack_name("")) and not await self._has_live(name, live):
                self._gone_packs.add(name)
            elif content is None:
                is_live = found.standing(name) == "live"
                needs = "the account" if is_live else "its history"
                yield Problem("missing", f"object {name} is missing, which {needs} needs", not is_live)
            elif content in live:
                yield self._missing_body(content)
            elif content in self._letters:
                yield Problem("missing", f"the body of a letter that waits is missing: {name}")
            else:
                gone += 1
        for count, what in (gone, "bodies"), (len(self._gone_packs), "packs of bodies"):
            if count:
                self.progress.notes.append(
                    f"{count} {what} of removed messages are gone, and cannot be restored: "
                    "`key rotate --bodies` deletes those"
                )

    async def _has_live(self, pack: str, live: set[int]) -> bool:
        """Whether the body of a message lies in a pack, or may."""
        state = self._state
        for index in state.named_segments():
            ref = state.segments[index]
            if pack not in map(pack_name, ref.packs or ()):
                continue
            contents = live.intersection(ref.contents).difference(ref.single)
            for digest in (await own_digests(self._account, contents, ("digest",))).values():
                record = record_of(digest)
                if record is None or (record.place is not None and pack_name(record.place.pack) == pack):
                    return True
        return False

    def _missing_body(self, content: int) -> Problem:
        """That of a message. It may be in a pack, too; then what was before it was packed needs it."""
        place = self._state.contents.find(content)
        if place is None or content in self._state.segments[place[0]].single:
            return Problem("missing", f"the body of {self._message(content)} is missing")
        what = f"the body of {self._message(content)} is missing outside of its pack, where history has it"
        return Problem("missing", what, history=True)

    def _missing(self, found: Survey) -> set[str]:
        there = set(map(base_of, found.stored))
        # Entries that are objects are read with their chains; some may have been given up.
        named = {name for name in found.needed if name and not name.startswith("entry/")}
        return (named | set(map(body_name, found.needed_bodies))) - there

    def _live(self) -> set[int]:
        """The contents of messages."""
        return {content for table in self._state.tables.values() for content in table.contents}

    def _message(self, content: int) -> str:
        """A message that has a content, in words."""
        for name, mailbox in self._state.names.items():
            table = self._state.tables[mailbox]
            if content in table.contents:
                return f"message UID {table.uids[table.contents.index(content)]} in {name}"
        return f"a message that was removed (content {content:016x})"

    # --- what is there

    async def _objects(self) -> AsyncGenerator[Problem, None]:
        """All that the keyring seals opens, and can be read."""
        stored = () if self._found is None else self._found.stored
        total = sum(name.startswith(tuple(OBJECTS)) for name in stored)
        self._doing("opening objects", total or None)
        for prefix, kind in OBJECTS.items():
            after = ""
            while names := await self._store.list(prefix, after, AT_ONCE):
                after = names[-1]
                for name, plain in zip(names, await self._records.read(kind, names), strict=True):
                    self._did("objects")
                    if why := _why(prefix, plain):
                        is_live = self._found is None or self._found.standing(name) == "live"
                        what = f"object {name} does not open: {why}{self._need(name)}"
                        yield Problem("object", what, not is_live)
                    await trio.lowlevel.checkpoint()

    def _is_needed(self, name: str) -> bool:
        return self._found is None or self._found.standing(name) in ("live", "history")

    def _need(self, name: str) -> str:
        standing = "live" if self._found is None else self._found.standing(name)
        return {"live": "", "history": " (only history needs it)"}.get(standing, " (nothing needs it)")

    # --- bodies

    async def _bodies(self) -> AsyncGenerator[Problem, None]:
        """All bodies that are needed open, wherever they lie."""
        live = self._live()
        wanted = live if self._found is None else self._found.contents
        self._doing("opening bodies", len(wanted))
        check = BodyCheck(self._store, self._account.keyring.account)
        done: set[tuple[int, bytes]] = set()
        async with aclosing(self._digests()) as digests:
            async for name, contents, values in digests:
                bodies = []
                for content, value in zip(contents, values, strict=True):
                    if content not in wanted:
                        continue
                    try:
                        record = BodyRecord.from_bytes(value)
                    except Damaged as why:
                        yield self._body(content, str(why), name)
                        continue
                    if record.place is not None and pack_name(record.place.pack) in self._gone_packs:
                        continue
                    if (content, value) not in done:
                        done.add((content, value))
                        bodies.append((content, record))
                async with aclosing(check.wrong(bodies)) as wrong:
                    async for content, reason in wrong:
                        yield self._body(content, reason, name)
                self._did("bodies", len(bodies))
        async with aclosing(check.wrong([*self._letters.items()])) as wrong:
            async for content, reason in wrong:
                yield Problem("letter", f"the body {body_name(content)} of a letter does not open: {reason}")
        self._did("bodies", len(self._letters))

    def _body(self, content: int, why: str, segment_name: str) -> Problem:
        """A body that does not open as the digest in a segment says."""
        place = self._state.contents.find(content)
        is_live = place is not None and self._state.segments[place[0]].name == segment_name
        of = "" if is_live else ", as history has it,"
        return Problem("body", f"the body of {self._message(content)}{of} does not open: {why}", not is_live)

    async def _digests(self) -> AsyncGenerator[tuple[str, Iterable[int], Iterable[bytes]], None]:
        """Names, contents and records of all segments there are, of some more than once. What cannot be read
        has been told of."""
        read: set[str] = set()
        async with aclosing(named_segments(self._account)) as refs:
            async for ref in refs:
                if ref.inline is not None and ref.name not in read and "digest" in ref.inline:
                    read.add(ref.name)
                    yield ref.name, *_records(ref.inline["digest"])
        after = "segment/"
        while names := await self._store.list("segment/", after, PAGE):
            after = names[-1]
            for name in names:
                # What nothing needs may name packs that have gone.
                if not base_of(name).endswith("/digest") or not self._is_needed(name):
                    continue
                [plain] = await self._records.read(segment.KIND, [name])
                if isinstance(plain, bytes):
                    yield name.split("/")[1], *_records(plain)


def _records(packed: bytes) -> tuple[Iterable[int], Iterable[bytes]]:
    try:
        contents, columns = read_group(packed)
        return contents, columns["record"]
    except (Damaged, KeyError):
        return (), ()


def _why(prefix: str, plain: bytes | Damaged) -> str:
    """What is wrong with an object that was read."""
    if isinstance(plain, Missing):
        return ""  # it has gone since it was listed; if it is needed, it was missed already
    try:
        if isinstance(plain, Damaged):
            raise plain
        if prefix in _DECODE:
            _DECODE[prefix](plain)
    except Damaged as why:
        return str(why) or "it is not what was sealed"
    return ""
