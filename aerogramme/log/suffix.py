"""Names of what was sealed again: the name it had, a dot, and the generation in 8 hex digits.

Rows of the log and of the uses, and the objects entry/, segment/, piece/, bundle/ and checkpoint/, keep their
*base* name however often that happens. The name with its suffix is what is bound; it sorts right after the
base.
"""

import re

_SUFFIX = re.compile(r"\.([0-9a-f]{8})\Z", re.ASCII)


def base_of(name: str) -> str:
    """The name without a suffix."""
    return _SUFFIX.sub("", name)


def sealed_for(name: str, generation: int) -> str:
    """The name, with or without a suffix, as it is once sealed again for a generation."""
    return f"{base_of(name)}.{generation:08x}"


def suffix_of(name: str) -> int | None:
    """The generation in the suffix; None if there is none: it was sealed once."""
    match = _SUFFIX.search(name)
    return None if match is None else int(match[1], 16)
