"""`aerogramme mount` and `unmount`: an account as a folder."""

import errno
import logging
import logging.handlers
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme.errors import AerogrammeError, BadConfiguration, NoSuchUser, Outdated, Refused
from aerogramme.faults import stack
from aerogramme_cli import common, times
from aerogramme_cli.common import Login
from aerogramme_cli.options import Opening, grouped
from aerogramme_cli.serve import set_up_log

if TYPE_CHECKING:
    from aerogramme.mailbox.account import Account

log = logging.getLogger(__name__)

SYSLOG = "/dev/log"
READY = b"\0"  # what the process in the background says once the mount can be used; else it says why not


class Layout(StrEnum):
    """How mailboxes are folders."""

    PLUSPLUS = "maildir++"
    FS = "fs"


@grouped
def mount(
    asked: Opening,
    mountpoint: Annotated[Path, typer.Argument(metavar="MOUNTPOINT", help="An empty folder.")],
    writable: Annotated[
        bool, typer.Option("--rw", help="Let programs deliver, flag, move and remove mail. Else read-only.")
    ] = False,
    trash: Annotated[
        bool, typer.Option("--trash", help="With --rw: what is removed goes to the mailbox for that.")
    ] = False,
    layout: Annotated[
        Layout, typer.Option(help="maildir++: .Folder.Sub, as Dovecot has it; fs: a tree of folders.")
    ] = Layout.PLUSPLUS,
    keep_pages: Annotated[
        bool,
        typer.Option("--page-cache", help="Let the kernel keep what was read: faster again, and plain mail."),
    ] = False,
    moment: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help=f"The past, read-only: {times.FORMS}.")
    ] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, and log to standard error; Ctrl-C unmounts.")
    ] = False,
) -> None:
    """Show an account as a Maildir. So mutt, notmuch, grep and backups work on it.

    It is live: mail that arrives, and what other sessions change, shows at once. Nothing decrypted touches
    the disk. It goes on in the background until `aerogramme unmount`, or a signal. Asks for the password.

    \b
    Examples:
      aerogramme mount alice@example.org ~/mail --data ./mail
      aerogramme mount alice@example.org ~/mail --data ./mail --rw --trash
      aerogramme mount alice@example.org ~/old --data ./mail --at yesterday
    """
    check_can_mount(mountpoint)
    if moment is not None and writable:
        raise typer.BadParameter("--at shows the past, which nobody changes: it does not go with --rw")
    if trash and not writable:
        raise typer.BadParameter("--trash goes with --rw")
    at = None if moment is None else times.parse_time(moment, time.time(), UTC)
    login = asked.login()
    wanted = _Wanted(mountpoint.absolute(), writable, trash, layout, keep_pages, at)
    if foreground:
        set_up_log(login.settings.log_level)
        common.run(_mount, login, wanted, lambda: typer.echo(f"mounted at {mountpoint}"))
    else:
        _in_background(login, wanted)


def unmount(
    mountpoint: Annotated[Path, typer.Argument(metavar="MOUNTPOINT", help="Where it is mounted.")],
) -> None:
    """Take a mounted account away again. Programs that still use it are no hindrance.

    \b
    Example:
      aerogramme unmount ~/mail
    """
    program = shutil.which("fusermount3")
    if program is None:
        raise BadConfiguration("fusermount3 is not installed", hint="apt-get install fuse3")
    done = subprocess.run(  # noqa: S603 - a program of the system, and a path that is no option
        [program, "-u", "-z", "--", str(mountpoint)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        if not os.path.ismount(mountpoint):
            raise BadConfiguration(f"nothing is mounted at {mountpoint}")
        words = done.stderr.strip().rpartition("fusermount3: ")[2]
        raise BadConfiguration(words or f"{mountpoint} cannot be unmounted")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be mounted, and how."""

    mountpoint: Path
    writable: bool
    trash: bool
    layout: Layout
    keep_pages: bool  # in the kernel's page cache
    at: float | None  # unix seconds


def check_can_mount(mountpoint: Path) -> None:
    """Raises BadConfiguration, with what to install or do, where nothing can be mounted."""
    if not os.path.exists("/dev/fuse") or shutil.which("fusermount3") is None:
        raise BadConfiguration(
            "this machine has no FUSE", hint="apt-get install fuse3; a container needs --device /dev/fuse too"
        )
    if find_spec("pyfuse3") is None:
        raise BadConfiguration(
            "pyfuse3 is not installed",
            hint="apt-get install libfuse3-dev pkg-config gcc python3-dev, and in the copy of the repository "
            f"{sys.executable} -m pip install '.[mount]'",
        )
    try:
        os.statvfs(mountpoint)  # stat(2) may be answered by the kernel, from memory
    except OSError as error:
        if error.errno == errno.ENOTCONN:  # a mount whose process was killed
            unmount(mountpoint)
    if not mountpoint.is_dir():
        raise BadConfiguration(f"{mountpoint} is no folder", hint=f"mkdir {mountpoint}")
    if os.path.ismount(mountpoint):
        raise BadConfiguration(
            f"something is mounted at {mountpoint} already", hint=f"aerogramme unmount {mountpoint}"
        )
    if any(mountpoint.iterdir()):
        raise BadConfiguration(f"{mountpoint} is not empty", hint="what is in it would be hidden")


async def _mount(login: Login, wanted: _Wanted, mounted: Callable[[], None]) -> None:
    """Shows the account until it is unmounted. One that is too old to go on with, as this machine was asleep
    for half a day, is opened and mounted anew."""
    while True:
        try:
            await _mount_once(login, wanted, mounted)
            return
        except Outdated:
            log.info("the account is mounted anew: what is known of it is too old")


async def _until_deleted(settings: Config, account: "Account") -> None:
    """Raises NoSuchUser once the account was deleted; its policy is that of the users file until then."""
    import trio

    from aerogramme.housekeeping import NOTICE

    directory = common.directory(settings)
    while True:
        user = directory.by_account(account.id)
        if user is None or user.deleted is not None:
            raise NoSuchUser("the account was deleted")
        account.policy = user.policy(settings.policy)
        await trio.sleep(NOTICE)


async def _mount_once(login: Login, wanted: _Wanted, mounted: Callable[[], None]) -> None:
    from aerogramme_fuse.mount import mount

    async with common.open_at(login, wanted.at) as account:
        if wanted.writable and all(slot.read_only for slot in account.holding.slots.values()):
            raise Refused("This password is for reading only", hint="mount without --rw")
        await mount(
            account,
            wanted.mountpoint,
            writable=wanted.writable,
            trash=wanted.trash,
            layout=wanted.layout.value,
            keep_pages=wanted.keep_pages,
            seen=common.seen(login.settings),
            beside=[partial(_until_deleted, login.settings, account)],
            mounted=mounted,
        )


def _in_background(login: Login, wanted: _Wanted) -> None:
    """Goes on in a process of its own, of no terminal. Returns once the mount can be used; what is wrong
    before that ends this command as in the foreground."""
    reading, writing = os.pipe()
    if os.fork():  # before any thread has begun
        os.close(writing)
        with os.fdopen(reading, "rb") as said:
            answer = said.read()
        if answer != READY:
            text, _, code = answer.decode(errors="replace").rpartition("\n")
            typer.echo(text or "aerogramme: error: the mount has ended", err=True)
            raise typer.Exit(int(code) if code.isdecimal() else 70)
        return
    os.close(reading)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    if os.path.exists(SYSLOG):
        lines = logging.handlers.SysLogHandler(SYSLOG, logging.handlers.SysLogHandler.LOG_MAIL)
        lines.setFormatter(logging.Formatter("aerogramme: %(levelname)s %(message)s"))
        logging.basicConfig(level=login.settings.log_level.upper(), handlers=[lines])

    waiting = True  # for how the mount begins; afterwards there is only the log

    def tell(text: bytes) -> None:
        nonlocal waiting
        if waiting:
            with suppress(BrokenPipeError):  # who waited was interrupted
                os.write(writing, text)
            os.close(writing)
            waiting = False

    try:
        common.run(_mount, login, wanted, lambda: tell(READY))
    except AerogrammeError as error:
        log.error("the mount has ended: %s %s", error, error.hint)
        hint = f"\naerogramme: hint: {error.hint}" if error.hint else ""
        tell(f"aerogramme: error: {error}{hint}\n{error.exit_code}".encode())
        os._exit(error.exit_code)
    except BaseException as error:  # the top of a process that has no terminal
        log.error("the mount has ended: %s", stack(error))
        tell(f"{stack(error)}\n70".encode())
        os._exit(70)
    os._exit(0)
