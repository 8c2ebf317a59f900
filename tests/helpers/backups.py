"""Backups of accounts in memory, taken and put back: for the tests of backups."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aerogramme.backup import folder
from aerogramme.backup.folder import Backup
from aerogramme.backup.reading import open_snapshot
from aerogramme.backup.restoring import restore
from aerogramme.backup.snapshot import Named
from aerogramme.backup.taking import Taken, take
from aerogramme.backup.verifying import Verified, verify
from aerogramme.mailbox.keys.keys import RESTORED
from aerogramme.mailbox.partitions import PARTITIONS
from aerogramme.store import Row, Store, Stores
from aerogramme.store.copying import Report

ACCOUNT = "0123456789abcdef" * 2
USER = f'[[user]]\naddress = "alice@example.org"\naccount = "{ACCOUNT}"\n'


def new_backup(path: Path, account: str = ACCOUNT) -> Backup:
    folder.begin(path)
    return Backup(path, account)


async def fill(stores: Stores, objects: Mapping[str, bytes]) -> Store:
    """An account as a backup sees it: objects, and rows in all partitions that matter."""
    store = await stores.open(ACCOUNT, create=True)
    for name, body in objects.items():
        await store.put(name, body)
    await store.append("incoming", [Row("letter-1", b"1"), Row("letter-2", b"2")])
    await store.append("log", [Row(f"{n:016x}-r-1", bytes([n])) for n in range(1, 6)])
    await store.append("keys", [Row("slot-1", b"s"), Row("keyring-1", b"k")])
    return store


async def contents(stores: Stores, account: str = ACCOUNT) -> dict[str, bytes]:
    """All that a store has of an account, but the mark that it was restored."""
    store = await stores.open(account)
    found = {name: await store.get(name) for name in await store.list("")}
    for name, _ in PARTITIONS:
        rows, _ = await store.read(name)
        found |= {f"{name}/{key}": value for key, value in rows if not key.startswith(RESTORED)}
    await store.aclose()
    return found


async def taken(stores: Stores, backup: Backup, **options: Any) -> Taken:
    report = Taken(backup.account)
    store = await stores.open(backup.account)
    try:
        await take(store, backup, USER, report, **options)
    finally:
        await store.aclose()
    return report


async def restored(backup: Backup, target: Stores, named: Named | None = None) -> Report:
    named = named or backup.snapshots.all()[-1]
    _, snapshot = await open_snapshot(backup, named)
    report = Report(backup.account)
    await restore(snapshot, named, target, report)
    return report


def verified(backup: Backup) -> Verified:
    report = Verified(backup.account)
    verify(backup, report)
    return report
