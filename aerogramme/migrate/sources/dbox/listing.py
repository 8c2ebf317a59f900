"""The mailboxes of a dbox, by name. Where folders are called by GUIDs, an index has the names."""

from collections.abc import Iterator
from dataclasses import dataclass

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources import subscriptions
from aerogramme.migrate.sources.dbox.mailbox import read_mailbox
from aerogramme.migrate.sources.dbox.store import MAILBOXES, Parts, Store, opened
from aerogramme.migrate.sources.dovecot.index import read_index
from aerogramme.migrate.sources.dovecot.mailbox_list import WANTED, Listed, listed
from aerogramme.migrate.sources.dovecot.records import Broken
from aerogramme.migrate.sources.source import Fault

_LIST = "dovecot.list.index"


@dataclass(frozen=True, slots=True)
class Entry:
    """A mailbox: the levels of its name, as the store spells them, and of its folder."""

    name: Parts
    folder: Parts


def separator(store: Store) -> str:
    """What is between the levels of a name, when it is written as one: nothing that can be in a level."""
    return "\0" if store.by_guid else "/"


def read_list(store: Store, faults: list[Fault]) -> list[Listed]:
    """What the index of mailboxes says; nothing if there is none. What is wrong with it is only a fault where
    nothing else has the names."""
    where = store.index or store.root
    wrong: list[str] = []
    found: list[Listed] = []
    try:
        with opened(where, ()) as folder:
            index = None if folder is None else read_index(folder, _LIST, WANTED)
        if index is None:
            wrong = ["it is missing"]
        else:
            wrong, found = index.wrong, listed(index.records)
    except (Unreadable, Broken) as error:
        wrong = [str(error)]
    if store.by_guid:
        done = "names are those that the mailboxes have noted, as far as they are missing"
        faults.extend(Fault(f"{where}/{_LIST}", what, done) for what in wrong)
    return found


def entries(store: Store, faults: list[Fault]) -> list[Entry]:
    """All mailboxes."""
    if not store.by_guid:
        return [Entry(levels, levels) for levels in store.mailboxes(faults)]
    return list(_by_guid(store, faults))


def _by_guid(store: Store, faults: list[Fault]) -> Iterator[Entry]:
    names = {one.guid.hex().encode(): one.levels for one in read_list(store, faults) if any(one.guid)}
    for guid in store.guids():
        name = names.pop(guid, None)
        if name is None:
            mailbox = read_mailbox(store, (guid,), [])  # what is wrong with it is said when it is read
            if mailbox is None:
                continue
            name = mailbox.said or (b"lost-" + guid,)
            what = "the index of mailboxes does not know it"
            faults.append(Fault(store.shown((MAILBOXES, guid)), what, "it is taken over"))
        yield Entry(name, (guid,))
    for name in names.values():
        origin = "/".join(part.decode(errors="backslashreplace") for part in name)
        faults.append(Fault(origin, "its folder is missing", "it is left out", lost=True))


def subscribed(store: Store, faults: list[Fault]) -> set[bytes] | None:
    """The names that are subscribed, written with `separator`; None if nobody says."""
    where = store.control or store.root
    origin = f"{where}/subscriptions"
    try:
        with opened(where, ()) as folder:
            if folder is None:
                return None
            return subscriptions.read(folder, b"subscriptions", origin, separator(store), faults)
    except Unreadable as error:
        faults.append(Fault(origin, str(error), "it is not known what is subscribed"))
        return None
