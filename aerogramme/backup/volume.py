"""Volumes: objects and rows of one account, many in a file, and an index that says what lies where.

    <id>.data     the items, end to end
    <id>.index    text: a head, then a line for each item, in their order

The id is the BLAKE2b-256 of the index, which has that of each item: so neither is changed without being
noticed, and the id in a snapshot vouches for all of it. A volume is written once.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from aerogramme.backup import files
from aerogramme.errors import Damaged, NotStored
from aerogramme.store.port import check_account
from aerogramme.store.ranges import Counted

DATA, INDEX = ".data", ".index"
ID = re.compile(r"[0-9a-f]{64}", re.ASCII)

_HEAD = re.compile(r"aerogramme volume 1 ([0-9a-f]{32}) (0|[1-9][0-9]{0,18})", re.ASCII)
NAME = re.compile(r"o/[ -~]+|r/[!-.0-~]+/[ -~]+", re.ASCII)
_LINE = re.compile(rf"([0-9a-f]{{64}}) (0|[1-9][0-9]{{0,18}}) ({NAME.pattern})", re.ASCII)


class Item(NamedTuple):
    """An object or a row, by its name in a backup: `o/NAME`, or `r/PARTITION/KEY`; its hash is in hex."""

    name: str
    octets: int
    hash: str


def object_item(name: str) -> str:
    return f"o/{name}"


def row_item(partition: str, key: str) -> str:
    return f"r/{partition}/{key}"


def row_of(name: str) -> tuple[str, str] | None:
    """Partition and key of an item that is a row; None for an object."""
    kind, _, rest = name.partition("/")
    if kind != "r":
        return None
    partition, _, key = rest.partition("/")
    return partition, key


def hash_of(data: bytes) -> str:
    """The hash that all names and items of a backup have."""
    return Counted(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Volume:
    """One, as its index says."""

    id: str
    items: tuple[Item, ...]
    starts: tuple[int, ...] = field(repr=False)  # where each begins in the data
    octets: int  # of the data

    @classmethod
    def parse(cls, account: str, volume_id: str, index: bytes) -> "Volume":
        """Raises Damaged."""
        if hash_of(index) != volume_id:
            raise Damaged("the index of a volume is not the one it was named for")
        try:
            head, *lines = index.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise Damaged("the index of a volume is no text") from None
        match = _HEAD.fullmatch(head)
        if match is None or match[1] != account or not lines or lines.pop():
            raise Damaged("the index of a volume is that of another account, or none")
        items, starts, octets = [], [], 0
        for line in lines:
            found = _LINE.fullmatch(line)
            if found is None:
                raise Damaged("the index of a volume has a line that is none")
            items.append(Item(found[3], int(found[2]), found[1]))
            starts.append(octets)
            octets += items[-1].octets
        if octets != int(match[2]):
            raise Damaged("the index of a volume does not add up")
        return cls(volume_id, tuple(items), tuple(starts), octets)


def index_of(account: str, items: list[Item]) -> bytes:
    head = f"aerogramme volume 1 {account} {sum(item.octets for item in items)}"
    return "\n".join([head, *(f"{i.hash} {i.octets} {i.name}" for i in items), ""]).encode("ascii")


class Volumes:
    """The volumes of one account in their folder. Everything here waits for a disk."""

    def __init__(self, folder: Path, account: str) -> None:
        self.folder, self.account = folder, check_account(account)

    def data(self, volume_id: str) -> Path:
        return self.folder / f"{volume_id}{DATA}"

    def index(self, volume_id: str) -> Path:
        return self.folder / f"{volume_id}{INDEX}"

    def ids(self) -> list[str]:
        """Those that have an index, sorted."""
        found = (name.removesuffix(INDEX) for name in files.names(self.folder) if name.endswith(INDEX))
        return sorted(name for name in found if ID.fullmatch(name))

    def load(self, volume_id: str) -> Volume:
        """Raises NotStored, Damaged, Unavailable."""
        return Volume.parse(self.account, volume_id, files.read(self.index(volume_id)))

    def has_data(self, volume: Volume) -> bool:
        """Whether the data is there, as far as its length tells. Raises Unavailable."""
        data = self.data(volume.id)
        try:
            with files.explained("read", data):
                return data.stat().st_size == volume.octets
        except NotStored:
            return False

    def part(self, volume: Volume, n: int, start: int, stop: int) -> bytes:
        """The octets start to stop of an item, clipped at its end. NotStored, Damaged, Unavailable."""
        with files.opened(self.data(volume.id)) as file:
            file.seek(volume.starts[n] + start)
            return file.read(max(min(stop, volume.items[n].octets) - start, 0))

    def sound(self, volume: Volume, n: int) -> bool:
        """Reads an item: whether it is as it was written. Raises Unavailable."""
        item, counted = volume.items[n], Counted()
        try:
            while counted.octets < item.octets:
                piece = self.part(volume, n, counted.octets, counted.octets + files.READ)
                if not piece:
                    return False
                counted.update(piece)
            # One that is empty needs no data, but a volume without any is damaged all the same.
            return counted.hexdigest() == item.hash and (item.octets > 0 or self.has_data(volume))
        except (NotStored, Damaged):
            return False

    def tidy(self, wanted: set[str]) -> int:
        """Removes the volumes that are not wanted. Returns the octets freed."""
        freed = 0
        # An index goes before its data: data without an index is nothing, an index without data is damage.
        for suffix in (INDEX, DATA):
            for name in files.names(self.folder):
                if name.endswith(suffix) and name.removesuffix(suffix) not in wanted:
                    freed += files.remove(self.folder / name)
        with files.explained("write", self.folder):
            files.sync_folder(self.folder)
        return freed


class Writer:
    """Writes volumes: items one after the other, a new volume whenever one has `limit` octets. `durable` is
    told of each, with its items, once it is. Everything here waits for a disk."""

    def __init__(self, volumes: Volumes, limit: int, durable: Callable[[str, Sequence[Item]], None]) -> None:
        self._volumes, self._limit, self._durable = volumes, limit, durable
        self._file: files.Growing | None = None
        self._items: list[Item] = []
        self._counted: Counted | None = None

    def begin(self) -> None:
        """Another item."""
        if self._file is None:
            path = self._volumes.folder / f"{os.urandom(8).hex()}{files.NEW}"
            self._file = files.Growing(path)
        self._counted = Counted()

    def write(self, data: bytes) -> None:
        assert self._file is not None and self._counted is not None
        self._file.write(data)
        self._counted.update(data)

    def give_up(self) -> None:
        """The item that was begun is none."""
        assert self._file is not None
        self._file.cut(sum(item.octets for item in self._items))

    def end(self, name: str) -> Item:
        """The item is whole."""
        assert self._file is not None and self._counted is not None
        item = Item(name, self._counted.octets, self._counted.hexdigest())
        self._items.append(item)
        if self._file.octets >= self._limit:
            self.flush()
        return item

    def flush(self) -> None:
        """All that was written is durable."""
        if self._file is None:
            return
        if self._items:
            index = index_of(self._volumes.account, self._items)
            volume_id = hash_of(index)
            self._file.finish(self._volumes.data(volume_id))
            # Data is durable under its name before the index is: where there is an index, there is its data.
            with files.explained("write", self._volumes.folder):
                files.sync_folder(self._volumes.folder)
            files.write(self._volumes.index(volume_id), index)
            self._durable(volume_id, self._items)
        self.close()

    def close(self) -> None:
        """Forgets what is not durable."""
        if self._file is not None:
            self._file.close()
        self._file, self._items, self._counted = None, [], None
