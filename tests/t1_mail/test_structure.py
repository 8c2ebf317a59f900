"""Structure: the parts of good and of broken messages, and that their offsets nest."""

import pytest

from aerogramme.mail import structure
from aerogramme.mail.structure import Part, parse


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def outline(part: Part, raw: bytes) -> object:
    """(type, body) of a leaf; (type, [children]) of a multipart or message."""
    name = (part.type + b"/" + part.subtype).decode()
    if part.children:
        return name, [outline(child, raw) for child in part.children]
    if part.message is not None:
        return name, [outline(part.message, raw)]
    return name, raw[part.body : part.end]


def test_a_plain_message() -> None:
    raw = crlf("From: a@b\nContent-Type: text/html; charset=utf-8\n\n<p>\nhi\n")
    part = parse(raw)
    assert (part.start, raw[part.body :], part.end) == (0, b"<p>\r\nhi\r\n", len(raw))
    assert (part.type, part.subtype, part.parameters, part.encoding) == (
        b"text",
        b"html",
        ((b"charset", b"utf-8"),),
        b"7bit",
    )
    assert part.lines == 2


MULTIPART = crlf(
    """Subject: x
Content-Type: multipart/mixed; boundary="b"

preamble
--b

first
--b
Content-Type: multipart/alternative; boundary=b1

--b1
Content-Type: text/plain

plain

--b1  \t
Content-Type: text/html

<p>
--b1--
inner epilogue
--b
Content-Type: message/rfc822

Subject: inner

inner text
--b
Content-Type: application/pdf
Content-Transfer-Encoding: BASE64

QUJD
--b--
epilogue
--b
no part
"""
)


def test_nested_multiparts_and_messages() -> None:
    root = parse(MULTIPART)
    assert outline(root, MULTIPART) == (
        "multipart/mixed",
        [
            ("text/plain", b"first"),
            ("multipart/alternative", [("text/plain", b"plain\r\n"), ("text/html", b"<p>")]),
            ("message/rfc822", [("text/plain", b"inner text")]),
            ("application/pdf", b"QUJD"),
        ],
    )
    assert root.children[3].encoding == b"base64"
    message = root.children[2].message
    assert message is not None
    assert message.fields[b"subject"] == b"inner"
    # RFC 3501: the lines of a message part are those of all of it, header included.
    assert (root.children[2].lines, message.lines) == (2, 0)


def test_line_ends_may_be_bare_lf() -> None:
    raw = MULTIPART.replace(b"\r\n", b"\n")
    assert outline(parse(raw), raw) == (
        "multipart/mixed",
        [
            ("text/plain", b"first"),
            ("multipart/alternative", [("text/plain", b"plain\n"), ("text/html", b"<p>")]),
            ("message/rfc822", [("text/plain", b"inner text")]),
            ("application/pdf", b"QUJD"),
        ],
    )


def test_a_bare_cr_ends_no_line() -> None:
    raw = b"Subject: a\rFrom: b\r\r\n\r\nx\ry"
    part = parse(raw)
    assert part.fields == {b"subject": b"a\rFrom: b"}
    assert raw[part.body :] == b"x\ry"


MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"", ("text/plain", b""), id="nothing"),
        pytest.param(b"\r\n", ("text/plain", b""), id="blank line"),
        pytest.param(b"\r\nbody", ("text/plain", b"body"), id="no header"),
        pytest.param(b"\nbody", ("text/plain", b"body"), id="no header, LF"),
        pytest.param(b"Subject: x", ("text/plain", b""), id="header without end"),
        pytest.param(b"Subject: x\r\n\r\n", ("text/plain", b""), id="header without body"),
        pytest.param(b"Content-Type: text\r\n\r\nx", ("text/plain", b"x"), id="type without subtype"),
        pytest.param(b"Content-Type: \r\n\r\nx", ("text/plain", b"x"), id="empty type"),
        pytest.param(
            b"Content-Type: (c) Image / (d) PNG\r\n\r\nx",
            ("image/png", b"x"),
            id="comments and spaces in a type",
        ),
        pytest.param(
            b"Content-Type: image/png\r\nContent-Type: text/html\r\n\r\nx",
            ("image/png", b"x"),
            id="type twice",
        ),
        pytest.param(
            b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx\r\n--b--",
            ("multipart/mixed", [("text/plain", b"--b\r\n\r\nx\r\n--b--")]),
            id="no boundary",
        ),
        pytest.param(
            b'Content-Type: multipart/mixed; boundary=""\r\n\r\nx',
            ("multipart/mixed", [("text/plain", b"x")]),
            id="empty boundary",
        ),
        pytest.param(MIXED, ("multipart/mixed", [("text/plain", b"")]), id="no parts"),
        pytest.param(
            b"Content-Type: multipart/mixed; boundary=b",
            ("multipart/mixed", [("text/plain", b"")]),
            id="nothing but a header",
        ),
        pytest.param(MIXED + b"text", ("multipart/mixed", [("text/plain", b"text")]), id="text for parts"),
        pytest.param(
            MIXED + b"--b--\r\n", ("multipart/mixed", [("text/plain", b"--b--\r\n")]), id="only closed"
        ),
        pytest.param(MIXED + b"--b", ("multipart/mixed", [("text/plain", b"")]), id="cut in the delimiter"),
        pytest.param(
            MIXED + b"--b\r\n\r\nx\r\n--",
            ("multipart/mixed", [("text/plain", b"x\r\n--")]),
            id="cut before the end",
        ),
        pytest.param(
            MIXED + b"--b\r\nSubject: x\r\n--b\r\n\r\ny\r\n--b--",
            ("multipart/mixed", [("text/plain", b""), ("text/plain", b"y")]),
            id="part without blank line",
        ),
        pytest.param(
            MIXED + b"--b\r\n--b\r\n\r\n--b--",
            ("multipart/mixed", [("text/plain", b""), ("text/plain", b"")]),
            id="empty parts",
        ),
        pytest.param(
            MIXED + b"--bb\r\n\r\nx\r\n--b\r\n\r\ny\r\n--bb\r\nz\r\n--b--",
            ("multipart/mixed", [("text/plain", b"y\r\n--bb\r\nz")]),
            id="longer delimiters are not ours",
        ),
        pytest.param(
            MIXED
            + b"--b\r\n"
            + b"Content-Type: multipart/x; boundary=b--\r\n\r\n--b--\r\n\r\nx\r\n--b----\r\n--b--",
            ("multipart/mixed", [("multipart/x", [("text/plain", b"x")])]),
            id="a boundary that looks like the end of another",
        ),
        pytest.param(
            MIXED + b"--b\r\n" + MIXED + b"--b\r\n\r\nx\r\n--b--\r\n--b\r\n\r\ny\r\n--b--",
            ("multipart/mixed", [("multipart/mixed", [("text/plain", b"x")]), ("text/plain", b"y")]),
            id="one boundary, two multiparts",
        ),
        pytest.param(
            MIXED + b"--b\r\nContent-Type: multipart/x; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--b\r\n\r\ny",
            ("multipart/mixed", [("multipart/x", [("text/plain", b"x")]), ("text/plain", b"y")]),
            id="the inner one never ends",
        ),
        pytest.param(
            MIXED + b"--b\r\nContent-Type: multipart/x; boundary=c\r\n--b\r\n\r\ny",
            ("multipart/mixed", [("multipart/x", [("text/plain", b"")]), ("text/plain", b"y")]),
            id="the inner one has nothing but a header",
        ),
        pytest.param(
            b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: 1\r\n\r\nx\r\n--b\r\n"
            b"Content-Type: text/plain\r\n\r\ny\r\n--b--",
            ("multipart/digest", [("message/rfc822", [("text/plain", b"x")]), ("text/plain", b"y")]),
            id="digest",
        ),
        pytest.param(
            b"Content-Type: message/rfc822\r\n\r\nContent-Type: image/gif\r\n\r\nGIF",
            ("message/rfc822", [("image/gif", b"GIF")]),
            id="a message is all there is",
        ),
        pytest.param(
            b"Content-Type: message/rfc822\r\n\r\n",
            ("message/rfc822", [("text/plain", b"")]),
            id="empty message",
        ),
        pytest.param(
            b'Content-Type: multipart/mixed; boundary="a b\\"c"\r\n\r\n--a b"c\r\n\r\nx\r\n--a b"c--',
            ("multipart/mixed", [("text/plain", b"x")]),
            id="odd boundary",
        ),
        pytest.param(b"\0\0\0", ("text/plain", b""), id="NULs"),
    ],
)
def test_forms(raw: bytes, expected: object) -> None:
    assert outline(parse(raw), raw) == expected


def test_lines_that_are_no_fields_are_passed_over() -> None:
    raw = b"From me Mon Sep  2 2002\r\n>From x\r\nno field\r\nSubject : a\r\n\tb \r\n c\r\n"
    raw += b"X-\xff: y\r\nTo: z\r\n\r\n"
    assert parse(raw).fields == {b"subject": b"a\tb  c", b"to": b"z"}


def test_address_fields_that_come_twice_are_joined_and_others_count_once() -> None:
    raw = b"To: a@b\r\nSubject: 1\r\nTo: c@d\r\nSubject: 2\r\nto: e@f\r\n\r\n"
    assert parse(raw).fields == {b"to": b"a@b, c@d, e@f", b"subject": b"1"}


def test_a_header_has_a_largest_size() -> None:
    raw = b"Subject: x\r\n" * (structure.MAX_HEADER // 12 + 10)
    part = parse(raw)
    assert structure.MAX_HEADER - 12 < part.body <= structure.MAX_HEADER
    assert raw[part.body :].startswith(b"Subject: x\r\n")
    assert parse(b"x" * (structure.MAX_HEADER + 5)).body == structure.MAX_HEADER


def test_what_nests_too_deep_is_opaque() -> None:
    raw = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (number, number)
        for number in range(200)
    )
    part, depth = parse(raw), 1
    while part.children:
        part, depth = part.children[0], depth + 1
    assert (depth, part.type, part.subtype) == (structure.MAX_DEPTH, b"application", b"octet-stream")
    part, depth = parse(b"Content-Type: message/rfc822\r\n\r\n" * 200), 1
    while part.message is not None:
        part, depth = part.message, depth + 1
    assert (depth, part.type, part.subtype) == (structure.MAX_DEPTH, b"application", b"octet-stream")


def test_the_last_part_has_what_comes_after_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "MAX_PARTS", 3)
    raw = MIXED + b"--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b\r\n\r\n3\r\n--b--"
    assert outline(parse(raw), raw) == (
        "multipart/mixed",
        [("text/plain", b"1"), ("text/plain", b"2\r\n--b\r\n\r\n3\r\n--b--")],
    )


def test_delimiters_are_not_looked_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "MAX_CANDIDATES", 2)
    raw = MIXED + b"--b\r\n\r\n1\r\n--bx\r\n--b\r\n\r\n2\r\n--b--"
    assert outline(parse(raw), raw) == (
        "multipart/mixed",
        [("text/plain", b"1\r\n--bx\r\n--b\r\n\r\n2\r\n--b--")],
    )
