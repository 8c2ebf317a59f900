"""The visible messages of a mailbox as columns: finding rows, changing slices, and what changed lately."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aerogramme.log.columns import IdMap, compressed, filled
from aerogramme.log.ids import Runs

PIECE_BITS = 12  # UIDs are grouped by 4,096 into pieces, which a checkpoint writes and names one by one
RECENT_MAX = 64  # changes remembered; sessions that are further behind scan the column of MODSEQs
FEW = 16  # up to so many places a column is changed in place, above it is built anew

Span = tuple[int, int]


@dataclass(slots=True)
class Hidden:
    """A message without a valid UID: its data is known, but nothing is shown until it has another claim."""

    modseq: int
    flags: int
    size: int
    date: int
    content: int


class Rows:
    """Columns sorted by UID. Row numbers are good until the next entry is applied.

    uids           row n of all columns is the same message
    ids            message ids
    modseqs        the clock of the last entry that touched the message
    flags          numbers of flagsets: `flagsets.sets[number]`
    sizes          octets (RFC822.SIZE)
    dates          seconds since 1970 (INTERNALDATE)
    contents       ids of contents
    highestmodseq  the latest clock that touched any message, removed ones too
    """

    def __init__(self) -> None:
        self.uids: array[int] = array("I")
        self.ids: array[int] = array("Q")
        self.modseqs: array[int] = array("Q")
        self.flags: array[int] = array("I")
        self.sizes: array[int] = array("I")
        self.dates: array[int] = array("I")
        self.contents: array[int] = array("Q")
        self.highestmodseq = 0
        self.dirty: set[int] = set()  # pieces that are not as the last checkpoint has them
        self.pieces: dict[int, str] = {}  # and the names of those that it has
        self._octets: int | None = None  # all sizes together; counted when first needed
        self._index: IdMap | None = None  # visible message -> UID; made when first needed
        self._recent: list[tuple[int, array[int]]] = []  # (clock, UIDs) of the last changes
        self._recent_from = 0  # every change above this clock is in `_recent`

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def octets(self) -> int:
        """The sizes of all rows together."""
        if self._octets is None:
            self._octets = sum(self.sizes)
        return self._octets

    def row_of_uid(self, uid: int) -> int | None:
        """The row of a UID."""
        row = bisect_left(self.uids, uid)
        return row if row < len(self.uids) and self.uids[row] == uid else None

    def rows_of_ids(self, ids: Iterable[int]) -> list[int]:
        """The rows of those messages that are visible, ascending."""
        spans, _ = self.locate(Runs.of(ids))
        return sorted(row for start, stop in spans for row in range(start, stop))

    def changed_since(self, modseq: int) -> Sequence[int]:
        """The rows with a MODSEQ above this one, ascending; new messages are among them."""
        if modseq >= self.highestmodseq:
            return ()
        if modseq >= self._recent_from:
            uids: set[int] = set()
            for clock, changed in self._recent:
                if clock > modseq:
                    uids.update(changed)
            if len(uids) * 4 < len(self.uids):  # a lookup costs about as much as scanning four rows
                found = (self.row_of_uid(uid) for uid in sorted(uids))
                return [row for row in found if row is not None and self.modseqs[row] > modseq]
        return [row for row, q in enumerate(self.modseqs) if q > modseq]

    def by_id(self) -> IdMap:
        """The UIDs of the visible messages, by id."""
        if self._index is None:
            self._index = IdMap("I")
            self._index.put_new(self.ids[:], self.uids[:])
        return self._index

    def row_of_id(self, message: int) -> int | None:
        """The row of a message."""
        index = self.by_id()
        at = index.find(message)
        return None if at is None else bisect_left(self.uids, index.columns[0][at])

    def locate(self, ids: Runs) -> tuple[list[Span], list[int]]:
        """The rows of messages, as spans; and the messages that have none."""
        index = self.by_id()
        spans: list[Span] = []
        missing: list[int] = []
        for first, count in ids.runs:
            start, stop = index.span(first, count)
            if stop - start != count:
                missing += sorted(set(range(first, first + count)).difference(index.ids[start:stop]))
            if stop == start:
                continue
            uids = index.columns[0][start:stop]
            row = bisect_left(self.uids, uids[0])
            if stop - start == 1 or self.uids[row : row + len(uids)] == uids:
                spans.append((row, row + len(uids)))
                continue
            for uid in uids:
                row = bisect_left(self.uids, uid)
                if spans and spans[-1][1] == row:
                    spans[-1] = spans[-1][0], row + 1
                else:
                    spans.append((row, row + 1))
        return spans, missing

    # --- changing

    def extend_rows(
        self,
        clock: int,
        ids: "array[int]",
        uids: "array[int]",
        flags: "array[int]",
        sizes: Sequence[int],
        dates: Sequence[int],
        contents: Sequence[int],
    ) -> None:
        """New rows after all others."""
        if self._index is not None:
            self._index.put_new(ids, uids)
        self.uids.extend(uids)
        self.ids.extend(ids)
        self.modseqs.extend(filled("Q", clock, len(ids)))
        self.flags.extend(flags)
        self.sizes.extend(sizes)
        self.dates.extend(dates)
        self.contents.extend(contents)
        if self._octets is not None:
            self._octets += sum(sizes)
        self.note(uids)
        self._remember(clock, uids)

    def insert_row(self, message: int, uid: int, data: Hidden) -> None:
        """A new row where it belongs."""
        self.by_id().put(message, uid)
        row = bisect_left(self.uids, uid)
        values = uid, message, data.modseq, data.flags, data.size, data.date, data.content
        for column, value in zip(self._columns(), values, strict=True):
            column.insert(row, value)
        if self._octets is not None:
            self._octets += data.size
        changed = array("I", [uid])
        self.note(changed)
        self._remember(data.modseq, changed)

    def row_data(self, row: int) -> Hidden:
        """The data of a row."""
        return Hidden(
            self.modseqs[row], self.flags[row], self.sizes[row], self.dates[row], self.contents[row]
        )

    def set_row(self, row: int, data: Hidden) -> None:
        """Change the data of a row."""
        if self._octets is not None:
            self._octets += data.size - self.sizes[row]
        self.modseqs[row], self.flags[row], self.sizes[row] = data.modseq, data.flags, data.size
        self.dates[row], self.contents[row] = data.date, data.content
        changed = self.uids[row : row + 1]
        self.note(changed)
        self._remember(data.modseq, changed)

    def take_row(self, row: int) -> Hidden:
        """Delete a row and give its data."""
        data = self.row_data(row)
        self.note(self.uids[row : row + 1])
        self._delete_rows([(row, row + 1)], self.ids[row : row + 1])
        return data

    def take_rows(self, spans: list[Span], clock: int) -> "tuple[array[int], array[int], array[int]]":
        """Delete rows; their ids, UIDs, and MODSEQs after being touched by an entry of this clock."""
        self.bump_rows(spans, clock)
        ids, uids, modseqs = array("Q"), array("I"), array("Q")
        for start, stop in spans:
            ids.extend(self.ids[start:stop])
            uids.extend(self.uids[start:stop])
            modseqs.extend(self.modseqs[start:stop])
        self._delete_rows(spans, ids)
        return ids, uids, modseqs

    def bump_rows(self, spans: list[Span], clock: int) -> None:
        """Rows were touched by an entry of this clock."""
        changed = array("I")
        for start, stop in spans:
            if clock >= self.highestmodseq:
                self.modseqs[start:stop] = filled("Q", clock, stop - start)
            else:
                self.modseqs[start:stop] = array("Q", (max(q, clock) for q in self.modseqs[start:stop]))
            changed.extend(self.uids[start:stop])
        self.note(changed)
        self._remember(clock, changed)

    def note(self, uids: "array[int]") -> None:
        """The pieces of these UIDs are not as the last checkpoint has them."""
        if len(uids) > FEW and uids[-1] - uids[0] == len(uids) - 1:
            self.dirty.update(range(uids[0] >> PIECE_BITS, (uids[-1] >> PIECE_BITS) + 1))
        else:
            self.dirty.update({uid >> PIECE_BITS for uid in uids})

    def recent_from(self, clock: int) -> None:
        """Changes are remembered from this clock on; what was before is in a checkpoint."""
        self._recent_from = clock

    def fit(self) -> None:
        """Let go of the room that the columns have got to grow, a sixteenth: most mailboxes change little."""
        self.uids, self.ids, self.modseqs = self.uids[:], self.ids[:], self.modseqs[:]
        self.flags, self.sizes, self.dates = self.flags[:], self.sizes[:], self.dates[:]
        self.contents = self.contents[:]

    def _remember(self, clock: int, uids: "array[int]") -> None:
        if uids:
            self._recent.append((clock, uids))
            if len(self._recent) > RECENT_MAX:
                self._recent_from = max(self._recent_from, self._recent.pop(0)[0])

    def _delete_rows(self, spans: list[Span], ids: "array[int]") -> None:
        index = self.by_id()
        if self._octets is not None:
            self._octets -= sum(sum(self.sizes[start:stop]) for start, stop in spans)
        if len(spans) <= FEW:
            for column in self._columns():
                for start, stop in sorted(spans, reverse=True):
                    del column[start:stop]
        else:
            mask = bytearray(b"\1") * len(self.uids)
            for start, stop in spans:
                mask[start:stop] = bytes(stop - start)
            self.uids, self.ids, self.modseqs, self.flags, self.sizes, self.dates, self.contents = (
                compressed(column, mask) for column in self._columns()
            )
        if len(ids) <= FEW:
            for message in ids:
                at = bisect_left(index.ids, message)
                index.delete(at, at + 1)
        else:
            gone = set(ids)
            index.keep([message not in gone for message in index.ids])

    def _columns(self) -> "tuple[array[int], ...]":
        return self.uids, self.ids, self.modseqs, self.flags, self.sizes, self.dates, self.contents
