"""Every kind of fault that the audit knows, made in the store of an account: by a disk, by somebody who can
write the store, by a crash, or by a fault of a program.

A breaker gets the stores of the account of tampering.py, and changes them. Each kind has at least one.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from aerogramme.log import bundle
from aerogramme.log.clock import COUNTER_BITS, wall_ms
from aerogramme.log.entry import MailboxOp
from aerogramme.log.journal import Draft
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.faults import Kind
from aerogramme.mailbox.body_record import BodyRecord, body_name
from aerogramme.mailbox.history import letting_go
from aerogramme.mailbox.incoming import incoming
from aerogramme.mailbox.keys import changing, keys, passwords, uses
from aerogramme.store.memory import MemoryStores
from tests.helpers.packed import letters
from tests.helpers.tampering import ID, PASSWORD, change, items, open_account
from tests.t3_mailbox.conftest import put

KEYWORDS = [f"{n:0200}" for n in range(10)]  # too many for a row (tampering.small)

Break = Callable[[MemoryStores], Awaitable[None]]


@asynccontextmanager
async def opened(stores: MemoryStores) -> AsyncIterator[Account]:
    account = await open_account(stores)
    try:
        yield account
    finally:
        await account.aclose()


def flip(stores: MemoryStores, partition: str, key: str) -> None:
    """One bit near the end is another."""
    value = items(stores)[partition, key]
    change(stores, (partition, key), value[:-3] + bytes([value[-3] ^ 4]) + value[-2:])


def first(stores: MemoryStores, partition: str, prefix: str = "", suffix: str = "") -> str:
    return min(
        key
        for of, key in items(stores)
        if of == partition and key.startswith(prefix) and key.endswith(suffix)
    )


async def live_content(stores: MemoryStores, mailbox: str = "Sent") -> int:
    async with opened(stores) as account:
        return account.find(mailbox).contents[0]


@dataclass(frozen=True)
class Breaker:
    """`serial`: the kind of store it needs, None for any; `left`: kinds that the repair leaves to people."""

    kind: Kind
    name: str
    act: Break
    serial: bool | None = None
    left: tuple[Kind, ...] = ()


BREAKERS: list[Breaker] = []
MEANWHILE: list[Breaker] = []  # those of faults that are seen by who has the account open already


def breaker(
    kind: Kind,
    *,
    serial: bool | None = None,
    left: tuple[Kind, ...] = (),
    among: list[Breaker] = BREAKERS,
) -> Callable[[Break], Break]:
    def register(act: Break) -> Break:
        among.append(Breaker(kind, act.__name__, act, serial, left))
        return act

    return register


# --- bodies and digests


@breaker(Kind.BODY, serial=True)
async def a_body_is_gone(stores: MemoryStores) -> None:
    change(stores, ("", body_name(await live_content(stores))), None)


@breaker(Kind.BODY, serial=True)
async def a_body_is_damaged(stores: MemoryStores) -> None:
    flip(stores, "", body_name(await live_content(stores)))


@breaker(Kind.BODY, serial=True)
async def a_body_is_that_of_another_message(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        one, other = (body_name(content) for content in account.find("Sent").contents[:2])
    change(stores, ("", one), items(stores)["", other])


@breaker(Kind.PACK, serial=False)
async def a_pack_is_damaged(stores: MemoryStores) -> None:
    flip(stores, "", first(stores, "", "pack/"))


@breaker(Kind.PACK, serial=False)
async def a_pack_is_gone(stores: MemoryStores) -> None:
    change(stores, ("", first(stores, "", "pack/")), None)


@breaker(Kind.PACK, serial=False)
async def a_pack_and_the_bodies_in_it_are_gone(stores: MemoryStores) -> None:
    for name in [name for of, name in items(stores) if not of and name.startswith(("pack/", "body/"))]:
        change(stores, ("", name), None)


@breaker(Kind.OBJECT, serial=False)
async def a_body_that_is_in_a_pack_too_is_damaged(stores: MemoryStores) -> None:
    flip(stores, "", body_name(await live_content(stores)))


async def named_segment(stores: MemoryStores, group: str) -> str:
    """An object of a segment that the newest state names."""
    async with opened(stores) as account:
        state = account.state
        refs = [state.segments[index] for index in sorted(state.named_segments())]
        name = next(ref.name for ref in refs if ref.inline is None)
    return first(stores, "", f"segment/{name}/{group}")


@breaker(Kind.DIGEST)
async def headers_are_damaged(stores: MemoryStores) -> None:
    flip(stores, "", await named_segment(stores, "header"))


@breaker(Kind.DIGEST)
async def texts_are_gone(stores: MemoryStores) -> None:
    change(stores, ("", await named_segment(stores, "text")), None)


@breaker(Kind.DIGEST)
async def sizes_are_damaged(stores: MemoryStores) -> None:
    flip(stores, "", await named_segment(stores, "sizes"))


@breaker(Kind.DIGEST)
async def digests_are_damaged(stores: MemoryStores) -> None:
    flip(stores, "", await named_segment(stores, "digest"))


@breaker(Kind.DIGEST)
async def digests_are_gone_with_the_keys_of_the_bodies(stores: MemoryStores) -> None:
    change(stores, ("", await named_segment(stores, "digest")), None)


@breaker(Kind.DIGEST)
async def a_digest_is_not_that_of_its_letter(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        real = account.journal.segments.pack

        def pack(contents, groups):
            groups["digest"]["subject"] = [b"forged" for _ in groups["digest"]["subject"]]
            return real(contents, groups)

        account.journal.segments.pack = pack
        await put(account, "INBOX", b"Subject: three\r\n\r\ntext\r\n")


@breaker(Kind.DIGEST)
async def a_record_has_another_size(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        real = account.journal.segments.pack

        def pack(contents, groups):
            records = [BodyRecord.from_bytes(record) for record in groups["digest"]["record"]]
            groups["digest"]["record"] = [r._replace(size=r.size + 1).to_bytes() for r in records]
            return real(contents, groups)

        account.journal.segments.pack = pack
        await put(account, "INBOX", b"Subject: four\r\n\r\ntext\r\n")


# --- the log


async def flag(stores: MemoryStores, *flags: str) -> str:
    """One entry more; its row key."""
    before = {key for of, key in items(stores) if of == "log"}
    async with opened(stores) as account:
        await account.store_flags(account.find("Sent"), [1], "+", flags or ["\\Answered"])
    [key] = {key for of, key in items(stores) if of == "log"} - before
    return key


@breaker(Kind.ENTRY)
async def an_entry_is_damaged(stores: MemoryStores) -> None:
    flip(stores, "log", await flag(stores))


@breaker(Kind.ENTRY)
async def a_large_entry_is_damaged(stores: MemoryStores) -> None:
    key = await flag(stores, *KEYWORDS)
    flip(stores, "", f"entry/{key}")


@breaker(Kind.ENTRY)
async def a_large_entry_is_gone(stores: MemoryStores) -> None:
    key = await flag(stores, *KEYWORDS)
    change(stores, ("", f"entry/{key}"), None)


@breaker(Kind.GAP)
async def an_entry_is_gone(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        before = {key for of, key in items(stores) if of == "log"}
        await account.store_flags(account.find("Sent"), [1], "+", ["\\Answered"])
        [key] = {key for of, key in items(stores) if of == "log"} - before
        await account.store_flags(account.find("Sent"), [1], "+", ["\\Flagged"])
    change(stores, ("log", key), None)


@breaker(Kind.LINK)
async def an_entry_follows_another_one(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        await account.store_flags(account.find("Sent"), [1], "+", ["\\Answered"])
        account.journal._link = bytes(range(16))
        await account.store_flags(account.find("Sent"), [1], "+", ["\\Flagged"])


@breaker(Kind.CHECKPOINT)
async def the_newest_checkpoint_is_damaged(stores: MemoryStores) -> None:
    flip(stores, "", first(stores, "", "checkpoint/"))


@breaker(Kind.CHECKPOINT)
async def an_older_checkpoint_is_damaged(stores: MemoryStores) -> None:
    flip(stores, "", max(name for of, name in items(stores) if name.startswith("checkpoint/")))


async def bundled(stores: MemoryStores) -> str:
    """A bundle of the newest checkpoint, which has some only where mails came one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "LONG", 0)
        patch.setattr(bundle, "FEW", 0)
        async with opened(stores) as account:
            await account.store_flags(account.find("INBOX"), [1], "+", ["\\Answered"])
            await account.fold(force=True)
            return max(account.state.bundles)


@breaker(Kind.CHECKPOINT)
async def a_bundle_is_damaged(stores: MemoryStores) -> None:
    flip(stores, "", await bundled(stores))


@breaker(Kind.CHECKPOINT)
async def a_bundle_is_gone(stores: MemoryStores) -> None:
    change(stores, ("", await bundled(stores)), None)


@breaker(Kind.CHECKPOINT)
async def a_piece_is_damaged(stores: MemoryStores) -> None:
    flip(stores, "", max(name for of, name in items(stores) if name.startswith("piece/")))


@breaker(Kind.CHECKPOINT)
async def a_piece_is_gone(stores: MemoryStores) -> None:
    change(stores, ("", max(name for of, name in items(stores) if name.startswith("piece/"))), None)


@breaker(Kind.CHECKPOINT)
async def a_piece_of_an_older_checkpoint_is_gone(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        table = account.find("INBOX")
        old = set(table.pieces.values())
        await account.store_flags(table, list(table.uids), "+", ["\\Answered"])
        await account.fold(force=True)
        [name, *_] = old - set(table.pieces.values())
    change(stores, ("", name), None)


async def let_the_past_go(stores: MemoryStores) -> None:
    """All that is left is the newest checkpoint, as long after."""
    async with opened(stores) as account:
        state = account.state
        state.cut.update(state.vector)
        await account.fold(force=True)
        kept = state.checkpoint
    for item in items(stores):
        if item[0] == "log" or (item[1].startswith("checkpoint/") and item[1] != kept):
            change(stores, item, None)


@breaker(Kind.MISSING)
async def a_piece_that_nothing_else_tells_of_is_damaged(stores: MemoryStores) -> None:
    await let_the_past_go(stores)
    async with opened(stores) as account:
        [name, *_] = account.find("Sent").pieces.values()
    flip(stores, "", name)


@breaker(Kind.MISSING)
async def the_only_checkpoint_is_damaged(stores: MemoryStores) -> None:
    await let_the_past_go(stores)
    flip(stores, "", first(stores, "", "checkpoint/"))


@breaker(Kind.PAST)
async def a_segment_of_the_past_is_gone(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        state = account.state
        named = {state.segments[index].name for index in state.named_segments()}
        await put(account, "INBOX", *letters(50, 3))
        await account.fold(force=True)
        gone = named - {state.segments[index].name for index in state.named_segments()}
    names = [name for of, name in items(stores) if not of and name.startswith("segment/")]
    change(stores, ("", min(name for name in names if name.split("/")[1] in gone)), None)


@breaker(Kind.FOUND)
async def an_entry_that_brought_mail_is_damaged(stores: MemoryStores) -> None:
    before = {key for of, key in items(stores) if of == "log"}
    async with opened(stores) as account:
        await put(account, "Sent", *letters(100, 6, size=2000))
    [key] = {key for of, key in items(stores) if of == "log"} - before
    change(stores, ("log", key), items(stores)["log", key][:-1])


@breaker(Kind.UNFINISHED)
async def mail_that_was_being_added_when_the_process_died(stores: MemoryStores) -> None:
    before = {key for of, key in items(stores) if of == "log"}
    async with opened(stores) as account:
        await put(account, "Sent", *letters(100, 6, size=2000))
    [key] = {key for of, key in items(stores) if of == "log"} - before
    change(stores, ("log", key), None)


@breaker(Kind.REOPENED, among=MEANWHILE)
async def the_newest_entry_is_taken_away(stores: MemoryStores) -> None:
    change(stores, ("log", max(key for of, key in items(stores) if of == "log")), None)


@breaker(Kind.REOPENED, among=MEANWHILE)
async def the_store_is_put_back_by_some_entries(stores: MemoryStores) -> None:
    keys = sorted(key for of, key in items(stores) if of == "log")
    for key in keys[-4:]:
        change(stores, ("log", key), None)


# --- mailboxes


@breaker(Kind.NAME)
async def a_mailbox_has_an_impossible_name(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        trash = account.state.names["Trash"]
        await account.journal.commit(lambda _: Draft([MailboxOp(trash, name="a//b\x07c")]))


@breaker(Kind.NAME)
async def a_name_is_not_canonical(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        trash = account.state.names["Trash"]
        await account.journal.commit(lambda _: Draft([MailboxOp(trash, name="inbox/x")]))


@breaker(Kind.NAMELESS)
async def the_entry_that_made_a_mailbox_is_gone(stores: MemoryStores) -> None:
    before = {key for of, key in items(stores) if of == "log"}
    async with opened(stores) as account:
        await account.create_mailbox("Projects")
        [key] = {key for of, key in items(stores) if of == "log"} - before
        await put(account, "Projects", b"Subject: one\r\n\r\ntext\r\n")
    change(stores, ("log", key), None)


@breaker(Kind.TABLE)
async def a_checkpoint_makes_no_sense(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        await account.store_flags(account.find("Sent"), [1], "+", ["\\Answered"])
        account.find("Sent").modseqs[0] = 0
        await account.fold(force=True)


# --- keys, letters, the rest


@breaker(Kind.LETTER)
async def a_letter_is_damaged(stores: MemoryStores) -> None:
    flip(stores, incoming.PARTITION, first(stores, incoming.PARTITION))


@breaker(Kind.LETTER)
async def the_body_of_a_letter_is_gone(stores: MemoryStores) -> None:
    number = first(stores, incoming.PARTITION).partition("-")[2]
    change(stores, ("", f"body/{number}"), None)


@breaker(Kind.LETTER)
async def the_body_of_a_letter_is_damaged(stores: MemoryStores) -> None:
    number = first(stores, incoming.PARTITION).partition("-")[2]
    flip(stores, "", f"body/{number}")


async def slot_of(stores: MemoryStores, kind: str) -> str:
    async with opened(stores) as account:
        [member] = [each for each in account.keyring.members if each.kind == kind]
        return keys.SLOT + member.fingerprint.hex()


@breaker(Kind.SLOT)
async def an_app_password_is_gone(stores: MemoryStores) -> None:
    change(stores, (keys.PARTITION, await slot_of(stores, "app")), None)


@breaker(Kind.SLOT)
async def an_app_password_is_damaged(stores: MemoryStores) -> None:
    change(stores, (keys.PARTITION, await slot_of(stores, "app")), os.urandom(2000))


@breaker(Kind.SLOT, left=(Kind.RECOVERY,))
async def the_recovery_code_is_gone(stores: MemoryStores) -> None:
    change(stores, (keys.PARTITION, await slot_of(stores, "recovery")), None)


@breaker(Kind.KEYRING)
async def another_keyring_is_damaged(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        version = account.keyring.version
    name = first(stores, keys.PARTITION, keys.KEYRING)
    change(
        stores,
        (keys.PARTITION, f"{keys.KEYRING}{version - 1:08x}-00000000"),
        items(stores)[keys.PARTITION, name],
    )


@breaker(Kind.PUBLIC)
async def the_key_for_letters_is_damaged(stores: MemoryStores) -> None:
    flip(
        stores,
        keys.PARTITION,
        max(k for of, k in items(stores) if of == "keys" and k.startswith(keys.PUBLIC)),
    )


@breaker(Kind.PUBLIC)
async def the_key_for_letters_is_another(stores: MemoryStores) -> None:
    public = [key for of, key in items(stores) if of == "keys" and key.startswith(keys.PUBLIC)]
    change(stores, (keys.PARTITION, max(public)), items(stores)["keys", min(public)])


@breaker(Kind.USE)
async def a_use_is_damaged(stores: MemoryStores) -> None:
    flip(stores, uses.PARTITION, first(stores, uses.PARTITION))


@breaker(Kind.LET_GO)
async def a_row_of_what_was_let_go_of_is_damaged(stores: MemoryStores) -> None:
    async with opened(stores) as account:
        row = letting_go.row(account.keyring, wall_ms() << COUNTER_BITS, ["piece/1"])
        await account.store.append(letting_go.PARTITION, [row])
    flip(stores, letting_go.PARTITION, row.key)


@breaker(Kind.RECOVERY, left=(Kind.RECOVERY,))
async def there_is_no_recovery_code(stores: MemoryStores) -> None:
    store = await stores.open(ID)
    stored = await keys.StoredKeys.read(store)
    unlocked = await stored.unlock(ID, PASSWORD)
    [gone] = [each.fingerprint for each in unlocked.keyring.members if each.kind == "recovery"]
    await changing.change_keys(store, ID, stored, unlocked.slot, lambda keyring: keyring.dismiss(gone))


@breaker(Kind.STRANGE)
async def an_object_that_nobody_knows(stores: MemoryStores) -> None:
    change(stores, ("", "notes/1"), b"what is this?")


@breaker(Kind.STRANGE)
async def rows_that_nobody_knows(stores: MemoryStores) -> None:
    for partition in ("keys", "incoming", "uses", "log"):
        change(stores, (partition, "strange"), b"what is this?")


@breaker(Kind.OBJECT)
async def an_object_that_nothing_names_is_damaged(stores: MemoryStores) -> None:
    change(stores, ("", f"segment/{'5c' * 16}/digest"), os.urandom(300))


# --- what needs another hand than the disk's


@breaker(Kind.NEWER, left=(Kind.NEWER,))
async def the_keys_are_older_than_the_mail(stores: MemoryStores) -> None:
    before = {item: value for item, value in items(stores).items() if item[0] == keys.PARTITION}
    store = await stores.open(ID)
    stored = await keys.StoredKeys.read(store)
    unlocked = await stored.unlock(ID, PASSWORD)
    await passwords.add_generation(store, ID, stored, unlocked.slot)
    await flag(stores)
    await flag(stores, "\\Flagged")
    for item in [item for item in items(stores) if item[0] == keys.PARTITION]:
        change(stores, item, before.get(item))
    for item, value in before.items():
        change(stores, item, value)
