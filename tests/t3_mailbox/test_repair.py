"""Repair: every kind of fault is made, found, mended, and found no more; nothing else is changed by it."""

from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from aerogramme.errors import AuthenticationFailed
from aerogramme.log.clock import wall_ms
from aerogramme.log.segment import pack
from aerogramme.mail.digest import render
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import examine
from aerogramme.mailbox.audit.faults import BY_HAND, REMEDIES, Fault, Kind
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.history.compaction import compact
from aerogramme.mailbox.history.survey import survey
from aerogramme.mailbox.incoming.incoming import LetterBox
from aerogramme.mailbox.keys import keys, passwords
from aerogramme.mailbox.repair import Outcome, repair
from aerogramme.seal import Secret
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStores
from tests.helpers.breaking import (
    BREAKERS,
    MEANWHILE,
    Breaker,
    a_piece_that_nothing_else_tells_of_is_damaged,
    opened,
)
from tests.helpers.clocks import jumping_clock
from tests.helpers.damage import other_end
from tests.helpers.packed import letters
from tests.helpers.stored import copied
from tests.helpers.tampering import DAMAGED, HOUR, Whole, build, earlier, items, serve, small
from tests.t3_mailbox.conftest import PASSWORD, World, put


@pytest.fixture(scope="module", params=[True, False], ids=["serial", "listing"])
def whole(request) -> Whole:
    async def make() -> Whole:
        return await build(serial=request.param)

    return trio.run(make)


async def faults_of(stores: MemoryStores) -> list[Fault]:
    async with opened(stores) as account:
        return await examine(account)


async def mend(stores: MemoryStores) -> Outcome:
    return await repair(lambda: opened(stores), lag=0.0)


def test_every_kind_has_a_breaker_and_a_remedy() -> None:
    assert REMEDIES.keys().isdisjoint(BY_HAND) and REMEDIES.keys() | BY_HAND.keys() == set(Kind)
    assert {breaker.kind for breaker in (*BREAKERS, *MEANWHILE)} == set(Kind)


@pytest.mark.parametrize("breaker", BREAKERS, ids=lambda breaker: breaker.name)
def test_break_find_repair_find_nothing(whole: Whole, breaker: Breaker) -> None:
    if breaker.serial not in (None, whole.stores.serial):
        pytest.skip("it is a fault of the other kind of store")

    async def run() -> None:
        stores = whole.copy()
        with small():
            with earlier(HOUR // 2):  # what misses what is older is not waited for
                await breaker.act(stores)
            found = await faults_of(stores)
            assert breaker.kind in {fault.kind for fault in found}, found
            before = items(stores)
            outcome = await mend(stores)
            left = await faults_of(stores)
            assert [fault.what for fault in outcome.left] == [fault.what for fault in left]
            if breaker.kind == Kind.NEWER:
                assert items(stores) == before and left == found, "nothing is touched"
                return
            assert {fault.kind for fault in left} == set(breaker.left), left
            assert breaker.kind in {fault.kind for fault in outcome.mended} | set(breaker.left)
            await check_served(whole, await serve(stores))
            async with opened(stores) as account:
                assert not (await survey(account, wall_ms())).damaged, "compaction goes on"

    trio.run(run)


@pytest.mark.parametrize("breaker", MEANWHILE, ids=lambda breaker: breaker.name)
def test_who_has_it_open_while_it_breaks_writes_again_what_he_has(whole: Whole, breaker: Breaker) -> None:
    async def run() -> None:
        stores = whole.copy()
        broken = False

        @asynccontextmanager
        async def reopen() -> AsyncIterator[Account]:
            nonlocal broken
            async with opened(stores) as account:
                await account.refresh()
                await account.drain.all_waiting()
                if not broken:
                    await breaker.act(stores)
                    broken = True
                yield account

        with small():
            outcome = await repair(reopen, lag=0.0)
            assert breaker.kind in {fault.kind for fault in outcome.mended}
            assert not outcome.left and not await faults_of(stores)
            served = await serve(stores)
            assert served.keys() == whole.served.keys()
            await check_served(whole, served)

    trio.run(run)


async def check_served(whole: Whole, served) -> None:
    """Every letter is there that was, and every message shows something."""
    for message, now in served.items():
        assert DAMAGED not in (now[3], *now[2]), message
    there = {texts[0] for _, _, texts, _ in served.values()}
    for message in whole.served.keys() - served.keys():
        assert whole.served[message][2][0] in there


def test_what_is_left_is_shown_and_no_checkpoint_is_written_before_a_repair(whole: Whole) -> None:
    async def run() -> None:
        stores = whole.copy()
        with small():
            await a_piece_that_nothing_else_tells_of_is_damaged(stores)
            before = items(stores)
            served = await serve(stores)
            lost = {message for message, was in whole.served.items() if was[0] == "Sent"}
            assert lost
            # Letters that waited are drained, and so are those of INBOX; but not those of the lost piece.
            assert {message: served[message] for message in whole.served.keys() - lost} == {
                message: was for message, was in whole.served.items() if message not in lost
            }
            assert not lost & served.keys()
            async with opened(stores) as account:
                assert not await account.fold(force=True)
                assert (await compact(account)).damaged
            gone = [item for item in before if item not in items(stores) and item[0] != "incoming"]
            assert not gone, "nothing is let go of, or deleted"
            assert not [name for _, name in items(stores).keys() - before.keys() if "checkpoint/" in name]
            assert not (await mend(stores)).left
            recovered = await serve(stores)
            texts = {was[2][0] for message, was in whole.served.items() if message in lost}
            assert texts <= {now[2][0] for now in recovered.values() if now[0] == "Recovered"}

    trio.run(run)


# --- crashes ----------------------------------------------------------------------------------------------

ALL_AT_ONCE = (
    "a_body_is_gone",
    "a_pack_and_the_bodies_in_it_are_gone",
    "headers_are_damaged",
    "an_entry_that_brought_mail_is_damaged",
    "a_piece_is_gone",
    "a_letter_is_damaged",
    "the_body_of_a_letter_is_gone",
    "an_app_password_is_gone",
    "the_key_for_letters_is_another",
    "a_use_is_damaged",
    "an_object_that_nobody_knows",
    "a_name_is_not_canonical",
    "the_entry_that_made_a_mailbox_is_gone",  # the last: for some minutes, others wait for it
)


class AtWrite(CrashAt):
    """Dies at the n-th call that changes something; a crash while it reads is no different from that."""

    async def read(self) -> int:
        await trio.lowlevel.checkpoint()
        if 0 < self.n <= self.calls:
            raise Crash
        return 0


async def summary(stores: MemoryStores) -> Counter[tuple[str, bytes]]:
    """How many messages of each mailbox have which header."""
    served = await serve(stores)
    return Counter((mailbox, texts[0]) for mailbox, _, texts, _ in served.values())


def test_a_crash_at_any_write_loses_nothing_and_the_next_run_finishes(whole: Whole) -> None:
    async def run() -> None:
        stores = whole.copy()
        with small():
            with earlier(HOUR // 2):
                breakers = {breaker.name: breaker for breaker in BREAKERS}
                for breaker in map(breakers.__getitem__, ALL_AT_ONCE):
                    if breaker.serial in (None, whole.stores.serial):
                        await breaker.act(stores)
            [account] = stores._accounts
            broken = copied(stores._accounts[account])
            assert not (await mend(stores)).left
            expected = await summary(stores)
            before = items_of(broken)
            n = crashed = 0
            while crashed == n:
                n += 1
                stores._accounts[account] = copied(broken)
                dying = stores.another(AtWrite(n, steps=(0, 1, 2)[n % 3]))
                try:
                    await mend(dying)
                except* Crash:
                    crashed = n
                assert not (await mend(stores)).left, n
                assert await summary(stores) == expected, n
                # What was there is there, or set aside, or was made again from what it holds.
                now = items(stores)
                gone = [item for item in before if item not in now and not is_aside(item, now)]
                assert not [item for item in gone if item[0] not in ("incoming", "keys")], n
            assert n > 25

    trio.run(run, clock=jumping_clock())


def items_of(data) -> set[tuple[str, str]]:
    return {("", name) for name in data.objects} | {
        (partition, key) for partition, part in data.partitions.items() for key in part.rows
    }


def is_aside(item: tuple[str, str], now) -> bool:
    partition, name = item
    return (("unreadable", f"{partition}/{name}") if partition else ("", f"unreadable/{name}")) in now


# --- what becomes of it -----------------------------------------------------------------------------------


async def test_a_lost_body_becomes_a_message_that_says_so(world: World) -> None:
    account = await world.open()
    mail = (
        b"From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: The plan\r\n"
        b"Date: Mon, 2 Mar 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
        b"Content-Type: text/html\r\n\r\n<p>Meet me at Noon</p>\r\n"
    )
    await put(
        account, "INBOX", b"Subject: before\r\n\r\n", mail, flags=["\\Seen", "work"], date=1_700_000_000
    )
    await account.copy(account.find("INBOX"), [2], "Archive")
    uidvalidity, modseq = account.find("INBOX").uidvalidity, account.find("INBOX").highestmodseq
    [_, content] = account.find("INBOX").contents
    stored = world.stores._accounts["00" * 16].objects
    sealed = stored[body_name(content)] = stored[body_name(content)][:-1]

    outcome = await repair(lambda: again(world))
    assert [fault.kind for fault in outcome.mended] == [Kind.BODY] and not outcome.left
    async with again(world) as account:
        for name, uid in (("INBOX", 2), ("Archive", 1)):
            table = account.find(name)
            row = table.row_of_uid(uid)
            assert row is not None and table.dates[row] == 1_700_000_000
            assert sorted(account.flags_of(table.flags[row])) == ["\\Seen", "work"]
            letter = await account.body(table.contents[row])
            assert len(letter) == table.sizes[row]
            assert (
                b"Subject: [damaged] The plan\r\n" in letter and b"From: Ann <ann@example.org>\r\n" in letter
            )
            assert b"Message-ID: <1@example.org>\r\n" in letter and b"text/html" not in letter
            text = b64decode(letter.partition(b"\r\n\r\n")[2]).decode()
            assert "is damaged" in text and "meet me at noon" in text
        inbox = account.find("INBOX")
        assert inbox.uidvalidity == uidvalidity and inbox.modseqs[1] > modseq >= inbox.modseqs[0]
        assert await account.body(inbox.contents[0]) == b"Subject: before\r\n\r\n"
    assert stored[f"unreadable/{body_name(content)}"] == sealed, "it is kept as it is"


async def test_a_lost_digest_and_body_leave_a_message(world: World) -> None:
    account = await world.open()
    real = account.journal.segments.pack
    account.journal.segments.pack = lambda contents, groups: pack(
        account.keyring, contents, groups, inline_max=0
    )
    await put(account, "INBOX", b"Subject: gone\r\n\r\ntext\r\n")
    account.journal.segments.pack = real
    stored = world.stores._accounts["00" * 16].objects
    for name in [name for name in stored if name.startswith("segment/")]:
        del stored[name]
    assert not (await repair(lambda: again(world))).left
    async with again(world) as account:
        [content] = account.find("INBOX").contents
        letter = await account.body(content)
        assert b"Subject: [damaged] A message that could not be read\r\n" in letter
        assert render(letter).subject.startswith(b"[damaged]")


async def test_mail_of_a_lost_entry_is_recovered(world: World) -> None:
    account = await world.open()
    mail = letters(0, 30, size=2000)
    await put(account, "INBOX", *mail)
    log = world.stores._accounts["00" * 16].partitions["log"].rows
    log[max(log)] = log[max(log)][:-1]
    outcome = await repair(lambda: again(world))
    assert {Kind.ENTRY, Kind.FOUND} == {fault.kind for fault in outcome.mended} and not outcome.left
    async with again(world) as account:
        table = account.find("Recovered")
        assert [await account.body(content) for content in table.contents] == mail
        assert len(account.find("INBOX")) == 0 and account.state.lost
        await account.move(table, table.uids, "INBOX")
    assert not (await repair(lambda: again(world))).mended, "it is not brought twice"


async def test_a_letter_that_cannot_be_read_is_told_of_once(world: World) -> None:
    account = await world.open()
    async with trio.open_nursery() as nursery:
        box = LetterBox(account.store, account.id, account.keyring.incoming_public(), nursery)
        for n in range(2):
            letter = box.letter("ann@example.org", "bob@example.org", now=1_700_000_000)
            await letter.write(b"Subject: %d\r\n\r\n" % n)
            await letter.send()
    data = world.stores._accounts["00" * 16]
    rows = data.partitions["incoming"].rows
    [one, other] = sorted(rows)
    damaged = rows[one] = other_end(rows[one])
    del data.objects[f"body/{other.partition('-')[2]}"]
    assert not (await repair(lambda: again(world))).left
    assert not rows
    assert data.partitions["unreadable"].rows[f"incoming/{one}"] == damaged
    async with again(world) as account:
        table = account.find("INBOX")
        told = [b64decode((await account.body(c)).partition(b"\r\n\r\n")[2]).decode() for c in table.contents]
        assert [text.count("was sent by <ann@example.org>") for text in told] == [0, 1]
        assert set(table.dates) == {1_700_000_000}


async def test_a_lost_slot_is_taken_out_and_the_others_open(world: World) -> None:
    account = await world.open()
    code = await passwords.create_app_password(account.store, account.id, PASSWORD, "phone")
    other = await passwords.create_app_password(account.store, account.id, PASSWORD, "tablet")
    unlocked = await keys.unlock(account.store, account.id, code.secret)
    rows = world.stores._accounts["00" * 16].partitions["keys"].rows
    name = keys.SLOT + unlocked.slot.public.fingerprint.hex()
    rows[name] = rows[name][:-1]
    await account.holding.renew()
    assert not (await repair(lambda: again(world))).left
    for secret in (PASSWORD, other.secret):
        await keys.unlock(account.store, account.id, secret)
    with pytest.raises(AuthenticationFailed):
        await keys.unlock(account.store, account.id, code.secret)


async def test_a_keyring_that_is_gone_is_written_from_what_is_held(world: World) -> None:
    account = await world.open()
    rows = world.stores._accounts["00" * 16].partitions["keys"].rows
    for key in [key for key in rows if key.startswith(keys.KEYRING)]:
        del rows[key]

    @asynccontextmanager
    async def held() -> AsyncIterator[Account]:
        yield account

    outcome = await repair(held)
    assert [fault.what for fault in outcome.mended] == ["there is no keyring"] and not outcome.left
    await keys.unlock(account.store, account.id, PASSWORD)


async def test_a_server_that_has_the_account_open_goes_on_from_what_was_mended(world: World) -> None:
    server = await world.open()
    await put(server, "INBOX", *letters(0, 3))
    await server.fold(force=True)
    data = world.stores._accounts["00" * 16]
    header = next(name for name in data.objects if name.endswith("/header"))
    content = server.find("INBOX").contents[1]
    del data.objects[header], data.objects[body_name(content)]
    assert not (await repair(lambda: again(world))).left
    await put(server, "INBOX", *letters(3, 1))
    await server.fold(force=True)
    for account in (server, await world.open()):
        assert await examine(account) == []
        table = account.find("INBOX")
        assert b"[damaged]" in await account.body(table.contents[1])
        [headers] = await account.digests(table.contents, ["header"])
        assert [b"[damaged]" in header for header in headers] == [False, True, False, False]


async def test_an_app_password_mends_the_mail_and_leaves_the_keys(world: World) -> None:
    account = await world.open()
    await put(account, "INBOX", b"Subject: one\r\n\r\n")
    code = await passwords.create_app_password(account.store, account.id, PASSWORD, "phone")
    lost = await passwords.create_app_password(account.store, account.id, PASSWORD, "tablet")
    gone = await keys.unlock(account.store, account.id, lost.secret)
    data = world.stores._accounts["00" * 16]
    del data.partitions["keys"].rows[keys.SLOT + gone.slot.public.fingerprint.hex()]
    del data.objects[body_name(account.find("INBOX").contents[0])]
    outcome = await repair(lambda: again(world, code.secret))
    assert [fault.kind for fault in outcome.mended] == [Kind.BODY]
    assert [fault.kind for fault in outcome.left] == [Kind.SLOT]
    assert not (await repair(lambda: again(world))).left


@asynccontextmanager
async def again(world: World, secret: Secret = PASSWORD) -> AsyncIterator[Account]:
    store = await world.stores.open("00" * 16)
    account = await Account.open(store, "00" * 16, await keys.unlock(store, "00" * 16, secret))
    try:
        yield account
    finally:
        await account.aclose()
