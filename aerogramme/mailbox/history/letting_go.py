"""What has been let go of: rows of the names of objects that nothing needed, for compaction.py to delete.

The key of a row is the clock at which that was found, in 16 hex digits, and a random number.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import msgpack  # type: ignore[import-untyped]  # it ships no types

from aerogramme.errors import Damaged, UnknownGeneration
from aerogramme.log.packing import compress, decompress
from aerogramme.log.records import Records
from aerogramme.seal import Keyring
from aerogramme.store.port import Row, Store

PARTITION = "unneeded"
KIND = "unneeded"  # of the sealed record; its name is the row key
VERSION = 1
MOST = 1000  # names in a row


@dataclass(frozen=True, slots=True)
class LetGo:
    """A row of base names that nothing needed at a clock."""

    key: str
    clock: int
    names: frozenset[str]


async def read(store: Store, records: Records) -> tuple[list[LetGo], dict[str, str]]:
    """What has been let go of; and the rows that cannot be read, with the partition in front, and why. Raises
    Unavailable, UnknownGeneration."""
    rows, _ = await store.read(PARTITION)
    found: list[LetGo] = []
    unreadable: dict[str, str] = {}
    for key, value in rows:
        try:
            names = decode_names(await records.open(KIND, key, value))
            found.append(LetGo(key, clock_of(key), names))
        except UnknownGeneration:
            raise
        except Damaged as why:
            unreadable[f"{PARTITION}/{key}"] = str(why)
    return found, unreadable


def row(keyring: Keyring, clock: int, names: Iterable[str]) -> Row:
    """A new row, sealed."""
    key = f"{clock:016x}-{secrets.token_hex(8)}"
    return Row(key, keyring.seal(KIND, key, encode_names(names)))


def clock_of(key: str) -> int:
    """The clock in a row key. Raises Damaged."""
    try:
        return int(key[:16], 16)
    except ValueError:
        raise Damaged("a row of what was let go of has an impossible key") from None


def encode_names(names: Iterable[str]) -> bytes:
    """The plain bytes of a row."""
    packed: bytes = msgpack.packb([VERSION, sorted(names)])
    return compress(packed)


def decode_names(plain: bytes) -> frozenset[str]:
    """Raises Damaged for anything that `encode_names` does not write."""
    try:
        version, names = msgpack.unpackb(decompress(plain))
        if version == VERSION and all(type(name) is str for name in names):
            return frozenset(names)
    except (ValueError, TypeError, msgpack.UnpackException) as e:
        raise Damaged("what was let go of does not decode") from e
    raise Damaged("what was let go of does not decode")
