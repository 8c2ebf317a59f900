"""The letter that takes the place of one that cannot be read any more: it says so, and all that is known."""

import re
from base64 import b64encode, encodebytes
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

# Fields that tell which letter it was; those that tell how its body was built are not of this one.
_KEPT = re.compile(
    rb"^(from|sender|reply-to|to|cc|date|subject|message-id|in-reply-to|references)[ \t]*:"
    rb"[^\n]*(?:\n[ \t][^\n]*)*",
    re.MULTILINE | re.IGNORECASE,
)
_SUBJECT = re.compile(rb"^(subject[ \t]*:)", re.MULTILINE | re.IGNORECASE)
DAY = 24 * 60 * 60

FROM = b"From: Aerogramme <damaged@aerogramme.invalid>"  # RFC 2606 §2: nobody has that
LOST = "This message is damaged: what it said could not be read any more from where it was stored."
LETTER = (
    "A letter that came in for you is damaged, and could not be read. It was set aside as it is, in case "
    "that somebody can help."
)
TEXT = "Of its text this had been noted for searching, in small letters, and perhaps not all of it:"


def placeholder(digest: Mapping[str, bytes], date: int) -> bytes:
    """For a letter of whose digest these fields can be read. `date`: INTERNALDATE of its message."""
    header = digest.get("header", b"").replace(b"\r\n", b"\n")
    fields = [match[0].rstrip(b"\r\n").replace(b"\n", b"\r\n") for match in _KEPT.finditer(header)]
    words = [LOST]
    if not fields:
        fields = _from_digest(digest)
        words += [
            f"{what}: {digest[field].decode('utf-8', 'replace')}"
            for what, field in (("From", "from_"), ("To", "to"), ("Subject", "subject"))
            if digest.get(field)
        ]
    text = digest.get("text", b"").decode("utf-8", "replace").strip()
    if text:
        words += [TEXT, text]
    return _letter([_SUBJECT.sub(rb"\1 [damaged]", field, count=1) for field in fields], words, date)


def notice(key: str, date: int, sender: str | None = None) -> bytes:
    """For a letter that never became a message. `key`: of its row, which is set aside under that."""
    words = [LETTER, f"It is kept as {key}."]
    if sender is not None:
        words.insert(1, f"It was sent by <{sender}>." if sender else "It has no sender: it was a report.")
    return _letter([b"Subject: [damaged] A letter that could not be read"], words, date)


def _from_digest(digest: Mapping[str, bytes]) -> list[bytes]:
    fields = []
    if subject := digest.get("subject"):
        # RFC 2047 §2: an encoded word has 75 characters at most; what is longer is in the text, too.
        cut = subject[:40].decode("utf-8", "ignore").encode()
        fields.append(b"Subject: =?utf-8?b?" + b64encode(cut) + b"?=")
    if message_id := digest.get("message_id"):
        fields.append(b"Message-ID: " + message_id)
    sent = digest.get("sent", b"")
    if sent.isdigit():
        fields.append(_date(int(sent) * DAY))
    return fields


def _letter(fields: list[bytes], words: list[str], date: int) -> bytes:
    names = {field.partition(b":")[0].strip().lower() for field in fields}
    if b"from" not in names:  # RFC 5322 §3.6: it and the date have to be there
        fields = [FROM, *fields]
    if b"date" not in names:
        fields = [*fields, _date(date)]
    if b"subject" not in names:
        fields = [*fields, b"Subject: [damaged] A message that could not be read"]
    fields = [
        *fields,
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: base64",
    ]
    text = "\r\n\r\n".join(words) + "\r\n"
    body = encodebytes(text.encode("utf-8", "replace")).replace(b"\n", b"\r\n")
    return b"\r\n".join(fields) + b"\r\n\r\n" + body


def _date(seconds: int) -> bytes:
    return b"Date: " + format_datetime(datetime.fromtimestamp(seconds, UTC)).encode()
