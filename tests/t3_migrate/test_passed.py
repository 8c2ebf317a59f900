"""What passes remember in a file."""

import stat
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Damaged, Unavailable
from aerogramme.log.packing import compress
from aerogramme.mailbox.incoming.incoming import first_of, is_parcel
from aerogramme.migrate.passed import MAGIC, Memory, Parcel, Passed, Sent
from aerogramme.seal.strict import pack

PARCEL = Parcel(1 << 40, 1 << 63, 3 << 62, 1000, 70, 1 << 63)
FLAGS = st.lists(st.sampled_from(["\\Seen", "\\Deleted", "$Label1", "$label1", "a"]), max_size=4)


def passed(*uids: int) -> Passed:
    return Passed(7, 1 << 60, array("I", uids), array("I", uids[::-1]), array("Q", [1 << 63] * len(uids)))


def test_it_comes_back(tmp_path):
    path = tmp_path / "import" / "ab"
    memory = Memory.load(path)
    assert memory.passed("Work", 7) is None and memory.sent("Work", 7) is None
    memory.note("Work", passed(1, 2, 4_000_000_000))
    memory.note("INBOX", passed())
    sent = Sent(5, [PARCEL], array("Q", [1, 1 << 63]))
    memory.note_sent("Work", 0, sent)
    memory.pending.update((5, 1 << 63))
    memory.millis = 1 << 40
    memory.note_origin(1 << 60, "there")
    before = memory.hash_of(("\\Seen",))
    memory.save()
    again = Memory.load(path)
    assert again.passed("Work", 7) == passed(1, 2, 4_000_000_000)
    assert again.passed("INBOX", 7) == passed()
    assert again.passed("work", 7) is None and again.passed("Work", 8) is None
    assert again.sent("Work", 0) == sent and again.sent("Work", 7) is None
    assert (again.pending, again.millis) == ({5, 1 << 63}, 1 << 40)
    assert again.hash_of(("\\Seen",)) == before
    assert (
        again.is_from(1 << 60, "there") and not again.is_from(1 << 60, "") and not again.is_from(5, "there")
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@given(FLAGS, FLAGS)
def test_flags_are_alike_without_regard_to_case_and_order(tmp_path_factory, one, other):
    memory = Memory(tmp_path_factory.getbasetemp() / "none", bytes(16))
    same = {flag.casefold() for flag in one} == {flag.casefold() for flag in other}
    assert (memory.hash_of(one) == memory.hash_of(other)) == same


def test_two_accounts_have_different_hashes(tmp_path):
    one, other = Memory.load(tmp_path / "a"), Memory.load(tmp_path / "b")
    assert one.hash_of(("\\Seen",)) != other.hash_of(("\\Seen",))


def test_no_name_and_no_flag_is_in_it(tmp_path):
    memory = Memory.load(tmp_path / "a")
    memory.note("Sekretariat", Passed(7, 5, array("I", [1]), array("I", [1]), array("Q", [9])))
    memory.hash_of(("$Geheim",))
    memory.save()
    stored = (tmp_path / "a").read_bytes()
    assert b"Sekretariat" not in stored and b"Geheim" not in stored


def test_what_is_damaged_is_said(tmp_path):
    path = tmp_path / "a"
    memory = Memory.load(path)
    memory.note("Work", passed(1, 2))
    memory.save()
    stored = path.read_bytes()
    for at in range(0, len(stored), 7):
        path.write_bytes(stored[:at])
        with pytest.raises(Damaged) as error:
            Memory.load(path)
        assert str(path) in str(error.value) and "remove it" in error.value.hint
    salt = bytes(16)
    for fields in (5, [salt, [], [], ["1"], 0, []], [salt, [], [[]], [], 0, []], [b"", [], [], [], 0, []]):
        path.write_bytes(MAGIC + compress(pack(fields)))
        with pytest.raises(Damaged):
            Memory.load(path)


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(Unavailable):
        Memory(tmp_path / "a" / "b", bytes(16)).save()


def test_a_parcel_is_named_by_its_row():
    assert is_parcel(PARCEL.key) and first_of(PARCEL.key) == PARCEL.first
    assert Parcel.of(PARCEL.key, PARCEL.last, PARCEL.fingerprint) == PARCEL
