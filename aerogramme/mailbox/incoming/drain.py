"""The drain: letters that wait in the incoming partition become messages, many with one entry; parcels, each
with one of its own, before them: so that letters come after what was there before them.
"""

import logging
from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from aerogramme.errors import Damaged, Refused, UnknownGeneration
from aerogramme.log.clock import wall_ms
from aerogramme.log.entry import Add, Op
from aerogramme.log.ids import COUNT_BITS
from aerogramme.log.journal import Draft
from aerogramme.log.state import State
from aerogramme.mailbox import changes
from aerogramme.mailbox.body_record import BodyRecord, body_binding, body_name, open_letter
from aerogramme.mailbox.contents import LARGE, Content, render_kindly, render_stored, segment_columns
from aerogramme.mailbox.incoming.incoming import (
    BATCH_LETTERS,
    BATCH_OCTETS,
    PARTITION,
    Waiting,
    decode_letter,
    is_parcel,
)
from aerogramme.mailbox.incoming.landing import MAX_PARCEL_OCTETS, Landing, from_bytes, plan
from aerogramme.mailbox.names import INBOX, canonical
from aerogramme.seal import Binding, open_body
from aerogramme.store.port import Cursor

if TYPE_CHECKING:
    from aerogramme.mailbox.opened import OpenedAccount

log = logging.getLogger(__name__)


# Seconds within which servers begin with a letter where somebody waits for it; the others do so afterwards.
# To drain takes some round trips to the store: half of this is time for them.
GIVE_WAY = 0.5


class Drain:
    """The incoming letters of one opened account.

    A letter becomes the message, and the content, that has the letter's id: when two servers drain at once,
    both say the same. A letter that does not open stays where it is and is reported; the others are drained
    all the same.
    """

    def __init__(self, account: "OpenedAccount") -> None:
        self._account = account
        self._cursor: Cursor | None = None
        self._rows: dict[str, bytes] = {}  # what was read and is not drained yet
        self.unreadable: dict[str, str] = {}  # row key -> why
        self.until = 0  # what had come by then (milliseconds since 1970) is drained, as far as it can be read
        self._lock = trio.Lock()  # one at a time; who waits finds nothing left to do

    async def follow(self) -> None:
        """Drains what waits, and then what comes, for ever."""
        store = self._account.store
        await self.all_waiting()
        while True:
            assert self._cursor is not None
            await store.watch(PARTITION, self._cursor, eager=self._account.eager)
            if seconds := self._give_way():
                came, _ = await store.read(PARTITION, self._cursor)
                await trio.sleep(seconds)
                # For what has come meanwhile it gives way anew.
                await self.all_waiting(among={row.key for row in came})
            else:
                await self.all_waiting()

    def _give_way(self) -> float:
        """For how long. Where other servers are at work on this account, one of them drains what has come,
        mostly: the one that has drained last, of those where somebody waits for it. All at once would do no
        harm, but it is work in vain, and those who have not seen the same letters give them UIDs that are
        given anew."""
        journal = self._account.journal
        if not journal.accompanied():
            return 0.0
        seconds = 0.0 if self._account.eager() else GIVE_WAY
        last = _drained_last(journal.state)
        if last != journal.replica:
            mixed = (journal.replica ^ journal.state.clock) * 0x9E3779B97F4A7C15
            chance = mixed % (1 << 64) / (1 << 64)  # another one each time
            seconds += GIVE_WAY * (chance if last is None else (1 + chance) / 2)
        return seconds

    async def all_waiting(self, patience: float = float("inf"), among: Container[str] | None = None) -> int:
        """Drains all letters that are there now, or of those some (row keys); returns how many.

        After `patience` seconds no new batch is begun: what is left is for the next call. Raises Unavailable.
        """
        deadline, drained = trio.current_time() + patience, 0
        async with self._lock:
            began = wall_ms()
            complete = await self._read(among)
            while self._rows and trio.current_time() < deadline:
                drained += await self._batch()
            if complete and not self._rows:
                self.until = began
        return drained

    async def _read(self, among: Container[str] | None = None) -> bool:
        """Takes in the rows that have come. False if some are not among those that are wanted: the next read
        gives them again."""
        rows, cursor = await self._account.store.read(PARTITION, self._cursor)
        wanted = [row for row in rows if among is None or row.key in among]
        self._rows.update(row for row in wanted if row.key not in self.unreadable)
        if len(wanted) < len(rows):
            return False
        self._cursor = cursor
        return True

    async def parcels(self) -> int:
        """Opens the parcels that are there now, and leaves letters where they are; returns how many
        messages they have brought. Raises Unavailable."""
        landed = 0
        async with self._lock:
            await self._read()
            while (parcel := min(filter(is_parcel, self._rows), default=None)) is not None:
                landed += await self._parcel(parcel)
        return landed

    async def _batch(self) -> int:
        """Drains some letters with one entry. Afterwards they, and those that cannot be read, are not in
        `_rows`.

        What somebody else drained while this commits stays in `_rows`: the next batch finds it known.
        """
        account = self._account
        parcel = min(filter(is_parcel, self._rows), default=None)
        if parcel is not None:
            return await self._parcel(parcel)
        letters, known = await self._open_some()
        contents = await self._contents(letters)
        drained: list[Waiting] = []

        def build(state: State) -> Draft | None:
            nonlocal drained
            drained = [each for each in letters if each.id in contents and each.id not in state.contents]
            if not drained:
                return None
            return self._draft(state, [(each, contents[each.id]) for each in drained])

        if contents:
            await account.journal.commit(build)
        if known:
            await account.store.delete_rows(PARTITION, known)
        for key in [*known, *(each.key for each in drained)]:
            self._rows.pop(key, None)
        return len(drained)

    async def _parcel(self, key: str) -> int:
        """Lands a parcel; gives how many messages it has brought."""
        account = self._account
        landed = 0
        try:
            waiting = await self._open(key, self._rows[key])
            [body] = await account.store.get_many([body_name(waiting.id)])
            if body is None:
                await account.refresh()  # another server has drained it, and it was compacted since
                if key not in dict((await account.store.read(PARTITION))[0]):
                    self._rows.pop(key)
                    return 0
                raise Damaged("its body is missing")
            binding = body_binding(bytes.fromhex(account.id), waiting.id)
            assert waiting.contents is not None
            landing = await _landing(waiting.contents, waiting.record, binding, body)
        except Damaged as damage:
            self._report(key, damage)
            return 0

        def build(state: State) -> Draft | None:
            nonlocal landed
            draft, result = plan(state, account.maker(state), account.journal.segments, landing)
            landed = sum(map(bool, result.uids))
            gone = [(PARTITION, key)]
            return Draft([], delete=gone) if draft is None else replace(draft, delete=gone)

        try:
            await account.journal.commit(build)
        except Refused as why:
            self._report(key, why)
        else:
            self._rows.pop(key)
        return landed

    async def _open_some(self) -> tuple[list[Waiting], list[str]]:
        """The oldest letters, as many as one entry takes; and the rows of letters that are messages already:
        another server was faster, or there was a crash between entry and removal."""
        known_contents = self._account.state.contents
        letters: list[Waiting] = []
        known: list[str] = []
        octets = 0
        for key in sorted(self._rows):
            try:
                letter = await self._open(key, self._rows[key])
            except Damaged as damage:
                self._report(key, damage)
                continue
            await trio.lowlevel.checkpoint()  # sessions go on while letters are drained
            if letter.id in known_contents:
                known.append(key)
                continue
            octets += letter.record.size + letter.record.sealed_size
            if letters and octets > BATCH_OCTETS:
                break
            letters.append(letter)
            if len(letters) + len(known) == BATCH_LETTERS:
                break
        return letters, known

    async def _open(self, key: str, sealed: bytes) -> Waiting:
        binding = Binding(bytes.fromhex(self._account.id), "letter", key)
        try:
            plain = self._account.keyring.open_incoming(sealed, binding)
        except UnknownGeneration:  # who brought it may have heard of new keys before us
            await self._account.holding.renew()
            plain = self._account.keyring.open_incoming(sealed, binding)
        return decode_letter(key, plain)

    async def _contents(self, letters: Sequence[Waiting]) -> dict[int, Content]:
        """Reads and renders the letters. Those whose body cannot be read are reported and left out; the last
        ones are for the next batch when the digests are large."""
        account = bytes.fromhex(self._account.id)
        contents: dict[int, Content] = {}
        store = self._account.store
        small = [letter for letter in letters if letter.record.size <= LARGE]
        bodies = await store.get_many([body_name(letter.id) for letter in small])
        sealed = {letter.id: body for letter, body in zip(small, bodies, strict=True)}
        octets = 0
        for letter in letters:
            if octets > BATCH_OCTETS:
                break
            record = letter.record
            try:
                if letter.id not in sealed:
                    digest = await render_stored(store, account, letter.id, record)
                elif (body := sealed[letter.id]) is None:
                    raise Damaged("a body is missing")
                else:
                    digest = await render_kindly(open_letter(account, letter.id, record, body))
            except Damaged as damage:
                if not await self._is_drained(letter.id):
                    self._report(letter.key, damage)
                continue
            contents[letter.id] = content = Content(letter.id, record, digest)
            octets += content.octets
            await trio.lowlevel.checkpoint()
        return contents

    async def _is_drained(self, content: int) -> bool:
        """Whether another server has drained a letter; its body may have been written anew since, and be gone
        (reencrypting.py). The next batch finds it known."""
        await self._account.refresh()
        return content in self._account.state.contents

    def _draft(self, state: State, letters: Sequence[tuple[Waiting, Content]]) -> Draft:
        """One add for each mailbox that gets letters; the rows go with the entry."""
        by_mailbox: defaultdict[int, list[tuple[Waiting, Content]]] = defaultdict(list)
        for letter, content in letters:
            by_mailbox[_mailbox_for(state, letter.detail)].append((letter, content))
        ops: list[Op] = []
        objects: list[tuple[str, bytes]] = []
        for mailbox, group in by_mailbox.items():
            contents = [content for _, content in group]
            ids = [content.id for content in contents]
            segment = self._account.journal.segments.pack(ids, segment_columns(contents))
            dates = [letter.millis // 1000 for letter, _ in group]
            flags: list[tuple[str, ...]] = [()] * len(group)
            op = changes.add(state.tables[mailbox], ids, contents, dates, flags, segment.ref)
            ops.append(op)
            objects += segment.objects
        return Draft(ops, objects=objects, delete=[(PARTITION, letter.key) for letter, _ in letters])

    def _report(self, key: str, damage: Damaged | Refused) -> None:
        self._rows.pop(key)
        self.unreadable[key] = str(damage)
        log.error(
            "account %s: letter %s cannot be read and stays where it is: %s", self._account.id, key, damage
        )


def _drained_last(state: State) -> int | None:
    """The replica that has drained last, of what no checkpoint covers. Letters have ids that are no
    replica's of the log."""
    last, found = 0, None
    for replica, trail in state.history.trails.items():
        for record in reversed(trail.records.values()):
            if record.entry.clock <= last:
                break
            if any(isinstance(op, Add) and op.ids[0] >> COUNT_BITS != replica for op in record.entry.ops):
                last, found = record.entry.clock, replica
                break
    return found


async def _landing(contents: range, record: BodyRecord, binding: Binding, body: bytes) -> Landing:
    """What a parcel says. A large one is opened in a thread, so that other sessions are served meanwhile.
    Raises Damaged."""

    def read() -> Landing:
        return from_bytes(open_body(record.key, binding, body, MAX_PARCEL_OCTETS), contents)

    return await trio.to_thread.run_sync(read) if record.size > LARGE else read()


def _mailbox_for(state: State, detail: str | None) -> int:
    """The mailbox that a letter asked for (user+detail) if there is one, without regard to case; else
    INBOX.
    """
    inbox = state.names[INBOX]
    if detail is None:
        return inbox
    name = canonical(detail)
    if name in state.names:
        return state.names[name]
    folded = name.casefold()
    return next(
        (mailbox for each, mailbox in sorted(state.names.items()) if each.casefold() == folded), inbox
    )
