"""Folders that programs make and remove, as they look to these programs and to others; nothing is mounted."""

import errno
import os
import subprocess
from collections.abc import Callable
from subprocess import PIPE

import pytest

pytest.importorskip("pyfuse3", reason="no pyfuse3: make mount")

from pyfuse3 import FUSEError

from aerogramme.mailbox.account import Account
from aerogramme_fuse import folders as module
from aerogramme_fuse.folders import MOST, Folders
from aerogramme_fuse.overlay import Overlay
from aerogramme_fuse.processes import Process, leader_of, process_of
from aerogramme_fuse.tree import Folder, Made, Tree
from tests.t3_mailbox.conftest import put

LETTER = b"Subject: one\r\n\r\nText\r\n"
ONE, THREAD, OTHER, ENDED = 10, 11, 20, 99  # tasks: two of one program, one of another, one that has ended


class View:
    def __init__(self, account: Account) -> None:
        self.account, self.tree, self.overlay = account, Tree(account), Overlay()
        self.folders = Folders(self.tree, self.overlay)

    @property
    def root(self) -> Folder:
        return self.tree.folder_of("INBOX")

    def names(self, folder: Folder, task: int) -> set[str]:
        return {name for name, _ in self.folders.shown(folder, task)}


@pytest.fixture
def view(account: Account, monkeypatch: pytest.MonkeyPatch) -> View:
    processes: Callable[[int], Process | None] = {
        ONE: Process(1, 0),
        THREAD: Process(1, 0),
        OTHER: Process(2, 0),
    }.get
    monkeypatch.setattr(module, "leader_of", processes)
    return View(account)


PARTS = {"cur", "new", "tmp"}


async def test_who_makes_a_folder_makes_what_is_in_it(view: View) -> None:
    made = await view.folders.make(view.root, ".New", ONE)
    assert made.name == "New" and view.folders.differs(made)
    for n, part in enumerate(sorted(PARTS)):
        assert view.names(made, OTHER) >= PARTS
        assert PARTS & view.names(made, THREAD) == set(sorted(PARTS)[:n])
        assert view.folders.hides(made, part, ONE) and not view.folders.hides(made, part, ENDED)
        assert (await view.folders.make(made, part, THREAD)).part == part
        assert not view.folders.hides(made, part, ONE)
    assert not view.folders.differs(made)


async def test_with_mail_in_it_a_folder_is_whole(view: View) -> None:
    made = await view.folders.make(view.root, ".New", ONE)
    assert PARTS.isdisjoint(view.names(made, ONE))
    await put(view.account, "New", LETTER)
    assert view.names(made, ONE) >= PARTS


async def test_of_who_has_ended_nothing_is_known(view: View) -> None:
    made = await view.folders.make(view.root, ".New", ENDED)
    assert not view.folders.differs(made) and view.names(made, ENDED) >= PARTS


async def test_programs_that_never_make_the_rest(view: View) -> None:
    made = [await view.folders.make(view.root, f".New{n}", ONE) for n in range(MOST + 1)]
    assert [view.folders.differs(folder) for folder in made] == [False] + [True] * MOST


async def test_what_is_removed_of_an_empty_mailbox(view: View) -> None:
    root, archive = view.root, view.tree.folder_of("Archive")
    uidlist, cur = [await view.tree.lookup(archive, name) for name in ("dovecot-uidlist", "cur")]
    assert isinstance(uidlist, Made) and isinstance(cur, Folder)
    there = view.names(archive, ONE)
    view.folders.remove_made(archive, uidlist)
    await view.folders.remove(archive, cur)
    assert view.names(archive, OTHER) == there - {"dovecot-uidlist", "cur"}
    view.folders.appears(archive, "cur")
    assert view.names(archive, OTHER) == there - {"dovecot-uidlist"}
    await put(view.account, "Archive", LETTER)
    assert view.names(archive, OTHER) == there
    for above, node, number in (
        (root, part_of(view, root, "cur"), errno.EPERM),
        (archive, part_of(view, archive, "new"), errno.ENOTEMPTY),  # the mail is there
        (root, archive, errno.ENOTEMPTY),
        (root, root, errno.EPERM),
    ):
        with pytest.raises(FUSEError) as caught:
            await view.folders.remove(above, node)
        assert caught.value.errno == number


def part_of(view: View, folder: Folder, part: str) -> Folder:
    nodes = map(view.tree.node, view.tree.children(folder).values())
    [found] = [node for node in nodes if isinstance(node, Folder) and node.part == part]
    return found


async def test_dovecot_removes_a_folder_where_it_is(view: View) -> None:
    for to in "..DOVECOT-TRASHED", ".DOVECOT-TRASHED":
        with pytest.raises(FUSEError) as caught:
            await view.folders.rename(view.tree.folder_of("Archive"), view.root, to)
        assert caught.value.errno == errno.EXDEV
    assert "Archive" in view.account.state.names


def test_the_process_of_a_task() -> None:
    mine = process_of(os.getpid())
    assert mine is not None and mine.number == os.getpid() and mine.began > 0
    assert process_of(1 << 30) is None


def test_the_leader_of_a_task() -> None:
    mine = leader_of(os.getpid())
    assert mine is not None and mine.number == os.getpgrp()
    assert leader_of(1 << 30) is None
    # A script whose own program is another process, which says its number and stays.
    command = ["sh", "-c", "sh -c 'echo $$; read line'; true"]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, process_group=0) as script:
        assert script.stdin is not None and script.stdout is not None
        program = int(script.stdout.readline())
        assert program != script.pid and process_of(program) != process_of(script.pid)
        assert leader_of(program) == leader_of(script.pid) == process_of(script.pid) != mine
        script.stdin.close()
