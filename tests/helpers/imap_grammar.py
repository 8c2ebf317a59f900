"""A strict client: parses what an IMAP server sends by the letter of RFC 3501 §9.

Written from the grammar, not from our renderer. Entry points: `envelope`, `body`, `nstring` for single
values, `responses` for all that a server has sent. What breaks the grammar raises `GrammarError`, with the
place.
"""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class GrammarError(AssertionError):
    """The server has sent what the grammar does not allow."""


class Address(NamedTuple):
    name: bytes | None
    adl: bytes | None
    mailbox: bytes | None
    host: bytes | None


class Envelope(NamedTuple):
    date: bytes | None
    subject: bytes | None
    from_: list[Address] | None
    sender: list[Address] | None
    reply_to: list[Address] | None
    to: list[Address] | None
    cc: list[Address] | None
    bcc: list[Address] | None
    in_reply_to: bytes | None
    message_id: bytes | None


@dataclass
class Body:
    """One body of a structure. `parts` for a multipart, `enclosed` for message/rfc822."""

    type: bytes
    subtype: bytes
    parameters: dict[bytes, bytes] | None = None
    id: bytes | None = None
    description: bytes | None = None
    encoding: bytes = b""
    octets: int = 0
    lines: int | None = None
    envelope: Envelope | None = None
    enclosed: "Body | None" = None
    parts: list["Body"] = field(default_factory=list)
    md5: bytes | None = None
    disposition: tuple[bytes, dict[bytes, bytes] | None] | None = None
    language: list[bytes] | None = None
    location: bytes | None = None


@dataclass
class Response:
    """One response; `tag` is None for untagged ones.

    `kind` in upper case: OK NO BAD BYE PREAUTH, +, FETCH EXISTS RECENT EXPUNGE FLAGS LIST LSUB STATUS SEARCH
    CAPABILITY ENABLED NAMESPACE ID VANISHED.
    """

    kind: str
    tag: bytes | None = None
    number: int | None = None
    code: bytes | None = None
    text: bytes = b""
    data: Any = None


# atom-char: any CHAR except atom-specials "(" ")" "{" SP CTL "%" "*" DQUOTE "\" and resp-specials "]"
_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_ASTRING_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_NUMBER = re.compile(rb"[0-9]+")
_QUOTED = re.compile(rb'"((?:[\x01-\x09\x0b\x0c\x0e-!#-\[\]-\x7f]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")
_FLAG = re.compile(rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_DATE_TIME = re.compile(
    rb'"[ 0-3][0-9]-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-[0-9]{4}'
    rb' [0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}"'
)
_SECTION = re.compile(
    rb"(?:[1-9][0-9]*(?:\.[1-9][0-9]*)*(?:\.(?:MIME|HEADER\.FIELDS(?:\.NOT)? |HEADER|TEXT))?"
    rb"|HEADER\.FIELDS(?:\.NOT)? |HEADER|TEXT|)",
    re.IGNORECASE,
)
_UID_SET = re.compile(rb"[1-9][0-9]*(?::[1-9][0-9]*)?(?:,[1-9][0-9]*(?::[1-9][0-9]*)?)*")
_TEXT = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*")
_CODE = re.compile(rb"\[([^\]\r\n]+)\](?: |(?=\r\n))")


class Reader:
    """Reads one production after the other from `data`."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def wrong(self, wanted: str) -> GrammarError:
        around = self.data[max(0, self.at - 60) : self.at], self.data[self.at : self.at + 60]
        return GrammarError(f"at {self.at}: {wanted} expected, after {around[0]!r} came {around[1]!r}")

    def end(self) -> None:
        if self.at != len(self.data):
            raise self.wrong("the end")

    def peek(self, text: bytes) -> bool:
        return self.data[self.at : self.at + len(text)].upper() == text.upper()

    def take(self, text: bytes) -> bool:
        if self.peek(text):
            self.at += len(text)
            return True
        return False

    def expect(self, text: bytes) -> None:
        if not self.take(text):
            raise self.wrong(repr(text))

    def match(self, pattern: re.Pattern[bytes], wanted: str) -> re.Match[bytes]:
        found = pattern.match(self.data, self.at)
        if found is None:
            raise self.wrong(wanted)
        self.at = found.end()
        return found

    # string = quoted / literal
    def string(self) -> bytes:
        if self.peek(b'"'):
            return re.sub(rb"\\(.)", rb"\1", self.match(_QUOTED, "quoted")[1])
        return self.literal()

    # literal = "{" number "}" CRLF *CHAR8 ; CHAR8 is any octet but NUL
    def literal(self, nul: bool = False) -> bytes:
        size = int(self.match(_LITERAL, "string")[1])
        value = self.data[self.at : self.at + size]
        if len(value) != size:
            raise self.wrong(f"a literal of {size} bytes")
        if b"\0" in value and not nul:
            raise self.wrong("a literal without NUL")
        self.at += size
        return value

    # nstring = string / nil
    def nstring(self) -> bytes | None:
        return None if self.take(b"NIL") else self.string()

    def astring(self) -> bytes:
        if self.peek(b'"') or self.peek(b"{"):
            return self.string()
        return self.match(_ASTRING_ATOM, "astring")[0]

    # number: unsigned 32 bits
    def number(self, bits: int = 32) -> int:
        value = int(self.match(_NUMBER, "number")[0])
        if value >= 1 << bits:
            raise self.wrong(f"a number of {bits} bits")
        return value

    def nz_number(self, bits: int = 32) -> int:
        if self.peek(b"0"):
            raise self.wrong("a number that does not begin with 0")
        return self.number(bits)

    # address = "(" addr-name SP addr-adl SP addr-mailbox SP addr-host ")"
    def address(self) -> Address:
        self.expect(b"(")
        values = [self.nstring()]
        for _ in range(3):
            self.expect(b" ")
            values.append(self.nstring())
        self.expect(b")")
        return Address(*values)

    # env-from = "(" 1*address ")" / nil
    def address_list(self) -> list[Address] | None:
        if self.take(b"NIL"):
            return None
        self.expect(b"(")
        found = [self.address()]
        while not self.take(b")"):
            found.append(self.address())
        depth = 0
        for (
            address
        ) in found:  # §7.4.2: a host of NIL marks the begin of a group, with the mailbox NIL its end
            if address.host is None:
                if address.name is not None or address.adl is not None:
                    raise self.wrong("a group mark with nothing but its name")
                depth += 1 if address.mailbox is not None else -1
                if depth not in (0, 1):
                    raise self.wrong("groups that do not nest")
            elif address.mailbox is None:
                raise self.wrong("a mailbox beside the host")
        if depth:
            raise self.wrong("the end of the group")
        return found

    # envelope = "(" env-date SP env-subject SP env-from … SP env-message-id ")"
    def envelope(self) -> Envelope:
        self.expect(b"(")
        values: list[Any] = [self.nstring()]
        self.expect(b" ")
        values.append(self.nstring())
        for _ in range(6):
            self.expect(b" ")
            values.append(self.address_list())
        for _ in range(2):
            self.expect(b" ")
            values.append(self.nstring())
        self.expect(b")")
        return Envelope(*values)

    # body-fld-param = "(" string SP string *(SP string SP string) ")" / nil
    def parameters(self) -> dict[bytes, bytes] | None:
        if self.take(b"NIL"):
            return None
        self.expect(b"(")
        found: dict[bytes, bytes] = {}
        while True:
            name = self.string()
            self.expect(b" ")
            found.setdefault(name.lower(), self.string())
            if self.take(b")"):
                return found
            self.expect(b" ")

    # body-fld-dsp = "(" string SP body-fld-param ")" / nil
    def disposition(self) -> tuple[bytes, dict[bytes, bytes] | None] | None:
        if self.take(b"NIL"):
            return None
        self.expect(b"(")
        name = self.string()
        self.expect(b" ")
        parameters = self.parameters()
        self.expect(b")")
        return name, parameters

    # body-fld-lang = nstring / "(" string *(SP string) ")"
    def language(self) -> list[bytes] | None:
        if not self.take(b"("):
            value = self.nstring()
            return None if value is None else [value]
        found = [self.string()]
        while not self.take(b")"):
            self.expect(b" ")
            found.append(self.string())
        return found

    def extension(self, body: Body) -> None:
        self.expect(b" ")
        body.disposition = self.disposition()
        self.expect(b" ")
        body.language = self.language()
        self.expect(b" ")
        body.location = self.nstring()

    # body = "(" (body-type-1part / body-type-mpart) ")"
    def body(self, extensible: bool) -> Body:
        """`extensible`: BODYSTRUCTURE, with all extension data of §9; else BODY, which MUST have none."""
        self.expect(b"(")
        if self.peek(b"("):
            parts = []
            while self.peek(b"("):
                parts.append(self.body(extensible))
            self.expect(b" ")
            found = Body(b"MULTIPART", self.string(), parts=parts)
            if extensible:
                self.expect(b" ")
                found.parameters = self.parameters()
                self.extension(found)
            self.expect(b")")
            return found
        found = Body(self.string(), b"")
        self.expect(b" ")
        found.subtype = self.string()
        self.expect(b" ")
        found.parameters = self.parameters()
        self.expect(b" ")
        found.id = self.nstring()
        self.expect(b" ")
        found.description = self.nstring()
        self.expect(b" ")
        found.encoding = self.string()
        self.expect(b" ")
        found.octets = self.number()
        kind = found.type.upper()
        if not kind or not found.subtype or kind == b"MULTIPART":
            raise self.wrong("a media type of a single part")
        if kind == b"TEXT":
            self.expect(b" ")
            found.lines = self.number()
        elif (kind, found.subtype.upper()) == (b"MESSAGE", b"RFC822"):
            self.expect(b" ")
            found.envelope = self.envelope()
            self.expect(b" ")
            found.enclosed = self.body(extensible)
            self.expect(b" ")
            found.lines = self.number()
        if extensible:
            self.expect(b" ")
            found.md5 = self.nstring()
            self.extension(found)
        self.expect(b")")
        return found

    def flags(self) -> list[bytes]:
        self.expect(b"(")
        found: list[bytes] = []
        while not self.take(b")"):
            if found:
                self.expect(b" ")
            found.append(b"\\*" if self.take(b"\\*") else self.match(_FLAG, "flag")[0])
        return found

    def section(self) -> bytes:
        start = self.at
        self.expect(b"[")
        spec = self.match(_SECTION, "section")[0]
        if spec.endswith(b" "):
            self.expect(b"(")
            self.astring()
            while not self.take(b")"):
                self.expect(b" ")
                self.astring()
        self.expect(b"]")
        if self.take(b"<"):
            self.number()
            self.expect(b">")
        return self.data[start : self.at]

    # msg-att = "(" (msg-att-dynamic / msg-att-static) *(SP …) ")"
    def msg_att(self) -> dict[bytes, Any]:
        """By item name in upper case; sections as they stand. RFC 7162 §7: MODSEQ too."""
        self.expect(b"(")
        found: dict[bytes, Any] = {}
        while True:
            name, value = self.attribute()
            if name in found:
                raise self.wrong(f"one {name!r}")
            found[name] = value
            if self.take(b")"):
                return found
            self.expect(b" ")

    def attribute(self) -> tuple[bytes, Any]:
        for name, read in (
            (b"FLAGS", self.flags),
            (b"UID", self.nz_number),
            (b"ENVELOPE", self.envelope),
            (b"RFC822.SIZE", lambda: self.number(64)),
            (b"INTERNALDATE", lambda: self.match(_DATE_TIME, "date-time")[0][1:-1]),
            (b"BODYSTRUCTURE", lambda: self.body(True)),
            (b"BODY", lambda: self.body(False)),
            (b"RFC822.HEADER", self.nstring),
            (b"RFC822.TEXT", self.nstring),
            (b"RFC822", self.nstring),
        ):
            if self.take(name + b" "):
                return name, read()
        if self.take(b"MODSEQ ("):
            value = self.nz_number(63)
            self.expect(b")")
            return b"MODSEQ", value
        self.expect(b"BODY")
        section = b"BODY" + self.section().upper()
        self.expect(b" ")
        return section, self.nstring()

    # mailbox-list = "(" [mbx-list-flags] ")" SP (DQUOTE QUOTED-CHAR DQUOTE / nil) SP mailbox
    def mailbox_list(self) -> tuple[list[bytes], bytes | None, bytes]:
        flags = self.flags()
        self.expect(b" ")
        delimiter = self.nstring()
        if delimiter is not None and len(delimiter) != 1:
            raise self.wrong("a delimiter of one character")
        self.expect(b" ")
        name = self.astring()
        if name.upper() == b"INBOX" and name != b"INBOX":
            raise self.wrong("INBOX")
        return flags, delimiter, name

    # "STATUS" SP mailbox SP "(" [status-att-list] ")"
    def status(self) -> tuple[bytes, dict[bytes, int]]:
        name = self.astring()
        self.expect(b" (")
        found: dict[bytes, int] = {}
        while not self.take(b")"):
            if found:
                self.expect(b" ")
            item = self.match(_ATOM, "status-att")[0].upper()
            self.expect(b" ")
            found[item] = self.number(63)
        return name, found

    def numbers(self) -> list[int]:
        found = []
        while self.peek(b" ") and not self.peek(b" ("):
            self.expect(b" ")
            found.append(self.nz_number())
        return found

    def values(self) -> Any:
        """Parenthesized lists of nstrings, to any depth (NAMESPACE, ID)."""
        if not self.take(b"("):
            return self.nstring()
        found = []
        while not self.take(b")"):
            self.take(b" ")
            found.append(self.values())
        return found

    def resp_text(self, response: Response) -> Response:
        """resp-text = ["[" resp-text-code "]" SP] text"""
        code = _CODE.match(self.data, self.at)
        if code is not None:
            response.code, self.at = code[1], code.end()
        response.text = self.match(_TEXT, "text")[0]
        return response

    def response(self) -> Response:
        found = self.unended()
        self.expect(b"\r\n")
        return found

    def unended(self) -> Response:
        if self.take(b"+ "):
            return self.resp_text(Response("+"))
        if not self.take(b"* "):
            tag = self.match(_ASTRING_ATOM, "tag")[0]
            for kind in ("OK", "NO", "BAD"):
                if self.take(b" " + kind.encode() + b" "):
                    return self.resp_text(Response(kind, tag=tag))
            raise self.wrong("resp-cond-state")
        for kind in ("OK", "NO", "BAD", "BYE", "PREAUTH"):
            if self.take(kind.encode() + b" "):
                return self.resp_text(Response(kind))
        if _NUMBER.match(self.data, self.at):
            number = self.number()
            for kind in ("EXISTS", "RECENT", "EXPUNGE"):
                if self.take(b" " + kind.encode()):
                    return Response(kind, number=number)
            self.expect(b" FETCH ")
            return Response("FETCH", number=number, data=self.msg_att())
        return self.mailbox_data()

    def mailbox_data(self) -> Response:
        if self.take(b"FLAGS "):
            return Response("FLAGS", data=self.flags())
        for kind in ("LIST", "LSUB"):
            if self.take(kind.encode() + b" "):
                return Response(kind, data=self.mailbox_list())
        if self.take(b"STATUS "):
            return Response("STATUS", data=self.status())
        if self.take(b"SEARCH"):
            found = Response("SEARCH", data=self.numbers())
            if self.take(b" (MODSEQ "):  # RFC 7162 §3.1.5
                found.number = self.nz_number(63)
                self.expect(b")")
            return found
        for kind in ("CAPABILITY", "ENABLED"):
            if self.take(kind.encode()):
                names = []
                while self.take(b" "):
                    names.append(self.match(_ATOM, "atom")[0])
                return Response(kind, data=names)
        if self.take(b"NAMESPACE "):
            first = self.values()
            self.expect(b" ")
            second = self.values()
            self.expect(b" ")
            return Response("NAMESPACE", data=[first, second, self.values()])
        if self.take(b"ID "):
            return Response("ID", data=self.values())
        self.expect(b"VANISHED ")  # RFC 7162 §3.2.10
        earlier = self.take(b"(EARLIER) ")
        return Response("VANISHED", data=(earlier, self.match(_UID_SET, "known-uids")[0]))


def envelope(data: bytes) -> Envelope:
    reader = Reader(data)
    found = reader.envelope()
    reader.end()
    return found


def body(data: bytes, extensible: bool) -> Body:
    reader = Reader(data)
    found = reader.body(extensible)
    reader.end()
    return found


def nstring(data: bytes) -> bytes | None:
    reader = Reader(data)
    found = reader.nstring()
    reader.end()
    return found


def responses(data: bytes) -> list[Response]:
    """All responses in what a server has sent, each ended by CRLF, nothing between."""
    reader = Reader(data)
    found = []
    while reader.at < len(data):
        found.append(reader.response())
    return found
