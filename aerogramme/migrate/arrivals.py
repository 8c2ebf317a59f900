"""Letters on their way from a source: read one after the other, sealed in groups, and handed on in their
order.

What is under way at a time is bounded: some groups, and one large letter.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial

import trio

from aerogramme.errors import TooLarge, Unreadable
from aerogramme.migrate.asking import closing, lost, read
from aerogramme.migrate.sealer import Unsealed
from aerogramme.migrate.sealing import Sealing
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Source
from aerogramme.migrate.targets.arriving import Arrived
from aerogramme.migrate.targets.target import Target
from aerogramme.together import together

GROUP = 64  # letters
GROUP_OCTETS = 1024 * 1024
LARGE = 1536 * 1024  # octets of a group of which one is under way at a time: a large letter, most likely
WHOLE = 8 * 1024 * 1024  # octets of a letter that is held whole; a larger one is stored while it comes

Take = Callable[[Sequence[int], Sequence[Arrived]], Awaitable[None]]
"""Takes UIDs, and their letters."""


@dataclass(slots=True)
class _Group:
    """Some letters; once it is `ready` they have arrived, or have not because of an error."""

    uids: list[int] = field(default_factory=list)
    letters: list[tuple[bytes, int | None]] = field(default_factory=list)  # and their lines
    octets: int = 0
    arrived: Sequence[Arrived] = ()
    error: Exception | None = None
    ready: trio.Event = field(default_factory=trio.Event)

    @property
    def full(self) -> bool:
        return len(self.uids) >= GROUP or self.octets >= GROUP_OCTETS


class Arrivals:
    """The letters of a folder. `lose` is told of each that cannot be had."""

    def __init__(
        self,
        source: Source,
        folder: Folder,
        target: Target,
        sealing: Sealing,
        lose: Callable[[Fault], None],
    ) -> None:
        self._source, self._folder = source, folder
        self._target, self._sealing = target, sealing
        self._lose = lose

    async def run(self, uids: Sequence[int], take: Take) -> None:
        """Has `take` take all letters of these UIDs that can be had. Raises what reading and taking raise."""
        await self._sealing.prepare(len(uids))
        most = self._sealing.ahead + 1
        ordered, next_ones = trio.open_memory_channel[_Group](most)
        work, jobs = trio.open_memory_channel[_Group](most)

        async def fetch() -> None:
            large = None
            async with ordered, work, aclosing(self._groups(uids)) as groups:
                with suppress(trio.BrokenResourceError):  # who takes them has failed, and says why
                    async for group in groups:
                        if group.octets > LARGE:
                            if large is not None:
                                await large.ready.wait()
                            large = group
                        await ordered.send(group)
                        if not group.ready.is_set():
                            await work.send(group)

        async def hand_on() -> None:
            async with next_ones:
                async for group in next_ones:
                    await group.ready.wait()
                    if group.error is not None:
                        raise group.error
                    await take(group.uids, group.arrived)

        sealers = [partial(self._seal, jobs.clone()) for _ in range(max(1, self._sealing.ahead))]
        jobs.close()
        await together(hand_on, fetch, *sealers)

    async def _seal(self, jobs: trio.MemoryReceiveChannel[_Group]) -> None:
        async with jobs:
            async for group in jobs:
                try:
                    contents = self._target.new_ids(len(group.letters))
                    letters = [
                        Unsealed(new, *letter) for new, letter in zip(contents, group.letters, strict=True)
                    ]
                    group.letters.clear()
                    group.arrived = await self._sealing.seal(self._target.account, letters)
                except Exception as error:  # for who waits for the group
                    group.error = error
                group.ready.set()

    async def _groups(self, uids: Sequence[int]) -> AsyncGenerator[_Group, None]:
        group = _Group()
        async with aclosing(self._source.letters(self._folder, uids)) as letters:
            async for letter in letters:
                if isinstance(letter, Fault):
                    self._lose(letter)
                    continue
                try:
                    found = await self._take(letter)
                except (Unreadable, TooLarge) as error:
                    self._lose(lost(self._folder, letter.uid, error))
                    continue
                if isinstance(found, Arrived):
                    if group.uids:
                        yield group
                        group = _Group()
                    alone = _Group([letter.uid], arrived=[found])
                    alone.ready.set()
                    yield alone
                    continue
                group.uids.append(letter.uid)
                group.letters.append((found, letter.lines))
                group.octets += len(found)
                if group.full:
                    yield group
                    group = _Group()
        if group.uids:
            yield group

    async def _take(self, letter: Letter) -> bytes | Arrived:
        """A letter; one that is too large to be held is sealed as it comes."""
        held: list[bytes] = []
        size = 0
        async with closing(letter.pieces) as pieces:
            async for piece in pieces:
                held.append(piece)
                size += len(piece)
                if size > WHOLE:
                    return await read(Letter(letter.uid, _chained(held, pieces)), self._target.arriving())
        return b"".join(held)


async def _chained(first: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What has come, and what is still to come."""
    while first:
        yield first.pop(0)
    async for piece in rest:
        yield piece
