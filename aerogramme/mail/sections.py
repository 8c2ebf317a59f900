"""Sections (RFC 3501 §6.4.5): which bytes of a message BODY[…] means, and subsets of header fields."""

import re
from functools import lru_cache
from typing import Final

from aerogramme.errors import Damaged
from aerogramme.mail.structure import Part

# The format is described in docs/format.md, "Packed parts".
_VERSION: Final = 1
_LEAF, _MULTIPART, _MESSAGE = 0, 1, 2
_ENCODINGS: Final = (b"7bit", b"8bit", b"binary", b"quoted-printable", b"base64")
_OTHER: Final = 7


def _varint(out: bytearray, value: int) -> None:
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def pack(root: Part) -> bytes:
    """The offsets of all parts, for looking up sections without reading the message again."""
    out = bytearray((_VERSION,))
    todo = [(root, 0)]
    while todo:
        part, base = todo.pop()
        kind = _MULTIPART if part.children else _MESSAGE if part.message else _LEAF
        encoding = _ENCODINGS.index(part.encoding) if part.encoding in _ENCODINGS else _OTHER
        out.append(kind | encoding << 2)
        _varint(out, part.start - base)
        _varint(out, part.body - part.start)
        _varint(out, part.end - part.body)
        if part.children:
            _varint(out, len(part.children))
            todo.extend([(child, part.body) for child in reversed(part.children)])
        elif part.message:
            todo.append((part.message, part.body))
    return bytes(out)


class _Unpacked:
    """A part as it was packed."""

    __slots__ = ("body", "children", "end", "kind", "start")

    def __init__(self, kind: int, start: int, body: int, end: int) -> None:
        self.kind = kind
        self.start = start
        self.body = body
        self.end = end
        self.children: list[_Unpacked] = []


class _Cursor:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise Damaged("the list of parts is cut off")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                if shift and not byte:
                    raise Damaged("a number in the list of parts is not in its shortest form")
                return value
            shift += 7
            if shift > 63:
                raise Damaged("a number in the list of parts is too large")


@lru_cache(maxsize=16)  # clients ask for several parts of a message in a row; one may have 10,000 parts
def _unpack(packed: bytes) -> _Unpacked:
    cursor = _Cursor(packed)
    if cursor.byte() != _VERSION:
        raise Damaged("the list of parts is of an unknown version")
    root: _Unpacked | None = None
    todo: list[_Unpacked | None] = [None]  # the parents of the parts to come, the next one last
    while todo:
        parent = todo.pop()
        first = cursor.byte()
        kind, encoding = first & 3, first >> 2
        start = cursor.varint() + (parent.body if parent else 0)
        body = start + cursor.varint()
        end = body + cursor.varint()
        if kind > _MESSAGE or not (encoding < len(_ENCODINGS) or encoding == _OTHER):
            raise Damaged("a part is of an unknown kind")
        if parent and end > parent.end:
            raise Damaged("a part ends behind the one that it is in")
        part = _Unpacked(kind, start, body, end)
        if parent:
            parent.children.append(part)
        else:
            root = part
        if kind == _MULTIPART:
            count = cursor.varint()
            # A part has four octets at least, and those of other multiparts follow, too.
            if not 0 < count <= (len(packed) - cursor.at) // 4 - len(todo):
                raise Damaged("a multipart has an impossible number of parts")
            todo.extend([part] * count)
        elif kind == _MESSAGE:
            todo.append(part)
    if cursor.at != len(packed) or root is None:
        raise Damaged("something follows the list of parts")
    return root


def _find(root: _Unpacked, path: tuple[int, ...]) -> _Unpacked | None:
    """RFC 3501 §6.4.5: the part of this number. In a message that is no multipart, part 1 is its body."""
    entity, whole = root, True  # `whole`: entity is a message, whose parts are numbered from its own body
    for number in path:
        if not whole and entity.kind == _MESSAGE:
            entity, whole = entity.children[0], True
        if entity.kind == _MULTIPART:
            if not 0 < number <= len(entity.children):
                return None
            entity, whole = entity.children[number - 1], False
        elif whole and number == 1:
            whole = False
        else:
            return None
    return entity


def section(packed: bytes, path: tuple[int, ...], what: str = "") -> tuple[int, int] | None:
    """(start, stop) of a section in the message, or None if it has no such section.

    `path` is the part number, () for the message itself; `what` is "", "HEADER", "TEXT" or "MIME". For
    HEADER.FIELDS take HEADER and give its bytes to header_fields(). Raises Damaged if `packed` is not what
    pack() made.
    """
    part = _find(_unpack(packed), path)
    if part is None:
        return None
    if not path:
        if what == "":
            return part.start, part.end
        message = part
    elif what == "":
        return part.body, part.end
    elif what == "MIME":
        return part.start, part.body
    elif part.kind == _MESSAGE:
        message = part.children[0]
    else:
        return None  # RFC 3501 §6.4.5: HEADER and TEXT of a part need one of type MESSAGE/RFC822
    if what == "HEADER":
        return message.start, message.body
    if what == "TEXT":
        return message.body, message.end
    return None


# RFC 5322 §2.2. A name that is none of these names no field.
_FIELD_NAME: Final = re.compile(rb"[!-9;-~]+\Z")
_FIELD_START: Final = re.compile(rb"\n(?![ \t])")
_NONE: Final = re.compile(rb"(?!)")


# A pattern is made for names of so many octets together (clients ask for up to 30 names) and kept; one of a
# megabyte would take seconds to make. With more, each field is looked at.
_LONGEST_PATTERN: Final = 2048


@lru_cache(maxsize=64)
def _selector(names: frozenset[bytes]) -> re.Pattern[bytes]:
    """Finds the fields of these names, each with the line end before it and without its own."""
    usable = sorted(filter(_FIELD_NAME.match, names))
    if not usable:
        return _NONE
    firsts = {name[:1] for name in usable}
    return re.compile(
        rb"\n(?=[%b])(?:%b)[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+"
        # The first letters alone, looked at before the names, save a third of the time.
        % (b"".join(map(re.escape, sorted(firsts))), b"|".join(map(re.escape, usable))),
        re.IGNORECASE,
    )


def _name(field: bytes) -> bytes | None:
    name, colon, _ = field.partition(b":")
    return name.rstrip(b" \t").lower() if colon else None


def header_fields(header: bytes, names: frozenset[bytes], negate: bool = False) -> bytes:
    """HEADER.FIELDS, or with `negate` HEADER.FIELDS.NOT: the fields of these names (lower case), as written.

    RFC 3501 §6.4.5: in the order of the header, and with its blank line if it has one. Lines that are no
    fields are in none of the former and in all of the latter.
    """
    blank = b""
    if header.endswith((b"\n\r\n", b"\n\n")) or header in (b"\r\n", b"\n"):
        blank = b"\r\n" if header.endswith(b"\r\n") else b"\n"
    lines = b"\n" + header[: len(header) - len(blank)]
    if lines == b"\n":
        return blank
    if negate or sum(map(len, names)) > _LONGEST_PATTERN:
        chunks = _FIELD_START.split(lines[1:-1] if lines.endswith(b"\n") else lines[1:])
        found = [b"\n" + chunk for chunk in chunks if (_name(chunk) in names) is not negate]
    else:
        found = _selector(names).findall(lines)
    if not found:
        return blank
    end = b"" if not lines.endswith(b"\n") and lines.endswith(found[-1]) else b"\n"
    return b"".join(found)[1:] + end + blank
