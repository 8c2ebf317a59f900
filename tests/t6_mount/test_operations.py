"""What the kernel asks of a mount, each with the calls of the system that programs make."""

import ctypes
import errno
import mmap
import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from mailbox import Maildir
from pathlib import Path

import pytest

from tests.helpers.mounted import PATIENCE, Mounts, filled, wait_for

LETTER = b"Subject: one\r\n\r\nText\r\n"
FILE = LETTER.replace(b"\r\n", b"\n")


@contextmanager
def fails(number: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert errno.errorcode[caught.value.errno] == errno.errorcode[number]


def the(folder: Path) -> Path:
    """The only file there."""
    [file] = folder.iterdir()
    return file


def deliver(root: Path, content: bytes, name: str = "x", to: str = "new") -> Path:
    """As a program does: its path is where the program believes it to be."""
    tmp, target = root / "tmp" / name, root / to / name
    tmp.write_bytes(content)
    os.rename(tmp, target)
    return target


def test_reading(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [LETTER], date=1_500_000_000)
    mount = mounted()
    file = the(mount.path / "new")
    assert file.read_bytes() == FILE
    status = file.stat()
    assert (status.st_size, status.st_nlink, status.st_mtime) == (len(FILE), 1, 1_500_000_000)
    assert stat.S_IMODE(status.st_mode) == 0o400 and status.st_uid == os.getuid()
    assert {p.name for p in mount.path.iterdir()} >= {
        "cur",
        "new",
        "tmp",
        ".Archive",
        ".Sent",
        "subscriptions",
    }
    assert not any((mount.path / "cur").iterdir())
    assert mount.stop() == 0
    assert not any(mount.path.iterdir())


def test_nothing_is_written_to_what_is_read_only(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [LETTER])
    mount = mounted()
    file = the(mount.path / "new")
    changes = [
        lambda: file.unlink(),
        lambda: file.rename(mount.path / "cur" / f"{file.name}:2,S"),
        lambda: file.rename(mount.path / ".Archive" / "cur" / file.name),
        lambda: (mount.path / "tmp" / "x").write_bytes(b""),
        lambda: (mount.path / ".New").mkdir(),
        lambda: (mount.path / ".Archive").rmdir(),
        lambda: os.link(file, mount.path / "cur" / "x"),
        lambda: os.utime(file),
        lambda: file.open("r+b"),
        lambda: file.chmod(0o600),
    ]
    for change in changes:
        with fails(errno.EROFS):
            change()
    assert the(mount.path / "new") == file


def test_delivering_by_rename_and_by_link(mounted: Mounts) -> None:
    mount = mounted("--rw")
    believed = deliver(mount.path, FILE)
    assert believed.read_bytes() == FILE and not any((mount.path / "tmp").iterdir())
    real = the(mount.path / "new")
    assert real.name != "x" and real.stat().st_ino == believed.stat().st_ino
    tmp = mount.path / "tmp" / "y"
    tmp.write_bytes(LETTER)  # also with lines as mail has them
    os.utime(tmp, (1, 1_400_000_000))
    target = mount.path / ".Archive" / "cur" / "y:2,FS"
    os.link(tmp, target)
    assert target.read_bytes() == FILE
    tmp.unlink()
    delivered = the(mount.path / ".Archive" / "cur")
    assert delivered.name.endswith(":2,FS") and delivered.read_bytes() == FILE
    assert delivered.stat().st_mtime == 1_400_000_000
    # and it is there for who comes after
    assert mount.stop() == 0
    again = mounted()
    assert (again.path / "new" / real.name).read_bytes() == FILE
    assert the(again.path / ".Archive" / "cur").name == delivered.name


def test_a_time_that_is_set_after_delivery(mounted: Mounts) -> None:
    """By the same program, as neomutt does; what is open by then, and the name that it gave, stay good."""
    mount = mounted("--rw")
    believed = deliver(mount.path, FILE, "x:2,S", "cur")
    with believed.open("rb") as opened:
        by_another("touch", "-d", "@1300000000", believed)
        assert believed.stat().st_mtime != 1_300_000_000
        os.utime(believed, (1, 1_400_000_000))
        assert believed.stat().st_mtime == the(mount.path / "cur").stat().st_mtime == 1_400_000_000
        assert opened.read() == FILE == believed.read_bytes() == the(mount.path / "cur").read_bytes()
    assert the(mount.path / "cur").name.startswith("1400000000.")
    assert "U=2" in the(mount.path / "cur").name
    assert mount.stop() == 0
    assert the(mounted().path / "cur").stat().st_mtime == 1_400_000_000


def test_delivering_in_pieces_and_over_what_is_there(mounted: Mounts) -> None:
    mount = mounted("--rw")
    tmp = mount.path / "tmp" / "x"
    tmp.write_bytes(b"a first and much longer text that goes")
    tmp.write_bytes(b"Subject: pieces\n\n")  # O_TRUNC
    with tmp.open("ab") as file:  # O_APPEND
        file.write(b"one\n")
        file.flush()
        file.write(b"two\n")
        file.flush()
        os.ftruncate(file.fileno(), tmp.stat().st_size - len(b"two\n"))
    with tmp.open("r+b") as file:
        file.seek(len(b"Subject: "))
        file.write(b"PIECES")
    other = mount.path / "tmp" / "y"
    other.write_bytes(b"goes")
    os.replace(tmp, other)
    os.rename(other, mount.path / "new" / "y")
    assert the(mount.path / "new").read_bytes() == b"Subject: PIECES\n\none\n"


def test_one_message_does_not_take_the_place_of_another(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [LETTER, LETTER + b"2\r\n"])
    mount = mounted("--rw")
    one, two = sorted((mount.path / "new").iterdir())
    with fails(errno.EEXIST):
        os.replace(one, two)
    tmp = mount.path / "tmp" / "x"
    tmp.write_bytes(b"Subject: three\n\n")
    with fails(errno.EEXIST):
        os.replace(tmp, two)
    with fails(errno.EEXIST):
        os.link(tmp, two)
    # Nor does it hide it, if its flags are others.
    os.rename(tmp, mount.path / "cur" / f"{two.name}:2,S")
    assert sorted((mount.path / "new").iterdir()) == [one, two]
    assert two.read_bytes() == FILE + b"2\n"
    assert the(mount.path / "cur").read_bytes() == b"Subject: three\n\n"


def test_flags(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [LETTER], flags=["\\Flagged", "$Label1"])
    mount = mounted("--rw")
    file = the(mount.path / "cur")
    assert file.name.endswith(":2,Fa")
    assert (mount.path / "dovecot-keywords").read_text() == "0 $Label1\n"
    seen = file.with_name(file.name.replace("Fa", "RS"))
    file.rename(seen)
    assert not file.exists() and seen.read_bytes() == FILE
    assert seen.stat().st_ino == the(mount.path / "cur").stat().st_ino
    mount.stop()
    assert the(mounted().path / "cur").name == seen.name


def test_moving(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [LETTER], flags=["\\Seen"])
    mount = mounted("--rw")
    file = the(mount.path / "cur")
    with file.open("rb") as opened:
        file.rename(mount.path / ".Archive" / "cur" / file.name)
        assert opened.read() == FILE
    assert not any((mount.path / "cur").iterdir())
    moved = the(mount.path / ".Archive" / "cur")
    assert moved.read_bytes() == FILE and moved.name.endswith(":2,S")
    assert (mount.path / ".Archive" / "cur" / file.name).read_bytes() == FILE  # the name that it was given


def test_removing(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [LETTER, LETTER])
    mount = mounted("--rw")
    one, two = (mount.path / "new").iterdir()
    one.unlink()
    assert the(mount.path / "new") == two
    assert not any((mount.path / ".Trash" / "new").iterdir())
    mount.stop()
    mount = mounted("--rw", "--trash")
    the(mount.path / "new").unlink()
    assert not any((mount.path / "new").iterdir())
    the(mount.path / ".Trash" / "new").unlink()
    assert not any((mount.path / ".Trash" / "new").iterdir())


def test_what_is_open_can_be_read_when_it_has_gone(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [b"Subject: long\r\n\r\n" + b"line\r\n" * 100_000])
    mount = mounted("--rw")
    file = the(mount.path / "new")
    with file.open("rb") as opened, file.open("rb") as begun:
        begun.read(10)
        file.unlink()
        assert os.fstat(opened.fileno()).st_size == len(opened.read()) == 15 + 5 * 100_000
        begun.seek(0)
        assert begun.read() == b"Subject: long\n\n" + b"line\n" * 100_000
    with fails(errno.ENOENT):
        file.stat()


def make(folder: Path) -> None:
    """A new folder of mail, as programs make one."""
    folder.mkdir()
    for part in ("cur", "new", "tmp"):
        (folder / part).mkdir()


def by_another(*command: str | Path) -> str:
    """What another program says, which is no part of this one."""
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=PATIENCE, process_group=0
    ).stdout


def test_folders(mounted: Mounts) -> None:
    mount = mounted("--rw")
    new = mount.path / ".Work.Entw&APw-rfe"
    make(new)
    assert {p.name for p in new.iterdir()} >= {"cur", "new", "tmp", "maildirfolder"}
    assert (mount.path / ".Work").is_dir()  # IMAP makes the levels above, too
    with fails(errno.EEXIST):
        new.mkdir()
    with fails(errno.EEXIST):
        (new / "cur").mkdir()
    deliver(new, FILE)
    with fails(errno.ENOTEMPTY):
        new.rmdir()
    the(new / "new").unlink()
    (new / "tmp" / "lock").touch()
    with fails(errno.ENOTEMPTY):
        new.rmdir()
    (new / "tmp" / "lock").unlink()
    renamed = mount.path / ".Work.Other"
    new.rename(renamed)
    assert not new.exists() and renamed.is_dir()
    renamed.rmdir()
    assert not renamed.exists()
    for name in ("plain", ".Work/inner", ".Work/cur/inner", ".a&AGE-", ".x.", ".&"):
        with fails(errno.EPERM if "/cur" in name else errno.EINVAL):
            (mount.path / name).mkdir()
    with fails(errno.EPERM):
        (mount.path / "cur").rmdir()
    with fails(errno.EPERM):
        (mount.path / "dovecot-uidlist").unlink()
    with fails(errno.EPERM):
        (mount.path / ".Sent" / "cur").rename(mount.path / ".Sent" / "other")


def test_a_folder_is_empty_to_who_makes_it(mounted: Mounts) -> None:
    """As on a disk; all others find it whole."""
    mount = mounted("--rw")
    new = mount.path / ".New"
    new.mkdir()
    parts = {"cur", "new", "tmp"}
    assert parts.isdisjoint(p.name for p in new.iterdir()) and not (new / "cur").exists()
    assert parts < set(by_another("ls", new).split())
    assert not (new / "cur").exists()
    (new / "cur").mkdir()
    with fails(errno.EEXIST):
        (new / "cur").mkdir()
    assert parts & {p.name for p in new.iterdir()} == {"cur"}
    threads = [threading.Thread(target=(new / part).mkdir) for part in ("new", "tmp")]
    for thread in threads:  # of the same program
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert parts < {p.name for p in new.iterdir()}
    # With mail in it, it is whole to all.
    (mount.path / ".Mail").mkdir()
    by_another("sh", "-c", "touch $0/tmp/x && mv $0/tmp/x $0/new/", mount.path / ".Mail")
    assert parts < {p.name for p in (mount.path / ".Mail").iterdir()}
    # A program that has made another folder is somebody else again.
    by_another("mkdir", mount.path / ".Other", mount.path / ".Other" / "cur")
    assert parts < {p.name for p in (mount.path / ".Other").iterdir()}
    # A script is one program, whatever it runs.
    by_another(
        "sh", "-ec", "mkdir $0; test ! -e $0/cur; mkdir $0/cur; mkdir $0/new $0/tmp", mount.path / ".Sh"
    )
    assert parts < {p.name for p in (mount.path / ".Sh").iterdir()}
    box = Maildir(mount.path / ".Python", create=True)
    box.add(FILE)
    [key] = box.keys()
    assert box.get_bytes(key) == FILE
    assert mount.stop() == 0
    again = mounted()
    for name in (".New", ".Other", ".Python"):
        assert parts < {p.name for p in (again.path / name).iterdir()}


def test_a_folder_is_removed_with_all_that_is_in_it(mounted: Mounts) -> None:
    filled(mounted.data, "Old", [LETTER] * 3)
    filled(mounted.data, "Old", [LETTER], ["\\Seen"])
    mount = mounted("--rw", "--trash")
    old = mount.path / ".Old"
    with fails(errno.ENOTEMPTY):
        (old / "cur").rmdir()
    by_another("rm", "-r", old)
    assert not old.exists()
    trash = mount.path / ".Trash"
    assert len([*(trash / "new").iterdir(), *(trash / "cur").iterdir()]) == 4
    shutil.rmtree(mount.path / ".Archive")
    assert mount.stop() == 0
    again = mounted()
    assert not (again.path / ".Old").exists() and not (again.path / ".Archive").exists()


def test_what_is_removed_of_a_folder_comes_again_with_mail(mounted: Mounts) -> None:
    mount = mounted("--rw")
    folder = mount.path / ".Archive"
    there = {p.name for p in folder.iterdir()}
    for name in ("cur", "new"):
        (folder / name).rmdir()
    (folder / "dovecot-uidlist").unlink()
    assert {p.name for p in folder.iterdir()} == there - {"cur", "new", "dovecot-uidlist"}
    with fails(errno.ENOENT):
        (folder / "new").stat()
    with fails(errno.ENOENT):
        (folder / "cur").rmdir()
    (folder / "cur").mkdir()
    assert not any((folder / "cur").iterdir())
    (folder / "dovecot-uidlist").write_text("it knows better")
    assert (folder / "dovecot-uidlist").read_text().startswith("3 V")
    filled(mounted.data, "Archive", [LETTER])
    wait_for(folder / "new")
    assert the(folder / "new").read_bytes() == FILE
    assert {p.name for p in folder.iterdir()} == there


def test_folders_as_a_tree(mounted: Mounts) -> None:
    mount = mounted("--rw", "--layout", "fs")
    inner = mount.path / "Work" / "2024.q1" / "b&w"
    inner.parent.mkdir(parents=True)
    make(inner)
    deliver(inner, FILE)
    assert the(inner / "new").read_bytes() == FILE
    with fails(errno.ENOTEMPTY):
        (mount.path / "Work").rmdir()
    (mount.path / "Work" / "2024.q1").rename(mount.path / "Old")
    assert the(mount.path / "Old" / "b&w" / "new").read_bytes() == FILE
    (mount.path / "Work").rmdir()
    assert not (mount.path / "Work").exists()
    with fails(errno.EINVAL):
        (mount.path / "&AGE-").mkdir()  # a
    with fails(errno.EINVAL):
        (mount.path / "INBOX").mkdir()  # it is at the root


def test_locks_of_programs(mounted: Mounts) -> None:
    mount = mounted("--rw")
    lock, own = mount.path / "x.lock", mount.path / "x.123"
    os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    with fails(errno.EEXIST):
        os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    own.write_bytes(b"123")
    with fails(errno.EEXIST):
        os.link(own, lock)
    lock.unlink()
    os.link(own, lock)
    assert own.stat().st_nlink == lock.stat().st_nlink == 2 and lock.read_bytes() == b"123"
    own.unlink()
    assert lock.stat().st_nlink == 1 and lock.read_bytes() == b"123"
    assert lock in mount.path.iterdir()
    with lock.open("rb") as opened:
        lock.unlink()
        assert opened.read() == b"123"
    assert not lock.exists()


def test_files_that_are_no_mail_in_folders_of_mail(mounted: Mounts) -> None:
    mount = mounted("--rw")
    with fails(errno.EPERM):
        (mount.path / "cur" / "x").write_bytes(FILE)
    hidden = mount.path / "cur" / ".1.x.aBcDe"  # as rsync does
    hidden.write_bytes(FILE)
    assert list((mount.path / "cur").iterdir()) == [hidden]
    hidden.rename(mount.path / "cur" / "1.x:2,S")
    assert the(mount.path / "cur").read_bytes() == FILE
    with fails(errno.EPERM):
        the(mount.path / "cur").rename(hidden)
    with fails(errno.EPERM):
        the(mount.path / "cur").rename(mount.path / "tmp" / "x")


def test_what_a_message_cannot_do(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [LETTER])
    mount = mounted("--rw")
    file = the(mount.path / "new")
    with fails(errno.EPERM):
        file.open("r+b")
    with fails(errno.EPERM):
        os.truncate(file, 3)
    with fails(errno.EPERM):
        os.link(file, mount.path / ".Archive" / "new" / "copy")
    os.utime(file, (1, 1))  # part of many a copy: no failure, and no change
    file.chmod(0o640)
    assert file.stat().st_mtime != 1 and the(mount.path / "new") == file
    with fails(errno.ENOSYS):
        os.mkfifo(mount.path / "tmp" / "fifo")
    with fails(errno.ENOSYS):
        os.symlink("x", mount.path / "tmp" / "link")


@pytest.mark.parametrize("keeps", [False, True])
def test_the_kernel_keeps_what_was_read_only_if_it_may(mounted: Mounts, keeps: bool) -> None:
    filled(mounted.data, "INBOX", [b"Subject: long\r\n\r\n" + b"line\r\n" * 10_000])
    file = the(mounted(*(["--page-cache"] if keeps else [])).path / "new")
    assert len(file.read_bytes()) > 5 * 10_000
    with file.open("rb") as opened:
        assert pages_in_memory(opened.fileno()) == ({1} if keeps else {0})


def pages_in_memory(file: int) -> set[int]:
    """Whether pages of a file are there (1) or not (0): mincore(2)."""
    with mmap.mmap(file, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        first = ctypes.c_char.from_buffer(mapped)
        there = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        where = ctypes.c_void_p(ctypes.addressof(first))
        assert ctypes.CDLL(None).mincore(where, ctypes.c_size_t(len(mapped)), there) == 0
        del first
        return {page & 1 for page in there}


def test_how_much_there_is(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [LETTER] * 3)
    mount = mounted()
    status = os.statvfs(mount.path)
    assert (status.f_files, status.f_namemax) == (3, 255)
    assert status.f_bavail > 1 << 30


def test_many_read_one_large_letter_at_once(mounted: Mounts) -> None:
    letter = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 64 * 1024 * 3 + b"\r\n"
    filled(mounted.data, "INBOX", [letter])
    file = the(mounted().path / "new")
    read: list[bytes] = []
    with file.open("rb") as opened:
        threads = [
            threading.Thread(target=lambda at=at: read.append(os.pread(opened.fileno(), 1000, at)))
            for at in range(0, 3_000_000, 150_000)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    plain = letter.replace(b"\r\n", b"\n")
    assert sorted(read) == sorted(plain[at : at + 1000] for at in range(0, 3_000_000, 150_000))


def test_mail_that_comes_is_there_at_once(mounted: Mounts) -> None:
    mount = mounted()
    before = (mount.path / "new").stat().st_mtime_ns  # who waits for mail may look at no more than this
    assert (mount.path / "dovecot-uidlist").read_text().count("\n") == 1
    filled(mounted.data, "INBOX", [LETTER])
    give_up = time.monotonic() + PATIENCE
    while (mount.path / "new").stat().st_mtime_ns == before:
        assert time.monotonic() < give_up, "the folder has the time that it had"
        time.sleep(0.002)
    assert the(mount.path / "new").read_bytes() == FILE
    assert (mount.path / "dovecot-uidlist").read_text().count("\n") == 2
    filled(mounted.data, "Later", [])
    wait_for(mount.path / ".Later" / "new")
    assert not any((mount.path / ".Later" / "new").iterdir())
