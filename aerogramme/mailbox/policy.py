"""What the people who run the server have decided for an account."""

from dataclasses import dataclass

from aerogramme.units import duration_text, parse_duration, parse_size, size_text

DAY = 24 * 60 * 60
RETENTION = 7 * DAY  # seconds, by default
LEAST_RETENTION = DAY  # compaction keeps so much in any case: running servers rely on it
LARGEST_RETENTION = 3650 * DAY
NO_QUOTA = "none"  # as settings spell it


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules for one account.

    retention  seconds for which what was removed, and the entries that tell of it, are kept: so long can
               everything be undone, and looked at as it was
    quota      octets of all its messages; None for no limit
    """

    retention: int = RETENTION
    quota: int | None = None


def parse_quota(value: object) -> int | None:
    """A quota as settings have it: octets, or None for "none". Raises ValueError."""
    if value == NO_QUOTA:
        return None
    try:
        octets = parse_size(value)
    except ValueError:
        octets = 0
    if octets <= 0:
        raise ValueError(f'a quota is a size such as "5G", or "{NO_QUOTA}"; not {value!r}')
    return octets


def quota_text(quota: int | None) -> str | int:
    """What `parse_quota` reads as this."""
    return NO_QUOTA if quota is None else size_text(quota)


def parse_retention(value: object) -> int:
    """A retention as settings have it, in seconds. Raises ValueError."""
    seconds = parse_duration(value)
    if not LEAST_RETENTION <= seconds <= LARGEST_RETENTION:
        least, largest = duration_text(LEAST_RETENTION), duration_text(LARGEST_RETENTION)
        raise ValueError(f"a retention is from {least} to {largest}, not {value!r}")
    return seconds
