"""Mailbox names: which are valid, their hierarchy, and the list of mailboxes made from them."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from aerogramme.errors import Refused

DELIMITER = "/"
INBOX = "INBOX"
MAX_NAME = 1000  # octets of UTF-8: a LIST line stays short, and every level fits a path on disk
MAX_PART = 250  # octets of one level: a file name has 255 on every file system in use, and a mount adds a dot
MAX_DEPTH = 50  # levels; a CREATE makes all that are missing

# RFC 6154 §2 and RFC 8457 §3: what a mailbox can be for, its role.
ROLES = ("\\Drafts", "\\Sent", "\\Archive", "\\Junk", "\\Trash", "\\All", "\\Flagged", "\\Important")

# What a new account has, and the role of each.
FIRST_MAILBOXES: tuple[tuple[str, str | None], ...] = (
    (INBOX, None),
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Archive", "\\Archive"),
    ("Junk", "\\Junk"),
    ("Trash", "\\Trash"),
)


@dataclass(frozen=True, slots=True)
class MailboxInfo:
    """One line of LIST. `id` is None for a name that is only there for what is below it (\\Noselect)."""

    id: int | None
    name: str
    role: str | None
    subscribed: bool
    children: bool

    @property
    def selectable(self) -> bool:
        return self.id is not None


def is_inbox(name: str) -> bool:
    """RFC 3501 §5.1: INBOX in any case. By small letters: the capital of a dotless i, too, is I."""
    return name.lower() == "inbox"


def canonical(name: str) -> str:
    """A name as it is stored: INBOX in capitals (also as the first level), one trailing delimiter gone, NFC.

    RFC 3501 §5.1: INBOX in any case. A trailing delimiter says that names below are meant to follow
    (§6.3.3), and Thunderbird adds one too many. Whether the name is valid is `check`'s business.
    """
    # To normalize may take the square of the length. So long is no name of a mailbox, and no spelling of one.
    if len(name) <= 2 * MAX_NAME:
        name = unicodedata.normalize("NFC", name)
    if name.endswith(DELIMITER):
        name = name[:-1]
    first, delimiter, rest = name.partition(DELIMITER)
    return INBOX + delimiter + rest if is_inbox(first) else name


def check(name: str) -> str:
    """A canonical name that a new mailbox may have, or Refused with the reason."""
    name = canonical(name)
    parts = name.split(DELIMITER)
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        raise Refused("A mailbox name is text that UTF-8 can hold") from None
    if not all(sizes):
        raise Refused("A mailbox name has no empty level", hint=f"levels are separated by one {DELIMITER}")
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
        raise Refused("A mailbox name has no control characters")  # RFC 5198 §2, and LIST is a line
    if max(sizes) > MAX_PART or sum(sizes) + len(sizes) > MAX_NAME or len(parts) > MAX_DEPTH:
        raise Refused("The mailbox name is too long")
    if any(part in (".", "..") for part in parts):
        raise Refused("A level of a mailbox name cannot be . or ..")
    return name


def parents(name: str) -> Iterator[str]:
    """The names above a name, highest first: a/b/c gives a, a/b."""
    at = name.find(DELIMITER)
    while at >= 0:
        yield name[:at]
        at = name.find(DELIMITER, at + 1)


def below(name: str, names: Iterable[str]) -> list[str]:
    """Those of the names that are below a name."""
    prefix = name + DELIMITER
    return [other for other in names if other.startswith(prefix)]


def listing(
    ids: Mapping[str, int], roles: Mapping[int, str], subscribed: frozenset[str] | set[str]
) -> list[MailboxInfo]:
    """All mailboxes and the names above them that are none, INBOX first, then by name."""
    names = set(ids)
    inner = {parent for name in ids for parent in parents(name)}
    ordered = sorted(names | inner, key=lambda name: (name != INBOX, name.split(DELIMITER)))
    return [
        MailboxInfo(
            id=ids.get(name),
            name=name,
            role=roles.get(ids[name]) if name in ids else None,
            subscribed=name in subscribed,
            children=name in inner,
        )
        for name in ordered
    ]
