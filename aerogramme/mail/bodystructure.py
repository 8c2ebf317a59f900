"""BODYSTRUCTURE and BODY as the bytes that IMAP sends (RFC 3501 §7.4.2 and §9, body)."""

from typing import Final

from aerogramme.mail.envelope import EMPTY, envelope
from aerogramme.mail.header import MAX_PARAMETERS, Parameters, disposition, tokens
from aerogramme.mail.structure import Part
from aerogramme.mail.wire import NIL, nstring, string

# When a structure, with the fields that its envelopes were made from, has grown past this, the envelopes of
# further enclosed messages are left empty: address lists grow up to 24 times in an envelope, and a structure
# must not be many times its message; and some take a second for each megabyte, whatever comes of them.
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

    def both(self, data: bytes) -> None:
        self.full.append(data)
        self.basic.append(data)
        self.size += len(data)

    def write(self, part: Part) -> None:
        fields = part.fields
        if part.children:
            self.both(b"(")
            for child in part.children:
                self.write(child)
            self.both(b" " + string(part.subtype))
            extension = b" " + _parameters(part.parameters)
        else:
            self.single(part)
            extension = b" " + nstring(fields.get(b"content-md5"))
        if b"content-disposition" in fields or b"content-language" in fields or b"content-location" in fields:
            self.full.append(
                b"%b %b %b %b)"
                % (
                    extension,
                    _disposition(fields.get(b"content-disposition")),
                    _language(fields.get(b"content-language")),
                    nstring(fields.get(b"content-location")),
                )
            )
        else:
            self.full.append(extension + b" NIL NIL NIL)")
        self.basic.append(b")")

    def single(self, part: Part) -> None:
        """RFC 3501 §9, body-type-1part without its extension data and closing parenthesis."""
        fields = part.fields
        parameters = part.parameters
        if part.type == b"text" and not any(name == b"charset" for name, _ in parameters):
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
            self.both(b" %b " % (envelope(enclosed) if self.size < MAX_STRUCTURE else EMPTY))
            self.size += sum(map(len, enclosed.values()))
            self.write(part.message)
            self.both(b" %d" % part.lines)


def body_structures(root: Part) -> tuple[bytes, bytes]:
    """(BODYSTRUCTURE, BODY) of a message: with extension data and without."""
    writer = _Writer()
    writer.write(root)
    return b"".join(writer.full), b"".join(writer.basic)
