"""Flags of another mail store, as they can be kept here."""

from collections.abc import Iterable

from aerogramme.mailbox.flags import MAX_FLAGS, MAX_KEYWORD, NO_ATOM, normal_flags


def keepable(flags: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """The flags to store, and what had to be changed of them, for people.

    A keyword that no client could name (it is no atom, RFC 3501 §9) gets underscores; one that is too long,
    and what is above the number that a message can have, is left out.
    """
    said: list[str] = []
    found: list[str] = []
    for flag in flags:
        kept = flag if flag.startswith("\\") else NO_ATOM.sub("_", flag)
        if not kept or len(kept) > MAX_KEYWORD:
            said.append(f"keyword {flag[:40]!r} is left out: it has not 1 to {MAX_KEYWORD} characters")
            continue
        if kept != flag:
            said.append(f"keyword {flag!r} is called {kept} here: a client could not name it")
        found.append(kept)
    if len(found) > MAX_FLAGS:
        said.append(f"of {len(found)} flags on a message, {MAX_FLAGS} are kept")
    return normal_flags(found[:MAX_FLAGS]), said
