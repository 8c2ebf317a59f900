"""Undo: what was expunged in a span of time comes back, and whole mailboxes that were deleted.

Theory of operation. Removed messages stay removed, for ever: that is what makes the log order-free. So a
message comes back as another one, with the same content. Its id follows from that of the one before: so who
does it again, goes on after a crash, or does it at the same time elsewhere, says the same once more, and
nothing is there twice. If that one was expunged in turn, the id that follows from its own is the next.

A content that no message has may be missing in the newest checkpoint, and in its packs. So its digest comes
along, out of the past, and a body that lies in a pack is written as an object of its own.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import trio

from aerogramme.errors import AlreadyExists, Damaged, NoSuchMailbox, Refused
from aerogramme.log.entry import Add, Remove
from aerogramme.log.expunged import Expunged, Found, find_expunged
from aerogramme.log.journal import Draft
from aerogramme.log.past import clock_at
from aerogramme.log.records import KEYS_STALE
from aerogramme.log.segment import Packed
from aerogramme.log.state import State
from aerogramme.mailbox import changes
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.body_record import BodyRecord, body_name
from aerogramme.mailbox.contents import GROUPS
from aerogramme.mailbox.history.reach import check_reach
from aerogramme.mailbox.names import INBOX, canonical, check
from aerogramme.mailbox.packs import Trip
from aerogramme.mailbox.usage import check_room
from aerogramme.store.port import Part

BATCH, BATCH_OCTETS = 1000, 8 * 1024 * 1024  # messages of an entry, and octets of bodies that come with it
LOOK = 1 << 16  # messages of a mailbox looked at before others have their turn: 1 or 2 ms


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to come back.

    since, until   unix seconds: what was expunged after the one, up to the other
    mailboxes      names that they had then; () for all
    into           the mailbox that all goes into; None: each message goes where it was
    copies         also what another mailbox has as well
    """

    since: float
    until: float
    mailboxes: tuple[str, ...] = ()
    into: str | None = None
    copies: bool = False


@dataclass(slots=True)
class Line:
    """What came back into a mailbox. `made`: the mailbox itself did. `uids`: where the messages are."""

    made: bool = False
    messages: int = 0
    octets: int = 0
    uids: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What was done (or would be).

    mailboxes   by their names
    there       messages that were expunged and had been brought back before
    elsewhere   that were left out, as another mailbox has them
    lost        whose body or digest is not there any more
    unreadable  entries of the log of that time that cannot be read: what they removed is not known
    """

    mailboxes: dict[str, Line] = field(default_factory=dict)
    there: int = 0
    elsewhere: int = 0
    lost: int = 0
    unreadable: int = 0

    @property
    def messages(self) -> int:
        return sum(line.messages for line in self.mailboxes.values())


class Back(NamedTuple):
    """A message that comes back, and its new id."""

    message: Expunged
    id: int


class Undo:
    """One run. `plan` first, then `bring_back` or `take_back`.

    `told` is called with how many messages are done, whenever that has changed; `total` are all.
    """

    def __init__(
        self, account: Account, wanted: Wanted, told: Callable[[int], object] = lambda _: None
    ) -> None:
        self._account, self._wanted, self._told = account, wanted, told
        self._found: Found | None = None
        self._messages: list[Expunged] = []
        self._removed: set[int] = set()  # the ids of all messages that were found
        self._shared: set[int] = set()  # contents that other messages have
        self._done = 0

    @property
    def total(self) -> int:
        return len(self._messages)

    async def plan(self) -> None:
        """Looks for what was expunged. Raises Refused, NoSuchMailbox; Forgotten when the history does not go
        back so far; Damaged, Unavailable."""
        wanted, account = self._wanted, self._account
        since, until = clock_at(wanted.since), clock_at(wanted.until)
        if since >= until:
            raise Refused("The span of time ends before it begins")
        if wanted.into is not None:
            check(wanted.into)
        await account.refresh()
        store, records = account.store, account.journal.records
        await check_reach(store, records, since, unborn=True)
        found = await find_expunged(records, since, until)
        if found.start is not None:  # an older one, perhaps, since the next cannot be read
            await check_reach(store, records, found.start)
        if INBOX not in found.state.names:
            hint = "`aerogramme check --repair` may mend it"
            raise Damaged("No checkpoint of that time can be read", hint=hint)
        names = {canonical(name) for name in wanted.mailboxes}
        known = {*found.state.names, *account.state.names}
        known |= {message.name for message in found.messages}
        known |= {deleted.name for deleted in found.mailboxes.values()}
        for name in sorted(names - known):
            raise NoSuchMailbox(f"There was no mailbox {name} in that time")
        self._found = found
        self._removed = {message.id for message in found.messages}
        self._messages = [each for each in found.messages if not names or each.name in names]
        found.mailboxes = {m: each for m, each in found.mailboxes.items() if not names or each.name in names}
        self._shared = await self._contents_of_others()

    async def bring_back(self, *, dry_run: bool = False) -> Report:
        """Brings back what is not there, some with each entry; may be done again. `dry_run` only looks.
        Raises OverQuota, having done nothing, if there is no room for all of it; Unavailable."""
        assert self._found is not None
        account, report = self._account, Report(unreadable=self._found.unreadable)
        missing = self._missing(report)
        check_room(account.state, account.policy.quota, sum(back.message.size for back in missing))
        names = {mailbox: name for name, mailbox in account.state.names.items()}
        by_target: dict[str, list[Back]] = {}
        for back in missing:
            by_target.setdefault(self._target(back.message, names), []).append(back)
        await self._make_mailboxes(by_target, report, dry_run=dry_run)
        for name, some in by_target.items():
            # In the order that they had, so that digests are read about once.
            some.sort(key=lambda back: (back.message.mailbox, back.message.uid))
            for start in range(0, len(some), BATCH):
                await self._batch(name, some[start : start + BATCH], report, dry_run=dry_run)
        return report

    async def take_back(self, *, dry_run: bool = False) -> Report:
        """Undoes `bring_back`: removes the messages that it has brought, where they still are. Mailboxes
        stay. Raises Unavailable."""
        report = Report()
        by_mailbox: dict[int, list[int]] = {}
        for new, where in self._follow(self._account.state, ()).values():
            if where:
                by_mailbox.setdefault(where, []).append(new)
        for mailbox, ids in by_mailbox.items():
            line = report.mailboxes.setdefault(self._account.name_of(mailbox) or f"{mailbox:x}", Line())
            for start in range(0, len(ids), BATCH):
                await self._remove(mailbox, ids[start : start + BATCH], line, dry_run=dry_run)
        return report

    # --- what there is

    def _missing(self, report: Report) -> list[Back]:
        """The messages to bring back; the others are counted."""
        ends = self._follow(self._account.state, self._shared)
        missing: dict[int, Back] = {}
        for message in self._messages:
            new, where = ends[message.id]
            if (
                where is None
                and message.content in self._shared
                and not (message.whole or self._wanted.copies)
            ):
                report.elsewhere += 1
            elif where is None:
                missing.setdefault(new, Back(message, new))
            elif where or new not in self._removed:
                report.there += 1  # here, or moved since
        return list(missing.values())

    def _follow(self, state: State, shared: Container[int]) -> dict[int, tuple[int, int | None]]:
        """For each message that was expunged the last id under which it has come back, or would, and where
        that is (see `_places`). One that was expunged in turn, in this same time, is another of these
        messages; of one whose content is among those shared it counts that it was moved."""
        ends: dict[int, tuple[int, int | None]] = {}
        waiting = {message.id: (following_id(message.id), message.content) for message in self._messages}
        while waiting:
            places = self._places(state, {new for new, _ in waiting.values()})
            further = {}
            for message, (new, content) in waiting.items():
                where = places.get(new)
                if where == 0 and new not in self._removed and content not in shared:
                    further[message] = following_id(new), content
                else:
                    ends[message] = new, where
            waiting = further
        return ends

    def _places(self, state: State, ids: set[int]) -> dict[int, int]:
        """The mailboxes in which messages are; 0 for those that are gone, none for those that never were."""
        assert self._found is not None
        places: dict[int, int] = {}
        # The newest state may have forgotten that one is gone; entries that are kept have not.
        for table in (*self._found.state.tables.values(), *state.tables.values()):
            places.update(dict.fromkeys(ids.intersection(table.tombs.ids), 0))
            places.update(dict.fromkeys(ids & table.early.keys(), 0))
        for mailbox, table in state.tables.items():
            places.update(dict.fromkeys(ids.intersection(table.ids), mailbox))
            places.update(dict.fromkeys(ids & table.hidden.keys(), mailbox))
        return places

    async def _contents_of_others(self) -> set[int]:
        """Those of the contents that are in messages which have not been brought back."""
        asked = {message.content for message in self._messages}
        state = self._account.state
        brought = {new for new, where in self._follow(state, ()).values() if where}
        shared: set[int] = set()
        for table in list(state.tables.values()):
            for start in range(0, len(table), LOOK):
                stop = start + LOOK
                some = zip(table.ids[start:stop], table.contents[start:stop], strict=True)
                shared.update(c for message, c in some if c in asked and message not in brought)
                await trio.lowlevel.checkpoint()
        return shared

    # --- mailboxes

    def _target(self, message: Expunged, names: Mapping[int, str]) -> str:
        """The name of the mailbox that a message goes into. `names`: those that there are."""
        if self._wanted.into is not None:
            return canonical(self._wanted.into)
        return names.get(message.mailbox) or message.name

    async def _make_mailboxes(
        self, targets: Mapping[str, Sequence[Back]], report: Report, *, dry_run: bool
    ) -> None:
        """Those that messages go into, and that were deleted; each with the use that it had, if no other has
        that now. Their ids follow from those they had, as it is with messages."""
        assert self._found is not None
        roles: dict[str, str | None] = dict.fromkeys(targets)
        were: dict[str, set[int]] = {}
        if self._wanted.into is None:
            for name, some in targets.items():
                were[name] = {back.message.mailbox for back in some}
            for mailbox, deleted in self._found.mailboxes.items():
                if self._account.name_of(mailbox) is None:
                    roles[deleted.name] = deleted.role or roles.get(deleted.name)
                    were.setdefault(deleted.name, set()).add(mailbox)
        for name in sorted(roles):  # those above come before those below
            state = self._account.state
            if name in state.names:
                continue
            report.mailboxes[name] = Line(made=True)
            if dry_run:
                continue
            role = None if roles[name] in state.roles.values() else roles[name]
            new = following_id(min(were[name])) if name in were else None
            while new in state.attributes:
                new = following_id(new)
            try:
                await self._account.create_mailbox(name, role, new)
            except AlreadyExists:
                report.mailboxes[name].made = False  # somebody else has, just now

    # --- messages

    async def _batch(self, name: str, some: Sequence[Back], report: Report, *, dry_run: bool) -> None:
        """Some messages for one mailbox; with one entry, unless the bodies that come with them are many."""
        digests = await self._digests([each.message.content for each in some])
        for share in _shares(some, digests):
            wanted = dict.fromkeys(back.message.content for back in share)
            bodies = await self._bodies({c: digests[c] for c in wanted if c in digests})
            found = [b for b in share if b.message.content in self._shared or b.message.content in bodies]
            if len(found) < len(share):
                report.lost += len(share) - len(found)
                self._tell(len(share) - len(found))
            if found:
                await self._add(name, found, digests, bodies, report, dry_run=dry_run)

    async def _digests(self, contents: Sequence[int]) -> dict[int, "_Digest"]:
        """The digests of those contents that no message has, as far as they can be read."""
        assert self._found is not None
        by_segment: dict[int, dict[int, int]] = {}  # segment -> content -> position
        for content in contents:
            place = None if content in self._shared else self._found.state.contents.find(content)
            if place is not None:
                by_segment.setdefault(place[0], {})[content] = place[1]
        digests: dict[int, _Digest] = {}
        for segment, positions in by_segment.items():
            try:
                groups = {g: (await self._found.segments.load([segment], g))[0] for g in GROUPS}
            except Damaged:
                continue
            for content, at in positions.items():
                fields = {g: {name: column[at] for name, column in c.items()} for g, c in groups.items()}
                try:
                    record = BodyRecord.from_bytes(fields["digest"].get("record", b""))
                except Damaged:
                    continue
                digests[content] = _Digest(fields, record)
        return digests

    async def _bodies(self, digests: Mapping[int, "_Digest"]) -> dict[int, bytes]:
        """Those of the contents whose bodies are there, with the sealed body where that is in a pack; b"" for
        an object of its own."""
        store = self._account.store
        placed = [(c, digest.record) for c, digest in digests.items() if digest.record.place is not None]
        trip = Trip(placed)
        got = await store.get_many(trip.wanted) if placed else []
        found: dict[int, bytes] = {}
        for n, (content, _) in enumerate(placed):
            sealed = trip.sealed(n, got)
            if sealed is not None:
                found[content] = sealed
        single = [content for content in digests if content not in found]
        heads = await store.get_many([Part(body_name(c), 0, 1) for c in single]) if single else []
        return found | {c: b"" for c, head in zip(single, heads, strict=True) if head is not None}

    async def _add(
        self,
        name: str,
        share: Sequence[Back],
        digests: Mapping[int, "_Digest"],
        bodies: Mapping[int, bytes],
        report: Report,
        *,
        dry_run: bool,
    ) -> None:
        """One entry, if something of it is not there yet."""
        account, line = self._account, report.mailboxes.setdefault(name, Line())
        if dry_run:
            line.messages += len(share)
            line.octets += sum(back.message.size for back in share)
            self._tell(len(share))
            return
        contents = dict.fromkeys(back.message.content for back in share)
        brought = {content: digests[content] for content in contents if content in digests}
        packed = self._packed(brought) if brought else None
        ref = None if packed is None else packed.ref
        objects = [(body_name(content), sealed) for content, sealed in bodies.items() if sealed]

        def build(state: State) -> Draft | None:
            known = self._places(state, {back.id for back in share})
            new = [back for back in share if back.id not in known]
            if not new:
                return None
            table, messages = account.find(name), [back.message for back in new]
            op = changes.bring_back(table, [back.id for back in new], messages, ref)
            return Draft([op], objects=[*objects, *(packed.objects if packed else ())])

        await account.holding.renew(KEYS_STALE)
        entry = await account.journal.commit(build)
        if entry is not None:
            [op] = [op for op in entry.ops if isinstance(op, Add)]
            line.messages += len(op.ids)
            line.octets += sum(op.sizes)
            line.uids += changes.placed(account.state.tables[op.mailbox], op).uids
        self._tell(len(share))

    def _packed(self, digests: Mapping[int, "_Digest"]) -> Packed:
        """A segment of these digests, whose bodies are objects of their own."""
        alone = {content: digest.alone() for content, digest in digests.items()}
        groups = {
            group: {name: [fields[group][name] for fields in alone.values()] for name in names}
            for group, names in GROUPS.items()
        }
        return self._account.journal.segments.pack(alone, groups)

    async def _remove(self, mailbox: int, ids: Sequence[int], line: Line, *, dry_run: bool) -> None:
        sizes: list[int] = []

        def build(state: State) -> Draft | None:
            nonlocal sizes
            table = state.tables[mailbox]
            rows = table.rows_of_ids(ids)
            sizes = [table.sizes[row] for row in rows]
            return Draft([Remove(mailbox, [table.ids[row] for row in rows])]) if rows else None

        if dry_run:
            build(self._account.state)
        else:
            await self._account.journal.commit(build)
        line.messages += len(sizes)
        line.octets += sum(sizes)
        self._tell(len(ids))

    def _tell(self, count: int) -> None:
        self._done += count
        self._told(self._done)


class _Digest(NamedTuple):
    """What is known of a content: group -> field -> value; and where its body is."""

    fields: Mapping[str, Mapping[str, bytes]]
    record: BodyRecord

    def alone(self) -> Mapping[str, Mapping[str, bytes]]:
        """The fields, for a body that is an object of its own."""
        record = self.record._replace(place=None).to_bytes()
        return {**self.fields, "digest": {**self.fields["digest"], "record": record}}


def _shares(some: Sequence[Back], digests: Mapping[int, _Digest]) -> Iterator[list[Back]]:
    """The messages in their order, as many together as may be in memory with bodies that lie in packs."""
    share: list[Back] = []
    octets = 0
    for back in some:
        digest = digests.get(back.message.content)
        size = digest.record.sealed_size if digest and digest.record.place else 0
        if share and octets + size > BATCH_OCTETS:
            yield share
            share, octets = [], 0
        share.append(back)
        octets += size
    if share:
        yield share


def following_id(one: int) -> int:
    """The id under which a message, or a mailbox, comes back. Ids that are drawn are not met by this in an
    age of the universe: both are as good as random, of 64 bits."""
    digest = blake2b(one.to_bytes(8, "big"), digest_size=8, person=b"back").digest()
    return int.from_bytes(digest, "big") or 1
