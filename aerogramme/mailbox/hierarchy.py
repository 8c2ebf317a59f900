"""What the log is told when mailboxes are made, named and deleted: functions of the newest state, as in
changes.py.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import cached_property

from aerogramme.errors import AlreadyExists, LimitReached, NoSuchMailbox, Refused, UseRefused
from aerogramme.log.entry import MailboxOp, Op, Remove, Subscribe
from aerogramme.log.state import State
from aerogramme.mailbox import changes
from aerogramme.mailbox.names import DELIMITER, FIRST_MAILBOXES, INBOX, below, canonical, check, parents

MAX_MAILBOXES = 10_000  # in one account; LIST is one answer, and each mailbox is some kilobytes in memory
MAX_SUBSCRIPTIONS = 100_000  # names that were ever subscribed: those of mailboxes that are gone stay


class Maker:
    """Gives new mailboxes their ids and UIDVALIDITYs."""

    def __init__(self, state: State, new_ids: Callable[[int], Sequence[int]], now: int) -> None:
        self._state = state
        self._new_ids = new_ids
        # The second of its creation, and no other mailbox of the account ever had it: so that a name which is
        # deleted and made again, or renamed over, never has the UIDVALIDITY it had (RFC 3501 §2.3.1.1).
        self._uidvalidity = max(now, state.last_uidvalidity + 1)

    @cached_property
    def _having(self) -> Counter[int | None]:
        """UIDVALIDITY -> how many mailboxes have it, deleted ones too."""
        return Counter(self._state.attribute(mailbox, "uidvalidity") for mailbox in self._state.attributes)

    def make(self, name: str, role: str | None = None, mailbox: int | None = None) -> MailboxOp:
        if mailbox is None:
            [mailbox] = self._new_ids(1)
        uidvalidity = self._uidvalidity
        self._uidvalidity += 1
        return MailboxOp(mailbox, name=name, role=role, deleted=False, uidvalidity=uidvalidity)

    def rename(self, mailbox: int, name: str) -> MailboxOp:
        """Another name. An imported mailbox may share its UIDVALIDITY with others, where one of them may
        have had the new name: it gets a new one too."""
        if self._having[self._state.attribute(mailbox, "uidvalidity")] < 2:
            return MailboxOp(mailbox, name=name)
        uidvalidity = self._uidvalidity
        self._uidvalidity += 1
        return MailboxOp(mailbox, name=name, uidvalidity=uidvalidity)


def first_mailboxes(maker: Maker) -> list[Op]:
    """What a new account has, all subscribed."""
    ops: list[Op] = [maker.make(name, role) for name, role in FIRST_MAILBOXES]
    return ops + [Subscribe(name, True) for name, _ in FIRST_MAILBOXES]


def create(state: State, maker: Maker, name: str, role: str | None, mailbox: int | None = None) -> list[Op]:
    """RFC 3501 §6.3.3: the mailbox and every level above it that is not there. Raises AlreadyExists, Refused.
    `mailbox`: the id it shall have.

    They are subscribed at once: mail programs that show subscribed mailboxes only would hide what they have
    made.
    """
    name, names, subscribed = check(name), state.names, state.subscribed
    if name in names:
        raise AlreadyExists("There is a mailbox of this name")
    if role is not None and role in state.roles.values():
        raise UseRefused("Another mailbox has this use")  # RFC 6154 §3: a server may have one of each
    new = [*_missing_parents(names, name), name]
    if len(names) + len(new) > MAX_MAILBOXES:
        raise LimitReached(f"An account has at most {MAX_MAILBOXES} mailboxes")
    ops: list[Op] = [maker.make(each) for each in new[:-1]]
    ops.append(maker.make(name, role, mailbox))
    return ops + [Subscribe(each, True) for each in new if each not in subscribed]


def delete(state: State, name: str, *, empty: bool = False) -> list[Op]:
    """RFC 3501 §6.3.4: the mailbox and the messages that are in it now, not the mailboxes below. With
    `empty`, one that has messages is refused.

    What another server puts into it without having seen this survives. Raises NoSuchMailbox, Refused.
    """
    name = canonical(name)
    if name == INBOX:
        raise Refused("INBOX cannot be deleted")
    if name not in state.names:
        if below(name, state.names):
            raise Refused("There is no such mailbox, only mailboxes below it")
        raise NoSuchMailbox
    table = state.tables[state.names[name]]
    if empty and len(table):
        raise Refused("The mailbox is not empty")
    gone: list[Op] = [Remove(table.mailbox, table.ids[:])] if len(table.ids) else []
    return [*gone, MailboxOp(table.mailbox, deleted=True)]


def rename(
    state: State, maker: Maker, new_ids: Callable[[int], Sequence[int]], name: str, new: str
) -> list[Op]:
    """RFC 3501 §6.3.5: the mailbox and all below it, with the levels above the new name.

    INBOX keeps its name and gives its messages to a new mailbox; what is below it stays. A new name is
    subscribed if the old one was; the old one stays subscribed (§6.3.6 forbids a server to remove it).
    """
    name, new, names, subscribed = canonical(name), check(new), state.names, state.subscribed
    inner = below(name, names)
    if name not in names and not inner:
        raise NoSuchMailbox
    if new in (INBOX, name) or new in names:
        raise AlreadyExists("There is a mailbox of the new name")
    if new.startswith(name + DELIMITER) and name != INBOX:
        raise Refused("A mailbox cannot go below itself")
    if name == INBOX:
        return _rename_inbox(state, maker, new_ids, new)
    moved = {old: new + old[len(name) :] for old in ([name] if name in names else []) + inner}
    for target in moved.values():
        check(target)
        if target in names and target not in moved:
            raise AlreadyExists("There is a mailbox of the name that one below it would get")
    ops = _make_all(maker, _missing_parents(names, new, moved))
    ops += [maker.rename(names[old], target) for old, target in moved.items()]
    return ops + [Subscribe(t, True) for old, t in moved.items() if old in subscribed]


def _missing_parents(names: Collection[str], new: str, moved: Collection[str] = ()) -> list[str]:
    """The levels above a new name that are not there once the mailboxes in `moved` have left."""
    return [above for above in parents(new) if above not in names or above in moved]


def _make_all(maker: Maker, names: Sequence[str]) -> list[Op]:
    """New mailboxes, subscribed."""
    ops: list[Op] = [maker.make(name) for name in names]
    return ops + [Subscribe(name, True) for name in names]


def _rename_inbox(state: State, maker: Maker, new_ids: Callable[[int], Sequence[int]], new: str) -> list[Op]:
    inbox = state.tables[state.names[INBOX]]
    ops = _make_all(maker, _missing_parents(state.names, new))
    made = maker.make(new)
    ops += [made, Subscribe(new, True)]
    if len(inbox):
        ops.append(changes.into_new(inbox, made.mailbox, new_ids))
        ops.append(Remove(inbox.mailbox, inbox.ids[:]))
    return ops


def subscribe(state: State, name: str, on: bool) -> list[Op]:
    """RFC 3501 §6.3.6 and §6.3.7. A name without a mailbox may be subscribed: it may come (again)."""
    name = canonical(name)
    if (name in state.subscribed) == on:
        return []
    if on and len(state.subscriptions) >= MAX_SUBSCRIPTIONS:
        raise LimitReached("There are too many subscriptions")
    return [Subscribe(check(name) if on else name, on)]
