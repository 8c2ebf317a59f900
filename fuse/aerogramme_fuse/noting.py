"""What programs write into the files that are made: which letters Dovecot takes for keywords, subscriptions,
and the UID that mbsync wants for the letter that it brings next. All else in them the account knows better.

While a program has such a file open, and has written, it finds there what it wrote.
"""

import logging
import re
from itertools import count, takewhile

from aerogramme.errors import AlreadyExists, TooLarge
from aerogramme.imap import mutf7
from aerogramme.mailbox.names import DELIMITER
from aerogramme.maildir import KEYWORDS, flags_of
from aerogramme_fuse.tree import Folder, Made, Tree

log = logging.getLogger(__name__)

MAX_NOTE = 16 * 1024 * 1024  # octets: a list of 100,000 UIDs has half of it

_KEYWORD = re.compile(r"^(\d{1,9}) ([^\s(){}%*\"\\\]\x00-\x1f\x7f-\U0010ffff]+)$", re.MULTILINE)
_HIGHEST = re.compile(rb"\d+\n(\d{1,10})\n")  # .uidvalidity: UIDVALIDITY, and the highest UID that was given
_UID = re.compile(r",U=(\d+)")


class Noting:
    """Takes notice of what is written there."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._written: dict[int, bytearray] = {}  # inode -> what the file is to those who write it
        self._writers: dict[int, set[int]] = {}  # inode -> their handles
        self._letters: dict[int, dict[int, str]] = {}  # mailbox -> message -> letters of no keyword yet
        self._wanted: dict[int, set[int]] = {}  # mailbox -> UIDs of letters that mbsync brings

    def size(self, inode: int) -> int | None:
        """The octets of a file that somebody is writing."""
        written = self._written.get(inode)
        return None if written is None else len(written)

    def read(self, inode: int, handle: int) -> bytearray | None:
        """What somebody reads who has written."""
        return self._written[inode] if handle in self._writers.get(inode, ()) else None

    async def truncate(self, node: Made, handle: int, size: int) -> None:
        """Raises TooLarge, Unavailable."""
        written = await self._open(node, handle, size)
        del written[size:]
        written.extend(bytes(size - len(written)))
        self._notice(node, written)

    async def write(self, node: Made, handle: int, at: int, data: bytes) -> None:
        """Raises TooLarge, Unavailable."""
        written = await self._open(node, handle, at + len(data))
        written.extend(bytes(max(0, at - len(written))))
        written[at : at + len(data)] = data
        self._notice(node, written)

    def _notice(self, node: Made, written: bytearray) -> None:
        """mbsync has the file open while it brings letters, one after another."""
        if node.what == ".uidvalidity" and (found := _HIGHEST.fullmatch(written)):
            self._wanted.setdefault(node.mailbox, set()).add(int(found[1]))

    async def _open(self, node: Made, handle: int, size: int) -> bytearray:
        if size > MAX_NOTE:
            raise TooLarge("a file that is made does not become so large")
        self._writers.setdefault(node.inode, set()).add(handle)
        if node.inode not in self._written:
            self._written[node.inode] = bytearray(await self._tree.made(node))
        return self._written[node.inode]

    async def close(self, node: Made, handle: int) -> None:
        """Raises what `take` does."""
        writers = self._writers.get(node.inode, set())
        writers.discard(handle)
        if not writers and (written := self._written.pop(node.inode, None)) is not None:
            del self._writers[node.inode]
            await self.take(node, bytes(written))

    async def take(self, node: Made, data: bytes) -> None:
        """What was written means something. Raises Unavailable."""
        text = data.decode(errors="replace")
        if node.what == "dovecot-keywords":
            names = {int(number): name for number, name in _KEYWORD.findall(text)}
            self._tree.given.announce([names[n] for n in takewhile(names.__contains__, count())])
            await self._set_keywords(node.mailbox)
        elif node.what == "subscriptions":
            await self._subscribe(text)

    def keep_letters(self, mailbox: int, message: int, letters: str) -> None:
        """A message was given these. Dovecot says what a new one stands for when it has given it to all that
        shall have it, while it holds its lock."""
        meant = len(self._tree.given.keywords())
        unknown = "".join(letter for letter in letters if letter in KEYWORDS[meant:])
        if unknown:
            self._letters.setdefault(mailbox, {})[message] = unknown
        else:
            self._letters.get(mailbox, {}).pop(message, None)

    def renumber(self, mailbox: int, message: int, now: int) -> None:
        """Another message has taken the place of one."""
        letters = self._letters.get(mailbox, {})
        if message in letters:
            letters[now] = letters.pop(message)

    async def _set_keywords(self, mailbox: int) -> None:
        """Letters that were given before it was said what they stand for do so from now on."""
        keywords, table = self._tree.given.keywords(), self._tree.table(mailbox)
        given: dict[tuple[str, ...], list[int]] = {}
        for message, letters in self._letters.pop(mailbox, {}).items():
            row = table.row_of_id(message)
            if row is not None and (flags := flags_of(letters, keywords)):
                given.setdefault(tuple(sorted(flags)), []).append(table.uids[row])
        for wanted, uids in given.items():
            await self._tree.account.store_flags(table, sorted(uids), "+", wanted)

    async def _subscribe(self, text: str) -> None:
        if not text.startswith("V\t2\n"):
            log.warning("subscriptions: not of a version that is known here; nothing is changed")
            return
        names = set()
        for line in filter(None, text.splitlines()[1:]):
            try:
                levels = [mutf7.decode(level.encode("ascii")) for level in line.split("\t")]
            except ValueError:
                log.warning("subscriptions: a line is no name of a mailbox")
                continue
            names.add(DELIMITER.join(levels))
        account = self._tree.account
        has = set(account.state.subscribed)
        for name in sorted(names - has):
            await account.subscribe(name)
        for name in sorted(has - names):
            await account.subscribe(name, False)

    def uid_wanted(self, folder: Folder, name: str) -> int | None:
        """The UID that a letter must get, as mbsync will know it by that. Raises AlreadyExists if another
        message has it meanwhile, which mbsync would take for that letter: it brings it with its next run."""
        assert folder.mailbox is not None
        wanted, found = self._wanted.get(folder.mailbox, set()), _UID.search(name)
        if found is None or int(found[1]) not in wanted:
            return None
        uid = int(found[1])
        wanted.discard(uid)
        if self._tree.table(folder.mailbox).uidnext > uid:
            raise AlreadyExists(f"another message got the UID {uid} meanwhile")
        return uid
