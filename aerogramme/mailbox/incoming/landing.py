"""What an import says of one mailbox: messages that come from another mail store, with their UIDs.

Theory of operation. The UIDs of the other store can be kept where nobody has seen other ones: a mailbox that
is not there yet, or has nothing in it, is replaced by a new one with the UIDVALIDITY of the other store's.
From then on `imported` (log/entry.py) says up to where the UIDs are those of the other store. A message below
is there already, or was removed here, so it is skipped: to land the same twice does no harm. One above keeps
its UID as long as that is above all that were given here.

`imported` rises as messages land, until the mailbox has had a message of its own: what is above may be a
message of either.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aerogramme.errors import Damaged, LimitReached, Refused
from aerogramme.log.entry import MAX_UID, NO_LINK, Add, Entry, MailboxOp, Op, SegmentRef, Subscribe, row_key
from aerogramme.log.entry_bytes import decode, encode
from aerogramme.log.ids import Ids, Runs
from aerogramme.log.journal import Draft
from aerogramme.log.packing import unpacked_size
from aerogramme.log.segment import Packed, Segments, pack_group, read_group
from aerogramme.log.state import State
from aerogramme.log.table import Table
from aerogramme.mail.wire import is_wire
from aerogramme.mailbox.body_record import BodyRecord
from aerogramme.mailbox.contents import GROUPS, NUMBERS, Content, segment_columns
from aerogramme.mailbox.flags import normal_flags
from aerogramme.mailbox.hierarchy import MAX_MAILBOXES, Maker
from aerogramme.mailbox.names import FIRST_MAILBOXES, ROLES, check

# Above it too few numbers would be left for mailboxes that are made here: a mailbox keeps its own then.
MAX_UIDVALIDITY = 0xF0000000
# Octets of a parcel, and of all its columns. Whoever makes one has 8 MiB of digests and the last one, of some
# more at most; but who has the public key may make one of any number of gigabytes, in some kilobytes.
MAX_PARCEL_OCTETS, MAX_DIGESTS = 1 << 25, 1 << 28
_KEY = row_key(1, 1, 1)  # of the entry that a parcel is written as
_SEGMENT = bytes(16).hex()
_SENT = ("envelope", "bodystructure", "body")  # fields of a digest that clients get as they are
_NUMBER = re.compile(rb"-?[0-9]{1,18}\Z").match

Columns = Mapping[str, Mapping[str, Sequence[bytes]]]  # as segment_columns gives them


@dataclass(frozen=True, slots=True)
class Landing:
    """What one entry brings into one mailbox. Columns are as long as `contents`, which name the messages too.

    uidvalidity  that of the other store's mailbox; 0 if it has none, and messages get the next UIDs
    imported     when this has landed, it has nothing more below this UID; 0 to say nothing of that
    role         special use (RFC 6154 §2), if no other mailbox with messages has it
    mailbox      the id that a new mailbox gets; 0 for any. By it a mailbox is found under another name, too
    subscribed   of a mailbox that this makes
    uids         ascending; they do not matter where `uidvalidity` is 0
    dates, sizes unix seconds, octets
    digests      group -> field -> values
    """

    name: str
    uidvalidity: int = 0
    imported: int = 0
    role: str | None = None
    subscribed: bool | None = None
    mailbox: int = 0
    contents: Ids = ()
    uids: Sequence[int] = ()
    dates: Sequence[int] = ()
    sizes: Sequence[int] = ()
    flags: Sequence[tuple[str, ...]] = ()
    digests: Columns = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        name: str,
        contents: Sequence[Content],
        uids: Sequence[int],
        dates: Sequence[int],
        flags: Sequence[tuple[str, ...]],
        *,
        uidvalidity: int = 0,
        imported: int = 0,
        role: str | None = None,
        subscribed: bool | None = None,
        mailbox: int = 0,
        digests: Columns | None = None,
    ) -> "Landing":
        """Of contents that were made here. `digests`: theirs, if they are in columns by now."""
        ids = [content.id for content in contents]
        sizes = [content.record.size for content in contents]
        if digests is None:
            digests = segment_columns(contents)
        said = uidvalidity, imported, role, subscribed, mailbox
        return cls(name, *said, ids, uids, dates, sizes, flags, digests)


@dataclass(frozen=True, slots=True)
class Landed:
    """What a landing did.

    mailbox  its id
    uids     of the messages, in their order; 0 for one that was skipped
    kept     whether UIDs are those of the other store, as far as they are free
    """

    mailbox: int
    uids: Sequence[int]
    kept: bool


def plan(
    state: State,
    maker: Maker,
    segments: Segments,
    landing: Landing,
    bodies: Sequence[tuple[str, bytes]] = (),
    packed: Packed | None = None,
) -> tuple[Draft | None, Landed]:
    """What to append, if anything, so that a landing has landed; `bodies` go with it. `packed`: the segment
    of all its contents, if somebody has made it already. Raises Refused."""
    name = check(landing.name)
    ops: list[Op] = []
    table = None
    mailbox = landing.mailbox if landing.mailbox in state.names.values() else state.names.get(name)
    validity = landing.uidvalidity if landing.uidvalidity <= MAX_UIDVALIDITY else 0
    if mailbox is not None:
        table = state.tables[mailbox]
        fresh = mailbox != landing.mailbox and not is_of(state, table, validity)
        if validity and fresh and not len(table):
            ops.append(MailboxOp(mailbox, role="", deleted=True))
            table = None
    if table is None:
        made = _make(state, maker, landing, name, validity, replaced=mailbox)
        ops += made
        [mailbox] = [op.mailbox for op in made if isinstance(op, MailboxOp) and op.name is not None]
        table = state.tables.get(mailbox)  # it was deleted here: what it had by then stays away
    assert mailbox is not None
    kept = bool(validity) and (table is None or is_of(state, table, validity))
    uids = _place(state, table, landing, kept)
    landed = [at for at, uid in enumerate(uids) if uid]
    objects: Sequence[tuple[str, bytes]] = ()
    if landed:
        contents = [landing.contents[at] for at in landed]
        if packed is None or len(landed) < len(uids):
            packed = segments.pack(contents, _some(landing.digests, landed, len(uids)))
        objects = packed.objects
        given = [uids[at] for at in landed]
        dates, sizes = [landing.dates[at] for at in landed], [landing.sizes[at] for at in landed]
        flags = [landing.flags[at] for at in landed]
        ops.append(Add(mailbox, contents, given, dates, sizes, flags, contents, packed.ref))
    before = 1 if table is None else state.attribute(mailbox, "imported") or 1
    # After the Add: what raises UIDNEXT first would have each message looked at by itself.
    if kept and landing.imported > before and (table is None or table.uidnext <= before):
        ops.append(MailboxOp(mailbox, imported=landing.imported))
    draft = Draft(ops, objects=[*bodies, *objects]) if ops else None
    return draft, Landed(mailbox, uids, kept)


def is_of(state: State, table: Table, uidvalidity: int) -> bool:
    """Whether a mailbox was imported with this UIDVALIDITY, and still has it."""
    return state.attribute(table.mailbox, "imported") is not None and table.uidvalidity == uidvalidity


def _make(
    state: State, maker: Maker, landing: Landing, name: str, uidvalidity: int, replaced: int | None
) -> list[Op]:
    """A new mailbox. The levels above are not made: where the mail comes from they may be none."""
    if replaced is None and len(state.names) >= MAX_MAILBOXES:
        raise LimitReached(f"An account has at most {MAX_MAILBOXES} mailboxes")
    role, ops = landing.role, list[Op]()
    if role is None and replaced is not None:
        role = state.roles.get(replaced)
    holder = next((m for m, its in state.roles.items() if its == role and m != replaced), None)
    if role is not None and holder is not None:
        if len(state.tables[holder]) or state.attribute(holder, "imported") is not None:
            role = None
        else:
            ops += _give_up(state, holder)
    new = maker.make(name, role, landing.mailbox or None)
    if uidvalidity:
        new = MailboxOp(new.mailbox, name, role, False, uidvalidity, imported=1)
    ops.append(new)
    wanted = name in state.subscribed if landing.subscribed is None else landing.subscribed
    if landing.subscribed is None and replaced is None:
        wanted = True  # mail programs that show subscribed mailboxes only would hide it
    if wanted != (name in state.subscribed):
        ops.append(Subscribe(name, wanted))
    return ops


def _give_up(state: State, holder: int) -> list[Op]:
    """An empty mailbox loses its role to one with messages; if nothing but its role made it, it goes."""
    name = next(name for name, mailbox in state.names.items() if mailbox == holder)
    if (name, state.roles[holder]) in FIRST_MAILBOXES and state.tables[holder].uidnext == 1:
        return [MailboxOp(holder, role="", deleted=True), Subscribe(name, False)]
    return [MailboxOp(holder, role="")]


def _place(state: State, table: Table | None, landing: Landing, kept: bool) -> list[int]:
    """The UIDs of the messages; 0 for those that are here, or were."""
    below = 1 if table is None else state.attribute(table.mailbox, "imported") or 1
    top = 0 if table is None else table.uidnext - 1
    uids = [0] * len(landing.contents)
    last = top
    rest = []
    spans = state.contents.spans(landing.contents)
    known = [segment >= 0 for segment, _, count in spans for _ in range(count)]
    for at, here in enumerate(known):
        if here or (kept and landing.uids[at] < below):
            continue
        if kept and landing.uids[at] > last:
            last = uids[at] = landing.uids[at]
        else:
            rest.append(at)
    for at in rest:
        last = uids[at] = last + 1
    if last > MAX_UID:
        raise Refused("The mailbox has no UIDs left")  # RFC 3501 §2.3.1.1: 32 bits
    return uids


def _some(columns: Columns, chosen: Sequence[int], count: int) -> Columns:
    if len(chosen) == count:
        return columns
    return {
        group: {name: [values[at] for at in chosen] for name, values in fields.items()}
        for group, fields in columns.items()
    }


# --- parcels: a landing in bytes, docs/format.md -----------------------------------------------------------


def to_bytes(landing: Landing) -> bytes:
    """The plain bytes of a parcel: those of an entry with the mailbox, its messages, and its subscription."""
    segment = SegmentRef(
        _SEGMENT,
        landing.contents,
        tuple(landing.digests),
        {group: pack_group(landing.contents, fields) for group, fields in landing.digests.items()},
    )
    uids = landing.uids if landing.uidvalidity else range(1, len(landing.contents) + 1)
    flags = [normal_flags(each) for each in landing.flags]
    add = Add(
        landing.mailbox,
        landing.contents,
        uids,
        landing.dates,
        landing.sizes,
        flags,
        landing.contents,
        segment,
    )
    said = landing.name, landing.role, None, landing.uidvalidity or None, landing.imported
    mailbox = MailboxOp(landing.mailbox, *said)
    ops: tuple[Op, ...] = (mailbox, add)
    if landing.subscribed is not None:
        ops += (Subscribe(landing.name, landing.subscribed),)
    return encode(Entry(1, 1, 1, NO_LINK, ops))


def from_bytes(plain: bytes, contents: range) -> Landing:
    """The landing of a parcel that has these contents. Raises Damaged for what `to_bytes` does not write."""
    match decode(_KEY, plain).ops:
        case [MailboxOp(name=str(name)) as box, Add(segment=SegmentRef() as segment) as add, *rest]:
            pass
        case _:
            raise Damaged("a parcel does not decode")
    match rest:
        case []:
            subscribed = None
        case [Subscribe(on=bool(subscribed))]:
            pass
        case _:
            raise Damaged("a parcel does not decode")
    if Runs.of(add.contents) != Runs.of(contents) or add.ids != add.contents or segment.inline is None:
        raise Damaged("a parcel is not of the contents that it should be of")
    if sum(map(unpacked_size, segment.inline.values())) > MAX_DIGESTS:
        raise Damaged("a parcel is larger than it may be")
    digests: dict[str, Mapping[str, Sequence[bytes]]] = {}
    for group, packed in segment.inline.items():
        of, columns = read_group(packed)
        if of != Runs.of(contents):
            raise Damaged("a parcel is not of the contents that it should be of")
        digests[group] = columns
    if {group: tuple(fields) for group, fields in digests.items()} != GROUPS:
        raise Damaged("a parcel has other columns than digests have")
    _check_digests(
        {field: column for columns in digests.values() for field, column in columns.items()}, add.sizes
    )
    if box.role not in (None, *ROLES):
        raise Damaged("a parcel has a special use that there is not")
    try:
        check(name)
        flags = [normal_flags(each) for each in add.flags]
    except Refused as why:
        raise Damaged(str(why)) from None
    said = box.uidvalidity or 0, box.imported or 0, box.role, subscribed, box.mailbox
    return Landing(name, *said, contents, list(add.uids), add.dates, add.sizes, flags, digests)


def _check_digests(columns: Mapping[str, Sequence[bytes]], sizes: Sequence[int]) -> None:
    """What whoever reads digests relies on. Those of a parcel were not made here: who writes one has the
    public key, and no more. Raises Damaged."""
    for raw, size in zip(columns["record"], sizes, strict=True):
        record = BodyRecord.from_bytes(raw)
        if record.size != size or record.place is not None:  # who brings parcels knows nothing of packs
            raise Damaged("a parcel has an impossible record of a body")
    if not all(map(_NUMBER, (value for field in NUMBERS for value in columns[field]))):
        raise Damaged("a parcel has a number that is none")
    if not all(map(is_wire, (value for field in _SENT for value in columns[field]))):
        raise Damaged("a parcel has an envelope or a structure that cannot be sent")
