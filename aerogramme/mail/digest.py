"""The digest of a message: all that IMAP asks of it but its body, rendered once, when it comes in."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from aerogramme.mail.bodystructure import body_structures
from aerogramme.mail.envelope import envelope
from aerogramme.mail.sections import pack
from aerogramme.mail.structure import parse
from aerogramme.mail.text import body_text, decode_header, fold

_EPOCH: Final = date(1970, 1, 1).toordinal()
_MONTHS: Final = {
    name: month
    for month, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}
# RFC 5322 §3.3 "20 Aug 2002", with the blanks of §4.3 and the dashes of some; and C's asctime "Aug 20
# 13:19:26 2002".
_DATE: Final = re.compile(
    rb"\b(\d{1,2})[ \t-]{1,9}([A-Za-z]{3})[A-Za-z]{0,6}[ \t.-]{1,9}(\d{2,4})\b"
    rb"|\b([A-Za-z]{3})[A-Za-z]{0,6}[ \t]{1,9}(\d{1,2}),?[ \t]{1,9}"
    rb"(?:\d{1,2}:\d\d(?::\d\d)?[ \t]{1,9})?(\d{4})\b"
)
_MESSAGE_ID: Final = re.compile(rb"<[^<>\s]{1,900}>")
# The first names the thread, the last ones the place in it; RFC 5256 needs no more of a list grown too long.
MAX_REFERENCES: Final = 100


@dataclass(frozen=True, slots=True)
class Digest:
    """One message. What each field holds, byte for byte, stands in docs/format.md, "Digest"."""

    size: int  # bytes, RFC822.SIZE
    envelope: bytes  # as IMAP sends it
    bodystructure: bytes  # as IMAP sends it
    body: bytes  # BODY: the same without extension data
    parts: bytes  # for sections.section()
    header: bytes  # the header block as it stands, with its blank line
    text: bytes  # folded text of the body
    headtext: bytes  # folded text of the header block
    from_: bytes  # folded, as are the next four: the field decoded, b"" if absent
    to: bytes
    cc: bytes
    bcc: bytes
    subject: bytes
    sent: int  # days since 1970-01-01 of the Date field as written, its zone disregarded; -1 if there is none
    preview: bytes  # UTF-8, up to 200 characters, not folded
    message_id: bytes  # "<…>", or b""
    in_reply_to: bytes  # message ids, with spaces between
    references: bytes  # the same, oldest first
    lines: int  # how many end with CRLF: so much shorter is the letter with lines as Unix has them
    bare: int  # by how much the letter is longer when each line of that ends with CRLF; nearly always 0


def sent_day(value: bytes) -> int:
    """Days since 1970-01-01 of a Date field as written (RFC 3501 §6.4.4: no time, no zone), or -1."""
    match = _DATE.search(value, 0, 200)
    if match is None:
        return -1
    if match[1]:
        day, name, year = match[1], match[2], match[3]
    else:
        name, day, year = match[4], match[5], match[6]
    month = _MONTHS.get(name.lower())
    if month is None:
        return -1
    full_year = int(year)
    if full_year < 1000:
        # RFC 5322 §4.3: two digits 00-49 are 2000-2049; all other short ones count from 1900 (as does
        # "0102").
        full_year += 2000 if len(year) == 2 and full_year < 50 else 1900
    try:
        days = date(full_year, month, int(day)).toordinal() - _EPOCH
    except ValueError:
        return -1  # no such day
    return max(days, -1)


def _ids(value: bytes | None) -> bytes:
    if not value:
        return b""
    found = _MESSAGE_ID.findall(value)
    if len(found) > MAX_REFERENCES:
        found[1 : 1 - MAX_REFERENCES] = []
    return b" ".join(found)


def render(raw: bytes, lines: int | None = None) -> Digest:
    """The digest of a message. Any bytes have one: nothing is raised, and the time is linear.

    `lines`: how many there are, if it is known that all end with CRLF and no CR or LF stands elsewhere.
    """
    root = parse(raw, lines)
    fields = root.fields
    header = raw[: root.body]
    bodystructure, body = body_structures(root)
    text, preview = body_text(raw, root)
    bare = 0
    if lines is None:  # to count takes a tenth of the time of all that is done here
        lines = raw.count(b"\r\n")
        # Nearly always CR stands before LF only, and to know that takes half the time.
        doubled = raw.count(b"\r\r\n") if raw.count(b"\r") > lines else 0
        bare = raw.count(b"\n") - lines - doubled

    def folded(name: bytes) -> bytes:
        value = fields.get(name)
        return fold(decode_header(value)) if value else b""

    return Digest(
        size=len(raw),
        envelope=envelope(fields),
        bodystructure=bodystructure,
        body=body,
        parts=pack(root),
        header=header,
        text=text,
        headtext=fold(decode_header(header)),
        from_=folded(b"from"),
        to=folded(b"to"),
        cc=folded(b"cc"),
        bcc=folded(b"bcc"),
        subject=folded(b"subject"),
        sent=sent_day(fields.get(b"date", b"")),
        preview=preview,
        message_id=_ids(fields.get(b"message-id")).partition(b" ")[0],
        in_reply_to=_ids(fields.get(b"in-reply-to")),
        references=_ids(fields.get(b"references")),
        lines=lines,
        bare=bare,
    )
