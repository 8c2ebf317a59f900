"""Mailbox patterns of LIST and LSUB: `*` matches anything, `%` anything within one level of the hierarchy."""

import re
from collections.abc import Callable
from functools import lru_cache

from aerogramme.mailbox.names import DELIMITER, INBOX, MAX_NAME, is_inbox

_TOKENS = re.compile(r"[*%]+|[^*%]+")


@lru_cache(maxsize=64)
def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a name matches. Each character of the pattern costs one step, whatever the pattern: no
    backtracking, and all places in the name that the pattern so far can end at are tried at once.

    RFC 3501 §5.1: INBOX matches in any case, also as the first level of a name.
    """
    if pattern == "*":
        return lambda _name: True
    first, delimiter, rest = pattern.partition(DELIMITER)
    if is_inbox(first):
        pattern = INBOX + delimiter + rest
    tokens = _TOKENS.findall(pattern)
    # A run of wildcards is as strong as its strongest.
    steps = [("*" if "*" in token else "%") if token[0] in "*%" else token for token in tokens]
    literal = "".join(step for step in steps if step not in "*%")
    if len(literal) > MAX_NAME:
        return lambda _name: False
    begin = steps.pop(0) if steps and steps[0] not in "*%" else ""
    characters = {DELIMITER}.union(*(step for step in steps if step not in "*%"))

    def matches(name: str) -> bool:
        if not name.startswith(begin):
            return False
        name = name[len(begin) :]
        if not steps:
            return not name
        # Bit n stands for character n of the name, or for the place before it.
        where = {character: _occurrences(character, name) for character in characters}
        end = 1 << len(name)
        within = (end - 1) ^ where[DELIMITER]  # the characters that % may pass over
        places = 1
        for step in steps:
            if step == "*":
                places = 2 * end - (places & -places)  # from the first of them to the end
            elif step == "%":
                # The sum carries each place through the ones up to the first zero.
                places |= ((places & within) + within) ^ within
            else:
                for character in step:
                    places = (places & where[character]) << 1
            if not places:
                return False
        return places >= end

    return matches


def _occurrences(character: str, name: str) -> int:
    """The bits of the places of a character in a name."""
    bits, at = 0, name.find(character)
    while at >= 0:
        bits |= 1 << at
        at = name.find(character, at + 1)
    return bits
