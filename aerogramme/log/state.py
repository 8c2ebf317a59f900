"""The state of an account: what all entries of its log, taken in any order, add up to."""

from collections.abc import Sequence
from typing import Any

from aerogramme.log.bundle import Bundled
from aerogramme.log.entry import Add, Again, Entry, MailboxOp, MessageOp, Op, SegmentRef, Subscribe
from aerogramme.log.entry_bytes import decode, encode
from aerogramme.log.flagsets import Flagsets
from aerogramme.log.history import History
from aerogramme.log.segment import ContentMap
from aerogramme.log.table import Table

Attribute = tuple[int, Any]  # clock, value: the greater wins


class State:
    """A set of facts. `apply` takes entries in any order, more than once: the same entries, the same state.

    tables      mailbox -> Table, deleted and unnamed ones too
    flagsets    the numbers of flags and sets of flags
    segments    what is in them: `contents` finds the segment and position of a content's digest
    bundles     those of the checkpoint, with the names of the segments of which they have the contents
    history     which entries are in it, and what their writers had seen
    repeated    messages with a content that came before: they may be in two mailboxes
    damaged     row key -> what is wrong with it: entries that cannot be read, and are left out
    checkpoint  the name of the one whose parts this state names, "" for none
    cut, lost   entries that are no longer there, with good reason; see Manifest
    missing     (mailbox, number) -> name of pieces that cannot be read, and are nowhere else: their messages
                are not in the tables. No checkpoint is written of such a state; `check --repair` mends it
    version     grows with every entry
    """

    def __init__(self) -> None:
        self.flagsets = Flagsets()
        self.tables: dict[int, Table] = {}
        self.history = History()
        self.segments: list[SegmentRef] = []
        self.contents = ContentMap()
        self.bundles: Bundled = {}
        self.repeated: set[int] = set()
        self.damaged: dict[str, str] = {}
        self.checkpoint = ""
        self.cut: dict[int, int] = {}
        self.lost: set[tuple[int, int]] = set()
        self.missing: dict[tuple[int, int], str] = {}
        self.attributes: dict[int, dict[str, Attribute]] = {}
        self.subscriptions: dict[str, int] = {}  # name -> clock << 1 | on
        self.last_uidvalidity = 0
        self.version = 0
        self.inline_size = 0  # octets of segments that ride in entries
        self._names: tuple[int, dict[str, int], dict[int, str]] | None = None
        self._contested: tuple[int, list[int]] = (0, [])
        self._attributes_version = 0  # grows with all that names and roles depend on

    # --- reading

    @property
    def clock(self) -> int:
        """The latest clock of any entry."""
        return self.history.clock

    @property
    def vector(self) -> dict[int, int]:
        """replica -> seq of its last entry that is in this state."""
        return self.history.vector()

    @property
    def mailboxes(self) -> dict[int, Table]:
        """The mailboxes that are shown."""
        return {mailbox: self.tables[mailbox] for mailbox in self.names.values()}

    @property
    def names(self) -> dict[str, int]:
        """Name as shown -> mailbox. Of mailboxes with one name, all but the first to get it have a suffix."""
        return self._shown()[0]

    @property
    def roles(self) -> dict[int, str]:
        """Mailbox -> its special use (RFC 6154 §2), each use once."""
        return self._shown()[1]

    @property
    def subscribed(self) -> frozenset[str]:
        """The names that are subscribed, also those that no mailbox has."""
        return frozenset(name for name, fact in self.subscriptions.items() if fact & 1)

    @property
    def contested(self) -> list[int]:
        """The mailboxes that have the UIDVALIDITY of another, deleted ones too: made at once, in one second.

        Under one name the UIDs of the one would be taken for those of the other. Imported ones keep theirs,
        which others may have had where they come from; they get another when they are renamed.
        """
        version = self._attributes_version
        if self._contested[0] != version:
            having: dict[int, list[int]] = {}
            for mailbox in self.attributes:
                having.setdefault(self.attribute(mailbox, "uidvalidity") or 0, []).append(mailbox)
            having.pop(0, None)  # not heard of yet
            shared = (mailbox for sharing in having.values() if len(sharing) > 1 for mailbox in sharing)
            self._contested = version, sorted(m for m in shared if self.attribute(m, "imported") is None)
        return self._contested[1]

    def attribute(self, mailbox: int, name: str) -> Any:
        """The value of an attribute: name, role, deleted, uidvalidity, imported. None if it was never set."""
        return self.attributes.get(mailbox, {}).get(name, (0, None))[1]

    def _shown(self) -> tuple[dict[str, int], dict[int, str]]:
        if self._names is None or self._names[0] != self._attributes_version:
            # A deleted one shows as long as something is in it: what came without the deleter's knowledge.
            shown = [m for m in self.attributes if len(self.tables[m]) or not self.attribute(m, "deleted")]
            resolved = _resolve({m: self.attributes[m] for m in shown})
            self._names = (self._attributes_version, *resolved)
        return self._names[1], self._names[2]

    # --- applying

    def apply(self, entry: Entry, *, own: bool = False) -> bool:
        """Take in an entry; False if it is in already. `own`: its writer had seen this state."""
        if (entry.clock, entry.replica, entry.seq) in self.history:
            return False
        self.history.add(entry, own=own)
        for op in entry.ops:
            self._apply_op(op, entry.clock)
        self.version += 1
        return True

    def skip(self, clock: int, replica: int, seq: int) -> None:
        """An entry cannot be read: go on without it."""
        self.history.skip(clock, replica, seq)
        self.version += 1

    def table(self, mailbox: int) -> Table:
        """The table of a mailbox, which may not have been heard of yet."""
        table = self.tables.get(mailbox)
        if table is None:
            table = self.tables[mailbox] = Table(mailbox, self.flagsets)
        return table

    def _apply_op(self, op: Op, clock: int) -> None:
        match op:
            case MailboxOp():
                self._apply_mailbox(op, clock)
            case Subscribe():
                self.subscriptions[op.name] = max(self.subscriptions.get(op.name, 0), clock << 1 | op.on)
            case Again():
                self.history.said_again(op.key)
                self.apply(decode(op.key, op.plain))
            case _:
                self._apply_messages(op, clock)

    def _apply_messages(self, op: MessageOp, clock: int) -> None:
        if isinstance(op, Add) and op.segment is not None:
            if any(segment >= 0 for segment, _, _ in self.contents.spans(op.segment.contents)):
                self.repeated.update(message for message in op.ids if message in self.contents)
            self.add_segment(op.segment)
        table = self.table(op.mailbox)
        empty = not len(table)
        table.apply(op, clock)
        if empty != (not len(table)) and self.attribute(op.mailbox, "deleted"):
            self._attributes_version += 1  # whether it shows depends on it

    def drop_mailbox(self, mailbox: int) -> None:
        """Forget a deleted mailbox, of which nothing is left."""
        del self.tables[mailbox], self.attributes[mailbox]
        self._attributes_version += 1

    def named_segments(self) -> set[int]:
        """The indices of the segments that have a content."""
        return self.contents.segments()

    def set_segments(self, refs: Sequence[SegmentRef]) -> None:
        """Contents are in these segments from now on, and in no others. Those that are named already keep
        their index; the first of two that have a content has it."""
        known = {self.segments[index].name: index for index in sorted(self.named_segments())}
        named: dict[int, SegmentRef] = {}
        for ref in refs:
            index = known.get(ref.name, len(self.segments))
            if index < len(self.segments) and self.segments[index] != ref:
                index = len(self.segments)  # it is sealed again
            if index == len(self.segments):
                self.segments.append(ref)
            named[index] = ref
        self.contents.rebuild(named)
        self.inline_size = sum(len(p) for ref in named.values() for p in (ref.inline or {}).values())

    def add_segment(self, segment: SegmentRef) -> None:
        """Digests have come."""
        self.contents.put(len(self.segments), segment.contents)
        self.segments.append(segment)
        self.inline_size += sum(map(len, (segment.inline or {}).values()))

    def _apply_mailbox(self, op: MailboxOp, clock: int) -> None:
        table = self.table(op.mailbox)
        attributes = self.attributes.setdefault(op.mailbox, {})
        for name in "name", "role", "deleted", "uidvalidity":
            value = getattr(op, name)
            if value is not None:
                attributes[name] = max(attributes.get(name, (0, value)), (clock, value))
        if op.imported is not None:
            known = attributes.get("imported", (0, 0))
            attributes["imported"] = max(known, (clock, op.imported), key=lambda each: (each[1], each[0]))
        self.last_uidvalidity = max(self.last_uidvalidity, op.uidvalidity or 0)
        self.settle_attributes(op.mailbox)
        table.version += 1

    def settle_attributes(self, mailbox: int) -> None:
        """What follows from the attributes of a mailbox, which have changed."""
        table = self.table(mailbox)
        table.uidvalidity = self.attribute(mailbox, "uidvalidity") or 0
        table.top = max(table.top, (self.attribute(mailbox, "imported") or 1) - 1)
        self._attributes_version += 1


def _resolve(shown: dict[int, dict[str, Attribute]]) -> tuple[dict[str, int], dict[int, str]]:
    """Names and roles, each of one mailbox: the first to get it, by clock, has it. One that is deleted, and
    shows only because somebody put mail into it without knowing, has it after all others."""
    named = sorted(
        (bool(attributes.get("deleted", (0, False))[1]), *attributes["name"], m)
        for m, attributes in shown.items()
        if "name" in attributes
    )
    names: dict[str, int] = {}
    others = []
    for _, _, name, mailbox in named:
        if names.setdefault(name, mailbox) != mailbox:
            others.append((name, mailbox))
    last: dict[str, int] = {}  # number that was given to another of the name
    for name, mailbox in others:
        number = last.get(name, 1) + 1
        while f"{name} ({number})" in names:
            number += 1
        names[f"{name} ({number})"] = mailbox
        last[name] = number
    roles: dict[str, int] = {}
    for clock, role, mailbox in sorted((*a["role"], m) for m, a in shown.items() if "role" in a):
        assert clock
        if role and "name" in shown[mailbox]:
            roles.setdefault(role, mailbox)
    return names, {mailbox: role for role, mailbox in roles.items()}


def again(entries: Sequence[Entry]) -> list[Op]:
    """The operations that say entries again."""
    return [Again(entry.key, encode(entry)) for entry in entries]
