"""What the people who run the server have decided for an account."""

from dataclasses import dataclass

DAY = 24 * 60 * 60
RETENTION = 7 * DAY  # seconds, by default


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules for one account.

    retention  seconds for which what was removed, and the entries that tell of it, are kept: so long can
               everything be undone, and looked at as it was
    quota      octets of all its messages; None for no limit
    """

    retention: int = RETENTION
    quota: int | None = None
