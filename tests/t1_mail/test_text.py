"""Text for searching: charsets, encoded words, markup, folding, and the bounds on all of it."""

import base64
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.mail import text
from aerogramme.mail.structure import parse
from aerogramme.mail.text import (
    body_text,
    cut,
    decode,
    decode_header,
    fold,
    html_to_text,
    transfer_decode,
)


def searched(raw: bytes) -> bytes:
    return body_text(raw, parse(raw))[0]


@pytest.mark.parametrize(
    ("data", "charset", "expected"),
    [
        (b"abc", "utf-8", "abc"),
        ("äö€".encode(), "UTF-8", "äö€"),
        (b"\xff", "utf-8", "\ufffd"),
        (b"\xe4", "iso-8859-1", "ä"),
        (b"\x80", "ISO-8859-1", "€"),  # windows-1252 is what is meant
        (b"\x81", "iso-8859-1", "\x81"),
        (b"\xa4", "iso-8859-15", "€"),
        (b"\xc4", "koi8-r", "д"),
        (b"\x82\xa0", "shift_jis", "あ"),
        (b'\x1b$B$"\x1b(B', "iso-2022-jp", "あ"),
        (b"\xc4\xe3", "gb2312", "你"),
        (b"a\x00", "utf-16le", "a"),
        (b"+AOQ-", "utf-7", "ä"),
        ("ä".encode(), "us-ascii", "ä"),
        (b"\xe4", "us-ascii", "ä"),
        ("ä".encode(), "no-such-charset", "ä"),
        (b"\xe4", "", "ä"),
        (b"\xe4", "x" * 100, "ä"),
        (b"\xe4", "../utf-8", "ä"),
        (b"\xe4", "a\0b", "ä"),
        (b"\x78\x9c\xe4", "zlib", "xœä"),  # not a charset
        (b"a\xe4", "unicode_escape", "aä"),
        (b"a", "idna", "a"),
    ],
)
def test_charsets(data: bytes, charset: str, expected: str) -> None:
    assert decode(data, charset) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"plain", "plain"),
        ("größe".encode(), "größe"),
        (b"gr\xf6\xdfe", "größe"),
        (b"=?utf-8?Q?gr=C3=B6=C3=9Fe?=", "größe"),
        (b"=?utf-8?q?a_b=5F?= c", "a b_ c"),
        (b"=?UTF-8*de?b?w7Y=?=", "ö"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=\r\n =?utf-8?q?c?= d", "abc d"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=B6?=", "ö"),  # a character in two words
        (b"=?utf-8?q?=C3=B6?= =?iso-8859-1?q?=F6?=", "öö"),
        (b"=?utf-8?q?a?= x =?utf-8?q?b?=", "a x b"),
        (b"=?utf-8?b?w7Y?=", "ö"),  # no padding
        (b"=?utf-8?b?!?=", ""),
        (b"=?nonsense?q?=F6?=", "ö"),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"=?utf-8?q?a", "=?utf-8?q?a"),
        (b"=?=?utf-8?q?a?=", "=?a"),
        (b"=?utf-8?q?a b?=", "a b"),  # not allowed, but seen
    ],
)
def test_headers(value: bytes, expected: str) -> None:
    assert decode_header(value) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Hello  World\r\n\t!", "hello world !"),
        ("STRASSE Straße", "strasse strasse"),
        ("ÄÖ", "äö"),
        ("A\u0308", "ä"),  # NFC
        ("a\u00a0b\u2003c", "a b c"),
        ("ΔΣ", "δ\u03c3"),  # not the final form: the same within a word and at its end
        ("\ud800x", "?x"),
        ("a" + "\u0301\u0316" * 20, "\u00e1" + "\u0316" * 20 + "\u0301" * 19),
        ("x \u00c4 " * 300 + "\u00a0 " * 600 + "END", "x \u00e4 " * 300 + "end"),
        ("\u00c4" * 1300 + "\u3000\u00c4" * 700, "\u00e4" * 1300 + " \u00e4" * 700),
        ("", ""),
    ],
)
def test_fold(given: str, expected: str) -> None:
    assert fold(given) == expected.encode()


PARTS = st.text("aÄ \u00a0\n\u00e9\u0301\u3000\u0130\u4e00", max_size=40)


@given(st.lists(PARTS.map(lambda part: part * 9), max_size=9))
def test_it_does_not_matter_that_text_is_folded_in_pieces(parts: list[str]) -> None:
    text = " ".join(parts)
    whole = " ".join(unicodedata.normalize("NFC", text.casefold()).split())
    assert fold(text) == whole.encode()


@pytest.mark.parametrize(
    ("data", "encoding", "expected"),
    [
        (b"YWJj\r\nZGVm", b"base64", b"abcdef"),
        (b"YWJ", b"base64", b"ab"),
        (b"YWJjZ", b"base64", b"abc"),
        (b"Y W-J*j", b"base64", b"abc"),
        (b"====", b"base64", b""),
        (b"a=3D=\r\nb=ZZ=", b"quoted-printable", b"a=b=ZZ"),
        (b"=3D", b"8bit", b"=3D"),
        (b"=3D", b"x-unknown", b"=3D"),
    ],
)
def test_transfer_encodings(data: bytes, encoding: bytes, expected: bytes) -> None:
    assert transfer_decode(data, encoding) == expected


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<p>one</p><p>two", "one two"),
        ("w<b>or</b>d <span class='x'>s</span>", "word s"),
        ("a<br>b<td>c", "a b c"),
        ("x<style>p { }</style >y<SCRIPT>if (a < b)</Script>z", "x y z"),
        ("x<!-- <b> -->y", "x y"),
        ("x<!-- never closed>y", "x y"),
        ("x<!-- a -->y<!-->z", "x y z"),
        ("x<style>never closed", "x"),
        ("x<a href='never closed", "x"),
        ("a &lt; b &amp;&nbsp;c &#228;&#xe4; &nosuch; &", "a < b & c ää &nosuch; &"),
        ("&#" + "9" * 5000 + ";", "\ufffd" + "9" * 4993 + ";"),
        ("1 < 2 > 0", "1 < 2 > 0"),
        ("<head><title>t</title></head><body>b", "b"),
    ],
)
def test_html(markup: str, expected: str) -> None:
    assert " ".join(html_to_text(markup).split()) == expected


MIXED = "\r\n".join(
    [
        "Subject: not here",
        "Content-Type: multipart/mixed; boundary=b",
        "",
        "preamble",
        "--b",
        "Content-Type: text/plain; charset=iso-8859-1",
        "Content-Transfer-Encoding: quoted-printable",
        "",
        "Gr=FC=DFe aus  K=F6ln,=",
        " =C4rger",
        "--b",
        "Content-Type: text/html; charset=utf-8",
        "Content-Transfer-Encoding: base64",
        "",
        base64.b64encode("<p>Zweiter&nbsp;<b>Teil</b> €</p>".encode()).decode(),
        "--b",
        'Content-Type: application/pdf; name="=?utf-8?q?R=C3=A9sum=C3=A9?=.pdf"',
        "Content-Transfer-Encoding: base64",
        "",
        "UEFZTE9BRA==",
        "--b",
        "Content-Type: message/rfc822",
        "",
        "Subject: =?utf-8?q?Weiter?=",
        "From: Someone <some@one>",
        "",
        "Enclosed TEXT",
        "--b",
        "Content-Type: message/delivery-status",
        "",
        "Final-Recipient: rfc822; Nobody@nowhere",
        "--b--",
        "epilogue",
    ]
).encode()


def test_all_text_of_a_message_is_there() -> None:
    found, preview = body_text(MIXED, parse(MIXED))
    assert found.decode().split("\n") == [
        "grüsse aus köln, ärger",
        "zweiter teil €",
        "résumé.pdf",
        "weiter someone <some@one>",
        "enclosed text",
        "final-recipient: rfc822; nobody@nowhere",
    ]
    assert preview.decode() == "Grüße aus Köln, Ärger"


def test_a_search_string_is_found_across_line_ends() -> None:
    assert fold("two  WORDS") in searched(b"\r\nsome two\r\nwords here")


def test_the_preview_is_of_the_first_text_that_says_something() -> None:
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n \r\n--b\r\n\r\n" + b"word " * 100
    assert body_text(raw, parse(raw))[1] == (b"word " * 40)
    raw = ("Content-Type: text/plain; charset=utf-8\r\n\r\n" + "€" * 300).encode()
    assert body_text(raw, parse(raw))[1].decode() == "€" * 200


def test_text_is_cut_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "TEXT_MAX", 10)
    assert searched("\r\näääääääää".encode()) == "äääää".encode()
    assert (
        searched(b"Content-Type: multipart/x; boundary=b\r\n\r\n" + b"--b\r\n\r\n1234567\r\n" * 9)
        == b"1234567\n12"
    )
    monkeypatch.setattr(text, "SOURCE_MAX", 4)
    assert searched(b"\r\n12345678") == b"1234"


@pytest.mark.parametrize(("size", "expected"), [(0, ""), (1, ""), (2, "ä"), (3, "ä"), (4, "ää"), (9, "ää")])
def test_cut_leaves_whole_characters(size: int, expected: str) -> None:
    assert cut("ää".encode(), size).decode() == expected
