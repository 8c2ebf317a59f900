"""The messages of a mailbox: UIDs, flags, dates and sizes in one FETCH."""

import re
from bisect import bisect_left
from typing import Final

from aerogramme.errors import Unreadable
from aerogramme.imap.dates import parse_date_time
from aerogramme.log.flagsets import SYSTEM
from aerogramme.migrate.sources.faults import Faults
from aerogramme.migrate.sources.imap.answers import fetched, number, shown, uid
from aerogramme.migrate.sources.imap.connection import Connection
from aerogramme.migrate.sources.imap.listing import label_key
from aerogramme.migrate.sources.imap.opening import Opened, examine
from aerogramme.migrate.sources.imap.reading import Nonsense
from aerogramme.migrate.sources.source import Fault, Folder, Messages

MAX_MESSAGES: Final = 20_000_000  # of a mailbox: half a gigabyte of columns
_MAX_FLAGS_TEXT: Final = 32 << 20  # octets of all different sets of flags in a mailbox

_WHAT: Final = b"(UID FLAGS INTERNALDATE RFC822.SIZE)"
_WITH_LABELS: Final = b"(UID FLAGS INTERNALDATE RFC822.SIZE X-GM-LABELS)"  # of Gmail's X-GM-EXT-1
# The usual answer, in the order in which it was asked for; others are taken apart.
_USUAL: Final = re.compile(
    rb"\* [0-9]{1,10} FETCH \(UID ([0-9]{1,10}) FLAGS \(([^()\"{]*)\) "
    rb'INTERNALDATE "([^"\\]*)" RFC822\.SIZE ([0-9]{1,18})\)\Z'
)
_SYSTEM: Final = {flag.lower(): flag for flag in SYSTEM}


async def read(
    connection: Connection,
    folder: Folder,
    spelled: bytes,
    faults: list[Fault],
    elsewhere: frozenset[bytes] | None = None,
) -> Messages:
    """What is in a mailbox now. `elsewhere`: messages with one of these labels are left out.

    Raises Fallen; Unreadable if the mailbox cannot be opened, or was made anew.
    """
    opened = await examine(connection, spelled)
    opened.check_validity(folder)
    columns = Columns(folder.origin, elsewhere)
    exists = opened.exists  # more may come while they are told
    if exists:  # an empty one has no 1:*, and some servers say BAD
        await _fetch(connection, _WHAT if elsewhere is None else _WITH_LABELS, columns, opened)
    faults += columns.faults
    found = columns.messages()
    told = len(found.uids) + columns.left_out
    if told < exists - opened.gone:
        what = f"the server says that it has {exists - opened.gone:,} messages, and tells of {told:,}"
        faults.append(Fault(folder.origin, what, "the others are left out", lost=True))
    return found


async def _fetch(connection: Connection, what: bytes, columns: "Columns", opened: Opened) -> None:
    def hear(text: bytes) -> None:
        if not columns.hear(text):
            opened.hear(text)

    upto = b"*"
    while True:
        how = await connection.command(b"UID FETCH 1:%b %b" % (upto, what), each=hear)
        lowest = how.arguments.rpartition(b" ")[2] if how.code == "MESSAGELIMIT" else b"1"
        if not lowest.isdigit() or (upto.isdigit() and int(lowest) > int(upto)):
            raise connection.nonsense("it has told of messages that were not asked for")
        if int(lowest) <= 1:
            break
        upto = b"%d" % (int(lowest) - 1)  # RFC 9738 §3.1: the lowest UID of those that it has told
    if not how.ok and how.code != "EXPUNGEISSUED":  # RFC 5530 §3: some were removed meanwhile
        raise Unreadable(f"{connection.host} does not say what is in it: {how.words or how.code}")


class Columns:
    """Collects the answers to a FETCH."""

    def __init__(self, origin: str, elsewhere: frozenset[bytes] | None = None) -> None:
        self.faults = Faults()
        self.left_out = 0
        self._elsewhere = elsewhere
        self._origin = origin
        self._found = Messages()
        self._sorted = True
        self._flags: dict[bytes, tuple[str, ...]] = {}
        self._flags_text = 0

    def hear(self, text: bytes) -> bool:
        """Takes an answer to FETCH, and says whether it was one. Raises Nonsense, Unreadable."""
        usual = _USUAL.match(text) if self._elsewhere is None else None
        if usual is not None:
            self._add(int(usual[1]), usual[2], usual[3], int(usual[4]))
            return True
        items = fetched(text)
        if items is None:
            return False
        one, flags, date, size = (
            items.get(name) for name in (b"UID", b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE")
        )
        if one is not None and isinstance(flags, list):
            told = b" ".join(each for each in flags if isinstance(each, bytes))
            labels = items.get(b"X-GM-LABELS")
            if (
                self._elsewhere
                and isinstance(labels, list)
                and self._elsewhere & {label_key(each) for each in labels if isinstance(each, bytes)}
            ):
                self.left_out += 1
            elif size is not None:
                self._add(uid(one), told, date if isinstance(date, bytes) else b"", number(size))
            else:
                self._change(uid(one), told)
        return True  # what has no UID is news of flags that were changed just now: the next pass sees them

    def _add(self, one: int, flags: bytes, date: bytes, size: int) -> None:
        uids = self._found.uids
        if uids and one <= uids[-1]:
            self._sorted = False
        if not 0 < one < 1 << 32:
            raise Nonsense("there is no such UID")
        if len(uids) >= MAX_MESSAGES:
            raise Unreadable(f"{self._origin} has more than {MAX_MESSAGES:,} messages")
        self._found.add(one, self._date(one, date), size, self._flag_set(flags))

    def _change(self, one: int, flags: bytes) -> None:
        """News of flags."""
        uids = self._found.uids
        at = bisect_left(uids, one) if self._sorted else len(uids)
        if at < len(uids) and uids[at] == one:
            self._found.flags[at] = self._flag_set(flags)

    def _date(self, one: int, text: bytes) -> int:
        try:
            return max(0, parse_date_time(text))
        except ValueError:
            # The same in each pass: that of the message before, which came about then.
            date = self._found.dates[-1] if self._found.dates else 0
            said = f"has the date {shown(text)!r}" if text else "has no date"
            done = "it gets the date of the message before it"
            self.faults.append(Fault(self._origin, f"UID {one} {said}", done))
            return date

    def _flag_set(self, text: bytes) -> tuple[str, ...]:
        found = self._flags.get(text)
        if found is None:
            self._flags_text += len(text) + 64
            if self._flags_text > _MAX_FLAGS_TEXT:
                raise Unreadable(f"{self._origin} has too many different flags")
            found = self._flags[text] = _flags(text)
        return found

    def messages(self) -> Messages:
        """All that was heard, in the order of UIDs. What was said of one twice counts as it was said last."""
        found = self._found
        if self._sorted:
            return found
        order = sorted(range(len(found.uids)), key=lambda at: (found.uids[at], at))
        ordered = Messages()
        for here, at in enumerate(order):
            if here + 1 < len(order) and found.uids[order[here + 1]] == found.uids[at]:
                continue
            ordered.add(found.uids[at], found.dates[at], found.sizes[at], found.flags[at])
        return ordered


def _flags(text: bytes) -> tuple[str, ...]:
    """Flags as Messages has them: not \\Recent, which is of a session, nor what else has a backslash."""
    found = {}
    for flag in text.decode("latin-1").split():
        if flag[0] != "\\" or flag.lower() in _SYSTEM:
            found[flag.lower()] = _SYSTEM.get(flag.lower(), flag)
    return tuple(found.values())
