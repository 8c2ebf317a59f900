"""A backup on a disk that wears out, fills up, or has lost a folder: what is whole stays of use."""

import errno
import io
from pathlib import Path
from typing import Any

import pytest

from aerogramme.backup import files, taking
from aerogramme.backup.folder import Backup
from aerogramme.errors import Damaged, NotStored, Unavailable
from aerogramme.store import Crash, CrashAt, MemoryStores
from tests.helpers.backups import ACCOUNT, contents, fill, new_backup, restored, taken, verified

OBJECTS = {f"body/{n:04}": b"%d" % n * 100 for n in range(12)} | {"checkpoint/1": b"c"}


@pytest.fixture
def backup(tmp_path: Path) -> Backup:
    return new_backup(tmp_path / "backup")


def flip(backup: Backup, volume_id: str, name: str) -> None:
    """One item of a volume is damaged."""
    volume = backup.volumes.load(volume_id)
    [n] = [n for n, item in enumerate(volume.items) if item.name == name]
    data = bytearray(backup.volumes.data(volume_id).read_bytes())
    data[volume.starts[n]] ^= 1
    backup.volumes.data(volume_id).write_bytes(data)


@pytest.mark.parametrize("lost", ["an item", "all data"])
async def test_what_is_damaged_is_copied_once_not_every_night(backup: Backup, lost: str) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    await taken(stores, backup)
    [volume_id] = backup.volumes.ids()
    if lost == "an item":
        flip(backup, volume_id, "o/body/0003")
    else:
        backup.volumes.data(volume_id).unlink()
    report = await taken(stores, backup, verify=True)
    assert report.mended == report.items_copied == (1 if lost == "an item" else 13 + 9)
    for verify in (True, False):
        report = await taken(stores, backup, verify=verify)
        assert (report.mended, report.items_copied) == (0, 0)
    assert verified(backup).problems == []


class Worn(io.BufferedReader):
    """A file of which some octets cannot be read any more."""

    bad = range(0)

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        found = super().read(size)
        if range(max(start, self.bad.start), min(start + len(found), self.bad.stop)):
            raise OSError(errno.EIO, "Input/output error")
        return found


def wear(monkeypatch: pytest.MonkeyPatch, path: Path, bad: range) -> None:
    held = path.parent.parent / "held"  # keeps its inode, by which it is known: a new file lies elsewhere
    held.hardlink_to(path)

    def worn(self: Path, mode: str) -> Any:
        if not self.exists() or not self.samefile(held):
            return real(self, mode)
        file = Worn(io.FileIO(self))
        file.bad = bad
        return file

    real = Path.open
    monkeypatch.setattr(Path, "open", worn)


async def test_a_bad_sector_takes_only_what_lies_in_it(
    backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    await taken(stores, backup)
    [volume_id] = backup.volumes.ids()
    volume = backup.volumes.load(volume_id)
    [n] = [n for n, item in enumerate(volume.items) if item.name == "o/body/0003"]
    wear(monkeypatch, backup.volumes.data(volume_id), range(volume.starts[n] + 5, volume.starts[n] + 6))
    [problem] = verified(backup).problems
    assert "1 items" in problem and "body/0003" in problem
    target = MemoryStores()
    assert (await restored(backup, target)).unreadable == ["body/0003"]
    assert (await contents(stores)).keys() - (await contents(target)).keys() == {"body/0003"}
    report = await taken(stores, backup, verify=True)
    assert (report.mended, report.items_copied) == (1, 1)
    assert verified(backup).problems == []
    assert (await restored(backup, MemoryStores())).whole


@pytest.mark.parametrize("suffix", [".index", ".json"])
async def test_a_bad_sector_below_an_index_or_a_snapshot(
    backup: Backup, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    await taken(stores, backup)
    [path] = backup.folder.rglob(f"*{suffix}")
    wear(monkeypatch, path, range(1, 2))
    assert any("Input/output error" in problem for problem in verified(backup).problems)
    report = await taken(stores, backup, keep=1)
    assert report.snapshot is not None and report.snapshot.number == 2
    assert report.items_copied == (22 if suffix == ".index" else 0)
    assert verified(backup).problems == []


async def test_what_cannot_be_opened_is_said(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    await taken(stores, backup)
    [data] = backup.folder.rglob("*.data")

    def refuse(self: Path, mode: str) -> Any:
        if self == data:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, mode)

    real = Path.open
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(Unavailable, match=f"cannot read {data}: Permission denied"):
        verified(backup)


async def test_runs_that_fail_do_not_fill_the_disk(backup: Backup) -> None:
    """What they were writing goes at the beginning of the next, not at the end of one that never comes."""
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    counting = CrashAt(0)
    await taken(stores.another(counting), new_backup(backup.folder.parent.parent / "whole"))
    for _ in range(3):
        with pytest.raises(Crash):
            await taken(stores.another(CrashAt(counting.calls)), backup)
        assert len(list(backup.folder.rglob(f"*{files.NEW}"))) <= 1
    await taken(stores, backup)
    assert list(backup.folder.rglob(f"*{files.NEW}")) == []


async def test_what_the_backup_has_is_not_given_up_for_what_is_damaged_in_the_store(backup: Backup) -> None:
    """A volume that is hardly needed any more is copied anew; but the store has lost some of it meanwhile."""
    stores = MemoryStores()
    store = await fill(stores, OBJECTS)
    await taken(stores, backup, keep=1)
    wanted = await contents(stores)
    gone = [f"body/{n:04}" for n in range(10)]
    await store.delete(gone)

    class Bad:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
            if name == "body/0011":
                raise Damaged
            return await store.get(name, start, stop)

        async def get_many(self, wanted: list[Any]) -> list[bytes]:
            return [await self.get(*part) for part in wanted]

    bad: Any = Bad()
    for _ in range(2):
        report = taking.Taken(ACCOUNT)
        await taking.take(bad, backup, "", report, keep=1)
        assert report.unreadable == []
    target = MemoryStores()
    assert (await restored(backup, target)).whole
    assert await contents(target) == {name: body for name, body in wanted.items() if name not in gone}


@pytest.mark.parametrize("lost", ["volumes", "snapshots"])
async def test_a_folder_that_is_not_there_is_an_empty_one(backup: Backup, lost: str) -> None:
    """So it is after a crash at the very first, or in a copy that has only come so far."""
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    await taken(stores, backup)
    (backup.folder / lost).rename(backup.folder / "away")
    [problem] = verified(backup).problems[-1:]
    if lost == "volumes":
        assert "22 items are lost" in problem
    else:
        assert "no backup of it was ever finished" in problem
        with pytest.raises(NotStored, match="ever finished"):
            backup.newest()


async def test_the_newest_is_the_newest_that_can_be_read(backup: Backup) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    for now in (1000.0, 2000.0):
        await taken(stores, backup, now=lambda now=now: now)
    one, two = backup.snapshots.all()
    path = backup.snapshots.folder / two.file
    path.write_bytes(path.read_bytes()[:-1])
    assert backup.newest().number == 1
    with pytest.raises(Damaged) as error:
        backup.at(1_500_000)
    assert "number" in error.value.hint
    path.unlink()
    assert backup.at(1_500_000) == one
    (backup.snapshots.folder / one.file).write_bytes(b"")
    with pytest.raises(Damaged):
        backup.newest()
