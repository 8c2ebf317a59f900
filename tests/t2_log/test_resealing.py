"""Sealing again: the same bytes from everybody, and nothing is lost wherever it stops."""

from typing import Any

import pytest

from aerogramme.log import entry, resealing
from aerogramme.log.resealing import Resealing, census
from aerogramme.log.suffix import base_of, sealed_for, suffix_of
from aerogramme.seal import Keyring
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStore, MemoryStores
from aerogramme.store.port import Row

ID = "00112233445566778899aabbccddeeff"
PARTITIONS = {entry.PARTITION: entry.KIND, "uses": "use"}


def test_a_name_is_sealed_again_any_number_of_times() -> None:
    assert suffix_of("segment/ab/text") is None
    once = sealed_for("segment/ab/text", 0x10002)
    assert once == "segment/ab/text.00010002" and suffix_of(once) == 0x10002
    assert sealed_for(once, 0x20003) == "segment/ab/text.00020003"
    assert base_of(once) == base_of("segment/ab/text") == "segment/ab/text"


def test_sealing_again_is_the_same_whoever_does_it() -> None:
    keyring = Keyring.create(bytes.fromhex(ID)).rotate()
    now, first = keyring.current, keyring.generations[0].number
    sealed = [keyring.seal_again("entry", "x", now, b"plain") for _ in range(2)]
    assert sealed[0] == sealed[1]
    assert keyring.open("entry", "x", sealed[0]) == b"plain"
    others = [("entry", "x", now, b"plain2"), ("entry", "y", now, b"plain"), ("entry", "x", first, b"plain")]
    nonces = {record[8:20] for record in [sealed[0], *(keyring.seal_again(*other) for other in others)]}
    assert len(nonces) == 1 + len(others)


THINGS = {
    "segment/" + "1" * 32 + "/digest": "segment",
    "segment/" + "1" * 32 + "/text": "segment",
    "piece/" + "2" * 32: "piece",
    "checkpoint/" + "3" * 16 + "-" + "4" * 16: "checkpoint",
    "entry/k2": "entry",
    "entry/orphan": "entry",
}


async def _no_renewal() -> None: ...


async def fill(stores: MemoryStores, keyring: Keyring) -> MemoryStore:
    store = await stores.open(ID, create=True)
    for name, kind in THINGS.items():
        await store.put(name, keyring.seal(kind, name, name.encode()))
    await store.put("body/1", b"AGB")
    await store.append("log", [Row("k1", keyring.seal("entry", "k1", b"k1")), Row("k2", b"")])
    await store.append("uses", [Row("k3", keyring.seal("use", "k3", b"k3"))])
    return store


async def opened(store: MemoryStore, keyring: Keyring) -> dict[str, bytes]:
    """Everything by base name, opened; a row without bytes has those of its object."""
    plain: dict[str, bytes] = {}
    for name in await store.list(""):
        if not name.startswith("body/"):
            kind = THINGS[base_of(name)]
            plain[base_of(name)] = keyring.open(kind, name, await store.get(name))
    for partition, kind in PARTITIONS.items():
        for key, value in (await store.read(partition))[0]:
            plain[f"{partition}/{base_of(key)}"] = keyring.open(kind, key, value) if value else b""
    return plain


@pytest.mark.parametrize("serial", [True, False])
async def test_a_crash_at_any_call_loses_nothing_and_the_next_run_finishes(serial: bool, monkeypatch) -> None:
    monkeypatch.setattr(resealing, "ROWS_PAGE", 1)
    monkeypatch.setattr(resealing, "PAGE", 2)
    old = Keyring.create(bytes.fromhex(ID))
    new = old.rotate()
    n, before = 0, {}
    while True:
        n += 1
        crashed = False
        for steps in range(4):
            stores = MemoryStores(serial=serial)
            store = await fill(stores, old)
            before = await opened(store, new)
            assert len(before) == len(THINGS) + 3
            crash = CrashAt(n, steps=steps)
            dying = await stores.another(crash).open(ID)
            try:
                await Resealing(dying, new, PARTITIONS, renew=_no_renewal).once()
            except* Crash:
                crashed = True
            assert await opened(store, new) == before
            again = Resealing(store, new, PARTITIONS, renew=_no_renewal)
            await again.once()
            assert await again.once() == 0 and not again.left
            assert await opened(store, new) == before
            assert (await census(store, PARTITIONS)).older(new.current) == 0
            only = Keyring(new.account, new.generations[1:], new.members, new.version)
            assert await opened(store, only) == before, "the old generation is not needed"
            assert len(await store.list("")) == len(THINGS) + 1
        if not crashed:
            assert n > 20
            return


async def test_what_does_not_open_stays_and_is_named() -> None:
    old = Keyring.create(bytes.fromhex(ID))
    new = old.rotate()
    stores = MemoryStores(serial=True)
    store = await fill(stores, old)
    damaged = "piece/" + "2" * 32
    objects, rows = stores._accounts[ID].objects, stores._accounts[ID].partitions["log"].rows
    objects[damaged] = objects[damaged][:-1] + bytes([objects[damaged][-1] ^ 1])
    objects["entry/k2"] = b"AGG?"
    rows["k1"] = Keyring.create(bytes.fromhex(ID)).rotate().rotate().seal("entry", "k1", b"k1")
    run = Resealing(store, new, PARTITIONS, renew=_no_renewal)
    assert await run.once() == 5
    assert await run.once() == 0
    assert set(run.left) == {damaged, "entry/k2", "log/k1"}
    assert {damaged, "entry/k2"} <= set(await store.list(""))
    assert {"k1", "k2"} <= {key for key, _ in (await store.read("log"))[0]}
    found = await census(store, PARTITIONS)
    assert (found.older(new.current), set(found.unreadable)) == (1, {"entry/k2"})


class Paged:
    """A store whose partitions nobody reads as a whole."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        assert name != "read"
        return getattr(self._store, name)


async def test_a_long_log_is_never_in_memory_as_a_whole(monkeypatch) -> None:
    monkeypatch.setattr(resealing, "ROWS_PAGE", 10)
    old = Keyring.create(bytes.fromhex(ID))
    new = old.rotate()
    store = await MemoryStores(serial=True).open(ID, create=True)
    keys = [f"k{n:02}" for n in range(35)]
    await store.append("log", [Row(key, old.seal("entry", key, key.encode())) for key in keys])
    paged = Paged(store)
    assert (await census(paged, PARTITIONS)).older(new.current) == 35
    assert await Resealing(paged, new, PARTITIONS, renew=_no_renewal).once() == 35
    assert [row.key for row in await store.page("log", "", 99)] == [sealed_for(k, new.current) for k in keys]


async def test_two_at_once_make_one() -> None:
    old = Keyring.create(bytes.fromhex(ID))
    first = old.rotate()
    stores = MemoryStores()
    store = await fill(stores, old)
    before = await opened(store, first)
    await Resealing(store, first, PARTITIONS, renew=_no_renewal).once()
    second = first.with_generation(old.rotate().generations[-1])

    async def renew() -> None:
        first.adopt(second)

    slow = Resealing(store, first, PARTITIONS, renew=renew)
    await Resealing(store, second, PARTITIONS, renew=_no_renewal).once()
    await slow.once()
    assert first.current == second.current and not slow.left
    assert await opened(store, second) == before
    assert (await census(store, PARTITIONS)).older(second.current) == 0
