"""Logins: who gets in, how fast the second time, how slow with wrong passwords, and when accounts close."""

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from aerogramme.errors import AuthenticationFailed, Damaged, NoSuchUser, Unavailable
from aerogramme.log.journal import Journal
from aerogramme.mailbox.accounts import FAILURE_TIME, Accounts
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.incoming.drain import Drain
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes
from aerogramme.mailbox.keys import keys, passwords, uses
from aerogramme.mailbox.keys.keys import StoredKeys, Unlocked
from aerogramme.mailbox.throttle import FREE
from aerogramme.seal import Secret, Slot
from aerogramme.store.memory import MemoryStore
from tests.t3_mailbox.conftest import CHEAP, PASSWORD, World

ID = "00" * 16
WRONG = Secret("wrong")


@pytest.fixture
async def accounts(world: World, nursery) -> AsyncIterator[Accounts]:
    await world.create()
    pool = Accounts(world.stores)
    await nursery.start(pool.run)
    yield pool
    nursery.cancel_scope.cancel()


@pytest.fixture
def unlocks(monkeypatch, accounts) -> list[str]:
    """One line for each password that was really stretched."""
    calls: list[str] = []
    unlock = Slot.unlock

    def counted(self, secret):
        calls.append(self.kind)
        return unlock(self, secret)

    monkeypatch.setattr(Slot, "unlock", counted)
    return calls


@pytest.fixture
def slow(monkeypatch) -> list[float]:
    """How long tries were made to wait; nobody really waits."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds:
            waits.append(seconds)
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr("aerogramme.mailbox.accounts.sleep", sleep)
    return waits


async def test_all_sessions_of_a_user_share_one_account(accounts, unlocks) -> None:
    first = await accounts.login(ID, PASSWORD, "10.0.0.1")
    assert len(unlocks) == 1
    second = await accounts.login(ID, PASSWORD, "10.0.0.2")
    assert first.account is second.account
    assert len(unlocks) == 1, "the second login costs no Argon2id"
    first.release()
    first.release()
    assert len(accounts.opened()) == 1, "the second session is still there"
    second.release()


async def test_logins_at_once_open_one_account(accounts, unlocks) -> None:
    logins = []

    async def login() -> None:
        logins.append(await accounts.login(ID, PASSWORD, "10.0.0.1"))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(login)
    assert len({id(login.account) for login in logins}) == 1
    assert len(accounts.opened()) == 1


async def test_wrong_passwords_always_cost_the_full_price(accounts, unlocks, slow) -> None:
    login = await accounts.login(ID, PASSWORD, "10.0.0.1")
    for n in range(FREE + 3):
        with pytest.raises(AuthenticationFailed):
            await accounts.login(ID, WRONG, f"10.0.1.{n}")
        assert len(unlocks) == 2 + n
    assert slow == [0.25, 0.5, 1.0], "slowed down by account, wherever they come from"
    slow.clear()
    again = await accounts.login(ID, PASSWORD, "10.0.0.1")
    assert slow == [], "a password that is remembered does not wait for those of others"
    assert again.account is login.account


async def test_one_address_is_slowed_down_whatever_names_it_tries(world, accounts, slow) -> None:
    other = await world.create("11" * 16)
    for n, account_id in enumerate((ID, other, None, "22" * 16, None)):
        with pytest.raises(AuthenticationFailed):
            await accounts.login(account_id, WRONG, "10.0.0.1", name=str(n))
    assert slow == [0.25, 0.5]
    with pytest.raises(AuthenticationFailed):
        await accounts.login(None, WRONG, "10.0.0.2")
    assert slow == [0.25, 0.5]


async def test_a_name_that_nobody_has_is_slowed_down_like_one_that_somebody_has(accounts, slow) -> None:
    for account_id, name in ((ID, "here"), (None, "Nobody")):
        slow.clear()
        for n in range(FREE + 3):
            with pytest.raises(AuthenticationFailed):
                await accounts.login(account_id, WRONG, f"10.0.{name == 'here'}.{n}", name=name)
        assert slow == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("account_id", [None, "22" * 16])
async def test_names_that_nobody_has_cost_the_same_and_say_the_same(
    accounts, monkeypatch, account_id
) -> None:
    created: list[Secret] = []
    monkeypatch.setattr(Slot, "create", lambda secret: created.append(secret))
    with pytest.raises(AuthenticationFailed) as unknown:
        await accounts.login(account_id, WRONG, "10.0.0.1")
    with pytest.raises(AuthenticationFailed) as wrong:
        await accounts.login(ID, WRONG, "10.0.0.1")
    assert str(unknown.value) == str(wrong.value)
    assert created == [WRONG], "a password was stretched all the same"


async def test_a_changed_password_is_forgotten_at_once(world, accounts, unlocks) -> None:
    login = await accounts.login(ID, PASSWORD, None)
    ended = trio.Event()
    login.when_lost = ended.set
    store = await world.stores.another().open(ID)  # as another process
    await passwords.change_password(store, ID, PASSWORD, Secret("new"), CHEAP)
    world.unlocked[ID] = await keys.unlock(store, ID, Secret("new"))
    await ended.wait()
    with pytest.raises(AuthenticationFailed):
        await accounts.login(ID, PASSWORD, None)
    again = await accounts.login(ID, Secret("new"), None)
    assert await audit(again.account) == []
    before = len(unlocks)
    await accounts.login(ID, Secret("new"), None)
    assert len(unlocks) == before


async def test_a_read_only_app_password_stays_read_only(world, accounts) -> None:
    store = await world.stores.open(ID)
    app = (await passwords.create_app_password(store, ID, PASSWORD, "backup", read_only=True)).secret
    logins = [await accounts.login(ID, secret, None) for secret in (PASSWORD, app) * 2]
    assert [login.read_only for login in logins] == [False, True, False, True]


async def test_an_account_lingers_and_closes(world, autojump_clock) -> None:
    await world.create()
    async with trio.open_nursery() as nursery:
        pool = Accounts(world.stores, linger=60.0)
        await nursery.start(pool.run)
        login = await pool.login(ID, PASSWORD, None)
        login.release()
        await trio.sleep(50)
        again = await pool.login(ID, PASSWORD, None)
        assert again.account is login.account
        await trio.sleep(50)
        assert len(pool.opened()) == 1, "the first linger was overtaken"
        again.release()
        await trio.sleep(59)
        assert len(pool.opened()) == 1
        await trio.sleep(2)
        assert not pool.opened()
        other = await pool.login(ID, PASSWORD, None)
        assert other.account is not login.account
        nursery.cancel_scope.cancel()


async def test_an_account_that_is_erased_ends_its_sessions_and_nothing_else(world, accounts, caplog) -> None:
    other = await accounts.login(await world.create("11" * 16), PASSWORD, None)
    login = await accounts.login(ID, PASSWORD, None)
    gone = await accounts.login(ID, PASSWORD, None)
    lost = trio.Event()
    login.when_lost = lost.set
    gone.when_lost = lambda: pytest.fail("this session is over")
    gone.release()
    await world.stores.erase(ID)
    del world.unlocked[ID]
    with trio.fail_after(60):
        await lost.wait()
    assert f"account {ID} is closed" in caplog.text
    login.release()
    with pytest.raises(AuthenticationFailed):
        await accounts.login(ID, PASSWORD, None)
    await other.account.create_mailbox("still here")
    assert (await accounts.login(other.account.id, PASSWORD, None)).account is other.account


async def test_who_logs_in_while_an_account_is_ended_gets_another(accounts) -> None:
    ended = await accounts.login(ID, PASSWORD, None)
    accounts.end(ID)
    assert not accounts.opened()
    login = await accounts.login(ID, PASSWORD, None)
    assert login.account is not ended.account and not login.lost
    await login.account.create_mailbox("still here")


async def test_a_login_whose_account_closes_before_it_is_there_is_none(world, accounts, monkeypatch) -> None:
    first = await accounts.login(ID, PASSWORD, None)
    app = (await passwords.create_app_password(first.account.store, ID, PASSWORD, "phone")).secret
    aclose = MemoryStore.aclose

    async def closing(self) -> None:
        accounts.end(ID)
        await trio.testing.wait_all_tasks_blocked()
        await aclose(self)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "aclose", closing)
        with pytest.raises(Unavailable):
            await accounts.login(ID, app, None)
    assert not (await accounts.login(ID, app, None)).lost


async def test_noting_the_use_of_a_password_ends_with_its_account(accounts, monkeypatch) -> None:
    login = await accounts.login(ID, PASSWORD, None)
    app = (await passwords.create_app_password(login.account.store, ID, PASSWORD, "phone")).secret
    begun, ended = trio.Event(), trio.Event()

    async def note(*_: object) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    monkeypatch.setattr(uses, "note", note)
    await accounts.login(ID, app, None)
    await begun.wait()
    accounts.end(ID)
    with trio.fail_after(60):
        await ended.wait()


@pytest.mark.parametrize("task", [Drain, Journal])
@pytest.mark.parametrize(
    "fault", [RuntimeError("a subject"), ExceptionGroup("a subject", [KeyError("a subject")]), Damaged()]
)
async def test_a_fault_in_the_background_ends_nothing_and_tells_nothing(
    world, accounts, monkeypatch, caplog, autojump_clock, task, fault
) -> None:
    follow = task.follow
    faults = [fault]

    async def faulty(self, *args: object) -> None:
        if faults:
            raise faults.pop()
        await follow(self, *args)

    monkeypatch.setattr(task, "follow", faulty)
    account = (await accounts.login(ID, PASSWORD, None)).account
    version = account.version
    box = LetterBoxes(world.stores, accounts._nursery)
    letter = (await box.open(ID)).letter("", "")
    await letter.write(b"x")
    await letter.send()
    with trio.fail_after(60):
        await account.wait_changed(version)  # the letter was drained all the same
    assert f"account {ID}: a background task failed: {type(fault).__name__}" in caplog.text
    assert "a subject" not in caplog.text
    assert (await accounts.login(ID, PASSWORD, None)).account is account
    await box.aclose()


async def test_no_secret_is_shown(accounts) -> None:
    login = await accounts.login(ID, PASSWORD, None)
    shown = repr([accounts._open[ID], login, login.account, accounts])
    assert "horse" not in shown
    assert not any(digest.hex() in shown or repr(digest) in shown for digest in accounts._open[ID].known)


async def test_letter_boxes_follow_the_store(world, nursery) -> None:
    await world.create()
    boxes = LetterBoxes(world.stores, nursery)
    await boxes.open(ID)
    with pytest.raises(NoSuchUser):
        await boxes.open("11" * 16)
    await world.stores.erase(ID)
    with pytest.raises(NoSuchUser):
        await boxes.open(ID)
    del world.unlocked[ID]
    await world.create()
    async with trio.open_nursery() as letters:
        box = await boxes.open(ID)
        letter = box.letter("", "")
        await letter.write(b"x")
        await letter.send()
        letters.cancel_scope.cancel()
    account = await world.open()
    assert await account.drain.all_waiting() == 1, "sealed to the new account's key"
    await boxes.aclose()


async def test_no_letter_box_waits_for_that_of_another_account(
    world, nursery, monkeypatch, autojump_clock
) -> None:
    await world.create()
    real = world.stores.open

    async def open_or_hang(account: str):
        if account != ID:
            await trio.sleep_forever()
        return await real(account)

    monkeypatch.setattr(world.stores, "open", open_or_hang)
    boxes = LetterBoxes(world.stores, nursery)
    nursery.start_soon(boxes.open, "11" * 16)
    await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(60):
        await boxes.open(ID)
    nursery.cancel_scope.cancel()


async def test_a_login_by_proof(world, accounts, unlocks) -> None:
    store = await world.stores.open(ID)
    code = await passwords.create_app_password(store, ID, PASSWORD, "phone", read_only=True)

    async def prove(keys: StoredKeys) -> Unlocked:
        [slot] = [slot for slot in keys.slots.values() if slot.scram]
        return await keys.unlock_slot(ID, slot.unlock(code.secret))

    first = await accounts.login(ID, PASSWORD, "10.0.0.1")
    second = await accounts.login_with(ID, prove, "10.0.0.1")
    assert first.account is second.account
    assert (first.read_only, second.read_only) == (False, True)
    second.release()
    first.release()


async def test_failures_take_the_same_time(world, accounts, slow, autojump_clock) -> None:
    """Whether anybody has the name, and whether there is anything to try, is not told by the clock."""
    other = await world.create("11" * 16)

    async def fail(keys: StoredKeys) -> Unlocked:
        await trio.sleep(0.1)  # the store takes its time
        raise AuthenticationFailed

    for account_id in ID, other, None, "22" * 16:
        began = trio.current_time()
        with pytest.raises(AuthenticationFailed):
            await accounts.login_with(account_id, fail, None, name="somebody")
        assert trio.current_time() - began == pytest.approx(FAILURE_TIME)
    for _ in range(FREE):
        with pytest.raises(AuthenticationFailed):
            await accounts.login_with(None, fail, None, name="somebody")
    assert slow == [0.25], "and who goes on is slowed down"
