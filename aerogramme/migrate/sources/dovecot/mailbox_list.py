"""Dovecot's index of mailboxes, `dovecot.list.index`: names, and what the index of each is about.

A record is one level of a name; it points to the level above. In most layouts this only saves Dovecot to look
into folders. With LAYOUT=index the names are nowhere else: folders are called by GUIDs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from aerogramme.mailbox.names import MAX_DEPTH
from aerogramme.migrate.sources.dovecot.records import Broken, Extension, Records

LIST, STATUS = b"list", b"msgs"
WANTED = (LIST, STATUS)

_MOST = 200_000  # mailboxes

_NONEXISTENT, _NO_SELECT = 0x04, 0x10  # in the places of \Deleted and \Draft


@dataclass(frozen=True, slots=True)
class Listed:
    """A mailbox that can be selected.

    levels       of its name, as they are spelled in the store
    guid         16 octets; zeros if it is not known (nor is the rest)
    uidvalidity  0 if it is not known; uidnext too
    """

    levels: tuple[bytes, ...]
    guid: bytes
    uidvalidity: int
    uidnext: int


def listed(records: Records) -> list[Listed]:
    """All mailboxes of such an index. Broken if it cannot be one."""
    extension = records.extension(LIST)
    if extension is None:
        return []
    if len(records.uids) > _MOST:
        raise Broken(f"there are more than {_MOST:,} mailboxes")
    names = dict(_names(extension, records))
    rows = list(records.column(extension, "II16sI"))
    status = records.extension(STATUS)
    uidnexts = [0] * len(rows)
    if status is not None and status.column >= 16:
        uidnexts = [uidnext for _, _, _, uidnext in records.column(status, "IIII")]
    nodes = {uid: (row[0], row[1]) for uid, row in zip(records.uids, rows, strict=True)}
    found = []
    for uid, flags, (_, _, guid, uidvalidity), uidnext in zip(
        records.uids, records.flags, rows, uidnexts, strict=True
    ):
        if not flags & (_NONEXISTENT | _NO_SELECT):
            levels = tuple(_levels(uid, nodes, names))[::-1]
            found.append(Listed(levels, _octets(guid), uidvalidity, uidnext))
    return found


def _octets(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def _levels(uid: int, nodes: dict[int, tuple[int, int]], names: dict[int, bytes]) -> Iterator[bytes]:
    for _ in range(MAX_DEPTH + 1):
        if uid not in nodes:
            raise Broken(f"there is no level {uid}")
        name, uid = nodes[uid]
        if name not in names:
            raise Broken(f"there is no name {name}")
        yield names[name]
        if not uid:
            return
    raise Broken("a name has no end")


def _names(extension: Extension, records: Records) -> Iterator[tuple[int, bytes]]:
    """Names by number: an octet that says whether it is to be made anew, then numbers and names with NUL."""
    header = bytes(extension.header)
    at = 1
    while len(header) - at > 4:
        number = int.from_bytes(header[at : at + 4], records.order)
        end = header.find(b"\0", at + 4)
        if not number or end < 0:
            return
        yield number, header[at + 4 : end]
        at = end + 1
