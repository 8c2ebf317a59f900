"""What one session was told of its mailbox: sequence numbers, held-back expunges, and the changes to tell
next.

A view is a client in small: it knows the UIDs it has told, the MODSEQ up to which it has told changes, and
nothing else. The invariant: whoever starts with the UIDs of the opened view and believes every `Changes` in
the order it came has the mailbox. Nothing here awaits, so the table cannot change in the middle of a call.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aerogramme.errors import BadSyntax
from aerogramme.log.table import Table
from aerogramme.mailbox.search_keys import SequenceSet


@dataclass(frozen=True, slots=True)
class Changes:
    """What a session has to tell its client, in this order: expunges, then sizes, then flags.

    `expunged`  sequence numbers, highest first, so that each is still right when its EXPUNGE is read
    `vanished`  the same messages as UIDs, ascending (for VANISHED, RFC 7162 §3.2.10)
    `exists`    the new number of messages, None if no message has come
    `recent`    the number of messages that are \\Recent in this session, None if it has not changed
    `changed`   the sequence numbers, ascending and valid after the expunges, of messages whose flags or
                MODSEQ changed; new messages are not among them
    """

    expunged: Sequence[int] = ()
    vanished: Sequence[int] = ()
    exists: int | None = None
    recent: int | None = None
    changed: Sequence[int] = ()

    def __bool__(self) -> bool:
        return bool(self.expunged or self.changed or self.exists is not None or self.recent is not None)


NOTHING = Changes()


@dataclass(slots=True)
class RecentMarks:
    """For each mailbox the first UID that no session of this process has been told: what is \\Recent to the
    next.

    RFC 3501 §2.3.2 wants each message \\Recent in the first session that is told of it. It is not stored:
    what came before the account was opened here is not \\Recent.
    """

    first: dict[int, int] = field(default_factory=dict)
    floor: dict[int, int] = field(default_factory=dict)  # UIDNEXT of each mailbox when the account was opened

    def start(self, mailbox: int) -> int:
        """The first UID that is \\Recent to the next session."""
        return self.first.get(mailbox) or self.floor.get(mailbox, 1)

    def count(self, table: Table) -> int:
        """How many messages are \\Recent to the next session."""
        return len(table.uids) - bisect_left(table.uids, self.start(table.mailbox))


def highest_modseq(table: Table) -> int:
    """HIGHESTMODSEQ of a mailbox as clients may be told it: at least 1, also where nothing ever came in.

    RFC 7162 §7: mod-sequence-value is a positive number; SELECT and STATUS give the same.
    """
    return max(table.highestmodseq, 1)


class View:
    """One session's view of one mailbox, opened by `Account.open_mailbox`."""

    __slots__ = (
        "_held",
        "_recent",
        "_removed_modseq",
        "_same",
        "_settled",
        "_top",
        "_version",
        "marks",
        "modseq",
        "read_only",
        "table",
        "uids",
    )

    def __init__(
        self,
        table: Table,
        marks: RecentMarks,
        *,
        read_only: bool = False,
        settled: Callable[[], bool] = lambda: True,
    ) -> None:
        self.table = table
        self._settled = settled
        self.marks = marks
        self.read_only = read_only
        self.uids: array[int] = table.uids[:]  # the UID of sequence number n is uids[n - 1]
        self.modseq: int = highest_modseq(table)  # changes up to here are told
        self._removed_modseq = self.modseq  # removals up to here are told (held-back ones are later)
        self._top = table.uidnext - 1  # every UID up to here is told, or will never be
        self._version = table.version
        self._held = False
        self._same = True  # `uids` are those of the table at `_version`
        self._recent: list[tuple[int, int]] = []  # ranges of UIDs, ascending
        self._take_recent()

    # --- what is new

    def sync(self, allow_expunge: bool = True, *, own: "OwnChange | None" = None) -> Changes:
        """Takes over the table as it is now and says what that changes for the client.

        Without `allow_expunge` messages that are gone keep their sequence numbers (RFC 3501 §7.4.1: no
        EXPUNGE while FETCH, STORE or SEARCH is in progress); a later call tells them. `own` is a change of
        flags that this session made and answers itself (STORE with .SILENT): its messages are left out of
        `changed`, unless something else may have changed them too.
        """
        table = self.table
        if table.version == self._version and not (self._held and allow_expunge):
            return NOTHING
        if not self._settled():  # what others wrote asks for more, being appended now
            return NOTHING
        new_from = bisect_right(table.uids, self._top)
        gone = self._gone(new_from)
        expunged: list[int] = []
        vanished: list[int] = []
        recent_before = self.recent_count
        if gone and allow_expunge:
            vanished = gone
            expunged = [bisect_left(self.uids, uid) + 1 for uid in reversed(gone)]
            self.uids = _without(self.uids, expunged)
        if allow_expunge or not gone:
            self._removed_modseq = table.highestmodseq
        self._held = bool(gone) and not allow_expunge
        changed = self._changed(own, new_from)
        exists = None
        if new_from < len(table.uids):
            self.uids.extend(table.uids[new_from:])
            exists = len(self.uids)
        self._top = max(self._top, table.uidnext - 1)
        self.modseq = max(self.modseq, table.highestmodseq)
        self._version = table.version
        self._same = self.uids == table.uids
        if exists is not None:
            self._take_recent()
        recent = self.recent_count
        return Changes(expunged, vanished, exists, recent if recent != recent_before else None, changed)

    def _gone(self, new_from: int) -> list[int]:
        """The UIDs that this view has and the table has no more, ascending."""
        missing = len(self.uids) - new_from
        if missing <= 0:
            return []
        table = self.table
        if self._removed_modseq >= table.forgotten:
            removed = table.removed_since(self._removed_modseq)
            gone = [uid for uid in removed if self.seq_of_uid(uid) and table.row_of_uid(uid) is None]
            if len(gone) == missing:
                return gone
        # Tombstones do not reach back as far as this view, or rows are in conflict just now: compare the
        # whole.
        return sorted(set(self.uids).difference(table.uids))

    def _changed(self, own: "OwnChange | None", new_from: int) -> list[int]:
        """The sequence numbers of the told messages that changed after `modseq`, ascending."""
        table, modseqs = self.table, self.table.modseqs
        skip = own.modseq if own is not None and own.before <= self.modseq else None
        rows = [row for row in table.changed_since(self.modseq) if row < new_from and modseqs[row] != skip]
        if rows and self.uids == table.uids[:new_from]:  # nearly always: no row has to be looked up
            return [row + 1 for row in rows]
        found = (self.seq_of_uid(table.uids[row]) for row in rows)
        return [seq for seq in found if seq is not None]

    # --- numbers

    def __len__(self) -> int:
        """EXISTS, as the client knows it."""
        return len(self.uids)

    @property
    def safe_modseq(self) -> int:
        """What a client may remember as HIGHESTMODSEQ: changes and removals up to here have been told.

        RFC 7162 §3.2: while expunges are held back it is lower than what they have.
        """
        return min(self.modseq, self._removed_modseq) if self._held else self.modseq

    @property
    def holds_back(self) -> bool:
        """Whether there is more than what was told, so that FETCH may show a MODSEQ above `safe_modseq`."""
        return self._held or self._version != self.table.version

    @property
    def in_step(self) -> bool:
        """True when the table is what this view shows: then the row of sequence number n is n - 1."""
        return self._same and self._version == self.table.version

    def rows(self, seqs: Sequence[int]) -> Sequence[int]:
        """The table row of each sequence number, -1 where the message is gone. Good until the next await.

        A range for a range where that can be: whole slices of columns are faster than one row after another.
        """
        if self.in_step:
            return range(seqs.start - 1, seqs.stop - 1) if isinstance(seqs, range) else [s - 1 for s in seqs]
        row_of, uids = self.table.row_of_uid, self.uids
        found = (row_of(uids[seq - 1]) for seq in seqs)
        return [-1 if row is None else row for row in found]

    def seq_of_uid(self, uid: int) -> int | None:
        at = bisect_left(self.uids, uid)
        return at + 1 if at < len(self.uids) and self.uids[at] == uid else None

    def uids_of(self, seqs: Sequence[int]) -> Sequence[int]:
        uids = self.uids
        if isinstance(seqs, range):
            return uids[seqs.start - 1 : seqs.stop - 1]
        return [uids[seq - 1] for seq in seqs]

    def by_seq(self, numbers: SequenceSet) -> Sequence[int]:
        """The sequence numbers of a set of them, ascending, each once.

        Raises BadSyntax for a number above EXISTS (RFC 3501 §9 seq-number: an error of the client), but `1:*`
        in an empty mailbox is nothing: clients send it without looking.
        """
        return _numbers(self.spans(numbers))

    def spans(self, numbers: SequenceSet) -> list[tuple[int, int]]:
        """As `by_seq`: inclusive ranges, sorted and disjoint."""
        exists = len(self.uids)
        spans = numbers.resolve(exists)
        if spans and spans[-1][1] > exists:
            raise BadSyntax(f"There is no message {spans[-1][1]}; the last one is {exists}")
        return spans

    def by_uid(self, numbers: SequenceSet) -> Sequence[int]:
        """The sequence numbers of the messages whose UID is in a set, ascending, each once.

        RFC 3501 §6.4.8: a UID that no message has is no error.
        """
        uids = self.uids
        if not uids:
            return ()
        found = (
            (bisect_left(uids, low), bisect_right(uids, high)) for low, high in numbers.resolve(uids[-1])
        )
        return _numbers([(start + 1, stop) for start, stop in found if start < stop])

    # --- \Recent

    def _take_recent(self) -> None:
        mailbox = self.table.mailbox
        start, last = self.marks.start(mailbox), self._top
        if start <= last:
            if self._recent and self._recent[-1][1] >= start - 1:
                start = self._recent.pop()[0]
            self._recent.append((start, last))
            if not self.read_only:  # RFC 3501 §6.3.2: EXAMINE must not take \Recent away
                self.marks.first[mailbox] = last + 1

    def is_recent(self, uid: int) -> bool:
        at = bisect_right(self._recent, (uid, 1 << 32)) - 1
        return at >= 0 and self._recent[at][0] <= uid <= self._recent[at][1]

    @property
    def recent_count(self) -> int:
        uids = self.uids
        return sum(bisect_right(uids, last) - bisect_left(uids, first) for first, last in self._recent)


@dataclass(frozen=True, slots=True)
class OwnChange:
    """A change of flags made by this session: the clock of its entry, and HIGHESTMODSEQ as it was before."""

    modseq: int
    before: int


def _without(uids: "array[int]", seqs: Sequence[int]) -> "array[int]":
    """The UIDs but for those of these sequence numbers, highest first. No step for each that stays: clients
    that expunge one message at a time do so in mailboxes of any size."""
    left: array[int] = array("I")
    at = 0
    for seq in reversed(seqs):
        left.extend(uids[at : seq - 1])
        at = seq
    left.extend(uids[at:])
    return left


def _numbers(spans: Sequence[tuple[int, int]]) -> Sequence[int]:
    """The numbers of disjoint ascending ranges: a `range` when they are one run (the common case)."""
    if len(spans) == 1:
        return range(spans[0][0], spans[0][1] + 1)
    return [number for low, high in spans for number in range(low, high + 1)]
