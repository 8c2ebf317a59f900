"""ENVELOPE: addresses good and broken, and the rules for NIL and for strings (RFC 3501 §7.4.2)."""

import pytest

from aerogramme.mail import addresses
from aerogramme.mail.addresses import address_list
from aerogramme.mail.envelope import EMPTY, envelope
from aerogramme.mail.structure import parse
from tests.helpers import imap_grammar
from tests.helpers.imap_grammar import Address

G = (None, None, None, None)


def shown(header: bytes) -> imap_grammar.Envelope:
    return imap_grammar.envelope(envelope(parse(header + b"\r\n\r\n").fields))


def test_the_example_of_the_rfc() -> None:
    # RFC 3501 §8
    header = b"""Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r
From: Terry Gray <gray@cac.washington.edu>\r
Subject: IMAP4rev1 WG mtg summary and minutes\r
To: imap@cac.washington.edu\r
cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r
Message-Id: <B27397-0100000@cac.washington.edu>\r
"""
    assert envelope(parse(header).fields) == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) '
        b'((NIL NIL "imap" "cac.washington.edu")) '
        b'((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL '
        b'"<B27397-0100000@cac.washington.edu>")'
    )


def test_absent_is_nil_and_empty_is_empty() -> None:
    assert envelope({}) == EMPTY
    assert shown(b"X: y") == imap_grammar.envelope(EMPTY)
    found = shown(b"Date:\r\nSubject: \r\n \r\nFrom:\r\nTo: \r\nMessage-ID:\r\nIn-Reply-To:")
    assert (found.date, found.subject, found.in_reply_to, found.message_id) == (b"", b"", b"", b"")
    assert (found.from_, found.sender, found.to) == (None, None, None)


def test_sender_and_reply_to_are_from_when_absent_or_empty() -> None:
    found = shown(b"From: a@b\r\nSender:\r\nReply-To: ,")
    assert found.from_ == found.sender == found.reply_to == [Address(None, None, b"a", b"b")]
    found = shown(b"From: a@b\r\nSender: c@d\r\nReply-To: e@f")
    assert found.sender == [Address(None, None, b"c", b"d")]
    assert found.reply_to == [Address(None, None, b"e", b"f")]


def test_strings_that_cannot_be_quoted_are_literals() -> None:
    # No string can hold a NUL (CHAR8 excludes it): it becomes a space.
    fields = {b"date": b'a"b', b"subject": b"\xc3\xa9", b"in-reply-to": b"\\", b"message-id": b"a\0b\r"}
    assert envelope(fields) == (
        b'({3}\r\na"b {2}\r\n\xc3\xa9 NIL NIL NIL NIL NIL NIL {1}\r\n\\ {4}\r\na b\r)'
    )


def test_strings_are_unfolded_and_not_decoded() -> None:
    assert shown(b"Subject: =?utf-8?q?a?=\r\n\t=?utf-8?q?b?=\r\nDate:  x\r\n  y ").subject == (
        b"=?utf-8?q?a?=\t=?utf-8?q?b?="
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a@b", [(None, None, b"a", b"b")]),
        (
            b" a@b , <c@d> ,, e@f,",
            [(None, None, b"a", b"b"), (None, None, b"c", b"d"), (None, None, b"e", b"f")],
        ),
        (b"John Q. Public <a.b+c@d.e>", [(b"John Q. Public", None, b"a.b+c", b"d.e")]),
        (b'"Public, John \\"Q\\"" <a@b>', [(b'Public, John "Q"', None, b"a", b"b")]),
        (b'"a@b" <c@d>, "x" <y@z>', [(b"a@b", None, b"c", b"d"), (b"x", None, b"y", b"z")]),
        (b'"" <a@b>', [(None, None, b"a", b"b")]),
        (b'"A" "B" C <a@b>', [(b"A B C", None, b"a", b"b")]),
        (b"=?utf-8?q?J=C3=B6rg?= <a@b>", [(b"=?utf-8?q?J=C3=B6rg?=", None, b"a", b"b")]),
        (b"J\xc3\xb6rg <j\xc3\xb6@b>", [(b"J\xc3\xb6rg", None, b"j\xc3\xb6", b"b")]),
        (b"a@b (John (Jack) Doe)", [(b"John (Jack) Doe", None, b"a", b"b")]),
        (b"(x) John <a@b> (y)", [(b"John", None, b"a", b"b")]),
        (b"(a) <a@b> (b)", [(b"a b", None, b"a", b"b")]),
        # RFC 5322 §3.2.2: in a comment a quote is an octet like others, and a backslash quotes.
        (
            b'a@b (5" disk), c@d ("e), f@g',
            [(b'5" disk', None, b"a", b"b"), (b'"e', None, b"c", b"d"), (None, None, b"f", b"g")],
        ),
        (b"a@b (\\(x\\) \\\\)", [(b"(x) \\", None, b"a", b"b")]),
        (b"a@b (x \\", [(b"x \\", None, b"a", b"b")]),
        (b'"quoted local"@b', [(None, None, b"quoted local", b"b")]),
        (b'<"a@b"@c>', [(None, None, b"a@b", b"c")]),
        (b"a @ b . c", [(None, None, b"a", b"b.c")]),
        (b"a@[127.0.0.1]", [(None, None, b"a", b"[127.0.0.1]")]),
        (b"<a@[IPv6:::1]>", [(None, None, b"a", b"[IPv6:::1]")]),
        (b"X <@h1,@h2:a@b>", [(b"X", b"@h1,@h2", b"a", b"b")]),
        # Groups: a host of NIL marks their begin and end.
        (b"G:;", [(None, None, b"G", None), G]),
        (b"undisclosed-recipients: ;", [(None, None, b"undisclosed-recipients", None), G]),
        (
            b'A Group:Ed <a@b>,c@d; , "H: H": x@y;',
            [
                (None, None, b"A Group", None),
                (b"Ed", None, b"a", b"b"),
                (None, None, b"c", b"d"),
                G,
                (None, None, b"H: H", None),
                (None, None, b"x", b"y"),
                G,
            ],
        ),
        (b"G: a@b", [(None, None, b"G", None), (None, None, b"a", b"b"), G]),
        (
            b"G: H: a@b; c@d",
            [(None, None, b"G", None), (None, None, b"H: a", b"b"), G, (None, None, b"c", b"d")],
        ),
        # Broken ones: never lost, never a group by mistake.
        (b"postmaster", [(None, None, b"postmaster", b"")]),
        (b"John Doe", [(None, None, b"John Doe", b"")]),
        (b"John <>", [(b"John", None, b"", b"")]),
        (b"John <doe>", [(b"John", None, b"doe", b"")]),
        (b"<a@b", [(None, None, b"a", b"b")]),
        (b"John <a@b", [(b"John", None, b"a", b"b")]),
        (b"a@b>", [(None, None, b"a", b"b>")]),
        (b"a@b <a@b>", [(b"a@b", None, b"a", b"b")]),
        (b'"a@b', [(None, None, b"a@b", b"")]),
        (b"a@b; c@d", [(None, None, b"a", b"b"), (None, None, b"c", b"d")]),
        (b"@", [(None, None, b"", b"")]),
        (b"@b", [(None, None, b"", b"b")]),
        (b"a@b@c", [(None, None, b"a@b", b"c")]),
        (b"a@b (never closed", [(b"never closed", None, b"a", b"b")]),
        (b"\\", [(None, None, b"\\", b"")]),
        (b"'a@b'", [(None, None, b"'a", b"b'")]),
        # Nothing but a comment, separators, nothing.
        (b"(never closed a@b", []),
        (b", ,; ;", []),
        (b"", []),
    ],
)
def test_addresses(value: bytes, expected: list[tuple[bytes | None, ...]]) -> None:
    assert [tuple(address) for address in address_list(value)] == expected
    seen = shown(b"To: " + value).to
    assert [tuple(address) for address in seen or []] == expected


def test_a_list_has_a_largest_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "MAX_ADDRESSES", 3)
    assert len(address_list(b"a@b," * 5)) == 3
    assert address_list(b",(),,a@b") == []  # what has no address in it takes its time, too
    # A group that is cut is closed all the same.
    assert address_list(b"G:" + b"a@b," * 5)[-1] == G
