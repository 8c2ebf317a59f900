"""FETCH and UID FETCH: from the selected mailbox to responses, in batches whose size is bounded.

Memory does not depend on the mailbox, nor on the size of a message: flags and digests are rendered a batch at
a time, bodies are read ahead within the account's budget, and large messages pass through in pieces. Nothing
is locked while answers are sent; messages that others remove meanwhile are left out.
"""

import logging
from collections.abc import Sequence
from contextlib import aclosing
from itertools import groupby

from aerogramme.errors import BadSyntax, Damaged, Unavailable
from aerogramme.imap.commands import Att, Fetch, FetchItem, Section
from aerogramme.imap.context import BATCH, Context, Done, Handlers, HangUp, Out
from aerogramme.imap.fetch import Batch, Plan, cut, nstring, place_of
from aerogramme.imap.select import tell_vanished
from aerogramme.mail.sections import header_fields
from aerogramme.mailbox.bodies import at_once
from aerogramme.mailbox.view import OwnChange
from aerogramme.together import together

log = logging.getLogger(__name__)

DIGEST_BATCH = 256  # messages rendered at once from digests: some 256 kB of envelopes and structures
BODY_BATCH = 256 * 1024  # octets of bodies rendered at once
LARGE = 1024 * 1024  # octets from which a message passes through in pieces
# More sections than this of one message go out one after the other: a command has room for 50,000 of them,
# and each may be the whole message. Clients ask for one to five.
MANY_SECTIONS = 16


async def fetch(context: Context, command: Fetch) -> Done:
    """RFC 3501 §6.4.5, RFC 7162 §3.1.4 (CHANGEDSINCE) and §3.2.6 (VANISHED)."""
    if command.vanished and not context.qresync:
        raise BadSyntax("VANISHED needs ENABLE QRESYNC first")
    if command.changed_since is not None or Att.MODSEQ in command.items:
        await context.enable_condstore()
    seqs = context.seqs(command.numbers, uid=command.uid)
    if command.changed_since is not None:
        if command.vanished:
            tell_vanished(context, command.changed_since, command.numbers)
        seqs = _changed_since(context, seqs, command.changed_since)
    plan = Plan(command.items, context.headers)
    if plan.sets_seen and await _mark_seen(context, seqs):
        # RFC 3501 §6.4.5: "if this causes the flags to change, they SHOULD be included".
        plan = Plan(_with_flags(context, command), context.headers)
    run = _Run(context, plan)
    if plan.needs_bodies or plan.sections > MANY_SECTIONS:
        await run.bodies(seqs)
    else:
        await run.columns(seqs)
    if run.damaged:
        # RFC 3501 §7.1.2: an untagged NO warns, and the command still succeeds: one message must not stop a
        # client.
        context.out.write(b"* NO [CORRUPTION] %d messages are damaged\r\n" % len(run.damaged))
    if run.gone and not command.uid:
        return Done("FETCH completed, but some messages are gone", b"EXPUNGEISSUED")  # RFC 5530 §3
    return Done("FETCH completed")


def _changed_since(context: Context, seqs: Sequence[int], modseq: int) -> Sequence[int]:
    view = context.view
    changed = view.table.changed_since(modseq)
    if not view.in_step:
        uids = view.table.uids
        found = (view.seq_of_uid(uids[row]) for row in changed)
        wanted = {seq for seq in found if seq is not None}
    else:
        wanted = {row + 1 for row in changed}
    return [seq for seq in seqs if seq in wanted]


async def _mark_seen(context: Context, seqs: Sequence[int]) -> bool:
    """Sets \\Seen on those that are without, in one entry; whether there were any."""
    view = context.view
    if view.read_only:
        return False
    table = view.table
    numbers, seen = table.flags, table.flagsets.numbers_with("\\Seen")
    uids = [table.uids[row] for row in view.rows(seqs) if row >= 0 and numbers[row] not in seen]
    if not uids:
        return False
    result = await context.account.store_flags(table, uids, "+", ["\\Seen"])
    await context.tell(expunge=False, own=OwnChange(result.modseq, result.before) if result.changed else None)
    return True


def _with_flags(context: Context, command: Fetch) -> list[FetchItem]:
    items = list(command.items)
    if Att.FLAGS not in items:
        items.append(Att.FLAGS)
    if context.condstore and Att.MODSEQ not in items:
        items.append(Att.MODSEQ)  # RFC 7162 §3.1: with every change of flags
    return items


class _Run:
    """One FETCH under way. `gone`: messages were left out; `damaged`: contents that could not be read."""

    def __init__(self, context: Context, plan: Plan) -> None:
        self._context = context
        self._plan = plan
        self.gone = False
        self.damaged: set[int] = set()

    async def columns(self, seqs: Sequence[int]) -> None:
        """Messages of which no body is needed."""
        out, view, plan = self._context.out, self._context.view, self._plan
        digests = bool(plan.digest_fields or plan.needs_headers)
        start = 0
        while start < len(seqs):
            some = seqs[start : start + (DIGEST_BATCH if digests else BATCH)]
            if digests:
                rows, sizes = view.rows(some), view.table.sizes
                gone = -1 in rows
                known = [sizes[row] if row >= 0 else 0 for row in rows] if gone else _column(sizes, rows)
                some = some[: at_once(known)]
            out.write(plan.render(await self._batch(some, plan)))
            if out.full:
                await out.flush()
            start += len(some)

    async def bodies(self, seqs: Sequence[int]) -> None:
        """Messages with their bodies, read ahead in order; what is large in pieces."""
        view = self._context.view
        many = self._plan.sections > MANY_SECTIONS
        for start in range(0, len(seqs), BATCH):
            part = seqs[start : start + BATCH]  # how many bodies are in memory the account decides
            table = view.table
            wanted = [
                (seq, table.contents[row], table.sizes[row])
                for seq, row in zip(part, view.rows(part), strict=True)
                if row >= 0
            ]
            self.gone = self.gone or len(wanted) < len(part)
            for in_pieces, group in groupby(wanted, lambda one: many or one[2] >= LARGE):
                if in_pieces:
                    for seq, _, _ in group:
                        await self._in_pieces(seq)
                else:
                    await self._small(list(group))

    async def _small(self, wanted: Sequence[tuple[int, int, int]]) -> None:
        account = self._context.account
        seqs = [seq for seq, _, _ in wanted]
        contents = [content for _, content, _ in wanted]
        ready: list[bytes | None] = []
        done = octets = 0
        async with aclosing(account.read_bodies(contents)) as reading:
            async for body in reading:
                if isinstance(body, Damaged):
                    body = await self._anew(*wanted[done + len(ready)][:2], body)
                if isinstance(body, Damaged):
                    self._report(contents[done + len(ready)], body)
                    ready.append(None)
                else:
                    ready.append(body)
                    octets += len(body) * self._plan.sections
                if octets >= BODY_BATCH:
                    await self._write(seqs[done : done + len(ready)], ready)
                    done += len(ready)
                    ready, octets = [], 0
        await self._write(seqs[done:], ready)

    async def _anew(self, seq: int, content: int, damage: Damaged) -> bytes | Damaged:
        """A body that was written anew while a slow client read those before it (key rotate --bodies): the
        message has another content by now, and the one it had is gone."""
        await self._context.account.refresh()
        view = self._context.view
        [row] = view.rows([seq])
        if row < 0 or view.table.contents[row] == content:
            return damage
        try:
            return await self._context.account.body(view.table.contents[row])
        except Damaged as error:
            return error

    async def _write(self, seqs: Sequence[int], bodies: Sequence[bytes | None]) -> None:
        out = self._context.out
        batch = await self._batch(seqs, self._plan)
        if len(batch.seqs) == len(seqs):
            batch.bodies = bodies
        else:
            body_of = dict(zip(seqs, bodies, strict=True))
            batch.bodies = [body_of[seq] for seq in batch.seqs]
        out.write(self._plan.render(batch))
        if out.full:
            await out.flush()

    async def _batch(self, seqs: Sequence[int], plan: Plan) -> Batch:
        """The columns that the plan asks for, without bodies, of those messages that are still there."""
        context = self._context
        view = context.view
        table = view.table
        rows = view.rows(seqs)
        if -1 in rows:
            self.gone = True
            seqs = [seq for seq, row in zip(seqs, rows, strict=True) if row >= 0]
            rows = [row for row in rows if row >= 0]
        # All columns are taken before the first await: one message, one moment.
        atts = plan.atts
        batch = Batch(seqs)
        if Att.UID in atts:
            batch.uids = _column(table.uids, rows)
        if Att.FLAGS in atts:
            batch.flags = context.flag_lists(rows)
        if Att.MODSEQ in atts:
            batch.modseqs = _column(table.modseqs, rows)
        if Att.INTERNALDATE in atts:
            batch.dates = _column(table.dates, rows)
        if Att.SIZE in atts:
            batch.sizes = _column(table.sizes, rows)
        if plan.digest_fields or plan.needs_headers:
            batch.contents = _column(table.contents, rows)
        missing = plan.missing(batch.contents) if plan.needs_headers else ()

        async def digests() -> None:
            columns = await context.account.digests(batch.contents, plan.digest_fields)
            batch.digests = dict(zip(plan.digest_fields, columns, strict=True))

        async def headers() -> None:
            (found,) = await context.account.digests(missing, ("header",))
            plan.learn(missing, found)

        if plan.digest_fields and missing:
            await together(digests, headers)
        elif plan.digest_fields:
            await digests()
        elif missing:
            await headers()
        return batch

    def _report(self, content: int, error: Damaged) -> None:
        if content in self.damaged:
            return
        self.damaged.add(content)
        log.error("account %s: content %x is damaged: %s", self._context.account.id, content, error)

    # --- what is large

    async def _in_pieces(self, seq: int) -> None:
        """One message, item by item; its octets pass through in pieces."""
        context = self._context
        view = context.view
        (row,) = view.rows([seq])
        if row < 0:
            self.gone = True
            return
        content, size = view.table.contents[row], view.table.sizes[row]
        line = _Line(context.out)
        begin = b"* %d FETCH (" % seq
        try:
            for place, item in enumerate(self._plan.items):
                line.write(b" " if place else begin)
                single = Plan([item], context.headers)
                if isinstance(item, Section) and single.needs_bodies:
                    await self._octets(line, item, content, size)
                else:
                    rendered = single.render(await self._batch([seq], single))
                    # Gone since: an empty list is all that can still be said (its body may be on its way).
                    line.write(rendered[len(begin) : -3] or b"FLAGS ()")
                if context.out.full:
                    await context.out.flush()
        except Unavailable as error:
            if line.begun:
                # A line that has begun cannot be taken back; no tagged answer can come in the middle of it.
                log.warning("account %s: the store went away amid a message", context.account.id)
                raise HangUp from error
            raise
        line.write(b")\r\n")
        line.begin()

    async def _octets(self, line: "_Line", item: Section, content: int, size: int) -> None:
        """One section: label and literal."""
        account = self._context.account
        line.write(item.label + b" ")
        try:
            parts = b""
            if item.path or item.what:
                ((parts,),) = await account.digests([content], ("parts",))
            place = place_of(item, size, parts)
            if place is None:
                line.write(b"NIL")
                return
            start, stop = place
            if item.what.startswith("HEADER.FIELDS"):
                header = await self._range(content, start, stop)
                fields = header_fields(header, frozenset(item.fields), item.what.endswith("NOT"))
                line.write(nstring(cut(fields, item.partial)))
                return
            if item.partial is not None:
                first, count = item.partial
                start = min(start + first, stop)
                stop = min(start + count, stop)
            if stop - start < LARGE:
                line.write(nstring(await self._range(content, start, stop)))
                return
        except Damaged as error:
            self._report(content, error)
            line.write(b"NIL")
            return
        await self._stream(line, content, start, stop)

    async def _range(self, content: int, start: int, stop: int) -> bytes:
        async with aclosing(self._context.account.stream_body(content, start, stop)) as reading:
            return b"".join([piece async for piece in reading])

    async def _stream(self, line: "_Line", content: int, start: int, stop: int) -> None:
        out = self._context.out
        left = stop - start
        try:
            async with aclosing(self._context.account.stream_body(content, start, stop)) as reading:
                async for piece in reading:
                    if left == stop - start:
                        line.write(b"{%d}\r\n" % left)  # the first piece is there: the message can be read
                        line.begin()
                    left -= len(piece)
                    line.write(piece)
                    if out.full:
                        await out.flush()
        except Damaged as error:
            self._report(content, error)
            if left == stop - start:
                line.write(b"NIL")
                return
        if left:
            # The literal's length is out; nothing but the end of the connection keeps the client from taking
            # something else for the rest of the message.
            raise HangUp


def _column(values: Sequence[int], rows: Sequence[int]) -> Sequence[int]:
    """The values of these rows."""
    return values[rows.start : rows.stop] if isinstance(rows, range) else [values[row] for row in rows]


class _Line:
    """A response that is written piece by piece, and held until it has `begun`: as long as it has not, it may
    still be left unsaid. What is LARGE begins by itself."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self._held: list[bytes] = []
        self._size = 0
        self.begun = False

    def write(self, octets: bytes) -> None:
        if self.begun:
            self._out.write(octets)
            return
        self._held.append(octets)
        self._size += len(octets)
        if self._size >= LARGE:
            self.begin()

    def begin(self) -> None:
        """Says what was held; what is written from here on is said at once."""
        self.begun = True
        for octets in self._held:
            self._out.write(octets)
        self._held.clear()


HANDLERS: Handlers = {Fetch: fetch}
