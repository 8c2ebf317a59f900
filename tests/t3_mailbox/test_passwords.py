"""What changes the keys of an account: with a crash at every step, and two at the same time."""

from collections.abc import Awaitable, Callable
from random import Random

import pytest
import trio
from trio.testing import MockClock

from aerogramme.errors import AlreadyExists, AuthenticationFailed, Damaged, Refused, Unavailable
from aerogramme.mailbox.keys import changing, keys, passwords, uses
from aerogramme.seal import Argon2Params, Code, Secret
from aerogramme.store.faults import Crash, CrashAt, Faults
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Store
from tests.t3_mailbox.conftest import public_key

ID = "00112233445566778899aabbccddeeff"
CHEAP = Argon2Params(memory=8, passes=1, lanes=1)
OLD, NEW, THIRD = Secret("old"), Secret("new"), Secret("third")
INVITATION = Code.generate("invitation")

Verb = Callable[[Store, Secret], Awaitable[object]]


@pytest.fixture(params=[True, False], ids=["serial", "not serial"])
def stores(request) -> MemoryStores:
    return MemoryStores(serial=request.param)


async def account(stores: MemoryStores) -> Code:
    _, code = await passwords.create_keys(await stores.open(ID, create=True), ID, OLD, CHEAP)
    assert code is not None
    return code


async def opens(stores: MemoryStores, secret: Secret) -> bool:
    try:
        unlocked = await keys.unlock(await stores.open(ID), ID, secret)
    except AuthenticationFailed:
        return False
    return unlocked.keyring.account.hex() == ID


async def rows(stores: MemoryStores) -> list[str]:
    """The kinds of rows among the keys, sorted."""
    found, _ = await (await stores.open(ID)).read("keys")
    return sorted(row.key.split("-")[0] for row in found)


async def test_a_changed_password_replaces_the_old_one(stores) -> None:
    code = await account(stores)
    store = await stores.open(ID)
    app = await passwords.create_app_password(store, ID, OLD, "phone", read_only=True)
    await passwords.change_password(store, ID, OLD, NEW, CHEAP)
    assert [await opens(stores, each) for each in (OLD, NEW, app.secret, code.secret)] == [
        *(False, True, True, True)
    ]
    slot = (await keys.unlock(store, ID, app.secret)).slot
    assert (slot.read_only, slot.label) == (True, "phone")
    assert await rows(stores) == ["keyring", "public", "slot", "slot", "slot"], "nothing old is left"


async def test_the_recovery_code_sets_a_new_password(stores) -> None:
    code = await account(stores)
    await passwords.change_password(await stores.open(ID), ID, code.secret, NEW, CHEAP)
    assert [await opens(stores, each) for each in (OLD, NEW, code.secret)] == [False, True, True]


async def test_a_new_recovery_code_replaces_the_old_one(stores) -> None:
    old = await account(stores)
    new = await passwords.new_recovery_code(await stores.open(ID), ID, OLD, CHEAP)
    assert [await opens(stores, each) for each in (OLD, old.secret, new.secret)] == [True, False, True]
    assert await rows(stores) == ["keyring", "public", "slot", "slot"]


async def test_app_passwords_are_listed_used_and_revoked(stores) -> None:
    await account(stores)
    store = await stores.open(ID)
    phone = await passwords.create_app_password(store, ID, OLD, "phone")
    backup = await passwords.create_app_password(store, ID, OLD, "backup", read_only=True)
    with pytest.raises(AlreadyExists):
        await passwords.create_app_password(store, ID, OLD, "phone")
    opened = await keys.unlock(store, ID, phone.secret)
    for now in (86400 * 3 + 5, 86400 * 3 + 9, 86400 * 2):
        await uses.note(store, opened.keyring, opened.slot.public.fingerprint, now)
    assert len((await store.read("uses"))[0]) == 1
    listed = await passwords.list_slots(store, ID, OLD)
    assert {(slot.kind, slot.label, slot.read_only, slot.last_used) for slot in listed} == {
        ("password", "", False, None),
        ("recovery", "", False, None),
        ("app", "phone", False, 86400 * 3),
        ("app", "backup", True, None),
    }
    with pytest.raises(Refused, match="no such"):
        await passwords.revoke(store, ID, OLD, "tablet")
    assert (await passwords.revoke(store, ID, OLD, "phone")).label == "phone"
    identity = next(slot for slot in listed if slot.label == "backup").fingerprint.hex()
    assert [await opens(stores, each.secret) for each in (phone, backup)] == [False, True]
    assert (await store.read("uses"))[0] == []
    await passwords.revoke(store, ID, OLD, identity[:8])
    assert not await opens(stores, backup.secret) and await opens(stores, OLD)
    assert await rows(stores) == ["keyring", "public", "slot", "slot"]


@pytest.mark.parametrize("read_only", [True, False])
async def test_an_app_password_changes_nothing(stores, read_only) -> None:
    await account(stores)
    store = await stores.open(ID)
    app = (await passwords.create_app_password(store, ID, OLD, "phone", read_only=read_only)).secret
    before = await store.read("keys")
    for change in (
        lambda: passwords.change_password(store, ID, app, NEW, CHEAP),
        lambda: passwords.create_app_password(store, ID, app, "more"),
        lambda: passwords.new_recovery_code(store, ID, app, CHEAP),
        lambda: passwords.revoke(store, ID, app, "phone"),
        lambda: passwords.accept_invitation(store, ID, app, NEW, CHEAP),
    ):
        with pytest.raises(Refused):
            await change()
    assert (await store.read("keys"))[0] == before[0]


async def test_an_invitation_becomes_a_password_and_new_keys(stores) -> None:
    store = await stores.open(ID, create=True)
    made, none = await passwords.create_keys(store, ID, INVITATION.secret, CHEAP, invitation=True)
    seen = made.keyring
    assert none is None
    with pytest.raises(Refused):
        await passwords.change_password(store, ID, INVITATION.secret, NEW, CHEAP)
    typed = Secret(INVITATION.reveal().lower().replace("-", " "))
    code = await passwords.accept_invitation(store, ID, typed, NEW, CHEAP)
    assert [await opens(stores, each) for each in (INVITATION.secret, NEW, code.secret)] == [
        *(False, True, True)
    ]
    now = (await keys.unlock(store, ID, NEW)).keyring
    assert [each.number for each in now.generations][:1] == [each.number for each in seen.generations]
    assert now.current != seen.current
    with pytest.raises(Damaged):
        seen.open("entry", "x", now.seal("entry", "x", b"what the administrator may not read"))
    public = await public_key(store, ID)
    assert public.generation == now.current


async def test_a_generation_is_added_and_published(stores) -> None:
    code = await account(stores)
    store = await stores.open(ID)
    stored = await keys.StoredKeys.read(store)
    before = await stored.unlock(ID, OLD)
    sealed = before.keyring.seal("entry", "x", b"old")
    after = await passwords.add_generation(store, ID, stored, before.slot)
    public = await public_key(store, ID)
    assert public.generation == after.current > before.keyring.current
    for secret in (OLD, code.secret):
        found = (await keys.unlock(store, ID, secret)).keyring
        assert found.current == after.current and found.open("entry", "x", sealed) == b"old"
    assert await rows(stores) == ["keyring", "public", "public", "rotating", "slot", "slot"]


# --- crashes ----------------------------------------------------------------------------------------------


async def accept(store: Store, _: Secret) -> object:
    return await passwords.accept_invitation(store, ID, INVITATION.secret, NEW, CHEAP)


async def rotate(store: Store, opener: Secret) -> object:
    stored = await keys.StoredKeys.read(store)
    return await passwords.add_generation(store, ID, stored, (await stored.unlock(ID, opener)).slot)


VERBS: dict[str, Verb] = {
    "passwd": lambda store, opener: passwords.change_password(store, ID, opener, NEW, CHEAP),
    "app": lambda store, opener: passwords.create_app_password(store, ID, opener, "tablet"),
    "revoke": lambda store, opener: passwords.revoke(store, ID, opener, "phone"),
    "code": lambda store, opener: passwords.new_recovery_code(store, ID, opener, CHEAP),
    "accept": accept,
    "rotate": rotate,
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_crash_at_any_step_leaves_what_was_or_what_shall_be(stores, verb, monkeypatch) -> None:
    for call in range(1, 30):
        for steps in range(5):
            fresh = MemoryStores(serial=stores.serial)
            store = await fresh.open(ID, create=True)
            first = INVITATION.secret if verb == "accept" else OLD
            _, code = await passwords.create_keys(store, ID, first, CHEAP, invitation=verb == "accept")
            if verb == "revoke":
                await passwords.create_app_password(store, ID, OLD, "phone")
            before = (await keys.unlock(store, ID, first)).keyring
            sealed = before.seal("entry", "x", b"mail")
            crashing = await fresh.another(CrashAt(call, steps=steps)).open(ID)
            try:
                await VERBS[verb](crashing, OLD)
            except Crash:
                finished = False
            else:
                finished = True
            opening = [secret for secret in (first, NEW, THIRD) if await opens(fresh, secret)]
            assert opening, (call, steps)
            for secret in [*opening, *([code.secret] if code and verb != "code" else [])]:
                keyring = (await keys.unlock(store, ID, secret)).keyring
                assert keyring.open("entry", "x", sealed) == b"mail"
                public = await public_key(store, ID)
                assert public.generation in [each.number for each in keyring.generations]
            if finished:
                return
            # And it can be done again, by whoever is left.
            if verb == "accept":
                if first in opening:
                    await accept(store, OLD)
            elif verb == "passwd":
                await passwords.change_password(store, ID, opening[0], THIRD, CHEAP)
                assert [await opens(fresh, each) for each in (OLD, NEW, THIRD)] == [False, False, True]
            else:
                try:
                    await VERBS[verb](store, OLD)
                except (AlreadyExists, Refused):
                    assert verb in ("app", "revoke"), "it had been done"
            left = [secret for secret in (OLD, NEW, THIRD) if await opens(fresh, secret)]
            await passwords.new_recovery_code(store, ID, left[0], CHEAP)
            kinds = await rows(fresh)
            assert kinds.count("keyring") == 1
            members = {m.fingerprint.hex() for m in (await _keyring(store)).members}
            assert members <= await slots(store)
            with monkeypatch.context() as later:
                later.setattr(changing, "ORPHAN_SECONDS", -60)  # time goes by
                await passwords.new_recovery_code(store, ID, left[0], CHEAP)
            members = {m.fingerprint.hex() for m in (await _keyring(store)).members}
            assert await slots(store) == members, "none is left that is not in the keyring"
    raise AssertionError("the change never finished")


async def slots(store: Store) -> set[str]:
    return {row.key[5:] for row in (await store.read("keys"))[0] if row.key.startswith("slot-")}


async def _keyring(store: Store):
    for secret in (OLD, NEW, THIRD, INVITATION.secret):
        try:
            return (await keys.unlock(store, ID, secret)).keyring
        except AuthenticationFailed:
            continue
    raise AssertionError("nothing opens it")


async def test_a_crash_at_any_step_of_a_creation_leaves_a_whole_account_or_none(stores) -> None:
    for call in range(1, 10):
        for steps in range(6):
            fresh = MemoryStores(serial=stores.serial)
            store = await fresh.open(ID, create=True)
            crashing = await fresh.another(CrashAt(call, steps=steps)).open(ID)
            try:
                await passwords.create_keys(crashing, ID, OLD, CHEAP)
                return
            except Crash:
                ...
            try:
                await passwords.create_keys(store, ID, NEW, CHEAP)
            except AlreadyExists:
                assert await opens(fresh, OLD)
            else:
                assert await opens(fresh, NEW)
            await public_key(store, ID)
            assert await rows(fresh) == ["keyring", "public", "slot", "slot"]
    raise AssertionError("it never finished")


# --- several at once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
async def test_changes_at_the_same_time_on_a_bad_network(seed: int, autojump_clock: MockClock) -> None:
    """On a store that does not serialize: no acknowledged change is lost, and nothing that was sealed under
    a generation that anybody has seen."""
    stores = MemoryStores(serial=False)
    await account(stores)
    random = Random(seed)
    faults = [Faults(Random(random.random())) for _ in range(3)]
    sealed: list[bytes] = []
    apps: dict[str, Code] = {}
    gone: list[Code] = []
    generations: set[int] = set()

    async def change(n: int) -> None:
        store = await stores.another(faults[n]).open(ID)
        for turn in range(4):
            await trio.sleep(random.random())
            label = f"{n} {turn}"
            try:
                match random.randrange(4):
                    case 0:
                        apps[label] = await passwords.create_app_password(store, ID, OLD, label)
                    case 1 if apps:
                        which = random.choice(sorted(apps))
                        code = apps.pop(which)
                        await passwords.revoke(store, ID, OLD, which)
                        gone.append(code)
                    case 2:
                        generations.add((await rotate(store, OLD)).current)  # type: ignore[attr-defined]
                    case _:
                        keyring = (await keys.unlock(store, ID, OLD)).keyring
                        sealed.append(keyring.seal("entry", "x", b"mail"))
            except (Unavailable, AuthenticationFailed, Refused) as error:
                assert not isinstance(error, AuthenticationFailed), "the password is never changed here"

    async with trio.open_nursery() as nursery:
        for n in range(3):
            nursery.start_soon(change, n)
    for each in faults:
        each.reliable = True
    store = await stores.open(ID)
    keyring = (await keys.unlock(store, ID, OLD)).keyring
    assert all(keyring.open("entry", "x", each) == b"mail" for each in sealed)
    assert generations <= {each.number for each in keyring.generations}
    for code in apps.values():
        assert await opens(stores, code.secret)
    for code in gone:
        assert not await opens(stores, code.secret)
