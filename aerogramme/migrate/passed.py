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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from aerogramme.errors import Damaged, Unavailable
from aerogramme.log.columns import column_bytes, column_from, from_planes, planes
from aerogramme.log.packing import compress, decompress
from aerogramme.seal.strict import pack, unpack

MAGIC = b"AGM\x01"
SALT = 16  # octets
LEVEL = 3  # of zstd
_HASH = 8


UNKNOWN = 0  # in place of a hash


@dataclass(slots=True)
class Passed:
    """A folder of the source as the last pass left it, in ascending order of the source's UIDs.

    uidvalidity  that of the source
    mailbox      the id of the mailbox here
    uids         of the source
    here         the UID here; 0 for a message that could not be taken over
    flags        hashes of what the source said; UNKNOWN where it is not known whether that has landed
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


class Parcel(NamedTuple):
    """A parcel that was sent: the messages of the source above the UID of the parcel before, and up to
    `last`.

    fingerprint  of their UIDs, flags and dates
    millis, id, first, contents   what its row key says: its time, its own id, and its contents
    """

    millis: int
    id: int
    first: int
    contents: int
    last: int
    fingerprint: int

    @classmethod
    def of(cls, key: str, last: int, fingerprint: int) -> "Parcel":
        """That of a row."""
        millis, number, first, contents = (int(part, 16) for part in key.split("-"))
        return cls(millis, number, first, contents, last, fingerprint)

    @property
    def key(self) -> str:
        """That of its row."""
        return f"{self.millis:012x}-{self.id:016x}-{self.first:016x}-{self.contents:04x}"


@dataclass(slots=True)
class Sent:
    """A folder of the source as far as it is in parcels, which only the user can open.

    mailbox  the id that the mailbox gets
    parcels  in ascending order of the source's UIDs; where it has none, none are remembered
    marks    where the source has no UIDs: hashes that tell the letters which were sent
    """

    mailbox: int
    parcels: list[Parcel] = field(default_factory=list)
    marks: "array[int]" = field(default_factory=lambda: array("Q"))


class Memory:
    """The memory of all passes into one account. `load` it, change it, `save` it.

    pending  first contents of parcels that may have been sent, and are not noted yet
    origins  mailbox -> hash of the source that it was last taken over from
    millis   of the last parcel
    """

    def __init__(
        self,
        path: Path,
        salt: bytes,
        passed: "dict[bytes, Passed] | None" = None,
        sent: "dict[bytes, Sent] | None" = None,
    ) -> None:
        self._path = path
        self._salt = salt
        self._passed = passed or {}
        self._sent = sent or {}
        self._hashes: dict[tuple[str, ...], int] = {}
        self.pending: set[int] = set()
        self.origins: dict[int, int] = {}
        self.millis = 0

    @classmethod
    def load(cls, path: Path) -> "Memory":
        """That of a file; an empty one if there is none yet. Raises Damaged, Unavailable."""
        try:
            stored = path.read_bytes()
        except FileNotFoundError:
            return cls(path, os.urandom(SALT))
        except OSError as error:
            raise Unavailable(f"{path} cannot be read: {error.strerror}") from error
        try:
            return cls._decode(path, stored)
        except Damaged as damage:
            raise Damaged(
                f"{path}: {damage}",
                hint="without this file a pass compares anew: remove it, if it is damaged, and run again",
            ) from None

    def passed(self, name: str, uidvalidity: int) -> Passed | None:
        """What is known of a folder, by its name here and the UIDVALIDITY of the source."""
        return self._passed.get(self._folder(name, uidvalidity))

    def note(self, name: str, passed: Passed) -> None:
        """From now on this is known of it."""
        self._passed[self._folder(name, passed.uidvalidity)] = passed

    def sent(self, name: str, uidvalidity: int) -> Sent | None:
        """What of it is in parcels."""
        return self._sent.get(self._folder(name, uidvalidity))

    def note_sent(self, name: str, uidvalidity: int, sent: Sent) -> None:
        """From now on this is known of it."""
        self._sent[self._folder(name, uidvalidity)] = sent

    def note_origin(self, mailbox: int, origin: str) -> None:
        """The mailbox here has been taken over from this source."""
        self.origins[mailbox] = self._number(b"origin", origin.encode("utf-8", "surrogateescape"))

    def is_from(self, mailbox: int, origin: str) -> bool:
        """Whether that is known of it."""
        known = self._number(b"origin", origin.encode("utf-8", "surrogateescape"))
        return self.origins.get(mailbox) == known

    def hash_of(self, flags: Sequence[str]) -> int:
        """What the memory keeps of flags: equal for those that are equal without regard to case and order."""
        key = tuple(flags)
        known = self._hashes.get(key)
        if known is None:
            folded = "\0".join(sorted({flag.casefold() for flag in key}))
            known = self._hashes[key] = self._number(b"flags", folded.encode())
        return known

    def fingerprint(self, uids: Iterable[int], flags: Iterable[Sequence[str]], dates: Iterable[int]) -> int:
        """Of messages, as a parcel tells them."""
        told = array("Q")
        for uid, each, date in zip(uids, flags, dates, strict=True):
            told.extend((uid, self.hash_of(each), date & 0xFFFFFFFFFFFFFFFF))
        return self._number(b"range", column_bytes(told, "Q"))

    def mark(self, date: int, size: int, message_id: bytes) -> int:
        """What tells a letter of a source without UIDs."""
        return self._number(b"letter", b"%d %d %b" % (date, size, message_id))

    def _folder(self, name: str, uidvalidity: int) -> bytes:
        return self._hash(b"folder", b"%d %b" % (uidvalidity, name.encode("utf-8", "surrogateescape")))

    def _number(self, kind: bytes, value: bytes) -> int:
        return int.from_bytes(self._hash(kind, value), "big")

    def _hash(self, kind: bytes, value: bytes) -> bytes:
        return hashlib.blake2b(value, digest_size=_HASH, key=self._salt, person=kind).digest()

    def save(self) -> None:
        """Writes the file anew: whole, or the one before stays. Raises Unavailable."""
        new = self._path.with_name(f"{self._path.name}.new")  # one pass at a time: nobody else writes it
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(self._encode())
                file.flush()
                os.fsync(descriptor)
            os.replace(new, self._path)
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written: {error.strerror}") from error

    # --- stored form: docs/format.md

    def _encode(self) -> bytes:
        passed = [
            [name, p.uidvalidity, p.mailbox, planes(p.uids), planes(p.here), planes(p.flags, "Q")]
            for name, p in sorted(self._passed.items())
        ]
        sent = [
            [name, s.mailbox, [list(parcel) for parcel in s.parcels], column_bytes(s.marks, "Q")]
            for name, s in sorted(self._sent.items())
        ]
        origins = [list(each) for each in sorted(self.origins.items())]
        plain = pack([self._salt, passed, sent, sorted(self.pending), self.millis, origins])
        return MAGIC + compress(plain, LEVEL)

    @classmethod
    def _decode(cls, path: Path, stored: bytes) -> "Memory":
        if stored[: len(MAGIC)] != MAGIC:
            raise Damaged("it is not what passes remember")
        match unpack(decompress(stored[len(MAGIC) :])):
            case [bytes(salt), list(passed), list(sent), list(pending), int(millis), list(origins)] if (
                len(salt) == SALT
            ):
                memory = cls(path, salt, dict(map(_passed, passed)), dict(map(_sent, sent)))
                memory.pending.update(map(_id, pending))
                memory.millis = millis
                memory.origins.update(map(_origin, origins))
                return memory
        raise Damaged("it does not decode")


def _passed(row: Any) -> tuple[bytes, Passed]:
    match row:
        case [bytes(name), int(uidvalidity), int(mailbox), uids, here, flags] if len(name) == _HASH:
            columns = from_planes("I", uids), from_planes("I", here), from_planes("Q", flags)
            passed = Passed(uidvalidity, mailbox, *columns)
            if len(passed.uids) == len(passed.here) == len(passed.flags):
                return name, passed
    raise Damaged("it does not decode")


def _sent(row: Any) -> tuple[bytes, Sent]:
    match row:
        case [bytes(name), int(mailbox), list(parcels), marks] if len(name) == _HASH:
            return name, Sent(mailbox, list(map(_parcel, parcels)), column_from("Q", marks))
    raise Damaged("it does not decode")


def _id(found: Any) -> int:
    if not isinstance(found, int):
        raise Damaged("it does not decode")
    return found


def _origin(row: Any) -> tuple[int, int]:
    match row:
        case [int(mailbox), int(origin)]:
            return mailbox, origin
    raise Damaged("it does not decode")


def _parcel(row: Any) -> Parcel:
    match row:
        case [int(), int(), int(), int(), int(), int()]:
            return Parcel(*row)
    raise Damaged("it does not decode")
