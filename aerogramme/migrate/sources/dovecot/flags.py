"""Flags that Dovecot has in its index of a mailbox and nowhere else: what it has not written to the mail yet,
and what the mail has no room for."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dovecot.index import read_index
from aerogramme.migrate.sources.dovecot.records import Broken
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.reading import reason
from aerogramme.migrate.sources.source import Fault

_CHUNK: Final = 1 << 13  # messages whose keywords are laid out at once
_DIRTY: Final = 0x80  # the flags of this message are newer than what is written elsewhere
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
    except (FileNotFoundError, NotADirectoryError):
        return IndexFlags()
    except (OSError, Unreadable) as e:
        faults.append(Fault(origin, reason(e), done))
        return IndexFlags()
    if index is None:
        return IndexFlags()
    faults += [Fault(origin, what, done) for what in index.wrong]
    records = index.records
    flags = IndexFlags(records.uidvalidity, records.uidnext)
    same: dict[tuple[str, ...], tuple[str, ...]] = {}  # one for all messages that have the same
    for start, end, columns in records.keyword_chunks(_CHUNK):
        keywords = [(name.decode(errors="replace"), has) for name, has in columns]
        for row in range(start, end):
            octet = records.flags[row]
            words = tuple(word for word, has in keywords if has[row - start])
            if octet & _DIRTY:
                both = (*(flag for bit, flag in _FLAGS if octet & bit), *words)
                flags.newer[records.uids[row]] = same.setdefault(both, both)
            elif more := tuple(word for word in words if word not in known):
                flags.more[records.uids[row]] = same.setdefault(more, more)
    if extension := records.extension(_MBOX):
        try:
            for uid, (offset,) in zip(records.uids, records.column(extension, "Q"), strict=True):
                flags.offsets[offset] = uid
        except Broken as e:
            faults.append(Fault(origin, str(e), "UIDs are those in the mbox"))
    return flags
