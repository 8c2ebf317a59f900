"""What a backup has after a run: all that the store had, nothing twice, whatever went on meanwhile."""

from pathlib import Path

import pytest

from aerogramme.backup import taking
from aerogramme.backup.folder import Backup
from aerogramme.errors import Damaged, Unavailable
from aerogramme.store import Cursor, MemoryStores, Row, SqliteStores, Stores
from aerogramme.store.ranges import RANGE
from tests.helpers.backups import ACCOUNT, USER, contents, fill, new_backup, restored, taken, verified

OBJECTS = {
    "body/0001": b"a body",
    "body/0002": b"",
    "body/0003": bytes(range(256)) * (RANGE // 256),
    "body/0004": b"0123456789" * 250_000,
    "checkpoint/7000-1": b"a checkpoint",
    "piece/1": b"a piece",
}


@pytest.fixture
def backup(tmp_path: Path) -> Backup:
    return new_backup(tmp_path / "backup")


@pytest.fixture(params=["memory", "memory-serial", "sqlite"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path):
    stores: Stores
    if request.param == "sqlite":
        stores = SqliteStores(tmp_path / "accounts")
    else:
        stores = MemoryStores(serial=request.param == "memory-serial")
    yield stores
    await stores.aclose()


async def test_all_comes_back_and_a_second_run_copies_nothing(stores: Stores, backup: Backup) -> None:
    await (await fill(stores, OBJECTS)).aclose()
    report = await taken(stores, backup)
    assert (report.objects, report.items_copied, report.passes) == (6, 6 + 9, 1)
    assert report.octets_copied == sum(map(len, OBJECTS.values())) + 9
    again = await taken(stores, backup)
    assert (again.items_copied, again.octets_copied, again.objects_done) == (0, 0, 6)
    assert again.snapshots == 2 and verified(backup).problems == []
    for named in backup.snapshots.all():
        target = MemoryStores()
        assert (await restored(backup, target, named)).whole
        assert await contents(target) == await contents(stores)


async def test_a_later_run_copies_what_is_new_and_each_snapshot_is_as_it_was(
    stores: Stores, backup: Backup
) -> None:
    store = await fill(stores, OBJECTS)
    first = await contents(stores)
    await taken(stores, backup)
    await store.put("body/0005", b"new")
    await store.append("log", [Row("0000000000000009-r-2", b"9")], delete=[("incoming", "letter-1")])
    await store.delete(["piece/1"])
    second = await contents(stores)
    report = await taken(stores, backup)
    assert (report.items_copied, report.octets_copied) == (2, 4)
    await store.aclose()
    one, two = backup.snapshots.all()
    for named, wanted in ((one, first), (two, second)):
        target = MemoryStores()
        assert (await restored(backup, target, named)).whole
        assert await contents(target) == wanted


async def test_what_a_snapshot_says(backup: Backup) -> None:
    stores = MemoryStores()
    await fill(stores, {"body/1": b"12345"})
    await taken(stores, backup, now=lambda: 1_764_000_000.25)
    await taken(stores, backup, now=lambda: 1_764_000_001.0)
    one, two = backup.snapshots.all()
    snapshot = backup.snapshots.load(one)
    assert (snapshot.account, snapshot.number, snapshot.taken) == (ACCOUNT, 1, 1_764_000_000_250)
    assert (snapshot.previous, snapshot.user) == (None, USER)
    assert (snapshot.objects, snapshot.rows, snapshot.octets) == (1, 9, 14)
    assert backup.snapshots.load(two).previous == one.hash
    assert backup.at(1_764_000_000_999) == one and backup.at(1_764_000_001_000) == two


async def test_files_are_for_their_owner_only(stores: Stores, backup: Backup, tmp_path: Path) -> None:
    await (await fill(stores, OBJECTS)).aclose()
    await taken(stores, backup)
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "backup").rglob("*")} == {0}
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0


async def test_many_objects_fill_several_volumes(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "VOLUME", 1000)
    stores = MemoryStores()
    await fill(stores, {f"body/{n:04}": b"x" * n for n in range(100)})
    await taken(stores, backup)
    assert 4 <= len(backup.volumes.ids()) <= 5
    target = MemoryStores()
    assert (await restored(backup, target)).whole and await contents(target) == await contents(stores)


async def test_two_runs_at_once_are_one(backup: Backup) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    backup.make()
    with backup.locked(), pytest.raises(Unavailable, match="another backup is being written"):
        await taken(stores, backup)
    await taken(stores, backup)


# --- what is kept


async def test_older_snapshots_go_with_what_only_they_needed(backup: Backup) -> None:
    stores = MemoryStores()
    store = await fill(stores, {"body/0": b"0" * 5000})
    for n in range(1, 6):
        await store.put(f"body/{n}", b"%d" % n * 5000)
        await store.delete([f"body/{n - 1}"])
        report = await taken(stores, backup, keep=2)
    assert [named.number for named in backup.snapshots.all()] == [4, 5] and report.snapshots == 2
    assert report.octets_freed >= 5000
    files = [path for path in backup.volumes.folder.iterdir() if path.suffix == ".data"]
    assert sum(path.stat().st_size for path in files) < 3 * 5000
    assert verified(backup).problems == []
    target = MemoryStores()
    await restored(backup, target)
    assert await contents(target) == await contents(stores)


async def test_without_keep_all_stay(backup: Backup) -> None:
    stores = MemoryStores()
    store = await fill(stores, {"body/0": b"0" * 5000})
    await taken(stores, backup)
    await store.delete(["body/0"])
    for _ in range(3):
        assert (await taken(stores, backup)).octets_freed == 0
    assert len(backup.snapshots.all()) == 4 and verified(backup).problems == []


async def test_size_stays_within_twice_what_the_kept_snapshots_need(backup: Backup) -> None:
    """A mailbox whose mail comes and goes, a run each day: volumes that are mostly dead are given up."""
    stores = MemoryStores()
    store = await fill(stores, {f"body/{n:04}": b"." * 1000 for n in range(100)})
    for day in range(60):
        await store.delete([f"body/{day * 5 + n:04}" for n in range(5)])
        for n in range(5):
            await store.put(f"body/{day * 5 + 100 + n:04}", b"." * 1000)
        await taken(stores, backup, keep=3)
    octets = sum(path.stat().st_size for path in backup.volumes.folder.iterdir() if path.suffix == ".data")
    assert octets < 2 * 115 * 1000
    assert verified(backup).problems == []


async def test_small_volumes_are_merged(backup: Backup) -> None:
    stores = MemoryStores()
    store = await fill(stores, OBJECTS)
    most = copied = 0
    for n in range(100):
        await store.put(f"body/{n:05}", b"%d" % n)
        report = await taken(stores, backup, keep=1)
        copied += report.items_copied
        most = max(most, len(backup.volumes.ids()))
    assert most <= taking.SMALLS + 1
    assert copied < 4 * (100 + 6 + 9), "merging is seldom"
    assert verified(backup).problems == []


async def test_what_cannot_be_read_removes_nothing(backup: Backup) -> None:
    stores = MemoryStores()
    store = await fill(stores, {"body/0": b"0" * 5000})
    await taken(stores, backup)
    await store.delete(["body/0"])
    await store.put("body/1", b"1")
    await taken(stores, backup)
    two = backup.snapshots.all()[-1]
    file = backup.snapshots.folder / two.file
    file.write_bytes(file.read_bytes()[:-20])
    before = set(backup.volumes.ids())
    report = await taken(stores, backup, keep=2)
    assert report.snapshots == 2 and before <= set(backup.volumes.ids())
    assert backup.snapshots.load(backup.snapshots.all()[-1]).previous == two.hash
    assert [p for p in verified(backup).problems if "snapshot 2" in p]
    assert (await taken(stores, backup, keep=1)).octets_freed > 5000
    assert verified(backup).problems == []


async def test_nothing_is_removed_while_somebody_reads(backup: Backup) -> None:
    stores = MemoryStores()
    store = await fill(stores, {"body/0": b"0" * 5000})
    await taken(stores, backup)
    await store.delete(["body/0"])
    with backup.read(), backup.read():
        report = await taken(stores, backup, keep=1)
        assert (report.snapshots, report.octets_freed) == (2, 0)
        assert verified(backup).problems == []
        assert (await restored(backup, MemoryStores(), backup.snapshots.all()[0])).whole
    report = await taken(stores, backup, keep=1)
    assert report.snapshots == 1 and report.octets_freed > 5000


# --- damage in the backup


@pytest.mark.parametrize("lost", ["data", "index", "cut", "flipped"])
async def test_what_is_damaged_in_the_backup_is_copied_again(backup: Backup, lost: str) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    await taken(stores, backup)
    [volume] = backup.volumes.ids()
    data, index = backup.volumes.data(volume), backup.volumes.index(volume)
    if lost == "data":
        data.unlink()
    elif lost == "index":
        index.unlink()
    elif lost == "cut":
        data.write_bytes(data.read_bytes()[:-1])
    else:
        whole = bytearray(data.read_bytes())
        whole[2] ^= 1
        data.write_bytes(whole)
    assert verified(backup).problems
    report = await taken(stores, backup, verify=True, keep=1)
    assert report.items_copied == (1 if lost == "flipped" else 15)
    assert report.mended == {"flipped": 1, "index": 0}.get(lost, 15)
    assert verified(backup).problems == []
    target = MemoryStores()
    assert (await restored(backup, target)).whole and await contents(target) == await contents(stores)


async def test_older_snapshots_are_whole_again_too(backup: Backup) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    await taken(stores, backup)
    [volume] = backup.volumes.ids()
    whole = bytearray(backup.volumes.data(volume).read_bytes())
    whole[2] ^= 1
    backup.volumes.data(volume).write_bytes(whole)
    assert len(verified(backup).problems) == 1
    await taken(stores, backup, verify=True)
    assert verified(backup).problems == []
    target = MemoryStores()
    assert (await restored(backup, target, backup.snapshots.all()[0])).whole
    assert await contents(target) == await contents(stores)


# --- the account, meanwhile


class Busy:
    """A store that does something else before a certain call."""

    def __init__(self, store, before: dict[str, list]) -> None:
        self._store, self._before = store, before

    def __getattr__(self, name: str):
        found = getattr(self._store, name)

        async def call(*args, **options):
            if todo := self._before.get(f"{name} {args[0]}" if args and isinstance(args[0], str) else name):
                await todo.pop(0)()
            return await found(*args, **options)

        return call if callable(found) else found


async def take_busy(stores: Stores, backup: Backup, before: dict[str, list], **options) -> taking.Taken:
    report = taking.Taken(ACCOUNT)
    store = await stores.open(ACCOUNT)
    await taking.take(Busy(store, before), backup, USER, report, **options)
    return report


async def test_what_goes_meanwhile_makes_another_pass(backup: Backup) -> None:
    """A rotation: a thing gets another name, and the old one goes, between the listing and the copying."""
    stores = MemoryStores()
    store = await fill(stores, OBJECTS)

    async def rotate() -> None:
        await store.put("piece/1.00010000", b"the same piece")
        await store.delete(["piece/1"])

    report = await take_busy(stores, backup, {"get_many": [rotate]})
    assert report.passes == 2
    target = MemoryStores()
    await restored(backup, target)
    assert await contents(target) == await contents(stores)


async def test_keys_that_change_meanwhile_make_another_pass(backup: Backup) -> None:
    stores = MemoryStores()
    store = await fill(stores, OBJECTS)

    async def change() -> None:
        await store.append("keys", [Row("keyring-2", b"k2")], delete=[("keys", "keyring-1")])
        await store.put("piece/2", b"sealed with the new ones")

    report = await take_busy(stores, backup, {"list ": [change]})
    assert report.passes == 2
    target = MemoryStores()
    await restored(backup, target)
    assert await contents(target) == await contents(stores)


async def test_a_new_checkpoint_takes_no_rows_along(backup: Backup) -> None:
    """Rows are covered by a new checkpoint and deleted, after the checkpoints were listed."""
    stores = MemoryStores()
    store = await fill(stores, OBJECTS)

    async def compact() -> None:
        await store.put("checkpoint/6000-1", b"covers all")
        await store.delete_range("log", "0", "0000000000000003-z")

    await take_busy(stores, backup, {"read log": [compact]})
    target = MemoryStores()
    await restored(backup, target)
    assert await contents(target) == await contents(stores)


async def test_a_checkpoint_that_comes_after_the_rows_is_left_out(backup: Backup) -> None:
    """What it names may not have been listed."""
    stores = MemoryStores()
    store = await fill(stores, OBJECTS)
    wanted = await contents(stores)

    async def fold() -> None:
        await store.put("checkpoint/6000-1", b"names things that come after the listing")

    await take_busy(stores, backup, {"list ": [fold]})
    target = MemoryStores()
    await restored(backup, target)
    assert await contents(target) == wanted


async def test_a_pass_that_took_a_day_is_done_once_more(backup: Backup) -> None:
    stores = MemoryStores()
    await fill(stores, OBJECTS)
    times = iter([0.0, 90_000.0, 90_001.0, 90_002.0])
    report = await taken(stores, backup, now=lambda: next(times))
    assert report.passes == 2 and report.items_copied == 15
    assert backup.newest().taken == 90_001_000


async def test_an_account_that_never_rests_is_given_up_and_nothing_is_lost(backup: Backup) -> None:
    stores = MemoryStores()
    store = await fill(stores, OBJECTS)

    def changes(n: int):
        async def change() -> None:
            await store.append("keys", [Row(f"keyring-{n + 2}", b"k")])

        return change

    with pytest.raises(Unavailable, match="changed too much"):
        await take_busy(stores, backup, {"list ": [changes(n) for n in range(3 * taking.PASSES)]})
    assert backup.snapshots.all() == []
    await taken(stores, backup)
    assert verified(backup).problems == []


async def test_what_is_damaged_in_the_store_is_told_and_the_rest_is_there(backup: Backup) -> None:
    stores = MemoryStores()
    store = await fill(stores, OBJECTS)

    class Bad(Busy):
        async def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
            if name == "body/0001" or (name == "body/0004" and start):
                raise Damaged
            return await store.get(name, start, stop)

        async def get_many(self, wanted) -> list:
            return [await self.get(*part) for part in wanted]

    report = taking.Taken(ACCOUNT)
    await taking.take(Bad(store, {}), backup, USER, report)
    assert sorted(report.unreadable) == ["body/0001", "body/0004"]
    assert verified(backup).unreadable == ["body/0001", "body/0004"] and not verified(backup).problems
    target = MemoryStores()
    await restored(backup, target)
    wanted = await contents(stores)
    del wanted["body/0001"], wanted["body/0004"]
    assert await contents(target) == wanted


async def test_names_that_no_store_of_ours_has_do_no_harm(backup: Backup) -> None:
    stores = MemoryStores()
    store = await fill(stores, OBJECTS)
    await store.put("body/\n\x1b[2J", b"?")
    await store.append("incoming", [Row("a\nb", b"?")])
    report = await taken(stores, backup)
    assert sorted(report.unreadable) == ["body/\n\x1b[2J", "incoming/a\nb"]
    assert verified(backup).problems == []
    await store.delete(["body/\n\x1b[2J"])


async def test_the_snapshot_has_the_promise_of_a_store(backup: Backup) -> None:
    """As far as it is read: beside the store it was taken from."""
    from aerogramme.backup.reading import open_snapshot
    from aerogramme.errors import NotStored, Refused

    stores = MemoryStores()
    store = await fill(stores, OBJECTS)
    await taken(stores, backup)
    _, snapshot = await open_snapshot(backup, backup.snapshots.all()[0])
    for prefix in ("", "body/", "body/0002", "c", "x"):
        for after in ("", "body/0001", "body/0004", "checkpoint", "z"):
            for limit in (None, 0, 1, 3):
                wanted = await store.sizes(prefix, after, limit)
                assert await snapshot.sizes(prefix, after, limit) == wanted
                assert await snapshot.list(prefix, after, limit) == [name for name, _ in wanted]
    for start, stop in ((0, None), (0, 3), (2, 5), (RANGE - 1, RANGE + 7), (RANGE * 9, None)):
        for name in OBJECTS:
            assert await snapshot.get(name, start, stop) == await store.get(name, start, stop)
    assert await snapshot.get_many(["body/0001", "none", ("body/0003", 1, 2)[0]]) == [
        b"a body",
        None,
        OBJECTS["body/0003"],
    ]
    for partition in ("incoming", "log", "keys", "none"):
        rows, cursor = await snapshot.read(partition)
        assert rows == (await store.read(partition))[0]
        assert await snapshot.read(partition, cursor) == ([], Cursor(0))
    with pytest.raises(NotStored):
        await snapshot.get("none")
    with pytest.raises(Refused):
        await snapshot.append("log", [])
