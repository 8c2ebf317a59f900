"""Verification finds whatever a hand in the store has done, says what it is, and finds nothing else."""

from random import Random

import pytest
import trio

from aerogramme.log.checkpoint import PREFIX as CHECKPOINTS
from aerogramme.log.entry import PARTITION as LOG
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit import bodies as body_check
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.audit.faults import Kind as Fault
from aerogramme.mailbox.audit.verifying import Verification
from aerogramme.mailbox.history.compaction import compact
from aerogramme.mailbox.keys import passwords, rotation
from aerogramme.mailbox.keys.seen import Seen
from aerogramme.mailbox.policy import DAY, Policy
from aerogramme.mailbox.repair import repair
from tests.helpers.breaking import BREAKERS, opened
from tests.helpers.life import START, calendar
from tests.helpers.packed import letters
from tests.helpers.tampering import (
    HOUR,
    ID,
    PASSWORD,
    Item,
    Whole,
    build,
    change,
    earlier,
    items,
    open_account,
    small,
)
from tests.t3_mailbox.conftest import put

NOBODY = Seen(None)


@pytest.fixture(scope="module", params=[True, False], ids=["serial", "listing"])
def whole(request) -> Whole:
    async def made() -> Whole:
        return await build(serial=request.param)

    return trio.run(made)


async def verified(stores, *, bodies=True, seen=NOBODY, with_history=True):
    """What is wrong, as (kind, words), and what was looked at. Nothing is written."""
    before = items(stores)
    account = await open_account(stores)
    verification = Verification(account, seen, bodies=bodies)
    every = [each async for each in verification.problems()]
    found = [(each.kind, each.what) for each in every if with_history or not each.history]
    await account.aclose()
    assert items(stores) == before
    return found, verification.progress


async def problems(whole: Whole, changes: dict[Item, bytes | None], **how):
    stores = whole.copy()
    for item, value in changes.items():
        change(stores, item, value)
    return (await verified(stores, **how))[0]


async def test_a_sound_account(whole):
    found, progress = await verified(whole.stores)
    assert found == [] and progress.notes == []
    entries = sum(partition == LOG for partition, _ in whole.items)
    objects = sum(name.startswith(("entry/", "segment/", "piece/", CHECKPOINTS)) for _, name in whole.items)
    assert progress.looked["entries"] == entries and progress.looked["objects"] == objects
    assert progress.looked["letters"] == 3 and progress.looked["bodies"] > 20


def flipped(value: bytes) -> bytes:
    return value[:-1] + bytes([value[-1] ^ 1])


def told_of(item: Item) -> set[str]:
    """The kinds of problems that a damaged thing may be."""
    partition, name = item
    if partition:
        return {LOG: {"entry"}, "incoming": {"letter"}}.get(partition, {"row"})
    return {"body": {"body", "letter"}, "pack": {"body"}, "entry": {"entry", "object"}}.get(
        name.partition("/")[0], {"object"}
    )


async def test_whatever_is_changed_is_found_as_what_it_is(whole):
    for item, value in whole.items.items():
        # Slots are opened by their own passwords alone; what has no bytes has nothing to change.
        if not value or item[1].startswith("slot-") or item[0] == "usage":
            continue
        if item[1].startswith("keyring-"):
            continue  # with another keyring nothing opens at all
        with_bodies = item[1].startswith(("body/", "pack/"))
        found = await problems(whole, {item: flipped(value)}, bodies=with_bodies)
        needless = item[1].startswith("body/") and not found
        assert needless or {kind for kind, _ in found} & told_of(item), f"{item}: {found}"
        for bit in range(0, min(64, 8 * len(value)), 37):  # what is read before anything is opened
            first = bytes([value[bit // 8] ^ 1 << bit % 8])
            head = value[: bit // 8] + first + value[bit // 8 + 1 :]
            found = await problems(whole, {item: head}, bodies=with_bodies)
            assert needless or found, f"{item}, bit {bit}"


async def test_whatever_is_needed_and_goes_is_missed(whole):
    """Bodies of packs are there twice, and checkpoints that are not the newest may go."""
    for item in whole.items:
        partition, name = item
        if partition or name.startswith(CHECKPOINTS):
            continue
        found = await problems(whole, {item: None}, bodies=False)
        words = [what for _, what in found]
        if name.startswith("body/"):
            assert found == [] or [kind for kind, _ in found] == ["missing"], f"{item}: {found}"
        else:
            assert any(name.split("/")[1][-16:] in what for what in words), f"{item}: {found}"
    bodies = [item for item in whole.items if item[1].startswith("body/")]
    found = await problems(whole, dict.fromkeys(bodies), bodies=False)
    waiting = [what for kind, what in found if "a letter that waits is missing" in what]
    assert len(waiting) == 3
    live = [what for kind, what in found if "the body of message UID " in what and " in INBOX" in what]
    assert live and {kind for kind, _ in found} == {"missing"}


async def test_what_a_rotation_of_bodies_has_deleted_is_not_missed(whole):
    stores = whole.copy()
    with small():
        account = await open_account(stores)
        before = set(await account.store.list("pack/"))
        slot = next(iter(account.holding.slots.values()))
        report = await rotation.rotate(account, slot, bodies=True, lag=0.0)
        assert not report.left and not before & set(await account.store.list("pack/"))
        await account.aclose()
    found, progress = await verified(stores)
    assert found == []
    assert any("packs of bodies of removed messages" in note for note in progress.notes) == bool(before)
    assert await audit(await open_account(stores)) == []


async def test_entries_that_go_are_missed_but_for_the_last(whole):
    keys = sorted(key for partition, key in whole.items if partition == LOG)
    for key in keys:
        found = await problems(whole, {(LOG, key): None}, bodies=False)
        if (LOG, key) not in whole.unknowable:
            assert any(kind == "gap" for kind, _ in found), key


async def test_the_end_of_the_log_is_missed_by_who_has_seen_it(whole, tmp_path):
    seen = Seen(tmp_path)
    account = await open_account(whole.copy())
    await seen.note(account)
    await account.aclose()
    last = max(item for item in whole.items if item[0] == LOG)
    assert [kind for kind, _ in await problems(whole, {last: None}, seen=seen)] == ["rollback"]
    assert (await verified(whole.copy(), seen=seen))[0] == []


async def test_an_entry_in_the_place_of_another(whole):
    """A row put back under another key does not open: it is bound to it."""
    one, other = sorted(item for item in whole.items if item[0] == LOG)[:2]
    found = await problems(whole, {one: whole.items[other], other: whole.items[one]}, bodies=False)
    assert [kind for kind, _ in found].count("entry") == 2


async def test_what_is_not_needed_is_named_as_such(whole):
    name = "segment/" + "ab" * 16 + "/digest"
    [(kind, what)] = await problems(whole, {("", name): b"nonsense"})
    assert kind == "object" and name in what and "(nothing needs it)" in what


async def test_bodies_are_opened_only_when_that_is_asked_for(whole):
    """Each that a message has, wherever it is."""
    packs = [item for item in whole.items if item[1].startswith("pack/")]
    bodies = [item for item in whole.items if item[1].startswith("body/")]
    damage = {item: flipped(whole.items[item]) for item in packs + bodies}
    assert await problems(whole, damage, bodies=False) == []
    found = await problems(whole, damage)
    assert sum(kind == "letter" for kind, _ in found) == 3
    assert any(kind == "body" and "of message UID " in what for kind, what in found)
    short = {item: whole.items[item][:-1] for item in packs}
    if short:
        found = await problems(whole, short)
        assert any("too short" in what for _, what in found)


async def test_large_bodies_are_opened_a_piece_at_a_time(world, account, monkeypatch):
    monkeypatch.setattr(body_check, "LARGE", 1000)
    monkeypatch.setattr(body_check, "PIECE", 1000)
    await put(account, "INBOX", *letters(0, 2, size=100), b"Subject: x\r\n\r\n" + Random(5).randbytes(8000))
    stores = world.stores
    unlocked = world.unlocked[account.id]

    async def found(**change):
        verification = Verification(await world.open(), NOBODY, bodies=True)
        return [(each.kind, each.what) async for each in verification.problems()]

    assert unlocked and await found() == []
    data = stores._accounts[account.id]
    [name] = [name for name, body in data.objects.items() if len(body) > 5000]
    whole = data.objects[name]
    for changed in (
        flipped(whole),
        whole[:-1],
        whole[:3000],
        whole[:1] + flipped(whole[1:2000]) + whole[2000:],
    ):
        data.objects[name] = changed
        [(kind, what)] = await found()
        assert kind == "body" and "message UID 3 in INBOX" in what
    data.objects[name] = whole


async def test_bodies_that_a_rotation_has_deleted_are_no_problem(world, account):
    await put(account, "INBOX", *letters(0, 3))
    table = account.find("INBOX")
    await account.store_flags(table, [2], "+", ["\\Deleted"])
    await account.expunge(table)
    data = world.stores._accounts[account.id]
    removed = [name for name in data.objects if name.startswith("body/")][1]
    del data.objects[removed]
    verification = Verification(await world.open(), NOBODY, bodies=True)
    assert [each async for each in verification.problems()] == []
    [note] = verification.progress.notes
    assert "1 bodies of removed messages are gone" in note


async def test_after_passwords_have_changed(whole):
    stores = whole.copy()
    store = await stores.open(ID)
    await passwords.create_app_password(store, ID, PASSWORD, "another")
    assert (await verified(stores))[0] == []


# --- beside what changes a store rightly


LOOKED_AT = {
    *(Fault.ENTRY, Fault.GAP, Fault.LINK, Fault.CHECKPOINT, Fault.DIGEST, Fault.OBJECT),
    *(Fault.BODY, Fault.PACK, Fault.LETTER, Fault.SLOT, Fault.KEYRING, Fault.PUBLIC, Fault.USE),
}


@pytest.mark.parametrize("breaker", BREAKERS, ids=lambda breaker: breaker.name)
async def test_what_is_broken_is_found_and_nothing_after_the_repair(whole, breaker):
    if breaker.serial not in (None, whole.stores.serial):
        pytest.skip("it is a fault of the other kind of store")
    stores = whole.copy()
    with small():
        with earlier(HOUR // 2):
            await breaker.act(stores)
        if breaker.kind in LOOKED_AT and breaker.name != "a_digest_is_not_that_of_its_letter":
            assert (await verified(stores))[0] != []
        outcome = await repair(lambda: opened(stores), lag=0.0)
        found, _ = await verified(stores, with_history=False)
        assert found == [] or not outcome.mended


@pytest.fixture
def wall():
    """The time of day, which goes on when it is told to."""
    with calendar() as wall:
        yield wall


async def test_what_compaction_has_removed_is_not_missed(world, account, wall):
    account.policy = Policy(retention=2 * DAY)
    for day in range(8):
        other = await world.open()  # another process each day; entries of it go, and it is forgotten
        other.policy = account.policy
        await put(other, "INBOX", *letters(10 * day, 5))
        table = other.find("INBOX")
        await other.store_flags(table, list(table.uids[:2]), "+", ["\\Deleted"])
        await other.expunge(table)
        await other.fold(force=True)
        await compact(other)
        looking = await world.open()
        looking.policy = account.policy
        verification = Verification(looking, NOBODY, bodies=True)
        assert [each async for each in verification.problems()] == [], day
        wall.now += DAY
    [first, *_], _ = await account.store.read(LOG)
    assert int(first.key[:16], 16) >> 20 > START * 1000, "entries have gone"


async def test_a_gap_above_what_compaction_has_removed_is_missed(world, account, wall):
    account.policy = Policy(retention=2 * DAY)
    for day in range(6):
        await put(account, "INBOX", *letters(10 * day, 3))
        await account.fold(force=True)
        await compact(account)
        wall.now += DAY
    rows, _ = await account.store.read(LOG)
    await account.store.delete_rows(LOG, [rows[-2].key])
    looking = await world.open()
    found = [each async for each in Verification(looking, NOBODY).problems()]
    assert [each.kind for each in found] == ["gap"]
    world.expected = await audit(looking)


async def test_a_store_that_changes_meanwhile(world, account, wall):
    """Between any two calls somebody delivers, or compacts: nothing is found that is not so."""
    account.policy = Policy(retention=2 * DAY)
    for day in range(5):
        await put(account, "INBOX", *letters(10 * day, 3))
        await account.fold(force=True)
        wall.now += DAY
    number = 0

    async def busy():
        nonlocal number
        number += 1
        if number % 5 == 0:
            await put(account, "INBOX", *letters(1000 + number, 2))
        if number % 7 == 0:
            await account.fold(force=True)
        if number % 11 == 0:
            await compact(account)

    class Between:
        """A store between whose calls others are busy."""

        def __init__(self, store):
            self._store = store

        def __getattr__(self, name):
            real = getattr(self._store, name)
            if name not in ("page", "read", "list", "sizes", "get", "get_many"):
                return real

            async def call(*args, **options):
                found = await real(*args, **options)
                await busy()
                return found

            return call

    store = Between(await world.stores.open(account.id))
    looking = await Account.open(store, account.id, world.unlocked[account.id])
    looking.policy = account.policy
    found = [each async for each in Verification(looking, NOBODY, bodies=True).problems()]
    assert found == [] and number > 20
