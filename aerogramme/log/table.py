"""One mailbox: what the entries of the log say of its messages, as columns sorted by UID.

Theory of operation. What is known of a mailbox is a set of facts: of each message its data (from its
add), the UIDs it claims, whether it was removed, for each flag the latest clock that turned it on or off,
and the latest clock that touched it. The union of facts does not depend on the order in which they come, nor
on repetition, and all that is here is a function of that union:

    the UID of a message is its highest claim, and names it only if nobody else claims that UID;
    a message is visible when its data is known, it is not removed, and its UID names it.

Visible messages are rows. Nearly all are *plain*: one claim, made by nobody else; then the row is all there
is to know. A removed message that was plain is a tombstone, also in columns. Only what is not plain (a
conflict of claims, facts that came before their add) is in dicts. So applying entries that come in order,
which is how they come, is work on slices.

Invariant: a visible message has a row at its UID; the claims of a message are in `claims`, and those of its
UIDs in `claimed`, exactly when it is neither a plain row nor a plain tombstone.
"""

from array import array
from collections.abc import Sequence
from itertools import pairwise

from aerogramme.log.columns import IdMap, filled
from aerogramme.log.entry import Add, Claim, Flags, MessageOp, Remove, Touch
from aerogramme.log.flagsets import Flagsets
from aerogramme.log.ids import Runs
from aerogramme.log.rows import FEW, PIECE_BITS, Hidden, Rows, Span


class Table(Rows):
    """The messages of one mailbox: the rows are those that are visible. `version` grows with every change."""

    def __init__(self, mailbox: int, flagsets: Flagsets) -> None:
        self.mailbox = mailbox
        self.flagsets = flagsets
        super().__init__()
        self.uidvalidity = 0
        self.version = 0
        self.top = 0  # the highest UID ever claimed
        self.told = 1  # UIDNEXT as it has been told here: a message that appears below gets another claim
        self.forgotten = 0  # the highest MODSEQ of a tombstone that has been dropped after its time
        self.forgotten_uid = 0  # and the highest UID
        self.tombs = IdMap("I", "Q")  # removed messages: UID if plain, else 0; MODSEQ
        self.facts: dict[int, IdMap] = {}  # flag number -> message -> the latest clock << 1 | on
        self.hidden: dict[int, Hidden] = {}
        self.early: dict[int, int] = {}  # messages whose add has not come yet: MODSEQ
        self.claims: dict[int, set[int]] = {}  # message -> UIDs
        self.claimed: dict[int, set[int]] = {}  # UID -> messages
        self.below: set[int] = set()  # messages that have appeared below `told`

    # --- reading

    def __repr__(self) -> str:
        return f"<Table {self.mailbox:x}: {len(self)} messages>"

    @property
    def uidnext(self) -> int:
        """Above every UID that was claimed or told."""
        return max(self.top + 1, self.told)

    def removed_since(self, modseq: int) -> Sequence[int]:
        """The UIDs that have gone with a MODSEQ above this one, ascending (VANISHED, RFC 7162 §3.2.10).

        When tombstones of that time have been dropped, every UID that is not there (RFC 7162 §3.2.5.1).
        """
        if modseq >= self.highestmodseq:
            return ()
        if modseq < self.forgotten:
            gaps = ((a + 1, b - a - 1) for a, b in pairwise([0, *self.uids, self.uidnext]) if b - a > 1)
            return Runs(tuple(gaps))
        gone = [uid for uid, q in zip(*self.tombs.columns, strict=True) if q > modseq and uid]
        for uid, messages in self.claimed.items():
            if self.row_of_uid(uid) is None and max(map(self.modseq_of, messages)) > modseq:
                gone.append(uid)
        gone.sort()
        return gone

    def modseq_of(self, message: int) -> int:
        """The MODSEQ of a message, visible or not; 0 for one that nothing is known of."""
        row = self.row_of_id(message)
        if row is not None:
            return self.modseqs[row]
        if message in self.hidden:
            return self.hidden[message].modseq
        at = self.tombs.find(message)
        return self.early.get(message, 0) if at is None else self.tombs.columns[1][at]

    def touched_between(self, low: int, high: int) -> list[int]:
        """The messages, visible or not, with low <= MODSEQ <= high. Looks at all."""
        found = [m for m, q in zip(self.ids, self.modseqs, strict=True) if low <= q <= high]
        found += [m for m, _, q in self.tombs.rows() if low <= q <= high]
        found += [m for m, hidden in self.hidden.items() if low <= hidden.modseq <= high]
        return found + [m for m, q in self.early.items() if low <= q <= high]

    def forget(self, before: int) -> None:
        """Drop the tombstones of messages that were last touched before a clock."""
        ids, (uids, modseqs) = self.tombs.ids, self.tombs.columns
        old = [at for at, q in enumerate(modseqs) if q < before]
        if not old:
            return
        for at in old:
            self.forgotten = max(self.forgotten, modseqs[at])
            claims = self.claims.pop(ids[at], {uids[at]})
            self.forgotten_uid = max(self.forgotten_uid, *claims)
            for uid in claims & self.claimed.keys():
                self.claimed[uid].discard(ids[at])
                if not self.claimed[uid]:
                    del self.claimed[uid]
        self.tombs.keep([q >= before for q in modseqs])

    def mark(self, ids: Sequence[int]) -> None:
        """The pieces in which messages are, or were, are not as the last checkpoint has them."""
        for message in ids:
            self.dirty.update(uid >> PIECE_BITS for uid in self._claims_of(message))

    # --- applying entries

    def apply(self, op: MessageOp, clock: int) -> None:
        """Take in the facts of one operation from an entry of this clock."""
        self.version += 1
        match op:
            case Add():
                self._add(op, clock)
            case Flags():
                self._change_flags(op, clock)
            case Remove():
                self._remove(op.ids, clock)
            case Claim():
                self._bump(op.ids, clock)
                for message, uid in zip(op.ids, op.uids, strict=True):
                    self._claim(message, uid)
            case Touch():
                self._bump(op.ids, clock)
        self.highestmodseq = max(self.highestmodseq, clock)

    def _add(self, op: Add, clock: int) -> None:
        numbers = {flags: self.flagsets.intern(flags, clock) for flags in set(op.flags)}
        flags = array("I", map(numbers.__getitem__, op.flags))
        if self._is_plain(op):
            uids = Runs.of(op.uids).array("I")
            self.extend_rows(clock, Runs.of(op.ids).array("Q"), uids, flags, op.sizes, op.dates, op.contents)
            self.top = max(self.top, uids[-1])
            return
        rows = zip(op.ids, op.uids, flags, op.sizes, op.dates, op.contents, strict=True)
        for message, uid, flagset, size, date, content in rows:
            self._add_one(message, uid, Hidden(clock, flagset, size, date, content))

    def _is_plain(self, op: Add) -> bool:
        """True when all is new: messages nothing is known of yet, and ascending UIDs above all others."""
        uid_runs, ids = Runs.of(op.uids).runs, Runs.of(op.ids)
        if not uid_runs or uid_runs[0][0] <= self.top or any(b <= a for (a, _), (b, _) in pairwise(uid_runs)):
            return False
        sparse = (self.hidden, self.early, self.claims)
        if any(known and not known.keys().isdisjoint(ids) for known in sparse):
            return False
        maps = [self.by_id(), self.tombs, *self.facts.values()]
        return not any(stop > start for m in maps for start, stop in (m.span(*run) for run in ids.runs))

    def _add_one(self, message: int, uid: int, new: Hidden) -> None:
        """The general case of an add: message by message."""
        row = self.row_of_id(message)
        if row is not None:  # added twice: two servers drained it at once
            self.set_row(row, self._merged(message, self.row_data(row), new))
        elif message in self.tombs:
            self._bump_unseen(message, new.modseq)
        else:
            known = self.hidden.get(message)
            if known is not None:
                new = self._merged(message, known, new)
            new.modseq = max(new.modseq, self.early.pop(message, 0))
            new.flags = self._with_facts(message, new.flags)
            self.hidden[message] = new
            self._reconsider(message)
        self._claim(message, uid)

    def _merged(self, message: int, one: Hidden, other: Hidden) -> Hidden:
        """The data of a message that was added twice, whatever the order."""
        flags = self.flagsets.members(one.flags) | self.flagsets.members(other.flags)
        content, date, size = max((data.content, data.date, data.size) for data in (one, other))
        modseq = max(one.modseq, other.modseq)
        return Hidden(modseq, self._with_facts(message, self.flagsets.of_members(flags)), size, date, content)

    def _with_facts(self, message: int, flagset: int) -> int:
        """Flags given at the add, changed by what was said of them since."""
        members = set(self.flagsets.members(flagset))
        for flag, facts in self.facts.items():
            at = facts.find(message)
            if at is not None:
                (members.add if facts.columns[0][at] & 1 else members.discard)(flag)
        return self.flagsets.of_members(frozenset(members))

    def _change_flags(self, op: Flags, clock: int) -> None:
        ids = Runs.of(op.ids)
        spans, missing = self.locate(ids)
        if missing and len(self.tombs):
            dead = {message for message in missing if message in self.tombs}
            if dead:
                ids = Runs.of(message for message in ids if message not in dead)
        add = frozenset(self.flagsets.flag(name, clock) for name in op.add)
        remove = frozenset(self.flagsets.flag(name, clock) for name in op.remove) - add
        lost: dict[int, set[int]] = {}  # flag -> messages of which something later is known
        for flag in sorted(add | remove) if ids else ():
            facts = self.facts.setdefault(flag, IdMap("Q"))
            losers = _raise(facts, ids, clock << 1 | (flag in add))
            if losers:
                lost[flag] = losers
        for start, stop in spans:
            before = self.flags[start:stop]
            if lost:
                won = (self._won(message, add, remove, lost) for message in self.ids[start:stop])
                after = array("I", (self.flagsets.changed(n, *w) for n, w in zip(before, won, strict=True)))
            else:
                numbers = {n: self.flagsets.changed(n, add, remove) for n in set(before)}
                after = array("I", map(numbers.__getitem__, before))
            self.flags[start:stop] = after
        for message in missing:
            hidden = self.hidden.get(message)
            if hidden is not None:
                hidden.flags = self.flagsets.changed(hidden.flags, *self._won(message, add, remove, lost))
        self._bump_found(spans, missing, clock)

    def _won(
        self, message: int, add: frozenset[int], remove: frozenset[int], lost: dict[int, set[int]]
    ) -> tuple[frozenset[int], frozenset[int]]:
        losing = frozenset(flag for flag, losers in lost.items() if message in losers)
        return add - losing, remove - losing

    def _remove(self, ids: Sequence[int], clock: int) -> None:
        spans, missing = self.locate(Runs.of(ids))
        if spans:
            gone_ids, gone_uids, modseqs = self.take_rows(spans, clock)
            if self.claims:
                plain = (0 if m in self.claims else u for m, u in zip(gone_ids, gone_uids, strict=True))
                gone_uids = array("I", plain)
            self.tombs.put_new(gone_ids, gone_uids, modseqs)
            self.below.difference_update(gone_ids)
            self._drop_facts(gone_ids)
        for message in missing:
            if message in self.tombs:
                self._bump_unseen(message, clock)
            else:
                hidden = self.hidden.pop(message, None)
                known = self.early.pop(message, 0) if hidden is None else hidden.modseq
                self.tombs.put(message, 0, max(known, clock))
                self._drop_facts((message,))
                if len(self.claims.get(message, ())) == 1:
                    self._make_plain(message)

    def _drop_facts(self, messages: Sequence[int]) -> None:
        """A removed message has no flags any more."""
        for facts in self.facts.values():
            if len(messages) <= FEW:
                for message in messages:
                    at = facts.find(message)
                    if at is not None:
                        facts.delete(at, at + 1)
            else:
                gone = set(messages)
                facts.keep([message not in gone for message in facts.ids])
        for flag in [flag for flag, facts in self.facts.items() if not len(facts)]:
            del self.facts[flag]

    # --- claims

    def _claim(self, message: int, uid: int) -> None:
        """A message claims a UID."""
        mine = self._claims_of(message)
        if uid in mine:
            return
        others = self._claimants(uid)
        self.top = max(self.top, uid)
        if not mine and not others:
            at = self.tombs.find(message)
            if at is not None:
                self.tombs.columns[0][at] = uid
                return
            if message in self.hidden:
                self._place(message, uid)
                return
        for one in (message, *others):
            self._make_explicit(one)
        self.claims.setdefault(message, set()).add(uid)
        self.claimed.setdefault(uid, set()).add(message)
        for one in (message, *others):
            self._reconsider(one)

    def _claims_of(self, message: int) -> set[int]:
        explicit = self.claims.get(message)
        if explicit is not None:
            return explicit
        at = self.by_id().find(message)
        if at is not None:
            return {self.by_id().columns[0][at]}
        at = self.tombs.find(message)
        uid = 0 if at is None else self.tombs.columns[0][at]
        return {uid} if uid else set()

    def _claimants(self, uid: int) -> list[int]:
        if uid in self.claimed:
            return sorted(self.claimed[uid])
        row = self.row_of_uid(uid)
        if row is not None:
            return [self.ids[row]]
        uids = self.tombs.columns[0]
        return [self.tombs.ids[uids.index(uid)]] if uid <= self.top and uid in uids else []

    def _make_explicit(self, message: int) -> None:
        """The claims of a message go into the dicts: it is not plain any more."""
        if message in self.claims:
            return
        uids = self._claims_of(message)
        at = self.tombs.find(message)
        if at is not None:
            self.tombs.columns[0][at] = 0
        if uids:
            self.claims[message] = uids
            for uid in uids:
                self.claimed.setdefault(uid, set()).add(message)

    def _make_plain(self, message: int) -> None:
        """The claim of a removed message goes into its tombstone, if it is the only one and nobody else's."""
        (uid,) = self.claims[message]
        if self.claimed[uid] == {message}:
            del self.claims[message], self.claimed[uid]
            self.tombs.put(message, uid, self.modseq_of(message))

    def _reconsider(self, message: int) -> None:
        """Show or hide a message, by its claims as they are now."""
        uids = self.claims.get(message)
        if not uids:
            return
        highest = max(uids)
        valid = len(self.claimed[highest]) == 1
        row = self.row_of_id(message)
        if row is not None and not (valid and self.uids[row] == highest):
            self._lift(message)
            row = None
        if row is None and valid and message in self.hidden:
            self._place(message, highest)
            if len(uids) == 1:
                del self.claims[message], self.claimed[highest]

    def _place(self, message: int, uid: int) -> None:
        """A hidden message becomes a row."""
        hidden = self.hidden.pop(message)
        self.insert_row(message, uid, hidden)
        if uid < self.told:
            self.below.add(message)

    def _lift(self, message: int) -> Hidden | None:
        """A row becomes a hidden message again."""
        row = self.row_of_id(message)
        if row is None:
            return None
        self._make_explicit(message)
        hidden = self.take_row(row)
        self.below.discard(message)
        self.hidden[message] = hidden
        return hidden

    # --- touching

    def _bump(self, ids: Sequence[int], clock: int) -> None:
        self._bump_found(*self.locate(Runs.of(ids)), clock)

    def _bump_found(self, spans: list[Span], missing: list[int], clock: int) -> None:
        self.bump_rows(spans, clock)
        for message in missing:
            self._bump_unseen(message, clock)

    def _bump_unseen(self, message: int, clock: int) -> None:
        """A message that is not visible was touched."""
        hidden = self.hidden.get(message)
        if hidden is not None:
            hidden.modseq = max(hidden.modseq, clock)
            return
        at = self.tombs.find(message)
        if at is not None:
            self.tombs.columns[1][at] = max(self.tombs.columns[1][at], clock)
        else:
            self.early[message] = max(self.early.get(message, 0), clock)


def _raise(facts: IdMap, ids: Runs, value: int) -> set[int]:
    """Set facts to a value, where it is above what is there. Returns the messages where it is not."""
    (values,) = facts.columns
    losers: set[int] = set()
    fresh = array("Q")
    for first, count in ids.runs:
        start, stop = facts.span(first, count)
        if stop - start < count:
            run = range(first, first + count)
            fresh.extend(run if stop == start else sorted(set(run).difference(facts.ids[start:stop])))
        if stop == start:
            continue
        if max(values[start:stop]) < value:
            values[start:stop] = filled("Q", value, stop - start)
            continue
        for at in range(start, stop):
            if values[at] < value:
                values[at] = value
            else:
                losers.add(facts.ids[at])
    facts.put_new(fresh, filled("Q", value, len(fresh)))
    return losers
