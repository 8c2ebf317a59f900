"""Any bytes at all: never an exception, output by the grammar, offsets that nest, and time that is linear."""

import re
from typing import SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.mail import structure
from aerogramme.mail.addresses import address_list
from aerogramme.mail.digest import render
from aerogramme.mail.sections import header_fields
from tests.helpers import imap_grammar
from tests.helpers.mail_check import check

PIECES = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b'"',
        b"\\",
        b"(",
        b")",
        b"<",
        b">",
        b"@",
        b",",
        b";",
        b":",
        b"=",
    ),
    *(
        b"--b",
        b"--b--",
        b"--bb",
        b"--c",
        b"--c--",
        b"--",
        b"b",
        b"c",
        b"x",
        b"\xff",
        "€".encode(),
        b"a@b",
        b"G:;",
    ),
    *(b"Content-Type: multipart/mixed; boundary=b\r\n", b'Content-Type: multipart/digest; boundary="c"\r\n'),
    *(b"Content-Type: message/rfc822\r\n", b"Content-Type: text/html; charset=utf-7\r\n", b"Content-Type: "),
    *(
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"Content-ID:",
    ),
    *(b"Content-Disposition: attachment; filename*0*=utf-8''a; filename=", b"Content-Language: en, de\r\n"),
    *(
        b"From: ",
        b"To: ",
        b"Subject: ",
        b"Date: ",
        b"Message-ID: <a@b>\r\n",
        b"\r\n\r\n",
        b"\r\n--b\r\n",
        b"\r\n--c\r\n",
    ),
    *(
        b"=?utf-8?q?=C3=A4?=",
        b"=?iso-2022-jp?b?GyRC?=",
        b"<!--",
        b"<style>",
        b"<p>",
        b"&#1",
        b"&amp;",
        b"22 Aug 2002",
    ),
]
mime = st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join)


@given(st.binary(max_size=300))
def test_random_bytes(raw: bytes) -> None:
    check(raw)


@given(mime)
def test_random_mime(raw: bytes) -> None:
    check(raw)


GOOD = b"""From: "A" <a@b>, G: c@d;\r
Subject: =?utf-8?q?x?=\r
Content-Type: multipart/mixed; boundary="b"\r
\r
--b\r
Content-Type: multipart/alternative; boundary=c\r
\r
--c\r
\r
text\r
--c\r
Content-Type: text/html; charset=utf-8\r
Content-Transfer-Encoding: quoted-printable\r
\r
<b>=C3=A4</b>\r
--c--\r
--b\r
Content-Type: message/rfc822\r
Content-Disposition: inline; filename="x"\r
\r
To: y@z\r
Content-Type: multipart/digest; boundary=d\r
\r
--d\r
\r
From: e\r
\r
x\r
--d--\r
--b--\r
"""


@given(st.data())
def test_mutated_mime(data: st.DataObject) -> None:
    raw = GOOD
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(raw)))
        stop = data.draw(st.integers(start, min(len(raw), start + 40)))
        put = data.draw(st.sampled_from(PIECES) | st.binary(max_size=3) | st.just(raw[stop : stop + 80]))
        raw = raw[:start] + put + raw[stop:]
    check(raw)


@given(st.lists(st.sampled_from([*PIECES[:19], b"name", b"[", b"]", b".", b"a@b", b"<@c:d@e>"]), max_size=30))
def test_random_addresses(pieces: list[bytes]) -> None:
    value = b"".join(pieces)
    raw = b"From: " + value.replace(b"\n", b"\n ") + b"\n\n"
    seen = imap_grammar.envelope(render(raw).envelope).from_ or []
    assert len(seen) == len(address_list(structure.parse(raw).fields.get(b"from", b"")))


@pytest.mark.parametrize("cut", range(0, len(GOOD), 7))
def test_a_message_cut_anywhere(cut: int) -> None:
    check(GOOD[:cut])
    check(GOOD[cut:])


MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
DIGEST = MIXED.replace(b"mixed", b"digest")


def nested(depth: int) -> bytes:
    return b"".join(b"Content-Type: multipart/x; boundary=b%d\n\n--b%d\n" % (at, at) for at in range(depth))


def structures(n: int) -> dict[str, bytes]:
    """Each with about `n` of something."""
    return {
        "nested multiparts": nested(n),
        "nested messages": b"Content-Type: message/rfc822\n\n" * n,
        "empty parts": MIXED + b"--b\n" * (2 * n),
        "parts whose headers never end": MIXED + b"--b\nX: y\n" * (2 * n),
        "one boundary, many multiparts": (MIXED + b"--b\n") * n,
        "lines that begin like delimiters": nested(90) + b"--\n--x\n" * (4 * n),
        "long lines that begin like delimiters": MIXED + (b"--" + b"x" * 5000 + b"\n") * (n // 100),
        "a header without end in nested messages": b"Content-Type: message/rfc822\n\n" * 99
        + b"X: y\n" * (8 * n),
        "long headers in nested messages": MIXED
        + b"--b\n"
        + (b"Content-Type: message/rfc822\n" + b"X: y\n" * (n // 10) + b"\n") * 98,
        "a digest of messages": DIGEST + b"--b\n\nFrom: a,b,c\n\n" * n,
        "nothing but line ends": b"\n" * (40 * n),
        "nothing but CR": b"\r" * (40 * n),
        "nothing but NUL": b"\0" * (40 * n),
    }


class Counted(bytes):
    """Bytes that count how many of them are looked at."""

    work = 0

    def find(self, sub: bytes, start: int = 0, stop: int | None = None) -> int:  # type: ignore[override]  # as used
        stop = len(self) if stop is None else stop
        found = super().find(sub, start, stop)
        self.work += max(0, (stop if found < 0 else found) - start) + 10
        return found

    def count(self, sub: bytes, start: int = 0, stop: int | None = None) -> int:  # type: ignore[override]  # as used
        stop = len(self) if stop is None else stop
        self.work += max(0, stop - start) + 10
        return super().count(sub, start, stop)

    def __getitem__(self, index: SupportsIndex | slice) -> bytes:  # type: ignore[override]  # as used
        found = super().__getitem__(index)
        self.work += len(found) if isinstance(found, bytes) else 1
        return found  # type: ignore[return-value]  # an int for an int


class CountedPattern:
    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern = pattern

    def search(self, raw: Counted, start: int) -> re.Match[bytes] | None:
        found = self.pattern.search(raw, start)
        raw.work += (found.end() if found else len(raw)) - start
        return found


@pytest.mark.parametrize("name", structures(1))
def test_the_structure_is_found_in_linear_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Counted(structures(10_000)[name])
    monkeypatch.setattr(structure, "_BLANK", CountedPattern(structure._BLANK))
    structure.parse(raw)
    # Blank lines, delimiters and lines are each looked for once; what may be a delimiter is read once more.
    assert raw.work < 20 * len(raw)


@pytest.mark.parametrize("name", structures(1))
def test_hostile_structures(name: str) -> None:
    check(structures(500)[name])


def test_more_parts_than_are_told_apart() -> None:
    body = imap_grammar.body(render(MIXED + b"--b\n" * 20_000).bodystructure, extensible=True)
    assert len(body.parts) == structure.MAX_PARTS - 1


SIZE = 200_000  # what is quadratic in it takes minutes


def header(name: bytes, unit: bytes) -> bytes:
    return name + unit * (SIZE // len(unit)) + b"\r\n\r\nx"


def html(unit: bytes, before: bytes = b"") -> bytes:
    return b"Content-Type: text/html; charset=utf-8\r\n\r\n" + before + unit * (SIZE // len(unit))


@pytest.mark.parametrize(
    "unit",
    [
        *(
            b'"',
            b"(",
            b"()",
            b"<",
            b"@",
            b"a@",
            b":",
            b"\\",
            b'"a,',
            b"<a@b",
            b"[",
            b"a:;",
            b"<@:",
            b"a ",
            b" ",
            b'"a" ',
        ),
        *(b"<,", b'<"', b'"\\', b"a@b,", b",", b"(\\", b"a\r\n ", b"a@b (x) "),
    ],
)
def test_hostile_addresses(unit: bytes) -> None:
    digest = render(header(b"From: ", unit))
    imap_grammar.envelope(digest.envelope)


@pytest.mark.parametrize(
    "unit", [b";", b";a=", b';a="', b"(", b'(x)"', b" ", b"; ", b"a ", b"a=b ", b'"', b'"\\', b"/", b"a=;"]
)
@pytest.mark.parametrize("name", [b"Content-Type: text/plain", b"Content-Type: ", b"Content-Disposition: x;"])
def test_hostile_parameters(name: bytes, unit: bytes) -> None:
    imap_grammar.body(render(header(name, unit)).bodystructure, extensible=True)


@pytest.mark.parametrize(
    "unit",
    [
        *(
            b"=?",
            b"=?a?q?",
            b"=?a?q?x?=",
            b"=?utf-8?b?x?= ",
            b"=?utf-8?b?x?=" + b" " * 50,
            b"=?a*",
            b"=?utf-7?q?+A?= ",
        ),
        b"=?utf-8?q?" + b"=CC=81=CC=96" * 20 + b"?=",
    ],
)
def test_hostile_encoded_words(unit: bytes) -> None:
    render(header(b"Subject: ", unit)).subject.decode()


@pytest.mark.parametrize("name", [b"Date: ", b"References: ", b"Message-ID: ", b"Content-Language: "])
@pytest.mark.parametrize("unit", [b"1 a", b"1 ", b"<", b"<a>", b"<a", b"a,"])
def test_hostile_fields(name: bytes, unit: bytes) -> None:
    render(header(name, unit))


@pytest.mark.parametrize(
    "raw",
    [
        *map(
            html,
            (
                b"<",
                b"<a",
                b"<!--",
                b"<style>",
                b"<style></script ",
                b"&",
                b"&amp",
                b"&#",
                b"<b>x</b><p>",
                b"</",
            ),
        ),
        html(b"</style ", b"<style>"),
        html(b"9", b"&#"),
        html("\u0301\u0316".encode()),
        html("\u0301".encode() * 1000 + "\u0316".encode() * 1000),
        html(("a" + "\u0301" * 15 + "\u0316" * 14).encode()),
        html(b"+2AD-").replace(b"utf-8", b"utf-7"),
        html(b"\x1b$B").replace(b"utf-8", b"iso-2022-jp"),
        html(b"~{").replace(b"utf-8", b"hz"),
    ],
)
def test_hostile_text(raw: bytes) -> None:
    render(raw).text.decode()


@pytest.mark.parametrize(
    "header", [b"a:\n" * 100_000, b":\n" * 150_000, b"\n" * SIZE, b"a" * SIZE, b"a: \n " * 60_000]
)
def test_hostile_header_fields(header: bytes) -> None:
    names = frozenset((b"a", b"b"))
    chosen = header_fields(header, names)
    rest = header_fields(header, names, negate=True)
    assert len(chosen) + len(rest) in (len(header), len(header) + 1)  # the blank line is in both


def test_an_address_field_that_comes_often() -> None:
    raw = b"To: a@b\r\n" * 100_000 + b"\r\n"
    assert render(raw).to.startswith(b"a@b, a@b")
