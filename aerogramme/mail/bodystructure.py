"""BODYSTRUCTURE and BODY as the bytes that IMAP sends (RFC 3501 §7.4.2 and §9, body)."""

from typing import Final

from aerogramme.mail.envelope import EMPTY, envelope
from aerogramme.mail.header import MAX_PARAMETERS, Parameters, disposition, tokens
from aerogramme.mail.structure import Part
from aerogramme.mail.wire import NIL, nstring, string

# When a structure, with the fields that its envelopes were made from, has grown past this, only what has to
# be said of a part is: a structure must be neither many times its message (address lists grow up to 24 times
# in an envelope) nor a large part of it; and some fields take a second for each megabyte, whatever comes of
# them.
MAX_STRUCTURE: Final = 4 << 20


def _parameters(parameters: Parameters) -> bytes:
    """RFC 3501 §9, body-fld-param."""
    if not parameters:
        return NIL
    return b"(%b)" % b" ".join([b"%b %b" % (string(name), string(value)) for name, value in parameters])


def _disposition(value: bytes | None) -> bytes:
    """RFC 3501 §9, body-fld-dsp."""
    found = disposition(value) if value else None
    return b"(%b %b)" % (string(found[0]), _parameters(found[1])) if found else NIL


def _language(value: bytes | None) -> bytes:
    """RFC 3501 §9, body-fld-lang: always the form with parentheses."""
    found = tokens(value)[:MAX_PARAMETERS] if value else []
    return b"(%b)" % b" ".join(map(string, found)) if found else NIL


class _Writer:
    def __init__(self) -> None:
        self.full: list[bytes] = []
        self.basic: list[bytes] = []
        self.size = 0

    @property
    def has_room(self) -> bool:
        return self.size < MAX_STRUCTURE

    def both(self, data: bytes) -> None:
        self.full.append(data)
        self.basic.append(data)
        self.size += len(data)

    def write(self, part: Part) -> None:
        if part.children:
            self.both(b"(")
            for child in part.children:
                self.write(child)
            self.both(b" " + string(part.subtype))
        else:
            self.single(part)
        fields = part.fields if self.has_room else {}
        if not part.children:
            first = nstring(fields.get(b"content-md5"))
        else:
            first = _parameters(part.parameters) if self.has_room else NIL
        extension = b" %b %b %b %b" % (
            first,
            _disposition(fields.get(b"content-disposition")),
            _language(fields.get(b"content-language")),
            nstring(fields.get(b"content-location")),
        )
        self.full.append(extension)
        self.size += len(extension)
        self.both(b")")

    def single(self, part: Part) -> None:
        """RFC 3501 §9, body-type-1part without its extension data and closing parenthesis."""
        fields, parameters = (part.fields, part.parameters) if self.has_room else ({}, ())
        if part.type == b"text" and not any(name == b"charset" for name, _ in part.parameters):
            # RFC 2046 §4.1.2: it is the default, and clients are used to servers that say so.
            parameters = (*parameters, (b"charset", b"us-ascii"))
        self.both(
            b"(%b %b %b %b %b %b %d"
            % (
                string(part.type),
                string(part.subtype),
                _parameters(parameters),
                nstring(fields.get(b"content-id")),
                nstring(fields.get(b"content-description")),
                string(part.encoding),
                part.end - part.body,
            )
        )
        if part.type == b"text":
            self.both(b" %d" % part.lines)
        elif part.message is not None:
            enclosed = part.message.fields
            self.both(b" %b " % (envelope(enclosed) if self.has_room else EMPTY))
            self.size += sum(map(len, enclosed.values()))
            self.write(part.message)
            self.both(b" %d" % part.lines)


def body_structures(root: Part) -> tuple[bytes, bytes]:
    """(BODYSTRUCTURE, BODY) of a message: with extension data and without."""
    writer = _Writer()
    writer.write(root)
    return b"".join(writer.full), b"".join(writer.basic)
