"""Maildirs made by hand: what is broken in them is told, and all else is read."""

import gzip
import io
import os
import time
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources import subscriptions
from aerogramme.migrate.sources.maildir import files as maildir_files
from aerogramme.migrate.sources.maildir import uidlist
from aerogramme.migrate.sources.maildir.maildir import Maildir, Options, looks_like
from aerogramme.migrate.sources.naming import Naming
from tests.helpers.source_reading import read_all, said

LIST = "3 V77 N20 Gabc\n"


def folder(path: Path, uids: str = "", keywords: str = "") -> Path:
    for part in "cur", "new", "tmp":
        (path / part).mkdir(parents=True)
    if uids:
        (path / "dovecot-uidlist").write_text(uids)
    if keywords:
        (path / "dovecot-keywords").write_text(keywords)
    return path


def put(path: Path, name: str, content: bytes = b"Subject: x\n\nx\n", date: int = 1600000000) -> None:
    (path / name).write_bytes(content)
    os.utime(path / name, (date, date))


async def read(path: Path, **options):
    source = Maildir(path, Naming(), Options(**options))
    return await read_all(source), source


# --- the files of Dovecot


@given(st.lists(st.tuples(st.integers(1, 1 << 31), st.text("ab.,=1 ", min_size=1)), unique_by=lambda r: r[0],
                max_size=20).map(sorted), st.booleans())  # fmt: skip
def test_a_uidlist_is_read_as_it_was_written(records, old) -> None:
    records = [(uid, f"{n}{name}") for n, (uid, name) in enumerate(records)]
    lines = [f"{uid} {name}\n" if old else f"{uid} W{uid * 2} S1 Gff :{name}\n" for uid, name in records]
    found = uidlist.parse(io.BytesIO(("".join([("1 7 9\n" if old else LIST), *lines])).encode()))
    assert found.uids == {name.encode(): uid for uid, name in records}
    assert found.wide == ({} if old else {uid: uid * 2 for uid, _ in records})
    assert found.uidvalidity == (7 if old else 77)
    assert found.uidnext == max([9 if old else 20, *(uid + 1 for uid, _ in records)])
    assert not found.wrong


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_octets_are_a_uidlist_or_unreadable(head, rest) -> None:
    with suppress(Unreadable):
        uidlist.parse(io.BytesIO(head + rest))
    found = uidlist.parse(io.BytesIO(LIST.encode() + rest))
    assert all(0 < uid < found.uidnext for uid in found.uids.values())
    assert len(set(found.uids.values())) == len(found.uids)


def test_lines_that_were_made_to_be_slow_are_read_at_once() -> None:
    before = time.process_time()
    found = uidlist.parse(io.BytesIO(LIST.encode() + (b"1 A" + b" " * 4000 + b"\n") * 40))
    assert len(found.wrong) > 20
    assert time.process_time() - before < 5  # they took twelve


def test_what_is_broken_in_a_uidlist_is_told_and_the_rest_read() -> None:
    lines = [
        "1 :a",
        "1 :b",
        "x :c",
        "0 :d",
        "4294967295 :e",
        "3 :a",
        "2 :f/g",
        "5 W12 :ok:2,S",
        "9" * 5000,
        "6 :cut",
    ]
    found = uidlist.parse(io.BytesIO((LIST + "\n".join(lines)).encode()))
    assert found.uids == {b"a": 3, b"ok": 5}  # a came again, with another UID
    assert len(found.wrong) == 6
    assert "line 3 gives UID 1 a second time" in found.wrong


@pytest.mark.parametrize("head", ["", "2 V1 N1\n", "3 V0 N1\n", "3 N1\n", "3 Vx N1\n", "1 99999999999 1\n"])
def test_a_uidlist_without_a_uidvalidity_is_unreadable(head) -> None:
    with pytest.raises(Unreadable):
        uidlist.parse(io.BytesIO(head.encode()))


def test_subscriptions_of_both_versions_are_read() -> None:
    assert subscriptions.parse(io.BytesIO(b"a.b\nSent\n\n"), ".") == {b"a.b", b"Sent"}
    both = b"V\t2\n\na\tb\nx\x01ty\x011\nSent\n"
    assert subscriptions.parse(io.BytesIO(both), ".") == {b"a.b", b"x\ty\x01", b"Sent"}
    assert subscriptions.parse(io.BytesIO(b""), ".") == set()


# --- a Maildir


async def test_a_plain_maildir_has_no_uids_to_keep(tmp_path) -> None:
    root = folder(tmp_path / "m")
    put(root / "cur", "2.b:2,FSx", b"two\r\n")
    put(root / "new", "1.a", b"one\n", 7)
    put(root / "cur", "3.c:2,RDTP", b"three")
    put(root / "tmp", "4.d", b"half")
    folder(root / ".Sent")
    found, source = await read(root)
    assert list(found) == ["INBOX", "Sent"]
    inbox = found["INBOX"]
    assert (inbox.folder.uidvalidity, inbox.folder.uidnext, inbox.folder.subscribed) == (0, 0, None)
    assert [(uid, m.flags, m.date, m.content) for uid, m in inbox.mails.items()] == [
        (1, set(), 7, b"one\r\n"),
        (2, {"\\Flagged", "\\Seen"}, 1600000000, b"two\r\n"),
        (3, {"\\Answered", "\\Draft", "\\Deleted"}, 1600000000, b"three"),
    ]
    assert not source.faults
    assert looks_like(root) and not looks_like(tmp_path) and not looks_like(root / "cur" / "3.c:2,RDTP")


async def test_each_broken_thing_is_told_by_name_and_all_else_is_read(tmp_path, monkeypatch) -> None:
    names = ["1.good,S=14,W=17", "2.cut,S=99", "3.wide,W=9", "4.gone", "5.nul", "6.gz", "7.link", "8.dir",
             "9.deny", "10.empty", "11.old"]  # fmt: skip
    uids = LIST + "".join(f"{n} :{name}\n" for n, name in enumerate(names, 1)) + "11 :12.twin\n"
    root = folder(tmp_path / "m", uids, "0 work\nnonsense\n")
    cur = root / "cur"
    put(cur, "1.good,S=14,W=17:2,Sa")
    put(cur, "2.cut,S=99:2,")
    put(cur, "3.wide,W=9:2,")
    put(cur, "5.nul:2,", b"a\0b\n")
    put(cur, "6.gz:2,", gzip.compress(b"Subject: x\n\n" * 999)[:-20])
    (cur / "7.link:2,").symlink_to("/etc/passwd")
    (cur / "8.dir:2,").mkdir()
    put(cur, "9.deny:2,")
    put(cur, "10.empty:2,", b"")
    put(cur, "11.old:2,", date=-5)
    put(cur, "12.twin:2,b")
    folder(root / ".R&D")
    folder(root / ".Entw\udcfcrfe")
    (root / ".elsewhere").symlink_to(root / ".R&D")
    (root / ".cache").mkdir()

    opened = os.open

    def deny(path, *more, **named):
        if isinstance(path, bytes) and path.startswith(b"9.deny"):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *more, **named)

    monkeypatch.setattr(os, "open", deny)
    found, source = await read(root, settled=True)
    assert list(found) == ["INBOX", "Entwürfe", "R&D"]
    mails = found["INBOX"].mails
    good = b"Subject: x\r\n\r\nx\r\n"
    assert {uid: mail.content for uid, mail in mails.items()} == {
        1: good, 2: good, 3: good, 5: b"a\x80b\r\n", 6: None, 9: None, 10: b"", 11: good, 20: good,
    }  # fmt: skip
    assert mails[1].flags == {"\\Seen", "work"} and mails[20].flags == {"unknown-1"}
    assert "6.gz:2,: it cannot be read after" in mails[6].fault or "9.deny" in mails[6].fault
    assert "9.deny:2,: Permission denied" in mails[9].fault
    assert mails[11].date == 0
    assert {line.replace(str(root), "") for line in said(source.faults)} == {
        "/cur/10.empty:2,: it is empty: it is taken as it is",
        "/cur/11.old:2,: its time is -5 seconds after 1970: it gets the nearest from 1970 to 2106",
        "/cur/2.cut,S=99:2,: it should have 99 octets and has 14: it may have been cut: it is taken as it is",
        "/cur/3.wide,W=9:2,: it should have 9 octets by IMAP and has 17: it is taken as it is",
        "/cur/5.nul:2,: it has NULs: they are octets 0x80, as Dovecot shows them",
        "/cur/7.link:2,: it is a symbolic link: it is left out",
        "/cur/8.dir:2,: it is not a file: it is left out",
        "/dovecot-keywords: a line is none that Dovecot writes: it is passed over",
        "/dovecot-keywords: keyword b has no name: it is called unknown-1, as Dovecot calls it",
        "/dovecot-uidlist: line 13 gives UID 11 a second time: the rest of it is used",
        "/.elsewhere: it is a symbolic link: it is left out: import it by its own path",
        "Entw\\xfcrfe: it is not modified UTF-7, and it is not UTF-8: it is called Entwürfe here",
        "R&D: it is not modified UTF-7: it is called R&D here",
        "/.Entw\\xfcrfe/dovecot-uidlist: it is missing, or cannot be read: its messages get new UIDs",
        "/.R&D/dovecot-uidlist: it is missing, or cannot be read: its messages get new UIDs",
    }
    assert sum(fault.lost for fault in source.faults) == 3


@pytest.mark.parametrize(
    "letter",
    [b"\x28\xb5\x2f\xfd", b"BZh91AY&SYx", b"\x1f\x8b\x08 mail", b"Dovecot-LZ4\r*\x9b\xc5x", b"CRYPTED\3\7"],
)
async def test_what_begins_like_a_compressed_letter_is_none_if_its_size_says_so(tmp_path, letter) -> None:
    root = folder(tmp_path / "m", LIST + f"1 :1.a,S={len(letter)}\n2 :2.b,S=9999\n")
    put(root / "cur", f"1.a,S={len(letter)}:2,S", letter)
    put(root / "cur", "2.b,S=9999:2,S", letter)
    found, _ = await read(root)
    assert [mail.content for mail in found["INBOX"].mails.values()] == [letter, None]


async def test_a_compressed_letter_that_has_the_size_of_the_letter_is_read(tmp_path) -> None:
    letters = [bytes(range(200, 220)) + b"x" * n for n in range(100)]
    [letter] = [one for one in letters if len(gzip.compress(one, mtime=0)) == len(one)][:1]
    root = folder(tmp_path / "m", LIST + f"1 :1.a,S={len(letter)}\n")
    put(root / "cur", f"1.a,S={len(letter)}:2,S", gzip.compress(letter, mtime=0))
    found, source = await read(root)
    assert found["INBOX"].mails[1].content == letter
    assert not source.faults


async def test_no_more_of_a_letter_is_unpacked_than_it_takes_to_know_its_size(tmp_path, monkeypatch) -> None:
    packed = gzip.compress(bytes(50_000_000))
    root = folder(tmp_path / "m", LIST + f"1 :1.a,S={len(packed)}\n")
    put(root / "cur", f"1.a,S={len(packed)}:2,S", packed)
    whole, read_of_it = gzip.GzipFile.read, []

    def read_some(self, size):
        read_of_it.append(size)
        return whole(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", read_some)
    found, _ = await read(root)
    assert found["INBOX"].mails[1].content == packed.replace(b"\0", b"\x80").replace(b"\n", b"\r\n")
    assert len(read_of_it) <= 2


async def test_what_is_looked_at_twice_is_told_once(tmp_path) -> None:
    root = folder(tmp_path / "m", LIST + "1 :1.a,S=7\n")
    put(root / "cur", "1.a,S=7:2,S", b"a\0b")
    (root / "cur" / "2.b").mkdir()
    _, source = await read(root)
    assert len(source.faults) == 3
    await read_all(source)
    assert len(source.faults) == 3


async def test_a_folder_of_dovecot_without_its_uidlist_gets_new_uids_and_that_is_told(tmp_path) -> None:
    root = folder(tmp_path / "m", LIST)
    put(folder(root / ".Sent") / "cur", "1.a:2,S")
    put(folder(root / ".Trash", "2 nonsense\n") / "cur", "1.b:2,S")
    found, source = await read(root)
    assert [list(box.mails) for box in found.values()] == [[], [1], [1]]
    assert [box.folder.uidvalidity for box in found.values()] == [77, 0, 0]
    assert [fault.done for fault in source.faults] == ["its messages get new UIDs"] * 2


async def test_two_files_of_one_name_are_two_messages_unless_they_are_one_file(tmp_path) -> None:
    root = folder(tmp_path / "m", LIST + "1 :1.a\n2 :2.b\n")
    put(root / "cur", "1.a:2,S", b"first")
    put(root / "new", "1.a", b"second")
    put(root / "cur", "2.b:2,S", b"linked")
    os.link(root / "cur" / "2.b:2,S", root / "new" / "2.b")
    found, source = await read(root, settled=True)
    assert sorted(mail.content for mail in found["INBOX"].mails.values()) == [b"first", b"linked", b"second"]
    assert list(found["INBOX"].mails) == [1, 2, 20]
    assert sorted(fault.what for fault in source.faults) == [
        "another file has this name",
        "another file with this name is the same",
    ]


async def test_of_two_files_of_one_name_none_is_taken_for_the_other(tmp_path) -> None:
    root = folder(tmp_path / "m", LIST + "1 :1.a\n")
    put(root / "cur", "1.a:2,S", b"one")
    put(root / "new", "1.a", b"other")
    source = Maildir(root, Naming(), Options(settled=True))
    inbox = await _only(source)
    [_, uid_in_cur] = (await source.messages(inbox)).uids
    (root / "cur" / "1.a:2,S").unlink()
    async with aclosing(source.letters(inbox, [uid_in_cur])) as letters:
        assert [letter async for letter in letters] == []


async def test_a_folder_that_is_made_anew_meanwhile_is_read_as_it_is_now(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("aerogramme.migrate.sources.reading.AHEAD", 1)
    root = folder(tmp_path / "m", LIST + "1 :1.a\n2 :2.b\n3 :3.c\n")
    put(root / "cur", "1.a:2,S", b"one")
    put(root / "cur", "2.b:2,S", b"two")
    put(root / "cur", "3.c:2,S", b"three")
    source = Maildir(root, Naming())
    inbox = await _only(source)
    await source.messages(inbox)
    contents = []
    async with aclosing(source.letters(inbox, [1, 2, 3])) as letters:
        async for letter in letters:
            contents.append(b"".join([piece async for piece in letter.pieces]))
            if len(contents) == 1:
                (root / "cur").rename(root / "old")
                (root / "cur").mkdir()
                (root / "old" / "3.c:2,S").rename(root / "cur" / "3.c:2,FS")
    assert contents == [b"one", b"two", b"three"]


async def test_what_dovecot_is_about_to_list_is_waited_for(tmp_path, monkeypatch) -> None:
    root = folder(tmp_path / "m", LIST)
    put(root / "new", "1.a")
    (root / "dovecot-uidlist.lock").write_text("")

    def sleep(seconds: float) -> None:
        (root / "dovecot-uidlist").write_text(LIST + "20 :1.a\n")
        (root / "dovecot-uidlist.lock").unlink()

    monkeypatch.setattr(maildir_files.time, "sleep", sleep)
    found, source = await read(root)
    assert list(found["INBOX"].mails) == [20]
    assert not source.faults


async def test_a_file_that_is_renamed_while_the_folder_is_listed_is_not_missed(tmp_path, monkeypatch) -> None:
    root = folder(tmp_path / "m", LIST + "1 :1.a\n2 :2.b\n")
    put(root / "cur", "1.a:2,S")
    put(root / "cur", "2.b:2,S")
    whole = maildir_files.folders.names
    listings = []

    def names(descriptor: int) -> list[bytes]:
        found = whole(descriptor)
        listings.append(found)
        return [name for name in found if len(listings) > 2 or not name.startswith(b"2.b")]

    monkeypatch.setattr(maildir_files.folders, "names", names)
    source = Maildir(root, Naming())
    inbox = await _only(source)
    listings.clear()
    assert list((await source.messages(inbox)).uids) == [1, 2]


async def _only(source: Maildir):
    [folder] = await source.folders()
    return folder


@pytest.mark.parametrize("part", ["cur", "new"])
async def test_a_linked_folder_of_mail_is_unreadable(tmp_path, part) -> None:
    root = folder(tmp_path / "m")
    (root / part).rmdir()
    (root / part).symlink_to("/etc")
    source = Maildir(root, Naming())
    inbox = await _only(source)
    with pytest.raises(Unreadable):
        await source.messages(inbox)


async def test_a_folder_of_dovecots_files_that_cannot_be_entered_costs_one_mailbox(tmp_path) -> None:
    root = folder(tmp_path / "m")
    put(folder(root / ".Sent") / "cur", "1.a:2,S")
    put(folder(root / ".Work") / "cur", "1.b:2,S")
    control = tmp_path / "control"
    control.mkdir()
    (control / ".Sent").symlink_to("/etc")
    found, source = await read(root, control=control)
    assert list(found) == ["INBOX", "Work"] and len(found["Work"].mails) == 1
    [lost] = [fault for fault in source.faults if fault.lost]
    assert lost.origin.endswith(".Sent")


async def test_a_folder_called_inbox_is_not_taken_for_the_inbox(tmp_path) -> None:
    root = folder(tmp_path / "m")
    put(root / "cur", "1.a:2,S", b"inbox")
    put(folder(root / ".INBOX") / "cur", "1.b:2,S", b"other")
    found, _ = await read(root)
    contents = {name: [mail.content for mail in box.mails.values()] for name, box in found.items()}
    assert contents == {"INBOX": [b"inbox"], "INBOX_": [b"other"]}


async def test_a_folder_that_cannot_be_looked_into_costs_only_itself(tmp_path, monkeypatch) -> None:
    root = folder(tmp_path / "m")
    put(folder(root / "a" / "b") / "cur", "1.a:2,S")
    folder(root / "deny" / "c")
    (root / "link").symlink_to(root / "a" / "b")
    (root / "gone").mkdir()
    whole = maildir_files.folders.inner

    def inner(descriptor: int, name: bytes):
        if name == b"deny":
            raise PermissionError(13, "Permission denied")
        if name == b"gone":
            (root / "gone").rmdir()
        return whole(descriptor, name)

    def has(descriptor: int, name: bytes) -> bool:
        if name == b"link/cur":
            raise PermissionError(13, "Permission denied")
        return has_it(descriptor, name)

    has_it = maildir_files.folders.has
    monkeypatch.setattr(maildir_files.folders, "inner", inner)
    monkeypatch.setattr(maildir_files.folders, "has", has)
    found, source = await read(root, layout="fs")
    assert list(found) == ["INBOX", "a/b"] and len(found["a/b"].mails) == 1
    assert said(source.faults) == [
        f"{root}/deny: Permission denied: it is left out: import it by its own path",
        f"{root}/link: it is a symbolic link: it is left out: import it by its own path",
    ]


async def test_a_file_that_gets_other_names_all_the_time_is_not_taken_for_gone(tmp_path, monkeypatch) -> None:
    root = folder(tmp_path / "m", LIST + "1 :1.a\n2 :2.b\n")
    put(root / "cur", "1.a:2,S")
    put(root / "cur", "2.b:2,")
    whole, renamed = os.stat, 0

    def stat(path, **named):
        nonlocal renamed
        if isinstance(path, bytes) and path.startswith(b"cur/2.b") and renamed < times:
            renamed += 1
            now = next((root / "cur").glob("2.b*"))
            now.rename(now.with_name("2.b:2," + "FS"[renamed % 2]))
        return whole(path, **named)

    monkeypatch.setattr(os, "stat", stat)
    source = Maildir(root, Naming())
    times, inbox = 3, await _only(source)
    assert list((await source.messages(inbox)).uids) == [1, 2]
    times = 99
    assert list((await source.messages(inbox)).uids) == [1]
    assert [fault.lost for fault in source.faults] == [True]


async def test_what_is_no_maildir_is_unreadable(tmp_path) -> None:
    for path in tmp_path, tmp_path / "nothing":
        with pytest.raises(Unreadable):
            await Maildir(path, Naming()).folders()
