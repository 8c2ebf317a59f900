"""Sections: which bytes a part number means (RFC 3501 §6.4.5), the packed form, and header field subsets."""

import tracemalloc

import pytest

from aerogramme.errors import Damaged
from aerogramme.mail.sections import header_fields, pack, section
from aerogramme.mail.structure import parse

# The example of RFC 3501 §6.4.5, with the content of each part telling its number.
EXAMPLE = """Subject: top
Content-Type: multipart/mixed; boundary=a

--a
Content-Type: text/plain

1
--a
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64

Mg==
--a
Content-Type: message/rfc822

Subject: three
Content-Type: multipart/mixed; boundary=b

--b

3.1
--b
Content-Type: application/octet-stream

3.2
--b--
--a
Content-Type: multipart/mixed; boundary=c

--c
Content-Type: image/gif

4.1
--c
Content-Type: message/rfc822
X-Of: 4.2

Subject: four two
Content-Type: multipart/mixed; boundary=d

--d

4.2.1
--d
Content-Type: multipart/alternative; boundary=e

--e

4.2.2.1
--e
Content-Type: text/richtext

4.2.2.2
--e--
--d--
--c--
--a--
""".replace("\n", "\r\n").encode()
PACKED = pack(parse(EXAMPLE))


def get(path: str, what: str = "", *, raw: bytes = EXAMPLE) -> bytes | None:
    numbers = tuple(map(int, path.split("."))) if path else ()
    found = section(pack(parse(raw)), numbers, what)
    return None if found is None else raw[slice(*found)]


@pytest.mark.parametrize("path", ["1", "3.1", "3.2", "4.1", "4.2.1", "4.2.2.1", "4.2.2.2"])
def test_the_parts_of_the_rfc_have_their_numbers(path: str) -> None:
    assert get(path) == path.encode()


@pytest.mark.parametrize(
    "path", ["5", "1.1", "1.2", "2.1", "3.3", "3.1.1", "4.3", "4.2.2.3", "4.2.2.1.1", "0", "4.0"]
)
def test_others_do_not_exist(path: str) -> None:
    assert get(path) is None
    assert get(path, "MIME") is None


def test_header_text_and_mime() -> None:
    assert get("") == EXAMPLE
    assert get("", "HEADER") == b"Subject: top\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n"
    assert get("", "HEADER") + get("", "TEXT") == EXAMPLE  # type: ignore[operator]  # neither is None
    assert get("", "MIME") is None
    assert get("1", "MIME") == b"Content-Type: text/plain\r\n\r\n"
    assert get("1", "HEADER") is None
    assert get("1", "TEXT") is None
    assert get("4", "HEADER") is None
    assert get("3", "HEADER") == b"Subject: three\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    assert (
        get("3", "TEXT")
        == b"--b\r\n\r\n3.1\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n3.2\r\n--b--"
    )
    assert get("3", "HEADER") + get("3", "TEXT") == get("3")  # type: ignore[operator]  # neither is None
    assert get("3.1", "MIME") == b"\r\n"
    assert get("4.2", "MIME") == b"Content-Type: message/rfc822\r\nX-Of: 4.2\r\n\r\n"
    assert get("4.2", "HEADER") == b"Subject: four two\r\nContent-Type: multipart/mixed; boundary=d\r\n\r\n"
    assert get("1", "NONSENSE") is None
    assert get("", "NONSENSE") is None


def test_part_1_of_a_message_without_parts_is_its_body() -> None:
    raw = b"Subject: x\r\n\r\nbody"
    assert get("1", raw=raw) == b"body"
    assert get("1", "MIME", raw=raw) == b"Subject: x\r\n\r\n"
    assert get("1", "HEADER", raw=raw) is None
    assert get("2", raw=raw) is None
    assert get("1.1", raw=raw) is None


def test_part_1_of_a_message_that_is_a_message() -> None:
    raw = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody"
    assert get("1", raw=raw) == b"Subject: in\r\n\r\nbody"
    assert get("1", "HEADER", raw=raw) == b"Subject: in\r\n\r\n"
    assert get("1", "TEXT", raw=raw) == b"body"
    assert get("1.1", raw=raw) == b"body"
    assert get("1.1", "MIME", raw=raw) == b"Subject: in\r\n\r\n"
    assert get("1.2", raw=raw) is None
    assert get("1.1.1", raw=raw) is None


def test_the_packed_form_is_that_of_the_docs() -> None:
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b--\r\n"
    #                  version  multipart, from 0, header 45, body 18, one child
    expected = bytes([1, 0b1, 0, 45, 18, 1])
    #                  leaf, 7bit, 5 behind the multipart's body, header of 2, body of 2
    expected += bytes([0b0, 5, 2, 2])
    assert pack(parse(raw)) == expected
    for encoding, number in (b"8bit", 1), (b"Base64", 4), (b"x-uue", 7):
        assert pack(parse(b"Content-Transfer-Encoding: %b\n\n" % encoding))[1] == number << 2


@pytest.mark.parametrize("cut", range(len(PACKED)))
def test_a_packed_form_cut_anywhere_is_damaged(cut: int) -> None:
    with pytest.raises(Damaged):
        section(PACKED[:cut], (1,))


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(PACKED + b"\0", id="something follows"),
        pytest.param(b"\2\0\0\0\0", id="unknown version"),
        pytest.param(b"\1\3\0\0\0", id="unknown kind"),
        pytest.param(b"\1\x14\0\0\0", id="unknown encoding"),
        pytest.param(b"\1\1\0\0\0\0", id="multipart without parts"),
        pytest.param(b"\1\1\0\0\0\x7f", id="more parts than bytes"),
        pytest.param(b"\1\0\x80\0\0\0", id="not the shortest form"),
        pytest.param(b"\1\0" + b"\xff" * 10 + b"\1\0\0", id="a huge number"),
        pytest.param(b"\1\1\0\0\1\1\0\0\0\2", id="a part beyond its parent"),
    ],
)
def test_a_wrong_packed_form_is_damaged(packed: bytes) -> None:
    with pytest.raises(Damaged):
        section(packed, ())


def test_a_wrong_packed_form_takes_no_more_memory_than_it_has() -> None:
    # From whoever writes parcels, and has no keys: multiparts in one another, each said to have many parts.
    packed = b"\1" + b"\1\0\0\0\xff\x7f" * 5000
    tracemalloc.start()
    try:
        with pytest.raises(Damaged):
            section(packed, ())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(packed)


HEADER = b"From x\r\nSubject: a\r\n b\r\n"
HEADER += b"TO : c\r\nX-Subject: d\r\nsubject:e\r\nSubjects: f\r\nTo: g\r\n\th\r\n\r\n"


def names(*given: bytes) -> frozenset[bytes]:
    return frozenset(given)


def test_a_pattern_is_only_made_of_few_and_short_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = names(b"subject", *(b"x%d" % n + b"y" * 9000 for n in range(90)))
    monkeypatch.setattr("aerogramme.mail.sections._selector", None)
    assert header_fields(HEADER, asked) == b"Subject: a\r\n b\r\nsubject:e\r\n\r\n"


def test_header_fields() -> None:
    assert header_fields(HEADER, names(b"subject")) == b"Subject: a\r\n b\r\nsubject:e\r\n\r\n"
    assert (
        header_fields(HEADER, names(b"to", b"x-subject")) == b"TO : c\r\nX-Subject: d\r\nTo: g\r\n\th\r\n\r\n"
    )
    assert header_fields(HEADER, names(b"none")) == b"\r\n"
    assert header_fields(HEADER, names()) == b"\r\n"
    # Names that no field can have.
    assert header_fields(HEADER, names(b"", b"a b", b"to:", b"\xff", b"x\n")) == b"\r\n"
    assert header_fields(b"^a: 1\r\n]: 2\r\n-: 3\r\n\\: 4\r\na: 5\r\n", names(b"^a", b"]", b"-", b"\\")) == (
        b"^a: 1\r\n]: 2\r\n-: 3\r\n\\: 4\r\n"
    )


def test_header_fields_of_very_many_names() -> None:
    many = names(b"subject", b"to", *(b"x-%d" % number for number in range(500)))
    assert header_fields(HEADER, many) == header_fields(HEADER, names(b"subject", b"to"))
    assert header_fields(b"A: b", many) == b""


def test_header_fields_not() -> None:
    rest = header_fields(HEADER, names(b"subject", b"to"), negate=True)
    assert rest == b"From x\r\nX-Subject: d\r\nSubjects: f\r\n\r\n"
    assert header_fields(HEADER, names(), negate=True) == HEADER
    assert header_fields(HEADER, names(b"none"), negate=True) == HEADER
    assert header_fields(b"To: x\r\n", names(b"to"), negate=True) == b""


@pytest.mark.parametrize(
    "header", [b"", b"\r\n", b"\n", b"A: b", b"A: b\r\n", b"A: b\n\n", b"A: b\nC: d", b"x\r\n"]
)
def test_the_blank_line_is_there_if_the_header_has_it(header: bytes) -> None:
    # RFC 3501 §6.4.5: "except in the case of a message which has no body and no blank line".
    assert header_fields(header, names(b"a", b"c")) == (b"" if header == b"x\r\n" else header)
    assert header_fields(header, names(), negate=True) == header
