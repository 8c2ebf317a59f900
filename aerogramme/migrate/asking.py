"""What a pass asks of a source, and what it makes of the answers: names, flags, and letters that are good
here."""

from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise

from aerogramme.errors import Refused, TooLarge, Unreadable
from aerogramme.mailbox import names
from aerogramme.migrate.flags import keepable
from aerogramme.migrate.report import Report
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Messages, Source
from aerogramme.migrate.targets.arriving import Arrived, Arriving


def named(folders: Iterable[Folder], report: Report) -> Iterator[tuple[Folder, str]]:
    """The folders, each with the name of its mailbox here: its own, made distinct. Those that can have none
    are faults."""
    used: set[str] = set()
    for folder in folders:
        try:
            name = plain = names.check(folder.name)
        except Refused as error:
            report.fault(Fault(folder.origin, f"no mailbox can be called so: {error}", "left out", lost=True))
            continue
        number = 1
        while name in used:
            number += 1
            name = f"{plain} ({number})"
        if name != plain:
            report.fault(Fault(folder.origin, f"another mailbox is called {plain}", f"it is {name} here"))
        used.add(name)
        yield folder, name


@asynccontextmanager
async def closing(pieces: AsyncIterator[bytes]) -> AsyncGenerator[AsyncIterator[bytes], None]:
    """The pieces of a letter, closed at the end if they are a generator that was not read to its end."""
    try:
        yield pieces
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


async def said_by(source: Source, folder: Folder, report: Report) -> Messages | None:
    """The messages of a folder, with flags that can be kept; None, and a fault, if they cannot be told."""
    try:
        said = await source.messages(folder)
    except Unreadable as error:
        report.fault(Fault(folder.origin, str(error), "the mailbox is left out", lost=True))
        return None
    if any(a >= b for a, b in pairwise(said.uids)) or (said.uids and not said.uids[0]):
        report.fault(Fault(folder.origin, "its UIDs do not ascend", "the mailbox is left out", lost=True))
        return None
    kept: dict[tuple[str, ...], tuple[str, ...]] = {}
    for flags in set(said.flags):
        kept[flags], changed = keepable(flags)
        for what in changed:
            report.fault(Fault(folder.origin, what, "the messages that have it are taken over"))
    said.flags = [kept[flags] for flags in said.flags]
    return said


async def read(letter: Letter, arriving: Arriving) -> Arrived:
    """A letter, read to its end and sealed. Raises Unreadable, TooLarge, Unavailable; it is dropped then."""
    too_large: TooLarge | None = None
    try:
        async with closing(letter.pieces) as pieces:
            async for piece in pieces:
                if too_large is None:
                    try:
                        await arriving.write(piece)
                    except TooLarge as error:
                        too_large = error  # the rest has to be read all the same: the next comes after it
        if too_large is not None:
            raise too_large
        return await arriving.finish()
    except BaseException:
        arriving.drop()
        raise


def row_of(said: Messages, uid: int) -> int:
    """The row of a UID. Raises Unreadable if the source never said that there is one."""
    row = bisect_left(said.uids, uid)
    if row == len(said.uids) or said.uids[row] != uid:
        raise Unreadable(f"it gives a message of UID {uid}, which it did not name")
    return row


def broken_off(folder: Folder, error: Exception) -> Fault:
    """A mailbox that could not be taken over as a whole."""
    return Fault(folder.origin, str(error), "the rest of the mailbox is left out", lost=True)


def lost(folder: Folder, uid: int, error: Unreadable | TooLarge) -> Fault:
    """A letter that could not be taken over."""
    return Fault(
        f"{folder.origin}, UID {uid}", str(error), "left out; the next pass tries it again", lost=True
    )
