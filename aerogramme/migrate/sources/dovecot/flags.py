"""Flags that Dovecot has in its index of a mailbox and nowhere else: what it has not written to the mail yet,
and what the mail has no room for."""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import compress
from typing import Final

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dovecot.index import read_index
from aerogramme.migrate.sources.dovecot.records import Broken, Records
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.reading import reason
from aerogramme.migrate.sources.source import Fault

_MAX_SETS: Final = 4 << 20  # flags and keywords in all sets of them that differ
_CHUNK: Final = 1 << 13  # messages whose keywords are laid out at once; a multiple of 8
_DIRTY: Final = 0x80  # the flags of this message are newer than what is written elsewhere
# Bits of the flags of a record; \Recent and Dovecot's own are left out.
_FLAGS: Final = (
    (0x01, "\\Answered"),
    (0x02, "\\Flagged"),
    (0x04, "\\Deleted"),
    (0x08, "\\Seen"),
    (0x10, "\\Draft"),
)
_MBOX: Final = b"mbox"  # the extension that says where in an mbox a message begins


@dataclass(slots=True)
class IndexFlags:
    """What the index says. All is empty, and `uidvalidity` 0, if there is none.

    more     UID -> keywords that nothing but the index knows
    newer    UID -> system flags and keywords that go before those which are written elsewhere
    offsets  where in an mbox a message begins, in octets -> its UID
    """

    uidvalidity: int = 0
    uidnext: int = 0
    more: dict[int, tuple[str, ...]] = field(default_factory=dict)
    newer: dict[int, tuple[str, ...]] = field(default_factory=dict)
    offsets: dict[int, int] = field(default_factory=dict)


def read_index_flags(place: Place, known: Collection[str], faults: list[Fault]) -> IndexFlags:
    """Reads the index in a folder. `known`: keywords that are written elsewhere."""
    origin = place.origin(b"dovecot.index")
    done = "flags are those that are with the mail"
    try:
        with place.opened() as folder:
            index = read_index(folder, "dovecot.index", (_MBOX,))
        all_flags = [] if index is None else flags_of(index.records)
    except (FileNotFoundError, NotADirectoryError):
        return IndexFlags()
    except (OSError, Unreadable, Broken) as e:
        faults.append(Fault(origin, reason(e), done))
        return IndexFlags()
    if index is None:
        return IndexFlags()
    faults += [Fault(origin, what, done) for what in index.wrong]
    records = index.records
    flags = IndexFlags(records.uidvalidity, records.uidnext)
    extra: dict[tuple[str, ...], tuple[str, ...]] = {}  # of all flags, those that nothing else knows
    for uid, octet, found in zip(records.uids, records.flags, all_flags, strict=True):
        if octet & _DIRTY:
            flags.newer[uid] = found
            continue
        more = extra.get(found)
        if more is None:
            more = extra[found] = tuple(word for word in found if word[0] != "\\" and word not in known)
        if more:
            flags.more[uid] = more
    if extension := records.extension(_MBOX):
        try:
            for uid, (offset,) in zip(records.uids, records.column(extension, "Q"), strict=True):
                flags.offsets[offset] = uid
        except Broken as e:
            faults.append(Fault(origin, str(e), "UIDs are those in the mbox"))
    return flags


def flags_of(records: Records) -> list[tuple[str, ...]]:
    """The flags and keywords of each message, one tuple for all that have the same. Broken, if there are too
    many that differ."""
    kept = 0
    all_of: dict[tuple[str, ...], tuple[str, ...]] = {}
    flags = []
    for start, end, columns in records.keyword_chunks(_CHUNK):
        names = [name.decode(errors="replace") for name, _ in columns]
        records.spend(20 * len(columns) * (end - start))  # each is a step, though a short one
        known: dict[tuple[int, ...], tuple[str, ...]] = {}
        for key in zip(records.flags[start:end], *(has for _, has in columns), strict=True):
            found = known.get(key)
            if found is None:
                system = [name for bit, name in _FLAGS if key[0] & bit]
                found = (*system, *compress(names, key[1:]))
                if found not in all_of:
                    kept += len(found) + 1
                    if kept > _MAX_SETS:
                        raise Broken("there are too many different sets of flags")
                found = known[key] = all_of.setdefault(found, found)
            flags.append(found)
    return flags
