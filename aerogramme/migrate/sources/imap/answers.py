"""What the answers of a server say (RFC 3501 §7): values of text. Raises Nonsense, and nothing else."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from aerogramme.migrate.sources.imap.reading import Nonsense

Value: TypeAlias = "bytes | list[Value] | None"
"""A string or an atom, a list in parentheses, NIL."""

_MAX_DEPTH: Final = 10  # of lists in lists; none that is asked for has more than 4
_LARGEST_32: Final = (1 << 32) - 1
_LARGEST_63: Final = (1 << 63) - 1

_TOKEN: Final = re.compile(
    rb' *(?:([()])|"([^"\\]*(?:\\.[^"\\]*)*)"|~?\{([0-9]{1,19})\}\r\n|([^ ()"{]+))', re.DOTALL
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_DONE: Final = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH)(?: |\Z)", re.IGNORECASE)
_CODE: Final = re.compile(rb"\[([!-Z^-~]+)(?: ([^\]]*))?\] ?")
_FETCH: Final = re.compile(rb"\* [0-9]{1,10} FETCH (?=\()", re.IGNORECASE)
_UID: Final = re.compile(rb"[( ]UID ([0-9]{1,10})(?=[ )]|\Z)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, or what the server says besides (RFC 3501 §7.1): OK, NO, BAD, BYE or PREAUTH, the
    response code in capitals with its arguments, and words for people."""

    status: str
    code: str = ""
    arguments: bytes = b""
    words: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "OK"


def done(text: bytes) -> Done | None:
    """What stands behind a tag, or "*", if it is one of these."""
    found = _DONE.match(text)
    if found is None:
        return None
    code = _CODE.match(text, found.end())
    words = text[code.end() if code else found.end() :]
    return Done(
        found[1].decode().upper(),
        code[1].decode().upper() if code else "",
        code[2] or b"" if code else b"",
        shown(words),
    )


def shown(text: bytes) -> str:
    """Words of a server for people: one line, not too long, and nothing that plays with a terminal."""
    decoded = text[:300].decode(errors="replace")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in decoded).strip()


def values(text: bytes) -> list[Value]:
    """All values of a text, one after the other."""
    whole: list[Value] = []
    stack: list[list[Value]] = [whole]
    pos, end = 0, len(text.rstrip(b" "))
    while pos < end:
        found = _TOKEN.match(text, pos)
        if found is None:
            raise Nonsense("an answer cannot be understood")
        pos = found.end()
        bracket, quoted, literal, atom = found.groups()
        if atom is not None:
            stack[-1].append(None if atom.upper() == b"NIL" else atom)
        elif quoted is not None:
            stack[-1].append(_ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted)
        elif literal is not None:
            pos += int(literal)
            if pos > len(text):
                raise Nonsense("a literal is cut short")
            stack[-1].append(text[found.end() : pos])
        elif bracket == b"(":
            if len(stack) > _MAX_DEPTH:
                raise Nonsense("an answer has too many levels")
            inner: list[Value] = []
            stack[-1].append(inner)
            stack.append(inner)
        else:
            if len(stack) == 1:
                raise Nonsense("a list ends that did not begin")
            stack.pop()
    if len(stack) > 1:
        raise Nonsense("a list does not end")
    return whole


def number(value: Value, largest: int = _LARGEST_63) -> int:
    """A number."""
    if not isinstance(value, bytes) or not value.isdigit() or len(value) > 19 or int(value) > largest:
        raise Nonsense("there is no number where one must be")
    return int(value)


def uid(value: Value) -> int:
    """A UID, or a UIDVALIDITY: above zero, in 32 bits."""
    found = number(value, _LARGEST_32)
    if not found:
        raise Nonsense("there is no UID 0")
    return found


def pairs(value: Value) -> Iterator[tuple[bytes, Value]]:
    """What a list of names and their values holds, names in capitals."""
    if not isinstance(value, list) or len(value) % 2:
        raise Nonsense("names and values do not go together")
    for name, each in zip(value[::2], value[1::2], strict=True):
        if not isinstance(name, bytes):
            raise Nonsense("a list stands where a name must be")
        yield name.upper(), each


def fetched(text: bytes) -> dict[bytes, Value] | None:
    """The items of a FETCH answer, None if it is another."""
    found = _FETCH.match(text)
    if found is None:
        return None
    rest = values(text[found.end() :])
    if len(rest) != 1:
        raise Nonsense("FETCH says more than one thing")
    return dict(pairs(rest[0]))


def uid_in(text: bytes) -> int | None:
    """The UID that stands before or behind a letter in its answer."""
    found = _UID.search(text)
    return uid(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Listed:
    """A mailbox of LIST or LSUB: attributes in small letters, the separator (NIL: ""), the name as the
    server spells it."""

    attributes: frozenset[bytes]
    separator: bytes
    name: bytes


def listed(text: bytes) -> Listed | None:
    """LIST and LSUB (RFC 3501 §7.2.2, §7.2.3, RFC 5258 §6), None if it is another answer."""
    if text[:7].upper() not in (b"* LIST ", b"* LSUB "):
        return None
    found = values(text[7:])
    if len(found) < 3:
        raise Nonsense("LIST does not say what it must")
    attributes, separator, name = found[:3]
    if not isinstance(attributes, list) or isinstance(separator, list) or isinstance(name, list):
        raise Nonsense("LIST does not say what it must")
    return Listed(
        frozenset(each.lower() for each in attributes if isinstance(each, bytes)),
        separator or b"",
        b"NIL" if name is None else name,
    )


def status(text: bytes) -> tuple[bytes, dict[bytes, int]] | None:
    """The mailbox and the numbers of STATUS (RFC 3501 §7.2.4), None if it is another answer."""
    if text[:9].upper() != b"* STATUS ":
        return None
    found = values(text[9:])
    if len(found) != 2 or not isinstance(found[0], bytes):
        raise Nonsense("STATUS does not say what it must")
    return found[0], {name: number(value) for name, value in pairs(found[1])}


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Prefixes and separators: the user's own, those of other users, and what all share (RFC 2342 §5)."""

    personal: tuple[tuple[bytes, bytes], ...] = ()
    others: tuple[tuple[bytes, bytes], ...] = ()
    shared: tuple[tuple[bytes, bytes], ...] = ()


def namespaces(text: bytes) -> Namespaces | None:
    """NAMESPACE, None if it is another answer."""
    if text[:12].upper() != b"* NAMESPACE ":
        return None
    found = values(text[12:])
    if len(found) != 3:
        raise Nonsense("NAMESPACE does not say what it must")
    return Namespaces(*(tuple(_namespaces(each)) for each in found))


def _namespaces(value: Value) -> Iterator[tuple[bytes, bytes]]:
    for each in value if isinstance(value, list) else ():
        if not isinstance(each, list) or len(each) < 2 or not isinstance(each[0], bytes):
            raise Nonsense("NAMESPACE does not say what it must")
        separator = each[1]
        if isinstance(separator, list):
            raise Nonsense("NAMESPACE does not say what it must")
        yield each[0], separator or b""
