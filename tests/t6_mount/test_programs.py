"""Mail programs, and those that know only files, at real mounts of some hundred real mails.

With MOUNT_MAILS=10000 there are that many, which takes minutes.
"""

import email
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from aerogramme.errors import NoSuchMailbox
from tests.helpers.corpus import corpus_of
from tests.helpers.mounted import PATIENCE, Mount, Mounts, cheap_account, filled, opened
from tests.helpers.server import ADDRESS, PASSWORD, serving
from tests.helpers.terminal import on_a_terminal
from tests.t6_full.test_clients import needs, run

pytestmark = pytest.mark.clients

MAILS = int(os.environ.get("MOUNT_MAILS", "300"))
CAME = 1_500_000_000  # INTERNALDATE of them all
Seen = list[tuple[int, bytes, frozenset[str]]]  # UID, letter, flags


@pytest.fixture(scope="session")
def of_real_mails(new_account: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose INBOX has real mails: to be copied."""
    mails = corpus_of(MAILS)
    data = tmp_path_factory.mktemp("real") / "data"
    shutil.copytree(new_account, data)
    filled(data, "INBOX", mails, date=CAME)
    return data


@pytest.fixture
def data(of_real_mails: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(of_real_mails, tmp_path / "data"))


def of_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for programs, in which they find no settings but those of a test."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("MAIL", "MAILDIR", "NOTMUCH_PROFILE", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(home), "USER": "alice", "TERM": "xterm", "LC_ALL": "C.UTF-8"}.items():
        monkeypatch.setenv(name, value)
    return home


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the programs of a test are at home."""
    return of_programs(tmp_path, monkeypatch)


def account(data: Path, mailbox: str = "INBOX") -> Seen:
    """What the account has, as other programs than those at the mount get it."""

    async def look() -> Seen:
        async with opened(data) as account:
            table = account.find(mailbox)
            flags = [frozenset(account.flags_of(number)) for number in table.flags]
            bodies = [body async for body in account.read_bodies(table.contents)]
            assert all(isinstance(body, bytes) for body in bodies)
            return list(zip(table.uids, bodies, flags, strict=True))

    return trio.run(look)


def files(mount: Mount, folder: str = "") -> list[Path]:
    """The messages of a folder: those of new/, then those of cur/."""
    return [file for part in ("new", "cur") for file in sorted((mount.path / folder / part).iterdir())]


def wait_until(it_is_so: Callable[[], bool]) -> None:
    """What another process changes shows at once."""
    give_up = time.monotonic() + PATIENCE
    while not it_is_so():
        assert time.monotonic() < give_up, "it never came so far"
        time.sleep(0.002)


def subject(letter: bytes) -> str:
    return str(email.message_from_bytes(letter)["Subject"])


# --- programs that know only files


def test_find_and_grep(mounted: Mounts) -> None:
    mount = mounted()
    found = run("sh", "-c", f"find {mount.path} -type f -name '*,U=*' -print0 | xargs -0 grep -l -a -i suse")
    letters = {uid for uid, letter, _ in account(mounted.data) if b"suse" in letter.lower()}
    assert letters
    assert {int(uid) for uid in re.findall(r",U=(\d+)\n", found)} == letters
    assert found.count("\n") == len(letters)


def test_rsync_and_tar(mounted: Mounts, tmp_path: Path) -> None:
    rsync, mount = needs("rsync"), mounted("--rw")
    copies = [tmp_path / "by rsync", tmp_path / "by tar"]
    run(rsync, "-a", f"{mount.path}/", str(copies[0]))
    copies[1].mkdir()
    run("sh", "-c", f"tar -c -C {mount.path} . | tar -x -C '{copies[1]}'")
    for copy in copies:
        run("diff", "-r", str(mount.path), str(copy))
    # Another time there is nothing to do: sizes and times are what they were, at another mount as well.
    mount.stop()
    mount = mounted("--rw")
    assert run(rsync, "-ai", "--delete", f"{mount.path}/", str(copies[0])) == ""
    first = files(mount)[0]
    first.rename(mount.path / "cur" / f"{first.name}:2,S")
    changed = run(rsync, "-ai", "--delete", f"{mount.path}/", str(copies[0])).splitlines()
    assert [line for line in changed if ",U=" in line] == [
        f"*deleting   new/{first.name}",
        f">f+++++++++ cur/{first.name}:2,S",
    ]


def test_a_maildir_is_brought_in(mounted: Mounts, tmp_path: Path) -> None:
    """With its flags and times; rsync has to be told where to write files that are not whole."""
    rsync, mount, old = needs("rsync"), mounted("--rw"), tmp_path / "old"
    for part in ("cur", "new", "tmp"):
        (old / ".Old" / part).mkdir(parents=True)
    letters = [letter for _, letter, _ in account(mounted.data)[:4]]
    for n, letter in enumerate(letters):
        file = old / ".Old" / ("cur" if n else "new") / (f"{n}.M1.old" + (":2,FS" if n else ""))
        file.write_bytes(letter.replace(b"\r\n", b"\n"))
        os.utime(file, (1_600_000_000 + n, 1_600_000_000 + n))
    run(rsync, "-a", f"--temp-dir={mount.path}/tmp", f"{old}/", f"{mount.path}/")
    brought = account(mounted.data, "Old")
    assert Counter(letter for _, letter, _ in brought) == Counter(letters)
    assert Counter(flags for *_, flags in brought) == {frozenset(): 1, frozenset({"\\Flagged", "\\Seen"}): 3}
    assert sorted(file.stat().st_mtime for file in files(mount, ".Old")) == [
        1_600_000_000 + n for n in range(4)
    ]


# --- neomutt

MUTTRC = """
set mbox_type=Maildir folder="{path}" spoolfile="{path}" record="{path}/.Sent" postponed="{path}/.Drafts"
set delete=yes move=no quit=yes confirmappend=no confirmcreate=no resolve=no wait_key=no mark_old=no beep=no
set sort=mailbox-order use_envelope_from=no sendmail=/bin/true
"""


def neomutt(mount: Mount, home: Path, keys: str, folder: str = "") -> None:
    """Opens a folder, presses keys, quits."""
    program = needs("neomutt")
    (home / "muttrc").write_text(MUTTRC.format(path=mount.path))
    command = ["timeout", "--foreground", "300", program, "-n", "-F", str(home / "muttrc")]
    command += ["-f", str(mount.path / folder), "-e", f'push "{keys}<quit>"']
    code, screen = on_a_terminal(command, [])
    assert code == 0, screen


def test_neomutt(mounted: Mounts, home: Path) -> None:
    mount = mounted("--rw", "--trash")

    def subjects(mailbox: str = "INBOX") -> Counter[str]:  # neomutt changes the header of a copy
        return Counter(subject(letter) for _, letter, _ in account(mounted.data, mailbox))

    before = subjects()
    lists = Counter({text: n for text, n in before.items() if "ILUG" in text})
    razor = Counter({text: n for text, n in before.items() if "Razor" in text})
    assert len(lists) > 2 and len(razor) > 2

    listing = home / "listing"
    neomutt(mount, home, f"<tag-pattern>~A<enter><tag-prefix><pipe-message>grep -c . >{listing}<enter>")
    assert int(listing.read_text()) > 1000  # it has read them all

    neomutt(mount, home, "<tag-pattern>~s ILUG<enter><tag-prefix><set-flag>!")
    marked = [(subject(letter), flags) for _, letter, flags in account(mounted.data) if flags]
    assert Counter(text for text, _ in marked) == lists
    assert {flags for _, flags in marked} == {frozenset({"\\Flagged"})}

    neomutt(mount, home, "<tag-pattern>~s ILUG<enter><tag-prefix><save-message>=.Archive<enter>")
    assert subjects("Archive") == lists
    assert {flags for *_, flags in account(mounted.data, "Archive")} == {frozenset({"\\Flagged"})}
    assert max(file.stat().st_mtime for file in files(mount, ".Archive")) < CAME  # what the mails say: 2002
    neomutt(mount, home, "<delete-pattern>~s Razor<enter><sync-mailbox>")
    assert subjects() == before - lists - razor
    assert subjects("Trash") == razor + lists  # a mail that is saved elsewhere is a copy to neomutt

    neomutt(mount, home, "<copy-message>=.Work<enter>", ".Archive")  # a folder that there was not
    assert subjects("Work") <= lists and subjects("Work").total() == 1
    run(needs("neomutt"), "-n", "-F", str(home / "muttrc"), "-s", "Sent", "bob@example.net", stdin="Hello\n")
    [(_, letter, flags)] = account(mounted.data, "Sent")
    assert subject(letter) == "Sent" and letter.endswith(b"\r\nHello\r\n") and flags == {"\\Seen"}
    assert not any((mount.path / "tmp").iterdir())


# --- notmuch and mu


def test_notmuch(mounted: Mounts, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notmuch, mount = needs("notmuch"), mounted("--rw")
    config = home / "notmuch"
    config.write_text(
        f"[database]\npath={home}/index\nmail_root={mount.path}\n[user]\nname=Alice\n"
        f"primary_email={ADDRESS}\n[new]\ntags=unread;inbox\n"
        "ignore=dovecot-uidlist;dovecot-keywords;subscriptions;maildirfolder;.uidvalidity\n"
        "[maildir]\nsynchronize_flags=true\n"
    )
    (home / "index").mkdir()
    monkeypatch.setenv("NOTMUCH_CONFIG", str(config))
    run(notmuch, "new")

    def found(query: str) -> set[int]:
        """UIDs of files in INBOX."""
        return {
            int(uid)
            for name in run(notmuch, "search", "--output=files", query).splitlines()
            for uid in re.findall(r",U=(\d+)(?::2,[A-Z]*)?$", name)
        }

    before = account(mounted.data)
    assert found("*") == {uid for uid, *_ in before}
    razor = found("subject:razor")
    assert len(razor) > 2
    run(notmuch, "tag", "-unread", "+flagged", "--", "subject:razor")
    assert {uid for uid, _, flags in account(mounted.data) if flags == {"\\Seen", "\\Flagged"}} == razor
    assert found("tag:flagged") == razor  # under their new names
    assert "No new mail." in run(notmuch, "new")

    # What is done elsewhere is found, too.
    with serving(mounted.data) as server:
        client = server.imap()
        client.select("INBOX")
        assert client.uid("STORE", ",".join(map(str, razor)), "-FLAGS", "(\\Flagged)")[0] == "OK"
        assert client.uid("STORE", "1", "+FLAGS", "(\\Answered)")[0] == "OK"
        client.create("Lists/Razor")
        assert client.uid("MOVE", ",".join(map(str, razor)), "Lists/Razor")[0] == "OK"
        client.logout()
        moved = mount.path / ".Lists.Razor"
        wait_until(lambda: moved.is_dir() and len(files(mount, moved.name)) == len(razor))
        told = run(notmuch, "new")
    assert f"Detected {len(razor) + 1} file renames" in told
    assert found("tag:replied") == {1}
    assert found("tag:flagged") == set()
    assert run(notmuch, "count", "--output=files", "folder:.Lists.Razor") == f"{len(razor)}\n"


def test_mu(mounted: Mounts, home: Path) -> None:
    mu, mount = needs("mu"), mounted()
    run(mu, "init", f"--maildir={mount.path}", f"--muhome={home}/mu")
    run(mu, "index", f"--muhome={home}/mu", "--quiet")
    found = run(mu, "find", f"--muhome={home}/mu", "subject:razor", "--fields=l")
    word = re.compile(r"\brazor\b", re.IGNORECASE)  # what mu finds: words, so not Razor2
    with_razor = [uid for uid, letter, _ in account(mounted.data) if word.search(subject(letter))]
    assert sorted(int(uid) for uid in re.findall(r",U=(\d+)\n", found)) == with_razor


# --- mbsync


def test_mbsync_between_the_mount_and_a_server(mounted: Mounts, home: Path) -> None:
    mbsync, there = needs("mbsync"), home / "there"
    cheap_account(there)
    mount = mounted("--rw")
    here = [letter for _, letter, _ in account(mounted.data)]
    theirs = [b"Subject: only there %d\r\n\r\nText\r\n" % n for n in range(5)]
    filled(there, "INBOX", theirs, ["\\Answered"])
    filled(there, "Work/2026", theirs[:2])
    (home / "password").write_text(PASSWORD)
    (home / "state").mkdir()

    with serving(there) as server:
        (home / "mbsyncrc").write_text(
            f"IMAPStore server\nHost 127.0.0.1\nPort {server.imap_port}\nUser {ADDRESS}\n"
            f'PassCmd "cat {home}/password"\nSSLType None\nAuthMechs LOGIN\n\n'
            f"MaildirStore mount\nInbox {mount.path}\nSubFolders Maildir++\n\n"
            f"Channel all\nFar :server:\nNear :mount:\nPatterns *\nCreate Both\nExpunge Both\nSync All\n"
            f"CopyArrivalDate yes\nSyncState {home}/state/\n"
        )

        def sync() -> None:
            run(mbsync, "-c", str(home / "mbsyncrc"), "all")

        def plain(letter: bytes) -> bytes:
            return re.sub(rb"X-TUID: \S+\r\n", b"", letter, count=1)  # mbsync adds it

        def all_is_one() -> None:
            both = [
                {
                    box: Counter((plain(letter), flags) for _, letter, flags in account(data, box))
                    for box in boxes
                }
                for data in (mounted.data, there)
            ]
            assert both[0] == both[1]

        boxes = ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "Work", "Work/2026"]
        sync()
        all_is_one()
        assert Counter(plain(letter) for _, letter, _ in account(there)) == Counter(here + theirs)
        seen = [account(data, box) for data in (mounted.data, there) for box in boxes]
        sync()  # nothing is left to do, so nothing is another: the same messages with the same UIDs
        assert [account(data, box) for data in (mounted.data, there) for box in boxes] == seen

        # Changes on both sides at once: flags, a removal, mail by each way.
        names = {int(re.findall(r",U=(\d+)", file.name)[0]): file for file in files(mount)}
        names[1].rename(mount.path / "cur" / f"{names[1].name}:2,FS")
        names[2].unlink()
        client = server.imap()
        client.select("INBOX")
        assert client.uid("STORE", "8", "+FLAGS", "(\\Seen)")[0] == "OK"
        assert client.uid("STORE", "9:11", "+FLAGS", "(\\Deleted)")[0] == "OK"
        client.expunge()
        client.logout()
        filled(mounted.data, "INBOX", [b"Subject: new here\r\n\r\nText\r\n"])
        filled(there, "INBOX", [b"Subject: new there\r\n\r\nText\r\n"])
        sync()
        all_is_one()
        assert len(account(mounted.data)) == len(here) + len(theirs) - 4 + 2
        seen = [account(data) for data in (mounted.data, there)]
        sync()
        assert [account(data) for data in (mounted.data, there)] == seen


# --- Dovecot


class Dovecot:
    """doveadm, to which the mount is a Maildir. It does not work as root: so it is told that it is another,
    which the kernel does not think."""

    def __init__(self, mount: Mount, home: Path, options: str = "") -> None:
        self.path = mount.path
        self._config = home / "dovecot.conf"
        self._config.write_text(
            f"base_dir = {home}/run\nlog_path = /dev/stderr\nprotocols =\nssl = no\n"
            f"mail_location = maildir:{mount.path}:INDEX=MEMORY{options}\nfirst_valid_uid = 1\n"
            "namespace inbox {\n  inbox = yes\n  separator = /\n}\n"
        )
        self._command = [needs("doveadm"), "-c", str(self._config)]
        if os.getuid() == 0:
            other = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
            if subprocess.run([*other, "true"], capture_output=True, check=False).returncode:
                pytest.skip("no user namespaces, and doveadm does not work as root")
            self._command = other + self._command

    def __call__(self, *command: str, stdin: str = "") -> str:
        return run(*self._command, *command, stdin=stdin)

    def fetched(self, mailbox: str, what: str) -> list[list[str]]:
        """What it says of each message, in its order."""
        told = self("-f", "tab", "fetch", what, "mailbox", mailbox)
        return [line.split("\t") for line in told.splitlines()[1:]]


@pytest.mark.parametrize("writable", [True, False])
def test_doveadm_reads_what_the_account_has(mounted: Mounts, home: Path, writable: bool) -> None:
    with serving(mounted.data) as server:  # some flags, keywords and gaps
        client = server.imap()
        client.select("INBOX")
        for uids, flags in ("1:9", "\\Seen"), ("5:20", "\\Flagged Work $Forwarded"), ("7", "\\Draft"):
            assert client.uid("STORE", uids, "+FLAGS", f"({flags})")[0] == "OK"
        assert client.uid("STORE", "6", "-FLAGS", "(Work)")[0] == "OK"
        assert client.create("Lists/Caf&AOk-")[0] == "OK"
        assert client.uid("MOVE", "3,30:40", "Lists/Caf&AOk-")[0] == "OK"
        boxes = ["INBOX", "Lists/Caf&AOk-"]
        status = {
            box: client.status(f'"{box}"', "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)")[1][0] for box in boxes
        }
        client.logout()
    if writable:
        doveadm = Dovecot(mounted("--rw"), home)
    else:  # it cannot lock the list of UIDs there: it gets copies of what it would keep there itself
        mount, control = mounted(), home / "control"
        for folder in (mount.path, *mount.path.glob(".*/")):
            there = control / (".INBOX" if folder == mount.path else folder.name)
            there.mkdir(parents=True)
            for name in ("dovecot-uidlist", "dovecot-keywords"):
                (there / name).write_bytes((folder / name).read_bytes())
        doveadm = Dovecot(mount, home, f":CONTROL={control}")
    assert set(doveadm("mailbox", "list").split("\n")) >= {"INBOX", "Lists/Caf\u00e9", "Trash"}
    for name, sent in ("INBOX", "INBOX"), ("Lists/Caf\u00e9", "Lists/Caf&AOk-"):
        told = doveadm("mailbox", "status", "messages uidnext uidvalidity unseen", name)
        said = status[sent]
        assert isinstance(said, bytes)
        assert told.split()[1:] == [
            f"{key}={value}"
            for key, value in re.findall(r"(\w+) (\d+)", said.decode().lower().partition("(")[2])
        ]
        messages = account(mounted.data, name)
        heard = doveadm.fetched(name, "uid flags size.physical size.virtual")
        assert [
            (int(uid), set(flags.split()) - {"\\Recent"}, int(physical), int(virtual))
            for uid, flags, physical, virtual in heard
        ] == [
            (uid, set(flags), len(letter.replace(b"\r\n", b"\n")), len(letter))
            for uid, letter, flags in messages
        ]
    bodies = doveadm("fetch", "text", "mailbox", "INBOX", "uid", "100").partition("\n")[2]
    [letter] = [letter for uid, letter, _ in account(mounted.data) if uid == 100]
    assert bodies.encode().rstrip() == letter.replace(b"\r\n", b"\n").rstrip()


def test_doveadm_changes_what_the_account_has(mounted: Mounts, home: Path) -> None:
    """Under names and UIDs that both think the same of."""
    doveadm = Dovecot(mounted("--rw"), home)
    inbox = ("mailbox", "INBOX", "uid")
    doveadm("flags", "add", "\\Seen Work $Label1", *inbox, "2:4")
    doveadm("flags", "add", "$Label1 \\Flagged", *inbox, "5")
    doveadm("flags", "remove", "Work", *inbox, "3")
    flags = {uid: flags for uid, _, flags in account(mounted.data) if flags}
    marked = frozenset({"\\Seen", "Work", "$Label1"})
    assert flags == {2: marked, 3: marked - {"Work"}, 4: marked, 5: {"\\Flagged", "$Label1"}}
    assert {int(uid): set(has.split()) for uid, has in doveadm.fetched("INBOX", "uid flags")[1:5]} == flags

    doveadm("mailbox", "create", "Lists/Café")
    doveadm("mailbox", "subscribe", "Lists/Café")
    doveadm("move", "Lists/Café", *inbox, "4")
    doveadm("copy", "Lists/Café", *inbox, "5")
    doveadm("save", "-m", "Lists/Café", stdin="Subject: saved\n\nText\n")
    doveadm("expunge", *inbox, "6")
    there = account(mounted.data, "Lists/Café")
    assert [uid for uid, *_ in there] == [1, 2, 3]
    assert [flags for *_, flags in there] == [marked, {"\\Flagged", "$Label1"}, frozenset()]
    assert there[2][1] == b"Subject: saved\r\n\r\nText\r\n"
    assert [uid for uid, *_ in account(mounted.data)][:5] == [1, 2, 3, 5, 7]
    heard = doveadm.fetched("Lists/Café", "uid flags")
    assert [int(uid) for uid, _ in heard] == [1, 2, 3]
    assert "Lists/Café" in doveadm("mailbox", "list", "-s").splitlines()

    doveadm("mailbox", "unsubscribe", "Lists/Café")
    assert "Lists/Café" not in doveadm("mailbox", "list", "-s").splitlines()
    doveadm("mailbox", "rename", "Lists/Café", "Cafés")
    assert len(account(mounted.data, "Cafés")) == 3
    assert "Cafés" in doveadm("mailbox", "list").splitlines()
    doveadm("mailbox", "delete", "Cafés")
    with pytest.raises(NoSuchMailbox):
        account(mounted.data, "Cafés")
    assert "Cafés" not in doveadm("mailbox", "list").splitlines()
