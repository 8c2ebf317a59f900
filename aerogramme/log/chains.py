"""The chains of entries: each replica numbers its entries and says with each which one was before it. So one
that is missing between others, or was put in the place of another, shows."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from aerogramme.errors import Damaged
from aerogramme.log.entry import NO_LINK, Again, Entry, decode, encode, link, parse_key
from aerogramme.log.reading import entries
from aerogramme.log.records import Renew, never
from aerogramme.seal import Keyring
from aerogramme.store.port import Store

Position = tuple[int, int]  # replica, seq
MOST = 1000  # entries of one gap that are named one by one; more are a store that cheats


@dataclass(frozen=True, slots=True)
class Break:
    """One thing that is wrong with a chain: `what` in plain words.

    key        the row that it is about, if there is one
    positions  the entries that it is about: those that are missing or cannot be read, or the one that another
               does not follow
    """

    kind: Literal["unreadable", "missing", "link"]
    what: str
    key: str = ""
    positions: tuple[Position, ...] = ()


async def broken(
    store: Store,
    keyring: Keyring,
    known: Mapping[int, int],
    *,
    cut: Mapping[int, int],
    lost: Collection[Position],
    renew: Renew = never,
) -> list[Break]:
    """What is wrong with the chains of all entries that are kept. Raises Unavailable.

    known  replica -> seq of its last entry of which a checkpoint says that it was there
    cut    replica -> seq up to which entries were removed because a checkpoint covers them
    lost   entries that were given up
    """
    chains: dict[int, dict[int, Entry | None]] = {}  # replica -> seq -> entry; None: there, and unreadable
    last = dict(known)
    found: list[Break] = []
    async for key, entry in entries(store, keyring, renew):
        if isinstance(entry, Damaged):
            what = f"entry {key} cannot be read: {entry}"
            try:
                _, replica, seq = parse_key(key)
            except Damaged:
                found.append(Break("unreadable", what, key))
                continue
            found.append(Break("unreadable", what, key, ((replica, seq),)))
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
        given_up = {seq for of, seq in lost if of == replica}
        for first, stop in _gaps(chain.keys() | given_up, cut.get(replica, 0) + 1, end):
            which = f"entry {first} is" if stop == first else f"entries {first} to {stop} are"
            missing = tuple((replica, seq) for seq in range(first, min(stop + 1, first + MOST)))
            found.append(Break("missing", f"replica {replica:010x}: {which} missing", "", missing))
        found += _wrong_links(chain, given_up)
    return found


def _gaps(there: Iterable[int], start: int, end: int) -> Iterator[tuple[int, int]]:
    """The numbers from `start` to `end` that are not there, as first and last."""
    at = start
    for seq in sorted(there):
        if at < min(seq, end + 1):
            yield at, min(seq - 1, end)
        at = max(at, seq + 1)
    if at <= end:
        yield at, end


def _wrong_links(chain: Mapping[int, Entry | None], given_up: Collection[int]) -> Iterator[Break]:
    for seq, entry in sorted(chain.items()):
        before = chain.get(seq - 1)
        if entry is None or seq - 1 in given_up or (seq > 1 and before is None):
            continue
        expected = NO_LINK if before is None else link(before.key, encode(before))
        if entry.previous != expected:
            what = f"entry {entry.key} does not follow the one that is before it"
            yield Break("link", what, entry.key, ((entry.replica, seq - 1),))
