"""Sizes and durations as people write them in settings, and as they read them in output."""

import re

_SIZES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_BINARY = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZES |= _BINARY | {f"{letter}iB": octets for letter, octets in _BINARY.items()}
_SIZE = re.compile(rf"([0-9]{{1,12}}) ?({'|'.join(_SIZES)})", re.ASCII)

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"([0-9]{1,9}) ?([smhdw])", re.ASCII)


def parse_size(value: object) -> int:
    """A number of octets, or text such as "50 MiB", "25 MB" or "5G". Raises ValueError.

    K, M, G and T alone are the binary ones (5G is 5 GiB), as other mail servers read quotas.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'not a size: {value!r} (a number of bytes, or text such as "50 MiB" or "5G")')
    return int(match[1]) * _SIZES[match[2]]


def size_text(octets: int) -> str | int:
    """The shortest that `parse_size` reads as just this: for a file that people read."""
    for letter in "TGMK":
        if octets and octets % _BINARY[letter] == 0:
            return f"{octets // _BINARY[letter]}{letter}"
    return octets


def shown_size(octets: int) -> str:
    """For output: three digits at least are exact, such as "1.25 GiB"."""
    if octets < 1024:
        return f"{octets} B"
    letter = next((letter for letter in "TGMK" if octets >= _BINARY[letter]), "K")
    amount = octets / _BINARY[letter]
    return f"{amount:.{0 if amount >= 100 else 1 if amount >= 10 else 2}f} {letter}iB"


def parse_duration(value: object) -> int:
    """Seconds, from text such as "30d", "12h" or "2w"; a number alone is in days. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value * _SECONDS["d"]
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            f'not a duration: {value!r} (a number of days, or text such as "12h", "30d" or "2w")'
        )
    return int(match[1]) * _SECONDS[match[2]]


def duration_text(seconds: int) -> str:
    """The shortest that `parse_duration` reads as just this."""
    unit = next(unit for unit in "dhms" if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"
