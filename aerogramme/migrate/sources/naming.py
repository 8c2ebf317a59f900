"""What a mailbox of another mail store is called here.

A source spells a name in octets of its own: levels with a separator, other letters than ASCII in modified
UTF-7 (RFC 3501 §5.1.3) or UTF-8, what its file system does not bear escaped, all below the prefix of a
namespace. Here a name is text with "/" between levels (mailbox/names.py). What cannot be spelled here, or is
not spelled by the rules there, gets a name all the same, and a fault tells.
"""

import re
import unicodedata
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from aerogramme.errors import Refused
from aerogramme.imap import mutf7
from aerogramme.mailbox.names import DELIMITER, INBOX, MAX_DEPTH, MAX_PART, check
from aerogramme.migrate.sources.source import Fault
from aerogramme.migrate.sources.special_use import roles_of

_CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f\u2028\u2029]")  # names.check: Cc, Zl, Zp


@dataclass(frozen=True, slots=True)
class Naming:
    r"""How a source spells the names of its mailboxes.

    separator  one character between levels; "" if there are none (LIST says NIL)
    prefix     what all names but INBOX begin with and what is left away here: the prefix of a namespace, such
               as `INBOX.`; the separator at its end may be missing
    under      a mailbox here, below which all goes, INBOX too; "" for none
    utf8       names are in UTF-8, not in modified UTF-7
    mixed      a name that is no modified UTF-7 is UTF-8, which is not wrong: it is not known who made it
    escape     the character of Dovecot's listescape plugin, such as `\`: two hexadecimal digits follow
    roles      special uses that the operator gives (special_use.chosen)
    guess      give special uses by name where nobody gives any
    """

    separator: str = "/"
    prefix: str = ""
    under: str = ""
    utf8: bool = False
    mixed: bool = False
    escape: str = ""
    roles: Mapping[str, str | None] = field(default_factory=dict)
    guess: bool = True

    def __post_init__(self) -> None:
        if len(self.separator) > 1 or not self.separator.isascii():
            raise Refused("The separator of mailbox names is one ASCII character")
        if len(self.escape) > 1 or not self.escape.isascii():
            raise Refused("The escape character of mailbox names is one ASCII character")
        if self.under:
            check(self.under)

    def name(self, spelled: bytes) -> tuple[str, str]:
        """The name here, and what is not as it should be in that of the source; "" if nothing is.

        The name is one that `names.check` takes.
        """
        inbox = spelled.upper() == b"INBOX"
        wrong: list[str] = []
        levels = [] if inbox else [self._level(level, wrong) for level in self._split(spelled)]
        if "" in levels:
            wrong.append("it has an empty level")
        if len(levels) > MAX_DEPTH:
            wrong.append("it has too many levels")
            levels[MAX_DEPTH - 1 :] = ["_".join(levels[MAX_DEPTH - 1 :])]
        levels = [_cut(level, wrong) for level in levels if level]
        above = [self.under] if self.under else []
        name = DELIMITER.join([*above, *levels] if levels else [*above, INBOX])
        if not levels and not inbox:
            name = DELIMITER.join([*above, _nameless(spelled)])
        try:
            name = check(name)
        except Refused:  # too long as a whole
            wrong.append("it is too long")
            name = check(_nameless(spelled))
        return name, ", and ".join(dict.fromkeys(wrong))

    def names(self, spelled: Iterable[bytes], said: Mapping[bytes, str] | None = None) -> "Names":
        """The names of all mailboxes of a source, no two of which are the same.

        `said`: special uses, if the source has them, by its own spelling.
        """
        return Names(self, spelled, said or {})

    def _split(self, spelled: bytes) -> list[bytes]:
        if self.prefix:
            prefix = self.prefix.encode()
            if self.separator and not prefix.endswith(self.separator.encode()):
                prefix += self.separator.encode()
            # INBOX is INBOX in any case, as the first level too (RFC 3501 §5.1).
            start = spelled[: len(prefix)]
            same = start.upper() == prefix.upper() if prefix[:5].upper() == b"INBOX" else start == prefix
            if same and len(spelled) > len(prefix):
                spelled = spelled[len(prefix) :]
        return spelled.split(self.separator.encode()) if self.separator else [spelled]

    def _level(self, level: bytes, wrong: list[str]) -> str:
        text = self._decode(level, wrong)
        if self.escape:
            text = re.sub(
                re.escape(self.escape) + "([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text
            )
        if DELIMITER in text:
            wrong.append(f'it has a "{DELIMITER}", which separates levels here')
            text = text.replace(DELIMITER, "_")
        if _CONTROL.search(text):
            wrong.append("it has control characters")
            text = _CONTROL.sub("_", text)
        if text in (".", ".."):
            wrong.append("it has a level . or ..")
            text = text.replace(".", "_")
        return text

    def _decode(self, level: bytes, wrong: list[str]) -> str:
        if not self.utf8:
            try:
                return mutf7.decode(level)
            except ValueError:
                if not self.mixed:
                    wrong.append("it is not modified UTF-7")
        try:
            return level.decode()
        except UnicodeDecodeError:
            wrong.append("it is not UTF-8")
            return level.decode("latin-1")


class Names:
    """The mailboxes of a source, by the spelling that it has there.

    of      spelling -> name here
    roles   name here -> special use, each use once
    faults  names that could not be taken as they are
    """

    def __init__(self, naming: Naming, spelled: Iterable[bytes], said: Mapping[bytes, str]) -> None:
        self.of: dict[bytes, str] = {}
        self.faults: list[Fault] = []
        taken: set[str] = set()
        found = {one: naming.name(one) for one in sorted(set(spelled))}
        # Those that mean exactly their name go first: what another pass finds besides does not rename them.
        for one in sorted(found, key=lambda one: (bool(found[one][1]), one != INBOX.encode(), one)):
            name, wrong = found[one]
            if name in taken:
                wrong = ", and ".join(filter(None, (wrong, f"there is another {name}")))
            plain, marked = name, one
            while name in taken:  # perhaps somebody has made one of the other name on purpose, too
                name = _other(plain, marked)
                marked += b"\0"
            taken.add(name)
            self.of[one] = name
            if wrong:
                self.faults.append(Fault(shown(one), wrong, f"it is called {name} here"))
        by_name = {self.of[one]: role for one, role in said.items() if one in self.of}
        self.roles = roles_of(self.of.values(), by_name, naming.roles, guess=naming.guess)


def unlike(spelled: bytes, taken: Container[bytes]) -> bytes:
    """The spelling of a mailbox, or one like it if another mailbox of the source has that."""
    while spelled in taken:
        spelled += b"_"
    return spelled


def shown(spelled: bytes) -> str:
    """A name, or a path, of a source for people: what is no text, or plays with a terminal, is escaped."""
    text = spelled.decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cut(level: str, wrong: list[str]) -> str:
    if len(_composed(level)) <= MAX_PART:
        return level
    wrong.append("it is too long")
    return _short(level, "~" + _mark(level.encode()))


def _short(text: str, end: str) -> str:
    """The beginning of a level, and an end, in as many octets as a level may have."""
    room = MAX_PART - len(end.encode())
    return _composed(text)[:room].decode(errors="ignore") + end


def _composed(text: str) -> bytes:
    return unicodedata.normalize("NFC", text).encode()  # as names.canonical will have it


def _other(name: str, spelled: bytes) -> str:
    """Another name for a mailbox whose name is taken: the same in each pass, whatever else there is."""
    above, delimiter, last = name.rpartition(DELIMITER)
    other = above + delimiter + _short(last, f" ({_mark(spelled)})")
    try:
        return check(other)
    except Refused:  # too long as a whole
        return _nameless(spelled)


def _nameless(spelled: bytes) -> str:
    return f"Mailbox {_mark(spelled)}"


def _mark(octets: bytes) -> str:
    return sha256(octets).hexdigest()[:8]
