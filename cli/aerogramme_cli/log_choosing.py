"""Which entries of the log, and which of their operations, somebody wants to see."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from aerogramme.errors import Damaged
from aerogramme.log.entry import Add, Again, Claim, Entry, MailboxOp, Op, Remove, Subscribe, parse_key
from aerogramme.log.entry_bytes import decode
from aerogramme.log.reading import Names, Read
from aerogramme.log.state import State
from aerogramme.mailbox.names import canonical
from aerogramme_cli.log_show import Kind, Shown, Wanted
from aerogramme_cli.log_words import entry_as_json, op_as_json

Before = Mapping[int, str | None]
"""mailbox -> the name it had before an entry, of those that the entry names."""


class Choosing:
    """Goes through entries and takes those that are wanted.

    known  whether a mailbox of the name that is asked for was heard of
    """

    def __init__(self, wanted: Wanted, first: int, last: int, names: Names, state: State) -> None:
        """`first`, `last`: the clocks between which entries are wanted; `names`: those before the first entry
        that is gone through; `state`: as it was opened, for the UIDs of messages."""
        self._wanted, self._first, self._last = wanted, first, last
        self._names, self._state = names, state
        self._name = None if wanted.mailbox is None else canonical(wanted.mailbox)
        self._now = None if self._name is None else state.names.get(self._name)
        self._messages = set() if wanted.message is None else {wanted.message}
        if wanted.uid is not None and self._now is not None:
            table = state.tables[self._now]
            row = table.row_of_uid(wanted.uid)
            if row is not None:
                self._messages.add(table.ids[row])
            self._messages.update(message for message, uid, _ in table.tombs.rows() if uid == wanted.uid)
        self.known = self._now is not None

    async def shown(self, reading: AsyncGenerator[Read]) -> AsyncGenerator[Shown]:
        """Those of the entries that are wanted. It closes `reading`."""
        opened_at = self._state.clock
        async with aclosing(reading):
            async for key, entry in reading:
                try:
                    clock, replica, _ = parse_key(key)
                except Damaged:  # nobody knows when it was, or who wrote it
                    clock, replica = self._first, 0
                if clock > self._last:
                    return
                in_time = clock >= self._first and f"{replica:010x}".startswith(self._wanted.replica)
                if isinstance(entry, Damaged):
                    if in_time and (not self._wanted.operations or Kind.DAMAGED in self._wanted.kinds):
                        yield Shown(entry_as_json(key, entry, ()), {})
                    continue
                if clock > opened_at:  # it has come since; the UIDs of its messages may be asked for later
                    self._state.apply(entry)
                before = self._see(entry)
                if in_time and (shown := self._entry(key, entry, before)) is not None:
                    yield shown

    def _see(self, entry: Entry) -> dict[int, str | None]:
        """Takes note of the names in an entry, and gives those that the mailboxes had before."""
        before = {}
        for op in entry.ops:
            if isinstance(op, MailboxOp) and op.name is not None:
                before[op.mailbox] = self._names.before(op.mailbox)
                self._names.see(op, entry.clock)
            elif isinstance(op, Again):
                before |= self._see(decode(op.key, op.plain))
        return before

    def _entry(self, key: str, entry: Entry, before: Before) -> Shown | None:
        ops = [op for op in entry.ops if self._takes(op, before)]
        if not ops and self._wanted.operations:
            return None
        told = [op_as_json(op, self._names.of, self._uid_of) for op in ops]
        had = {f"{mailbox:x}": name for mailbox, name in before.items() if name is not None}
        beside: list[dict[str, Any]] = []
        if any(isinstance(op, Add | Remove) for op in ops):
            rest = (op for op in entry.ops if isinstance(op, Add | Remove) and op not in ops)
            beside = [op_as_json(op, self._names.of, self._uid_of) for op in rest]
        return Shown(entry_as_json(key, entry, told), had, beside)

    def _takes(self, op: Op, before: Before) -> bool:
        kinds = self._wanted.kinds
        if isinstance(op, Again):
            of_kind = not kinds or Kind.AGAIN in kinds
            return of_kind and any(self._is_about(each, before) for each in decode(op.key, op.plain).ops)
        about = self._is_about(op, before)
        return about and (not kinds or Kind(type(op).__name__.lower().removesuffix("op")) in kinds)

    def _is_about(self, op: Op, before: Before) -> bool:
        """Whether it is about the mailbox and the message that are asked for."""
        if isinstance(op, Again):
            return False  # one that is in another one is in no third
        if self._name is not None and not self._is_of_mailbox(op, before):
            return False
        if self._wanted.uid is None and self._wanted.message is None:
            return True
        if isinstance(op, MailboxOp | Subscribe):
            return False
        if isinstance(op, Add | Claim) and self._wanted.uid is not None:
            having = zip(op.ids, op.uids, strict=True)
            self._messages.update(message for message, uid in having if uid == self._wanted.uid)
        return not self._messages.isdisjoint(op.ids)

    def _is_of_mailbox(self, op: Op, before: Before) -> bool:
        if isinstance(op, Subscribe):
            return op.name == self._name
        assert not isinstance(op, Again)
        names = {self._names.of(op.mailbox), before.get(op.mailbox)}
        found = op.mailbox == self._now or self._name in names
        self.known = self.known or found
        return found

    def _uid_of(self, mailbox: int, message: int) -> int | None:
        table = self._state.tables.get(mailbox)
        if table is None:
            return None
        row = table.row_of_id(message)
        if row is not None:
            return table.uids[row]
        at = table.tombs.find(message)
        return None if at is None else table.tombs.columns[0][at] or None
