"""Names in a Maildir: what the name of a file says of its message, and that of a folder of its mailbox.

A message is `<INTERNALDATE>.M<message id, hex>.<host>,S=<octets>,W=<octets>,U=<UID>:2,<letters>`. S is the
size of the file, whose lines end with LF, W that with CRLF at the end of each, as Dovecot has them.
All of that is a function of the account: so a file has the same name at every mount, in every export and on
every machine.
"""

import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from aerogramme.imap import mutf7
from aerogramme.mailbox.names import DELIMITER, INBOX

# maildir(5): letters of flags; "P" (passed) is a keyword to IMAP, and has none here.
SYSTEM = {"\\Draft": "D", "\\Flagged": "F", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T"}
KEYWORDS = "abcdefghijklmnopqrstuvwxyz"  # Dovecot's: the first 26, as dovecot-keywords lists them
PARTS = ("cur", "new", "tmp")

LONGEST = 255  # octets of a name, on every file system in use (NAME_MAX)

_FORM = "%d.M%x.%s,S=%d,W=%d,U=%d"
_NAME = re.compile(r"\d+\.M([0-9a-f]{1,16})\.([^,/:]+),S=(\d{1,15}),W=(\d{1,15}),U=\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class FileName:
    """What the name of a file says. `message` is None for a name that is not of our making; else there are a
    host, and the size of the file with lines as it has them, and with CRLF."""

    base: str
    letters: str
    message: int | None
    host: str = ""
    size: int = 0
    wide: int = 0


def host_of(account: str) -> str:
    """What stands for the host in the names of an account's messages."""
    return f"{account[:8]}.aerogramme"


def base_name(date: int, message: int, host: str, size: int, wide: int, uid: int) -> str:
    """The name of a message without its flags. `size` of the file, `wide`: when its lines end with CRLF."""
    return _FORM % (date, message, host, size, wide, uid)


def file_names(
    host: str,
    dates: Iterable[int],
    messages: Iterable[int],
    sizes: Iterable[int],
    wide: Iterable[int],
    uids: Iterable[int],
    infos: Iterable[bytes],
) -> list[bytes]:
    """The names of several messages, as folders have them: each is that of `base_name`, and an info."""
    form = (_FORM.replace("%s", host) + "%b").encode()
    return list(map(form.__mod__, zip(dates, messages, sizes, wide, uids, infos, strict=True)))


def parse(name: str) -> FileName:
    """What a name says; any name says something."""
    base, _, info = name.partition(":")
    letters = info[2:] if info.startswith("2,") else ""
    match = _NAME.fullmatch(base)
    if match is None:
        return FileName(base, letters, None)
    return FileName(base, letters, int(match[1], 16), match[2], int(match[3]), int(match[4]))


def letters_of(flags: Iterable[str], keywords: Sequence[str]) -> str:
    """The letters of flags, in the order that maildir(5) asks for; those that have none are left out."""
    known = dict(zip(keywords, KEYWORDS, strict=False))
    found = (SYSTEM.get(flag) or known.get(flag, "") for flag in flags)
    return "".join(sorted(found))


def flags_of(letters: str, keywords: Sequence[str]) -> set[str]:
    """The flags that letters stand for; letters that nobody knows stand for none."""
    meaning = {letter: flag for flag, letter in SYSTEM.items()}
    meaning |= dict(zip(KEYWORDS, keywords, strict=False))
    return {meaning[letter] for letter in letters if letter in meaning}


# --- files that Dovecot reads


def uidlist_head(uidvalidity: int, uidnext: int, mailbox: int) -> str:
    """The first line of dovecot-uidlist, version 3."""
    return f"3 V{uidvalidity} N{uidnext} G{mailbox:032x}\n"


def uidlist_line(uid: int, base: str) -> str:
    """That of a message. What the name says need not be said again."""
    return f"{uid} :{base}\n"


def subscriptions_file(names: Iterable[str]) -> bytes:
    """The file `subscriptions`, version 2, which is the same whatever the layout and the separator are."""
    levels = (name.split(DELIMITER) for name in names)
    return b"V\t2\n\n" + b"".join(b"\t".join(map(mutf7.encode, each)) + b"\n" for each in levels)


# --- folders

Layout = Literal["maildir++", "fs"]
# Files that are made there, and are no mailboxes: Dovecot's and mbsync's.
MADE = ("dovecot-uidlist", "dovecot-keywords", "subscriptions", "maildirfolder", ".uidvalidity")


def levels_of(name: str, layout: Layout) -> list[str]:
    """The folders, one below the other, of a mailbox other than INBOX."""
    levels = name.split(DELIMITER)
    if layout == "maildir++":
        spelled = (mutf7.encode(level).decode().replace(".", _shifted(".")) for level in levels)
        return [_short("." + ".".join(spelled))]
    return [_short(_level(level)) for level in levels]


def mailbox_of(folders: Sequence[str], layout: Layout) -> str | None:
    """The mailbox of folders, one below the other; None for what is no mailbox."""
    try:
        if layout == "fs":
            levels = [mutf7.decode(f.encode("ascii")) if f.startswith("&") else f for f in folders]
        elif len(folders) == 1 and folders[0].startswith("."):
            levels = [mutf7.decode(level.encode("ascii")) for level in folders[0][1:].split(".")]
        else:
            return None
    except ValueError:
        return None
    return DELIMITER.join(levels)


def _level(level: str) -> str:
    """A level of a name as a folder of a plain tree: as it is, but for one that would be taken for something
    else there, which is spelled in modified UTF-7 (its first letter, if there is no need, shifted too)."""
    if level[0] not in ".&" and level not in (*PARTS, *MADE, INBOX):
        return level
    return _shifted(level[0]) + mutf7.encode(level[1:]).decode()


def _short(folder: str) -> str:
    """For a name that would be too long its beginning, and a hash of it all, which spells no mailbox."""
    octets = folder.encode()
    if len(octets) <= LONGEST:
        return folder
    digest = "&" + blake2b(octets, digest_size=8).hexdigest()
    return octets[: LONGEST - len(digest)].decode(errors="ignore") + digest


def _shifted(letter: str) -> str:
    base64 = binascii.b2a_base64(letter.encode("utf-16-be"), newline=False).decode().rstrip("=")
    return f"&{base64.replace('/', ',')}-"
