"""One mailbox as a Maildir: what is there already is looked at, and what differs is written, renamed, or
removed. All of this waits for a disk: call it in a thread."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aerogramme.log.columns import filled
from aerogramme.maildir import (
    KEYWORDS,
    PARTS,
    base_name,
    letters_of,
    parse,
    uidlist_head,
    uidlist_line,
)
from aerogramme.migrate.export.lines import UnixLines
from aerogramme.migrate.export.place import Growing, Place
from aerogramme.migrate.export.rows import Rows, is_atom
from aerogramme.migrate.export.target import Foreign

LISTED = ("cur", "new")
CHUNK = 1000  # lines of dovecot-uidlist that are made at a time
LONGEST = 1 << 20  # octets of dovecot-keywords: what is longer is none

# What Dovecot, mbsync and an export have in the folder of a mailbox besides mail.
_FILES = ("maildirfolder", ".uidvalidity", ".mbsyncstate", "maildirsize")
_PREFIXES = ("dovecot-uidlist", "dovecot-keywords", "dovecot-acl", "dovecot.index")


@dataclass(frozen=True, slots=True)
class _Where:
    """A file of a mailbox, but for what the message says: its folder, and the end of its name."""

    part: str
    info: str


class Maildir:
    """The Maildir of a mailbox. The methods in this order: `look`, `begin` for each letter that is
    `missing`, `finish`; `close` it in the end, and the place with it.

    changed, removed  see report.Exported
    without           keywords that messages have, but not in their names: there are only 26 letters
    """

    def __init__(self, place: Place, rows: Rows, host: str, *, dovecot: bool) -> None:
        self._place, self._rows, self._host = place, rows, host
        self._dovecot = dovecot  # else it is for any program
        self._parts: dict[str, Place] = {}
        self._sizes = filled("Q", 0, len(rows))
        self._wide = filled("Q", 0, len(rows))
        self._there = array("B", bytes(len(rows)))
        self._keywords: list[str] = []
        self._wanted: dict[int, _Where] = {}  # by number of flags
        self.changed = 0
        self.removed = 0
        self.without: list[str] = []
        try:
            for part in PARTS:
                self._parts[part] = place.folder(part)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for part in self._parts.values():
            part.close()
        self._place.close()

    # --- what is there

    def look(self) -> None:
        """Looks at all that is there, and names it as it should be. Raises Foreign, and then all is as it
        was; Refused, Unavailable."""
        gone: list[tuple[str, str]] = []
        moved: list[tuple[int, str, str]] = []
        foreign = 0
        self._choose_keywords()
        for part in LISTED:
            for name, size in self._parts[part].files():
                if name.startswith("."):  # maildir(5): no message
                    continue
                said = parse(name)
                if said.message is None or said.host != self._host or size < 0:
                    foreign += 1
                    continue
                row = self._rows.row_of(said.message)
                if row is None or size != said.size or self._there[row]:
                    gone.append((part, name))
                    continue
                self._there[row] = 1
                self._sizes[row], self._wide[row] = said.size, said.wide
                if not self._is_right(row, part, name):
                    moved.append((row, part, name))
        if foreign:
            raise Foreign(
                f"there {'is a message' if foreign == 1 else f'are {foreign:,} messages'} in it that "
                "the account does not know"
            )
        for part, name in gone:
            self._parts[part].remove(name)
        self.removed = len(gone)
        self._write_keywords()
        for row, part, name in moved:
            to, new = self._name(row)
            self._there[row] = self._parts[part].rename(name, self._parts[to], new)
        self.changed = len(moved)
        self._clear_tmp()

    def _clear_tmp(self) -> None:
        """What a run that was killed has begun."""
        mine = [e.name for e in self._parts["tmp"].entries() if e.name.endswith(f".{self._host}")]
        for name in mine:
            self._parts["tmp"].remove(name)

    def missing(self) -> Sequence[int]:
        """The rows of messages that are not there."""
        return array("I", (row for row, there in enumerate(self._there) if not there))

    # --- names

    def _choose_keywords(self) -> None:
        """Which keywords have letters: those that had some keep them, and then those that most have."""
        used = self._rows.keywords()
        spelled = {keyword.casefold(): keyword for keyword, _ in used}
        slots = [spelled.get(keyword.casefold(), keyword) for keyword in self._read_keywords()]
        for keyword, _ in used:
            if keyword in slots:
                continue
            if not is_atom(keyword):
                self.without.append(keyword)
                continue
            if len(slots) < len(KEYWORDS):
                slots.append(keyword)
                continue
            free = next((n for n, other in enumerate(slots) if other.casefold() not in spelled), None)
            if free is None:
                self.without.append(keyword)
            else:
                slots[free] = keyword
        self._keywords = slots
        for number, flags in self._rows.sets.items():
            part = "cur" if flags or self._dovecot else "new"
            self._wanted[number] = _Where(part, f":2,{letters_of(flags, slots)}" if part == "cur" else "")

    def _read_keywords(self) -> list[str]:
        """Those that dovecot-keywords has, from the first on; another file than Dovecot's has none."""
        raw = self._place.read("dovecot-keywords", LONGEST)
        found: list[str] = []
        for line in (raw or b"").decode(errors="replace").splitlines():
            number, _, keyword = line.partition(" ")
            if number != str(len(found)) or not keyword or len(found) == len(KEYWORDS):
                break
            found.append(keyword)
        return found

    def _write_keywords(self) -> None:
        if self._keywords:
            lines = (f"{n} {keyword}\n" for n, keyword in enumerate(self._keywords))
            self._place.write("dovecot-keywords", ["".join(lines).encode()])

    def _base(self, row: int) -> str:
        rows = self._rows
        size, wide = self._sizes[row], self._wide[row]
        return base_name(rows.dates[row], rows.ids[row], self._host, size, wide, rows.uids[row])

    def _name(self, row: int) -> tuple[str, str]:
        wanted = self._wanted[self._rows.flags[row]]
        return wanted.part, self._base(row) + wanted.info

    def _is_right(self, row: int, part: str, name: str) -> bool:
        wanted = self._wanted[self._rows.flags[row]]
        base = self._base(row)
        # A program has moved it out of new/, without a flag: so it is for it.
        seen = wanted.part == "new" and part == "cur" and name == f"{base}:2,"
        return seen or (part == wanted.part and name == base + wanted.info)

    # --- letters

    def begin(self, row: int) -> "Writing":
        """A letter that is missing, to be written in pieces."""
        rows = self._rows
        growing = self._parts["tmp"].make(f"{rows.dates[row]}.M{rows.ids[row]:x}.{self._host}")
        return Writing(self, row, growing)

    def place(self, row: int, growing: Growing, size: int, wide: int) -> None:
        """A letter that was written gets its name."""
        self._sizes[row], self._wide[row] = size, wide
        part, name = self._name(row)
        growing.finish(self._parts[part], name, self._rows.dates[row])
        self._there[row] = 1

    # --- the end

    def finish(self) -> None:
        """What says which UIDs the messages have."""
        if self._dovecot:
            self._place.write("dovecot-uidlist", self._uidlist())
        else:  # mbsync's; the names say the same
            text = f"{self._rows.uidvalidity}\n{self._rows.uidnext - 1}\n"
            self._place.write(".uidvalidity", [text.encode()])

    def _uidlist(self) -> Iterator[bytes]:
        rows = self._rows
        yield uidlist_head(rows.uidvalidity, self._uidnext(), rows.mailbox).encode()
        for start in range(0, len(rows), CHUNK):
            some = range(start, min(start + CHUNK, len(rows)))
            lines = (uidlist_line(rows.uids[row], self._base(row)) for row in some if self._there[row])
            yield "".join(lines).encode()

    def _uidnext(self) -> int:
        """Above all UIDs that were ever given, there too."""
        head = (self._place.read("dovecot-uidlist", 200) or b"").partition(b"\n")[0].split()
        if head[:2] != [b"3", b"V%d" % self._rows.uidvalidity]:
            return self._rows.uidnext
        said = next((field[1:] for field in head if field.startswith(b"N")), b"")
        return max(self._rows.uidnext, int(said) if said.isdigit() and len(said) <= 10 else 0)


class Writing:
    """A letter on its way into its file. `close` it in the end."""

    def __init__(self, maildir: Maildir, row: int, growing: Growing) -> None:
        self._maildir, self._row, self._growing = maildir, row, growing
        self._lines = UnixLines()

    def write(self, piece: bytes) -> None:
        self._growing.write(self._lines.feed(piece))

    def finish(self) -> int:
        """It is whole. Gives its octets, as they are there."""
        self._growing.write(self._lines.end())
        self._maildir.place(self._row, self._growing, self._lines.size, self._lines.wide)
        return self._lines.size

    def close(self) -> None:
        self._growing.close()


def remove(root: Place, levels: Sequence[str], host: str) -> None:
    """Removes the Maildir of a mailbox that an earlier export made, and what Dovecot has beside the mail.
    Folders of other mailboxes below it stay. Raises Foreign, and then all is as it was."""
    place = root.known(*levels)
    if place is None:
        return
    with place:
        parts = {part: folder for part in PARTS if (folder := place.known(part)) is not None}
        try:
            mail = [(part, entry.name) for part, folder in parts.items() for entry in folder.entries()]
            if any(parse(name).host != host for part, name in mail if part in LISTED):
                raise Foreign("there are messages in it that the account does not know")
            mail = [each for each in mail if each[0] in LISTED or each[1].endswith(f".{host}")]
            for part, name in mail:
                parts[part].remove(name)
        finally:
            for folder in parts.values():
                folder.close()
        for part in parts:
            place.remove_folder(part)
        files = [name for name, size in place.files() if size >= 0]
        for name in files:
            if name in _FILES or name.startswith(_PREFIXES):
                place.remove(name)
    above = root.known(*levels[:-1])
    if above is not None:
        with above:
            above.remove_folder(levels[-1])
