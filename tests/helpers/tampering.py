"""An account with one of everything that is stored, what it serves, and what a hand in its store can do."""

import copy
import logging
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import trio

from aerogramme.errors import Damaged
from aerogramme.log import checkpoint, journal, segment
from aerogramme.log.clock import wall_ms
from aerogramme.log.entry import Add, MailboxOp, Subscribe
from aerogramme.log.reading import entries
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.bodies import stand_in
from aerogramme.mailbox.incoming.incoming import LetterBox
from aerogramme.mailbox.keys import keys, passwords, uses
from aerogramme.seal import Secret
from aerogramme.store.memory import MemoryStores
from tests.helpers.packed import letters, small_packs
from tests.t3_mailbox.conftest import CHEAP, put

ID = "5a" * 16
BEFORE, PASSWORD = Secret("the one before"), Secret("the password")
HOUR = 60 * 60 * 1000

Item = tuple[str, str]  # partition and row key; "" and name of an object
Served = dict[
    int, tuple[object, ...]
]  # message -> what a client gets of it; "damaged" in place of what it cannot
DAMAGED = "damaged"
FIELDS = ["header", "text", "envelope"]  # of each group one


@dataclass
class Whole:
    """The account as it should be. `past`: what was stored once and was replaced or done with."""

    stores: MemoryStores
    past: dict[Item, bytes]
    items: dict[Item, bytes]
    served: Served = field(default_factory=dict)
    unknowable: set[Item] = field(default_factory=set)  # nothing else tells that this was there
    touches: dict[Item, set[int]] = field(default_factory=dict)  # the messages that are told of or held in it

    def copy(self) -> MemoryStores:
        stores = self.stores.another()
        stores._accounts = copy.deepcopy(self.stores._accounts)
        return stores


def items(stores: MemoryStores) -> dict[Item, bytes]:
    """All objects and rows."""
    data = stores._accounts[ID]
    stored = {("", name): body for name, body in data.objects.items()}
    for partition, part in data.partitions.items():
        stored |= {(partition, key): value for key, value in part.rows.items()}
    return stored


def change(stores: MemoryStores, item: Item, value: bytes | None) -> None:
    """Stores something under a name, as no server does; None: takes away what is there."""
    partition, name = item
    data = stores._accounts[ID]
    part = data.partitions[partition] if partition else None
    rows = data.objects if part is None else part.rows
    if value is None:
        rows.pop(name, None)
    else:
        rows[name] = value
        if part is not None and name not in part.order:
            part.order.append(name)


@contextmanager
def small():
    """Everything that is an object of its own only when it is large is one here."""
    with pytest.MonkeyPatch.context() as patch:
        small_packs(patch)
        patch.setattr(checkpoint, "INLINE_ROWS", 3)
        patch.setattr(journal, "ROW_MAX", 1500)
        patch.setattr(segment.pack, "__kwdefaults__", {**segment.pack.__kwdefaults__, "inline_max": 3100})
        yield


@contextmanager
def earlier(milliseconds: int):
    """Whoever opens an account does so before."""
    with pytest.MonkeyPatch.context() as patch:
        defaults = journal.Journal.open.__func__.__kwdefaults__
        patch.setitem(defaults, "now_ms", lambda: wall_ms() - milliseconds)
        yield


async def open_account(stores: MemoryStores, secret: Secret = PASSWORD) -> Account:
    """As another server does that has the password, and has seen nothing before."""
    store = await stores.open(ID)
    return await Account.open(store, ID, await keys.unlock(store, ID, secret))


async def build(*, serial: bool) -> Whole:
    """Two mailboxes with some history, two checkpoints, packs (where they pay), keys that were changed and
    rotated, letters that were drained and letters that wait."""
    stores = MemoryStores(serial=serial, object_costs_request=not serial)
    past: dict[Item, bytes] = {}
    with small(), earlier(HOUR):
        await Account.create(stores, ID, BEFORE, params=CHEAP)
        account = await open_account(stores, BEFORE)
        await put(account, "INBOX", *letters(0, 5), flags=["\\Deleted", "first"])
        await put(account, "Sent", *letters(5, 4, size=200))
        await account.fold(force=True)
        table = account.find("INBOX")
        await account.store_flags(table, list(table.uids[:2]), "=", ["\\Flagged"])
        await account.expunge(table, [table.uids[3]])
        await put(account, "INBOX", *letters(9, 12, size=400))
        await account.copy(table, list(table.uids[-2:]), "Archive")
        await account.fold(force=True)
        past |= items(stores)
        await account.aclose()

        store = await stores.open(ID)
        await passwords.change_password(store, ID, BEFORE, PASSWORD, CHEAP)
        app = await passwords.create_app_password(store, ID, PASSWORD, "phone")
        stored = await keys.StoredKeys.read(store)
        unlocked = await stored.unlock(ID, PASSWORD)
        past |= items(stores)
        keyring = await passwords.add_generation(store, ID, stored, unlocked.slot)
        by_app = await (await keys.StoredKeys.read(store)).unlock(ID, app.secret)
        await uses.note(store, keyring, by_app.slot.public.fingerprint)

        account = await open_account(stores)
        for n in range(3):
            await put(account, "INBOX", *letters(30 + n, 1))
        table = account.find("INBOX")
        await account.store_flags(table, [table.uids[0]], "+", ["\\Answered"])
        async with trio.open_nursery() as nursery:
            box = LetterBox(account.store, ID, account.keyring.incoming_public(), nursery)
            await _bring(box, 2)
            past |= items(stores)
            await account.drain.all_waiting()
            await _bring(box, 3)
        await account.aclose()
    whole = Whole(stores, past, items(stores))
    whole.past = {item: value for item, value in past.items() if item not in whole.items}
    whole.served = await serve(whole.copy())
    last = max(item for item in whole.items if item[0] == "log")
    whole.unknowable = {last, *(item for item in whole.items if item[0] == "incoming")}
    whole.touches = await _touches(whole)
    return whole


async def _bring(box: LetterBox, count: int) -> None:
    for n in range(count):
        letter = box.letter("sender@example.org", "user@example.org")
        await letter.write(b"Subject: a letter\r\n\r\nnumber %d\r\n" % n)
        await letter.send()


async def serve(stores: MemoryStores, secret: Secret = PASSWORD) -> Served:
    """All that clients get of the account, letters that waited included."""
    account = await open_account(stores, secret)
    try:
        await account.drain.all_waiting()
        served: Served = {}
        for name, mailbox in account.state.names.items():
            table = account.state.tables[mailbox]
            contents = table.contents
            columns = await account.digests(contents, FIELDS)
            bodies = [body async for body in account.read_bodies(contents)]
            for row, message in enumerate(table.ids):
                body = bodies[row]
                served[message] = (
                    name,
                    sorted(account.flags_of(table.flags[row])),
                    [
                        DAMAGED if column[row] == stand_in(field) else column[row]
                        for field, column in zip(FIELDS, columns, strict=True)
                    ],
                    DAMAGED if isinstance(body, Damaged) else body,
                )
        return served
    finally:
        await account.aclose()


async def findings(stores: MemoryStores, secret: Secret = PASSWORD) -> list[str]:
    """What the audit says."""
    account = await open_account(stores, secret)
    try:
        return await audit(account)
    finally:
        await account.aclose()


async def _touches(whole: Whole) -> dict[Item, set[int]]:
    account = await open_account(whole.copy())
    by_content: dict[int, set[int]] = {}
    for table in account.state.tables.values():
        for message, content in zip(table.ids, table.contents, strict=True):
            by_content.setdefault(content, set()).add(message)
    touches: dict[Item, set[int]] = {}
    for content, messages in by_content.items():
        touches["", f"body/{content:016x}"] = messages
    # Those too that only an older checkpoint names: without the newest, they are what there is.
    names = await account.store.list("segment/")
    for name, plain in zip(names, await account.journal.records.read(segment.KIND, names), strict=True):
        assert isinstance(plain, bytes)
        touches["", name] = {
            message for content in segment.read_group(plain)[0] for message in by_content.get(content, ())
        }
    async for key, entry in entries(account.journal.records):
        assert not isinstance(entry, Damaged)
        told = {
            message for op in entry.ops if not isinstance(op, MailboxOp | Subscribe) for message in op.ids
        }
        # A copy needs the digest that came with what it is a copy of.
        brought = {content for op in entry.ops if isinstance(op, Add) for content in op.contents}
        told.update(message for content in brought for message in by_content.get(content, ()))
        touches["log", key] = touches["", f"entry/{key}"] = told
    for partition, key in whole.items:
        if partition == "incoming":
            touches[partition, key] = {int(key.partition("-")[2], 16)}
            touches["", f"body/{key.partition('-')[2]}"] = touches[partition, key]
    await account.aclose()
    return touches


class Lines(logging.Handler):
    """What is said in the log meanwhile."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())

    def __enter__(self) -> "Lines":
        logging.getLogger("aerogramme").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("aerogramme").removeHandler(self)
