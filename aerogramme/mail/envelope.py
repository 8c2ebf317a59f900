"""ENVELOPE as the bytes that IMAP sends (RFC 3501 §7.4.2)."""

from typing import Final

from aerogramme.mail.addresses import address_list
from aerogramme.mail.wire import NIL, nstring

EMPTY: Final = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"


def _addresses(fields: dict[bytes, bytes], name: bytes) -> bytes:
    value = fields.get(name)
    if not value:
        return NIL
    found = [
        b"(%b %b %b %b)" % (nstring(name), nstring(route), nstring(mailbox), nstring(host))
        for name, route, mailbox, host in address_list(value)
    ]
    return b"(%b)" % b"".join(found) if found else NIL


def envelope(fields: dict[bytes, bytes]) -> bytes:
    """From the fields of a header (names in lower case, values unfolded): a parenthesized list of ten.

    A field that is absent is NIL; Date, Subject, In-Reply-To and Message-ID that are there but empty are "".
    """
    if not fields:
        return EMPTY
    from_ = _addresses(fields, b"from")
    # RFC 3501 §7.4.2: where Sender or Reply-To is absent or empty, the server sets it to From.
    sender = _addresses(fields, b"sender")
    reply_to = _addresses(fields, b"reply-to")
    get = fields.get
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        nstring(get(b"date")),
        nstring(get(b"subject")),
        from_,
        from_ if sender is NIL else sender,
        from_ if reply_to is NIL else reply_to,
        _addresses(fields, b"to"),
        _addresses(fields, b"cc"),
        _addresses(fields, b"bcc"),
        nstring(get(b"in-reply-to")),
        nstring(get(b"message-id")),
    )
