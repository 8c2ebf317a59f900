"""The digest: its small fields, and that it agrees with the message."""

import pytest

from aerogramme.mail.digest import MAX_REFERENCES, render, sent_day
from aerogramme.mail.sections import section


def test_all_fields() -> None:
    raw = (
        b"Date: Thu, 01 Jan 1970 23:59:59 -1200\r\nFrom: =?utf-8?q?J=C3=96?= <J@X>\r\nTo: A@b\r\nCC: C\r\n"
        b"Bcc: D\r\nSubject: Hi  There\r\nMessage-ID: <1@x>\r\nIn-Reply-To: your mail <0@x> of\r\n"
        b"References: <a@x>\r\n <b@x>\r\n\r\nSome TEXT\r\n"
    )
    digest = render(raw)
    assert digest.size == len(raw)
    assert digest.header == raw[: raw.index(b"Some")]
    assert section(digest.parts, (), "TEXT") == (len(digest.header), len(raw))
    assert digest.body + b" NIL NIL NIL NIL)" == digest.bodystructure.replace(
        b" NIL NIL NIL NIL)", b") NIL NIL NIL NIL)"
    )
    assert digest.envelope.startswith(b'("Thu, 01 Jan 1970 23:59:59 -1200" "Hi  There" ')
    assert (digest.text, digest.preview) == (b"some text", b"Some TEXT")
    assert digest.from_ == "jö <j@x>".encode()
    assert (digest.to, digest.cc, digest.bcc, digest.subject) == (b"a@b", b"c", b"d", b"hi there")
    assert "from: jö <j@x> to: a@b".encode() in digest.headtext
    assert digest.sent == 0
    assert (digest.message_id, digest.in_reply_to, digest.references) == (b"<1@x>", b"<0@x>", b"<a@x> <b@x>")


def test_nothing_has_a_digest() -> None:
    digest = render(b"")
    assert (digest.size, digest.header, digest.text, digest.preview, digest.sent) == (0, b"", b"", b"", -1)
    assert (digest.message_id, digest.in_reply_to, digest.references, digest.subject) == (b"", b"", b"", b"")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Thu, 1 Jan 1970 00:00:00 +0000", 0),
        (b"Fri, 02 Jan 1970 00:00:00 +0000", 1),
        (b"22 Aug 2002", 11921),
        (b"Thu, 22 Aug 2002 23:59:59 -1200", 11921),
        (b"Thu Aug 22 18:26:25 2002", 11921),
        (b"August 22, 2002", 11921),
        (b"Thu, 22-Aug-02 18:26", 11921),
        (b"Thu, 22 August 2002", 11921),
        (b"Thu,22 aug 102", 11921),
        (b"Thu, 22 Aug 0102", 11921),
        (b"22 Aug 49", 29088),
        (b"22 Aug 99", 10825),
        (b"Thu, 29 Feb 2001", -1),
        (b"32 Jan 2001", -1),
        (b"1 Foo 2001", -1),
        (b"1 Jan 1969", -1),
        (b"2002-08-22", -1),
        (b"", -1),
        (b"\xff", -1),
    ],
)
def test_the_day_of_a_date_as_written(value: bytes, expected: int) -> None:
    assert sent_day(value) == expected


def test_of_many_references_the_first_and_the_last_stay() -> None:
    ids = [b"<%d@x>" % number for number in range(300)]
    kept = render(b"References: " + b" ".join(ids) + b"\r\n\r\n").references.split()
    assert kept == ids[:1] + ids[1 - MAX_REFERENCES :]


def test_ids_are_what_is_between_angles() -> None:
    digest = render(b"Message-ID: no id\r\nIn-Reply-To: <a@b> and <c d>, <e@f\r\n\r\n")
    assert (digest.message_id, digest.in_reply_to) == (b"", b"<a@b>")
