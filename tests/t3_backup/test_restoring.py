"""An account that comes back from a backup: the mail as it was, and no mail program is misled."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from aerogramme.backup.folder import Backup
from aerogramme.backup.taking import Taken, take
from aerogramme.errors import AlreadyExists, Unavailable
from aerogramme.log.clock import wall_ms
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.history.compaction import compact
from aerogramme.mailbox.keys import keys
from aerogramme.mailbox.keys.rotation import rotate
from aerogramme.mailbox.policy import Policy
from aerogramme.store import Crash, CrashAt, MemoryStores, Row, Store
from tests.helpers.backups import contents, fill, new_backup, restored, taken, verified
from tests.t3_mailbox.conftest import PASSWORD, World, put

LETTER = b"From: bob@example.net\r\nSubject: %d\r\n\r\nHello\r\n"
ID = "00" * 16


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    assert await world.audit() == []
    for account in world.opened:
        await account.aclose()


@pytest.fixture
def backup(tmp_path: Path) -> Backup:
    return new_backup(tmp_path / "backup", ID)


async def open_from(stores: MemoryStores) -> Account:
    store = await stores.open(ID)
    return await Account.open(store, ID, await keys.unlock(store, ID, PASSWORD))


def uids(account: Account, mailbox: str = "INBOX") -> list[int]:
    return list(account.find(mailbox).uids)


async def test_the_mail_is_there_and_uidvalidity_is_new(world: World, backup: Backup) -> None:
    account = await world.open()
    await account.create_mailbox("Lists/a")
    await put(account, "INBOX", *(LETTER % n for n in range(5)), flags=("\\Seen",))
    await put(account, "Lists/a", LETTER % 9)
    before = {name: account.find(name).uidvalidity for name in account.state.names}
    await taken(world.stores, backup)
    await put(account, "INBOX", LETTER % 6)  # a mail program sees it, and the backup does not have it
    target = MemoryStores()
    assert (await restored(backup, target)).whole
    back = await open_from(target)
    assert uids(back) == [1, 2, 3, 4, 5] and uids(back, "Lists/a") == [1]
    for name, uidvalidity in before.items():
        assert back.find(name).uidvalidity > uidvalidity, name
    assert await audit(back) == []
    again = await open_from(target)
    assert again.find("INBOX").uidvalidity == back.find("INBOX").uidvalidity, "once"
    rows, _ = await back.store.read(keys.PARTITION)
    assert not [row.key for row in rows if row.key.startswith(keys.RESTORED)]
    await back.aclose()
    await again.aclose()


async def test_it_comes_back_to_any_kind_of_store(world: World, backup: Backup) -> None:
    account = await world.open()
    await put(account, "INBOX", *(LETTER % n for n in range(40)))
    await account.fold(force=True)
    await taken(world.stores, backup)
    for target in (
        MemoryStores(serial=True),
        MemoryStores(serial=False),
        MemoryStores(serial=False, object_costs_request=True),
    ):
        assert (await restored(backup, target)).whole
        back = await open_from(target)
        assert len(uids(back)) == 40 and await audit(back) == []
        await back.aclose()


async def test_opening_that_dies_at_any_call_is_done_again(world: World, backup: Backup) -> None:
    account = await world.open()
    await put(account, "INBOX", LETTER % 1)
    before = account.find("INBOX").uidvalidity
    await taken(world.stores, backup)
    n, done = 0, False
    while not done:
        n += 1
        target = MemoryStores(serial=False)
        await restored(backup, target)
        try:
            await (await open_from(target.another(CrashAt(n)))).aclose()
            done = True
        except Crash:
            pass
        back = await open_from(target)
        assert back.find("INBOX").uidvalidity > before and await audit(back) == []
        await back.aclose()
    assert n > 5


async def test_never_over_an_account_that_is_there(world: World, backup: Backup) -> None:
    account = await world.open()
    await put(account, "INBOX", LETTER % 1)
    await taken(world.stores, backup)
    before = await contents(world.stores, ID)
    with pytest.raises(AlreadyExists, match="never writes over one"):
        await restored(backup, world.stores)
    assert await contents(world.stores, ID) == before
    target = MemoryStores()
    await restored(backup, target)
    assert (await restored(backup, target)).whole, "nobody has opened it: the same restore once more"
    back = await open_from(target)
    with pytest.raises(AlreadyExists):
        await restored(backup, target)
    await back.aclose()


async def test_never_over_what_is_left_of_one(tmp_path: Path) -> None:
    stores = MemoryStores()
    store = await fill(stores, {"body/1": b"1"})
    backup = new_backup(tmp_path / "b")
    await taken(stores, backup)
    await store.append("log", [Row("00000000000000aa-r-1", b"new")])
    await taken(stores, backup)
    one, two = backup.snapshots.all()
    counting, half = CrashAt(0), MemoryStores()
    await restored(backup, MemoryStores(counting), two)
    with pytest.raises(Crash):
        await restored(backup, half.another(CrashAt(counting.calls // 2)), two)
    with pytest.raises(AlreadyExists, match="not from this snapshot"):
        await restored(backup, half, one)
    assert (await restored(backup, half, two)).whole
    await store.delete_rows("keys", ["keyring-1", "slot-1"])
    with pytest.raises(AlreadyExists, match="without its keys"):
        await restored(backup, stores, two)


async def test_what_is_damaged_in_the_backup_is_told_and_the_rest_comes(tmp_path: Path) -> None:
    stores = MemoryStores()
    await fill(stores, {"body/1": b"11111", "body/2": b"22222"})
    backup = new_backup(tmp_path / "b")
    await taken(stores, backup)
    [volume_id] = backup.volumes.ids()
    volume = backup.volumes.load(volume_id)
    data = bytearray(backup.volumes.data(volume_id).read_bytes())
    for name in ("o/body/1", "r/log/0000000000000002-r-1"):
        [n] = [n for n, item in enumerate(volume.items) if item.name == name]
        data[volume.starts[n]] ^= 1
    backup.volumes.data(volume_id).write_bytes(data)
    [problem] = verified(backup).problems
    assert "2 items" in problem and "body/1" in problem and "log/0000000000000002-r-1" in problem
    target = MemoryStores()
    report = await restored(backup, target)
    assert sorted(report.unreadable) == ["body/1", "log/0000000000000002-r-1"]
    left = await contents(target)
    assert (await contents(stores)).items() - left.items() == {
        ("body/1", b"11111"),
        ("log/0000000000000002-r-1", b"\2"),
    }


@pytest.mark.parametrize("lost", ["missing", "damaged"])
async def test_an_index_that_is_lost_takes_no_other_volume_along(tmp_path: Path, lost: str) -> None:
    stores = MemoryStores()
    store = await fill(stores, {"body/1": b"11111"})
    backup = new_backup(tmp_path / "b")
    await taken(stores, backup)
    await store.put("body/2", b"22222")
    [before] = backup.volumes.ids()
    await taken(stores, backup)
    [volume_id] = set(backup.volumes.ids()) - {before}
    index = backup.volumes.index(volume_id)
    if lost == "missing":
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[:-1])
    target = MemoryStores()
    [words] = (await restored(backup, target)).unreadable
    assert words.startswith(f"1 items of volume {volume_id}")
    assert (await contents(stores)).items() - (await contents(target)).items() == {("body/2", b"22222")}


class Between:
    """An account's store; something happens before every call."""

    def __init__(self, store: Store, act: Callable[[], Awaitable[None]]) -> None:
        self._store, self._act = store, act

    def __getattr__(self, name: str):
        found = getattr(self._store, name)

        async def call(*args, **options):
            await self._act()
            return await found(*args, **options)

        return call


async def run_between(world: World, backup: Backup, act: Callable[[], Awaitable[None]]) -> None:
    store = await world.stores.open(ID)
    with suppress(Unavailable):  # it changed too much: what was copied serves the next run
        await take(Between(store, act), backup, "", Taken(ID))


async def every_snapshot_is_whole(backup: Backup) -> list[int]:
    """How many messages each has."""
    assert verified(backup).problems == []
    sizes = []
    for named in backup.snapshots.all():
        target = MemoryStores()
        assert (await restored(backup, target, named)).whole
        back = await open_from(target)
        assert await audit(back) == []
        sizes.append(len(uids(back)))
        await back.aclose()
    return sizes


@pytest.mark.parametrize("seed", range(6))
async def test_while_servers_write_every_snapshot_is_whole(world: World, backup: Backup, seed: int) -> None:
    """Mail comes, is flagged and folded, and keys are rotated, between any two calls of a run."""
    random = Random(seed)
    world.stores = MemoryStores(serial=False)
    account = await world.open()
    mails = 0

    async def act() -> None:
        nonlocal mails
        if random.random() < 0.15:
            mails += 1
            await put(account, "INBOX", LETTER % mails)
            table = account.find("INBOX")
            match random.randrange(8):
                case 0:
                    await account.fold(force=True)
                case 1:
                    await rotate(account, world.unlocked[ID].slot, lag=0.0, bodies=True)
                case 2 if len(table.uids) > 3:
                    await account.store_flags(table, list(table.uids)[:2], "+", ["\\Flagged"])

    for _ in range(5):
        await run_between(world, backup, act)
    await taken(world.stores, backup)
    assert (await every_snapshot_is_whole(backup))[-1] == mails


@pytest.mark.parametrize("seed", range(6))
async def test_while_the_account_is_compacted_every_snapshot_is_whole(
    world: World, backup: Backup, seed: int
) -> None:
    """Most mail goes again; days pass between two runs, so that things are let go of, and deleted."""
    random = Random(seed)
    world.stores = MemoryStores(serial=False, object_costs_request=seed % 2 == 0)
    account = await world.open()
    account.policy = Policy(retention=3600)
    ahead, deleted = 0, 0

    async def compacted() -> None:
        nonlocal deleted
        report = await compact(account, now_ms=lambda: wall_ms() + ahead)
        deleted += sum(report.deleted.count.values())

    async def act() -> None:
        match random.randrange(40):
            case 0 | 1 | 2 | 3:
                await put(account, "INBOX", *(LETTER % n for n in range(3)))
            case 4 | 5:
                table = account.find("INBOX")
                gone = list(table.uids)[:2]
                await account.store_flags(table, gone, "+", ["\\Deleted"])
                await account.expunge(table)
            case 6:
                await account.fold(force=True)
            case 7 | 8:
                await compacted()

    for _ in range(8):
        await run_between(world, backup, act)
        ahead += 36 * 60 * 60 * 1000
        await compacted()
    await taken(world.stores, backup)
    assert (await every_snapshot_is_whole(backup))[-1] == len(uids(account))
    assert deleted > 0
