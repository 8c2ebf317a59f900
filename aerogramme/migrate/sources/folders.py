"""Folders on disk: opened level by level, so that no symbolic link below the root is followed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aerogramme.migrate.sources.naming import shown

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """A folder: the levels below a root.

    Who owns a source could else have a link in it to another's mail, and get that as theirs. The root itself
    is the operator's word, and may be a link.
    """

    root: Path
    parts: tuple[bytes, ...] = ()

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Its descriptor. Raises OSError."""
        descriptor = os.open(self.root, _FLAGS)
        try:
            for part in self.parts:
                below = os.open(part, _FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def below(self, *parts: bytes) -> "Place":
        """A folder in it."""
        return Place(self.root, (*self.parts, *parts))

    def origin(self, *parts: bytes) -> str:
        """Its path, or one below it, for people."""
        return shown(b"/".join([os.fsencode(self.root), *self.parts, *parts]))


@contextmanager
def inner(descriptor: int, name: bytes) -> Iterator[int]:
    """The descriptor of a folder in another. Raises OSError."""
    found = os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
    try:
        yield found
    finally:
        os.close(found)


def names(descriptor: int) -> list[bytes]:
    """What is in a folder."""
    return [os.fsencode(name) for name in os.listdir(descriptor)]


def inner_folders(descriptor: int) -> Iterator[tuple[bytes, bool]]:
    """The folders in a folder, by name, and whether each is a symbolic link to one."""
    with os.scandir(descriptor) as entries:
        found = [(os.fsencode(entry.name), entry.is_symlink()) for entry in entries if entry.is_dir()]
    yield from sorted(found)


def has(descriptor: int, name: bytes) -> bool:
    """Is there something of this name?"""
    try:
        os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
