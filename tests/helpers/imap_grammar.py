"""A strict client: parses what an IMAP server sends by the letter of RFC 3501 §9.

Written from the grammar, not from our renderer. Entry points: `envelope`, `body` and `nstring` for values,
`responses` for all that a server has sent. What breaks the grammar raises `GrammarError`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.helpers.imap_values import (
    ASTRING_ATOM,
    ATOM,
    NUMBER,
    Address,
    Body,
    Envelope,
    GrammarError,
    Reader,
)

__all__ = [
    "Address",
    "Body",
    "Envelope",
    "GrammarError",
    "Response",
    "body",
    "envelope",
    "nstring",
    "responses",
]

Read = TypeVar("Read")


@dataclass
class Response:
    """One response; `tag` is None for untagged ones.

    `kind` in upper case: OK NO BAD BYE PREAUTH, +, FETCH EXISTS RECENT EXPUNGE FLAGS LIST LSUB STATUS SEARCH
    CAPABILITY ENABLED NAMESPACE ID VANISHED QUOTA QUOTAROOT.
    """

    kind: str
    tag: bytes | None = None
    number: int | None = None
    code: bytes | None = None
    text: bytes = b""
    data: Any = None


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


class ResponseReader(Reader):
    """Reads whole responses."""

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
            item = self.match(ATOM, "status-att")[0].upper()
            self.expect(b" ")
            found[item] = self.number(63)
        return name, found

    # "QUOTAROOT" SP mailbox *(SP quota-root-name)      (RFC 9208 §8; names are astrings)
    def quota_root(self) -> tuple[bytes, list[bytes]]:
        name, roots = self.astring(), []
        while self.take(b" "):
            roots.append(self.astring())
        return name, roots

    # "QUOTA" SP quota-root-name SP "(" quota-resource *(SP quota-resource) ")"
    # quota-resource = resource-name SP resource-usage SP resource-limit      (both numbers of 63 bits)
    def quota(self) -> tuple[bytes, dict[bytes, tuple[int, int]]]:
        root = self.astring()
        self.expect(b" (")
        found: dict[bytes, tuple[int, int]] = {}
        while True:
            resource = self.match(ATOM, "resource-name")[0]
            self.expect(b" ")
            used = self.number(63)
            self.expect(b" ")
            found[resource] = used, self.number(63)
            if self.take(b")"):
                return root, found
            self.expect(b" ")

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
            tag = self.match(ASTRING_ATOM, "tag")[0]
            for kind in ("OK", "NO", "BAD"):
                if self.take(b" " + kind.encode() + b" "):
                    return self.resp_text(Response(kind, tag=tag))
            raise self.wrong("resp-cond-state")
        for kind in ("OK", "NO", "BAD", "BYE", "PREAUTH"):
            if self.take(kind.encode() + b" "):
                return self.resp_text(Response(kind))
        if NUMBER.match(self.data, self.at):
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
                    names.append(self.match(ATOM, "atom")[0])
                return Response(kind, data=names)
        if self.take(b"NAMESPACE "):
            found = Response("NAMESPACE", data=[self.values()])
            for _ in range(2):
                self.expect(b" ")
                found.data.append(self.values())
            return found
        if self.take(b"ID "):
            return Response("ID", data=self.values())
        if self.take(b"QUOTAROOT "):
            return Response("QUOTAROOT", data=self.quota_root())
        if self.take(b"QUOTA "):
            return Response("QUOTA", data=self.quota())
        self.expect(b"VANISHED ")  # RFC 7162 §3.2.10
        earlier = self.take(b"(EARLIER) ")
        return Response("VANISHED", data=(earlier, self.match(_UID_SET, "known-uids")[0]))


def _whole(data: bytes, read: Callable[[Reader], Read]) -> Read:
    reader = Reader(data)
    found = read(reader)
    reader.end()
    return found


def envelope(data: bytes) -> Envelope:
    return _whole(data, Reader.envelope)


def body(data: bytes, extensible: bool) -> Body:
    return _whole(data, lambda reader: reader.body(extensible))


def nstring(data: bytes) -> bytes | None:
    return _whole(data, Reader.nstring)


def responses(data: bytes) -> list[Response]:
    """All responses in what a server has sent, each ended by CRLF, nothing between."""
    reader = ResponseReader(data)
    found = []
    while reader.at < len(data):
        found.append(reader.response())
    return found
