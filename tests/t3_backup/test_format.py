"""The files of a backup: what was written is read, and anything else is found."""

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.backup import folder
from aerogramme.backup.snapshot import Named, Snapshot
from aerogramme.backup.volume import Item, Volume, hash_of, index_of
from aerogramme.errors import BadConfiguration, Damaged, NotStored
from aerogramme.store import MemoryStores, Row
from tests.helpers.backup_reader import read_snapshot
from tests.helpers.backups import ACCOUNT, USER, contents, fill, new_backup, taken

printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)
partitions = st.text(st.sampled_from("abcxyz-_.0"), min_size=1, max_size=8)
names = printable.map(lambda name: f"o/{name}") | st.builds("r/{}/{}".format, partitions, printable)
items = st.lists(
    st.builds(Item, names, st.integers(0, 1 << 40), st.binary(min_size=32, max_size=32).map(bytes.hex)),
    max_size=20,
)


@given(items)
def test_an_index_is_read_as_it_was_written(written: list[Item]) -> None:
    index = index_of(ACCOUNT, written)
    volume = Volume.parse(ACCOUNT, hash_of(index), index)
    assert list(volume.items) == written
    assert volume.octets == sum(item.octets for item in written)
    assert volume.starts == tuple(sum(i.octets for i in written[:n]) for n in range(len(written)))


@given(items, st.data())
def test_an_index_that_was_changed_is_no_other(written: list[Item], data: st.DataObject) -> None:
    index = bytearray(index_of(ACCOUNT, written))
    volume_id = hash_of(index)
    at = data.draw(st.integers(0, len(index) - 1))
    index[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        Volume.parse(ACCOUNT, volume_id, bytes(index))
    with pytest.raises(Damaged):
        Volume.parse("f" * 32, hash_of(index_of(ACCOUNT, written)), index_of(ACCOUNT, written))
    # With a hash that fits it is read as it stands, or is damaged; it is never another error.
    with suppress(Damaged):
        Volume.parse(ACCOUNT, hash_of(bytes(index)), bytes(index))


runs = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=6).map(
    lambda gaps: tuple((sum(g + c for g, c in gaps[:n]) + gaps[n][0], gaps[n][1]) for n in range(len(gaps)))
)
snapshots = st.builds(
    Snapshot,
    account=st.just(ACCOUNT),
    number=st.integers(1, 10**9),
    taken=st.integers(0, 4 * 10**12),
    previous=st.none() | st.just("a" * 64),
    user=st.text(max_size=30),
    objects=st.integers(0),
    rows=st.integers(0),
    octets=st.integers(0),
    volumes=st.dictionaries(st.binary(min_size=32, max_size=32).map(bytes.hex), runs, max_size=3),
    unreadable=st.lists(st.text(max_size=5), max_size=3).map(tuple),
)


@given(snapshots)
def test_a_snapshot_is_read_as_it_was_written(snapshot: Snapshot) -> None:
    text = snapshot.text()
    assert Snapshot.parse(ACCOUNT, Named(snapshot.number, hash_of(text)), text) == snapshot


BASE = Snapshot(ACCOUNT, 3, 1_764_000_000_000, None, USER, 1, 2, 3, {"b" * 64: ((0, 1), (5, 2))})


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"account": "f" * 32},
        {"number": 4},
        {"number": "3"},
        {"taken": "yesterday"},
        {"taken": 5},
        {"previous": 5},
        {"user": None},
        {"objects": 1.5},
        {"unreadable": "x"},
        {"volumes": []},
        {"volumes": {"../../etc/passwd": [[0, 1]]}},
        {"volumes": {"b" * 64: [[0, 1], [1, 1]]}},
        {"volumes": {"b" * 64: [[5, 1], [0, 1]]}},
        {"volumes": {"b" * 64: [[0, 0]]}},
        {"volumes": {"b" * 64: [[-1, 1]]}},
        {"volumes": {"b" * 64: [0, 1]}},
        {"volumes": {"b" * 64: None}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_snapshot_that_says_anything_else_is_damaged(change: dict[str, object]) -> None:
    text = json.dumps(json.loads(BASE.text()) | change).encode()
    with pytest.raises(Damaged):
        Snapshot.parse(ACCOUNT, Named(3, hash_of(text)), text)
    whole = BASE.text()
    assert Snapshot.parse(ACCOUNT, Named(3, hash_of(whole)), whole) == BASE


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_damaged(text: bytes) -> None:
    with pytest.raises(Damaged):
        Snapshot.parse(ACCOUNT, Named(3, hash_of(text)), text)


def test_a_snapshot_that_was_changed_is_damaged() -> None:
    with pytest.raises(Damaged, match="its hash is another"):
        Snapshot.parse(ACCOUNT, Named(3, hash_of(BASE.text())), replace(BASE, user="").text())


async def test_the_names_are_what_b2sum_says(tmp_path: Path) -> None:
    """`b2sum -l 256` finds every change of a snapshot and an index without any program of ours."""
    stores = MemoryStores()
    await fill(stores, {"body/1": b"12345"})
    backup = new_backup(tmp_path / "backup")
    await taken(stores, backup)
    [index] = backup.volumes.folder.glob("*.index")
    [snapshot] = backup.snapshots.folder.glob("*.json")
    assert hashlib.blake2b(index.read_bytes(), digest_size=32).hexdigest() == index.stem
    assert hashlib.blake2b(snapshot.read_bytes(), digest_size=32).hexdigest() == snapshot.stem.split("-")[1]
    [line] = [line for line in index.read_text().splitlines() if line.endswith("o/body/1")]
    assert line == f"{hashlib.blake2b(b'12345', digest_size=32).hexdigest()} 5 o/body/1"


def test_a_folder_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(BadConfiguration, match="other things"):
        folder.begin(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(NotStored, match="no folder of backups"):
        folder.accounts(tmp_path)
    folder.begin(tmp_path / "new" / "deep")
    folder.begin(tmp_path / "new" / "deep")
    assert folder.accounts(tmp_path / "new" / "deep") == []
    (tmp_path / "new" / "deep" / folder.MARKER).write_text("aerogramme backup 2\n")
    for call in (folder.begin, folder.accounts):
        with pytest.raises(BadConfiguration, match="does not know"):
            call(tmp_path / "new" / "deep")


@pytest.mark.parametrize("keep", [None, 3])
async def test_another_reader_finds_all_that_the_account_had(tmp_path: Path, keep: int | None) -> None:
    """Written from docs/format.md, without any code of ours."""
    stores = MemoryStores()
    store = await fill(stores, {"body/1": b"12345", "body/with a space": b"", "checkpoint/1": b"c"})
    backup = new_backup(tmp_path / "backup")
    had, said = [], []
    for n in range(5):
        await store.put(f"body/1{n}", b"x" * n)
        await store.append("log", [Row(f"{n + 100:016x}-r-2", b"%d" % n)], delete=[("log", f"{n:016x}-r-1")])
        had.append(await contents(stores))
        await taken(stores, backup, keep=keep)
        said.append(read_snapshot(backup.folder, n + 1)[0])
    for named in backup.snapshots.all():
        _, items = read_snapshot(backup.folder, named.number)
        plain = {name[2:]: body for name, body in items.items()}
        assert plain == had[named.number - 1]
        assert len(items) == len(plain)
    assert all(each["user"] == USER for each in said)
    kept = backup.snapshots.all()
    assert said[0]["previous"] is None
    assert [each["previous"] for each in said[-len(kept) + 1 :]] == [named.hash for named in kept[:-1]]
