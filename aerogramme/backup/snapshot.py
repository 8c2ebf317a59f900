"""Snapshots: what an account had in its store at one time, as a file that says in which volumes that lies.

Its name is `<number>-<BLAKE2b-256 of the file>.json`, and it says the hash of the one before: so a snapshot
vouches for all that it needs, and for those that came before it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from aerogramme.backup import files
from aerogramme.backup.volume import ID, hash_of
from aerogramme.errors import Damaged
from aerogramme.store.port import check_account

VERSION = 1
_NAME = re.compile(r"([0-9]{8,})-([0-9a-f]{64})\.json", re.ASCII)


class Named(NamedTuple):
    """A snapshot as its file is called."""

    number: int
    hash: str

    @property
    def file(self) -> str:
        return f"{self.number:08}-{self.hash}.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the file says.

    taken       unix time in milliseconds, when it began
    previous    hash of the snapshot before; None in the first
    user        the account's entry of the users file, as text of such a file; empty if there was none
    volumes     id to runs of items that belong to the snapshot: (first number, count), ascending
    unreadable  items that were damaged in the store, and are missing here
    """

    account: str
    number: int
    taken: int
    previous: str | None
    user: str
    objects: int
    rows: int
    octets: int
    volumes: Mapping[str, tuple[tuple[int, int], ...]] = field(repr=False)
    unreadable: tuple[str, ...] = ()

    def text(self) -> bytes:
        said = {
            "version": VERSION,
            "account": self.account,
            "number": self.number,
            "taken": iso(self.taken),
            "previous": self.previous,
            "user": self.user,
            "objects": self.objects,
            "rows": self.rows,
            "octets": self.octets,
            "unreadable": list(self.unreadable),
            "volumes": dict(sorted(self.volumes.items())),
        }
        return (json.dumps(said, indent=1) + "\n").encode()

    def items_of(self, volume_id: str, count: int) -> Iterator[int]:
        """The numbers of the items of a volume that belong to the snapshot. Damaged when it has fewer."""
        runs = self.volumes.get(volume_id, ())
        if any(first + length > count for first, length in runs):
            raise Damaged(f"snapshot {self.number} names items that volume {volume_id} has not")
        return (n for first, length in runs for n in range(first, first + length))

    @classmethod
    def parse(cls, account: str, named: Named, data: bytes) -> "Snapshot":
        """Raises Damaged."""
        if hash_of(data) != named.hash:
            raise Damaged(f"snapshot {named.number} is not what it was: its hash is another")
        try:
            match json.loads(data):
                case {
                    "version": 1,
                    "account": str(its),
                    "number": int(number),
                    "taken": str(taken),
                    "previous": str() | None as previous,
                    "user": str(user),
                    "objects": int(objects),
                    "rows": int(rows),
                    "octets": int(octets),
                    "unreadable": list(unreadable),
                    "volumes": dict(volumes),
                    **rest,
                } if not rest and its == account and number == named.number:
                    at = round(datetime.fromisoformat(taken).timestamp() * 1000)
                    return cls(
                        account,
                        number,
                        at,
                        previous,
                        user,
                        objects,
                        rows,
                        octets,
                        {_volume(volume): _runs(runs) for volume, runs in volumes.items()},
                        tuple(map(str, unreadable)),
                    )
        except (ValueError, RecursionError) as error:
            raise Damaged(f"snapshot {named.number} cannot be read: {error}") from None
        raise Damaged(f"snapshot {named.number} cannot be read: it is not what is written here")


def _volume(name: str) -> str:
    if not ID.fullmatch(name):
        raise ValueError("a volume has an impossible name")
    return name


def _runs(value: object) -> tuple[tuple[int, int], ...]:
    runs, end = [], -1
    for run in value if isinstance(value, list) else [value]:
        match run:
            case [int(first), int(count)] if first > end and count > 0:
                runs.append((first, count))
                end = first + count  # the number after it is not: then it would be one run
            case _:
                raise ValueError("runs of items do not decode")
    return tuple(runs)


def iso(milliseconds: int) -> str:
    """A time as it stands in a snapshot, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


class Snapshots:
    """The snapshots of one account in their folder. Everything here waits for a disk."""

    def __init__(self, folder: Path, account: str) -> None:
        self.folder, self.account = folder, check_account(account)

    def all(self) -> list[Named]:
        """By number, then hash: as their files are called; none is read."""
        found = map(_NAME.fullmatch, files.names(self.folder))
        return sorted(Named(int(match[1]), match[2]) for match in found if match)

    def load(self, named: Named) -> Snapshot:
        """Raises Damaged, Unavailable; NotStored when it was removed meanwhile."""
        return Snapshot.parse(self.account, named, files.read(self.folder / named.file))

    def add(self, snapshot: Snapshot) -> Named:
        """Durable on return; so *must* be all that it names before this is called."""
        text = snapshot.text()
        named = Named(snapshot.number, hash_of(text))
        files.write(self.folder / named.file, text)
        return named

    def keep(self, count: int) -> list[Named]:
        """Removes all but the newest. Those that are left."""
        found = self.all()
        for named in found[:-count]:
            files.remove(self.folder / named.file)
        with files.explained("write", self.folder):
            files.sync_folder(self.folder)
        return found[-count:]
