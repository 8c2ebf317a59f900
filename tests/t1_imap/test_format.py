"""Strings, names, sets, dates and status lines: as they are sent, and back again."""

import datetime
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aerogramme.imap import dates, mutf7
from aerogramme.imap import format as out
from aerogramme.imap.scanner import Scanner


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", b'""'),
        (b"a b", b'"a b"'),
        (b'a"b', b'{3}\r\na"b'),
        (b"a\\b", b"{3}\r\na\\b"),
        (b"a\r\nb", b"{4}\r\na\r\nb"),
        (b"\0", b"{1}\r\n\0"),
        ("\u00e4".encode(), b"{2}\r\n\xc3\xa4"),
        (b"\x7f", b"{1}\r\n\x7f"),
    ],
)
def test_strings(value: bytes, expected: bytes) -> None:
    assert out.string(value) == expected


def test_atoms_and_what_could_be_taken_for_nil() -> None:
    assert out.astring(b"x-y") == b"x-y"
    assert out.astring(b"nil") == b'"nil"'
    assert out.astring(b"x]") == b'"x]"'
    assert out.astring(b"") == b'""'


@given(st.binary(max_size=20).filter(lambda value: 0 not in value))
def test_what_is_written_is_read_again(value: bytes) -> None:
    assert Scanner(out.string(value)).string() == value
    assert Scanner(out.astring(value)).astring() == value


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(TEXT)
@example("&")
@example("Entw\u00fcrfe & \u53f0\u5317/\U0001f4ec")
def test_names_there_and_back(name: str) -> None:
    encoded = mutf7.encode(name)
    assert encoded.isascii()
    assert encoded.decode("ascii").isprintable()
    assert mutf7.decode(encoded) == name


@given(TEXT.filter(lambda name: "\0" not in name))
def test_mailboxes_are_read_again(name: str) -> None:
    expected = (
        "INBOX" if name.lower() == "inbox" else name[:-1] if len(name) > 1 and name[-1] == "/" else name
    )
    assert Scanner(out.mailbox(name)).mailbox() == expected


@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        (
            b"~peter/mail/&U,BTFw-/&ZeVnLIqe-",
            "~peter/mail/\u53f0\u5317/\u65e5\u672c\u8a9e",
        ),  # RFC 3501 §5.1.3
        (b"R&AOQ-ume", "R\u00e4ume"),
        (b"A&-B", "A&B"),
        (b"&2D3crA-", "\U0001f4ac"),
    ],
)
def test_modified_utf7(encoded: bytes, name: str) -> None:
    assert mutf7.decode(encoded) == name
    assert mutf7.encode(name) == encoded


def test_modified_utf7_that_shifts_without_need_is_taken() -> None:
    assert mutf7.decode(b"&AOQ-&AOQ-") == "\u00e4\u00e4"
    assert mutf7.decode(b"&AGE-") == "a"


@pytest.mark.parametrize(
    "encoded", [b"&", b"a&b", b"&AOQ", b"&A-", b"&AO-", b"&2D0-", b"&====-", b"&AOQ/-", b"\xe4", b"&&-"]
)
def test_what_is_no_modified_utf7(encoded: bytes) -> None:
    with pytest.raises(ValueError):
        mutf7.decode(encoded)


def test_half_a_surrogate_pair_is_no_name() -> None:
    with pytest.raises(ValueError):
        mutf7.encode("\ud800")


@given(st.sets(st.integers(1, 60) | st.integers(1, 2**32 - 1)))
def test_sets_are_read_again_and_as_short_as_can_be(numbers: set[int]) -> None:
    text = out.sequence_set(sorted(numbers))
    if not numbers:
        assert text == b""
        return
    read = Scanner(text).sequence_set().ranges
    assert {n for first, last in read for n in range(first, last + 1)} == numbers
    assert all(later[0] > earlier[1] + 1 for earlier, later in itertools.pairwise(read))
    assert out.ranges(read) == text


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ([1, 2, 3], [7, 8, 9], (b"1:3", b"7:9")),
        ([1, 2, 4], [7, 8, 9], (b"1:2,4", b"7:8,9")),
        ([1, 2, 3], [7, 9, 10], (b"1,2:3", b"7,9:10")),
        ([304, 319, 320], [3956, 3957, 3958], (b"304,319:320", b"3956,3957:3958")),
        ([2, 1], [5, 6], (b"2,1", b"5,6")),
    ],
)
def test_copyuid_sets_are_parallel(
    source: list[int], target: list[int], expected: tuple[bytes, bytes]
) -> None:
    assert out.uid_sets(source, target) == expected


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=12))
def test_copyuid_sets_name_the_pairs(pairs: list[tuple[int, int]]) -> None:
    left, right = out.uid_sets([a for a, _ in pairs], [b for _, b in pairs])
    sides = [
        [n for first, last in Scanner(side).sequence_set().ranges for n in range(first, last + 1)]
        for side in (left, right)
    ]
    assert list(zip(*sides, strict=True)) == pairs


def test_flags() -> None:
    assert out.flag_list(()) == b"()"
    assert out.flag_list(("\\Seen", "$Junk")) == b"(\\Seen $Junk)"


def test_status_lines() -> None:
    assert out.status_line(b"a", "OK", "Done") == b"a OK Done\r\n"
    assert out.status_line(None, "BYE", "") == b"* BYE BYE\r\n"
    assert out.status_line(b"a", "NO", "x", "TRYCREATE") == b"a NO [TRYCREATE] x\r\n"
    assert out.status_line(b"a", "OK", "x", b"APPENDUID 1 2") == b"a OK [APPENDUID 1 2] x\r\n"
    assert out.status_line(b"a", "NO", "x\r\n* BYE \u00e4") == b"a NO x?* BYE ?\r\n"


@given(
    st.datetimes(
        datetime.datetime(1970, 1, 1), datetime.datetime(2106, 1, 1), timezones=st.just(datetime.UTC)
    )
)
def test_dates_and_times(moment: datetime.datetime) -> None:
    seconds = int(moment.timestamp())
    [text] = dates.date_times([seconds])
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    expected = f'"{moment.day:2}-{months[moment.month - 1]}-{moment:%Y %H:%M:%S +0000}"'
    assert text == expected.encode()
    assert dates.parse_date_time(text[1:-1]) == seconds
    assert dates.parse_date(text[1:12].lstrip()) == seconds // 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"17-Jul-1996 02:44:25 -0700", 837596665),  # RFC 3501 §6.3.11's form
        (b"17-jul-1996 02:44:25 +0530", 837551665),
        (b" 1-Jan-1970 00:00:00 +0000", 0),
        (b"31-Dec-1969 23:00:00 -0100", 0),
    ],
)
def test_zones(text: bytes, seconds: int) -> None:
    assert dates.parse_date_time(text) == seconds


def test_dates_out_of_range() -> None:
    assert dates.date_times([10**15])[0].startswith(b'"31-Dec-9999')
    for text in b"1-Jan-0000", b"0-Jan-2000", b"32-Jan-2000", b"29-Feb-1900", b"1-Foo-2000", b"":
        with pytest.raises(ValueError):
            dates.parse_date(text)
