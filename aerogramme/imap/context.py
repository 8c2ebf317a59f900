"""What the commands of one session work on: who it is, what it has opened and enabled, and how news is told.

No sockets, no clock, no trio. Session (session.py) owns one Context; the handlers of the commands get it and
their command, write their untagged lines to it, and return what stands behind the tag.
"""

import os
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from aerogramme.errors import AerogrammeError, LimitReached, NoSuchMailbox, Refused, Unavailable
from aerogramme.imap.commands import Command
from aerogramme.imap.fetch import HeaderCache
from aerogramme.imap.format import flag_list, sequence_set
from aerogramme.imap.scram import ChannelBinding
from aerogramme.imap.states import State
from aerogramme.log.flagsets import SYSTEM
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.accounts import Accounts, Login
from aerogramme.mailbox.names import canonical
from aerogramme.mailbox.search_keys import SequenceSet
from aerogramme.mailbox.view import OwnChange, View
from aerogramme.tls import Tls
from aerogramme.users.directory import Directory
from aerogramme.users.salts import SECRET_SIZE, Salts


class Out(Protocol):
    """Where answers go. `write` collects; who writes much flushes when `full`, holding no lock."""

    @property
    def full(self) -> bool: ...

    def write(self, octets: bytes) -> None: ...
    async def flush(self) -> None:
        """Sends what was written. Raises HangUp when the peer is gone."""

    async def pause(self) -> None:
        """Lets the other connections have their turn."""

    def stop(self, farewell: bytes) -> None:
        """Ends the connection with these words, when the command in progress is done."""


@dataclass(frozen=True)
class Peer:
    """The other end. A password may come in the clear from this machine, or under TLS (RFC 3501 §6.2.3)."""

    host: str
    loopback: bool = False
    encrypted: bool = False

    @classmethod
    def of_host(cls, host: str) -> "Peer":
        return cls(host, loopback=_address(host).is_loopback)

    @property
    def network(self) -> str | None:
        """What counts as one place when many come from it: an IPv4 address, or the /64 that a customer has of
        IPv6. None for this machine: many come through one proxy (webmail), and one must not harm all."""
        if self.loopback:
            return None
        try:
            address = _address(self.host)
        except ValueError:
            return self.host
        return str(address) if address.version == 4 else str(ip_network((address, 64), strict=False))

    def __str__(self) -> str:
        return self.host


def _address(host: str) -> IPv4Address | IPv6Address:
    """Without the zone (`%eth0`), and IPv4 that comes as IPv6 (`::ffff:192.0.2.1`) as what it is."""
    address = ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


@dataclass
class Service:
    """What the sessions of a server share. Sizes in octets."""

    accounts: Accounts
    directory: Directory
    max_message_size: int = 50 * 1024 * 1024
    max_connections_per_user: int = 50
    plaintext_login: bool = False  # also from other machines, without TLS
    salts: Salts = field(default_factory=lambda: Salts(os.urandom(SECRET_SIZE)))
    tls: Tls | None = None
    scram: bool = True  # some programs take SCRAM where there is it, and it is for app passwords only
    connections: dict[str, int] = field(default_factory=dict)  # logged in, by account
    # While the account is open, which outlasts its sessions: clients that poll ask for the same fields each
    # time.
    header_caches: WeakKeyDictionary[Account, HeaderCache] = field(default_factory=WeakKeyDictionary)


class HangUp(AerogrammeError):
    """The connection must end as it is: the peer is gone, or what was promised to it cannot be kept."""


@dataclass(frozen=True, slots=True)
class Done:
    """What stands in the tagged OK: text, and the response code without brackets."""

    text: str
    code: bytes | None = None


Handlers = dict[type[Command], Callable[["Context", Any], Awaitable[Done]]]
"""What carries out a command; Any: each handler takes its own kind of command only."""


class Context:
    """One session's side of the server. `view` is there in the selected state, `account` once logged in."""

    def __init__(self, service: Service, peer: Peer, out: Out) -> None:
        self.service = service
        self.peer = peer
        self.out = out
        self.channel_binding: ChannelBinding | None = None  # of the TLS that the connection runs in
        self.starting_tls = False  # STARTTLS was answered OK
        self.state = State.NOT_AUTHENTICATED
        self._login: Login | None = None
        self._view: View | None = None
        self.condstore = False  # RFC 7162 §3.1: the client has shown that it knows MODSEQ
        self.qresync = False  # RFC 7162 §3.2.3: ENABLE QRESYNC; VANISHED takes EXPUNGE's place
        self._keywords: tuple[str, ...] = ()

    def may_start_tls(self) -> bool:
        """Whether STARTTLS is there now (RFC 3501 §6.2.1): once, where there is a certificate."""
        return self.service.tls is not None and not self.peer.encrypted

    def secure(self, binding: ChannelBinding | None) -> None:
        """The connection runs in TLS from here on."""
        self.peer = replace(self.peer, encrypted=True)
        self.channel_binding = binding
        self.starting_tls = False

    def may_login(self) -> bool:
        """Whether a password may be sent here: under TLS, or from this machine, or as the settings say."""
        return self.peer.encrypted or self.peer.loopback or self.service.plaintext_login

    # --- what is open

    @property
    def account(self) -> Account:
        assert self._login is not None, "the table of states lets no such command through before login"
        return self._login.account

    @property
    def view(self) -> View:
        assert self._view is not None, "the table of states lets no such command through unselected"
        return self._view

    @property
    def selected(self) -> View | None:
        return self._view

    @property
    def authenticated(self) -> bool:
        return self._login is not None

    def login(self, login: Login) -> None:
        """Takes the hold on an account that a password gave. Raises LimitReached if it has too many."""
        connections, account = self.service.connections, login.account
        count = connections.get(account.id, 0)
        if count >= self.service.max_connections_per_user:
            login.release()
            raise LimitReached("This account has too many connections")  # K-9: others are a wrong password
        connections[account.id] = count + 1
        # A client that comes back finds the account opened anew; one that stayed would hear no news.
        login.when_lost = lambda: self.out.stop(b"* BYE [UNAVAILABLE] The account was closed\r\n")
        self._login = login
        self.state = State.AUTHENTICATED

    def leave(self) -> None:
        """Undoes `login`: gives the account back, and the client can log in again."""
        login, self._login, self._view = self._login, None, None
        self.state = State.NOT_AUTHENTICATED
        if login is None:
            return
        connections, account = self.service.connections, login.account
        connections[account.id] -= 1
        if not connections[account.id]:
            del connections[account.id]
        login.release()

    def close(self) -> None:
        """Gives the account back for good. May be called at any time, also twice."""
        self.leave()
        self.state = State.LOGOUT

    def may_write(self) -> None:
        """Raises Refused if nothing may be changed with the password that this session came with."""
        assert self._login is not None
        if self._login.read_only:
            error = Refused("This password may only read")
            error.imap_code = "NOPERM"  # RFC 5530 §3
            raise error

    def may_write_selected(self) -> None:
        """Raises Refused if nothing may be changed in the selected mailbox."""
        self.may_write()
        if self.view.read_only:
            raise Refused("The mailbox was opened with EXAMINE")

    @property
    def read_only_login(self) -> bool:
        return self._login is not None and self._login.read_only

    async def refresh(self) -> None:
        """What is told of the account is as it is now, or, while the store is away, as it was when it was
        there last."""
        try:
            await self.account.refresh()
        except Unavailable:
            if not self.account.journal.settled:
                raise

    def select(self, view: View) -> None:
        self._view = view
        self._keywords = self.account.keywords()
        self.state = State.SELECTED

    def unselect(self) -> None:
        self._view = None
        self.state = State.AUTHENTICATED

    @property
    def headers(self) -> HeaderCache:
        caches = self.service.header_caches
        cache = caches.get(self.account)
        if cache is None:
            cache = caches[self.account] = HeaderCache()
        return cache

    # --- numbers

    def seqs(self, numbers: SequenceSet, *, uid: bool) -> Sequence[int]:
        """The sequence numbers that a command names, ascending. BadSyntax for one that is not there."""
        return self.view.by_uid(numbers) if uid else self.view.by_seq(numbers)

    # --- news

    async def enable_condstore(self) -> None:
        """RFC 7162 §3.1: any command that shows knowledge of MODSEQ enables CONDSTORE for the session."""
        if self.condstore:
            return
        self.condstore = True
        if self._view is not None:
            # RFC 7162 §3.1: with a mailbox selected the client needs to know where it stands.
            await self.tell(expunge=False)
            self.out.write(b"* OK [HIGHESTMODSEQ %d] CONDSTORE is on\r\n" % self._view.safe_modseq)

    async def tell(
        self, *, expunge: bool, own: OwnChange | None = None, besides: Container[int] = ()
    ) -> None:
        """Writes what is new in the selected mailbox.

        `own` is a change of flags that the command at hand made and answers itself; `besides` are sequence
        numbers whose flags it tells itself in any case.

        RFC 3501 §7.4.1: without `expunge` (FETCH, STORE, SEARCH in progress, by sequence numbers) messages
        that are gone keep their numbers.
        """
        view = self._view
        if view is None:
            return
        changes = view.sync(expunge, own=own)
        if not changes:
            return
        write = self.out.write
        if changes.expunged:
            if self.qresync:
                # RFC 7162 §3.2.10: VANISHED in place of EXPUNGE, without (EARLIER).
                write(b"* VANISHED %b\r\n" % sequence_set(changes.vanished))
            else:
                await self._in_batches(
                    changes.expunged, lambda seqs: [b"* %d EXPUNGE\r\n" % seq for seq in seqs]
                )
        if changes.exists is not None:
            write(b"* %d EXISTS\r\n" % changes.exists)
        if changes.recent is not None:
            write(b"* %d RECENT\r\n" % changes.recent)
        changed = [seq for seq in changes.changed if seq not in besides]
        if changed:
            self.tell_keywords()
            await self.tell_flags(changed, uid=False)

    def tell_held_back(self) -> None:
        """RFC 7162 §3.2: who was told a MODSEQ while an expunge is held back, or what others wrote waits for
        its consequences, must not take it for HIGHESTMODSEQ, or would never hear of the rest if the
        connection broke now."""
        view = self._view
        if view is not None and self.condstore and view.holds_back:
            self.out.write(b"* OK [HIGHESTMODSEQ %d] More will follow\r\n" % view.safe_modseq)

    def tell_keywords(self) -> None:
        """FLAGS again when keywords have come into use that the client has not heard of (RFC 3501 §7.2.6)."""
        keywords = self.account.keywords()
        if keywords != self._keywords:
            self._keywords = keywords
            self.out.write(self.flags_lines())

    def flags_lines(self) -> bytes:
        """FLAGS and PERMANENTFLAGS of the selected mailbox."""
        flags = (*SYSTEM, *self.account.keywords())
        # RFC 3501 §7.1: \\* says that new keywords can be made; nothing can be kept in a mailbox opened by
        # EXAMINE.
        permanent = b"()" if self.view.read_only else flag_list((*flags, "\\*"))
        return b"* FLAGS %b\r\n* OK [PERMANENTFLAGS %b] These flags stay\r\n" % (
            flag_list(flags),
            permanent,
        )

    async def tell_flags(self, seqs: Sequence[int], *, uid: bool) -> None:
        """FETCH with the flags of these messages as they are now, and what else the client needs to place
        them.

        `uid`: the command is a UID command (RFC 3501 §6.4.8). MODSEQ goes with it once CONDSTORE is on
        (RFC 7162 §3.1), and UID then too, so that a client that resynchronizes needs no map of numbers.
        """
        await self._in_batches(seqs, lambda some: self._flags_of(some, uid))

    async def _in_batches(self, seqs: Sequence[int], lines: Callable[[Sequence[int]], list[bytes]]) -> None:
        """Writes lines for messages, so many at a time that memory does not grow with the mailbox."""
        for start in range(0, len(seqs), BATCH):
            self.out.write(b"".join(lines(seqs[start : start + BATCH])))
            if self.out.full:
                await self.out.flush()

    def _flags_of(self, seqs: Sequence[int], uid: bool) -> list[bytes]:
        view = self.view
        table, uids = view.table, view.uids
        rows = view.rows(seqs)
        flags = self.flag_lists(rows)
        if self.condstore:
            template = b"* %d FETCH (UID %d MODSEQ (%d) FLAGS %b)\r\n"
            modseqs = table.modseqs
            return [
                template % (seq, uids[seq - 1], modseqs[row], flag)
                for seq, row, flag in zip(seqs, rows, flags, strict=True)
                if row >= 0
            ]
        if uid:
            template = b"* %d FETCH (UID %d FLAGS %b)\r\n"
            return [
                template % (seq, uids[seq - 1], flag)
                for seq, row, flag in zip(seqs, rows, flags, strict=True)
                if row >= 0
            ]
        template = b"* %d FETCH (FLAGS %b)\r\n"
        found = zip(seqs, rows, flags, strict=True)
        return [template % (seq, flag) for seq, row, flag in found if row >= 0]

    async def tell_modseqs(self, seqs: Sequence[int], *, uid: bool) -> None:
        """FETCH with MODSEQ alone: the answer to STORE .SILENT under CONDSTORE (RFC 7162 §3.1.3)."""
        await self._in_batches(seqs, lambda some: self._modseqs_of(some, uid))

    def _modseqs_of(self, seqs: Sequence[int], uid: bool) -> list[bytes]:
        view = self.view
        modseqs, uids = view.table.modseqs, view.uids
        pairs = [(seq, row) for seq, row in zip(seqs, view.rows(seqs), strict=True) if row >= 0]
        if uid or self.qresync:
            template = b"* %d FETCH (UID %d MODSEQ (%d))\r\n"
            return [template % (seq, uids[seq - 1], modseqs[row]) for seq, row in pairs]
        template = b"* %d FETCH (MODSEQ (%d))\r\n"
        return [template % (seq, modseqs[row]) for seq, row in pairs]

    def flag_lists(self, rows: Sequence[int]) -> list[bytes]:
        """The flags of rows of the selected table as they are sent, with \\Recent; b"()" for a row of -1."""
        view = self.view
        column = view.table.flags
        if isinstance(rows, range):
            numbers: Sequence[int] = column[rows.start : rows.stop]
        else:
            numbers = [column[row] if row >= 0 else 0 for row in rows]
        flags_of = self.account.flags_of
        known = {number: _flag_list(flags_of(number)) for number in set(numbers)}
        lists = [known[number] for number in numbers]
        if view.recent_count:
            uids, is_recent = view.table.uids, view.is_recent
            for at, row in enumerate(rows):
                if row >= 0 and is_recent(uids[row]):
                    lists[at] = b"(\\Recent)" if lists[at] == b"()" else b"(\\Recent " + lists[at][1:]
        return lists


@lru_cache(maxsize=1024)
def _flag_list(flags: tuple[str, ...]) -> bytes:
    return flag_list(flags)


BATCH = 4096  # messages that are answered at once from columns alone: some 200 kB of flags


@contextmanager
def try_create(account: Account, name: str) -> Iterator[None]:
    """RFC 3501 §6.3.11, §6.4.7: TRYCREATE where a CREATE of the name would make the command work; not where
    the mailbox that messages come from is gone."""
    try:
        yield
    except NoSuchMailbox as error:
        if canonical(name) not in account.state.names:
            error.imap_code = "TRYCREATE"
        raise
