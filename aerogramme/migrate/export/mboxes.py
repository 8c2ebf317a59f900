"""The mailboxes of an account as mbox files, one each, in the form mboxrd, with what Dovecot and mutt read of
UIDs, flags and keywords in their headers.

An mbox that is not what its mailbox is by now is written anew, and takes the place of the old one when it is
whole: what has gone into it stands in the record of the export.
"""

import re
import time
from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b

from aerogramme.log.state import State
from aerogramme.mailbox.names import INBOX
from aerogramme.maildir import LONGEST, levels_of
from aerogramme.migrate.export.lines import Quoting, UnixLines
from aerogramme.migrate.export.place import NEW, Growing, Place
from aerogramme.migrate.export.record import Made, Record
from aerogramme.migrate.export.rows import Rows, is_atom
from aerogramme.migrate.export.target import Foreign

ENDING = ".mbox"
ROOM = LONGEST - len(ENDING + NEW) - 4  # octets of a name before that, and a few "_"

# What readers of an mbox take for their own in the header of a message. A letter that has such a line, from
# an mbox that it was once in, loses it, as it does when Dovecot puts it into one.
_OWN = re.compile(
    rb"^(?:status|x-status|x-keywords|x-uid|x-imap|x-imapbase|content-length)"
    rb"[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
_STATUS = {"\\Answered": "A", "\\Flagged": "F", "\\Draft": "T", "\\Deleted": "D"}
SETTLE = 2.0  # seconds after which mboxes that are whole get their names: the record is written for that


class Mboxes:
    """A tree of folders: mailbox a/b is the file b.mbox in the folder a.

    A kill at any moment leaves of each mbox the old one or the new one, and a record that knows which: what
    is written is named `….new`, then stands in the record, and then gets its name.
    """

    def __init__(self, root: Place, state: State, record: Record) -> None:
        self._root, self._record = root, record
        self._paths: dict[str, list[str]] = {}
        self._whole: list[list[str]] = []
        self._settled = time.monotonic()
        self.renamed: dict[str, str] = {}
        self.needs: list[str] = []
        levels = {name: levels_of(name, "fs") if name != INBOX else [INBOX] for name in state.names}
        taken = {tuple(each[:n]) for each in levels.values() for n in range(1, len(each))}
        for name in sorted(levels):
            *above, level = levels[name]
            file = _short(level)
            while (path := (*above, file + ENDING)) in taken:  # mailbox a, and one below a mailbox a.mbox
                file += "_"
            if file != level:
                self.renamed[name] = "/".join((*above, file))
            taken.add(path)
            self._paths[name] = list(path)

    def path_of(self, name: str) -> str:
        return "/".join(self._paths[name])

    def mailbox(self, rows: Rows, made: Made) -> "Mbox":
        path = self._paths[rows.name]
        return Mbox(self._root.folder(*path[:-1]), path[-1], rows, made, lambda: self._is_whole(path))

    def _is_whole(self, path: list[str]) -> None:
        self._whole.append(path)
        if time.monotonic() - self._settled > SETTLE:
            self._settle()

    def _settle(self) -> None:
        """Those that are whole get their names."""
        if self._whole:
            self._record.write(self._root)
        for *folders, file in self._whole:
            with self._root.folder(*folders) as place:
                place.rename(file + NEW, place, file)
        self._whole = []
        self._settled = time.monotonic()

    def remove(self, path: str) -> None:
        *folders, file = path.split("/")
        place = self._root.known(*folders)
        if place is None:
            return
        with place:
            if not _is_ours(place, file, self._record.made[path]):
                raise Foreign("it was changed since")
            place.remove(file)
        for n in range(len(folders), 0, -1):
            above = self._root.known(*folders[: n - 1])
            if above is not None:
                with above:
                    above.remove_folder(folders[n - 1])

    def finish(self) -> None:
        self._settle()


class Mbox:
    """The mbox of a mailbox. `whole` is called when its file is."""

    def __init__(self, place: Place, file: str, rows: Rows, made: Made, whole: Callable[[], None]) -> None:
        self._place, self._file, self._rows, self._made, self._call_whole = place, file, rows, made, whole
        self._growing: Growing | None = None
        self._written = 0
        self._keywords = [keyword for keyword, _ in rows.keywords() if is_atom(keyword)]
        self.changed = self.removed = 0
        self.without = [keyword for keyword, _ in rows.keywords() if not is_atom(keyword)]

    def look(self) -> None:
        if not _is_ours(self._place, self._file, self._made):
            raise Foreign("it was changed since it was written")
        status = self._place.status(self._file)
        if status is None or self._made.of != self._of():
            self._growing = self._place.make(self._file + NEW)

    def _of(self) -> str:
        """A hash of all that the file is made of."""
        rows = self._rows
        sets = sorted((flags, number) for number, flags in rows.sets.items())  # numbers are of this process
        flags = {number: n for n, (_, number) in enumerate(sets)}
        said = rows.uidvalidity, rows.uidnext, [flags for flags, _ in sets]
        seen = blake2b(repr(said).encode(), digest_size=16)
        numbers = array("I", map(flags.__getitem__, rows.flags))
        for column in (rows.uids, rows.ids, numbers, rows.dates, rows.contents):
            seen.update(column.tobytes())
        return seen.hexdigest()

    def missing(self) -> Sequence[int]:
        return range(len(self._rows)) if self._growing is not None else ()

    def begin(self, row: int) -> "Writing":
        assert self._growing is not None
        return Writing(self._growing, self._head(row, first=not self._growing.octets), self._count)

    def _count(self) -> None:
        self._written += 1

    def _head(self, row: int, *, first: bool) -> bytes:
        rows = self._rows
        flags = rows.sets[rows.flags[row]]
        # RFC 4155 has UTC, and programs take what names no zone for local time. The letter says whose it is.
        lines = [f"From MAILER-DAEMON {time.asctime(time.gmtime(rows.dates[row]))} +0000"]
        if first:
            lines.append(
                " ".join([f"X-IMAPbase: {rows.uidvalidity} {rows.uidnext - 1:010d}", *self._keywords])
            )
        lines.append(f"X-UID: {rows.uids[row]}")
        lines.append("Status: RO" if "\\Seen" in flags else "Status: O")
        if status := "".join(_STATUS[flag] for flag in flags if flag in _STATUS):
            lines.append(f"X-Status: {status}")
        if keywords := [flag for flag in flags if flag in self._keywords]:
            lines.append(f"X-Keywords: {' '.join(keywords)}")
        return "".join(f"{line}\n" for line in lines).encode()

    def finish(self) -> None:
        if self._growing is None:
            return
        self._growing.settle()
        status = self._place.status(self._file + NEW)
        assert status is not None, "it was just written"
        # One in which a letter is missing is tried again.
        self._made.of = self._of() if self._written == len(self._rows) else "incomplete"
        self._made.octets, self._made.mtime = status.st_size, status.st_mtime_ns
        self._growing = None
        self._call_whole()

    def close(self) -> None:
        if self._growing is not None:
            self._growing.close()
        self._place.close()


class Writing:
    """A letter on its way into an mbox."""

    def __init__(self, growing: Growing, head: bytes, finished: Callable[[], None]) -> None:
        self._growing, self._finished = growing, finished
        self._start: int | None = growing.octets
        self._lines, self._quoting = UnixLines(), Quoting()
        self._body = False
        growing.write(head)

    def write(self, piece: bytes) -> None:
        self._write(self._lines.feed(piece))

    def _write(self, data: bytes) -> None:
        if data and not self._body:
            data = _without_own(data)  # a header that is longer than a piece was made to be: so be it
            self._body = True
        self._growing.write(self._quoting.feed(data))

    def finish(self) -> int:
        self._write(self._lines.end())
        self._growing.write(self._quoting.end() + b"\n")
        assert self._start is not None
        octets = self._growing.octets - self._start
        self._start = None
        self._finished()
        return octets

    def close(self) -> None:
        if self._start is not None:
            self._growing.cut(self._start)
            self._start = None


def _short(level: str) -> str:
    """For a name that would be too long its beginning, and a hash of it all."""
    octets = level.encode()
    if len(octets) <= ROOM:
        return level
    digest = "~" + blake2b(octets, digest_size=4).hexdigest()
    return octets[: ROOM - len(digest)].decode(errors="ignore") + digest


def _without_own(data: bytes) -> bytes:
    head, blank, body = (b"", b"", data) if data.startswith(b"\n") else data.partition(b"\n\n")
    return _OWN.sub(b"", head + blank[:1]) + blank[1:] + body


def _is_ours(place: Place, file: str, made: Made) -> bool:
    """Whether an mbox is as an export has left it, or is not there. If that was killed just before it got its
    name, it gets it now."""

    def is_as_noted(name: str) -> bool:
        status = place.status(name)
        return status is not None and (status.st_size, status.st_mtime_ns) == (made.octets, made.mtime)

    if made.of and not is_as_noted(file) and is_as_noted(file + NEW):
        place.rename(file + NEW, place, file)
    return place.status(file) is None or bool(made.of and is_as_noted(file))
