"""The log as it is stored, looked at whole: whether everything in it opens, and whether something is missing.

A journal reads what it needs, from the newest checkpoint on. This reads all, also what nobody needs any more.
"""

from collections.abc import Iterable, Iterator, Mapping

from aerogramme.errors import Damaged
from aerogramme.log.entry import NO_LINK, Again, Entry, decode, encode, link, parse_key
from aerogramme.log.reading import entries
from aerogramme.log.records import Missing, Records, Renew, never
from aerogramme.log.resealing import OBJECTS
from aerogramme.seal import Keyring
from aerogramme.store.port import Store

AT_ONCE = 8  # objects in memory: segments have some MB


async def unreadable(store: Store, keyring: Keyring, renew: Renew = never) -> list[str]:
    """The objects of the log that are there and do not open, and why. Raises Unavailable."""
    records = Records(store, keyring, renew)
    problems = []
    for prefix, kind in OBJECTS.items():
        after = ""
        while names := await store.list(prefix, after, AT_ONCE):
            after = names[-1]
            read = await records.read(kind, names)
            problems += [
                f"object {name} cannot be read: {why}"
                for name, why in zip(names, read, strict=True)
                if isinstance(why, Damaged) and not isinstance(why, Missing)  # it has gone meanwhile
            ]
    return problems


async def broken_chains(
    store: Store, keyring: Keyring, known: Mapping[int, int], renew: Renew = never
) -> list[str]:
    """Entries that cannot be read, are missing, or do not follow the one before. Raises Unavailable.

    `known`: replica -> seq of its last entry of which a checkpoint says that it was there.
    """
    chains: dict[int, dict[int, Entry | None]] = {}  # replica -> seq -> entry; None: there, and unreadable
    last = dict(known)
    problems = []
    async for key, entry in entries(store, keyring, renew):
        if isinstance(entry, Damaged):
            problems.append(f"entry {key} cannot be read: {entry}")
            try:
                _, replica, seq = parse_key(key)
            except Damaged:
                continue
            chains.setdefault(replica, {}).setdefault(seq, None)
            continue
        said = [decode(op.key, op.plain) for op in entry.ops if isinstance(op, Again)]
        for each in (entry, *said):
            chains.setdefault(each.replica, {})[each.seq] = each
            for replica, seq in each.seen.items():
                last[replica] = max(seq, last.get(replica, 0))
    for replica in sorted(chains.keys() | last):
        chain = chains.get(replica, {})
        end = max(last.get(replica, 0), *(seq for seq, entry in chain.items() if entry), 0)
        for first, stop in _gaps(chain, end):
            which = f"entry {first} is" if stop == first else f"entries {first} to {stop} are"
            problems.append(f"replica {replica:010x}: {which} missing")
        problems += _wrong_links(chain)
    return problems


def _gaps(there: Iterable[int], end: int) -> Iterator[tuple[int, int]]:
    """The numbers from 1 to `end` that are not there, as first and last."""
    at = 1
    for seq in sorted(there):
        if at < min(seq, end + 1):
            yield at, min(seq - 1, end)
        at = max(at, seq + 1)
    if at <= end:
        yield at, end


def _wrong_links(chain: Mapping[int, Entry | None]) -> Iterator[str]:
    for seq, entry in sorted(chain.items()):
        before = chain.get(seq - 1)
        if entry is None or (seq > 1 and before is None):
            continue
        expected = NO_LINK if before is None else link(before.key, encode(before))
        if entry.previous != expected:
            yield f"entry {entry.key} does not follow the one that is before it"
