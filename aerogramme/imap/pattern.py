"""Mailbox patterns of LIST and LSUB: `*` matches anything, `%` anything within one level of the hierarchy."""

import re
from collections.abc import Callable
from functools import lru_cache

from aerogramme.mailbox.names import DELIMITER, INBOX, MAX_NAME

_TOKENS = re.compile(r"[*%]+|[^*%]+")


@lru_cache(maxsize=64)
def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a name matches. Time grows with pattern times name, whatever the pattern: no backtracking.

    RFC 3501 §5.1: INBOX matches in any case, also as the first level of a name.
    """
    if pattern == "*":
        return lambda _name: True
    if len(pattern) > 4 * MAX_NAME:
        return lambda _name: False  # no name is that long, and wildcards in a row are not needed
    first, delimiter, rest = pattern.partition(DELIMITER)
    if first.upper() == INBOX:
        pattern = INBOX + delimiter + rest
    # A run of wildcards is as strong as its strongest.
    steps = [
        ("*" if "*" in token else "%") if token[0] in "*%" else token for token in _TOKENS.findall(pattern)
    ]

    def matches(name: str) -> bool:
        # The places in the name that the pattern so far can end at.
        places = {0}
        for step in steps:
            if step == "*":
                places = set(range(min(places), len(name) + 1))
            elif step == "%":
                reached: set[int] = set()
                for place in sorted(places):
                    if place not in reached:
                        end = name.find(DELIMITER, place)
                        reached.update(range(place, (len(name) if end < 0 else end) + 1))
                places = reached
            else:
                places = {place + len(step) for place in places if name.startswith(step, place)}
            if not places:
                return False
        return len(name) in places

    return matches
