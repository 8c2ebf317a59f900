"""The first login of a user who had a password on another server: it is known by its hash only, and becomes
the password here."""

import hashlib

import pytest
import trio

from aerogramme.errors import AlreadyExists, AuthenticationFailed, Damaged, Refused
from aerogramme.mailbox.accounts import FAILURE_TIME, SLOWEST_HASH, Accounts
from aerogramme.mailbox.keys import invitations, keys, passwords
from aerogramme.seal import Code, Keyring, Secret
from aerogramme.seal.hashes import PasswordHash, Setting, b64
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStores
from tests.t3_mailbox.conftest import CHEAP

ID = "00112233445566778899aabbccddeeff"
KEY = Secret(bytes(range(32)))
PASSWORD, CHANGED = Secret("of the other server"), Secret("changed there")


def kept(password: Secret, salt: bytes = b"salt") -> PasswordHash:
    return PasswordHash(
        Setting.parse("sha256:" + b64(salt)), hashlib.sha256(password.reveal() + salt).digest()
    )


@pytest.fixture(params=[True, False], ids=["serial", "not serial"])
def stores(request: pytest.FixtureRequest) -> MemoryStores:
    return MemoryStores(serial=request.param)


async def moved(stores: MemoryStores, by: PasswordHash | Secret | None = None) -> Keyring:
    """The account of a user who comes; gives what whoever moves him may have seen."""
    store = await stores.open(ID, create=True)
    return (await passwords.create_invited(store, ID, KEY, by or kept(PASSWORD), CHEAP)).keyring


async def enter(stores: MemoryStores, password: Secret) -> Keyring:
    found = await keys.StoredKeys.read(await stores.open(ID))
    return (await invitations.unlock(ID, password, found, params=CHEAP)).keyring


async def opens(stores: MemoryStores, *secrets: Secret) -> list[bool]:
    outcomes = []
    for secret in secrets:
        try:
            await keys.unlock(await stores.open(ID), ID, secret)
            outcomes.append(True)
        except AuthenticationFailed:
            outcomes.append(False)
    return outcomes


async def opens_by_key(stores: MemoryStores) -> bool:
    """Whether whoever has moved the user can open the account yet."""
    stored = await keys.StoredKeys.read(await stores.open(ID))
    for slot in stored.slots.values():
        if slot.kind == "invitation" and not slot.hashed:
            try:
                return (await stored.unlock_slot(ID, slot.unlock(KEY))).keyring.account.hex() == ID
            except AuthenticationFailed:  # its row is there yet
                return False
    return False


async def kinds(stores: MemoryStores) -> list[str]:
    stored = await keys.StoredKeys.read(await stores.open(ID))
    return sorted(slot.kind for slot in stored.slots.values())


async def test_the_first_right_password_becomes_the_password(stores) -> None:
    seen = await moved(stores)
    assert await opens_by_key(stores)
    for wrong in (CHANGED, Secret(""), Secret(kept(PASSWORD).digest), Secret(kept(PASSWORD).digest.hex())):
        with pytest.raises(AuthenticationFailed):
            await enter(stores, wrong)
    assert await kinds(stores) == ["invitation", "invitation"]
    first = await enter(stores, PASSWORD)
    assert await kinds(stores) == ["password", "recovery"]
    assert await opens(stores, PASSWORD) == [True] and not await opens_by_key(stores)
    with pytest.raises(Damaged):
        seen.open("entry", "x", first.seal("entry", "x", b"not for who moved the user"))
    assert (await enter(stores, PASSWORD)).version == first.version, "the second login writes nothing"
    with pytest.raises(AuthenticationFailed):
        await enter(stores, CHANGED)


async def test_until_then_the_password_opens_the_mailbox_and_changes_nothing(stores) -> None:
    await moved(stores)
    store = await stores.open(ID)
    assert await opens(stores, PASSWORD) == [True]
    with pytest.raises(Refused, match="changes no keys"):
        await passwords.change_password(store, ID, PASSWORD, CHANGED, CHEAP)
    await passwords.accept_invitation(store, ID, PASSWORD, CHANGED, CHEAP)
    assert await opens(stores, PASSWORD, CHANGED) == [False, True]


async def test_somebody_without_a_hash_has_a_code(stores) -> None:
    code = Code.generate("invitation")
    await moved(stores, code.secret)
    with pytest.raises(AuthenticationFailed):
        await enter(stores, PASSWORD)
    assert await passwords.renew_invitation(await stores.open(ID), ID, KEY, kept(PASSWORD), CHEAP)
    assert await opens(stores, code.secret, PASSWORD) == [False, True]


async def test_the_connections_of_one_program_all_get_in(stores) -> None:
    await moved(stores)
    entered = []

    async def one() -> None:
        entered.append(await enter(stores, PASSWORD))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(one)
    assert len(entered) == 4
    assert await kinds(stores) == ["password", "recovery"]


async def test_a_hash_is_renewed_while_nobody_has_come(stores) -> None:
    await moved(stores)
    store = await stores.open(ID)
    assert not await passwords.renew_invitation(store, ID, KEY, kept(PASSWORD), CHEAP)
    assert await passwords.renew_invitation(store, ID, KEY, kept(CHANGED), CHEAP)
    assert await opens(stores, PASSWORD, CHANGED) == [False, True]
    assert await passwords.renew_invitation(store, ID, KEY, kept(CHANGED, b"other salt"), CHEAP)
    with pytest.raises(AuthenticationFailed, match="another key"):
        await passwords.renew_invitation(store, ID, Secret(bytes(32)), kept(PASSWORD), CHEAP)
    assert await kinds(stores) == ["invitation", "invitation"]
    await enter(stores, CHANGED)
    with pytest.raises(AlreadyExists):
        await passwords.renew_invitation(store, ID, KEY, kept(PASSWORD), CHEAP)
    assert await opens(stores, PASSWORD, CHANGED) == [False, True]


async def test_a_crash_at_any_call_of_the_first_login_and_the_next_finishes(stores) -> None:
    for call in range(1, 60):
        for steps in range(5):
            fresh = MemoryStores(serial=stores.serial)
            letter = (await moved(fresh)).seal("entry", "x", b"from before")
            try:
                await enter(fresh.another(CrashAt(call, steps=steps)), PASSWORD)
                finished = True
            except Crash:
                finished = False
            assert (await enter(fresh, PASSWORD)).open("entry", "x", letter) == b"from before"
            last = await enter(fresh, PASSWORD)
            assert sorted(member.kind for member in last.members) == ["password", "recovery"], (call, steps)
            assert not await opens_by_key(fresh)
            if finished:
                return
    raise AssertionError("it never came to an end")


async def test_a_crash_at_any_call_of_a_renewal_leaves_one_of_the_two(stores) -> None:
    for call in range(1, 30):
        for steps in range(5):
            fresh = MemoryStores(serial=stores.serial)
            await moved(fresh)
            store = await fresh.another(CrashAt(call, steps=steps)).open(ID)
            try:
                finished = await passwords.renew_invitation(store, ID, KEY, kept(CHANGED), CHEAP)
            except Crash:
                finished = False
            assert any(await opens(fresh, PASSWORD, CHANGED)), (call, steps)
            store = await fresh.open(ID)
            await passwords.renew_invitation(store, ID, KEY, kept(CHANGED), CHEAP)
            assert await opens(fresh, PASSWORD, CHANGED) == [False, True], (call, steps)
            if finished:
                return
    raise AssertionError("it never came to an end")


async def test_a_password_that_is_changed_after_a_first_login_that_was_cut_short(stores) -> None:
    """The old one opens nothing then, though the invitation was never taken away."""
    for call in range(1, 60):
        fresh = MemoryStores(serial=stores.serial)
        await moved(fresh)
        try:
            await enter(fresh.another(CrashAt(call)), PASSWORD)
            return
        except Crash:
            ...
        if "password" not in await kinds(fresh):
            continue
        try:
            await passwords.change_password(await fresh.open(ID), ID, PASSWORD, CHANGED, CHEAP)
        except Refused:  # its slot was written, and no keyring that knows it
            continue
        assert await opens(fresh, PASSWORD, CHANGED) == [False, True]
        assert not await opens_by_key(fresh)
        assert (await enter(fresh, CHANGED)).account.hex() == ID
    raise AssertionError("it never came to an end")


async def test_who_has_not_come_yet_is_not_told_by_the_time(stores, monkeypatch) -> None:
    """What the hash costs, all failures take once one has taken it."""
    await moved(stores)
    accounts = Accounts(stores)
    waited: list[float] = []
    now = cost = 0.0

    async def sleep_until(moment: float) -> None:
        waited.append(moment - now)

    def digest(self: Setting, password: bytes) -> bytes:
        nonlocal now
        now += cost
        return b"another"

    monkeypatch.setattr(trio, "current_time", lambda: now)
    monkeypatch.setattr(trio, "sleep_until", sleep_until)
    monkeypatch.setattr(Setting, "digest", digest)
    for seconds, account, floor in (
        (0.0, None, FAILURE_TIME),
        (0.5, ID, FAILURE_TIME),
        (0.0, None, FAILURE_TIME + 0.5),
        (0.2, ID, FAILURE_TIME + 0.3),
        (100.0, ID, FAILURE_TIME + SLOWEST_HASH - 100),
        (0.0, None, FAILURE_TIME + SLOWEST_HASH),
    ):
        cost = seconds
        with pytest.raises(AuthenticationFailed):
            await accounts.login(account, Secret("wrong"), None, name="somebody")
        assert waited.pop() == pytest.approx(floor)
