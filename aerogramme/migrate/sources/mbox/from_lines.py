"""The line that begins a message in an mbox: `From joe@example.org Tue Jan  7 10:00:00 2020`.

It is one if a date can be read at its end: text has lines that begin with these five letters, too.
"""

import re
import time
from calendar import timegm
from datetime import datetime
from typing import Final

_MONTHS: Final = (
    b"jan",
    b"feb",
    b"mar",
    b"apr",
    b"may",
    b"jun",
    b"jul",
    b"aug",
    b"sep",
    b"oct",
    b"nov",
    b"dec",
)
_ZONES: Final = {b"utc": 0, b"gmt": 0, b"z": 0, b"est": -5, b"edt": -4, b"cst": -6, b"cdt": -5, b"mst": -7,
                 b"mdt": -6, b"pst": -8, b"pdt": -7, b"cet": 1, b"cest": 2, b"met": 1, b"bst": 1}  # fmt: skip

_WEEKDAY: Final = rb"(?:mon|tue|wed|thu|fri|sat|sun),?"
_CLOCK: Final = rb"(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d))?"
_ZONE: Final = rb"[+-]\d{4}|[a-z]{1,4}"
# asctime(3), with a zone before or after the year, as procmail, mutt, Thunderbird and Gmail write it.
_ASCTIME: Final = re.compile(
    rb".* " + _WEEKDAY + rb" +(?P<month>[a-z]{3}) +(?P<day>\d\d?) +" + _CLOCK +
    rb"(?: +(?P<zone>" + _ZONE + rb"))? +(?P<year>\d{4})(?: +(?P<zone2>[+-]\d{4}))?(?: +remote from .*)?\s*",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip
# RFC 5322 §3.3
_MAIL: Final = re.compile(
    rb".* " + _WEEKDAY + rb" +(?P<day>\d\d?) +(?P<month>[a-z]{3}) +(?P<year>\d{4}) +" + _CLOCK +
    rb"(?: +(?P<zone>" + _ZONE + rb"))?(?P<zone2>)\s*",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip


def date_of(line: bytes, *, utc: bool) -> int | None:
    """Unix seconds of a line that begins with `From `; None if it begins no message.

    `utc`: a time without zone is UTC (RFC 4155), and not that of this machine, which mail programs mean.
    """
    found = _ASCTIME.fullmatch(line, 4) or _MAIL.fullmatch(line, 4)
    if found is None or (month := found["month"].lower()) not in _MONTHS:
        return None
    fields = (
        int(found["year"]),
        _MONTHS.index(month) + 1,
        int(found["day"]),
        int(found["hour"]),
        int(found["minute"]),
        min(int(found["second"] or 0), 59),  # a leap second
    )
    try:  # is there such a day?
        datetime(*fields)
    except ValueError:
        return None
    zone = (found["zone2"] or found["zone"] or b"").lower()
    if zone[:1] in (b"+", b"-"):
        offset = (int(zone[1:3]) * 60 + int(zone[3:5])) * 60
        return timegm((*fields, 0, 0, 0)) - (-offset if zone[:1] == b"-" else offset)
    if zone in _ZONES:
        return timegm((*fields, 0, 0, 0)) - _ZONES[zone] * 3600
    if utc:
        return timegm((*fields, 0, 0, 0))
    try:
        return int(time.mktime((*fields, 0, 0, -1)))
    except OverflowError:
        return None
