"""What an export has made in its folder, so that a later one knows what it may change: a file of JSON, whose
form docs/format.md has."""

import json
import os
import stat
from dataclasses import dataclass, field
from typing import Any

from aerogramme.errors import BadConfiguration, Damaged, Refused
from aerogramme.migrate.export.place import NEW, Place

VERSION = 1
LONGEST = 16 << 20  # octets: of 10,000 mailboxes with long names it has 5 MB

# No mailbox has a folder of this name: those of Maildir++ begin with ".", those of other layouts do not, and
# where Dovecot's do they are called otherwise.
PLUSPLUS, OTHER = "aerogramme-export", ".aerogramme-export"
NAMES = (PLUSPLUS, OTHER)


@dataclass(slots=True)
class Made:
    """A mailbox as it was written: its id here, and of an mbox what the file is: a hash of what went into it,
    its octets, and its time in nanoseconds since 1970."""

    mailbox: int
    of: str = ""
    octets: int = 0
    mtime: int = 0


@dataclass(slots=True)
class Record:
    """What an export has made: of which account, as what, in which layout. `made`: the path of a folder or
    file below that of the export ("" is that itself) -> the mailbox."""

    kind: str
    layout: str
    account: str
    made: dict[str, Made] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return PLUSPLUS if self.layout == "maildir++" else OTHER

    def begin(self, place: Place) -> None:
        """Takes over what an earlier run has made. Raises Refused when the folder has other things in it, or
        another export; Damaged, BadConfiguration."""
        there = [name for name in NAMES if (found := place.status(name)) and stat.S_ISREG(found.st_mode)]
        raw = place.read(there[0], LONGEST) if there else None
        if raw is None:
            if any(entry.name not in (name + NEW for name in NAMES) for entry in place.entries()):
                raise Refused(
                    f"{place.path} has other things in it",
                    hint="give a folder that is empty, or not there yet, or that of an earlier export",
                )
            self.write(place)
            return
        try:
            said: dict[str, Any] = json.loads(raw)
            version = said["version"]
            if version == VERSION:
                before = (said["kind"], said["layout"], said["account"])
                made = {str(path): _made(each) for path, each in said["made"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Damaged(
                f"the record of {place.path} cannot be read", hint="export into another folder"
            ) from error
        if version != VERSION:
            raise BadConfiguration(f"{place.path} was written by another version of aerogramme")
        if before[2] != self.account:
            raise Refused(f"{place.path} has another account in it", hint="give each a folder of its own")
        if before != (self.kind, self.layout, self.account):
            raise Refused(
                f"{place.path} was written by `export {before[0]}` in the layout {before[1]}",
                hint="go on with that, or give another folder",
            )
        if not all(map(_is_below, made)):
            raise Damaged(
                f"the record of {place.path} names other folders", hint="export into another folder"
            )
        self.made = made

    def write(self, place: Place) -> None:
        found = {
            "version": VERSION,
            "kind": self.kind,
            "layout": self.layout,
            "account": self.account,
            "made": {path: _plain(made) for path, made in sorted(self.made.items())},
        }
        place.write(self.name, [json.dumps(found, indent=1).encode() + b"\n"])


def _is_below(path: str) -> bool:
    """Whether it can be that of a folder or file of the export: who owns the folder may have written it."""
    try:
        whole = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return whole and (not path or not {"", ".", ".."}.intersection(path.split("/")))


def _plain(made: Made) -> dict[str, Any]:
    plain: dict[str, Any] = {"mailbox": f"{made.mailbox:016x}"}
    return plain | {"of": made.of, "octets": made.octets, "mtime": made.mtime} if made.of else plain


def _made(found: dict[str, Any]) -> Made:
    made = Made(int(found["mailbox"], 16), found.get("of", ""), found.get("octets", 0), found.get("mtime", 0))
    if not (isinstance(made.of, str) and isinstance(made.octets, int) and isinstance(made.mtime, int)):
        raise TypeError("a mailbox of another form")
    return made
