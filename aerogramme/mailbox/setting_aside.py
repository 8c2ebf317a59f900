"""Setting aside: what cannot be read, or what nobody knows, is never thrown away unseen.

It goes as it is to where nothing looks for it: an object to "unreadable/<its name>", a row to the partition
"unreadable" under "<its partition>/<its key>". It is there under the new name before it goes under the old
one; who is cut off in between does it again.
"""

from collections.abc import AsyncGenerator

from aerogramme.errors import NotStored
from aerogramme.mailbox.faults import Item
from aerogramme.store.port import Row, Store

PARTITION = "unreadable"
OBJECTS = "unreadable/"
PIECE = 1 << 20  # octets of an object in memory
PAGE = 1000  # names listed, and objects deleted, at a time


async def copy_aside(store: Store, item: Item) -> bool:
    """Puts a copy aside, durable on return. False if there is nothing. Raises Unavailable."""
    partition, name = item
    if partition:
        rows, _ = await store.read(partition)
        found = [row for row in rows if row.key == name]
        if not found:
            return False
        await store.append(PARTITION, [Row(f"{partition}/{name}", found[0].value)])
        return True
    try:
        await store.get(name, 0, 1)
    except NotStored:
        return False
    await store.put(OBJECTS + name, _pieces(store, name))
    return True


async def remove(store: Store, item: Item) -> None:
    """Takes away what was put aside. Raises Unavailable."""
    partition, name = item
    if partition:
        await store.delete_rows(partition, [name])
    else:
        await store.delete([name])


async def give_up(store: Store, name: str) -> None:
    """Notes of an object that is gone that it is known to be. Raises Unavailable."""
    await store.put(OBJECTS + name, b"")


async def set_aside(store: Store, item: Item) -> bool:
    """Puts something aside; it is gone from where it was. False if there was nothing. Raises Unavailable."""
    if not await copy_aside(store, item):
        return False
    await remove(store, item)
    return True


async def are_aside(store: Store) -> set[str]:
    """What has been set aside: names of objects, and "partition/key" of rows. Raises Unavailable."""
    names = [row.key for row in (await store.read(PARTITION))[0]]
    after = OBJECTS
    while page := await store.list(OBJECTS, after, PAGE):
        after = page[-1]
        names += [name.removeprefix(OBJECTS) for name in page]
    return set(names)


async def forget(store: Store) -> int:
    """Deletes all that has been set aside; how much that was. Raises Unavailable."""
    keys = [row.key for row in (await store.read(PARTITION))[0]]
    await store.delete_rows(PARTITION, keys)
    count = len(keys)
    while page := await store.list(OBJECTS, limit=PAGE):
        await store.delete(page)
        count += len(page)
    return count


async def _pieces(store: Store, name: str) -> AsyncGenerator[bytes, None]:
    at = 0
    while piece := await store.get(name, at, at + PIECE):
        yield piece
        at += len(piece)
        if len(piece) < PIECE:
            return
