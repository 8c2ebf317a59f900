"""Checkpoints: a state in the store, so that opening an account does not read its whole history.

A checkpoint is a manifest, the object "checkpoint/<name>", which names pieces ("piece/<name>", piece.py) and
segments (segment.py). Manifests are named so that the newest lists first. All that a manifest names is
durable before the manifest is; a crash in between leaves objects that nothing names.

A manifest says which entries it covers, and what a later reader needs for the rule `unknown`: the clocks of
recent entries, and what the replicas that may still append had seen. It covers only settled states: nothing
is left to be said of what is in it.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import zstandard

from aerogramme.errors import Damaged
from aerogramme.log import piece
from aerogramme.log.clock import COUNTER_BITS, MAX_CLOCK, wall_ms
from aerogramme.log.columns import column_bytes, column_from
from aerogramme.log.entry import SegmentRef
from aerogramme.log.history import MARGIN, RETIREMENT, SILENCE, Trail
from aerogramme.log.ids import Runs
from aerogramme.log.records import Records
from aerogramme.log.rows import PIECE_BITS
from aerogramme.log.state import State
from aerogramme.log.table import Table
from aerogramme.seal import Keyring
from aerogramme.store.port import Store

KIND, PIECE_KIND = "checkpoint", "piece"  # of the sealed records; their names are those of the objects
PREFIX = "checkpoint/"
_NAME = re.compile(PREFIX + "([0-9a-f]{16})-", re.ASCII)
VERSION = 1
INLINE_ROWS = 256  # a mailbox with no more messages is in the manifest itself
TRIED = 8  # checkpoints looked at when newer ones cannot be read
MAX_UNPACKED = 1 << 30  # a checkpoint is written from memory; what unpacks to more is not one
LEVEL = 1  # of zstd: columns of numbers gain little from more

# Removed messages are remembered for so long. A client that was away for longer compares all its UIDs.
RETENTION = 7 * 24 * 60 * 60 * 1000 << COUNTER_BITS


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state, encoded at one moment.

    objects  (name, sealed) in the order in which they have to be stored
    pieces   for each mailbox the names of its pieces
    dirty    for each mailbox the pieces that were written anew
    vector, clock, bases   what the checkpoint covers
    """

    objects: list[tuple[str, bytes]]
    pieces: Mapping[int, dict[int, str]]
    dirty: Mapping[int, set[int]]
    vector: Mapping[int, int]
    clock: int
    bases: Mapping[int, int]


def horizon(state: State) -> str:
    """The row key after which the tail of a state from a checkpoint is read."""
    return f"{max(0, state.clock - MARGIN):016x}"


def horizon_of(names: Sequence[str]) -> str:
    """The same for the checkpoint with the first of these names; of none, and of nonsense, the beginning."""
    match = _NAME.match(names[0]) if names else None
    clock = 0 if match is None else MAX_CLOCK - int(match[1], 16)
    return f"{max(0, clock - MARGIN):016x}"


def new_name(clock: int) -> str:
    """A name for an object, 32 hex digits, that tells its age and nothing else."""
    return f"{clock:016x}{secrets.token_hex(8)}"


# --- writing


def take(state: State, keyring: Keyring) -> Snapshot:
    """Encode a settled state. Pieces that are as the last checkpoint has them are named again, not written.

    Tombstones that are older than RETENTION are dropped from the state.
    """
    clock = state.clock
    _forget(state, clock - RETENTION)
    objects: list[tuple[str, bytes]] = []
    pieces: dict[int, dict[int, str]] = {}
    dirty: dict[int, set[int]] = {}
    mailboxes = []
    for mailbox, table in state.tables.items():
        pieces[mailbox], inline = {}, None
        if len(table) <= INLINE_ROWS:
            inline = piece.encode_rows(table, 0, len(table))
        else:
            for number, start, stop in piece.spans(table):
                name = table.pieces.get(number)
                if name is None or number in table.dirty:
                    name = f"piece/{new_name(clock)}"
                    packed = _compress(piece.encode_rows(table, start, stop))
                    objects.append((name, keyring.seal(PIECE_KIND, name, packed)))
                pieces[mailbox][number] = name
        dirty[mailbox], table.dirty = table.dirty, set()
        mailboxes.append(_encode_table(state, table, pieces[mailbox], inline))
    history = state.history
    trails, retired = history.trails, set(history.retired(clock))
    manifest = [
        VERSION,
        clock,
        max(history.floor, clock - RETIREMENT),
        [_encode_trail(replica, trails[replica], clock) for replica in trails.keys() - retired],
        mailboxes,
        sorted(state.subscriptions.items()),
        piece.known_flags(state.flagsets),
        state.last_uidvalidity,
        [_encode_segment(state.segments[index]) for index in sorted(state.named_segments())],
        sorted(item for item in state.damaged.items() if not item[0].startswith(PREFIX)),
    ]
    # Of two with one clock, the later one lists first: it may name what was written anew (resealing.py).
    later = (1 << 44) - 1 - wall_ms()
    name = f"{PREFIX}{MAX_CLOCK - clock:016x}-{later:011x}{secrets.token_hex(3)[1:]}"
    objects.append((name, keyring.seal(KIND, name, _compress(msgpack.packb(manifest)))))
    bases = {mailbox: table.highestmodseq for mailbox, table in state.tables.items()}
    return Snapshot(objects, pieces, dirty, history.vector(), clock, bases)


def stored(state: State, snapshot: Snapshot) -> None:
    """The snapshot is durable: the state starts from it."""
    state.history.rebase(snapshot.vector, snapshot.clock, snapshot.bases)
    for mailbox, names in snapshot.pieces.items():
        if mailbox in state.tables:
            state.tables[mailbox].pieces = names
            state.tables[mailbox].base = snapshot.bases[mailbox]


def failed(state: State, snapshot: Snapshot) -> None:
    """The snapshot was not stored, or nobody knows: what it wrote has to be written again."""
    for mailbox, numbers in snapshot.dirty.items():
        state.table(mailbox).dirty |= numbers


def _forget(state: State, before: int) -> None:
    for mailbox, table in list(state.tables.items()):
        table.forget(before)
        deleted = state.attributes.get(mailbox, {}).get("deleted", (before, False))
        rest = len(table) or len(table.tombs) or table.early or table.claims
        if deleted[1] and deleted[0] < before and not rest:
            state.drop_mailbox(mailbox)


def _compress(plain: bytes) -> bytes:
    return zstandard.ZstdCompressor(LEVEL).compress(plain)


def _encode_trail(replica: int, trail: Trail, clock: int) -> list[Any]:
    silent = trail.clock < clock - SILENCE
    seen = None if silent else [n for pair in sorted(trail.seen.items()) for n in pair]
    old = trail.old(clock)
    return [replica, trail.first + old, column_bytes(trail.clocks[old:]), trail.floor, seen]


def _encode_table(state: State, table: Table, pieces: Mapping[int, str], inline: bytes | None) -> list[Any]:
    attributes = state.attributes.get(table.mailbox, {})
    uids, modseqs = table.tombs.columns
    return [
        table.mailbox,
        [[name, clock, value] for name, (clock, value) in sorted(attributes.items())],
        table.top,
        table.highestmodseq,
        table.forgotten,
        table.forgotten_uid,
        list(pieces.values()),
        inline,
        [column_bytes(table.tombs.ids), column_bytes(uids), column_bytes(modseqs)],
        [[message, sorted(claims)] for message, claims in sorted(table.claims.items())],
        sorted(table.early.items()),
        piece.encode_facts(table, table.early),
    ]


def _encode_segment(ref: SegmentRef) -> list[Any]:
    groups = ref.groups if ref.inline is None else dict(ref.inline)
    packs = None if ref.packs is None else [bytes.fromhex(pack) for pack in ref.packs]
    more: list[Any] = [packs, ref.sealed] if ref.sealed else [] if packs is None else [packs]
    return [bytes.fromhex(ref.name), Runs.of(ref.contents).wire(), groups, *more]


# --- reading


async def newest(store: Store) -> list[str]:
    """The names of the checkpoints, the newest first; not of all, if there are many. Raises Unavailable."""
    return await store.list(PREFIX, limit=TRIED)


async def load(records: Records, names: Sequence[str]) -> State:
    """The state of the first checkpoint of these that can be read, or of no entries. Raises Unavailable.

    Those that cannot be read are in `damaged` of the state, which then has a longer tail to read.
    """
    unreadable: dict[str, str] = {}
    state = State()
    for name in names:
        try:
            state = await _load(records, name)
            break
        except Damaged as e:
            unreadable[name] = str(e)
    state.damaged.update(unreadable)
    return state


async def _load(records: Records, name: str) -> State:
    state = State()
    [plain] = await records.read(KIND, [name])
    if isinstance(plain, Damaged):
        raise plain
    try:
        manifest = msgpack.unpackb(_decompress(plain), strict_map_key=True)
        version, clock, floor, trails, mailboxes, subscriptions, flags, last, segments, damaged = manifest
        if version != VERSION:
            raise Damaged("a checkpoint of an unknown version")
        state.history.clock, state.history.floor = clock, floor
        for encoded in trails:
            _decode_trail(state, *encoded)
        for spelling, first_use in flags:
            state.flagsets.flag(spelling, first_use)
        names = [piece_name for encoded in mailboxes for piece_name in encoded[6]]
        pieces = dict(zip(names, await records.read(PIECE_KIND, names), strict=True))
        for encoded in mailboxes:
            _decode_table(state, pieces, *encoded)
        state.subscriptions.update(subscriptions)
        state.last_uidvalidity = last
        for encoded in segments:
            state.add_segment(_decode_segment(*encoded))
        state.damaged.update(damaged)
    except (ValueError, TypeError, IndexError, AttributeError, msgpack.UnpackException) as e:
        raise Damaged("a checkpoint does not decode") from e
    return state


def _decompress(packed: bytes) -> bytes:
    try:
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_UNPACKED)
    except zstandard.ZstdError as e:
        raise Damaged("a checkpoint does not decode") from e


def _decode_segment(
    name: bytes,
    contents: Any,
    groups: list[str] | dict[str, bytes],
    packs: list[bytes] | None = None,
    sealed: int = 0,
) -> SegmentRef:
    inline = groups if isinstance(groups, dict) else None
    named = None if packs is None else tuple(pack.hex() for pack in packs)
    return SegmentRef(name.hex(), Runs.from_wire(contents), tuple(groups), inline, named, sealed)


def _decode_trail(
    state: State, replica: int, first: int, clocks: bytes, floor: int, seen: list[int] | None
) -> None:
    seen = seen or []
    known = dict(zip(seen[::2], seen[1::2], strict=True))
    trail = Trail(first, column_from("Q", clocks), known, dict(known), floor)
    state.history.trails[replica] = trail
    for at, clock in enumerate(trail.clocks):
        if not clock:
            state.history.holes.add((replica, first + at))


def _decode_table(
    state: State,
    pieces: Mapping[str, bytes | Damaged],
    mailbox: int,
    attributes: list[tuple[str, int, Any]],
    top: int,
    highestmodseq: int,
    forgotten: int,
    forgotten_uid: int,
    names: list[str],
    inline: bytes | None,
    tombs: list[bytes],
    claims: list[tuple[int, list[int]]],
    early: list[tuple[int, int]],
    facts: piece.Facts,
) -> None:
    table = state.table(mailbox)
    for name in names:
        plain = pieces[name]
        if isinstance(plain, Damaged):
            raise plain
        first_row = len(table)
        piece.decode_rows(table, _decompress(plain))
        table.pieces[table.uids[first_row] >> PIECE_BITS] = name
    if inline is not None:
        piece.decode_rows(table, inline)
    ids, uids, modseqs = tombs
    table.tombs.put_new(column_from("Q", ids), column_from("I", uids), column_from("Q", modseqs))
    for message, claimed in claims:
        table.claims[message] = set(claimed)
        for uid in claimed:
            table.claimed.setdefault(uid, set()).add(message)
    table.early.update(early)
    piece.decode_facts(table, facts)
    table.top, table.highestmodseq, table.base = top, highestmodseq, highestmodseq
    table.forgotten, table.forgotten_uid = forgotten, forgotten_uid
    # A message that appears at a UID whose tombstone was dropped might be taken for the one that was there.
    table.told = forgotten_uid + 1
    table.recent_from(highestmodseq)
    state.history.bases[mailbox] = highestmodseq
    if attributes:
        state.attributes[mailbox] = {name: (clock, value) for name, clock, value in attributes}
        state.settle_attributes(mailbox)
