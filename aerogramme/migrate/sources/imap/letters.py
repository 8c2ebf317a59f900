"""The letters of a mailbox, in order, read ahead over several connections.

A batch of UIDs is one command, and each connection has one batch on its way. Not more: Dovecot begins with
the next one before it has ended the one before, and sends letters of both. While one is read, the server
works for the other connections. The letters are read one after the other, so of those that nobody has asked
for yet nothing is in memory here: they wait in the sockets, and the server waits for us.

Where a batch does not come as it should (a letter is missing amid it, the server says NO, the connection
falls), all connections are given up, and it goes on from where it stands: what was missing is asked for one
by one, so that the server's answer is about this letter alone. A letter at which the connection falls, three
times, with nothing else on its way, cannot be read.
"""

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.imap.answers import fetched, uid, uid_in
from aerogramme.migrate.sources.imap.body import Body, Mailbox, Small
from aerogramme.migrate.sources.imap.connection import Connection, Fallen, Stopped, Text
from aerogramme.migrate.sources.imap.opening import Opened, check
from aerogramme.migrate.sources.imap.pool import Tries
from aerogramme.migrate.sources.imap.reading import Answer, Head, Nonsense
from aerogramme.migrate.sources.source import Fault, Letter

BATCH: Final = 32  # letters: half a megabyte, and a command of some 300 octets
_TRIES: Final = 3  # of a letter at which the connection falls
_WORTH_READING: Final = 1 << 20  # octets of a letter that nobody wants: for more it is better to connect anew


async def read(mailbox: Mailbox, uids: Sequence[int]) -> AsyncGenerator[Letter | Fault, None]:
    """As Source.letters. Raises Unreadable, Unavailable, and what Access.connect raises."""
    at = 0  # index of the UID that is next
    alone = 0 if mailbox.pool.uid_first else len(uids)  # those before this index are asked for one by one
    solo = False  # the next one, with nothing else on its way: a connection that falls may take that with it
    falls = 0  # of connections at the next one, when it was solo
    tries = Tries(mailbox.pool.pauses)
    while at < len(uids):
        run = _Run(mailbox, uids, at, alone, solo=solo)
        try:
            await run.start()
            while (found := await run.next()) is not None:
                yield found
            return
        except (_GoOn, Fallen) as stopped:
            if run.at > at:
                tries.reset()
                falls = 0
            elif solo and run.waits and isinstance(stopped, Fallen) and not stopped.later:
                falls += 1
            solo = isinstance(stopped, Fallen)
            if isinstance(stopped, _GoOn):
                alone = max(alone, stopped.alone)
            elif falls < _TRIES:
                await tries.wait(stopped)
            else:  # it is this letter
                yield mailbox.lost(uids[run.at], str(stopped.error))
                tries.reset()
                falls = 0
                run.at += 1
        finally:
            run.give_up()
        at = run.at


class _GoOn(Exception):
    """Give up the connections and go on; `alone`: what is before this index is asked for one by one."""

    def __init__(self, alone: int) -> None:
        super().__init__()
        self.alone = alone


class _Batch:
    """A command that is on its way: the UIDs that it asks for, and that have not come."""

    def __init__(self, connection: Connection, uids: Sequence[int]) -> None:
        self.connection = connection
        self.tag = b""
        self.fallen: Fallen | None = None  # the command could not be sent
        self.single = len(uids) == 1
        self.missing = deque(uids)


class _Run:
    """Batches on their way, from `at` on, as long as all is as it should be.

    at     index of the UID that is next
    waits  whether the server was asked for this one, and it is its turn to answer
    """

    def __init__(self, mailbox: Mailbox, uids: Sequence[int], at: int, alone: int, *, solo: bool) -> None:
        self.at = at
        self.waits = False
        self._mailbox = mailbox
        self._uids = uids
        self._alone = max(alone, at + 1) if solo else alone
        self._solo = solo
        self._next = at  # index of the UID that is asked for next
        self._held: list[Connection] = []
        self._opening: dict[Connection, tuple[bytes, Opened]] = {}
        self._batches: deque[_Batch] = deque()
        self._free: Connection | None = None  # its batch has ended
        self._body: Body | Small | None = None

    async def start(self) -> None:
        """Asks for the first batches."""
        self._held.append(await self._mailbox.pool.lease())
        batches = -(-(len(self._uids) - self.at) // BATCH)
        if batches > 1 and not self._solo:
            self._held += await self._mailbox.pool.more(batches)
        for connection in self._held:
            # Anew each time: what has come since the mailbox was opened last is not there otherwise.
            try:
                tag = await connection.send(b"EXAMINE ", Text(self._mailbox.spelled))
            except Stopped as stopped:
                check(connection, stopped.ended)
                raise connection.nonsense("it does not want to hear the name of a mailbox") from None
            self._opening[connection] = tag, Opened()
        for connection in self._held:
            await self._ask(connection)

    async def _ask(self, connection: Connection) -> None:
        """Asks for the next batch."""
        if self._next >= len(self._uids):
            return
        end = self._next + 1 if self._next < self._alone else min(self._next + BATCH, len(self._uids))
        uids = self._uids[self._next : end]
        batch = _Batch(connection, uids)
        self._batches.append(batch)
        self._next = end
        try:
            batch.tag = await connection.send(b"UID FETCH ", _set(uids), b" (UID BODY.PEEK[])")
        except Fallen as fallen:  # perhaps at what was asked before: it is told when it is this one's turn
            batch.fallen = fallen

    async def next(self) -> Letter | Fault | None:
        """What comes next, None at the end. Raises Fallen, _GoOn, Unreadable."""
        if self._body is not None:
            await self._pass(self._body)
            self._body = None
        while self._batches or self._free is not None:
            if self._free is not None:  # only now: should it fall, nothing of what it said is lost
                if self._solo and self._next < len(self._uids):
                    raise _GoOn(0)
                connection, self._free = self._free, None
                await self._ask(connection)
                continue
            batch = self._batches[0]
            connection = batch.connection
            if (opening := self._opening.pop(connection, None)) is not None:
                tag, opened = opening
                check(connection, await connection.finish(tag, opened.hear))
                opened.check_validity(self._mailbox.folder)
            if batch.fallen is not None:
                raise batch.fallen
            self.waits = True
            event = await connection.event()
            self.waits = False
            if isinstance(event, Head):
                said = uid_in(event.text)
                one = self._expected(batch, said)
                self._body = Body(self._mailbox, self._held, connection, one, event.size, said)
                return Letter(one, self._body)
            if isinstance(event, Answer) and not event.behind:
                if event.text[:2] != b"* ":
                    if (fault := self._end(batch, event)) is not None:
                        return fault
                elif b"BODY[]" in event.text.upper():
                    try:
                        return self._whole(batch, event.text)
                    except Nonsense as nonsense:
                        raise connection.nonsense(str(nonsense)) from None
        return None

    async def _pass(self, body: Body | Small) -> None:
        """The letter that was given last is done with, whether it was read or not."""
        self.at += 1
        if body.left > _WORTH_READING:
            raise _GoOn(0)
        try:
            async for _ in body:
                pass
        except Unreadable:  # nobody wants it
            raise _GoOn(0) from None

    def _expected(self, batch: _Batch, said: int | None) -> int:
        """The UID of a letter that comes, which must be the next one."""
        if said is None:
            if not batch.single:
                self._mailbox.pool.uid_first = False  # so is this server: one by one, then, it can be told
                raise _GoOn(len(self._uids))
            said = batch.missing[0] if batch.missing else 0
        if said not in batch.missing:
            raise batch.connection.nonsense("it sends a letter that nobody asked for")
        if said != batch.missing[0]:
            raise _GoOn(self.at + batch.missing.index(said))
        return batch.missing.popleft()

    def _whole(self, batch: _Batch, text: bytes) -> Letter | Fault | None:
        """A letter that is not a literal: NIL, or a few octets in quotes. Raises Nonsense."""
        items = fetched(text)
        if items is None or b"BODY[]" not in items:
            return None
        one = self._expected(batch, uid(items[b"UID"]) if b"UID" in items else None)
        content = items[b"BODY[]"]
        if not isinstance(content, bytes):
            self.at += 1
            return self._mailbox.lost(one, "the server has a message of this UID, and gives no letter")
        self._body = Small(content)
        return Letter(one, self._body)

    def _end(self, batch: _Batch, answer: Answer) -> Fault | None:
        """The end of a batch, of which some may be missing."""
        how = batch.connection.ended(batch.tag, answer)
        self._batches.popleft()
        self._free = batch.connection
        if not how.ok and batch.missing:
            if not batch.single:
                raise _GoOn(self.at + len(batch.missing))
            self.at += 1
            what = f"the server says {how.status}: {how.words or how.code}"
            return self._mailbox.lost(batch.missing[0], what)
        self.at += len(batch.missing)  # they are gone
        return None

    def give_up(self) -> None:
        """Gives the connections back."""
        while self._held:
            self._mailbox.pool.release(self._held.pop())


def _set(uids: Sequence[int]) -> bytes:
    """A sequence-set (RFC 3501 §9) of ascending UIDs. Only what follows without a gap is a range: there could
    be others in it."""
    parts = []
    first = last = uids[0]
    for one in [*uids[1:], 0]:
        if one != last + 1:
            parts.append(b"%d" % first if first == last else b"%d:%d" % (first, last))
            first = one
        last = one
    return b",".join(parts)
