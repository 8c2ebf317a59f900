"""A real mount of an account, in a process of its own, for the tests that do what programs do."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import trio

from aerogramme.config import Config
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.contents import NewMessage
from aerogramme.seal import Argon2Params, Secret
from aerogramme.users.directory import User
from aerogramme_cli import common
from aerogramme_cli.account import make_account
from tests.helpers.server import ADDRESS, PASSWORD, PROGRAM

CHEAP = Argon2Params(memory=8, passes=1, lanes=1)  # a password that takes no time; never outside of tests
STAY = ("--foreground", "--password-stdin")
PATIENCE = 120.0  # seconds until what the kernel or another process has to do is taken for not done


def missing() -> str:
    """What this machine lacks for a mount; nothing if it can."""
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse"
    if shutil.which("fusermount3") is None:
        return "no fusermount3: apt-get install fuse3"
    return "" if find_spec("pyfuse3") else "no pyfuse3: make mount"


def cheap_account(data: Path, address: str = ADDRESS) -> None:
    """A data folder with an account whose password costs nothing to try. For one that is not running."""

    async def make() -> None:
        settings = Config.for_data(data)
        async with common.open_stores(settings) as stores:
            user = User(address, os.urandom(16).hex())
            await make_account(stores, common.directory(settings), user, Secret(PASSWORD), params=CHEAP)

    trio.run(make)


@contextlib.asynccontextmanager
async def opened(data: Path, address: str = ADDRESS):
    """The account of a data folder, in this process, beside whoever has it open."""
    settings = Config.for_data(data)
    async with common.open_account(settings, common.user_of(settings, address), Secret(PASSWORD)) as account:
        yield account


async def put(account: Account, mailbox: str, letters: Sequence[bytes], flags=(), date=None):
    """Appends letters in one entry."""
    messages = []
    for letter in letters:
        upload = account.upload()
        await upload.write(letter)
        messages.append(NewMessage(upload, flags, date))
    return await account.append(mailbox, messages)


def filled(data: Path, mailbox: str, letters: Sequence[bytes], flags=(), date=None) -> None:
    """The same from a test that is not async; makes the mailbox if there is none."""

    async def fill() -> None:
        async with opened(data) as account:
            if mailbox not in account.state.names:
                await account.create_mailbox(mailbox)
            for at in range(0, len(letters), 500):
                await put(account, mailbox, letters[at : at + 500], flags, date)

    trio.run(fill)


def unmount(path: Path) -> None:
    """Whatever state it is in; also when it is not mounted."""
    subprocess.run(["fusermount3", "-u", "-z", "--", str(path)], capture_output=True, check=False)


class Mount:
    """`aerogramme mount --foreground`, ready when this is made. `path` is the mountpoint, `log` a file."""

    def __init__(self, data: Path, path: Path, log: Path, *options: str) -> None:
        self.data, self.path, self.log = data, path, log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [PROGRAM, "mount", ADDRESS, str(path), "--data", str(data), *STAY, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(PASSWORD.encode() + b"\n")
        self.process.stdin.close()
        if not self.process.stdout.readline():
            raise AssertionError(f"the mount ended ({self.process.wait(120)}): {log.read_text()}")

    def kill(self) -> None:
        """SIGKILL: what was mounted stays as it is until somebody unmounts it."""
        self.process.kill()
        self._ended()

    def stop(self) -> int:
        """SIGTERM; the exit code. Nothing is mounted after that."""
        self.process.terminate()
        return self._ended()

    def wait(self) -> int:
        """Until the mount ends by itself."""
        return self._ended()

    def _ended(self) -> int:
        assert self.process.stdout is not None
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return code


class Mounts:
    """Mounts of one test: calling it makes one. `data` is a data folder with the account of ADDRESS."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._made: list[Mount] = []

    def __call__(self, *options: str, data: Path | None = None, path: Path | None = None) -> Mount:
        """`options`: those of `aerogramme mount`. `path`: an empty folder, by default one of its own, which
        is outside of those that pytest removes."""
        path = path or Path(tempfile.mkdtemp(prefix="mounted-"))
        log = self.data.parent / f"{self.data.name}-{path.name}.log"
        try:
            mount = Mount(data or self.data, path, log, *options)
        except BaseException:
            _remove(path)
            raise
        self._made.append(mount)
        return mount

    def end(self) -> None:
        """All are unmounted, and their processes have ended."""
        for mount in self._made:
            unmount(mount.path)
            if mount.process.poll() is None:
                try:
                    mount.wait()
                except subprocess.TimeoutExpired:
                    mount.kill()
            _remove(mount.path)


def _remove(path: Path) -> None:
    unmount(path)
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()  # only ever an empty folder: never what is mounted


@contextlib.contextmanager
def mounts(data: Path) -> Iterator[Mounts]:
    made = Mounts(data)
    try:
        yield made
    finally:
        made.end()


def wait_for(path: Path, there: bool = True) -> None:
    """Until a name is there, or is not. What another process changes shows at once."""
    give_up = time.monotonic() + PATIENCE
    while path.exists() != there:
        assert time.monotonic() < give_up, f"{path} is {'not there' if there else 'still there'}"
        time.sleep(0.002)
