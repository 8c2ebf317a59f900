"""An opened account: its mailboxes and messages, shared by all sessions of the process."""

import logging
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from aerogramme.errors import AlreadyExists, Damaged, NoSuchMailbox, OverQuota, Refused, Unavailable
from aerogramme.log.entry import Add, Entry, Op
from aerogramme.log.journal import Draft, Journal
from aerogramme.log.records import KEYS_STALE
from aerogramme.log.segment import Packed
from aerogramme.log.state import State
from aerogramme.log.table import Table
from aerogramme.mailbox import changes, hierarchy
from aerogramme.mailbox.bodies import Bodies
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.changes import Mode, Placed, StoreResult
from aerogramme.mailbox.contents import MAX_MESSAGE, NewMessage, Upload, segment_columns
from aerogramme.mailbox.flags import check_keywords, normal_flags
from aerogramme.mailbox.incoming.landing import Landed, Landing, plan
from aerogramme.mailbox.keys.holding import Holding
from aerogramme.mailbox.names import MailboxInfo, canonical, listing
from aerogramme.mailbox.opened import OpenedAccount
from aerogramme.mailbox.usage import check_room
from aerogramme.mailbox.view import RecentMarks, View
from aerogramme.store.port import Store
from aerogramme.together import together

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds that opening a mailbox waits for letters to be drained: clients wait 30 or more


class Account(OpenedAccount):
    """One account, opened with its keyring. All methods are for tasks of one trio thread.

    Methods that change something return when it is durable, decide on the newest state there is (not on what
    the caller saw), and raise Unavailable when the store may or may not have taken the change. A `Table` is
    always as new as the last call that awaited; rows and columns of it are good until the next await.
    """

    def __init__(self, store: Store, account_id: str, holding: Holding, journal: Journal) -> None:
        """Use `create` and `open`."""
        super().__init__(store, account_id, holding, journal)
        self.bodies = Bodies(store, bytes.fromhex(account_id), journal)
        self._recent = RecentMarks(
            floor={mailbox: table.uidnext for mailbox, table in journal.state.mailboxes.items()}
        )

    # --- mailboxes

    def mailboxes(self) -> list[MailboxInfo]:
        """All mailboxes, and the names above them that are none: INBOX first, then by name."""
        state = self.state
        return listing(state.names, state.roles, state.subscribed)

    def subscriptions(self) -> list[str]:
        """All subscribed names, sorted; also those of mailboxes that are not there (RFC 3501 §6.3.6)."""
        return sorted(self.state.subscribed)

    def find(self, name: str) -> Table:
        """The mailbox of a name, or NoSuchMailbox (also for a name that is only a level of others)."""
        mailbox = self.state.names.get(canonical(name))
        if mailbox is None:
            raise NoSuchMailbox
        return self.state.tables[mailbox]

    async def look_for(self, name: str) -> Table:
        """As `find`, but before it says no it looks whether another server has just made the mailbox."""
        if canonical(name) not in self.state.names:
            await self.refresh()
        return self.find(name)

    def name_of(self, mailbox: int) -> str | None:
        """The name of a mailbox now; None when it was deleted."""
        return next((name for name, other in self.state.names.items() if other == mailbox), None)

    async def fresh(self, name: str) -> Table:
        """The mailbox of a name after the read rule, letters that waited included: for SELECT and STATUS."""
        await together(self._drain_waiting, self.journal.refresh)
        if not self.journal.settled:  # letters were drained, and then the store was away: not to be told yet
            await self.journal.refresh()
        return self.find(name)

    async def _drain_waiting(self) -> None:
        try:
            await self.drain.all_waiting(patience=PATIENCE)
        except Unavailable as error:  # a full disk, say: what waits goes on waiting, what is here can be read
            log.warning("account %s: letters wait: %s %s", self.id, error, error.hint)

    async def open_mailbox(self, name: str, *, read_only: bool = False) -> View:
        """SELECT and EXAMINE: reads the store, drains letters that wait, then gives a new view of the
        mailbox.
        """
        table = await self.fresh(name)
        return View(table, self._recent, read_only=read_only, settled=lambda: self.journal.settled)

    def recent_count(self, table: Table) -> int:
        """How many messages would be \\Recent to a session that opened the mailbox now (for STATUS)."""
        return self._recent.count(table)

    async def create_mailbox(self, name: str, role: str | None = None, mailbox: int | None = None) -> None:
        """RFC 3501 §6.3.3, with the levels above. `role`: a special use (RFC 6154); `mailbox`: the id, if it
        is not to be any. AlreadyExists, Refused.
        """
        await self._commit(
            lambda state: Draft(hierarchy.create(state, self.maker(state), name, role, mailbox))
        )

    async def delete_mailbox(self, name: str, *, empty: bool = False) -> None:
        """RFC 3501 §6.3.4. With `empty`, only if nothing is in it. NoSuchMailbox, Refused."""
        await self._commit(lambda state: Draft(hierarchy.delete(state, name, empty=empty)))

    async def rename_mailbox(self, name: str, new: str) -> None:
        """RFC 3501 §6.3.5, with all below it; INBOX gives away its messages. NoSuchMailbox, AlreadyExists,
        Refused.
        """

        def build(state: State) -> Draft:
            return Draft(hierarchy.rename(state, self.maker(state), self.journal.new_ids, name, new))

        await self._commit(build)

    async def subscribe(self, name: str, on: bool = True) -> None:
        """RFC 3501 §6.3.6 and §6.3.7: a name, whether a mailbox has it or not."""
        await self._commit(lambda state: _draft(hierarchy.subscribe(state, name, on)))

    # --- messages

    def upload(self, limit: int = MAX_MESSAGE) -> Upload:
        """A new content to be written: `await upload.write(chunk)`, then in a NewMessage to `append`."""
        return Upload(self.journal.new_ids(1)[0], bytes.fromhex(self.id), self.store, limit, self._nursery)

    async def append(self, name: str, messages: Sequence[NewMessage], uid: int | None = None) -> Placed:
        """RFC 3501 §6.3.11 (and RFC 3502 for more than one): new messages, all or none. NoSuchMailbox,
        OverQuota, Refused; AlreadyExists if UIDNEXT is not `uid` (another server may still be faster).
        """
        try:
            return await self._append(name, messages, uid)
        except BaseException:
            for message in messages:
                message.upload.drop()
            raise

    async def _append(self, name: str, messages: Sequence[NewMessage], uid: int | None) -> Placed:
        await self.look_for(name)  # before the work; what counts is the state in `build`
        flags = [normal_flags(message.flags) for message in messages]
        now = int(time.time())
        dates = [now if message.date is None else message.date for message in messages]
        done = [await message.upload.finish() for message in messages]
        contents = [content for content, _ in done]
        objects = []
        for content, sealed in done:
            if sealed is None:
                continue  # stored while it came in
            if len(sealed) > changes.LARGE:
                await self.store.put(body_name(content.id), sealed)
            else:
                objects.append((body_name(content.id), sealed))
        ids = [c.id for c in contents]  # a content has the name of the message that brought it
        await self.holding.renew(KEYS_STALE)
        segment = self.journal.segments.pack(ids, segment_columns(contents))
        octets = sum(content.record.size for content in contents)

        def build(state: State) -> Draft:
            check_room(state, self.policy.quota, octets)
            table = self.find(name)
            if uid is not None and table.uidnext != uid:
                raise AlreadyExists(f"UID {uid} is not the next one: that is {table.uidnext}")
            for each in flags:
                check_keywords(table.flagsets, each)
            op = changes.add(table, ids, contents, dates, flags, segment.ref)
            return Draft([op], objects=[*objects, *segment.objects])

        try:
            entry = await self._commit(build)
        except (NoSuchMailbox, Refused, AlreadyExists):  # nothing will name the large bodies
            await self.store.delete([body_name(content) for content in ids])
            raise
        return self._placed(name, entry)

    async def land(
        self, landing: Landing, objects: Sequence[tuple[str, bytes]] = (), packed: Packed | None = None
    ) -> Landed:
        """Messages that come from another mail store, with one entry; the quota does not hold for them.
        `objects`: their bodies, but those that are stored already; `packed`: their segment, if there is one
        by now. Raises Refused."""
        landed: Landed | None = None
        segments = self.journal.segments

        def build(state: State) -> Draft | None:
            nonlocal landed
            draft, landed = plan(state, self.maker(state), segments, landing, objects, packed)
            return draft

        await self._commit(build)
        assert landed is not None
        return landed

    async def check_room(self, octets: int) -> None:
        """Before a message of so many octets is sent here: raises OverQuota if there is no room for it."""
        try:
            check_room(self.state, self.policy.quota, octets)
        except OverQuota:  # somebody may have made room elsewhere
            await self.refresh()
            check_room(self.state, self.policy.quota, octets)

    async def copy(self, table: Table, uids: Sequence[int], name: str) -> Placed:
        """RFC 3501 §6.4.7: those of the messages that are there. `sources` and `uids` are empty when none
        is. NoSuchMailbox, OverQuota.
        """
        return await self._place(table, uids, name, move=False)

    async def move(self, table: Table, uids: Sequence[int], name: str, date: int | None = None) -> Placed:
        """RFC 6851: copies and removes in one entry. `date`: an INTERNALDATE other than they have."""
        return await self._place(table, uids, name, move=True, date=date)

    async def _place(
        self, table: Table, uids: Sequence[int], name: str, *, move: bool, date: int | None = None
    ) -> Placed:
        sources: list[int] = []

        def build(state: State) -> Draft | None:
            nonlocal sources
            source, target = changes.mailbox(state, table.mailbox), self.find(name)
            rows = changes.rows_of(source, uids)
            if not rows:
                return None
            if not move:
                check_room(state, self.policy.quota, sum(source.sizes[row] for row in rows))
            sources = [source.uids[row] for row in rows]
            op = changes.copy(source, rows, target, self.journal.new_ids, date)
            return Draft([op, changes.remove(source, rows)] if move else [op])

        return self._placed(name, await self._commit(build), sources)

    def _placed(self, name: str, entry: Entry | None, sources: Sequence[int] = ()) -> Placed:
        """Where the messages of an entry are, now that it is settled: not always where it put them."""
        if entry is None:
            return Placed(self.find(name).uidvalidity, ())
        [op] = [op for op in entry.ops if isinstance(op, Add)]
        table = self.state.tables[op.mailbox]
        return changes.placed(table, op, sources) if self.journal.settled else Placed(table.uidvalidity, ())

    async def store_flags(
        self,
        table: Table,
        uids: Sequence[int],
        mode: Mode,
        flags: Sequence[str],
        unchanged_since: int | None = None,
    ) -> StoreResult:
        """RFC 3501 §6.4.6, RFC 7162 §3.1.3: on those of the messages that are there. Refused: see
        normal_flags.
        """
        result = StoreResult((), (), 0, 0)

        def build(state: State) -> Draft | None:
            nonlocal result
            target = changes.mailbox(state, table.mailbox)
            rows = changes.rows_of(target, uids)
            ops, result = changes.store_flags(target, rows, mode, flags, unchanged_since)
            return _draft(ops)

        entry = await self._commit(build)
        return result if entry is None else replace(result, modseq=entry.clock)

    async def expunge(self, table: Table, uids: Sequence[int] | None = None) -> list[int]:
        """RFC 3501 §6.4.3, RFC 4315 §2.1: removes the messages that have \\Deleted (of `uids`, if given).

        Returns their UIDs, ascending. Their contents stay while other messages have them.
        """
        gone: list[int] = []

        def build(state: State) -> Draft | None:
            nonlocal gone
            target = changes.mailbox(state, table.mailbox)
            rows = changes.deleted_rows(target, None if uids is None else changes.rows_of(target, uids))
            gone = [target.uids[row] for row in rows]
            return Draft([changes.remove(target, rows)]) if rows else None

        await self._commit(build)
        return gone

    async def remove(self, table: Table, uids: Sequence[int]) -> list[int]:
        """Removes messages whatever their flags, as a file is removed. Gives the UIDs of those that were
        there, ascending."""
        gone: list[int] = []

        def build(state: State) -> Draft | None:
            nonlocal gone
            target = changes.mailbox(state, table.mailbox)
            rows = changes.rows_of(target, uids)
            gone = [target.uids[row] for row in rows]
            return Draft([changes.remove(target, rows)]) if rows else None

        await self._commit(build)
        return gone

    def flags_of(self, number: int) -> tuple[str, ...]:
        """The flags of a flagset number (a value of `table.flags`); a number means the same flags for
        ever.
        """
        return self.state.flagsets.sets[number]

    def keywords(self) -> tuple[str, ...]:
        """Every keyword in use in the account, sorted: for FLAGS and PERMANENTFLAGS."""
        return tuple(self.state.flagsets.keywords())

    # --- contents: see bodies.py

    async def digests(self, contents: Sequence[int], fields: Sequence[str]) -> list[list[bytes]]:
        return await self.bodies.digests(contents, fields)

    async def body(self, content: int) -> bytes:
        return await self.bodies.body(content)

    def read_bodies(self, contents: Sequence[int]) -> AsyncGenerator[bytes | Damaged, None]:
        return self.bodies.read(contents)

    def stream_body(
        self, content: int, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        return self.bodies.stream(content, start, stop)


def _draft(ops: Sequence[Op]) -> Draft | None:
    """Nothing to say is no entry."""
    return Draft(ops) if ops else None
