"""The values in IMAP responses, read by the letter of RFC 3501 §9: strings, envelopes, structures."""

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


# atom-char: any CHAR except atom-specials "(" ")" "{" SP CTL "%" "*" DQUOTE "\" and resp-specials "]"
ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
ASTRING_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
NUMBER = re.compile(rb"[0-9]+")
_QUOTED = re.compile(rb'"((?:[\x01-\x09\x0b\x0c\x0e-!#-\[\]-\x7f]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")


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
        return self.match(ASTRING_ATOM, "astring")[0]

    # number: unsigned 32 bits
    def number(self, bits: int = 32) -> int:
        value = int(self.match(NUMBER, "number")[0])
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
        values = []
        for after in (b" ", b" ", b" ", b")"):
            values.append(self.nstring())
            self.expect(after)
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
