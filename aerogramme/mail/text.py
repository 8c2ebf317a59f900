"""Text of a message for searching and previews: decoded, without markup, white space collapsed, folded."""

import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from aerogramme.mail.header import disposition
from aerogramme.mail.structure import Part

# Folded text kept of one message, in bytes of UTF-8. Of the mails in the corpus none has as much; what lies
# behind it is not found by a search.
TEXT_MAX: Final = 256 << 10
# Source bytes looked at for it: markup and encodings make them more than the text, but the work must end
# somewhere.
SOURCE_MAX: Final = 1 << 20
PREVIEW_MAX: Final = 200  # characters, RFC 8970 §3.1

_CHARSET: Final = re.compile(r"[A-Za-z0-9_.:+-]{1,40}\Z")
# Python's names of the charsets that mail comes in. Its registry has more: not charsets at all (zlib would be
# a bomb), or with quadratic decoders (idna, punycode).
# fmt: off
_KNOWN: Final = frozenset((
    "ascii", "utf-8", "utf-8-sig", "utf-7", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le",
    "utf-32-be", "iso8859-1", "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6", "iso8859-7",
    "iso8859-8", "iso8859-9", "iso8859-10", "iso8859-11", "iso8859-13", "iso8859-14", "iso8859-15",
    "iso8859-16", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258",
    "koi8-r", "koi8-u", "koi8-t", "kz1048", "ptcp154", "mac-roman", "mac-cyrillic", "mac-greek",
    "mac-turkish", "mac-latin2", "mac-iceland", "cp437", "cp737", "cp775", "cp850", "cp852", "cp855",
    "cp857", "cp858", "cp860", "cp861", "cp862", "cp863", "cp864", "cp865", "cp866", "cp869", "cp874",
    "cp932", "cp949", "cp950", "tis-620", "gb2312", "gbk", "gb18030", "hz", "big5", "big5hkscs", "euc_jp",
    "euc_jis_2004", "euc_jisx0213", "shift_jis", "shift_jis_2004", "shift_jisx0213", "iso2022_jp",
    "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_2004", "iso2022_jp_3", "iso2022_jp_ext", "iso2022_kr",
    "euc_kr", "johab",
))
# fmt: on
# What senders mean by them (as browsers do): a superset.
_WIDENED: Final = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859-1": "cp1252",
    "ascii": "guess",
    "euc_kr": "cp949",
}
# In these, bytes below 128 are not ASCII.
_NOT_ASCII: Final = frozenset(
    name for name in _KNOWN if name.startswith(("utf-16", "utf-32", "utf-7", "iso2022", "hz"))
)


@lru_cache(maxsize=256)
def _codec(label: str) -> str:
    """Python's name of a charset; "guess" if it is unknown."""
    if not _CHARSET.match(label):
        return "guess"
    try:
        name = codecs.lookup(label).name
    except LookupError:
        return "guess"
    return _WIDENED.get(name, name) if name in _KNOWN else "guess"


def _guess(data: bytes) -> str:
    """Text without a (known) charset: UTF-8 if it is that, else what most such mails are written in."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _latin(data)


def _latin(data: bytes) -> str:
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decode(data: bytes, label: str) -> str:
    """Bytes in a charset of this name as text; never fails."""
    codec = _codec(label)
    if data.isascii() and codec not in _NOT_ASCII:
        return data.decode("ascii")
    if codec == "guess":
        return _guess(data)
    if codec == "cp1252":
        return _latin(data)
    return data.decode(codec, "replace")


_WORD: Final = r"=\?([^?\s*]{1,40})(?:\*[^?\s]*+)?\?([bBqQ])\?([^?]*+)\?="
_ENCODED_WORD: Final = re.compile(_WORD)
_ENCODED_WORDS: Final = re.compile(rf"{_WORD}(?:\s*+{_WORD})*+")


def _words(run: re.Match[str]) -> str:
    """RFC 2047 §6.2: white space between two encoded words goes; one character may be spread over both."""
    out: list[str] = []
    charset, pending = "", b""
    for label, encoding, content in _ENCODED_WORD.findall(run[0]):
        data = content.encode("utf-8")
        if encoding in "bB":
            data = _base64(data)
        else:
            data = binascii.a2b_qp(data, header=True)
        if label.lower() != charset:
            out.append(decode(pending, charset))
            charset, pending = label.lower(), b""
        pending += data
    out.append(decode(pending, charset))
    return "".join(out)


def decode_header(value: bytes) -> str:
    """A field body, or a whole header block, as text: encoded words (RFC 2047) and raw 8 bit decoded."""
    text = value.decode("ascii") if value.isascii() else _guess(value)
    if "=?" in text:
        text = _ENCODED_WORDS.sub(_words, text)
    return text


# What ASCII becomes: white space, as str.split() has it, spaces, and capitals small letters.
_SMALL: Final = bytes(
    0x20 if octet < 0x80 and chr(octet).isspace() else ord(chr(octet).lower()) if octet < 0x80 else octet
    for octet in range(256)
)
# Characters that are folded at a time: of a text that is not ASCII most pieces are, and take a fifth of the
# time. And normalizing sorts a run of combining marks by insertion, which is quadratic: half a second for a
# megabyte of nothing else in pieces of this size.
_PIECE: Final = 512


def fold(text: str) -> bytes:
    """The form in which text is stored for searching and in which a search string is looked for in it.

    White space collapsed to single spaces (so a phrase is found across line ends), case folded, NFC, UTF-8.
    """
    if not text.isascii():
        text = "".join(map(_folded, _pieces(text)))
    # Lone surrogates, which UTF-7 can bring in, are replaced. Runs of white space are much rarer than words:
    # to split at each word takes half as long again.
    runs = text.encode("utf-8", "replace").translate(_SMALL).split(b"  ")
    return b" ".join(filter(None, map(bytes.strip, runs)))


def _pieces(text: str) -> Iterator[str]:
    """After a space nothing composes with what was before it; only a longer word is cut."""
    start = 0
    while start < len(text):
        stop = text.rfind(" ", start, start + _PIECE) + 1 or start + _PIECE
        yield text[start:stop]
        start = stop


def _folded(piece: str) -> str:
    """A piece in which all that is not ASCII is folded, and white space is."""
    if piece.isascii():
        return piece
    # Between two bars, white space at the ends stays.
    words = f"|{unicodedata.normalize('NFC', piece.casefold())}|".split()
    return " ".join(words)[1:-1]


_NOT_BASE64: Final = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)


def _base64(data: bytes) -> bytes:
    """RFC 2045 §6.8: other characters are ignored. A last group that is cut short gives what it has."""
    data = data.translate(None, _NOT_BASE64).partition(b"=")[0]
    spare = len(data) % 4
    if spare == 1:
        data = data[:-1]
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4))


def transfer_decode(data: bytes, encoding: bytes) -> bytes:
    """A body without its Content-Transfer-Encoding; broken or unknown encodings give what can be had."""
    if encoding == b"base64":
        return _base64(data)
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(data)
    return data


_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
# One that never closes goes to the end, as in browsers, and so that nothing is read twice.
_INVISIBLE: Final = re.compile(r"<(style|script|title)\b.*?(?:</\1\b[^>]*+>?|\Z)", re.DOTALL | re.IGNORECASE)
_INLINE: Final = re.compile(
    r"</?(?:a|abbr|acronym|b|bdo|big|code|del|em|font|i|ins|kbd|mark|o:p|s|small|span|strike|strong|sub|sup|tt|u|wbr)"
    r"(?![\w:-])[^>]*+(?:>|\Z)",
    re.IGNORECASE,
)
_TAG: Final = re.compile(r"<[A-Za-z/!?][^>]*+(?:>|\Z)")
# Digits are bounded: int() refuses very long ones.
_REFERENCE: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?")


def html_to_text(markup: str) -> str:
    """The words of an HTML document, without its markup. Inline tags join, others part words."""
    text = markup
    last = text.rfind("-->") + 3
    if last > 2:
        # Only where one ends is a comment looked for: a search for an end that is not there would start at
        # each "<!--".
        text = _COMMENT.sub(" ", text[:last]) + text[last:]
    text = _INVISIBLE.sub(" ", text)
    text = _TAG.sub(" ", _INLINE.sub("", text))
    if "&" in text:
        text = _REFERENCE.sub(lambda found: html.unescape(found[0]), text.replace("&nbsp;", " "))
    return text


def _label(part: Part) -> str:
    for name, value in part.parameters:
        if name == b"charset":
            return value.decode("latin-1").strip()
    return "us-ascii"


def _names(part: Part) -> Iterator[bytes]:
    """What people look for in a part besides its text: its file name, and the head of an enclosed message."""
    parameters = part.parameters
    value = part.fields.get(b"content-disposition")
    found = disposition(value) if value else None
    if found:
        parameters += found[1]
    for name, value in parameters:
        if name.startswith((b"name", b"filename")):
            yield value


_HEAD: Final = (b"subject", b"from", b"to", b"cc")
# message/delivery-status and its like are text, and what people look for in a bounce.
_SEARCHED: Final = (b"text", b"message")


def body_text(raw: bytes, root: Part) -> tuple[bytes, bytes]:
    """(folded text of all text parts, up to TEXT_MAX bytes; preview in UTF-8)."""
    out: list[bytes] = []
    room, source = TEXT_MAX, SOURCE_MAX
    preview = ""
    todo = [root]
    while todo and room > 0 and source > 0:
        part = todo.pop()
        if part is not root:
            extra = [decode_header(value) for value in _names(part)]
            if b"subject" in part.fields or b"from" in part.fields:
                extra += [decode_header(part.fields[name]) for name in _HEAD if name in part.fields]
            if extra:
                out.append(fold(" ".join(extra)))
                room -= len(out[-1]) + 1
        if part.children:
            todo.extend(reversed(part.children))
        elif part.message is not None:
            todo.append(part.message)
        elif part.type in _SEARCHED and part.end > part.body:
            data = raw[part.body : min(part.end, part.body + source)]
            source -= len(data)
            text = decode(transfer_decode(data, part.encoding), _label(part))
            if part.subtype == b"html":
                text = html_to_text(text)
            if not preview:
                preview = " ".join(text[: 10 * PREVIEW_MAX].split())[:PREVIEW_MAX]
            out.append(fold(text))
            room -= len(out[-1]) + 1
    return cut(b"\n".join(out), TEXT_MAX), preview.encode("utf-8", "replace")


def cut(text: bytes, size: int) -> bytes:
    """At most `size` bytes of UTF-8, not ending within a character."""
    if len(text) <= size:
        return text
    while size and text[size] & 0xC0 == 0x80:
        size -= 1
    return text[:size]
