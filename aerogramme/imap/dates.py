"""Dates as IMAP writes them (RFC 3501 §9), as unix seconds and days since 1970-01-01, and back."""

import datetime
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

MONTHS: Final = (
    b"Jan",
    b"Feb",
    b"Mar",
    b"Apr",
    b"May",
    b"Jun",
    b"Jul",
    b"Aug",
    b"Sep",
    b"Oct",
    b"Nov",
    b"Dec",
)
_NUMBER_OF_MONTH: Final = {name.lower(): number for number, name in enumerate(MONTHS, 1)}
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
_LAST_DAY: Final = datetime.date.max.toordinal() - _EPOCH
_DAY: Final = 86400

# date-text = date-day "-" date-month "-" date-year ; date-day = 1*2DIGIT
_DATE_TEXT: Final = re.compile(rb"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")

# date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE ; here without the
# quotes. quirk_date_day: some clients write the first nine days with one digit instead of (SP DIGIT).
_DATE_TIME: Final = re.compile(
    rb" ?([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"
)


def _day(day: bytes, month: bytes, year: bytes) -> int:
    number = _NUMBER_OF_MONTH.get(month.lower())
    if number is None:
        raise ValueError("no such month")
    return datetime.date(int(year), number, int(day)).toordinal() - _EPOCH


def parse_date(text: bytes) -> int:
    """`1-Feb-1994` as days since 1970-01-01. ValueError if there is no such day."""
    found = _DATE_TEXT.fullmatch(text)
    if found is None:
        raise ValueError("not a date")
    return _day(found[1], found[2], found[3])


def parse_date_time(text: bytes) -> int:
    """`17-Jul-1996 02:44:25 -0700` as unix seconds. ValueError if there is no such moment."""
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        raise ValueError("not a date and time")
    hour, minute, second, zone_hour, zone_minute = (int(found[i]) for i in (4, 5, 6, 8, 9))
    if hour > 23 or minute > 59 or second > 60 or zone_minute > 59:  # 60: a leap second
        raise ValueError("no such time")
    zone = zone_hour * 3600 + zone_minute * 60
    seconds = _day(found[1], found[2], found[3]) * _DAY + hour * 3600 + minute * 60 + second
    return seconds + zone if found[7] == b"-" else seconds - zone


@lru_cache(maxsize=4096)
def _start_of_day(day: int) -> bytes:
    date = datetime.date.fromordinal(min(day, _LAST_DAY) + _EPOCH)
    return b'"%2d-%s-%04d ' % (date.day, MONTHS[date.month - 1], date.year)


def _time_of_day(minute: int) -> bytes:
    return b"%02d:%02d:" % divmod(minute, 60)


_MINUTES_A_DAY: Final = 24 * 60
_MINUTES: Final = [_time_of_day(minute) for minute in range(_MINUTES_A_DAY)]
_SECONDS: Final = [b'%02d +0000"' % second for second in range(60)]


def date_times(column: Iterable[int]) -> list[bytes]:
    """Unix seconds as IMAP date-times, quotes included, in UTC: `"17-Jul-1996 02:44:25 +0000"`."""
    return [
        _start_of_day(seconds // _DAY) + _MINUTES[seconds // 60 % _MINUTES_A_DAY] + _SECONDS[seconds % 60]
        for seconds in column
    ]
