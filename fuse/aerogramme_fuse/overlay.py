"""Files that are no mail: what programs write while they deliver (tmp/), their locks and notes. They are in
memory, and gone with the mount."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

MAX_OCTETS = 256 * 1024 * 1024  # of all files: letters on their way are among them
FIRST = (
    1 << 62
)  # inode numbers from here on; those of messages and folders are elsewhere, or so rare as to miss


class Full(Exception):
    """There is no room for more."""


@dataclass(eq=False, slots=True)
class Scratch:
    """One such file. `mtime` in nanoseconds since 1970."""

    inode: int
    mtime: int
    data: bytearray = field(default_factory=bytearray, repr=False)
    opened: int = 0
    links: int = 1  # names: who makes a lock by link(2) looks whether there are two


class Overlay:
    """The files, by folder and name."""

    def __init__(self) -> None:
        self._files: dict[tuple[int, str], Scratch] = {}
        self._by_inode: dict[int, Scratch] = {}
        self._numbers = count(FIRST)
        self._octets = 0

    def create(self, folder: int, name: str, now: int) -> Scratch:
        """A new file, which is empty."""
        file = Scratch(next(self._numbers), now)
        self._files[folder, name] = self._by_inode[file.inode] = file
        return file

    def find(self, folder: int, name: str) -> Scratch | None:
        return self._files.get((folder, name))

    def by_inode(self, inode: int) -> Scratch | None:
        return self._by_inode.get(inode)

    def entries(self, folder: int) -> Iterator[tuple[str, int]]:
        for (where, name), file in self._files.items():
            if where == folder:
                yield name, file.inode

    def write(self, file: Scratch, at: int, data: bytes, now: int) -> None:
        """Raises Full."""
        self._resize(file, max(len(file.data), at + len(data)))
        file.data[at : at + len(data)] = data
        file.mtime = now

    def truncate(self, file: Scratch, size: int, now: int) -> None:
        """Raises Full."""
        self._resize(file, size)
        file.mtime = now

    def _resize(self, file: Scratch, size: int) -> None:
        more = size - len(file.data)
        if more > 0 and self._octets + more > MAX_OCTETS:
            raise Full
        self._octets += more
        if more > 0:
            file.data.extend(bytes(more))
        else:
            del file.data[size:]

    def move(self, folder: int, name: str, to: int, new: str) -> None:
        """What had the new name goes."""
        file = self._files.pop((folder, name))
        self.remove(to, new)
        self._files[to, new] = file

    def remove(self, folder: int, name: str) -> bool:
        """False if there is none of that name."""
        file = self._files.pop((folder, name), None)
        if file is None:
            return False
        file.links -= 1
        self.forget(file)
        return True

    def link(self, file: Scratch, folder: int, name: str) -> None:
        """Another name for a file."""
        file.links += 1
        self._files[folder, name] = file

    def forget(self, file: Scratch) -> None:
        """Let go of a file that has no name and that nobody has open."""
        if not file.links and not file.opened and file.inode in self._by_inode:
            del self._by_inode[file.inode]
            self._octets -= len(file.data)
