"""What is set aside of an object that its store finds damaged."""

import sqlite3
from pathlib import Path

import pytest

from aerogramme.errors import NotStored
from aerogramme.mailbox.audit.setting_aside import OBJECTS, are_aside, set_aside
from aerogramme.store.sqlite import SqliteStores

ACCOUNT = "a" * 32
CHUNK = 1 << 16


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        ("DELETE FROM chunks WHERE id = (1 << 20) + 1", bytes(CHUNK) + b"end"),
        ("UPDATE chunks SET data = zeroblob(7) WHERE id = (1 << 20)", b"x" * CHUNK + b"end"),
        ("DELETE FROM chunks", b""),
        ("SELECT 1", bytes(CHUNK) + b"x" * CHUNK + b"end"),
    ],
)
async def test_what_can_still_be_read_is_kept(tmp_path: Path, damage: str, left: bytes) -> None:
    stores = SqliteStores(tmp_path)
    store = await stores.open(ACCOUNT, create=True)
    await store.put("o", bytes(CHUNK) + b"x" * CHUNK + b"end")
    await store.aclose()
    with sqlite3.connect(tmp_path / f"{ACCOUNT}.sqlite") as connection:
        connection.execute(damage)
    connection.close()

    store = await stores.open(ACCOUNT)
    assert await set_aside(store, ("", "o"))
    assert await store.get(OBJECTS + "o") == left and await are_aside(store) == {"o"}
    with pytest.raises(NotStored):
        await store.get("o")
    assert not await set_aside(store, ("", "o"))
    await store.aclose()
