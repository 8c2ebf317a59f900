"""What must hold of the digest of any bytes at all: it is by the grammar, and agrees with them."""

import re
from collections import Counter
from collections.abc import Iterator

from aerogramme.mail.digest import Digest, render
from aerogramme.mail.sections import header_fields, section
from aerogramme.mail.structure import Part, parse
from aerogramme.mail.text import PREVIEW_MAX, TEXT_MAX
from tests.helpers import imap_grammar
from tests.helpers.imap_grammar import Body

_LINE = re.compile(rb"[^\n]*\n|[^\n]+")

Path = tuple[int, ...]


def check(raw: bytes) -> Digest:
    """Render `raw` and check the digest against it and in itself."""
    digest = render(raw)
    imap_grammar.envelope(digest.envelope)
    full = imap_grammar.body(digest.bodystructure, extensible=True)
    basic = imap_grammar.body(digest.body, extensible=False)
    root = parse(raw)
    assert (root.start, root.end, digest.size) == (0, len(raw), len(raw))
    _nested(root)
    _agrees(full, root)
    _agrees(basic, root)
    for path, part in numbered(root):
        assert section(digest.parts, path) == (part.body, part.end)
        assert section(digest.parts, path, "MIME") == (part.start, part.body)
        inner = part.message
        assert section(digest.parts, path, "TEXT") == ((inner.body, inner.end) if inner else None)
    assert section(digest.parts, (), "HEADER") == (0, len(digest.header))
    assert section(digest.parts, (), "TEXT") == (len(digest.header), len(raw))
    assert raw.startswith(digest.header)
    _fields(digest.header)
    assert len(digest.text) <= TEXT_MAX
    assert len(digest.preview.decode()) <= PREVIEW_MAX
    for folded in (
        digest.text,
        digest.headtext,
        digest.subject,
        digest.from_,
        digest.to,
        digest.cc,
        digest.bcc,
    ):
        folded.decode("utf-8")
    assert digest.sent >= -1
    return digest


def numbered(root: Part) -> Iterator[tuple[Path, Part]]:
    """All parts that a client can name, by the rules of RFC 3501 §6.4.5, worked out from the tree."""
    todo: list[tuple[Path, Part, bool]] = [((), root, True)]
    while todo:
        path, part, whole = todo.pop()
        if whole and not part.children:
            todo.append(((*path, 1), part, False))
            continue
        if not whole:
            yield path, part
        for number, child in enumerate(part.children, 1):
            todo.append(((*path, number), child, False))
        if part.message is not None:
            todo.append((path, part.message, True))


def _nested(root: Part) -> None:
    todo = [root]
    while todo:
        part = todo.pop()
        assert part.start <= part.body <= part.end
        at = part.body
        inner = part.children or ((part.message,) if part.message else ())
        for child in inner:
            assert at <= child.start
            assert child.end <= part.end
            at = child.end
        todo.extend(inner)
        assert (part.type == b"multipart") == bool(part.children)
        assert (part.message is not None) == (part.type == b"message" and part.subtype == b"rfc822")


def _agrees(body: Body, root: Part) -> None:
    todo = [(body, root)]
    while todo:
        shown, part = todo.pop()
        assert len(shown.parts) == len(part.children)
        assert shown.subtype == part.subtype.replace(b"\0", b" ")
        if not part.children:
            assert shown.octets == part.end - part.body
            assert (shown.enclosed is None) == (part.message is None)
        todo.extend(zip(shown.parts, part.children, strict=True))
        if shown.enclosed is not None and part.message is not None:
            todo.append((shown.enclosed, part.message))


def _fields(header: bytes) -> None:
    names = frozenset((b"from", b"subject", b"content-type", b"x"))
    some = header_fields(header, names)
    others = header_fields(header, names, negate=True)
    lines = Counter(_LINE.findall(header))
    if header in (b"\n", b"\r\n") or header.endswith((b"\n\n", b"\n\r\n")):
        lines[b"\r\n" if header.endswith(b"\r\n") else b"\n"] += 1  # the blank line is in both
    assert Counter(_LINE.findall(some)) + Counter(_LINE.findall(others)) == lines
    assert header_fields(some, names) == some
    assert header_fields(others, names, negate=True) == others
