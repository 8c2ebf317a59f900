"""BODYSTRUCTURE and BODY: typical structures byte by byte, all by the grammar (RFC 3501 §7.4.2)."""

import pytest

from aerogramme.mail import bodystructure
from aerogramme.mail.bodystructure import body_structures
from aerogramme.mail.structure import parse
from tests.helpers import imap_grammar


def shown(raw: bytes) -> imap_grammar.Body:
    full, basic = body_structures(parse(raw))
    imap_grammar.body(basic, extensible=False)
    return imap_grammar.body(full, extensible=True)


def test_a_text() -> None:
    raw = b"Content-Type: text/plain; charset=utf-8; format=flowed\r\n\r\na\r\nb\r\n"
    assert body_structures(parse(raw)) == (
        b'("text" "plain" ("charset" "utf-8" "format" "flowed") NIL NIL "7bit" 6 2 NIL NIL NIL NIL)',
        b'("text" "plain" ("charset" "utf-8" "format" "flowed") NIL NIL "7bit" 6 2)',
    )


def test_the_default_charset_is_said() -> None:
    plain = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0)'
    assert body_structures(parse(b"\r\nx"))[1] == plain
    assert body_structures(parse(b"Content-Type: text/plain\r\n\r\nx"))[1] == plain
    assert shown(b"Content-Type: text/plain; name=x\r\n\r\n").parameters == {
        b"name": b"x",
        b"charset": b"us-ascii",
    }
    assert shown(b"Content-Type: image/png\r\n\r\n").parameters is None


def test_a_multipart_with_everything() -> None:
    raw = (
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Language: en, de\r\n\r\n"
        b"--b\r\n\r\nhi\r\n--b\r\n"
        b'Content-Type: image/png; name="a b.png"\r\n'
        b"Content-Transfer-Encoding: BASE64\r\nContent-ID: <x@y>\r\n"
        b"Content-Description: a\r\n picture\r\nContent-MD5: abc\r\n"
        b"Content-Disposition: Attachment; filename=a.png; size=3\r\nContent-Location: http://x/\r\n"
        b"\r\nQUJD\r\n--b--"
    )
    text = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 2 0'
    image = b'("image" "png" ("name" "a b.png") "<x@y>" "a picture" "base64" 4'
    disposition = b'("attachment" ("filename" "a.png" "size" "3"))'
    assert body_structures(parse(raw)) == (
        b'(%b NIL NIL NIL NIL)%b "abc" %b NIL "http://x/") "mixed" ("boundary" "b") NIL ("en" "de") NIL)'
        % (text, image, disposition),
        b'(%b)%b) "mixed")' % (text, image),
    )


def test_an_enclosed_message() -> None:
    raw = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody\r\n"
    inner = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1'
    envelope = b'(NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL)'
    assert body_structures(parse(raw)) == (
        b'("message" "rfc822" NIL NIL NIL "7bit" 21 %b %b NIL NIL NIL NIL) 3 NIL NIL NIL NIL)'
        % (envelope, inner),
        b'("message" "rfc822" NIL NIL NIL "7bit" 21 %b %b) 3)' % (envelope, inner),
    )


def test_message_types_other_than_rfc822_are_basic() -> None:
    found = shown(b"Content-Type: message/delivery-status\r\n\r\nX: y\r\n\r\n")
    assert (found.enclosed, found.lines, found.octets) == (None, None, 8)


def test_an_empty_multipart_has_a_part() -> None:
    found = shown(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n")
    assert [(part.type, part.octets) for part in found.parts] == [(b"text", 0)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"; a=b; C=d", {b"a": b"b", b"c": b"d"}),
        (b';a="b;c=\\"d\\\\" ; e = f ', {b"a": b'b;c="d\\', b"e": b"f"}),
        # RFC 2231 goes through as it stands.
        (
            b"; name*0*=utf-8''%e2%82%ac; name*1=x; title*=iso-8859-1'en'%A3",
            {b"name*0*": b"utf-8''%e2%82%ac", b"name*1": b"x", b"title*": b"iso-8859-1'en'%A3"},
        ),
        (b'; name="=?utf-8?q?=E2=82=AC?="', {b"name": b"=?utf-8?q?=E2=82=AC?="}),
        (b"; name=\xe2\x82\xac.pdf", {b"name": b"\xe2\x82\xac.pdf"}),
        (b'; name="a\xff.pdf"', {b"name": b"a\xff.pdf"}),
        (b"; name=my file.pdf; x=y", {b"name": b"my file.pdf", b"x": b"y"}),
        (b'; name="never closed; x=y', {b"name": b"never closed; x=y"}),
        (b'; name="ends in \\', {b"name": b"ends in "}),
        (b'; name="a" junk; x=y', {b"name": b"a", b"x": b"y"}),
        (b"; name=; x=y", {b"name": b"", b"x": b"y"}),
        (b";;; ; a=b;", {b"a": b"b"}),
        (b"; novalue; a=b", {b"a": b"b"}),
        (b" a=b", {b"a": b"b"}),  # the semicolon forgotten
        (b"; a=b (comment; c=d); e=f", {b"a": b"b", b"e": b"f"}),
        (b'; a=b (5" disk (\\)")); e=f; g="("', {b"a": b"b", b"e": b"f", b"g": b"("}),
        (b"; a=b (never closed; c=d", {b"a": b"b"}),
        (b"; a=b) (c)", {b"a": b"b"}),
        (b"; a=1; a=2", {b"a": b"1"}),
        (b"; =x; a=b", {b"a": b"b"}),
        (b"; a\r\n =b", {b"a": b"b"}),
        (b'; a="b\r\n c"', {b"a": b"b c"}),
        (b"; a=b\0c", {b"a": b"b c"}),
        (b"; " + b"p=1; " * 1000, {b"p": b"1"}),
    ],
)
def test_parameters(given: bytes, expected: dict[bytes, bytes]) -> None:
    assert shown(b"Content-Type: application/x" + given + b"\r\n\r\n").parameters == expected
    found = shown(
        b"Content-Type: application/x\r\nContent-Disposition: inline" + given + b"\r\n\r\n"
    ).disposition
    assert found == (b"inline", expected)


@pytest.mark.parametrize(
    ("header", "attribute", "expected"),
    [
        (b"Content-Disposition:", "disposition", None),
        (b"Content-Disposition: ;;", "disposition", None),
        (b"Content-Disposition: attachment", "disposition", (b"attachment", None)),
        (b"Content-Language:", "language", None),
        (b"Content-Language: fr (French)", "language", [b"fr"]),
        (b"Content-Location: \xff", "location", b"\xff"),
        (b"Content-ID:", "id", b""),
        (b'Content-Description: a "b"', "description", b'a "b"'),
        (b"Content-Transfer-Encoding: Quoted-Printable (x)", "encoding", b"quoted-printable"),
        (b"Content-Transfer-Encoding:", "encoding", b"7bit"),
        (b"Content-Transfer-Encoding: ;;", "encoding", b"7bit"),
        (b"Content-Type: text/plain; charset=utf-8", "subtype", b"plain"),
        (b"Content-Type: text/\xff", "subtype", b"\xff"),
    ],
)
def test_fields(header: bytes, attribute: str, expected: object) -> None:
    assert getattr(shown(header + b"\r\n\r\n"), attribute) == expected


def test_envelopes_stop_where_a_structure_grows_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodystructure, "MAX_STRUCTURE", 400)
    raw = (
        b"Content-Type: multipart/digest; boundary=b\r\n\r\n"
        + b"--b\r\n\r\nFrom: a@b\r\n\r\nx\r\n" * 4
        + b"--b--"
    )
    seen = [part.envelope.from_ is not None for part in shown(raw).parts if part.envelope is not None]
    assert seen == [True, True, False, False]
    # Fields count, too: of these nothing comes, and they take longer than any others.
    raw = raw.replace(b"From: a@b", b"Subject: x\r\nTo: " + b"()" * 150)
    seen = [part.envelope.subject is not None for part in shown(raw).parts if part.envelope is not None]
    assert seen == [True, False, False, False]


def test_of_a_structure_that_has_grown_too_large_the_rest_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodystructure, "MAX_STRUCTURE", 4000)
    one = (
        b"--b\r\nContent-Type: %b; name=x\r\nContent-ID: <i>\r\nContent-Description: d\r\nContent-MD5: m\r\n"
        b"Content-Disposition: inline\r\nContent-Language: en\r\nContent-Location: l\r\n\r\nx\r\n"
    )
    large = one.replace(b"name=x", b"name=" + b"x" * 400)
    kinds = [b"text/plain", b"image/png", b"multipart/mixed; boundary=c"]
    raw = b"Content-Type: multipart/mixed; boundary=b; p=q\r\n\r\n" + b"".join(one % kind for kind in kinds)
    for part in shown(raw).parts[:2]:
        assert part.parameters is not None and part.parameters[b"name"] == b"x"
        said = part.id, part.description, part.md5, part.disposition, part.language, part.location
        assert None not in said
    parts = shown(raw.replace(b"p=q\r\n\r\n", b"p=q\r\n\r\n" + large % b"image/gif" * 10)).parts
    assert all(part.parameters for part in parts[:8])
    text, image, mixed = parts[10:]
    assert (text.parameters, image.parameters, mixed.parameters) == ({b"charset": b"us-ascii"}, None, None)
    for part in text, image, mixed:
        said = part.id, part.description, part.md5, part.disposition, part.language, part.location
        assert said == (None,) * 6


def test_types_have_a_largest_length() -> None:
    found = shown(b"Content-Type: a/%b\r\nContent-Transfer-Encoding: %b\r\n\r\n" % (b"b" * 127, b"c" * 500))
    assert (found.type, found.subtype, found.encoding) == (b"a", b"b" * 127, b"c" * 127)
    assert shown(b"Content-Type: a/%b\r\n\r\n" % (b"b" * 128)).type == b"text"
    assert shown(b"Content-Type: %b/b\r\n\r\n" % (b"a" * 128)).type == b"text"


def test_a_list_of_languages_has_a_largest_length() -> None:
    assert len(shown(b"Content-Language: " + b"a," * 1000 + b"\r\n\r\n").language or []) == 500
