"""The audit of what is stored: all of it opens and has a name that we give, and the log is whole."""

import re
from collections import Counter

from aerogramme.errors import Damaged, UnknownGeneration
from aerogramme.log import chains
from aerogramme.log.bundle import PREFIX as BUNDLES
from aerogramme.log.checkpoint import PREFIX as CHECKPOINTS
from aerogramme.log.clock import wall_ms
from aerogramme.log.entry import PARTITION as LOG
from aerogramme.log.entry import parse_key
from aerogramme.log.records import Missing
from aerogramme.log.resealing import OBJECTS
from aerogramme.log.rows import PIECE_BITS
from aerogramme.log.state import State
from aerogramme.log.suffix import base_of
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit import elsewhere
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.audit.setting_aside import OBJECTS as SET_ASIDE
from aerogramme.mailbox.audit.setting_aside import are_aside
from aerogramme.mailbox.history import letting_go
from aerogramme.mailbox.history.survey import Survey, survey
from aerogramme.mailbox.incoming import incoming
from aerogramme.mailbox.keys import keys, rotation, uses
from aerogramme.store.port import Store

AT_ONCE = 8  # objects in memory: segments have some MB
PAGE = 1000  # names listed at a time
SEVERAL = 2  # of them with one unknown generation: no flipped bit does that

# Partitions whose rows are looked at, and the names that those have.
_ROWS = {
    incoming.PARTITION: incoming.KEY,
    uses.PARTITION: re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}(\.[0-9a-f]{8})?", re.ASCII),
    letting_go.PARTITION: re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}(\.[0-9a-f]{8})?", re.ASCII),
}
_SEALED = r"(\.[0-9a-f]{8})?"
_OBJECTS = re.compile(
    "body/[0-9a-f]{16}|pack/[0-9a-f]{32}"
    f"|segment/[0-9a-f]{{32}}/[a-z]+{_SEALED}|(piece|bundle)/[0-9a-f]{{32}}{_SEALED}"
    f"|checkpoint/[0-9a-f]{{16}}-[0-9a-f]{{16}}{_SEALED}"
    f"|entry/[0-9a-f]{{16}}-[0-9a-f]{{10}}-[0-9a-f]{{8}}{_SEALED}",
    re.ASCII,
)


def is_known(name: str) -> bool:
    """Whether an object can be called so. What is set aside is called as it was, after a prefix."""
    return name.startswith(SET_ASIDE) or _OBJECTS.fullmatch(name) is not None


async def strange(account: Account) -> list[Fault]:
    """Nothing lies in the store that nobody has put there. (Rows of keys: audit_keys.)"""
    return await strange_names(account.store)


async def strange_names(store: Store) -> list[Fault]:
    """The same, for who has no keys. Raises Unavailable."""
    faults = []
    after = ""
    while names := await store.list("", after, PAGE):
        after = names[-1]
        faults += [
            Fault(Kind.STRANGE, f"object {name}: nobody knows what this is", item=("", name))
            for name in names
            if not is_known(name)
        ]
    for partition, pattern in _ROWS.items():
        faults += [
            Fault(Kind.STRANGE, f"row {key} of {partition}: nobody knows what this is", item=(partition, key))
            for key, _ in (await store.read(partition))[0]
            if not pattern.fullmatch(key)
        ]
    return faults


async def objects(account: Account) -> list[Fault]:
    """The objects of the log that are there open."""
    records = account.journal.records
    state, faults = account.state, []
    used = {state.segments[index].name for index in state.named_segments()}
    for prefix, record_kind in OBJECTS.items():
        after = ""
        while names := await account.store.list(prefix, after, AT_ONCE):
            after = names[-1]
            for name, why in zip(names, await records.read(record_kind, names), strict=True):
                if not isinstance(why, Damaged) or isinstance(why, Missing):  # it has gone meanwhile
                    continue
                kind, segment = Kind.OBJECT, ""
                if prefix in (CHECKPOINTS, "piece/", BUNDLES):
                    kind = Kind.CHECKPOINT
                elif prefix == "segment/" and name.split("/")[1] in used:
                    kind, segment = Kind.DIGEST, name.split("/")[1]
                what = f"object {name} cannot be read: {why}"
                faults.append(Fault(kind, what, item=("", name), segment=segment))
    return faults


async def log(account: Account) -> list[Fault]:
    """The entries that are kept can be read, none is missing, and each follows the one before."""
    state, faults = account.state, []
    found = await chains.broken(account.journal.records, state.vector, cut=state.cut, lost=state.lost)
    for each in found:
        item = (LOG, each.key) if each.key else None
        if each.kind == "unreadable":
            kind = Kind.ENTRY if each.positions else Kind.STRANGE
        else:
            kind = Kind.GAP if each.kind == "missing" else Kind.LINK
        faults.append(Fault(kind, each.what, item=item, entries=each.positions))
    return faults


async def surveyed(account: Account) -> tuple[Survey | None, list[Fault]]:
    """All that is kept of the past can be read, as compaction does before it lets go of anything; and what
    it found. None if keys are missing: that is said already."""
    try:
        found = await survey(account, wall_ms())
    except UnknownGeneration:
        return None, []
    faults = []
    for name, why in found.damaged.items():
        prefix, _, key = name.partition("/")
        if prefix == letting_go.PARTITION:
            what = f"row {key}: what was let go of cannot be read: {why}"
            faults.append(Fault(Kind.LET_GO, what, item=(prefix, key)))
        elif prefix in ("checkpoint", "piece"):
            what = f"object {name}, of which the past is made, cannot be read: {why}"
            faults.append(Fault(Kind.CHECKPOINT, what, item=("", name)))
        # Entries, and segments that nothing names, are looked at by others.
    # Of bodies of removed messages nobody knows whether they should be there: `key rotate --bodies` deletes
    # them, and packs of them.
    gone = {
        name
        for name in found.needed - set(map(base_of, found.stored))
        if name.startswith(("segment/", BUNDLES))
    }
    if gone:
        gone -= set(map(base_of, await are_aside(account.store)))
    for name in sorted(gone):
        if name.startswith(BUNDLES):
            what = f"object {name}, which a checkpoint names, is missing"
            faults.append(Fault(Kind.CHECKPOINT, what, item=("", name)))
        elif found.standing(name) == "history":  # what the account needs now is missed by others
            what = f"object {name}, of which the past is made, is missing"
            faults.append(Fault(Kind.PAST, what, item=("", name)))
    return found, faults


async def lost_mail(account: Account, found: Survey, *, missing: bool) -> list[Fault]:
    """No mail lies in the store that no message has, and none ever had. `missing`: entries are, so that may
    be what they brought; else it is what was left when a write was cut off, or the last entry of a replica
    has gone without a trace."""
    faults = []
    for each in await elsewhere.lost_mail(account, found):
        letters = f"{len(each.digests)} letters that are in no mailbox, and never were"
        if each.needless:
            what = f"segment {each.name} has {len(each.digests)} letters of a write that was done again"
            faults.append(Fault(Kind.UNFINISHED, what, segment=each.name))
        elif missing:
            faults.append(Fault(Kind.FOUND, f"segment {each.name} has {letters}", segment=each.name))
        else:
            what = f"segment {each.name} has {letters}: of a write that was cut off, as far as can be told"
            faults.append(Fault(Kind.UNFINISHED, what, segment=each.name))
    return faults


def missing(state: State) -> list[Fault]:
    """Messages that a damaged piece of an index is the only one to tell of."""
    names = {mailbox: name for name, mailbox in state.names.items()}
    faults = []
    for mailbox, number in sorted(state.missing):
        if not mailbox:
            what = "no checkpoint can be read, and the log does not go back to the beginning"
        else:
            first, last = max(1, number << PIECE_BITS), (number + 1 << PIECE_BITS) - 1
            where = f"mailbox {names.get(mailbox, f'{mailbox:x}')}"
            what = f"{where}: a piece of its index is lost: messages with UIDs from {first} to {last}"
        faults.append(Fault(Kind.MISSING, what, mailbox=mailbox))
    return faults


def left_out(damaged: dict[str, str]) -> list[Fault]:
    """What a state has left out of it, because it could not be read."""
    faults = []
    for key, why in damaged.items():
        what = f"entry {key} cannot be read: {why}"
        if key.startswith(CHECKPOINTS):
            faults.append(Fault(Kind.CHECKPOINT, what, item=("", key)))
            continue
        try:
            _, replica, seq = parse_key(key)
        except Damaged:
            faults.append(Fault(Kind.STRANGE, what, item=(LOG, key)))
        else:
            faults.append(Fault(Kind.ENTRY, what, item=(LOG, key), entries=((replica, seq),)))
    return faults


async def newer_keys(account: Account) -> list[Fault]:
    """What is sealed with generations that the keyring does not have.

    A generation is published before anything is sealed with it, and seals more than one thing: a number that
    is there once, and not published, is a damaged one.
    """
    known = {each.number for each in account.keyring.generations}
    rows, _ = await account.store.read(keys.PARTITION)
    published = {key.removeprefix(keys.PUBLIC) for key, _ in rows if key.startswith(keys.PUBLIC)}
    unknown: Counter[int] = Counter()
    for (_, generation), count in (await rotation.scan(account.store)).found.items():
        if generation not in known:
            unknown[generation] += count
    return [
        Fault(
            Kind.NEWER, f"{count} things are sealed with keys {number:08x}, which the keyring does not have"
        )
        for number, count in sorted(unknown.items())
        if count >= SEVERAL or f"{number:08x}" in published
    ]
