"""dbox: files and stores that nobody would write, and what is read of them all the same."""

import os
import struct
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dbox.attachments import attachments
from aerogramme.migrate.sources.dbox.dbox import Dbox, looks_like
from aerogramme.migrate.sources.dbox.file import FIRST, DboxFile, Stored
from aerogramme.migrate.sources.naming import Naming
from aerogramme.migrate.sources.source import Letter
from tests.helpers.dbox_writer import HEADER, guid_of, mdbox, sdbox, stored
from tests.helpers.source_reading import Box, read_all, said

LETTERS = {uid: b"Subject: %d\n\n" % uid + b"line\n" * uid for uid in range(1, 9)}
WIDE = {uid: content.replace(b"\n", b"\r\n") for uid, content in LETTERS.items()}


def open_dbox(path: Path, data: bytes) -> DboxFile:
    path.write_bytes(data)
    return DboxFile(path.open("rb", buffering=0), path.name)


def content(file: DboxFile, one: Stored) -> bytes:
    with file.letter(one) as letter:
        return letter.read()


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=300), max_size=5), st.sampled_from([HEADER, b"2 C0 M1e\n", b"2 M1e\n"]))
def test_all_letters_of_a_file(
    tmp_path_factory: pytest.TempPathFactory, letters: list[bytes], header: bytes
) -> None:
    data = header + b"".join(stored(one, number, 7, "a/b") for number, one in enumerate(letters, 1))
    file = open_dbox(tmp_path_factory.mktemp("dbox") / "m.1", data)
    found = list(file.scan())
    assert [content(file, one) for one in found] == letters
    assert [one.guid for one in found] == [guid_of(number) for number in range(1, len(letters) + 1)]
    assert all((one.received, one.wrong, one.metadata["B"]) == (7, "", b"a/b") for one in found)
    if letters:
        assert file.stored(FIRST) == found[0]
    file.release()


@settings(max_examples=50)
@given(st.data())
def test_noise_in_a_file_costs_no_other_letter(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """What is between two letters that are whole may be anything."""
    noise = data.draw(
        st.binary(max_size=200) | st.sampled_from([b"\x01\x02N ", b"\n\x01\x03\nR", b"\n\x01\x02N " * 9])
    )
    whole = stored(b"first\n", 1, 1), stored(b"second\n", 2, 2)
    file = open_dbox(tmp_path_factory.mktemp("dbox") / "m.1", HEADER + whole[0] + noise + b"\n" + whole[1])
    found = [content(file, one) for one in file.scan()]
    assert found[0] == b"first\n"
    assert found[-1].endswith(b"second\n")
    file.release()


def test_a_size_that_is_wrong_is_found_out(tmp_path: Path) -> None:
    data = stored(b"a letter\n", 1, 1)
    for size in (b"0" * 16, b"0" * 15 + b"3", b"0" * 12 + b"FFFF", b"F" * 16):
        file = open_dbox(tmp_path / "u.1", HEADER + data[:13] + size + data[29:] + stored(b"next\n", 2, 2))
        first, second = file.scan()
        assert content(file, first) == b"a letter\n"
        assert f"not {int(size, 16)} octets but 9" in first.wrong or "is not" in first.wrong
        assert (first.received, content(file, second)) == (1, b"next\n")
        file.release()


def test_metadata_without_end_takes_no_memory(tmp_path: Path) -> None:
    data = stored(b"a letter\n", 1, 1).replace(b"\n\n", b"\n" + b"X" * 3_000_000)
    file = open_dbox(tmp_path / "u.1", HEADER + data)
    assert file.stored(FIRST).wrong == "its metadata is missing"
    file.release()


def test_a_guid_of_another_form_is_hashed(tmp_path: Path) -> None:
    data = stored(b"x", 1, 1).replace(guid_of(1).hex().encode(), b"1700000000.M1P2.host")
    file = open_dbox(tmp_path / "u.1", HEADER + data)
    assert file.stored(FIRST).guid == sha1(b"1700000000.M1P2.host").digest()[4:]
    file.release()


@pytest.mark.parametrize(
    "value", [b"", b"1 2", b"5 1 - a 3 1 - b", b"0 1 B7 a", b"0 1 - ../a", b"0 1 - /a", b"x 1 - a"]
)
def test_attachments_that_make_no_sense(value: bytes) -> None:
    with pytest.raises(Unreadable):
        attachments(value, b"")


def test_what_is_said_of_attachments() -> None:
    first, second = attachments(b"10 20 CB76 ab/cd/hash-guid 40 5 - e", b"-suffix")
    assert (first.start, first.size, first.line, first.end) == (10, 20, 76, b"\r\n")
    assert first.path == (b"ab", b"cd", b"hash-guid-suffix")
    assert (second.line, second.path) == (0, (b"e-suffix",))


async def test_a_store_by_hand(tmp_path: Path) -> None:
    for make in (sdbox, mdbox):
        root = tmp_path / make.__name__
        make(root, LETTERS)
        assert looks_like(root)
        source = Dbox(root, Naming())
        found = (await read_all(source))["INBOX"]
        assert not source.faults, said(source.faults)
        assert {uid: mail.content for uid, mail in found.mails.items()} == WIDE
        assert [mail.date for mail in found.mails.values()] == list(WIDE)
        assert [mail.size for mail in found.mails.values()] == [len(one) for one in WIDE.values()]
    assert not looks_like(tmp_path)
    with pytest.raises(Unreadable, match="is no dbox"):
        await Dbox(tmp_path, Naming()).folders()


async def test_a_store_without_any_mailbox_is_not_believed(tmp_path: Path) -> None:
    """A pass with --delete would remove all that was taken over. There is INBOX, or something is wrong."""
    (tmp_path / "mailboxes").mkdir()
    assert looks_like(tmp_path)
    source = Dbox(tmp_path, Naming())
    with pytest.raises(Unreadable, match="No mailbox is found") as error:
        await source.folders()
    assert "mounted" in error.value.hint
    await source.aclose()


async def test_a_letter_that_has_another_size_than_it_says(tmp_path: Path) -> None:
    sdbox(tmp_path, LETTERS)
    path = tmp_path / "mailboxes/INBOX/dbox-Mails/u.3"
    path.write_bytes(path.read_bytes().replace(b"\nV", b"\nV7"))
    source = Dbox(tmp_path, Naming())
    mails = (await read_all(source))["INBOX"].mails
    assert mails[3].content == WIDE[3]
    assert [fault.what for fault in source.faults] == [
        f"it has {len(WIDE[3])} octets, not {0x700 + len(WIDE[3])}"
    ]


async def test_an_index_that_is_lost_says_so(tmp_path: Path) -> None:
    for make in (sdbox, mdbox):
        root = tmp_path / make.__name__
        make(root, LETTERS)
        source = Dbox(root, Naming())
        (inbox,) = await source.folders()
        assert not (await source.messages(inbox)).flags_lost
        (root / "mailboxes/INBOX/dbox-Mails/dovecot.index.log").unlink()
        messages = await source.messages(inbox)
        assert messages.flags_lost
        assert len(messages.uids) == len(LETTERS)
        await source.aclose()


async def test_times_that_cannot_be(tmp_path: Path) -> None:
    sdbox(tmp_path, LETTERS)
    folder = tmp_path / "mailboxes/INBOX/dbox-Mails"
    for uid, date in ((3, b"FFFFFFFFFFFFFFFF"), (4, b"noise"), (5, b"")):
        path = folder / f"u.{uid}"
        path.write_bytes(path.read_bytes().replace(b"\nR%x\n" % uid, b"\nR%s\n" % date))
        os.utime(path, (1_600_000_000, 1_600_000_000))
    source = Dbox(tmp_path, Naming())
    mails = (await read_all(source))["INBOX"].mails
    assert [mails[uid].date for uid in (3, 4, 5)] == [0xFFFFFFFF, 1_600_000_000, 1_600_000_000]
    assert len(source.faults) == 3


async def test_links_are_not_followed(tmp_path: Path) -> None:
    """Who owns a store could have another's mail put among theirs."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    sdbox(mine, LETTERS)
    sdbox(other, LETTERS, "Secret")
    (mine / "mailboxes/Secret").symlink_to(other / "mailboxes/Secret")
    (mine / "mailboxes/Half").mkdir()
    (mine / "mailboxes/Half/dbox-Mails").symlink_to(other / "mailboxes/Secret/dbox-Mails")
    (mine / "dbox-alt-root").symlink_to(other)
    source = Dbox(mine, Naming())
    assert list(await read_all(source)) == ["INBOX"]
    lost = [fault.origin for fault in source.faults if fault.lost]
    assert lost == [f"{mine}/mailboxes/Half/dbox-Mails", f"{mine}/mailboxes/Secret"]


async def test_what_cannot_be_looked_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdbox(tmp_path / "store", LETTERS)
    (tmp_path / "control").write_text("no folder")
    source = Dbox(tmp_path / "store", Naming(), control=tmp_path / "control")
    (inbox,) = await source.folders()
    assert inbox.subscribed is None
    assert [fault.done for fault in source.faults] == ["it is not known what is subscribed"]

    def fail(_folder: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(Unreadable, match="Input/output error"):
        await source.folders()
    await source.aclose()


async def test_an_index_whose_records_are_too_small_is_not_used(tmp_path: Path) -> None:
    mdbox(tmp_path, LETTERS)
    log = tmp_path / "mailboxes/INBOX/dbox-Mails/dovecot.index.log"
    octets = log.read_bytes()
    for number, name in ((0xFFFFFFFF, b"mdbox"), (0, b"")):
        was, now = (struct.pack("<IIIHHHH", number, 0, 8, size, 4, 1, len(name)) + name for size in (8, 4))
        assert was in octets
        octets = octets.replace(was, now)
    log.write_bytes(octets)
    source = Dbox(tmp_path, Naming())
    found = (await read_all(source))["INBOX"]
    assert sorted(mail.content or b"" for mail in found.mails.values()) == sorted(WIDE.values())
    assert any("records of b'mdbox' have 4 octets" in line for line in said(source.faults))


async def test_a_mailbox_that_cannot_be_read_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdbox(tmp_path, LETTERS)
    sdbox(tmp_path, LETTERS, "Work")
    whole = os.listdir

    def fail(folder: int) -> list[str]:
        if os.readlink(f"/proc/self/fd/{folder}").endswith("Work/dbox-Mails"):
            raise OSError(5, "Input/output error")
        return whole(folder)

    monkeypatch.setattr(os, "listdir", fail)
    source = Dbox(tmp_path, Naming())
    assert len((await read_all(source))["INBOX"].mails) == len(LETTERS)
    assert [fault.what for fault in source.faults if fault.lost] == ["Input/output error"]


async def test_what_its_index_does_not_know_yet(tmp_path: Path) -> None:
    writer = sdbox(tmp_path, LETTERS)
    folder = tmp_path / "mailboxes/INBOX/dbox-Mails"
    for uid in (2, 40, 41):  # 2 was removed, and its file is still there
        (folder / f"u.{uid}").write_bytes((folder / "u.1").read_bytes())
    writer.expunge(2, 2)
    (folder / "dovecot.index.log").write_bytes(writer.log)
    source = Dbox(tmp_path, Naming())
    box = (await read_all(source))["INBOX"]
    assert sorted(box.mails) == [1, *range(3, 9), 40, 41]
    assert box.folder.uidnext == 42
    assert any("does not know 2 of its letters" in line for line in said(source.faults))


async def test_a_letter_has_its_file_before_the_index_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = sdbox(tmp_path, LETTERS)
    folder = tmp_path / "mailboxes/INBOX/dbox-Mails"
    (folder / "u.9").write_bytes((folder / "u.1").read_bytes())
    waited = []

    def goes_on(seconds: float) -> None:
        waited.append(seconds)
        writer.append(9, 8)
        (folder / "dovecot.index.log").write_bytes(writer.log)

    monkeypatch.setattr("aerogramme.migrate.sources.dbox.mailbox.sleep", goes_on)
    source = Dbox(tmp_path, Naming())
    box = (await read_all(source))["INBOX"]
    assert not source.faults
    assert box.mails[9].flags == {"\\Seen"}
    assert len(waited) == 1


async def test_letters_are_removed_one_after_the_other(tmp_path: Path) -> None:
    writer = sdbox(tmp_path, LETTERS)
    folder = tmp_path / "mailboxes/INBOX/dbox-Mails"
    source = Dbox(tmp_path, Naming())
    (inbox,) = await source.folders()
    uids = list((await source.messages(inbox)).uids)
    for uid in (3, 5):
        (folder / f"u.{uid}").unlink()
        writer.expunge(uid, uid)
        (folder / "dovecot.index.log").write_bytes(writer.log)
        left = [letter async for letter in source.letters(inbox, uids)]
        assert [letter.uid for letter in left if isinstance(letter, Letter)] == sorted(writer.state)
        assert len(left) == len(writer.state)
    await source.aclose()


@given(data=st.data(), make=st.sampled_from([sdbox, mdbox]))
@settings(max_examples=40)
def test_any_damage(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, make: Callable[..., object]
) -> None:
    """Whatever is in one file of a store: what can be read is read, nothing else happens, and the letters in
    other files are what they were."""
    root = tmp_path_factory.mktemp("damage")
    make(root, LETTERS)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    octets = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(octets) - 1))
        octets[at : at + 3] = data.draw(st.binary(max_size=4))
    path.write_bytes(octets[: data.draw(st.sampled_from([len(octets), len(octets), len(octets) // 3]))])

    async def read() -> Box:
        source = Dbox(root, Naming())
        return (await read_all(source)).get("INBOX") or pytest.fail(str(said(source.faults)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aerogramme.migrate.sources.dovecot.index._PAUSE", 0)
        patch.setattr("aerogramme.migrate.sources.dbox.mailbox._PAUSE", 0)
        box = trio.run(read)
    if "index" not in path.name:
        same = {uid for uid, mail in box.mails.items() if mail.content == WIDE[uid]}
        touched = 1 if make is sdbox else len(LETTERS) // 2
        assert len(same) >= len(LETTERS) - touched
    elif make is sdbox:
        assert all(mail.content == WIDE[uid] for uid, mail in box.mails.items() if uid in WIDE)
