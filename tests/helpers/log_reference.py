"""A naive model of the state of a log: sets and dicts of facts, everything worked out anew each time.

It follows the definitions and nothing else. What it says of a mailbox is compared with the real `Table`.
"""

from collections.abc import Iterable

from aerogramme.log.entry import Add, Claim, Entry, Flags, MailboxOp, Remove, Subscribe
from aerogramme.log.table import Table


class Box:
    """One mailbox, from all operations on it: (clock, operation)."""

    def __init__(self, ops, imported):
        self.modseq, self.data, self.flags0, self.latest = {}, {}, {}, {}
        self.removed, self.claims = set(), {}
        for clock, op in ops:
            for n, m in enumerate(op.ids):
                self.modseq[m] = max(self.modseq.get(m, 0), clock)
                if isinstance(op, Add):
                    data = (op.contents[n], op.dates[n], op.sizes[n])
                    self.data[m] = max(self.data.get(m, data), data)
                    self.flags0.setdefault(m, set()).update(f.casefold() for f in op.flags[n])
                if isinstance(op, Add | Claim):
                    self.claims.setdefault(m, set()).add(op.uids[n])
                if isinstance(op, Remove):
                    self.removed.add(m)
                if isinstance(op, Flags):
                    for names, on in (op.remove, 0), (op.add, 1):
                        for f in names:
                            fact = self.latest.get((m, f.casefold()), (0, 0))
                            self.latest[m, f.casefold()] = max(fact, (clock, on))
        self.claimed_by = {}
        for m, uids in self.claims.items():
            for u in uids:
                self.claimed_by.setdefault(u, set()).add(m)
        self.visible = {}
        for m in self.data.keys() - self.removed:
            highest = max(self.claims[m])
            if self.claimed_by[highest] == {m}:
                self.visible[m] = highest
        shown = set(self.visible.values())
        self.gone = {
            u: max(self.modseq[m] for m in ms) for u, ms in self.claimed_by.items() if u not in shown
        }
        self.top = max([*self.claimed_by, imported - 1])
        self.highestmodseq = max(self.modseq.values(), default=0)

    def flags(self, m):
        """The flags of a message, folded."""
        flags = set(self.flags0[m])
        for (other, f), (_, on) in self.latest.items():
            if other == m:
                (flags.add if on else flags.discard)(f)
        return flags

    def compare(self, table: Table):
        """The real table says the same."""
        sets = table.flagsets.sets
        columns = (table.uids, table.ids, table.modseqs, table.contents, table.dates, table.sizes)
        rows = list(zip(*columns, strict=True))
        expected = sorted((u, m, self.modseq[m], *self.data[m]) for m, u in self.visible.items())
        assert rows == expected
        for row, m in enumerate(table.ids):
            assert {f.casefold() for f in sets[table.flags[row]]} == self.flags(m)
        hidden = self.data.keys() - self.removed - self.visible.keys()
        assert table.hidden.keys() == hidden
        for m in hidden:
            assert {f.casefold() for f in sets[table.hidden[m].flags]} == self.flags(m)
        assert set(table.tombs.ids) == self.removed
        assert all(table.modseq_of(m) == q for m, q in self.modseq.items())
        assert (table.top, table.highestmodseq) == (self.top, self.highestmodseq)
        assert table.early.keys() == self.modseq.keys() - self.data.keys() - self.removed
        for modseq in {0, *(q - 1 for q in self.modseq.values()), *self.modseq.values()}:
            changed = [n for n, q in enumerate(table.modseqs) if q > modseq]
            assert list(table.changed_since(modseq)) == changed
            gone = sorted(u for u, q in self.gone.items() if q > modseq)
            assert list(table.removed_since(modseq)) == gone
        found = table.rows_of_ids(sorted(self.modseq))
        assert found == list(range(len(table)))


def boxes(entries: Iterable[Entry]) -> dict[int, Box]:
    """The mailboxes that entries add up to."""
    ops, imported = {}, {}
    for entry in entries:
        for op in entry.ops:
            if isinstance(op, MailboxOp):
                imported[op.mailbox] = max(op.imported or 1, imported.get(op.mailbox, 1))
            elif not isinstance(op, Subscribe):
                ops.setdefault(op.mailbox, []).append((entry.clock, op))
    return {mailbox: Box(of, imported.get(mailbox, 1)) for mailbox, of in ops.items()}
