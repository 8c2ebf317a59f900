"""What the passes of an account remember, in a file of this machine: no names and no flags, only numbers and
keyed hashes.

A pass can do without it: what is there already is found by UID, or else by date, size and Message-ID. The
file tells what those cannot: which side has changed a flag since the last pass, which message was removed
here and which could not be read, and what is in parcels that only the user can open. docs/format.md has its
form.
"""

import hashlib
import os
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from aerogramme.errors import Damaged, Unavailable
from aerogramme.log.columns import from_planes, planes
from aerogramme.seal.strict import pack, unpack

MAGIC = b"AGM\x01"
SALT = 16  # octets
LARGEST = 1 << 30  # octets of what the file holds: two million messages are 50 MB
_HASH = 8


@dataclass(slots=True)
class Passed:
    """A folder of the source as the last pass left it, in ascending order of the source's UIDs.

    uidvalidity  that of the source
    mailbox      the id of the mailbox here
    uids         of the source
    here         the UID here; 0 for a message that could not be taken over
    flags        hashes of what the source said
    """

    uidvalidity: int
    mailbox: int
    uids: "array[int]" = field(default_factory=lambda: array("I"))
    here: "array[int]" = field(default_factory=lambda: array("I"))
    flags: "array[int]" = field(default_factory=lambda: array("Q"))

    def row_of(self, uid: int) -> int | None:
        """The row of a UID of the source."""
        row = bisect_left(self.uids, uid)
        return row if row < len(self.uids) and self.uids[row] == uid else None


class Memory:
    """The memory of all passes into one account. `load` it, change `folders`, `save` it."""

    def __init__(self, path: Path, salt: bytes, folders: dict[bytes, Passed]) -> None:
        self._path = path
        self._salt = salt
        self._folders = folders
        self._hashes: dict[tuple[str, ...], int] = {}

    @classmethod
    def load(cls, path: Path) -> "Memory":
        """That of a file; an empty one if there is none yet. Raises Damaged, Unavailable."""
        try:
            stored = path.read_bytes()
        except FileNotFoundError:
            return cls(path, os.urandom(SALT), {})
        except OSError as error:
            raise Unavailable(f"{path} cannot be read: {error.strerror}") from error
        try:
            return cls(path, *_decode(stored))
        except Damaged as damage:
            raise Damaged(
                f"{path}: {damage}",
                hint="without this file a pass compares anew: remove it, if it is damaged, and run again",
            ) from None

    def of(self, name: str) -> Passed | None:
        """What is known of a folder, by its name here."""
        return self._folders.get(self._hash(b"name", name.encode("utf-8", "surrogateescape")))

    def note(self, name: str, passed: Passed) -> None:
        """From now on this is known of it."""
        self._folders[self._hash(b"name", name.encode("utf-8", "surrogateescape"))] = passed

    def hash_of(self, flags: Sequence[str]) -> int:
        """What the memory keeps of flags: equal for those that are equal without regard to case and order."""
        key = tuple(flags)
        known = self._hashes.get(key)
        if known is None:
            folded = "\0".join(sorted({flag.casefold() for flag in key}))
            known = int.from_bytes(self._hash(b"flags", folded.encode()), "big")
            self._hashes[key] = known
        return known

    def _hash(self, kind: bytes, value: bytes) -> bytes:
        return hashlib.blake2b(value, digest_size=_HASH, key=self._salt, person=kind).digest()

    def save(self) -> None:
        """Writes the file anew: whole, or the one before stays. Raises Unavailable."""
        new = self._path.with_name(f"{self._path.name}.new")  # one pass at a time: nobody else writes it
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(_encode(self._salt, self._folders))
                file.flush()
                os.fsync(descriptor)
            os.replace(new, self._path)
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written: {error.strerror}") from error


def _encode(salt: bytes, folders: dict[bytes, Passed]) -> bytes:
    rows = [
        [
            name,
            passed.uidvalidity,
            passed.mailbox,
            planes(passed.uids),
            planes(passed.here),
            planes(passed.flags, "Q"),
        ]
        for name, passed in sorted(folders.items())
    ]
    return MAGIC + zstandard.ZstdCompressor(3, write_content_size=True).compress(pack([salt, rows]))


def _decode(stored: bytes) -> tuple[bytes, dict[bytes, Passed]]:
    if stored[: len(MAGIC)] != MAGIC:
        raise Damaged("it is not what passes remember")
    try:
        plain = zstandard.ZstdDecompressor().decompress(stored[len(MAGIC) :], max_output_size=LARGEST)
    except zstandard.ZstdError:
        raise Damaged("it does not decode") from None
    match unpack(plain):
        case [bytes(salt), list(rows)] if len(salt) == SALT:
            return salt, dict(map(_folder, rows))
    raise Damaged("it does not decode")


def _folder(row: Any) -> tuple[bytes, Passed]:
    match row:
        case [bytes(name), int(uidvalidity), int(mailbox), uids, here, flags] if len(name) == _HASH:
            passed = Passed(
                uidvalidity, mailbox, from_planes("I", uids), from_planes("I", here), from_planes("Q", flags)
            )
            if len(passed.uids) == len(passed.here) == len(passed.flags):
                return name, passed
    raise Damaged("it does not decode")
