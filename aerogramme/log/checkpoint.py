"""Checkpoints: a state in the store, so that opening an account does not read its whole history.

A checkpoint is a manifest, the object "checkpoint/<name>", which names pieces ("piece/<name>", piece.py),
segments (segment.py) and bundles ("bundle/<name>", bundle.py). Manifests are named so that the newest lists
first. All that a manifest names is durable before the manifest is; a crash in between leaves objects that
nothing names.

A manifest says which entries it covers, and what a later reader needs for the rule `unknown`: the clocks of
recent entries, and what the replicas that may still append had seen. It covers only settled states: nothing
is left to be said of what is in it.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aerogramme.errors import Damaged
from aerogramme.log import bundle, piece
from aerogramme.log.clock import COUNTER_BITS, MAX_CLOCK, wall_ms
from aerogramme.log.columns import column_bytes, column_from
from aerogramme.log.history import MARGIN, RETIREMENT, SILENCE, Trail
from aerogramme.log.manifest import (
    KIND,
    Manifest,
    StoredTable,
    StoredTrail,
    completed,
    read_alone,
)
from aerogramme.log.packing import compress, decompress
from aerogramme.log.records import Records
from aerogramme.log.state import State
from aerogramme.log.table import Table
from aerogramme.seal import Keyring
from aerogramme.store.port import Store
from aerogramme.together import together

PIECE_KIND = "piece"  # of the sealed records; their names are those of the objects
PREFIX = "checkpoint/"
_NAME = re.compile(PREFIX + "([0-9a-f]{16})-([0-9a-f]{11})", re.ASCII)
_LATEST = (1 << 44) - 1  # milliseconds since 1970
INLINE_ROWS = 256  # a mailbox with no more messages is in the manifest itself
TRIED = 8  # checkpoints looked at when newer ones cannot be read

# Removed messages are remembered for so long. A client that was away for longer compares all its UIDs.
RETENTION = 7 * 24 * 60 * 60 * 1000 << COUNTER_BITS


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state, encoded at one moment.

    objects  (name, sealed) in the order in which they have to be stored
    pieces   for each mailbox the names of its pieces
    dirty    for each mailbox the pieces that were written anew
    bundles  as in the state
    vector, clock, bases   what the checkpoint covers
    """

    objects: list[tuple[str, bytes]]
    pieces: Mapping[int, dict[int, str]]
    dirty: Mapping[int, set[int]]
    bundles: bundle.Bundled
    vector: Mapping[int, int]
    clock: int
    bases: Mapping[int, int]


def horizon(state: State) -> str:
    """The row key after which the tail of a state from a checkpoint is read."""
    return f"{max(0, state.clock - MARGIN):016x}"


def horizon_of(names: Sequence[str]) -> str:
    """The same for the checkpoint with the first of these names; of none, and of nonsense, the beginning."""
    clock = (names and clock_of(names[0])) or 0
    return f"{max(0, clock - MARGIN):016x}"


def clock_of(name: str) -> int | None:
    """The clock of the checkpoint of this name; None if it is the name of none."""
    match = _NAME.match(name)
    return None if match is None else MAX_CLOCK - int(match[1], 16)


def written_ms(name: str) -> int:
    """When the checkpoint of this name was written, in milliseconds since 1970; 0 if it is no such name."""
    match = _NAME.match(name)
    return 0 if match is None else _LATEST - int(match[2], 16)


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
                    packed = compress(piece.encode_rows(table, start, stop))
                    objects.append((name, keyring.seal(PIECE_KIND, name, packed)))
                pieces[mailbox][number] = name
        dirty[mailbox] = table.dirty
        mailboxes.append(_encode_table(state, table, pieces[mailbox], inline))
    segments = [state.segments[index] for index in sorted(state.named_segments())]
    long = {ref.name: ref for ref in segments if bundle.is_long(ref)}
    bundles, new = bundle.arrange(state.bundles, long)
    if new:
        name = f"{bundle.PREFIX}{new_name(clock)}"
        packed = bundle.encode(long[each] for each in new)
        objects.append((name, keyring.seal(bundle.KIND, name, packed)))
        bundles[name] = tuple(new)
    history = state.history
    trails, retired = history.trails, set(history.retired(clock))
    manifest = Manifest(
        clock,
        max(history.floor, clock - RETIREMENT),
        [_encode_trail(replica, trails[replica], clock) for replica in trails.keys() - retired],
        mailboxes,
        sorted(state.subscriptions.items()),
        piece.known_flags(state.flagsets),
        state.last_uidvalidity,
        segments,
        bundles,
        sorted(item for item in state.damaged.items() if not item[0].startswith(PREFIX)),
        dict(state.cut),
        frozenset(state.lost),
    )
    name = _name_after(state.checkpoint, clock)
    objects.append((name, keyring.seal(KIND, name, manifest.encode())))
    bases = {mailbox: table.highestmodseq for mailbox, table in state.tables.items()}
    for table in state.tables.values():  # now that nothing can fail any more
        table.dirty = set()
    return Snapshot(objects, pieces, dirty, bundles, history.vector(), clock, bases)


def _name_after(last: str, clock: int) -> str:
    """A name for a checkpoint. Of two with one clock, the later one lists first, also when both are of one
    millisecond: it may name what was written anew (resealing.py), or let go of what the other names."""
    later = _LATEST - wall_ms()
    match = _NAME.match(last)
    if match is not None and clock_of(last) == clock:
        later = min(later, int(match[2], 16) - 1)
    return f"{PREFIX}{MAX_CLOCK - clock:016x}-{later:011x}{secrets.token_hex(3)[1:]}"


def stored(state: State, snapshot: Snapshot) -> None:
    """The snapshot is durable: the state starts from it."""
    state.checkpoint = snapshot.objects[-1][0]
    state.bundles = snapshot.bundles
    state.history.rebase(snapshot.vector, snapshot.clock, snapshot.bases)
    for mailbox, names in snapshot.pieces.items():
        if mailbox in state.tables:
            state.tables[mailbox].pieces = names


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


def _encode_trail(replica: int, trail: Trail, clock: int) -> StoredTrail:
    silent = trail.clock < clock - SILENCE
    seen = None if silent else [n for pair in sorted(trail.seen.items()) for n in pair]
    old = trail.old(clock)
    return StoredTrail(replica, trail.first + old, column_bytes(trail.clocks[old:]), trail.floor, seen)


def _encode_table(state: State, table: Table, pieces: Mapping[int, str], inline: bytes | None) -> StoredTable:
    attributes = state.attributes.get(table.mailbox, {})
    uids, modseqs = table.tombs.columns
    return StoredTable(
        table.mailbox,
        [[name, clock, value] for name, (clock, value) in sorted(attributes.items())],
        table.top,
        table.highestmodseq,
        table.forgotten,
        table.forgotten_uid,
        [each for item in pieces.items() for each in item],
        inline,
        [column_bytes(table.tombs.ids), column_bytes(uids), column_bytes(modseqs)],
        [[message, sorted(claims)] for message, claims in sorted(table.claims.items())],
        [list(item) for item in sorted(table.early.items())],
        piece.encode_facts(table, table.early),
    )


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
            state.checkpoint = name
            break
        except Damaged as e:
            unreadable[name] = str(e)
    state.damaged.update(unreadable)
    return state


async def load_what_is_left(records: Records, names: Sequence[str]) -> State:
    """What the newest checkpoint of these says that can be read, without the messages whose pieces cannot be.

    For an account of whose checkpoints none can be opened whole, and whose log does not go back to the
    beginning: better than nothing, which is what that would open as. What is missing is in `missing` of the
    state. Raises Unavailable.
    """
    for name in names:
        try:
            state = await _load(records, name, partly=True)
        except Damaged:
            continue
        state.checkpoint = name
        return state
    state = State()
    state.missing[0, 0] = PREFIX
    return state


async def _load(records: Records, name: str, *, partly: bool = False) -> State:
    manifest = await read_alone(records, name)
    state = State()
    state.history.clock, state.history.floor = manifest.clock, manifest.floor
    names = [piece_name for table in manifest.tables for piece_name in table.names.values()]
    pieces: dict[str, bytes | Damaged] = {}

    async def read_pieces() -> None:
        pieces.update(zip(names, await records.read(PIECE_KIND, names), strict=True))

    async def complete() -> None:
        nonlocal manifest
        manifest = await completed(records, manifest, as_far_as_known=True)

    await together(read_pieces, complete)
    try:
        for trail in manifest.trails:
            _decode_trail(state, trail)
        for spelling, first_use in manifest.flags:
            state.flagsets.flag(spelling, first_use)
        for table in manifest.tables:
            state.missing.update(_decode_table(state, pieces, table, partly))
        state.subscriptions.update(manifest.subscriptions)
        state.last_uidvalidity = manifest.last_uidvalidity
        state.set_segments(manifest.segments)
        state.bundles = manifest.bundles
        state.damaged.update(manifest.damaged)
        state.cut.update(manifest.cut)
        state.lost.update(manifest.lost)
    except (ValueError, TypeError, IndexError, AttributeError) as e:
        raise Damaged("a checkpoint does not decode") from e
    return state


def _decode_trail(state: State, stored: StoredTrail) -> None:
    seen = stored.seen or []
    known = dict(zip(seen[::2], seen[1::2], strict=True))
    trail = Trail(stored.first, column_from("Q", stored.clocks), known, dict(known), stored.floor)
    state.history.trails[stored.replica] = trail
    for at, clock in enumerate(trail.clocks):
        if not clock:
            state.history.holes.add((stored.replica, stored.first + at))


def _decode_table(
    state: State, pieces: Mapping[str, bytes | Damaged], stored: StoredTable, partly: bool
) -> dict[tuple[int, int], str]:
    """Gives the pieces that were left out: (mailbox, number) -> name."""
    table = state.table(stored.mailbox)
    missing: dict[tuple[int, int], str] = {}
    for number, name in stored.names.items():
        try:
            plain = pieces[name]
            if isinstance(plain, Damaged):
                raise plain
            piece.decode_rows(table, decompress(plain))
        except Damaged:
            if not partly:
                raise
            missing[stored.mailbox, number] = name
    table.pieces = {n: name for n, name in stored.names.items() if (stored.mailbox, n) not in missing}
    if stored.inline is not None:
        piece.decode_rows(table, stored.inline)
    ids, uids, modseqs = stored.tombs
    table.tombs.put_new(column_from("Q", ids), column_from("I", uids), column_from("Q", modseqs))
    for message, claimed in stored.claims:
        table.claims[message] = set(claimed)
        for uid in claimed:
            table.claimed.setdefault(uid, set()).add(message)
    table.early.update((message, modseq) for message, modseq in stored.early)
    piece.decode_facts(table, stored.facts)
    table.top, table.highestmodseq = stored.top, stored.highestmodseq
    table.forgotten, table.forgotten_uid = stored.forgotten, stored.forgotten_uid
    # A message that appears at a UID whose tombstone was dropped might be taken for the one that was there.
    table.told = stored.forgotten_uid + 1
    table.recent_from(stored.highestmodseq)
    table.fit()
    state.history.bases[stored.mailbox] = stored.highestmodseq
    if stored.attributes:
        state.attributes[stored.mailbox] = {name: (clock, value) for name, clock, value in stored.attributes}
        state.settle_attributes(stored.mailbox)
    return missing
