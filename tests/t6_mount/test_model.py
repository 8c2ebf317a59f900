"""The mount beside a server on the same account: programs at the mount, IMAP and LMTP change the same mail at
the same time, and the mount is killed. Nothing is lost, and all see the same in the end."""

import errno
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import pytest

from tests.helpers import mounted as helper
from tests.helpers.audit import audit_data
from tests.helpers.mount_model import (
    AtTheMount,
    ByImap,
    Ledger,
    Person,
    Sender,
    Shown,
    letter,
    number_of,
    seen_by_imap,
    seen_by_mount,
)
from tests.helpers.mounted import PATIENCE, Mount, Mounts, wait_for
from tests.helpers.seaweed import seaweed
from tests.helpers.server import ADDRESS, Server, aerogramme, create_account, serving
from tests.helpers.wire import Client

SEEDS = range(int(os.environ.get("MOUNT_SEEDS", "2")))
KILLS = int(os.environ.get("MOUNT_KILLS", "4"))
STEPS = 60  # of each person


@pytest.fixture
def server(data: Path) -> Iterator[Server]:
    with serving(data) as server:
        yield server


def test_mail_and_changes_show_at_once(mounted: Mounts, server: Server) -> None:
    """Each name is looked at before it goes: what the kernel had kept of it, it was told to let go of."""
    inbox = mounted().path
    archive = inbox / ".Archive" / "cur"
    with server.imap() as client, server.lmtp() as lmtp:
        assert os.listdir(inbox / "new") == os.listdir(inbox / "cur") == os.listdir(archive) == []
        uids, keywords = (inbox / "dovecot-uidlist").read_text(), (inbox / "dovecot-keywords").read_text()
        lmtp.sendmail("bob@example.net", [ADDRESS], letter(1))
        first = appears(inbox / "new")
        assert number_of(first.read_bytes()) == 1
        inode = first.stat().st_ino
        assert (inbox / "dovecot-uidlist").read_text() == f"{uids}1 :{first.name}\n".replace("N1 ", "N2 ")

        client.select("INBOX")
        client.uid("STORE", "1", "+FLAGS", "(\\Flagged)")
        second = appears(inbox / "cur")
        assert second.name == first.name + ":2,F" and second.stat().st_ino == inode
        wait_for(first, there=False)
        client.uid("STORE", "1", "+FLAGS", "(\\Seen Word)")
        third = inbox / "cur" / (first.name + ":2,FSa")
        wait_for(third)
        wait_for(second, there=False)
        assert os.listdir(inbox / "cur") == [third.name]
        assert (inbox / "dovecot-keywords").read_text() == f"{keywords}0 Word\n"

        with third.open("rb", buffering=0) as opened:
            client.uid("MOVE", "1", "Archive")
            fourth = appears(archive)
            wait_for(third, there=False)
            assert number_of(opened.read()) == 1  # as with any file that is open
        client.select("Archive")
        client.uid("STORE", "1", "+FLAGS", "(\\Deleted)")
        wait_for(fourth, there=False)
        fifth = appears(archive)
        client.expunge()
        wait_for(fifth, there=False)
        assert os.listdir(archive) == []

        client.create("Old")
        wait_for(inbox / ".Old" / "cur")
        client.append("Old", "", "", letter(2))  # type: ignore[arg-type]
        assert number_of(appears(inbox / ".Old" / "new").read_bytes()) == 2
        client.rename("Old", "New")
        wait_for(inbox / ".Old" / "cur", there=False)
        assert number_of(appears(inbox / ".New" / "new").read_bytes()) == 2
        client.delete("New")
        wait_for(inbox / ".New", there=False)


def test_sessions_hear_at_once_of_what_the_mount_does(mounted: Mounts, server: Server) -> None:
    inbox = mounted("--rw").path
    with Client(server.imap_port) as client:
        client.command("SELECT INBOX")
        with client.idle():
            (inbox / "tmp" / "one").write_bytes(letter(1))
            (inbox / "tmp" / "one").rename(inbox / "new" / "one")
            while client.exists != 1:
                client.response()
            (inbox / "new" / "one").rename(inbox / "cur" / "one:2,S")
            while b"\\Seen" not in client.response()[0]:
                pass
            (inbox / "cur" / "one:2,S").rename(inbox / ".Archive" / "cur" / "one:2,S")
            while client.exists != 0:
                client.response()
        assert os.listdir(inbox / "cur") == os.listdir(inbox / "new") == []
        (inbox / ".Archive" / "cur" / "one:2,S").unlink()
        assert os.listdir(inbox / ".Archive" / "cur") == []


def test_what_a_program_has_renamed_is_there_at_once(mounted: Mounts) -> None:
    """Under the name that it was given: also before the kernel has heard that the message has another one."""
    inbox = mounted("--rw").path
    places = [inbox / "new" / "{}", inbox / "cur" / "{}:2,", inbox / ".Archive" / "cur" / "{}:2,S"]
    places += [
        inbox / ".Sent" / "cur" / "{}:2,FS",
        inbox / "cur" / "{}:2,R",
        inbox / ".Archive" / "new" / "{}",
    ]
    for number in range(1, 21):
        at = inbox / "tmp" / f"{number}"
        at.write_bytes(letter(number))
        for place in places:
            to = place.with_name(place.name.format(number))
            at.rename(to)
            assert number_of(to.read_bytes()) == number
            assert to.stat().st_size == len(letter(number).replace(b"\r\n", b"\n"))
            assert not at.exists()
            at = to
        at.unlink()
        assert not at.exists()
    assert seen_by_mount(inbox) == []


def appears(folder: Path) -> Path:
    """The one file of a folder, once it is there."""
    give_up = time.monotonic() + PATIENCE
    while len(names := os.listdir(folder)) != 1:
        assert time.monotonic() < give_up, names
    return folder / names[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_programs_imap_and_lmtp_at_the_same_time(seed: int, mounted: Mounts, server: Server) -> None:
    """With two mounts, as on two machines, of which one changes no flags."""
    mounts = [mounted("--rw"), mounted("--rw")]
    ledger, shown = shared_mail(str(seed), mounts, server, STEPS)
    ledger.check(shown)
    assert audit_data(mounted.data, ADDRESS) == []


def test_the_same_with_a_distant_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where mounts and servers hear of each other late, and each has a cache. What two move at the same time
    may be in both places."""
    with seaweed() as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        store, data, elsewhere = service.store(), tmp_path / "data", tmp_path / "elsewhere"
        create_account(data, store=store)
        shutil.copytree(data, elsewhere)
        with serving(data, store=store) as server, helper.mounts(data) as mounted:
            mounts = [mounted("--rw", "--store", store, data=where) for where in (data, elsewhere)]
            ledger, shown = shared_mail("distant", mounts, server, 15)
            ledger.check(shown, serialized=False)
        assert audit_data(data, ADDRESS, store=store) == []


def test_what_a_killed_mount_has_acknowledged_is_there(mounted: Mounts, server: Server) -> None:
    random, ledger = Random("kills"), Ledger()
    mount = mounted("--rw")
    path = mount.path
    with ExitStack() as stack:
        client = stack.enter_context(server.imap())
        by_imap = ByImap(ledger, Random("imap"), client)
        for kill in range(KILLS):
            at_mount = AtTheMount(ledger, Random(f"mount {kill}"), path)
            together([at_mount], 8, [by_imap])
            if kill % 2:
                killed_while_at_work(mount, at_mount, random.uniform(0, 0.05))
            else:
                at_mount.until_done(random.choice(["deliver", "flag", "move", "unlink"]))
                mount.kill()  # at once
            with pytest.raises(OSError, match="Transport endpoint is not connected"):
                os.listdir(path)
            ledger.check(seen_by_imap(client))
            if kill == 0:
                aerogramme("unmount", str(path))  # else the new mount does it
                assert os.listdir(path) == []
            mount = mounted("--rw", path=path)
        ledger.check(agreed(path, lambda: seen_by_imap(client)))
    assert server.stop() == 0
    assert audit_data(mounted.data, ADDRESS) == []


def killed_while_at_work(mount: Mount, at_mount: AtTheMount, seconds: float) -> None:
    """The mount gets SIGKILL while somebody works there, at some moment of that time."""
    begun, ended = threading.Event(), []

    def work() -> None:
        try:
            while True:
                at_mount.step()
                begun.set()
        except BaseException as error:
            ended.append(error)
            begun.set()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    if not ended:
        threading.Event().wait(seconds)  # which moment it is, is left to chance
    mount.kill()
    thread.join()
    [error] = ended
    assert isinstance(error, OSError) and error.errno in (errno.ENOTCONN, errno.ECONNABORTED), error


def shared_mail(seed: str, mounts: list[Mount], server: Server, steps: int) -> tuple[Ledger, list[Shown]]:
    """People change mail at two mounts and by IMAP, while more comes in. What they know of it, and what all
    views show in the end."""
    ledger = Ledger()
    with server.imap() as client, server.lmtp() as lmtp:
        one = AtTheMount(ledger, Random(f"{seed} one"), mounts[0].path)
        other = AtTheMount(ledger, Random(f"{seed} other"), mounts[1].path, without=("flag", "unlink"))
        by_imap = ByImap(ledger, Random(f"{seed} imap"), client)
        together([one, other, by_imap], steps, [Sender(ledger, Random(f"{seed} lmtp"), lmtp)])
        for mount in mounts:
            shown = agreed(mount.path, lambda: seen_by_imap(client))
    for mount in mounts:
        assert mount.stop() == 0
        assert not re.search("failed|fault", mount.log.read_text())
    assert server.stop() == 0
    return ledger, shown


def together(people: list[Person], steps: int, slower: list[Person]) -> None:
    """All do so much, each in a thread; the slower ones a quarter of that."""
    failed: list[BaseException] = []

    def live(person: Person, steps: int) -> None:
        try:
            while person.counts.total() < steps and not failed:
                person.step()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=live, args=(person, steps)) for person in people]
    threads += [threading.Thread(target=live, args=(person, steps // 4)) for person in slower]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def agreed(root: Path, by_imap: Callable[[], list[Shown]]) -> list[Shown]:
    """What both views show, as soon as they show the same."""
    give_up = time.monotonic() + PATIENCE
    while True:
        expected = by_imap()
        with suppress(FileNotFoundError):  # it hears of a change just now
            shown = seen_by_mount(root)
            if shown == expected:
                return shown
        assert time.monotonic() < give_up, (shown, expected)
