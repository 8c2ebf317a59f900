"""Mbox files made by hand: where messages begin and end, what is quoted, and what is broken."""

import bz2
import gzip
import lzma
import os
import time
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.mbox import scan as mbox_scan
from aerogramme.migrate.sources.mbox.from_lines import date_of
from aerogramme.migrate.sources.mbox.letter import MboxLetter, Part
from aerogramme.migrate.sources.mbox.listing import Options
from aerogramme.migrate.sources.mbox.mbox import Mbox, looks_like
from aerogramme.migrate.sources.naming import Naming
from aerogramme.migrate.sources.reading import PIECE
from aerogramme.migrate.sources.source import Letter
from tests.helpers.source_reading import Box, read_all, said

FROM = b"From joe@example.org Tue Jan  7 10:00:00 2020 +0000\n"
JAN = 1578391200


async def read(path: Path, **options) -> tuple[dict[str, Box], Mbox]:
    source = Mbox(path, Naming(), Options(**options))
    return await read_all(source), source


async def only(path: Path, octets: bytes, **options) -> tuple[list[bytes | None], list[str]]:
    """The letters in an mbox of these octets, and what was wrong with it."""
    path.write_bytes(octets)  # noqa: ASYNC240
    found, source = await read(path, **options)
    [box] = found.values()
    return [mail.content for mail in box.mails.values()], said(source.faults)


def whole(letter: MboxLetter, size: int) -> bytes:
    return b"".join(iter(lambda: letter.read(size), b""))


# --- From lines


@pytest.mark.parametrize(
    ("line", "date"),
    [
        (b"From joe@example.org Tue Jan  7 10:00:00 2020", JAN),
        (b"From joe@example.org  Tue Jan 07 10:00 2020\r\n", JAN),
        (b"From - Tue Jan  7 10:00:00 2020\n", JAN),
        (b"From Tue Jan  7 10:00:00 2020\n", JAN),
        (b'From "a b c"@x Tue Jan  7 10:00:00 2020\n', JAN),
        (b"From x Tue Jan  7 10:00:00 2020 remote from there\n", JAN),
        (b"From x Tue Jan  7 12:00:00 2020 +0200\n", JAN),
        (b"From 123@xxx Tue Jan 07 08:00:00 -0200 2020\n", JAN),
        (b"From x Tue Jan  7 11:00:00 CET 2020\n", JAN),
        (b"From x Tue Jan  7 10:00:00 WXYZ 2020\n", JAN),
        (b"From x Tue, 7 Jan 2020 11:00:00 +0100\n", JAN),
        (b"From x Tue Jan  7 10:00:60 2020\n", JAN + 59),
        (b"From x Tue Foo  7 10:00:00 2020\n", None),
        (b"From x Tue Feb 30 10:00:00 2020\n", None),
        (b"From x Tue Jan  7 25:00:00 2020\n", None),
        (b"From here on\n", None),
        (b"From \n", None),
    ],
)
def test_a_from_line_has_a_date(line, date) -> None:
    assert date_of(line, utc=True) == date


def test_a_time_without_zone_is_that_of_this_machine(monkeypatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert date_of(b"From x Tue Jan  7 11:00:00 2020\n", utc=False) == JAN
        assert date_of(b"From x Tue Jan  7 10:00:00 2020 +0000\n", utc=False) == JAN
    finally:
        monkeypatch.undo()
        time.tzset()


# --- messages

LINE = st.sampled_from(
    [b"\n", b"From x\n", b"From joe Tue Jan  7 10:00:00 2020\n", b">From x\n", b">>From y\n", b"\r\n",
     b"Status: R\n", b"text\n", b"x: y\r\n", b" folded\n"]
)  # fmt: skip
LINES = st.lists(LINE, max_size=12).map(b"".join)


def quoted(letter: bytes) -> bytes:
    """As mboxrd has it."""
    lines = letter.splitlines(keepends=True)
    return b"".join(b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in lines)


@given(st.lists(st.tuples(LINES, st.booleans()), max_size=5))
def test_letters_are_what_was_put_into_an_mbox(tmp_path_factory, letters) -> None:
    letters = [(b"Subject: x\n\n" + body, counted) for body, counted in letters]
    octets = b""
    for letter, counted in letters:
        length = b"Content-Length: %d\n" % (len(letter) - 12) if counted else b""
        octets += FROM + length + b"Status: O\n" + (letter if counted else quoted(letter)) + b"\n"
    path = tmp_path_factory.getbasetemp() / "an.mbox"
    path.write_bytes(octets)
    with path.open("rb") as file:
        found = list(mbox_scan.messages(file.fileno(), len(octets), utc=True))
        assert [one.date for one in found] == [JAN] * len(letters)
        for one, (letter, _) in zip(found, letters, strict=True):
            part = Part(file.fileno(), one.start, one.end)
            assert whole(MboxLetter(part, one.body - one.start, quoted=not one.counted), 1000) == letter


@given(st.integers(1, 40), LINES)
def test_lines_are_unquoted_wherever_a_read_ends(tmp_path_factory, size, body) -> None:
    path = tmp_path_factory.getbasetemp() / "letter"
    path.write_bytes(octets := b"Subject: x\nX-UID: 1\n 2\nX-Uidl: y\n\n" + quoted(body))
    with path.open("rb") as file:
        letter = MboxLetter(Part(file.fileno(), 0, len(octets)), octets.index(b"\n\n") + 2, quoted=True)
        assert whole(letter, size) == b"Subject: x\nX-Uidl: y\n\n" + body


@given(st.binary(max_size=300), LINES)
def test_any_octets_are_some_messages(tmp_path_factory, some, lines) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(octets := FROM + some + b"\n" + FROM + lines)
    with path.open("rb") as file:
        found = list(mbox_scan.messages(file.fileno(), len(octets), utc=True))
    assert len(found) >= 2
    for one, following in zip(found, [*found[1:], None], strict=True):
        assert one.at < one.start <= one.body <= one.end <= (following.at if following else len(octets))


async def test_a_header_that_is_larger_than_a_read_is_one(tmp_path) -> None:
    head = b"".join(b"X-Line-%d: %s\n" % (n, b"x" * (n % 90)) for n in range(4000)) + b"X-UID: 9\n"
    letters, wrong = await only(tmp_path / "m", (FROM + head + b"\nbody\n\n") * 2)
    assert letters == [(head[: -len(b"X-UID: 9\n")] + b"\nbody\n").replace(b"\n", b"\r\n")] * 2
    assert not wrong


async def test_a_message_may_have_no_body_no_header_or_neither(tmp_path) -> None:
    letters, wrong = await only(tmp_path / "m", FROM + b"a: b\n" + FROM + b"\nbody\n\n" + FROM + FROM + b"\n")
    assert letters == [b"a: b\r\n", b"\r\nbody\r\n", b"", b"\r\n"]
    assert not wrong


async def test_what_belongs_to_the_mbox_says_uids_flags_and_keywords(tmp_path) -> None:
    one = b"X-IMAPbase: 77 0000000009 work\nX-UID: 3\nStatus: RO\nX-Status: AFTD\n"
    one += b"X-Keywords: work  more \n\n1\n\n"
    two = b"Subject: 2\nX-UID: 7\nStatus: O\n\n2\n\n"
    path = tmp_path / "Work.mbox"
    path.write_bytes(FROM + one + FROM + two)
    found, source = await read(path)
    box = found["Work"]
    assert (box.folder.uidvalidity, box.folder.uidnext, box.folder.subscribed) == (77, 10, None)
    every = {"\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "work", "more"}
    assert {uid: (mail.flags, mail.date) for uid, mail in box.mails.items()} == {
        3: (every, JAN),
        7: (set(), JAN),
    }
    assert not source.faults


async def test_the_first_message_may_be_none(tmp_path) -> None:
    pseudo = b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 77 5\nStatus: RO\n\nx\n\n"
    path = tmp_path / "m"
    path.write_bytes(FROM + pseudo + FROM + b"X-UID: 4\n\n4\n\n")
    found, _ = await read(path)
    assert found["m"].folder.uidvalidity == 77
    assert list(found["m"].mails) == [4]


async def test_thunderbird_says_flags_its_own_way_and_keeps_what_was_deleted(tmp_path) -> None:
    path = tmp_path / "Inbox"
    mails = [(b"1005", b"a b"), (b"0009", b""), (b"0000", b""), (b"zz", b"")]
    lines = [
        b"From - Tue Jan  7 10:00:00 2020\nX-Mozilla-Status: %s\nX-Mozilla-Keys: %s  \n\n.\n\n" % m
        for m in mails
    ]
    path.write_bytes(b"".join(lines))
    found, _ = await read(path)
    assert [mail.flags for mail in found["INBOX"].mails.values()] == [
        {"\\Seen", "\\Flagged", "$Forwarded", "a", "b"}, set(), set(),
    ]  # fmt: skip


async def test_each_broken_thing_is_told_by_name_and_all_else_is_read(tmp_path) -> None:
    octets = FROM + b"X-IMAPbase: 77 9\nX-UID: 3\n\n1\n\n"
    octets += FROM + b"X-UID: 3\n\n2\n\n" + FROM + b"Content-Length: 700\n\n3\n\n" + FROM + b"\n4\0\n\n"
    octets += b"From x Mon Jan  1 00:00:00 1940\n\n5\n\n" + FROM + b"X-UID: 99999999999\n\ncut"
    letters, wrong = await only(tmp_path / "m", octets)
    assert letters == [b"\r\n%s\r\n" % body for body in (b"1", b"2", b"3", b"4\x80", b"5")] + [b"\r\ncut"]
    assert [line.removeprefix(f"{tmp_path}/m UID ") for line in wrong] == [
        "10: X-UID 3 cannot be, after UID 3: it gets UID 10",
        "11: Content-Length is 700, and it does not end there: it ends where the next one begins",
        "12: it has NULs: they are octets 0x80, as Dovecot shows them",
        "13: its time is -946771200 seconds after 1970: it gets the nearest from 1970 to 2106",
    ]


async def test_a_first_line_without_date_begins_a_message_all_the_same(tmp_path) -> None:
    letters, wrong = await only(tmp_path / "m", b"From me\nSubject: x\n\nFrom me\n\n" + FROM + b"\n2\n\n")
    assert letters == [b"Subject: x\r\n\r\nFrom me\r\n", b"\r\n2\r\n"]
    [line] = wrong
    assert line.endswith("UID 1: its From line has no date: it has the time of the file")


def test_a_line_that_is_read_in_parts_is_unquoted_at_its_start_only(tmp_path) -> None:
    octets = b"\n" + b"x" * (10 + (1 << 16)) + b">>From y\n>From z\n"
    (tmp_path / "m").write_bytes(octets)
    with (tmp_path / "m").open("rb") as file:
        letter = MboxLetter(Part(file.fileno(), 0, len(octets)), 1, quoted=True)
        assert whole(letter, 10) == octets.replace(b"\n>From z", b"\nFrom z")


async def test_keywords_without_end_take_no_memory(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("aerogramme.migrate.sources.mbox.mbox._MAX_FLAGS_TEXT", 5000)
    path = tmp_path / "m"
    path.write_bytes(b"".join(FROM + b"X-Keywords: %d%s\n\n.\n\n" % (n, b"k" * 500) for n in range(20)))
    source = Mbox(path, Naming())
    [folder] = await source.folders()
    with pytest.raises(Unreadable, match="too many different"):
        await source.messages(folder)


async def test_a_letter_is_not_taken_for_a_compressed_one(tmp_path) -> None:
    octets = FROM + b"\x1f\x8b\x08 mail\n\n" + FROM + b"CRYPTED\x03\x07\n\n"
    letters, wrong = await only(tmp_path / "m", octets)
    assert letters == [b"\x1f\x8b\x08 mail\r\n\r\n", b"CRYPTED\x03\x07\r\n\r\n"]
    assert not wrong


async def test_a_dovecot_quotes_nothing(tmp_path) -> None:
    octets = FROM + b"\n>From x\n\n"
    assert (await only(tmp_path / "m", octets))[0] == [b"\r\nFrom x\r\n"]
    assert (await only(tmp_path / "m", octets, dovecot=True))[0] == [b"\r\n>From x\r\n"]


# --- folders


async def test_folders_of_several_programs_are_mailboxes(tmp_path) -> None:
    letter = FROM + b"\n1\n\n"
    for name in [
        "Inbox",
        "Inbox.msf",
        "Lists.sbd/trio",
        "Lists",
        "Old.mbox/mbox",
        "a/b.mbox",
        "c",
        "c.mbox",
        ".x/y",
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(letter)
    (tmp_path / "notes.txt").write_text("Dear diary")
    (tmp_path / "link").symlink_to("c")
    os.mkfifo(tmp_path / "fifo")
    found, source = await read(tmp_path)
    assert list(found) == ["INBOX", "Lists", "Lists/trio", "Old", "a/b", "c", "c.mbox"]
    assert all(len(box.mails) == 1 for box in found.values())
    assert [line.replace(f"{tmp_path}/", "") for line in said(source.faults)] == [
        "fifo: it is not a file: it is left out",
        "link: it is a symbolic link: it is left out: import it by its own path",
        "notes.txt: it is no mbox: it is passed over",
    ]
    assert looks_like(tmp_path) and looks_like(tmp_path / "c") and not looks_like(tmp_path / "notes.txt")


async def test_what_is_no_mbox_is_unreadable(tmp_path) -> None:
    (tmp_path / "notes").write_text("Dear diary")
    for path in tmp_path, tmp_path / "nothing", tmp_path / "notes":
        with pytest.raises(Unreadable):
            await Mbox(path, Naming()).folders()


def test_what_is_no_file_is_no_mbox(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not looks_like(tmp_path / "pipe")
    assert not looks_like(tmp_path / "nothing")


async def test_a_compressed_mbox_is_to_be_unpacked(tmp_path) -> None:
    packed = [pack(FROM + b"\n1\n\n") for pack in (gzip.compress, bz2.compress, lzma.compress)]
    for name, octets in zip("abcd", [*packed, b"Dovecot-LZ4\r*\x9b\xc5"], strict=True):
        (tmp_path / name).write_bytes(octets)
        with pytest.raises(Unreadable, match="has to be unpacked"):
            await Mbox(tmp_path / name, Naming()).folders()


async def test_what_is_written_between_two_looks_is_read_as_it_is_then(tmp_path) -> None:
    path = tmp_path / "m"
    path.write_bytes(FROM + b"X-IMAPbase: 77 3\nX-UID: 1\n\n1\n\n" + FROM + b"X-UID: 2\n\n2\n\n")
    source = Mbox(path, Naming())
    [folder] = await source.folders()
    messages = await source.messages(folder)
    path.write_bytes(FROM + b"X-IMAPbase: 77 3\nX-UID: 2\n\n2\n\n" + FROM + b"X-UID: 3\n\n3\n\n")
    [found] = [
        (letter.uid, b"".join([piece async for piece in letter.pieces]))
        async for letter in source.letters(folder, messages.uids)
    ]
    assert found == (2, b"\r\n2\r\n")


async def test_a_letter_that_is_cut_while_it_is_read_is_unreadable(tmp_path) -> None:
    path = tmp_path / "m"
    path.write_bytes(FROM + b"\n" + b"x" * 10 * PIECE + b"\n\n")
    source = Mbox(path, Naming())
    [folder] = await source.folders()
    [uid] = (await source.messages(folder)).uids
    async with aclosing(source.letters(folder, [uid])) as letters:
        letter = await anext(letters)
        assert isinstance(letter, Letter)
        with pytest.raises(Unreadable, match="octets too early"):
            async for _ in letter.pieces:
                os.truncate(path, 5 * PIECE)  # by a program that knows of no locks


async def test_a_file_that_is_locked_is_waited_for(tmp_path, monkeypatch) -> None:
    path = tmp_path / "m"
    path.write_bytes(FROM + b"\n1\n\n")
    (tmp_path / "m.lock").write_text("")
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        (tmp_path / "m.lock").unlink()

    monkeypatch.setattr("aerogramme.migrate.sources.mbox.mbox.time.sleep", sleep)
    found, _ = await read(path)
    assert slept and len(found["m"].mails) == 1


async def test_two_files_that_would_have_one_name_are_two_mailboxes(tmp_path) -> None:
    for path in "Lists/x", "Lists.sbd/x", "Work", "Work.mbox/mbox", "INBOX":
        (tmp_path / "mail" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mail" / path).write_bytes(FROM + b"\n" + path.encode() + b"\n")
    (tmp_path / "spool").write_bytes(FROM + b"\nspool\n")
    found, _ = await read(tmp_path / "mail", inbox=tmp_path / "spool")
    assert {name: next(iter(box.mails.values())).content for name, box in found.items()} == {
        "INBOX": b"\r\nspool",
        "INBOX_": b"\r\nINBOX",
        "Lists/x": b"\r\nLists/x",
        "Lists/x_": b"\r\nLists.sbd/x",
        "Work": b"\r\nWork",
        "Work.mbox/mbox": b"\r\nWork.mbox/mbox",
    }


async def test_what_cannot_be_read_costs_only_itself(tmp_path, monkeypatch) -> None:
    for path in "good", "bad", "folder/a", "other/b":
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(FROM + b"\n1\n")
    bad = (tmp_path / "bad").stat().st_ino
    opened, read_at = os.open, os.pread

    def deny(path, *more, **named):
        if path == b"folder":
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *more, **named)

    def fail(descriptor, size, at):
        if os.fstat(descriptor).st_ino == bad and size > 5:
            raise OSError(5, "Input/output error")
        return read_at(descriptor, size, at)

    monkeypatch.setattr(os, "open", deny)
    monkeypatch.setattr(os, "pread", fail)
    found, source = await read(tmp_path)
    assert sorted(found) == ["good", "other/b"]
    assert said(fault for fault in source.faults if fault.lost) == [
        f"{tmp_path}/bad: Input/output error: it is left out",
        f"{tmp_path}/folder: Permission denied: it is left out",
    ]
