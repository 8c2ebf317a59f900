"""An opened account as the target of a pass."""

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from aerogramme.errors import NoSuchMailbox, Refused
from aerogramme.log.records import KEYS_STALE
from aerogramme.log.segment import Packed
from aerogramme.mailbox import changes
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.contents import MAX_MESSAGE, Upload, segment_columns
from aerogramme.mailbox.incoming.landing import Landed, Landing
from aerogramme.mailbox.names import DELIMITER
from aerogramme.migrate.comparing import There
from aerogramme.migrate.sources.source import Folder
from aerogramme.migrate.targets.arriving import Arrived, Arriving
from aerogramme.migrate.targets.target import New, Stored
from aerogramme.together import in_parallel, together

PUTS = 8  # bodies that are stored at a time


@asynccontextmanager
async def opened(account: Account, limit: int = MAX_MESSAGE) -> AsyncIterator["Opened"]:
    """The target, as long as it is needed; what passes have sent in parcels is opened. `limit`: octets of the
    largest letter."""
    await account.drain.parcels()
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            target = Opened(account, nursery, limit)
            yield target
            await target.settle()
        except Exception as error:  # out of the nursery it would come as a group
            failure = error
        nursery.cancel_scope.cancel()  # of uploads of letters that do not land
    if failure is not None:
        raise failure


class Opened:
    """An account that is opened, and not run by anybody else in this process: letters that wait go on
    waiting, so that they do not get UIDs which the source has given to others.

    `nursery` runs the uploads of large letters, and checkpoints.
    """

    def __init__(self, account: Account, nursery: trio.Nursery, limit: int) -> None:
        self._account = account
        self._nursery = nursery
        self._limit = limit
        self._folded = trio.Event()  # no checkpoint is being written
        self._folded.set()
        self._failure: Exception | None = None  # of writing one

    async def there(self, name: str, mailbox: int) -> There:
        account = self._account
        await account.refresh()
        state = account.state
        if mailbox not in state.names.values():
            found = state.names.get(name)
            if found is None:
                return There()
            mailbox = found
        table = state.tables[mailbox]
        imported = state.attribute(mailbox, "imported")
        return There(
            mailbox,
            fresh=not len(table),
            uidvalidity=table.uidvalidity,
            uidnext=table.uidnext,
            imported=imported or 0,
            uids=table.uids[:],
            dates=table.dates[:],
            sizes=table.sizes[:],
            flag_numbers=table.flags[:],
            flagsets=state.flagsets.sets,
            contents=table.contents[:],
        )

    async def imported(self) -> Sequence[str]:
        await self._account.refresh()
        state = self._account.state
        names = [name for name, m in state.names.items() if state.attribute(m, "imported") is not None]
        return sorted(names, key=lambda name: (-name.count(DELIMITER), name))

    async def message_ids(self, there: There, rows: Sequence[int]) -> Sequence[bytes]:
        [ids] = await self._account.digests([there.contents[row] for row in rows], ["message_id"])
        return ids

    def body(self, there: There, row: int) -> AsyncGenerator[bytes, None]:
        return self._account.stream_body(there.contents[row])

    @property
    def account(self) -> bytes:
        return bytes.fromhex(self._account.id)

    def new_ids(self, count: int) -> Sequence[int]:
        return self._account.journal.new_ids(count)

    def arriving(self) -> Arriving:
        account = self._account
        [content] = account.journal.new_ids(1)
        upload = Upload(content, self.account, account.store, self._limit, self._nursery)
        return Arriving(upload)

    async def store(self, letters: Sequence[Arrived]) -> Stored:
        account = self._account
        contents = [arrived.content for arrived in letters]
        columns = segment_columns(contents)
        stored: list[Arrived] = []
        packed: list[Packed] = []

        async def put(arrived: Arrived) -> Arrived:
            if arrived.sealed is None or len(arrived.sealed) <= changes.LARGE:
                return arrived
            await account.store.put(body_name(arrived.content.id), arrived.sealed)
            return Arrived(arrived.content, None)

        async def put_large() -> None:
            stored.extend(await in_parallel(put, letters, PUTS))

        async def pack() -> None:  # in a thread: it takes some ten milliseconds, in which others go on
            ids = [content.id for content in contents]
            packed.append(await trio.to_thread.run_sync(account.journal.segments.pack, ids, columns))

        await together(put_large, pack)
        return Stored(stored, columns, packed[0])

    async def land(
        self,
        name: str,
        mailbox: int,
        folder: Folder,
        messages: Sequence[New],
        stored: Stored,
        *,
        keep: bool,
        imported: int,
    ) -> Landed:
        account = self._account
        if self._failure is not None:
            raise self._failure
        objects = [
            (body_name(arrived.content.id), arrived.sealed)
            for arrived in stored.letters
            if arrived.sealed is not None
        ]
        landing = Landing.of(
            name,
            [arrived.content for arrived in stored.letters],
            [message.uid for message in messages],
            [message.date for message in messages],
            [message.flags for message in messages],
            uidvalidity=folder.uidvalidity if keep else 0,
            imported=imported,
            role=folder.role,
            subscribed=folder.subscribed,
            mailbox=mailbox,
            digests=stored.columns,
        )
        await account.holding.renew(KEYS_STALE)
        landed = await account.land(landing, objects, stored.packed)
        if self._folded.is_set():
            self._folded = trio.Event()
            self._nursery.start_soon(self._fold)
        return landed

    async def settle(self) -> None:
        """A checkpoint that is being written is whole when this returns."""
        await self._folded.wait()
        if self._failure is not None:
            raise self._failure

    async def _fold(self) -> None:
        """Beside what lands meanwhile: it may take half a second. What goes wrong, the next landing says."""
        try:
            await self._account.fold()
        except Exception as error:
            self._failure = error
        self._folded.set()

    async def set_flags(self, mailbox: int, flags: Mapping[int, tuple[str, ...]]) -> None:
        by_flags: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for uid, wanted in flags.items():
            by_flags[wanted].append(uid)
        for wanted, uids in by_flags.items():
            await self._account.store_flags(self._account.state.tables[mailbox], uids, "=", wanted)

    async def remove(self, mailbox: int, uids: Sequence[int]) -> None:
        await self._account.remove(self._account.state.tables[mailbox], uids)

    async def remove_mailbox(self, name: str) -> bool:
        try:
            await self._account.delete_mailbox(name, empty=True)
        except (NoSuchMailbox, Refused):  # INBOX, or somebody has put something into it
            return False
        return True
