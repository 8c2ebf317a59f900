"""The flags a message can have: how they are spelled, and which ones a client may set."""

import re
from collections.abc import Iterable

from aerogramme.errors import LimitReached, Refused
from aerogramme.log.flagsets import SYSTEM, Flagsets

_SYSTEM = {flag.casefold(): flag for flag in SYSTEM}

NO_ATOM = re.compile(r"[^!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]")  # RFC 3501 §9 ATOM-CHAR, all but these
MAX_KEYWORD = 200  # characters; the longest in use ($MailFlagBit0 and the like) have under 40
MAX_KEYWORDS = 5000  # in an account; each SELECT names them all. Who labels everything has some hundreds
MAX_WEIGHT = 1_000_000  # flags in all sets of flags that messages have had together: some 100 MB
MAX_FLAGS = 100  # on one message: what a STORE may ask for; Dovecot's Maildir has 26, Cyrus 128 for a mailbox


def normal_flags(flags: Iterable[str]) -> tuple[str, ...]:
    """The flags to store: system flags in their spelling, keywords as they came, each once.

    Unknown flags with a backslash and \\Recent are dropped: other servers' mail comes with them, and an
    import must not fail for that. Raises LimitReached when there are too many, Refused when one is too long,
    or is no atom (RFC 3501 §9): it is sent to clients as it stands.
    """
    found: dict[str, str] = {}
    for flag in flags:
        folded = flag.casefold()
        if not flag.startswith("\\"):
            if not flag or len(flag) > MAX_KEYWORD:
                raise Refused(f"A keyword has 1 to {MAX_KEYWORD} characters")
            if NO_ATOM.search(flag):
                raise Refused("A keyword has no spaces, parentheses, quotes, and only ASCII (RFC 3501 §9)")
            found.setdefault(folded, flag)
        elif folded in _SYSTEM:
            found[folded] = _SYSTEM[folded]
    if len(found) > MAX_FLAGS:
        raise LimitReached(f"A message cannot have more than {MAX_FLAGS} flags")
    return tuple(found.values())


def check_keywords(flagsets: Flagsets, flags: Iterable[str]) -> None:
    """Raises LimitReached if an account has no room for these flags, as normal_flags gives them.

    What was ever used stays in memory while the account is open. \\Seen and the like are always possible.
    """
    keywords = [flag for flag in flags if not flag.startswith("\\")]
    new = sum(flagsets.number_of(keyword) is None for keyword in keywords)
    if new and len(flagsets.names) + new > MAX_KEYWORDS:
        raise LimitReached(f"An account cannot have more than {MAX_KEYWORDS} keywords")
    if keywords and flagsets.weight > MAX_WEIGHT:
        raise LimitReached("There are too many different combinations of keywords")
