"""`aerogramme mount` and `unmount`: how a mount begins and ends."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers import mounted as helper
from tests.helpers.mounted import PATIENCE, Mounts, filled, wait_for
from tests.helpers.server import ADDRESS, PASSWORD, aerogramme

LETTER = b"Subject: one\r\n\r\nText\r\n"


@pytest.fixture
def place():
    """An empty folder to mount at."""
    path = Path(tempfile.mkdtemp(prefix="mounted-"))
    yield path
    helper.unmount(path)
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def mount(data: Path, place: Path, *options: str, password: str = PASSWORD) -> subprocess.CompletedProcess:
    where = ["mount", ADDRESS, str(place), "--data", str(data), "--password-stdin", *options]
    return aerogramme(*where, stdin=password + "\n", check=False)


def processes(place: Path) -> list[int]:
    """Those that were started with this mountpoint."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and os.fsencode(place) in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def wait_until_ended(place: Path) -> None:
    give_up = time.monotonic() + PATIENCE
    while processes(place):
        assert time.monotonic() < give_up, "it goes on"
        time.sleep(0.01)


def test_in_the_background_until_it_is_unmounted(data: Path, place: Path) -> None:
    filled(data, "INBOX", [LETTER])
    done = mount(data, place)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    [name] = (place / "new").iterdir()
    again = mount(data, place)
    assert again.returncode == 78 and b"mounted" in again.stderr and b"aerogramme unmount" in again.stderr
    with name.open("rb"):  # who still uses it is no hindrance
        aerogramme("unmount", str(place))
    wait_until_ended(place)
    assert not any(place.iterdir())
    assert aerogramme("unmount", str(place), check=False).returncode == 78


def test_in_the_background_until_a_signal(data: Path, place: Path) -> None:
    assert mount(data, place, "--rw").returncode == 0
    [pid] = processes(place)
    assert os.getsid(pid) == pid  # of no terminal
    os.kill(pid, signal.SIGTERM)
    wait_until_ended(place)
    assert not any(place.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_unmounts(mounted: Mounts, number: int) -> None:
    made = mounted()
    made.process.send_signal(number)
    assert made.wait() == 0
    assert not any(made.path.iterdir())


def test_unmounting_ends_the_process(mounted: Mounts) -> None:
    made = mounted()
    helper.unmount(made.path)
    assert made.wait() == 0


@pytest.mark.parametrize("options", [[], ["--foreground"]])
def test_what_is_wrong_is_said_at_once(data: Path, place: Path, options: list[str]) -> None:
    wrong = mount(data, place, *options, password="not this one")
    assert wrong.returncode == 77 and wrong.stderr.startswith(b"aerogramme: error: the password is wrong")
    past = mount(data, place, "--at", "1999-01-01", *options)
    assert past.returncode == 66 and past.stderr.startswith(b"aerogramme: error: ")
    (place / "file").touch()
    full = mount(data, place, *options)
    assert full.returncode == 78 and b"not empty" in full.stderr
    missing = mount(data, place / "missing", *options)
    assert missing.returncode == 78 and b"mkdir" in missing.stderr
    assert mount(data, place / "file", *options).returncode == 78
    assert not processes(place)


ASLEEP = """#!{python}
# The mount of a machine that sleeps for half a day when a file goes.
import sys
from pathlib import Path
import trio
from aerogramme.errors import Outdated
from aerogramme_cli import mount
from aerogramme_cli.main import main

async def until_it_wakes(settings, account):
    while Path({awake!r}).exists():
        await trio.sleep(0.01)
    Path({awake!r}).touch()
    raise Outdated

mount._until_deleted = until_it_wakes
sys.exit(main())
"""


def test_an_account_that_is_too_old_is_mounted_anew(
    mounted: Mounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the same place, by the same process, and again."""
    program, awake = tmp_path / "program", tmp_path / "awake"
    program.write_text(ASLEEP.format(python=sys.executable, awake=str(awake)))
    program.chmod(0o700)
    awake.touch()
    monkeypatch.setattr(helper, "PROGRAM", str(program))
    filled(mounted.data, "INBOX", [LETTER])
    made = mounted("--rw")
    for n in range(1, 3):
        [file] = (made.path / "new").iterdir()
        awake.unlink()
        wait_for(awake)
        give_up = time.monotonic() + PATIENCE
        while made.log.read_text().count("mounted anew") < n or not file.exists():
            assert time.monotonic() < give_up, "it is not mounted anew"
            time.sleep(0.01)
        assert file.read_bytes() == LETTER.replace(b"\r\n", b"\n")
    assert made.stop() == 0
    assert not any(made.path.iterdir())


def test_options_that_exclude_each_other(data: Path, place: Path) -> None:
    assert mount(data, place, "--rw", "--at", "yesterday").returncode == 2
    assert mount(data, place, "--trash").returncode == 2
    nobody = aerogramme("mount", "bob@example.org", str(place), "--data", str(data), check=False)
    assert nobody.returncode == 67


def test_the_past(data: Path, mounted: Mounts) -> None:
    filled(data, "INBOX", [LETTER])
    then = time.time()
    before = mounted("--rw")
    [file] = (before.path / "new").iterdir()
    while time.time() - then < 0.01:  # the past is told to the millisecond
        pass
    file.rename(before.path / ".Archive" / "cur" / f"{file.name}:2,S")
    filled(data, "Later", [LETTER])
    past = mounted(
        "--at", time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(then)) + f"{then % 1:.3f}"[1:] + "Z"
    )
    assert [file.name] == [f.name for f in (past.path / "new").iterdir()]
    assert not any((past.path / ".Archive" / "cur").iterdir())
    assert not (past.path / ".Later").exists()
    with pytest.raises(OSError, match="Read-only"):
        (past.path / "new" / file.name).unlink()


def test_a_password_that_is_for_reading_only(data: Path, place: Path) -> None:
    code = aerogramme(
        *("account", "app-password", "create", ADDRESS, "backup", "--read-only", "--data", str(data)),
        "--password-stdin",
        stdin=PASSWORD + "\n",
    ).stdout.decode()
    refused = mount(data, place, "--rw", password=code.strip())
    assert refused.returncode == 65 and b"without --rw" in refused.stderr
    assert mount(data, place, password=code.strip()).returncode == 0
    # and when it is revoked, the mount ends
    aerogramme(
        *("account", "app-password", "revoke", ADDRESS, "backup", "--data", str(data), "--no-rotate"),
        "--password-stdin",
        stdin=PASSWORD + "\n",
    )
    wait_until_ended(place)
    assert not any(place.iterdir())


@pytest.mark.parametrize("now", [[], ["--now"]])
def test_an_account_that_is_deleted(mounted: Mounts, now: list[str]) -> None:
    filled(mounted.data, "INBOX", [LETTER])
    made = mounted("--rw")
    [file] = (made.path / "new").iterdir()
    aerogramme("account", "delete", ADDRESS, "--data", str(mounted.data), "--yes", *now)
    assert made.wait() == 67
    wait_for(file, there=False)
    assert "deleted" in made.log.read_text() or now
