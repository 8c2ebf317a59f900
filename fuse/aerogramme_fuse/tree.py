"""What there is to see: the folders, files and names of a mounted account, their numbers and contents.

It knows nothing of pyfuse3, and nothing is kept of messages but what their names need: all is asked of the
account's state when it is asked for here. Inode numbers are message ids, and for all else hashes: so they are
the same at every mount.

A message without flags is in new/, any other in cur/; one that a program has moved to cur/ without a flag
stays there while the account is mounted.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain

import trio

from aerogramme.errors import NoSuchMailbox
from aerogramme.log.clock import ms_of
from aerogramme.log.state import State
from aerogramme.log.table import Table
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.names import INBOX
from aerogramme.maildir import (
    PARTS,
    FileName,
    Layout,
    base_name,
    flags_of,
    host_of,
    letters_of,
    levels_of,
    parse,
    subscriptions_file,
    uidlist_head,
    uidlist_line,
)
from aerogramme_fuse.given import Given
from aerogramme_fuse.listing import (
    LISTED,
    Chunk,
    Files,
    Listing,
    ListingVersion,
    Span,
    chunk_of,
    made_of,
    spans_of,
)
from aerogramme_fuse.sizes import Sizes

ROOT = 1  # the inode that FUSE begins with
AT_ONCE = 8  # chunks that are named in a row: a few milliseconds


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory. `part`: "cur", "new", "tmp" of a mailbox, or "" for the folder of the mailbox, or of a
    name that is only a level of others (`mailbox` is None)."""

    inode: int
    mailbox: int | None
    part: str
    name: str  # of the mailbox


@dataclass(frozen=True, slots=True)
class Made:
    """A file that is made of what the account knows."""

    inode: int
    mailbox: int
    what: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a file."""

    inode: int
    mailbox: int
    row: int


Node = Folder | Made | Message
Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Attributes:
    """What stat(2) tells. Times in nanoseconds since 1970."""

    inode: int
    folder: bool
    size: int
    mtime: int
    ctime: int


class Tree:
    """The view of one account."""

    def __init__(self, account: Account, layout: Layout = "maildir++") -> None:
        self.account = account
        self.layout = layout
        self.host = host_of(account.id)
        self.given = Given(account)
        self.sizes = Sizes(account)
        self._listings: dict[int, Listing] = {}
        self._naming: dict[int, trio.Lock] = {}  # mailbox -> who makes its listing
        self.gone: set[tuple[int, bytes]] = set()  # folder, name: what nobody finds there any more
        self.changed: set[int] = set()  # folders that have other names in them now
        self._versions: dict[int, int] = {}  # of the mailboxes, when they were last looked at
        self._state: State | None = None
        self._state_version = 0  # of the state when folders were last looked at
        self._names: Mapping[str, int] | None = None
        self._found = 0  # the mailbox in which a message was last found: the next one is probably there too
        self._nodes: dict[int, Folder | Made] = {}
        self._children: dict[int, dict[str, int]] = {}

    @property
    def version(self) -> Version:
        """Another one with each change of what there is to see."""
        return self.account.state.version, self.given.moves

    # --- folders

    def _fresh(self) -> None:
        """The folders are those of the mailboxes that there are now."""
        state = self.account.state
        if state is self._state and state.version == self._state_version:
            return
        self._state, self._state_version = state, state.version
        names = state.names
        if names is self._names:
            return
        before = self._children
        self._names, self._nodes, self._children = names, {}, {}
        self._make_folders(names)
        for inode in before.keys() & self._children.keys():
            was, now = before[inode].items(), self._children[inode].items()
            if was != now:
                self.gone.update((inode, os.fsencode(name)) for name, _ in was - now)
                self.changed.add(inode)

    def _make_folders(self, names: Mapping[str, int]) -> None:
        self._folder(ROOT, names[INBOX], INBOX)
        for name, mailbox in sorted(names.items()):
            if name == INBOX:
                continue
            parent, above = ROOT, ""
            levels = levels_of(name, self.layout)
            for n, level in enumerate(levels):
                above = f"{above}/{level}" if above else level
                last = n == len(levels) - 1
                inode = _number("mailbox", mailbox) if last else _number("above", above)
                known = self._children[parent].get(level)
                if known is None or last:
                    if known is not None:  # it was a level of others, and is a mailbox besides
                        self._children[inode] = self._children.pop(known)
                        del self._nodes[known]
                    self._children[parent][level] = inode
                    self._folder(inode, mailbox if last else None, name if last else "")
                    known = inode
                parent = known

    def _folder(self, inode: int, mailbox: int | None, name: str) -> None:
        self._nodes[inode] = Folder(inode, mailbox, "", name)
        children = self._children.setdefault(inode, {})
        if mailbox is None:
            return
        for part in PARTS:
            children[part] = _number(part, mailbox)
            self._nodes[children[part]] = Folder(children[part], mailbox, part, name)
        made = ["dovecot-uidlist", "dovecot-keywords", ".uidvalidity"]
        made += (
            ["subscriptions"] if inode == ROOT else ["maildirfolder"] if self.layout == "maildir++" else []
        )
        for what in made:
            children[what] = _number(what, mailbox)
            self._nodes[children[what]] = Made(children[what], mailbox, what)

    def folder_of(self, name: str) -> Folder:
        """The folder of a mailbox. Raises KeyError."""
        self._fresh()
        if name == INBOX:
            inode = ROOT
        else:
            inode = _number("mailbox", self.account.state.names[name])
        node = self._nodes[inode]
        assert isinstance(node, Folder)
        return node

    async def catch_up(self) -> None:
        """All that was shown is looked at anew: then `gone` and `changed` say what is not so any more. Raises
        Unavailable."""
        self._fresh()
        shown = set(self.account.state.names.values())
        for mailbox in list(self._listings):
            if mailbox in shown:
                await self.listing(mailbox)
            else:
                del self._listings[mailbox]
        for mailbox in shown:  # listed or not: who waits for mail may only look at the time of a folder
            version = self.table(mailbox).version
            if self._versions.get(mailbox) != version:
                self._versions[mailbox] = version
                self.changed.update(_number(part, mailbox) for part in LISTED)
                self.changed.add(
                    ROOT if mailbox == self.account.state.names[INBOX] else _number("mailbox", mailbox)
                )

    def children(self, folder: Folder) -> Mapping[str, int]:
        """What is in a folder, but for messages: names and inode numbers."""
        self._fresh()
        return self._children.get(folder.inode, {})

    def path_of(self, folder: Folder) -> list[str]:
        """The folders on the way to one."""
        for inode, children in self._children.items():
            for name, child in children.items():
                if child == folder.inode:
                    above = self._nodes[inode]
                    assert isinstance(above, Folder)
                    return [name] if inode == ROOT else [*self.path_of(above), name]
        return []

    # --- nodes

    def node(self, inode: int) -> Node | None:
        """What has this number now; None if it has gone."""
        self._fresh()
        known = self._nodes.get(inode)
        if known is not None:
            return known
        inode = self.given.number(inode)
        state = self.account.state
        names = (self._names or {}).values()
        for mailbox in (self._found, *names) if self._found in names else names:
            row = state.tables[mailbox].row_of_id(inode)
            if row is not None:
                self._found = mailbox
                return Message(inode, mailbox, row)
        return None

    async def lookup(self, folder: Folder, name: str) -> Node | None:
        """What has this name in a folder. Raises Unavailable."""
        self._fresh()
        inode = self._children.get(folder.inode, {}).get(name)
        if inode is not None:
            return self._nodes[inode]
        if folder.mailbox is None or folder.part not in LISTED:
            return None
        said = parse(name)
        message = self.given.named(folder.mailbox, said.base) or said.message
        table = self.table(folder.mailbox)
        row = None if message is None else table.row_of_id(message)
        if message is None or row is None:
            return None
        await self.listing(folder.mailbox)  # of what was looked up, changes are told to the kernel
        row = table.row_of_id(message)
        if row is None:
            return None
        part, real = self.place(table, row)
        if self._letters(said) != parse(real).letters:
            return None  # it has other flags now, and so another name
        # neomutt delivers flagged mail into new/, and sets its time there.
        if part != folder.part and not (folder.part == "new" and self.given.is_found_in_new(message)):
            return None
        if said.message == message and said.base != parse(real).base:
            return None
        return Message(message, folder.mailbox, row)

    def _letters(self, said: FileName) -> str:
        """Those of a name that mean something, in their order: a program may have named a file otherwise."""
        keywords = self.given.keywords()
        return letters_of(flags_of(said.letters, keywords), keywords)

    def table(self, mailbox: int) -> Table:
        return self.account.state.tables[mailbox]

    def place(self, table: Table, row: int) -> tuple[str, str]:
        """Where a message is, cur or new, and its name. Its lines must be known."""
        flags = self.account.flags_of(table.flags[row])
        base = self.base(table, row)
        if not flags and table.ids[row] not in self.given.in_cur:
            return "new", base
        return "cur", f"{base}:2,{letters_of(flags, self.given.keywords())}"

    def has_name(self, node: Message, name: str) -> bool:
        """Whether a file that is there is listed under this name."""
        table = self.table(node.mailbox)
        row = table.row_of_id(node.inode)
        return row is not None and self.place(table, row)[1] == name

    def base(self, table: Table, row: int) -> str:
        content, size = table.contents[row], table.sizes[row]
        file, wide = size - self.sizes.lines(table.mailbox, content), self.sizes.wide(content, size)
        return base_name(table.dates[row], table.ids[row], self.host, file, wide, table.uids[row])

    # --- listing

    def _version(self, table: Table) -> ListingVersion:
        return table.version, self.given.moves, *self.given.keywords()

    async def listing(self, mailbox: int) -> Listing:
        """The files of cur/ and new/. What has changed since it was last asked for is made anew, no more.
        Raises Unavailable."""
        before = self._listings.get(mailbox)
        if before is not None and before.version == self._version(self.table(mailbox)):
            return before
        async with self._naming.setdefault(mailbox, trio.Lock()):  # who comes second finds it done
            return await self._list(mailbox)

    async def _list(self, mailbox: int) -> Listing:
        before, table = self._listings.get(mailbox), self.table(mailbox)
        chunks = dict(before.chunks) if before is not None else {}
        while True:
            version, keywords = self._version(table), self.given.keywords()
            if before is not None and before.version == version:
                return before
            spans = list(spans_of(table))
            stale = [
                (number, start, stop)
                for number, start, stop in spans
                if number not in chunks
                or chunks[number].made_of != made_of(table, start, stop, self.given.in_cur, keywords)
            ]
            some = (table.contents[start:stop] for _, start, stop in stale)
            await self.sizes.learn(mailbox, chain.from_iterable(some))
            if await self._name(table, version, stale, chunks):
                break
        listing = Listing(version, {number: chunks[number] for number, _, _ in spans})
        self._listings[mailbox] = listing
        if before is not None:
            for part in LISTED:
                folder = _number(part, mailbox)
                gone, changed = listing.since(before, part)
                self.gone.update((folder, name) for name in gone)
                if changed:
                    self.changed.add(folder)
        return listing

    async def _name(
        self, table: Table, version: ListingVersion, spans: Sequence[Span], chunks: dict[int, Chunk]
    ) -> bool:
        """Puts the chunks of these spans to the others, if the mailbox stays at a version meanwhile."""
        keywords = self.given.keywords()
        for n, (number, start, stop) in enumerate(spans):
            if self._version(table) != version:
                return False
            chunks[number] = chunk_of(table, start, stop, self.sizes, self.host, self.given.in_cur, keywords)
            if n % AT_ONCE == AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        return self._version(table) == version

    async def files(self, folder: Folder) -> list[Files]:
        """The messages in cur/ or new/; none are in other folders. Raises Unavailable."""
        self._fresh()
        if folder.mailbox is None or folder.part not in LISTED:
            return []
        return (await self.listing(folder.mailbox)).files(folder.part)

    # --- attributes and contents

    async def attributes(self, node: Node) -> Attributes:
        """Raises NoSuchMailbox when it has gone, Unavailable."""
        if isinstance(node, Message):
            table = self.table(node.mailbox)
            await self.sizes.learn(node.mailbox, [table.contents[node.row]])
            row = table.row_of_id(node.inode)
            if row is None:
                raise NoSuchMailbox("the message has gone")  # just now
            return self.attributes_of(table, row)
        when = 0
        if node.mailbox is not None and (table := self.table(node.mailbox)) is not None:
            when = max(1_000_000 * ms_of(table.highestmodseq), self.given.moved_at(node.mailbox))
        if isinstance(node, Made):
            if node.what == "dovecot-keywords":  # those of all mailboxes
                when = max(when, 1_000_000 * ms_of(max(self.account.state.flagsets.first_use)))
            return Attributes(node.inode, False, len(await self.made(node)), when, when)
        return Attributes(node.inode, True, 0, when, when)

    def attributes_of(self, table: Table, row: int) -> Attributes:
        """Those of a message whose lines are known. Changes of flags change the name: so ctime is that of the
        last change."""
        size = table.sizes[row] - self.sizes.lines(table.mailbox, table.contents[row])
        changed = 1_000_000 * ms_of(table.modseqs[row])
        return Attributes(table.ids[row], False, size, table.dates[row] * 1_000_000_000, changed)

    def content_of(self, node: Message) -> int:
        """What a message has in it: it can be read for a while also when the message has gone."""
        return self.table(node.mailbox).contents[node.row]

    async def made(self, node: Made) -> bytes:
        """The content of a file that is made. Raises Unavailable."""
        table = self.table(node.mailbox)
        match node.what:
            case "dovecot-uidlist":
                await self.sizes.learn(node.mailbox, table.contents)
                head = uidlist_head(table.uidvalidity, table.uidnext, node.mailbox)
                lines = (uidlist_line(table.uids[n], self.base(table, n)) for n in range(len(table)))
                return (head + "".join(lines)).encode()
            case "dovecot-keywords":
                return "".join(f"{n} {name}\n" for n, name in enumerate(self.given.keywords())).encode()
            case "subscriptions":
                return subscriptions_file(sorted(self.account.state.subscribed))
            case ".uidvalidity":  # mbsync's
                return f"{table.uidvalidity}\n{table.uidnext - 1}\n".encode()
            case _:
                return b""


def _number(*of: object) -> int:
    """An inode number for something that has none of its own."""
    return int.from_bytes(blake2b(repr(of).encode(), digest_size=8).digest(), "big") | 1 << 63
