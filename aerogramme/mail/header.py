"""Header blocks: their fields, and the parameters of structured ones; on any bytes, in linear time."""

import re
from typing import Final

# RFC 5322 §2.2: field-name ":" field-body, folded lines begin with white space. Possessive, so nothing is
# read twice. A line that is no field (mbox "From ", text without a colon) is passed over, as all servers do.
_FIELD: Final = re.compile(rb"^([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)", re.MULTILINE)

ADDRESS_FIELDS: Final = frozenset((b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"))

# What a digest is made from; all other fields are left in the header block.
_WANTED: Final = ADDRESS_FIELDS | {
    b"date",
    b"subject",
    b"in-reply-to",
    b"message-id",
    b"references",
    b"content-type",
    b"content-transfer-encoding",
    b"content-disposition",
    b"content-id",
    b"content-description",
    b"content-language",
    b"content-location",
    b"content-md5",
}

# A parameter list longer than this is cut: real ones have under 10, RFC 2231 continuations of long file names
# some tens.
MAX_PARAMETERS: Final = 500


def unfold(value: bytes) -> bytes:
    """A field body on one line, without white space around it. RFC 5322 §2.2.3: only the line end goes."""
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip(b" \t\r\n")


def read_fields(raw: bytes, start: int, stop: int) -> dict[bytes, bytes]:
    """The fields that digests are made from, by lower-case name, unfolded.

    RFC 5322 §3.6 allows each once. Where there are more, address lists are joined, and of others the first
    counts.
    """
    fields: dict[bytes, bytes] = {}
    more: dict[bytes, list[bytes]] = {}
    for name, value in _FIELD.findall(raw, start, stop):
        name = name.lower()
        if name in _WANTED:
            if name not in fields:
                fields[name] = unfold(value)
            elif name in ADDRESS_FIELDS:
                more.setdefault(name, [fields[name]]).append(unfold(value))
    for name, values in more.items():
        fields[name] = b", ".join(values)
    return fields


# RFC 2045 §5.1 and RFC 2231 §7: ";" attribute "=" value. Values with blanks in them are taken up to the next
# ";", and a quote that never closes up to the end: what the sender meant is clear, and every byte is read
# once.
_PARAMETER: Final = re.compile(
    rb'[;\s]*+([^;=\s"]++)\s*+=\s*+(?:"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)[^;]*+|([^;"]*+(?:"[^;]*+)?+))'
    rb'|[;\s]++|[^;"]++|"(?:[^"\\]++|\\.)*+"?+\\?+',
    re.DOTALL,
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_TOKEN: Final = re.compile(rb'[^\s;,/()<>@:\\"=]++')
# RFC 6838 §4.2: a type and a subtype have up to 127 octets.
MAX_NAME: Final = 127
_MEDIA: Final = re.compile(
    rb'\s*+([^\s;,/()<>@:\\"=]{1,127}+)\s*+/\s*+([^\s;,/()<>@:\\"=]{1,127}+)(?![^\s;,/()<>@:\\"=])'
)

Parameters = tuple[tuple[bytes, bytes], ...]


def unquote(text: bytes) -> bytes:
    """The content of a quoted string (RFC 5322 §3.2.4), given without its quotes."""
    return _ESCAPED.sub(rb"\1", text) if b"\\" in text else text


# RFC 5322 §3.2.2: comments nest, and in them a quote is an octet like others.
_COMMENT: Final = re.compile(rb"\((?:[^()\\]++|\\.)*+\)", re.DOTALL)  # nearly all: none in it
_PARENTHESIS: Final = re.compile(rb"(?:[^()\\]++|\\.)*+([()])", re.DOTALL)
_NO_COMMENT: Final = re.compile(rb'(?:[^"()\\]++|"(?:[^"\\]++|\\.)*+"?+|\\.?+)++', re.DOTALL)


def comment_end(value: bytes, start: int) -> int:
    """The offset behind the comment that begins at `start`; the end of `value` if it never closes."""
    if found := _COMMENT.match(value, start):
        return found.end()
    at, depth = start + 1, 1
    while depth:
        found = _PARENTHESIS.match(value, at)
        if found is None:
            return len(value)
        at = found.end()
        depth += 1 if found[1] == b"(" else -1
    return at


def without_comments(value: bytes) -> bytes:
    """A structured field body without its comments, and without a ")" that closes none."""
    if b"(" not in value:
        return value
    kept, at = [], 0
    while at < len(value):
        if found := _NO_COMMENT.match(value, at):
            kept.append(found[0])
            at = found.end()
        at = comment_end(value, at) if value.startswith(b"(", at) else at + 1
    return b"".join(kept)


def parameters(text: bytes) -> Parameters:
    """The parameters in what follows a media type or a disposition, names in lower case, values as written.

    RFC 2231 sections and charsets (`filename*0*=…`) are left as they are: IMAP clients decode them.
    """
    found = []
    for match in _PARAMETER.finditer(text):
        name = match[1]
        if name is not None:
            quoted = match[2]
            found.append((name.lower(), unquote(quoted) if quoted is not None else match[3].strip()))
            if len(found) == MAX_PARAMETERS:
                break
    return tuple(found)


def media_type(value: bytes) -> tuple[bytes, bytes, Parameters] | None:
    """type, subtype (lower case) and parameters of a Content-Type; None if bad (RFC 2045 §5.2)."""
    value = without_comments(value)
    match = _MEDIA.match(value)
    if match is None:
        return None
    rest = value[match.end() :]
    return match[1].lower(), match[2].lower(), parameters(rest) if b"=" in rest else ()


def disposition(value: bytes) -> tuple[bytes, Parameters] | None:
    """The type (lower case) and parameters of a Content-Disposition (RFC 2183 §2), or None."""
    value = without_comments(value)
    match = _TOKEN.match(value)
    if match is None:
        return None
    return match[0].lower(), parameters(value[match.end() :])


def token(value: bytes) -> bytes:
    """The first token of a field such as Content-Transfer-Encoding, in lower case, or b""; the first MAX_NAME
    octets of it: no real one is longer."""
    match = _TOKEN.search(without_comments(value))
    return match[0][:MAX_NAME].lower() if match else b""


def tokens(value: bytes) -> list[bytes]:
    """The tokens of a list such as Content-Language (RFC 3282 §2)."""
    return _TOKEN.findall(without_comments(value))
