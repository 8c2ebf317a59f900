"""Values as IMAP writes them: strings, mailbox names, flags, sets, status lines."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from aerogramme.imap import mutf7
from aerogramme.log.ids import Runs

# atom = 1*ATOM-CHAR ; ATOM-CHAR = <any CHAR except atom-specials>
_ATOM: Final = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")

# What is sent as a quoted string: printable ASCII without `"` and `\`. RFC 3501 §9 allows to escape these
# two, but clients of the libetpan family do not understand the escapes (MailCore/mailcore2#1967): they travel
# in literals.
_PLAIN: Final = re.compile(rb"[ !#-\[\]-~]*")


def literal(value: bytes) -> bytes:
    """literal = "{" number "}" CRLF *CHAR8."""
    return b"{%d}\r\n%b" % (len(value), value)


def string(value: bytes) -> bytes:
    """string = quoted / literal: quoted where every client understands it."""
    if _PLAIN.fullmatch(value):
        return b'"' + value + b'"'
    return literal(value)


def astring(value: bytes) -> bytes:
    """astring = 1*ASTRING-CHAR / string: an atom where it can be one and cannot be read as nil."""
    if _ATOM.fullmatch(value) and value.upper() != b"NIL":
        return value
    return string(value)


def mailbox(name: str) -> bytes:
    """A mailbox name in modified UTF-7 (RFC 3501 §5.1.3), as quoted string or literal."""
    return string(mutf7.encode(name))


def flag_list(flags: Iterable[str]) -> bytes:
    """flag-list = "(" [flag *(SP flag)] ")"."""
    return ("(" + " ".join(flags) + ")").encode("ascii")


def sequence_set(numbers: Iterable[int]) -> bytes:
    """Ascending numbers, none twice, as the shortest set: 1:3,5,7:8. No numbers give b"", which is no set."""
    return ranges((first, first + count - 1) for first, count in Runs.of(numbers).runs)


def uid_sets(source: Sequence[int], target: Sequence[int]) -> tuple[bytes, bytes]:
    """The two sets of COPYUID (RFC 4315 §3), for `source[i]` that became `target[i]`; not empty.

    They are read in parallel, in their order: a range ends in both where it ends in either.
    """
    starts = [
        i
        for i in range(len(source))
        if i == 0 or source[i] != source[i - 1] + 1 or target[i] != target[i - 1] + 1
    ]
    spans = list(zip(starts, [*starts[1:], len(source)], strict=True))
    return ranges([(source[i], source[j - 1]) for i, j in spans]), ranges(
        [(target[i], target[j - 1]) for i, j in spans]
    )


def ranges(spans: Iterable[tuple[int, int]]) -> bytes:
    """Inclusive ranges as a set: (1, 3), (5, 5) is 1:3,5."""
    return b",".join([b"%d" % a if a == b else b"%d:%d" % (a, b) for a, b in spans])


Status = Literal["OK", "NO", "BAD", "PREAUTH", "BYE"]

# text = 1*TEXT-CHAR: what must not end up in a status line.
_NOT_TEXT: Final = re.compile(r"[^ -~]+")


def status_line(tag: bytes | None, status: Status, text: str, code: str | bytes | None = None) -> bytes:
    """A status response (RFC 3501 §7.1) with its CRLF; untagged without a tag. `code`: without brackets."""
    words = _NOT_TEXT.sub("?", text) or status
    line = (b"*" if tag is None else tag) + b" " + status.encode("ascii") + b" "
    if code:
        line += b"[" + (code.encode("ascii") if isinstance(code, str) else code) + b"] "
    return line + words.encode("ascii") + b"\r\n"
