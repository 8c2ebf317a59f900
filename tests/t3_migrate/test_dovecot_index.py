"""Dovecot's indexes: any history of one, of any machine; and whatever else files of these names may have."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dovecot.flags import flags_of, read_index_flags
from aerogramme.migrate.sources.dovecot.index import Index, read_backup, read_index
from aerogramme.migrate.sources.dovecot.mailbox_list import WANTED, listed
from aerogramme.migrate.sources.dovecot.records import Broken, Records
from aerogramme.migrate.sources.folders import Place
from aerogramme.migrate.sources.source import Fault
from tests.helpers.dovecot_index_writer import EXTERNAL, GUARD, UIDVALIDITY, Writer

SYSTEM = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")
KEYWORDS = ("$Forwarded", "work", *(f"k{n}" for n in range(9)))
UID = st.integers(1, 40)
FLAGS = st.integers(0, 31)


def put(folder: Path, writer: Writer) -> None:
    for name, data in (("", writer.index), (".log", bytes(writer.log)), (".log.2", writer.older)):
        path = folder / f"dovecot.index{name}"
        path.unlink(missing_ok=True)
        if data:
            path.write_bytes(data)


@contextmanager
def descriptor(folder: Path) -> Iterator[int]:
    found = os.open(folder, os.O_RDONLY)
    try:
        yield found
    finally:
        os.close(found)


def read(folder: Path, how: Callable[[int, str, tuple[bytes, ...]], Index | None] = read_index) -> Index:
    with descriptor(folder) as found:
        index = how(found, "dovecot.index", (b"mdbox",))
    assert index is not None
    return index


def assert_same(index: Index, writer: Writer) -> None:
    records = index.records
    assert not index.wrong
    assert (records.uidvalidity, records.uidnext) == (UIDVALIDITY, writer.uidnext)
    expected = writer.expected()
    assert list(records.uids) == sorted(expected)
    for uid, flags in zip(records.uids, flags_of(records), strict=True):
        system = [name for bit, name in enumerate(SYSTEM) if expected[uid].flags >> bit & 1]
        assert sorted(flags) == sorted([*system, *expected[uid].keywords]), uid
    extension = records.extension(b"mdbox")
    found = b"" if extension is None else bytes(extension.records)
    assert found == b"".join(expected[uid].record for uid in sorted(expected) if extension)


@st.composite
def histories(draw: st.DrawFn) -> Writer:
    writer = Writer(big=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 30))):
        first, more = draw(UID), draw(st.integers(0, 10))
        step = draw(st.integers(0, 11))
        if step <= 2:
            writer.append(writer.uidnext + draw(st.integers(0, 2)), draw(FLAGS))
        elif step == 3:
            writer.expunge(first, first + more, guid=draw(st.booleans()))
        elif step == 4:
            writer.flags(first, first + more, draw(FLAGS), draw(FLAGS))
        elif step <= 6:
            ranges = [(first, first + more)] * draw(st.integers(1, 2))
            writer.keyword(draw(st.sampled_from(KEYWORDS)), ranges, add=draw(st.booleans()))
        elif step == 7:
            writer.no_keywords(first, first + more)
        elif step == 8:
            writer.introduce("mdbox")
            writer.records(
                {uid: draw(st.binary(min_size=8, max_size=8)) for uid in list(writer.state)[:more]}
            )
        elif step == 9:
            writer.introduce("other", 4)
            writer.record(0x200, writer.p("II", first, more))  # of nobody's interest
        elif step == 10:
            writer.ask_to_expunge(first)
        elif draw(st.booleans()):
            writer.done_with_asked()
            writer.write_index()
        else:
            writer.done_with_asked()
            writer.rotate()
    return writer


@given(histories())
def test_any_history_is_read(tmp_path_factory: pytest.TempPathFactory, writer: Writer) -> None:
    folder = tmp_path_factory.mktemp("index")
    put(folder, writer)
    assert_same(read(folder), writer)


def some(big: bool = False) -> Writer:
    """An index with all kinds of things in it, after a rotation."""
    writer = Writer(big=big)
    writer.introduce("mdbox")
    for uid in range(1, 20):
        writer.append(uid, uid % 32)
        writer.records({uid: uid.to_bytes(8, "big")}) if uid == 1 else None
    writer.keyword("work", [(2, 5), (7, 7)], add=True)
    writer.write_index()
    writer.expunge(4, 5)
    writer.rotate()
    writer.append(30, 1)
    writer.keyword("later", [(1, 30)], add=True)
    writer.flags(1, 10, 8, 1)
    return writer


@given(st.data())
@settings(max_examples=150)
def test_noise_is_said_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Damage anywhere gives an index, or Unreadable, and nothing else."""
    writer = some(data.draw(st.booleans()))
    for name in ("index", "log", "older"):
        octets = bytearray(getattr(writer, name))
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(octets) - 1))
            octets[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4))
        octets = octets[: data.draw(st.sampled_from([len(octets), len(octets), len(octets) // 2]))]
        setattr(writer, name, octets if name == "log" else bytes(octets))
    folder = tmp_path_factory.mktemp("noise")
    put(folder, writer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aerogramme.migrate.sources.dovecot.index._PAUSE", 0)
        for how in (read_index, read_backup):
            with descriptor(folder) as found:
                try:
                    index = how(found, "dovecot.index", (b"mdbox", *WANTED))
                except Unreadable:
                    continue
            if index is not None:
                assert len(flags_of(index.records)) == len(index.records.uids)
                try:
                    listed(index.records)
                except Broken:
                    continue


def test_a_log_that_ends_within_a_record_is_said(tmp_path: Path) -> None:
    writer = some()
    whole = len(writer.log)
    writer.append(31, 0)
    del writer.log[whole + 10 :]
    put(tmp_path, writer)
    index = read(tmp_path)
    assert index.old
    assert list(index.records.uids)[-1] == 30
    assert any("within a record" in one for one in index.wrong)


def test_records_that_belong_together_are_read_together(tmp_path: Path) -> None:
    writer = some()
    writer.record(0x80000 | EXTERNAL, writer.p("I", 12 + 16 + 16))
    writer.append(31, 0)
    put(tmp_path, writer)
    index = read(tmp_path)
    assert list(index.records.uids)[-1] == 30
    writer.append(32, 0)
    put(tmp_path, writer)
    assert list(read(tmp_path).records.uids)[-2:] == [31, 32]


def test_broken_records_are_left_out_and_said(tmp_path: Path) -> None:
    writer = some()
    writer.record(0x3, bytes(8))  # no type
    writer.record(0x2 | EXTERNAL, writer.p("IB3x", 7, 0))  # below UIDNEXT
    writer.record(0x200, bytes(12))  # an extension that was not introduced in this log
    writer.record(0x1 | EXTERNAL, writer.p("II", 1, 0xFFFFFFFF))  # without the guard it is no expunge
    writer.flags(30, 30, 16, 0)
    put(tmp_path, writer)
    index = read(tmp_path)
    assert len(index.wrong) == 4
    assert list(index.records.uids) == sorted(writer.state)
    assert flags_of(index.records)[-1] == ("\\Answered", "\\Draft", "later")


def test_headers_of_extensions_that_are_only_claimed_take_no_memory(tmp_path: Path) -> None:
    writer = some()
    for number in range(20):
        intro = writer.p("IIIHHHH", 0xFFFFFFFF, 0, 10 << 20, 4, 4, 0, 4)
        writer.record(0x40, intro + b"x%03d" % number)
    put(tmp_path, writer)
    index = read(tmp_path)
    assert sum(len(each.header) for each in index.records.extensions) < 33 << 20
    assert len(index.wrong) == 11


def hostile(kind: str) -> Writer:
    """A log of which each few octets are work on all messages."""
    writer = Writer()
    writer.record(0x2 | EXTERNAL, b"".join(writer.p("IB3x", uid, 0) for uid in range(1, 2001)))
    for name in ("a", "b", "c", "d"):
        writer.keyword(name, [(1, 2000)], add=True)
    writer.introduce("mdbox")
    everything = writer.p("II", 1, 2000) * 3000
    if kind == "flags":
        writer.record(0x4, writer.p("IIBBBx", 1, 2000, 1, 0, 0) * 3000)
    elif kind == "keywords":
        writer.record(0x800, everything)
    elif kind == "expunges":
        writer.record(0x1 | GUARD | EXTERNAL, everything)
    elif kind == "asked":
        writer.record(0x1 | GUARD, everything)
    elif kind == "resets":
        for _ in range(3000):
            writer.record(0x80, writer.p("IB3x", 0, 0))
    else:
        for number in range(3000):
            writer.introduce("mdbox", 8 + number % 2 * 8)
    return writer


@pytest.mark.parametrize("kind", ["flags", "keywords", "expunges", "asked", "resets", "sizes"])
def test_a_log_that_asks_for_work_without_end_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    limit = 6_000_000
    monkeypatch.setattr("aerogramme.migrate.sources.dovecot.records._MAX_WORK", limit)
    put(tmp_path, hostile(kind))
    index = read(tmp_path)
    assert index.old and any("more work" in one for one in index.wrong)
    assert len(index.wrong) < 15
    monkeypatch.undo()
    index = read(tmp_path)
    assert not any("more work" in one for one in index.wrong)
    assert index.records._work > limit
    put(tmp_path, some())
    assert read(tmp_path).records._work < limit / 50


def test_keywords_of_messages_without_end_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records("little", frozenset())
    for uid in range(1, 1001):
        records.append(uid, 0)
    for number in range(50):
        records.introduce_keyword(b"k%d" % number)
        records.change_keyword(b"k%d" % number, 1, 1000, add=True)
    assert len(flags_of(records)) == 1000
    monkeypatch.setattr("aerogramme.migrate.sources.dovecot.records._MAX_WORK", records._work)
    with pytest.raises(Broken, match="more work"):
        flags_of(records)


@given(st.lists(st.tuples(st.integers(1, 70), st.integers(0, 70), st.booleans()), max_size=12))
def test_keywords_of_ranges(changes: list[tuple[int, int, bool]]) -> None:
    records = Records("little", frozenset())
    for uid in range(1, 61):
        records.append(uid, 0)
    records.introduce_keyword(b"k")
    expected = set[int]()
    for first, more, add in changes:
        records.change_keyword(b"k", first, first + more, add=add)
        uids = {*range(first, min(first + more, 60) + 1)}
        expected = expected | uids if add else expected - uids
    assert {uid for uid, flags in zip(records.uids, flags_of(records), strict=True) if flags} == expected


def test_without_its_log_an_index_is_old(tmp_path: Path) -> None:
    writer = some()
    put(tmp_path, writer)
    (tmp_path / "dovecot.index.log").unlink()
    (tmp_path / "dovecot.index.log.2").unlink()
    index = read(tmp_path)
    assert index.old
    assert 30 not in index.records.uids


def test_the_index_before_goes_on_with_the_log(tmp_path: Path) -> None:
    writer = some()
    put(tmp_path, writer)
    (tmp_path / "dovecot.index").rename(tmp_path / "dovecot.index.backup")
    assert_same(read(tmp_path, read_backup), writer)
    (tmp_path / "dovecot.index").write_bytes(b"\7" * 50)
    index = read(tmp_path)  # these logs go back to the beginning
    assert index.wrong == ["dovecot.index: it ends within its header; its log has all of it"]
    (tmp_path / "dovecot.index.log.2").unlink()
    with pytest.raises(Unreadable, match="ends within its header"):
        read(tmp_path)


def test_a_log_that_was_begun_anew_forgets_the_index(tmp_path: Path) -> None:
    old, new = some(), Writer()
    new.sequence = 9
    new.log = bytearray(new._log_header(0, 0))
    new.set_header(24, UIDVALIDITY)
    new.append(5, 8)
    new.index = old.index
    put(tmp_path, new)
    new.index = b""
    assert_same(read(tmp_path), new)


def test_a_mailbox_that_is_deleted(tmp_path: Path) -> None:
    writer = some()
    writer.record(0x20000, b"")  # asked for, and not yet done
    put(tmp_path, writer)
    assert not read(tmp_path).records.deleted
    writer.record(0x20000 | EXTERNAL, b"")
    put(tmp_path, writer)
    assert read(tmp_path).records.deleted


def test_numbers_are_increased(tmp_path: Path) -> None:
    writer = some()
    writer.introduce("mdbox")
    writer.record(0x1000, writer.p("IiIi", 1, 5, 2, -1))
    put(tmp_path, writer)
    index = read(tmp_path)
    extension = index.records.extension(b"mdbox")
    assert extension is not None
    assert bytes(extension.records[:8]) == (int.from_bytes((1).to_bytes(8, "big"), "little") + 5).to_bytes(
        8, "little"
    )
    assert len(index.wrong) == 1  # below zero


def test_what_is_no_file(tmp_path: Path) -> None:
    with descriptor(tmp_path) as found:
        assert read_index(found, "dovecot.index") is None
        (tmp_path / "elsewhere").write_bytes(some().index)
        (tmp_path / "dovecot.index").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(Unreadable, match="symbolic link"):
            read_index(found, "dovecot.index")
        (tmp_path / "dovecot.index").unlink()
        os.mkfifo(tmp_path / "dovecot.index")
        with pytest.raises(Unreadable, match="not a file"):
            read_index(found, "dovecot.index")


def test_keywords_of_many_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are laid out for some messages at a time, and there is an end to them."""
    monkeypatch.setattr("aerogramme.migrate.sources.dovecot.flags._CHUNK", 16)
    writer = Writer()
    for uid in range(1, 60):
        writer.append(uid, uid % 32)
    for number in range(12):
        writer.keyword(f"k{number}", [(number * 5, number * 5 + 17)], add=True)
    put(tmp_path, writer)
    assert_same(read(tmp_path), writer)
    for number in range(5000):
        writer.keyword(f"x{number}", [(1, 1)], add=True)
    put(tmp_path, writer)
    index = read(tmp_path)
    assert len(index.records.keywords) == 4096
    assert any("too many keywords" in one for one in index.wrong)
    assert len(index.wrong) < 20


def test_sets_of_keywords_without_end_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer()
    for uid in range(1, 40):
        writer.append(uid, 0)
        writer.keyword(f"k{uid}", [(1, uid)], add=True)
    put(tmp_path, writer)
    assert len(flags_of(read(tmp_path).records)) == 39
    monkeypatch.setattr("aerogramme.migrate.sources.dovecot.flags._MAX_SETS", 700)
    with pytest.raises(Broken, match="too many different"):
        flags_of(read(tmp_path).records)
    faults: list[Fault] = []
    assert read_index_flags(Place(tmp_path), (), faults).uidvalidity == 0
    assert [fault.done for fault in faults] == ["flags are those that are with the mail"]


def test_mailboxes_without_end_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aerogramme.migrate.sources.dovecot.mailbox_list._MOST", 2)
    records = Records("little", frozenset(WANTED))
    records.introduce(b"list", 0, 0, 28)
    records.append(1, 0x10)
    records.append(2, 0x10)
    assert listed(records) == []
    records.append(3, 0x10)
    with pytest.raises(Broken, match="more than 2 mailboxes"):
        listed(records)


def test_the_last_uids(tmp_path: Path) -> None:
    writer = Writer()
    writer.append(0xFFFFFFFE, 0)
    writer.write_index()
    put(tmp_path, writer)
    assert_same(read(tmp_path), writer)
    (tmp_path / "dovecot.index").write_bytes(writer.index.replace(b"\xfe\xff\xff\xff", b"\xff\xff\xff\xff"))
    (tmp_path / "dovecot.index.log").unlink()
    with pytest.raises(Unreadable, match="leaves no UIDNEXT"):
        read(tmp_path)
