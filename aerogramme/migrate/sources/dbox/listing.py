"""The mailboxes of a dbox, by name. Where folders are called by GUIDs, an index has the names."""

from collections.abc import Iterator
from dataclasses import dataclass

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dbox.mailbox import read_mailbox
from aerogramme.migrate.sources.dbox.store import MAILBOXES, Parts, Store, opened
from aerogramme.migrate.sources.dovecot.index import read_index
from aerogramme.migrate.sources.dovecot.mailbox_list import WANTED, Listed, listed
from aerogramme.migrate.sources.dovecot.records import Broken
from aerogramme.migrate.sources.reading import open_file, reason
from aerogramme.migrate.sources.source import Fault
from aerogramme.migrate.sources.subscriptions import parse

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
    origin, done = f"{where}/subscriptions", "no mailbox is said to be subscribed"
    try:
        with opened(where, ()) as folder:
            file = None if folder is None else open_file(b"subscriptions", folder, origin)
            if isinstance(file, Fault):
                faults.append(Fault(origin, file.what, done))
            elif file is not None:
                with file:
                    return parse(file, separator(store))
    except (Unreadable, OSError) as error:
        faults.append(Fault(origin, reason(error), done))
    return None
