"""A backup or a restore that dies at any step: what was before is whole, and the same again finishes."""

import shutil
from pathlib import Path

import pytest

from aerogramme.backup import files, taking, volume
from aerogramme.backup.folder import Backup
from aerogramme.errors import Unavailable
from aerogramme.store import Crash, CrashAt, MemoryStores, Row
from tests.helpers.backups import ACCOUNT, contents, fill, new_backup, restored, taken, verified
from tests.helpers.file_steps import FileSteps

OBJECTS = {f"body/{n:04}": b"%d" % n * 100 for n in range(12)} | {"checkpoint/1": b"c", "piece/1": b"p"}


async def later(stores: MemoryStores) -> None:
    """What the account does between two runs."""
    store = await stores.open(ACCOUNT)
    await store.put("body/0100", b"new" * 100)
    await store.append("log", [Row("00000000000000ff-r-2", b"x")], delete=[("incoming", "letter-1")])
    await store.delete([f"body/{n:04}" for n in range(9)])
    await store.aclose()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several volumes in each run."""
    monkeypatch.setattr(taking, "VOLUME", 500)


async def whole(backup: Backup, wanted: list[dict[str, bytes]]) -> None:
    """The last snapshots are these."""
    assert verified(backup).problems == []
    found = backup.snapshots.all()[-len(wanted) :]
    assert len(found) == len(wanted)
    for named, each in zip(found, wanted, strict=True):
        target = MemoryStores()
        assert (await restored(backup, target, named)).whole
        assert await contents(target) == each


async def test_a_first_run_that_dies_at_any_call_of_the_store(tmp_path: Path) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    n, done = 0, False
    while not done:
        n += 1
        backup = new_backup(tmp_path / str(n))
        try:
            await taken(stores.another(CrashAt(n)), backup)
            done = True
        except Crash:
            assert backup.snapshots.all() == []
        await taken(stores, backup)
        await whole(backup, [await contents(stores)])
    assert n > 10


@pytest.mark.parametrize("keep", [None, 1])
async def test_a_later_run_that_dies_at_any_step_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int | None
) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    before = await contents(stores)
    await taken(stores, new_backup(tmp_path / "first"))
    await later(stores)
    after = await contents(stores)
    in_files, in_volume = FileSteps(files, monkeypatch), FileSteps(volume, monkeypatch)
    n, done = 0, False
    while not done:
        n += 1
        shutil.copytree(tmp_path / "first", tmp_path / str(n))
        backup = new_backup(tmp_path / str(n))
        in_files.begin(n)
        try:
            await taken(stores, backup, keep=keep)
            done = True
        except Crash:
            pass
        in_files.begin(0)
        left = backup.snapshots.all()
        # The snapshot from before is there, and whole, until the new one is.
        await whole(
            backup,
            {1: [before], 2: [before, after]}[left[-1].number]
            if not keep
            else [before]
            if left[-1].number == 1
            else [after],
        )
        await taken(stores, backup, keep=keep)
        await whole(backup, [after])
        if keep:
            left_over = [path for path in backup.folder.rglob("*") if path.suffix == files.NEW]
            assert left_over == [] and len(backup.snapshots.all()) == 1
            needed = set(backup.newest().volumes)
            assert set(backup.volumes.ids()) == needed
        shutil.rmtree(tmp_path / str(n))
    assert n > 25 and in_volume.calls == 0


async def test_a_first_run_that_dies_at_any_step_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    steps = FileSteps(files, monkeypatch)
    n, done = 0, False
    while not done:
        n += 1
        steps.begin(n)
        try:
            await taken(stores, new_backup(tmp_path / str(n)))
            done = True
        except Crash:
            pass
        steps.begin(0)
        backup = new_backup(tmp_path / str(n))
        await taken(stores, backup)
        await whole(backup, [await contents(stores)])
    assert n > 25


async def test_a_run_that_was_cut_off_does_not_copy_again_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    monkeypatch.setattr(taking, "AT_ONCE", 2)
    counting = CrashAt(0)
    await taken(stores.another(counting), new_backup(tmp_path / "whole"))
    backup = new_backup(tmp_path / "backup")
    with pytest.raises(Crash):
        await taken(stores.another(CrashAt(counting.calls - 3)), backup)
    report = await taken(stores, backup)
    assert report.items_copied <= 18 < 14 + 9
    await whole(backup, [await contents(stores)])


async def test_what_a_name_promises_is_durable_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut keeps what was synced, and of the rest anything. So each file is synced before it gets its
    name, its folder afterwards, and the snapshot comes after all of that."""
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    backup = new_backup(tmp_path / "backup")
    backup.make()
    trace = Trace()
    monkeypatch.setattr(files, "os", trace)
    await taken(stores, backup)
    await later(stores)
    await taken(stores, backup, keep=1)
    assert trace.synced >= trace.renamed >= 10
    assert trace.removed > 2 and trace.unsynced == set()


class Trace:
    """The module `os`; it knows what would be lost, and objects to a name whose file would be."""

    def __init__(self) -> None:
        import os

        self._os = os
        self._paths: dict[int, str] = {}
        self._dirty: set[str] = set()
        self.unsynced: set[str] = set()  # folders
        self.synced = self.renamed = self.removed = 0

    def __getattr__(self, name: str):
        return getattr(self._os, name)

    def open(self, path, flags, *mode) -> int:
        descriptor = self._os.open(path, flags, *mode)
        self._paths[descriptor] = str(path)
        return descriptor

    def write(self, descriptor: int, data) -> int:
        self._dirty.add(self._paths[descriptor])
        return self._os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        self._os.fsync(descriptor)
        self.synced += 1
        self._dirty.discard(self._paths[descriptor])
        self.unsynced.discard(self._paths[descriptor])

    def replace(self, old, new) -> None:
        assert str(old) not in self._dirty
        if new.suffix == ".json":
            assert self.unsynced == set(), "all that a snapshot names is there before it"
        if new.suffix == ".index":
            assert self.unsynced == set(), "its data is there before it"
        self._os.replace(old, new)
        self.renamed += 1
        self.unsynced.add(str(new.parent))

    def unlink(self, path) -> None:
        if path.suffix in (".data", ".index"):
            assert str(path.parent.parent / "snapshots") not in self.unsynced, "the snapshots go first"
        self._os.unlink(path)
        self.removed += 1
        self.unsynced.add(str(path.parent))


async def test_a_full_disk_is_said_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    backup = new_backup(tmp_path / "backup")
    await taken(stores, backup)
    before = await contents(stores)
    await later(stores)

    class Full:
        def __getattr__(self, name: str):
            import os

            return getattr(os, name)

        def write(self, descriptor: int, data) -> int:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "os", Full())
        with pytest.raises(Unavailable, match="No space left on device"):
            await taken(stores, backup, keep=1)
    await whole(backup, [before])
    await taken(stores, backup)
    await whole(backup, [before, await contents(stores)])


@pytest.mark.parametrize("serial", [True, False], ids=["serial", "not serial"])
@pytest.mark.parametrize("partly", [0, 1, 2])
async def test_a_restore_that_dies_at_any_call_of_the_store(
    tmp_path: Path, serial: bool, partly: int
) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    backup = new_backup(tmp_path / "backup")
    await taken(stores, backup)
    wanted = await contents(stores)
    n, done = 0, False
    while not done:
        n += 1
        target = MemoryStores(serial=serial)
        try:
            await restored(backup, target.another(CrashAt(n, steps=partly)))
            done = True
        except Crash:
            if await target.list() and "keys/keyring-1" in await contents(target):
                # Then somebody can open it, and it must be whole, and told to renumber.
                assert (await contents(target)).items() >= {
                    key: value for key, value in wanted.items() if key != "keys/slot-1"
                }.items()
                rows, _ = await (await target.open(ACCOUNT)).read("keys")
                assert any(row.key.startswith("restored-") for row in rows)
        assert (await restored(backup, target)).whole
        assert await contents(target) == wanted
    assert n > 10
