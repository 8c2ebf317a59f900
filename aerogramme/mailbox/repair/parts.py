"""Checkpoints, the pieces of them, and entries: what cannot be read is given up, and a checkpoint is written
that does not need it."""

from collections.abc import AsyncGenerator, Collection
from typing import Any, cast

from aerogramme.errors import Damaged
from aerogramme.log.bundle import PREFIX as BUNDLES
from aerogramme.log.checkpoint import PREFIX as CHECKPOINTS
from aerogramme.log.entry import PARTITION as LOG
from aerogramme.log.entry import spilled
from aerogramme.log.journal import Journal
from aerogramme.log.manifest import read_alone
from aerogramme.log.suffix import base_of
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import wrong_table
from aerogramme.mailbox.audit.elsewhere import opens, own_digests, record_of
from aerogramme.mailbox.audit.faults import Fault, Item, Kind
from aerogramme.mailbox.audit.setting_aside import copy_aside, give_up, remove, set_aside
from aerogramme.mailbox.body_record import body_name, pack_name
from aerogramme.store.port import Part, Store

PARTS = "piece/", BUNDLES
PAGE = 1000  # names listed at a time
_GIVEN_UP = (Kind.ENTRY, Kind.GAP, Kind.LINK)


async def mend(account: Account, faults: list[Fault]) -> AsyncGenerator[str, None]:
    state, store = account.state, account.store
    of_checkpoints = [fault for fault in faults if fault.kind == Kind.CHECKPOINT]
    given_up = [fault for fault in faults if fault.kind in _GIVEN_UP]
    reopened = [fault for fault in faults if fault.kind == Kind.REOPENED]
    strange = [f.item for f in faults if f.kind == Kind.STRANGE and f.item is not None and f.item[0] == LOG]

    damaged = {fault.item[1] for fault in of_checkpoints if fault.item is not None}
    pieces = {name for name in damaged if name.startswith(PARTS)}
    # Those that cannot be opened go first: a checkpoint goes on from the newest that it finds.
    for name in await _unusable(account, damaged):
        yield f"setting {name} aside"
        await set_aside(store, ("", name))
    if of_checkpoints or given_up or reopened or strange:
        items = strange + [item for fault in given_up for item in await _items(store, fault)]
        for item in items:
            await copy_aside(store, item)
        for fault in given_up:
            state.lost.update(fault.entries)
        for _, key in items:
            state.damaged.pop(key, None)
        _write_again(account, pieces)
        yield "writing a checkpoint"
        await account.fold(force=True)
        for item in items:
            await remove(store, item)
        for name in [*await _unusable(account, damaged), *sorted(pieces)]:
            await set_aside(store, ("", name))
    for fault in faults:
        if fault.kind == Kind.OBJECT and fault.item is not None:
            yield f"setting aside: {fault.what}"
            await set_aside(store, fault.item)
            if fault.content is not None:
                await _copy_from_pack(account, fault.content)
        elif fault.kind == Kind.PAST and fault.item is not None:
            yield f"giving up: {fault.what}"
            await give_up(store, fault.item[1])


async def _copy_from_pack(account: Account, content: int) -> None:
    """A body that lies in a pack is an object of its own again, for those who know of no pack."""
    record = record_of((await own_digests(account, [content], ("digest",)))[content])
    if record is None or record.place is None:
        return
    pack, start = record.place
    [part] = await account.store.get_many([Part(pack_name(pack), start, start + record.sealed_size)])
    if part is not None and opens(account, content, record, part):
        await account.store.put(body_name(content), part)


async def _items(store: Store, fault: Fault) -> list[Item]:
    """The row of an entry that cannot be read, and the object that holds it if it is large."""
    if fault.kind != Kind.ENTRY or fault.item is None:
        return []
    _, key = fault.item
    names = await store.list(spilled(base_of(key)), limit=PAGE)
    return [fault.item, *(("", name) for name in names if base_of(name) == spilled(base_of(key)))]


def _write_again(account: Account, pieces: Collection[str]) -> None:
    """These pieces and bundles are not to be named again."""
    damaged = {base_of(name) for name in pieces}
    bundles = account.state.bundles
    account.state.bundles = {name: of for name, of in bundles.items() if base_of(name) not in damaged}
    for table in account.state.tables.values():
        table.dirty.update(number for number, name in table.pieces.items() if base_of(name) in damaged)


async def _unusable(account: Account, damaged: Collection[str]) -> list[str]:
    """The checkpoints that cannot be opened: themselves, or because of a piece or bundle that is damaged, or
    missing.
    But not the one from which this account goes on."""
    bad = {base_of(name) for name in damaged}
    there = {base_of(name) for prefix in PARTS for name in await _names(account.store, prefix)}
    found = []
    for name in await _names(account.store, CHECKPOINTS):
        try:
            manifest = await read_alone(account.journal.records, name)
        except Damaged:
            if name in damaged:
                found.append(name)
            continue
        pieces = (each for numbers in manifest.pieces.values() for each in numbers.values())
        named = {base_of(each) for each in (*pieces, *manifest.bundles)}
        if base_of(name) != base_of(account.state.checkpoint) and (named & bad or named - there):
            found.append(name)
    return found


async def _names(store: Store, prefix: str) -> list[str]:
    names: list[str] = []
    while page := await store.list(prefix, names[-1] if names else "", PAGE):
        names += page
    return names


# --- mailboxes that make no sense -------------------------------------------------------------------------


async def set_wrong_aside(account: Account) -> bool:
    """Sets aside the newest checkpoints, if what is opened without them makes sense. Then this account is not
    to be gone on with. Raises Unavailable."""
    wrong = await _wrong(account)
    for name in wrong:
        await set_aside(account.store, ("", name))
    return bool(wrong)


async def _wrong(account: Account) -> list[str]:
    names = await _names(account.store, CHECKPOINTS)
    for count in range(1, len(names) + 1):
        if count == len(names) and account.state.cut:
            break  # what it covers is nowhere else
        hiding = cast("Store", _Hiding(account.store, set(names[:count])))
        keyring = account.keyring
        other = await Journal.open(hiding, keyring, keyring.account, renew=account.holding.renew)
        if not any(wrong_table(table) for table in other.state.tables.values()):
            return names[:count]
    return []


class _Hiding:
    """A store in which some checkpoints are not seen."""

    def __init__(self, store: Store, hidden: Collection[str]) -> None:
        self._store, self._hidden = store, hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def list(self, prefix: str, after: str = "", limit: int | None = None) -> list[str]:
        names = await self._store.list(prefix, after)
        return [name for name in names if name not in self._hidden][:limit]
