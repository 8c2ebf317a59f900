"""The keys of an account, as they are read and opened."""

import threading

import pytest
import trio

from aerogramme.errors import AlreadyExists, AuthenticationFailed, Damaged, NoSuchUser
from aerogramme.mailbox.keys import keys, passwords
from aerogramme.seal import Argon2Params, Binding, Code, Secret, Slot
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row
from tests.helpers.damage import other_end
from tests.t3_mailbox.conftest import public_key

ID = "00112233445566778899aabbccddeeff"
CHEAP = Argon2Params(memory=8, passes=1, lanes=1)
OLD, NEW = Secret("old"), Secret("new")


async def account(stores: MemoryStores, password: Secret = OLD) -> Code:
    store = await stores.open(ID, create=True)
    _, code = await passwords.create_keys(store, ID, password, CHEAP)
    assert code is not None
    return code


async def opens(stores: MemoryStores, secret: Secret) -> bool:
    try:
        unlocked = await keys.unlock(await stores.open(ID), ID, secret)
    except AuthenticationFailed:
        return False
    assert unlocked.keyring.account.hex() == ID
    return True


@pytest.fixture(params=[True, False], ids=["serial", "not serial"])
def stores(request) -> MemoryStores:
    return MemoryStores(serial=request.param)


async def test_password_and_recovery_code_open_the_same_keyring(stores) -> None:
    code = await account(stores)
    store = await stores.open(ID)
    by_password = await keys.unlock(store, ID, OLD)
    sealed = by_password.keyring.seal("entry", "x", b"plain")
    typed = Secret(code.reveal().lower().replace("-", " "))
    by_code = await keys.unlock(store, ID, typed)
    assert by_code.keyring.open("entry", "x", sealed) == b"plain"
    assert (by_password.slot.kind, by_code.slot.kind) == ("password", "recovery")
    assert "old" not in repr(by_password)
    with pytest.raises(AuthenticationFailed):
        await keys.unlock(store, ID, NEW)


async def test_a_replaced_public_key_is_seen_at_the_next_login(stores, caplog) -> None:
    await account(stores)
    store = await stores.open(ID)
    assert await opens(stores, OLD) and not caplog.records
    other = MemoryStores()
    await account(other)
    rows, _ = await (await other.open(ID)).read(keys.PARTITION)
    [(key, forged)] = [row for row in rows if row.key.startswith(keys.PUBLIC)]
    await store.delete_rows(keys.PARTITION, [key])
    await store.append(keys.PARTITION, [Row(key, forged)])
    assert await opens(stores, OLD)
    assert "not its own" in caplog.text


async def test_an_account_is_created_once(stores) -> None:
    await account(stores)
    with pytest.raises(AlreadyExists):
        await account(stores, NEW)
    assert await opens(stores, OLD)


async def test_no_keys_is_no_user(stores) -> None:
    store = await stores.open(ID, create=True)
    with pytest.raises(NoSuchUser):
        await keys.unlock(store, ID, OLD)


def test_logins_cut_off_with_their_run_leave_no_place_taken(monkeypatch) -> None:
    """A run of trio that ends while passwords are stretched must not block the logins of the next one."""
    slot, _ = Slot.create(OLD, "password", "", CHEAP)
    begun, go_on = threading.Semaphore(0), threading.Event()
    unlock = Slot.unlock

    def waits(self, secret):
        begun.release()
        assert go_on.wait(60)
        return unlock(self, secret)

    async def cut_off() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(keys.AT_ONCE):
                nursery.start_soon(keys.stretch, slot, OLD)
            for _ in range(keys.AT_ONCE):
                await trio.to_thread.run_sync(begun.acquire)
            nursery.cancel_scope.cancel()

    async def try_again() -> str:
        with trio.fail_after(60):
            return (await keys.stretch(slot, OLD)).kind

    with monkeypatch.context() as patch:
        patch.setattr(Slot, "unlock", waits)
        trio.run(cut_off)
    go_on.set()
    assert trio.run(try_again) == "password"


async def test_letters_are_sealed_to_the_public_key(stores) -> None:
    await account(stores)
    store = await stores.open(ID)
    public = await public_key(store, ID)
    binding = Binding(bytes.fromhex(ID), "letter", "x")
    unlocked = await keys.unlock(store, ID, OLD)
    assert unlocked.keyring.open_incoming(public.seal(b"plain", binding), binding) == b"plain"


async def test_damaged_keys_are_named_and_harm_only_themselves(stores) -> None:
    code = await account(stores)
    store = await stores.open(ID)
    rows, _ = await store.read("keys")
    data = stores._accounts[ID].partitions["keys"].rows
    public = next(key for key, _ in rows if key.startswith("public-"))
    data[public] = other_end(data[public])
    with pytest.raises(Damaged):
        await public_key(store, ID)
    for key in [key for key, _ in rows if key.startswith("slot-")]:
        whole, data[key] = data[key], data[key][:100]
        assert sorted([await opens(stores, OLD), await opens(stores, code.secret)]) == [False, True]
        data[key] = whole
    keyring = next(key for key, _ in rows if key.startswith("keyring-"))
    data[keyring] = data[keyring][:-1]
    with pytest.raises(Damaged):
        await keys.unlock(store, ID, OLD)
