"""Folding: a state becomes a checkpoint, and small segments become larger ones on the way."""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import trio

from aerogramme.errors import Damaged
from aerogramme.log import checkpoint
from aerogramme.log.entry import SegmentRef
from aerogramme.log.records import Records
from aerogramme.log.segment import Packer, Segments
from aerogramme.log.state import State
from aerogramme.seal import Keyring
from aerogramme.store.port import Store

log = logging.getLogger(__name__)

FOLD_ENTRIES = 256  # entries after a checkpoint that make another worth it: reading them takes some 10 ms
FOLD_INLINE = 4 * 1024 * 1024  # or so many octets of digests in them, which stay in memory until then
SEGMENT = 1000  # contents of a merged segment: some MB of text, read with one request

Newest = Callable[[], AbstractAsyncContextManager[None]]


class Folding:
    """Writes the checkpoints of one journal, one at a time.

    `newest` is entered to be alone with the newest state, settled: nobody reads or appends meanwhile.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        records: Records,
        state: State,
        segments: Segments,
        newest: Newest,
    ) -> None:
        self._store = store
        self._records = records
        self._keyring = keyring
        self._state = state
        self._segments = segments
        self._newest = newest
        self._lock = trio.Lock()
        self._merged: list[int] = []  # segments whose contents are in others now
        self._unmergeable: set[int] = set()  # and segments next to which one cannot be read

    async def fold(self, packer: Packer | None, *, force: bool) -> bool:
        """See Journal.fold."""
        if not force and not self._worth_a_checkpoint():
            return False
        async with self._lock:
            if not force and not self._worth_a_checkpoint():
                return False
            self._drop_merged()
            await self._records.fresh()
            merged = await self._merge_segments(packer)
            async with self._newest():
                if merged:
                    old, new = merged
                    self._state.replace_segments(old, new)
                    self._merged = old
                snapshot = checkpoint.take(self._state, self._keyring)
            try:
                for name, body in snapshot.objects:
                    await self._store.put(name, body)
            except BaseException:
                checkpoint.failed(self._state, snapshot)
                raise
            checkpoint.stored(self._state, snapshot)
            return True

    def _worth_a_checkpoint(self) -> bool:
        history, state = self._state.history, self._state
        tail = sum(len(trail.records) for trail in history.trails.values())
        return tail >= FOLD_ENTRIES or (tail > 0 and state.inline_size >= FOLD_INLINE)

    def _drop_merged(self) -> None:
        """Let go of the inline digests that the fold before has put into other segments."""
        for index in self._merged:
            self._state.segments[index] = replace(self._state.segments[index], inline=None)
        self._merged = []

    async def _merge_segments(self, packer: Packer | None) -> tuple[list[int], list[SegmentRef]] | None:
        """New segments of about SEGMENT contents, stored, in place of small ones, and of those whose bodies
        can be packed: old indices, new ones."""

        def has_to(ref: SegmentRef) -> bool:
            return ref.inline is not None or (packer is not None and ref.packs is None)

        named = sorted(self._state.named_segments() - self._unmergeable)
        small = [i for i in named if has_to(self._state.segments[i]) or _is_small(self._state.segments[i])]
        old: list[int] = []
        new: list[SegmentRef] = []
        batch: list[int] = []
        for index in [*small, None]:
            size = sum(len(self._state.segments[i].contents) for i in batch)
            if batch and (index is None or size + len(self._state.segments[index].contents) > SEGMENT):
                if len(batch) == 1 and not has_to(self._state.segments[batch[0]]):
                    batch = [] if index is None else [index]
                    continue
                try:
                    packed = await self._segments.merge(batch, packer)
                except Damaged as e:  # they stay as they are: all that can be read, stays readable
                    log.error("digests of account %s cannot be read: %s", self._keyring.account.hex(), e)
                    self._unmergeable.update(batch)
                else:
                    for name, body in packed.objects:
                        await self._store.put(name, body)
                    old += batch
                    new.append(packed.ref)
                batch = []
            if index is not None:
                batch.append(index)
        return (old, new) if new else None


def _is_small(ref: SegmentRef) -> bool:
    return len(ref.contents) < SEGMENT // 2
