"""The mailboxes of a server: all that LIST says at once (RFC 5258, 5819, 6154), or else in several steps."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from aerogramme.errors import Unreadable
from aerogramme.mailbox.names import INBOX, ROLES
from aerogramme.migrate.sources.imap.answers import Done, Listed, Namespaces, listed, namespaces, status
from aerogramme.migrate.sources.imap.connection import Connection, Text
from aerogramme.migrate.sources.imap.opening import ended, examine
from aerogramme.migrate.sources.naming import Naming, shown
from aerogramme.migrate.sources.source import Fault, Folder

MAX_FOLDERS: Final = 200_000
_MAX_LISTED: Final = 64 << 20  # octets of all that LIST says: 200,000 names with attributes
_AT_ONCE: Final = 20  # STATUS commands that are on their way
_ITEMS: Final = b"(UIDVALIDITY UIDNEXT)"

# RFC 6154 §2, RFC 8457 §3: these show messages of other mailboxes again.
VIEWS: Final = {b"\\all": "\\All", b"\\flagged": "\\Flagged", b"\\important": "\\Important"}
# What Gmail calls them among the labels of a message, whatever their mailbox is called.
_OF_THE_SYSTEM: Final = {"\\Sent": {b"sent"}, "\\Drafts": {b"draft", b"drafts"}}
_ROLES: Final = {role.lower().encode(): role for role in ROLES}


@dataclass(slots=True)
class Listing:
    """The mailboxes of a server.

    folders  as Source.folders gives them
    spelled  the name of a folder here -> as the server spells it
    elsewhere  name of a folder -> labels (`label_key`) whose messages are in other folders too, and are left
               out in this one
    """

    folders: list[Folder] = field(default_factory=list)
    spelled: dict[str, bytes] = field(default_factory=dict)
    elsewhere: dict[str, frozenset[bytes]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


async def list_all(connection: Connection, naming: Naming, *, views: bool = False) -> Listing:
    """Asks for all mailboxes of the user.

    naming  the separator, the encoding and, if none is given, the prefix are taken from what the server says
    views   mailboxes that show messages of others again, too

    Raises Fallen; Unreadable if the server does not list.
    """
    listing = Listing()
    spaces = await _namespaces(connection)
    said = _Said()
    await _list(connection, said)
    labels = connection.knows(b"X-GM-EXT-1")
    found = _wanted(said.listed.values(), spaces, listing.faults, views=views, labels=labels)
    roles = {each.name: role for each in found if (role := _role(each))}
    archive = next((name for name, role in roles.items() if role == "\\All"), None) if labels else None
    if archive is not None and not views:
        roles[archive] = "\\Archive"
    names = _naming(connection, naming, spaces, said.listed.values()).names(
        [each.name for each in found], roles
    )
    listing.faults += names.faults
    await _ask_status(connection, [each.name for each in found if each.name not in said.numbers], said)
    for each in found:
        numbers = said.numbers.get(each.name)
        if numbers is None:
            why = said.refused.get(each.name, "the server says nothing about it")
            listing.faults.append(Fault(shown(each.name), why, "it is left out", lost=True))
            continue
        name = names.of[each.name]
        listing.spelled[name] = each.name
        if each.name == archive and not views:
            listing.elsewhere[name] = _labels(found, archive)
            numbers = {}  # a message with any UID may come into it, or go: they cannot be kept
        listing.folders.append(
            Folder(
                name=name,
                origin=shown(each.name),
                uidvalidity=_uid(numbers.get(b"UIDVALIDITY", 0)),
                uidnext=_uid(numbers.get(b"UIDNEXT", 0)),
                role=names.roles.get(name),
                subscribed=None if said.subscribed is None else each.name in said.subscribed,
            )
        )
    listing.folders.sort(key=lambda folder: (folder.name != INBOX, folder.name.split("/")))
    return listing


@dataclass(slots=True)
class _Said:
    """What the server said so far, by its own spelling."""

    listed: dict[bytes, Listed] = field(default_factory=dict)
    subscribed: set[bytes] | None = None
    numbers: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    refused: dict[bytes, str] = field(default_factory=dict)
    octets: int = 0

    def hear_list(self, text: bytes) -> None:
        """An answer to LIST."""
        if (found := listed(text)) is not None:
            self.octets += len(text)
            name = _spelled(found.name)
            self.listed[name] = replace(found, name=name)
            if len(self.listed) > MAX_FOLDERS or self.octets > _MAX_LISTED:
                raise Unreadable(f"there are more than {MAX_FOLDERS:,} mailboxes, or names without end")
        else:
            self.hear_status(text)

    def hear_status(self, text: bytes) -> None:
        """An answer to STATUS."""
        if (told := status(text)) is not None and _spelled(told[0]) in self.listed:
            self.numbers[_spelled(told[0])] = told[1]

    def hear_lsub(self, text: bytes) -> None:
        """An answer to LSUB. \\Noselect: only something below is subscribed (RFC 3501 §6.3.9)."""
        if (found := listed(text)) is not None and b"\\noselect" not in found.attributes:
            assert self.subscribed is not None
            if (name := _spelled(found.name)) in self.listed:
                self.subscribed.add(name)


def _spelled(name: bytes) -> bytes:
    return INBOX.encode() if name.upper() == INBOX.encode() else name  # RFC 3501 §5.1


async def _namespaces(connection: Connection) -> Namespaces:
    found = Namespaces()

    def hear(text: bytes) -> None:
        nonlocal found
        found = namespaces(text) or found

    if connection.knows(b"NAMESPACE"):
        await connection.command(b"NAMESPACE", each=hear)
    return found


async def _list(connection: Connection, said: _Said) -> None:
    everything = connection.knows(b"IMAP4REV2")
    extended = everything or connection.knows(b"LIST-EXTENDED")
    returned = [b"SUBSCRIBED"] if extended else []
    if everything or connection.knows(b"SPECIAL-USE"):
        returned.append(b"SPECIAL-USE")
    if everything or connection.knows(b"LIST-STATUS"):
        returned.append(b"STATUS " + _ITEMS)
    how: Done | None = None
    if extended:
        # A name that begins with none of them is not asked for with "": RFC 5258 §6 has no other way.
        how = await connection.command(
            b'LIST "" "*" RETURN (' + b" ".join(returned) + b")", each=said.hear_list
        )
    if how is None or how.status == "BAD":
        # Without LIST-EXTENDED, a server with SPECIAL-USE may tell the attributes all the same (RFC 6154 §2).
        extended = False
        said.listed.clear()
        how = await connection.command(b'LIST "" "*"', each=said.hear_list)
    if not how.ok:
        raise Unreadable(f"{connection.host} does not list its mailboxes: {how.words or how.code}")
    if extended:
        said.subscribed = {name for name, each in said.listed.items() if b"\\subscribed" in each.attributes}
        return
    said.subscribed = set()
    if not (await connection.command(b'LSUB "" "*"', each=said.hear_lsub)).ok:
        said.subscribed = None


def _wanted(
    found: Iterable[Listed], spaces: Namespaces, faults: list[Fault], *, views: bool, labels: bool
) -> list[Listed]:
    """Those that are the user's own, and hold messages. Faults tell which others there are.

    labels  the server tells in which mailboxes a message is (Gmail), so that of All Mail those can be taken
            that are in no other one: what was archived
    """
    own = [prefix for prefix, _ in spaces.personal]
    foreign = [prefix for prefix, _ in (*spaces.others, *spaces.shared) if prefix and prefix not in own]
    wanted = []
    elsewhere: dict[bytes, int] = {}
    for each in found:
        if each.attributes & {b"\\noselect", b"\\nonexistent"}:
            continue
        home = _longest(each.name, own)
        away = _longest(each.name, foreign)
        if away is not None and (home is None or len(away) > len(home)):
            elsewhere[away] = elsewhere.get(away, 0) + 1
            continue
        view = next((role for role in VIEWS if role in each.attributes), None)
        if view is not None and not views:
            what = f"it is {VIEWS[view]}: it shows messages of other mailboxes again"
            if view != b"\\all" or not labels:
                faults.append(Fault(shown(each.name), what, "it is left out"))
                continue
            faults.append(Fault(shown(each.name), what, "only those that are in no other one are taken over"))
        wanted.append(each)
    for prefix, count in elsewhere.items():
        what = f"{count:,} mailboxes below it are of other users, or shared"
        faults.append(Fault(shown(prefix), what, "they are left out"))
    return wanted


def _longest(name: bytes, prefixes: Iterable[bytes]) -> bytes | None:
    return max((each for each in prefixes if name.startswith(each)), key=len, default=None)


def _naming(connection: Connection, naming: Naming, spaces: Namespaces, found: Iterable[Listed]) -> Naming:
    """How this server spells names."""
    prefix = naming.prefix
    if not prefix and spaces.personal:
        prefix = spaces.personal[0][0].decode("latin-1")
    separators = [each.separator for each in found if each.separator]
    separator = separators[0][:1].decode("latin-1") if separators else ""
    if not prefix.isascii() or not separator.isascii():
        raise Unreadable(f"{connection.host} names its mailboxes in a way that is not known here")
    return replace(naming, separator=separator, prefix=prefix, utf8=b"UTF8=ACCEPT" in connection.enabled)


def label_key(label: bytes) -> bytes:
    """A label of Gmail, or the name of a mailbox, so that they can be compared. Those of the system have a
    backslash or two."""
    return label.lstrip(b"\\").lower()


def _labels(found: Iterable[Listed], archive: bytes) -> frozenset[bytes]:
    """The labels whose messages are in one of these mailboxes, too."""
    labels = {b"inbox"}
    for each in found:
        if each.name != archive:
            labels.add(label_key(each.name))
            labels |= _OF_THE_SYSTEM.get(_role(each) or "", set())
    return frozenset(labels)


def _role(each: Listed) -> str | None:
    return next((role for attribute, role in _ROLES.items() if attribute in each.attributes), None)


def _uid(number: int) -> int:
    return number if number < 1 << 32 else 0


async def _ask_status(connection: Connection, names: list[bytes], said: _Said) -> None:
    """STATUS for each, many on their way at once, and EXAMINE where STATUS is refused."""
    waiting: deque[tuple[bytes, bytes]] = deque()
    refused: list[bytes] = []

    def note(name: bytes, how: Done) -> None:
        if not how.ok:
            refused.append(name)

    async def finish() -> None:
        tag, name = waiting.popleft()
        note(name, await connection.finish(tag, said.hear_status))

    for name in names:
        if connection.waits_for(Text(name)):
            while waiting:
                await finish()
            note(name, await ended(connection, b"STATUS ", name, b" " + _ITEMS, said.hear_status))
            continue
        if len(waiting) >= _AT_ONCE:
            await finish()
        waiting.append((await connection.send(b"STATUS ", Text(name), b" " + _ITEMS), name))
    while waiting:
        await finish()
    for name in refused:
        try:
            opened = await examine(connection, name)
        except Unreadable as error:
            said.refused[name] = str(error)
        else:
            said.numbers[name] = {b"UIDVALIDITY": opened.uidvalidity, b"UIDNEXT": opened.uidnext}
