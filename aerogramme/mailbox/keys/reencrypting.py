"""Bodies under new keys: each content that a message has becomes another, whose body has a key of its own.

Theory of operation. A content is never changed. A message that is added again with a greater content has that
one from then on, whatever the order in which entries are read, with everything else as it was; so bodies are
written anew as other contents, and their messages added again with those. It is the rule of the log for
letters that two servers drain (log/table.py), and it holds for two runs of this at once.

Bodies that no message has any more are deleted at the end. Others may refer to one they have seen: who has
not read the log for a minute reads it before he appends, so after `lag` seconds without a reference there
will be none.
"""

import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

import trio

from aerogramme.errors import Damaged
from aerogramme.log.entry import Add
from aerogramme.log.ids import COUNT_BITS, MAX_REPLICA
from aerogramme.log.journal import Draft
from aerogramme.log.resealing import PAGE, PAUSE, Tally
from aerogramme.log.segment import Column
from aerogramme.log.state import State
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.body_record import BodyRecord, body_binding, body_name, pack_name
from aerogramme.mailbox.contents import GROUPS, LARGE
from aerogramme.seal import Binding, BodySealer, ContentKey, seal_body

BATCH, BATCH_OCTETS = 250, 8 * 1024 * 1024  # contents, and letters, added again with one entry
STEP = (
    1 << 20
)  # from the replica of a content to that of the one in its place, at most: numbers go on for long

NO_ID = "there is no greater id for it"

Fields = Mapping[str, Mapping[str, Column]]


class Reencrypting:
    """One run over the bodies of an account.

    done     what was written anew
    removed  how many bodies were deleted
    left     content -> why its body is as it was
    """

    def __init__(self, account: Account, told: Callable[[], None]) -> None:
        self._account, self._store, self._journal = account, account.store, account.journal
        self._told = told
        self._kept: set[str] = set()  # packs that are still needed
        self.done = Tally()
        self.removed = 0
        self.left: dict[int, str] = {}

    async def run(self, lag: float) -> None:
        """Raises Unavailable; then it may be begun anew."""
        await self._account.refresh()
        packs = await self._names(pack_name(""))
        old = _live(self._account.state)
        while True:
            await self._write(sorted(old & _live(self._account.state) - self.left.keys()))
            await trio.sleep(lag)
            await self._account.refresh()
            if not old & _live(self._account.state) - self.left.keys():
                break
        live = _live(self._account.state)
        gone = [content for content in _known(self._account.state) if content not in live]
        there = set(await self._names("body/"))
        names = [name for content in gone if (name := body_name(content)) in there]
        self.removed = len(names)
        names += [name for name in packs if name not in self._kept]
        for start in range(0, len(names), PAGE):
            await self._store.delete(names[start : start + PAGE])

    async def _names(self, prefix: str) -> list[str]:
        names: list[str] = []
        while page := await self._store.list(prefix, names[-1] if names else "", PAGE):
            names += page
        return names

    # --- writing anew

    async def _write(self, contents: Sequence[int]) -> None:
        by_segment: dict[int, list[_Old]] = {}
        for content in contents:
            place = self._account.state.contents.find(content)
            if place is None:
                self.left[content] = "it has no digest"
            else:
                by_segment.setdefault(place[0], []).append(_Old(content, place[1]))
        for segment, olds in by_segment.items():
            try:
                fields = {g: (await self._journal.segments.load([segment], g))[0] for g in GROUPS}
            except Damaged as why:
                self.left.update((old.content, f"its digest: {why}") for old in olds)
                self._kept.update(map(pack_name, self._account.state.segments[segment].packs or ()))
                continue
            for some in self._batches(olds, fields["digest"]["record"]):
                began = trio.current_time()
                await self._batch(fields, some)
                self._told()
                await trio.sleep(PAUSE * (trio.current_time() - began))

    def _batches(self, olds: Sequence["_Old"], records: Column) -> list[dict["_Old", BodyRecord]]:
        """The contents whose bodies can be found, some at a time."""
        batches: list[dict[_Old, BodyRecord]] = []
        octets = 0
        for old in olds:
            try:
                record = BodyRecord.from_bytes(records[old.at])
            except Damaged as why:
                self.left[old.content] = str(why)
                continue
            octets += record.size
            if not batches or len(batches[-1]) == BATCH or octets > BATCH_OCTETS:
                batches.append({})
                octets = record.size
            batches[-1][old] = record
        return batches

    async def _batch(self, fields: Fields, olds: Mapping["_Old", BodyRecord]) -> None:
        """Some contents of one segment, with one entry."""
        renamed = self._new_ids([old.content for old in olds])
        written: dict[_Old, BodyRecord] = {}
        objects: list[tuple[str, bytes]] = []
        small = [old for old in olds if old.content in renamed and olds[old].size <= LARGE]
        waiting = iter(small)
        async with aclosing(self._account.read_bodies([old.content for old in small])) as letters:
            async for letter in letters:
                old = next(waiting)
                if isinstance(letter, Damaged):
                    self._leave(old, olds[old], letter)
                    continue
                key, new = ContentKey.generate(), renamed[old.content]
                sealed = seal_body(key, self._binding(new), letter)
                objects.append((body_name(new), sealed))
                written[old] = BodyRecord(key, len(sealed), len(letter))
                await trio.lowlevel.checkpoint()
        for old, record in olds.items():
            if old.content in renamed and record.size > LARGE:
                try:
                    written[old] = await self._large(old.content, renamed[old.content], record)
                except Damaged as why:
                    self._leave(old, record, why)
        if written:
            await self._add_again(fields, written, renamed, objects)

    async def _add_again(
        self,
        fields: Fields,
        written: Mapping["_Old", BodyRecord],
        renamed: Mapping[int, int],
        objects: Sequence[tuple[str, bytes]],
    ) -> None:
        groups: dict[str, dict[str, list[bytes]]] = {
            group: {name: [column[old.at] for old in written] for name, column in columns.items()}
            for group, columns in fields.items()
        }
        groups["digest"]["record"] = [record.to_bytes() for record in written.values()]
        again = {old.content: renamed[old.content] for old in written}
        segment = self._journal.segments.pack(again.values(), groups)

        def build(state: State) -> Draft | None:
            ops = added_again(state, again)
            if not ops:
                return None
            ops[0] = replace(ops[0], segment=segment.ref)
            return Draft(ops, objects=[*objects, *segment.objects])

        if await self._journal.commit(build) is None:  # the messages have gone meanwhile
            await self._store.delete([body_name(new) for new in again.values()])
            return
        for record in written.values():
            self.done.add(record.sealed_size)

    def _new_ids(self, contents: Sequence[int]) -> dict[int, int]:
        found = greater_ids(self._account.state, contents)
        self.left.update((content, NO_ID) for content in contents if content not in found)
        return found

    async def _large(self, content: int, new: int, record: BodyRecord) -> BodyRecord:
        """A large body, piece by piece."""
        key = ContentKey.generate()
        sealer = BodySealer(key, self._binding(new))

        async def sealed() -> AsyncGenerator[bytes, None]:
            async with aclosing(self._account.stream_body(content)) as pieces:
                async for piece in pieces:
                    yield sealer.update(piece)
            yield sealer.finish()

        await self._store.put(body_name(new), sealed())
        return BodyRecord(key, sealer.sealed_size, record.size)

    def _binding(self, content: int) -> Binding:
        return body_binding(bytes.fromhex(self._account.id), content)

    def _leave(self, old: "_Old", record: BodyRecord, why: Damaged) -> None:
        self.left[old.content] = str(why)
        if record.place is not None:
            self._kept.add(pack_name(record.place.pack))


class _Old(NamedTuple):
    """A content to be written anew, and its position in its segment."""

    content: int
    at: int


def greater_ids(state: State, contents: Sequence[int]) -> dict[int, int]:
    """A greater id for each content, that nothing has; but for those where there is none."""
    found: dict[int, int] = {}
    step = secrets.randbelow(STEP) + 1
    for content in contents:
        new = content + (step << COUNT_BITS)
        while new in state.contents:
            new += 1 << COUNT_BITS
        if new >> COUNT_BITS <= MAX_REPLICA:
            found[content] = new
    return found


def _live(state: State) -> set[int]:
    """The contents that messages have, whether they can be seen or not."""
    found: set[int] = set()
    for table in state.tables.values():
        found.update(table.contents)
        found.update(hidden.content for hidden in table.hidden.values())
    return found


def _known(state: State) -> list[int]:
    """All contents that have a digest."""
    return [content for index in sorted(state.named_segments()) for content in state.segments[index].contents]


def added_again(state: State, again: Mapping[int, int], sizes: Mapping[int, int] | None = None) -> list[Add]:
    """The messages with these contents, with those in their place. `sizes`: content in their place -> octets,
    where that is another letter."""
    ops = []
    for table in state.tables.values():
        rows = [row for row, content in enumerate(table.contents) if content in again]
        news = [again[table.contents[row]] for row in rows]
        if rows:
            ops.append(
                Add(
                    table.mailbox,
                    [table.ids[row] for row in rows],
                    [table.uids[row] for row in rows],
                    [table.dates[row] for row in rows],
                    [table.sizes[row] for row in rows] if sizes is None else [sizes[new] for new in news],
                    [()] * len(rows),
                    news,
                )
            )
    return ops
