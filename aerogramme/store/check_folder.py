"""The steps of `check` for accounts in files."""

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import mkdtemp

from aerogramme.errors import BadConfiguration, Unavailable
from aerogramme.store.check_steps import NOT_ALLOWED, CheckFailed, Found, Work, use_account
from aerogramme.store.sqlite import SqliteStores

PROBE = ".probe-"
LEFT_SECONDS = 86_400  # a probe so old is of a check that was killed
# SQLite's log is shared memory and locks. Of these file systems some have neither between machines, and
# whether they have them on one machine depends on how they are mounted.
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs"}
ROOM_MIN, ROOM_GOOD = 64 << 20, 1 << 30  # bytes: the log of one account may grow to 16 MiB


class FolderCheck:
    def __init__(self, folder: Path, *, create: bool) -> None:
        self._folder, self._create = folder, create
        self._probe: Path | None = None

    def steps(self) -> Sequence[tuple[str, Work]]:
        return [
            ("the folder is there", self._there),
            ("it is its owner's only", self._private),
            ("it can be written to", self._writable),
            ("its file system keeps locks", self._locks),
            ("there is room", self._room),
            ("an account, as servers use it", self._account),
        ]

    def clean(self) -> None:
        if not self._folder.is_dir():
            return
        for path in self._folder.glob(f"{PROBE}*"):
            if path == self._probe or path.lstat().st_mtime + LEFT_SECONDS < time.time():
                try:
                    shutil.rmtree(path)
                except OSError as error:
                    raise CheckFailed(f"{path} is left behind: {error.strerror}", hint="remove it") from error

    def _there(self) -> Found:
        made = ""
        if self._create and not self._folder.exists():
            try:
                self._folder.mkdir(mode=0o700, parents=True)
            except OSError as error:
                raise self._refused("cannot be made", error) from error
            made = ", made just now"
        if not self._folder.is_dir():
            what = "is not a folder" if self._folder.exists() else "is missing"
            raise CheckFailed(
                f"{self._folder} {what}",
                hint="--create makes it, and so does the first account" if what == "is missing" else "",
                exit_code=BadConfiguration.exit_code,
            )
        return Found(f"{self._folder.resolve()}{made}")

    def _private(self) -> Found:
        status = self._folder.stat()
        mode = stat.S_IMODE(status.st_mode)
        text = f"mode {mode:04o}, owner {status.st_uid}"
        if status.st_uid != os.geteuid():
            return Found(
                text, f"run this check as the user that the server runs as; this is user {os.geteuid()}"
            )
        if mode & 0o077:
            return Found(text, f"chmod 700 {self._folder}: all in it is sealed, but sizes and times are not")
        return Found(text)

    def _writable(self) -> Found:
        try:
            self._probe = Path(mkdtemp(prefix=PROBE, dir=self._folder))
            written = self._probe / "file"
            with written.open("wb") as file:
                file.write(b"probe")
                file.flush()
                os.fsync(file.fileno())
            if written.read_bytes() != b"probe":
                raise CheckFailed("what was written is not what is read")
        except OSError as error:
            raise self._refused("cannot be written to", error) from error
        return Found("a file was written, synced and read back")

    def _locks(self) -> Found:
        assert self._probe is not None
        with ExitStack() as opened:
            file = self._probe / "locks.sqlite"
            one, other = (
                opened.enter_context(closing(sqlite3.connect(file, timeout=0, isolation_level=None)))
                for _ in range(2)
            )
            try:
                (mode,) = one.execute("PRAGMA journal_mode = WAL").fetchone()
                one.execute("CREATE TABLE probe (n)")
                one.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise self._no_locks(f"SQLite cannot work there: {error}") from error
            if mode != "wal":
                raise self._no_locks("SQLite's write-ahead log does not work there")
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:  # as it should be: database is locked
                pass
            else:
                raise self._no_locks("two have locked one file at once")
            one.execute("ROLLBACK")
        kind = file_system(self._folder.resolve())
        if kind in NETWORK:
            return Found(
                f"{kind}, and locks work on this machine",
                "only one machine may use it, as SQLite's log is shared memory; others: garage: or s3:",
            )
        return Found(kind)

    def _room(self) -> Found:
        status = os.statvfs(self._folder)
        free, share = status.f_bavail * status.f_frsize, status.f_bavail / max(status.f_blocks, 1)
        text = f"{free / 1e9:.1f} GB free, {share:.0%}"
        if free < ROOM_MIN or (status.f_files and not status.f_favail):
            raise CheckFailed(f"{text}: no mail can be taken", hint="make room, or move to a larger disk")
        return Found(text, "mail is refused for a time (4xx) once it is full" if free < ROOM_GOOD else "")

    def _account(self) -> Found:
        assert self._probe is not None
        probe = self._probe
        return use_account(lambda: SqliteStores(probe / "accounts"))

    def _refused(self, what: str, error: OSError) -> CheckFailed:
        denied = isinstance(error, PermissionError)
        return CheckFailed(
            f"{self._folder} {what}: {error.strerror}",
            hint="it must belong to the user that the server runs as" if denied else "",
            exit_code=NOT_ALLOWED if denied else Unavailable.exit_code,
        )

    def _no_locks(self, text: str) -> CheckFailed:
        return CheckFailed(
            f"{text} ({file_system(self._folder.resolve())})",
            hint="use a local disk, or garage: or s3:",
            exit_code=BadConfiguration.exit_code,
        )


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that a path is on, as Linux calls it; empty when that is not known."""
    found, kind = Path(), ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux, or no /proc here: nothing is said about it
        return ""
    for line in lines:
        _, point, each, *_ = line.split(" ")
        mounted = Path(point.encode("latin-1", "replace").decode("unicode_escape"))  # a space is \040
        if path.is_relative_to(mounted) and len(mounted.parts) >= len(found.parts):
            found, kind = mounted, each
    return kind
