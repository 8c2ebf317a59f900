"""A folder of backups: one folder an account in it, with its volumes and snapshots."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aerogramme.backup import files
from aerogramme.backup.snapshot import Named, Snapshot, Snapshots
from aerogramme.backup.volume import Volumes
from aerogramme.errors import BadConfiguration, Damaged, NoSuchUser, NotStored
from aerogramme.store.port import check_account

MARKER = "aerogramme-backup"
TEXT = b"aerogramme backup 1\n"


class Backup:
    """The backup of one account. Everything here waits for a disk."""

    def __init__(self, folder: Path, account: str) -> None:
        self.folder, self.account = folder / check_account(account), account
        self.volumes = Volumes(self.folder / "volumes", account)
        self.snapshots = Snapshots(self.folder / "snapshots", account)

    def make(self) -> None:
        for folder in (self.folder, self.volumes.folder, self.snapshots.folder):
            files.make_folder(folder)

    def tidy(self) -> None:
        """Removes what runs that were cut off have left. Only while it is `locked`."""
        for folder in (self.volumes.folder, self.snapshots.folder):
            files.tidy(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While it is written to. Raises Unavailable when another process does so."""
        with files.locked(self.folder / "lock"):
            yield

    @contextmanager
    def read(self) -> Iterator[None]:
        """While it is read: no run removes anything meanwhile."""
        with files.shared(self.folder / "reading"):
            yield

    @contextmanager
    def unread(self) -> Iterator[bool]:
        """Whether nobody reads it, and so things may be removed; nobody begins to meanwhile."""
        with files.alone(self.folder / "reading") as alone:
            yield alone

    def newest(self) -> Snapshot:
        """Of those that can be read. Raises NotStored when none was ever finished; Damaged when all are."""
        damage: Damaged | None = None
        for named in reversed(self.snapshots.all()):
            try:
                return self.snapshots.load(named)
            except Damaged as error:
                damage = damage or error
        raise damage or NotStored("no backup of it was ever finished")

    def at(self, taken: int) -> Named:
        """The newest snapshot that was taken up to a time (unix milliseconds). Raises NotStored; Damaged."""
        for named in reversed(self.snapshots.all()):
            try:
                if self.snapshots.load(named).taken <= taken:
                    return named
            except Damaged as error:
                raise Damaged(
                    f"{error}, so nobody knows when it was taken",
                    hint="give a number: `backup list` has them",
                ) from None
        raise NotStored("no snapshot is as old as that")

    def numbered(self, number: int) -> Named:
        """Raises NotStored."""
        for named in self.snapshots.all():
            if named.number == number:
                return named
        raise NotStored(f"there is no snapshot {number}")


def begin(folder: Path) -> None:
    """Makes a folder one of backups, if it is empty or not there. Raises BadConfiguration when it is
    something else."""
    with files.explained("make", folder):
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        files.make_folder(each)
    try:
        check(folder)
    except NotStored:
        if any(name != MARKER + files.NEW for name in files.names(folder)):
            raise BadConfiguration(
                f"{folder} has other things in it", hint="give a folder that is empty, or not there yet"
            ) from None
        files.write(folder / MARKER, TEXT)


def check(folder: Path) -> None:
    """Raises NotStored when the folder is not one of backups; BadConfiguration when it is a later kind."""
    try:
        text = files.read(folder / MARKER)
    except NotStored:
        raise NotStored(f"{folder} is no folder of backups", hint="the DEST of `aerogramme backup`") from None
    if text != TEXT:
        raise BadConfiguration(f"{folder} is of a kind that this version does not know")


def accounts(folder: Path) -> list[str]:
    """The accounts that have a backup there, also one that was never finished; sorted."""
    check(folder)
    found = []
    for name in files.names(folder):
        try:
            found.append(check_account(name))
        except NoSuchUser:
            continue
    return sorted(found)
