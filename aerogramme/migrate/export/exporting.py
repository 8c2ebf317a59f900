"""An export from beginning to end: all mailboxes of an account, one after the other, into a folder."""

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack, aclosing, closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from aerogramme.errors import Damaged
from aerogramme.imap.format import sequence_set
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.names import INBOX
from aerogramme.maildir import Layout
from aerogramme.migrate.export.maildirs import DovecotMaildirs, Maildirs
from aerogramme.migrate.export.mboxes import Mboxes
from aerogramme.migrate.export.place import Owner, Place
from aerogramme.migrate.export.record import Made, Record
from aerogramme.migrate.export.report import Exported, Report, Told
from aerogramme.migrate.export.rows import Rows, batches, is_atom, is_large, read
from aerogramme.migrate.export.target import Foreign, Kind, Mailbox, Target
from aerogramme.migrate.sources.source import Fault
from aerogramme.together import together

T = TypeVar("T")


async def export(
    account: Account,
    path: Path,
    kind: Kind,
    report: Report,
    *,
    layout: Layout = "maildir++",
    owner: Owner | None = None,
    told: Told = lambda _: None,
) -> None:
    """Makes the folder what the account is: what is there already stays, what differs is changed. `layout` is
    that of Maildirs. What is done, and what could not be, goes into the report; `told` whenever that changes.

    Raises Refused when the folder has something else in it, or may not be written to; Unavailable when
    the disk is full, another export writes there, or the store is away; Damaged, BadConfiguration.
    """
    if not account.past:
        await account.fresh(INBOX)  # letters that wait are in it
    with ExitStack() as closed:
        root = await _wait(Place.begin, path, owner)
        closed.callback(root.close)
        exporting = _Exporting(account, root, kind, layout, report, told)
        await exporting.run()
        await _wait(os.sync)  # who is told that it is done may delete the account


async def _wait(task: Callable[..., T], *args: object) -> T:
    return await trio.to_thread.run_sync(task, *args)


class _Exporting:
    def __init__(
        self, account: Account, root: Place, kind: Kind, layout: Layout, report: Report, told: Told
    ) -> None:
        self._account, self._root, self._report = account, root, report
        self._told: Callable[[], None] = lambda: told(report)
        self._state = account.state
        self._record = Record(kind, "mbox" if kind == "mbox" else layout, account.id)
        self._target: Target
        if kind == "mbox":
            self._target = Mboxes(root, self._state, self._record)
        else:
            maildirs = DovecotMaildirs if kind == "dovecot" else Maildirs
            self._target = maildirs(root, account.id, self._state, layout)

    async def run(self) -> None:
        report, record, target = self._report, self._record, self._target
        await _wait(record.begin, self._root)
        names = sorted(self._state.names, key=lambda name: (name != INBOX, name))
        before = dict(record.made)
        paths = {name: target.path_of(name) for name in names}
        for name, path in paths.items():
            mailbox = self._state.names[name]
            record.made.setdefault(path, Made(mailbox)).mailbox = mailbox
        await _wait(record.write, self._root)  # before there is anything that it does not know
        for name, other in sorted(target.renamed.items()):
            report.faults.append(Fault(name, "a mailbox cannot be called so there", f"it is called {other}"))
        tables = {name: self._state.tables[self._state.names[name]] for name in names}
        report.messages = sum(map(len, tables.values()))
        report.needs += target.needs
        self._told()
        for name, path in paths.items():
            exported = Exported(name, path, messages=len(tables[name]))
            report.mailboxes.append(exported)
            await self._mailbox(Rows(self._account, name, tables[name]), record.made[path], exported)
            self._told()
        for path in sorted(before.keys() - set(paths.values()), reverse=True):
            await self._remove(path)
        await _wait(target.finish)
        await _wait(record.write, self._root)

    async def _remove(self, path: str) -> None:
        try:
            await _wait(self._target.remove, path)
        except Foreign as found:
            fault = Fault(path, f"its mailbox is not in the account any more, but {found}", "it was left")
            self._report.faults.append(fault)
            return
        del self._record.made[path]
        self._report.gone.append(path)

    async def _mailbox(self, rows: Rows, made: Made, exported: Exported) -> None:
        mailbox = await _wait(self._target.mailbox, rows, made)
        with closing(mailbox):
            try:
                await _wait(mailbox.look)
            except Foreign as found:
                fault = Fault(rows.name, str(found), "the mailbox was left as it is there", lost=True)
                self._report.faults.append(fault)
                return
            for keyword in mailbox.without:
                self._note_keyword(rows, keyword, exported)
            missing = mailbox.missing()
            exported.changed, exported.removed = mailbox.changed, mailbox.removed
            exported.done = len(rows) - len(missing)
            self._told()
            await self._letters(rows, missing, mailbox, exported)
            await _wait(mailbox.finish)

    def _note_keyword(self, rows: Rows, keyword: str, exported: Exported) -> None:
        uids = rows.uids_with(keyword)
        exported.without[keyword] = sequence_set(uids).decode()
        words = f"{len(uids):,} of its messages have the keyword {keyword}, which cannot be written there"
        done = "they do not have it there"
        if self._record.kind == "dovecot" and is_atom(keyword):
            called = self._target.renamed.get(rows.name, rows.name)
            command = ["doveadm", "flags", "add", "-u", self._report.address, keyword]
            query = ["mailbox", called, "uid", exported.without[keyword]]
            done = f"they have it once this was run there: {shlex.join(command + query)}"
        self._report.faults.append(Fault(rows.name, words, done))

    async def _letters(
        self, rows: Rows, missing: Sequence[int], mailbox: Mailbox, exported: Exported
    ) -> None:
        """While some letters are written, the next ones are read."""
        found: list[bytes | Damaged] = []
        waiting: Sequence[int] = ()
        letters: list[bytes | Damaged] = []

        async def read_more(some: Sequence[int]) -> None:
            found.extend(await read(self._account, rows, some))

        async def write() -> None:
            damaged = await _wait(_write_all, mailbox, waiting, letters, exported)
            for row, damage in damaged:
                self._lose(rows, row, damage, exported)
            exported.done += len(waiting)
            self._told()

        for some in batches(rows, missing):
            if is_large(rows, some):
                await write()
                waiting, letters = (), []
                await self._large(rows, some[0], mailbox, exported)
            else:
                await together(write, partial(read_more, some))
                waiting, letters, found = some, found, []
        await write()

    async def _large(self, rows: Rows, row: int, mailbox: Mailbox, exported: Exported) -> None:
        writing = await _wait(mailbox.begin, row)
        with closing(writing):
            try:
                async with aclosing(self._account.stream_body(rows.contents[row])) as pieces:
                    async for piece in pieces:
                        await _wait(writing.write, piece)
                exported.octets += await _wait(writing.finish)
                exported.written += 1
            except Damaged as damage:
                self._lose(rows, row, damage, exported)
        exported.done += 1
        self._told()

    def _lose(self, rows: Rows, row: int, damage: Damaged, exported: Exported) -> None:
        exported.lost += 1
        fault = Fault(f"{rows.name}, UID {rows.uids[row]}", str(damage), "it was left out", lost=True)
        self._report.faults.append(fault)


def _write_all(
    mailbox: Mailbox, rows: Sequence[int], letters: Sequence[bytes | Damaged], exported: Exported
) -> list[tuple[int, Damaged]]:
    """Gives those that cannot be written, since they cannot be read."""
    damaged = []
    for row, letter in zip(rows, letters, strict=True):
        if isinstance(letter, Damaged):
            damaged.append((row, letter))
            continue
        with closing(mailbox.begin(row)) as writing:
            writing.write(letter)
            exported.octets += writing.finish()
        exported.written += 1
    return damaged
