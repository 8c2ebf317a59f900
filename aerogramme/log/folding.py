"""Folding: a state becomes a checkpoint, and small segments become larger ones on the way."""

import logging
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import trio

from aerogramme.errors import Damaged, Outdated
from aerogramme.log import checkpoint
from aerogramme.log.adopting import adopt
from aerogramme.log.entry import SegmentRef
from aerogramme.log.manifest import read
from aerogramme.log.records import Records
from aerogramme.log.segment import Bulky, Packer, Segments
from aerogramme.log.state import State
from aerogramme.log.suffix import base_of

log = logging.getLogger(__name__)

FOLD_ENTRIES = 256  # entries after a checkpoint that make another worth it: reading them takes some 10 ms
FOLD_INLINE = 4 * 1024 * 1024  # or so many octets of digests in them, which stay in memory until then
SEGMENT = 1000  # contents of a merged segment: some MB of text, read with one request

# A state that has not looked at the newest checkpoint for so long may name parts that are gone: what nothing
# names is kept for a day (needed.py).
AWAY_MS = 12 * 60 * 60 * 1000

Newest = Callable[[], AbstractAsyncContextManager[None]]


class Folding:
    """Writes the checkpoints of one journal, one at a time, and takes over those of others.

    `newest` is entered to be alone with the newest state, settled: nobody reads or appends meanwhile.
    """

    def __init__(
        self,
        records: Records,
        state: State,
        segments: Segments,
        newest: Newest,
        now_ms: Callable[[], int],
    ) -> None:
        self._records = records
        self._store, self._keyring = records.store, records.keyring
        self._state = state
        self._segments = segments
        self._newest = newest
        self._now_ms = now_ms
        self._lock = trio.Lock()
        self._looked = now_ms()  # when the state named the parts that the newest checkpoint names
        self._merged: set[int] = set()  # segments whose contents are in others now
        self._unmergeable: set[int] = set()  # and those that cannot be read

    async def outdated(self) -> bool:
        """Whether the state may name parts that are gone. Raises Unavailable."""
        now = self._now_ms()  # before it is asked: a machine may sleep while it waits
        if now - self._looked <= AWAY_MS:
            return False
        names = await checkpoint.newest(self._store)
        if names and base_of(names[0]) != base_of(self._state.checkpoint):
            return True
        self._looked = now
        return False

    async def look(self) -> bool:
        """See Journal.look."""
        async with self._lock:
            return await self._look()

    async def _look(self) -> bool:
        now = self._now_ms()
        names = await checkpoint.newest(self._store)
        for name in names:
            if base_of(name) == base_of(self._state.checkpoint):
                break
            if name in self._state.damaged:
                continue  # a part of it cannot be read: this state is from an older one
            try:
                manifest = await read(self._records, name)
            except Damaged:
                continue  # who opens the account leaves it out, too
            async with self._newest():
                before = self._state.named_segments()
                if not adopt(self._state, manifest):
                    return False
                self._merged |= before - self._state.named_segments()
            self._state.checkpoint = name
            break
        else:
            if names:
                return False  # none of them can be read
        self._looked = now
        return True

    async def fold(self, packer: Packer | None, *, force: bool, without: Container[int] = ()) -> bool:
        """See Journal.fold."""
        if self._state.missing or (not force and not self._worth_a_checkpoint()):
            return False
        async with self._lock:
            self._drop_merged()
            began = self._now_ms()  # what is merged from here on, nothing names before the checkpoint does
            await self._look()
            if not force and not self._worth_a_checkpoint():
                return False
            await self._records.fresh()
            old, new = await self._merge_segments(packer, without)
            async with self._newest():
                if self._left_out(old, new):
                    old, new = set(), []
                before = [self._state.segments[index] for index in sorted(old)]
                self._replace(before, new)
                self._merged |= old
                snapshot = checkpoint.take(self._state, self._keyring)
            try:
                for name, body in snapshot.objects:
                    if self._now_ms() - began > AWAY_MS:
                        raise Outdated  # what this names may be gone: that makes no checkpoint
                    await self._store.put(name, body)
            except BaseException:
                checkpoint.failed(self._state, snapshot)
                # No checkpoint names the merged ones, so they may be let go of: nor does this state.
                self._replace(new, before)
                self._merged -= old
                raise
            checkpoint.stored(self._state, snapshot)
            return True

    def _replace(self, old: Sequence[SegmentRef], new: Sequence[SegmentRef]) -> None:
        """The state has the digests of some segments in others from here on."""
        if old or new:
            gone = {ref.name for ref in old}
            named = (self._state.segments[index] for index in sorted(self._state.named_segments()))
            self._state.set_segments([*(ref for ref in named if ref.name not in gone), *new])

    def _left_out(self, old: Iterable[int], new: Iterable[SegmentRef]) -> bool:
        """Whether a message has, by now, a content whose digest was left out while segments were merged: it
        was brought back meanwhile. Then what was merged is not used."""
        gone = {content for index in old for content in self._state.segments[index].contents}
        gone.difference_update(*(ref.contents for ref in new))
        tables = self._state.tables.values() if gone else ()
        return any(
            not gone.isdisjoint(table.contents) or any(h.content in gone for h in table.hidden.values())
            for table in tables
        )

    def _worth_a_checkpoint(self) -> bool:
        state = self._state
        tail = state.history.tail
        return tail >= FOLD_ENTRIES or (tail > 0 and state.inline_size >= FOLD_INLINE)

    def _drop_merged(self) -> None:
        """Let go of the inline digests that the fold before has put into other segments."""
        for index in self._merged - self._state.named_segments():
            self._state.segments[index] = replace(self._state.segments[index], inline=None)
        self._merged = set()

    async def _merge_segments(
        self, packer: Packer | None, without: Container[int]
    ) -> tuple[set[int], list[SegmentRef]]:
        """New segments of up to SEGMENT contents, stored, in place of those that have come since, of those
        with much that is to be left out, and of those whose bodies can be packed, and with them of small
        ones: old indices, new ones."""

        def has_to(ref: SegmentRef) -> bool:
            unpacked = packer is not None and ref.packs is None
            return ref.inline is not None or unpacked or wasteful(ref, without)

        named = sorted(self._state.named_segments() - self._unmergeable)
        must = {index for index in named if has_to(self._state.segments[index])}
        old: set[int] = set()
        new: list[SegmentRef] = []
        batches = self._batches(sorted(must | self._joining(named, must)))
        while batches:
            batch = batches.pop(0)
            if must.isdisjoint(batch):
                continue
            try:
                packed = await self._segments.merge(batch, packer, without)
            except (Bulky, Damaged) as e:
                if len(batch) > 1:
                    half = len(batch) // 2
                    batches[:0] = batch[:half], batch[half:]
                else:  # it stays as it is
                    name = self._state.segments[batch[0]].name
                    log.error("account %s: segment %s: %s", self._keyring.account.hex(), name, e)
                    self._unmergeable.update(batch)
                continue
            old.update(batch)
            if packed is not None:
                for name, body in packed.objects:
                    await self._store.put(name, body)
                new.append(packed.ref)
        return old, new

    def _joining(self, named: Sequence[int], must: set[int]) -> set[int]:
        """The small segments that are merged with those that have to be: one after the other, while each has
        no more than twice what is merged already. So a content is written again some nine times until its
        segment is large, and not with every checkpoint, of which several are kept."""
        sizes = {index: len(self._state.segments[index].contents) for index in named}
        merged = sum(sizes[index] for index in must)
        joining: set[int] = set()
        for index in sorted(sizes.keys() - must, key=lambda index: (sizes[index], index)):
            if sizes[index] > min(2 * merged, SEGMENT // 2):
                break
            joining.add(index)
            merged += sizes[index]
        return joining

    def _batches(self, indices: Sequence[int]) -> list[list[int]]:
        """Segments to be merged, those of one batch with each other."""
        batches: list[list[int]] = []
        room = 0
        for index in indices:
            size = len(self._state.segments[index].contents)
            if not batches or size > room:
                batches.append([])
                room = SEGMENT
            batches[-1].append(index)
            room -= size
        return batches


def wasteful(ref: SegmentRef, without: Container[int]) -> bool:
    """Whether a segment has so many contents that are to be left out that it is worth a new one. Sooner where
    there are packs, which may be wasted with fewer: the bodies that nobody needs may be the larger ones."""
    needless = sum(content in without for content in ref.contents) if without else 0
    return needless * (4 if ref.packs else 2) > len(ref.contents)
