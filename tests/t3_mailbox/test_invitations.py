"""Invitations that are accepted at a login: what is taken for one, and what opens the account afterwards."""

import pytest
import trio

from aerogramme.errors import AuthenticationFailed, Damaged
from aerogramme.mailbox.keys import keys, passwords
from aerogramme.mailbox.keys.invitations import Acceptance, accept
from aerogramme.seal import Code, Keyring, Secret
from aerogramme.store.faults import Crash, CrashAt
from aerogramme.store.memory import MemoryStores
from tests.t3_mailbox.conftest import CHEAP

ID = "00112233445566778899aabbccddeeff"
CODE = Code.generate("invitation")
NEW, OTHER = Secret("correct horse battery"), Secret("another")


@pytest.fixture(params=[True, False], ids=["serial", "not serial"])
def stores(request) -> MemoryStores:
    return MemoryStores(serial=request.param)


async def invited(stores: MemoryStores) -> Keyring:
    """An account with an invitation; gives what the administrator may have seen."""
    store = await stores.open(ID, create=True)
    unlocked, code = await passwords.create_keys(store, ID, CODE.secret, CHEAP, invitation=True)
    assert code is None
    return unlocked.keyring


async def enter(stores: MemoryStores, password: Secret, code: Code = CODE) -> Keyring:
    found = await keys.StoredKeys.read(await stores.open(ID))
    return (await accept(ID, Acceptance(code.secret, password), found, params=CHEAP)).keyring


async def opens(stores: MemoryStores, *secrets: Secret) -> list[bool]:
    outcomes = []
    for secret in secrets:
        try:
            await keys.unlock(await stores.open(ID), ID, secret)
            outcomes.append(True)
        except AuthenticationFailed:
            outcomes.append(False)
    return outcomes


@pytest.mark.parametrize(
    "typed",
    [
        f"{CODE.reveal()} {NEW.reveal().decode()}",
        f"{CODE.reveal().lower().replace('-', ' ')} {NEW.reveal().decode()}",
        f"{CODE.reveal().replace('-', '').replace('0', 'o')} {NEW.reveal().decode()}",
    ],
    ids=["as it is told", "as it is typed", "without dashes"],
)
def test_a_code_and_a_password(typed):
    assert Acceptance.parse(typed.encode()) == Acceptance(CODE.secret, NEW)


def test_the_password_is_taken_as_it_is():
    for password in ("a", " a ", "  ", "ü", f"{CODE.reveal()}", f"{CODE.reveal()} a"):
        found = Acceptance.parse(f"{CODE.reveal()} {password}".encode())
        assert found is not None and found.password == Secret(password)


@pytest.mark.parametrize(
    "typed",
    [f"{CODE.reveal()}", f"{CODE.reveal()} ", f"{CODE.reveal().replace('-', ' ')}"],
    ids=["alone", "a space", "with spaces"],
)
def test_a_code_alone_is_told_what_is_missing(typed):
    with pytest.raises(AuthenticationFailed, match="a space, and a password"):
        Acceptance.parse(typed.encode())


@pytest.mark.parametrize(
    "typed",
    [
        b"",
        b" ",
        b"correct horse battery staple",
        f"{CODE.reveal()[:-1]}? password".encode(),
        f"{CODE.reveal()[1:]} password".encode(),
        f"{Code.generate('recovery').reveal()} password".encode(),
        f"{Code.generate('app').reveal()} password".encode(),
        f"password {CODE.reveal()}".encode(),
        CODE.reveal().encode() + b" \xff",
    ],
    ids=[
        *("nothing", "a space", "no code", "no letter", "too short", "recovery code", "app password"),
        *("turned round", "not UTF-8"),
    ],
)
def test_what_is_no_acceptance(typed):
    assert Acceptance.parse(typed) is None


def test_it_shows_nothing():
    assert CODE.reveal() not in repr(Acceptance(CODE.secret, NEW)) and "horse" not in repr(
        Acceptance(CODE.secret, NEW)
    )


async def test_the_first_login_accepts_and_the_same_text_goes_on_working(stores):
    seen = await invited(stores)
    first = await enter(stores, NEW)
    assert await opens(stores, NEW, CODE.secret) == [True, False]
    with pytest.raises(Damaged):
        seen.open("entry", "x", first.seal("entry", "x", b"not for the administrator"))
    again = await enter(stores, NEW)
    assert again.version == first.version, "the second login writes nothing"
    with pytest.raises(AuthenticationFailed):
        await enter(stores, OTHER)
    assert await opens(stores, NEW, OTHER) == [True, False]


async def test_a_code_that_is_not_this_accounts_sets_no_password(stores):
    await invited(stores)
    with pytest.raises(AuthenticationFailed):
        await enter(stores, NEW, Code.generate("invitation"))
    assert await opens(stores, NEW, CODE.secret) == [False, True]


async def test_the_connections_of_one_program_all_get_in(stores):
    await invited(stores)
    versions = []

    async def one() -> None:
        versions.append((await enter(stores, NEW)).version)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(one)
    assert len(versions) == 4
    assert await opens(stores, NEW, CODE.secret) == [True, False]
    stored = await keys.StoredKeys.read(await stores.open(ID))
    assert sorted(slot.kind for slot in stored.slots.values()) == ["password", "recovery"]


async def test_a_crash_at_any_call_leaves_a_way_in_and_the_next_login_finishes(stores):
    for call in range(1, 60):
        for steps in range(5):
            fresh = MemoryStores(serial=stores.serial)
            seen = await invited(fresh)
            letter = seen.seal("entry", "x", b"from before the first login")
            try:
                await enter(fresh.another(CrashAt(call, steps=steps)), OTHER)
                finished = True
            except Crash:
                finished = False
            way = [secret for secret in (CODE.secret, OTHER) if (await opens(fresh, secret))[0]]
            assert way, (call, steps)
            for secret in way:
                keyring = (await keys.unlock(await fresh.open(ID), ID, secret)).keyring
                assert keyring.open("entry", "x", letter) == b"from before the first login"
            if CODE.secret in way:  # the user, told of no success, may choose another password
                await enter(fresh, NEW)
                assert await opens(fresh, NEW, OTHER, CODE.secret) == [True, False, False], (call, steps)
            else:
                assert OTHER in way
            last = await enter(fresh, NEW if CODE.secret in way else OTHER)
            assert sorted(member.kind for member in last.members) == ["password", "recovery"]
            if finished:
                assert way == [OTHER]
                return
    raise AssertionError("it never came to an end")
