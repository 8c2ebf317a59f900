"""Setting aside: what cannot be read, or what nobody knows, is never thrown away unseen.

It goes as it is to where nothing looks for it: an object to "unreadable/<its name>", a row to the partition
"unreadable" under "<its partition>/<its key>". It is there under the new name before it goes under the old
one; who is cut off in between does it again. Of an object that the store itself finds damaged,
what it can still read goes there.
"""

from collections.abc import AsyncGenerator

from aerogramme.errors import Damaged, NotStored
from aerogramme.mailbox.audit.faults import Item
from aerogramme.store.port import Row, Store

PARTITION = "unreadable"
OBJECTS = "unreadable/"
PIECE = 1 << 20  # octets of an object in memory
LEAST = 1 << 16  # octets that are read at once where not all can be
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
    except Damaged:
        pass  # it is there
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
    """What can be read of an object, in order."""
    [(_, size)] = await store.sizes(name, limit=1)  # the first name that begins so is the name itself
    for start in range(0, size, PIECE):
        stop = min(start + PIECE, size)
        try:
            found = [await store.get(name, start, stop)]
        except Damaged:
            found = [
                await _readable(store, name, at, min(at + LEAST, stop)) for at in range(start, stop, LEAST)
            ]
        for piece in found:
            if piece:
                yield piece


async def _readable(store: Store, name: str, start: int, stop: int) -> bytes:
    """A part of an object; nothing if the store has lost it."""
    try:
        return await store.get(name, start, stop)
    except Damaged:
        return b""
